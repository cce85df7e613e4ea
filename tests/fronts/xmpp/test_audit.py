"""X13: whoever says whatever, every stanza that leaves is in our own name, and what is sent for a
party is in the name of one whose server has asked us about it."""

import random
from collections.abc import Iterator
from xml.etree.ElementTree import Element, SubElement

import pytest

from jingle_hnt.errors import JingleError
from jingle_hnt.fronts.xmpp import names
from jingle_hnt.fronts.xmpp.component import Component, ComponentSettings
from jingle_hnt.fronts.xmpp.intercept import INJECT
from jingle_hnt.fronts.xmpp.stream_reader import Stanza
from jingle_hnt.jingle.effects import (
    ChannelRequest,
    Gone,
    Moved,
    Passed,
    Refusal,
    Request,
    Withdrawn,
)
from jingle_hnt.jingle.policy import LimitPolicy
from jingle_hnt.model.jid import JID
from jingle_hnt.model.jingle import Action
from tests.jingle.stage import Stage
from tests.threats import doses

STANZAS = 1_000_000
DOMAIN, COMPONENT = "example.org", "hnt.example.org"
LOCAL = [f"{name}@{DOMAIN}/x" for name in ("alice", "bob", "carol", "mallory")]
REMOTE = [f"{name}@evil.example/x" for name in ("dave", "eve")]
OURS = [COMPONENT, f"{COMPONENT}/x", rf"bob\40{DOMAIN}@{COMPONENT}/x", f"x@{COMPONENT}"]
HOSTS = [DOMAIN, "evil.example", f"other.{DOMAIN}", COMPONENT]
SENDERS = ["", "<", *HOSTS, *OURS, *LOCAL, *REMOTE, *(jid.partition("/")[0] for jid in LOCAL)]
EVENTS = ("gone", "address", "message", "error", "")
PAYLOADS = (
    f"{{{names.PING}}}ping",
    f"{{{names.DISCO_INFO}}}query",
    f"{{{names.DISCO_ITEMS}}}query",
    f"{{{names.VERSION}}}query",
    f"{{{names.NODES_CHANNEL}}}channel",
    f"{{{names.COMMANDS}}}command",
    f"{{{names.JINGLE}}}jingle",
    f"{{{names.JINGLE_MESSAGE}}}propose",
    "{is:this}what",
)


class Core:
    """The session core behind the component, and an account of what leaves."""

    def __init__(self) -> None:
        self.stage = Stage(limits=LimitPolicy(per_user=0))
        settings = ComponentSettings(
            COMPONENT,
            "secret",
            (DOMAIN,),
            channels=True,
            callers=frozenset({DOMAIN}),
            administrators=(JID.of(LOCAL[0]).bare,),
        )
        self.component = Component(settings, self, clock=lambda: self.stage.now)
        self.sent = self.injected = 0
        self.strangers: list[str] = []
        self.parties: set[str] = set()

    def sends(self, stanza: Element, keep: bool = False) -> bool:
        """What the link is given to send."""
        self.sent += 1
        sender = stanza.get("from", "")
        try:
            ours = JID.of(sender).domain == COMPONENT
        except ValueError:
            ours = False
        if not ours:
            self.strangers.append(sender)
        inject = stanza.find(INJECT)
        for inside in () if inject is None else inject.iter(f"{{{names.CLIENT}}}iq"):
            self.injected += 1
            if inside.get("from", "") not in self.parties:
                self.strangers.append(inside.get("from", ""))
        return True

    def _settle(self) -> None:
        self.stage.settle()
        answers, self.stage.answers = self.stage.answers, {}
        for answer in answers.values():
            self.component.answer(answer)
        injected, self.stage.injected = self.stage.injected, []
        for inject in injected:
            self.component.inject(inject)

    # Inputs

    def receive(self, request: Request) -> None:
        sender, recipient = request.sender, request.recipient
        if DOMAIN not in (sender.domain, recipient.domain):
            self.strangers.append(f"{sender} to {recipient}")
        self.parties |= {str(sender), str(recipient)}
        self.stage.registry.receive(request, self.stage.now)
        self._settle()

    def refused(self, refusal: Refusal) -> None:
        self.stage.registry.refused(refusal, self.stage.now)
        self._settle()

    def moved(self, moved: Moved) -> None:
        self.stage.registry.moved(moved, self.stage.now)
        self._settle()

    def gone(self, gone: Gone) -> None:
        self.stage.registry.gone(gone, self.stage.now)
        self._settle()

    def rang(self, ring: object) -> None:
        raise NotImplementedError

    def withdrawn(self, withdrawn: Withdrawn) -> None:
        self.stage.registry.withdrawn(withdrawn, self.stage.now)
        self._settle()

    def expired(self, request: Request) -> None:
        self.stage.registry.expired(request, self.stage.now)
        self._settle()

    def passed(self, passed: Passed) -> None:
        self.stage.registry.passed(passed, self.stage.now)
        self._settle()

    def channel(self, request: ChannelRequest) -> None:
        self.stage.registry.channel(request, self.stage.now)
        self._settle()

    def passes(self, seconds: float) -> None:
        """Time goes by, and ends what waits too long."""
        self.stage.passes(seconds)
        self._settle()
        self.stage.drain()
        self.stage.plane.draining.clear()
        self.stage.ended.clear()

    def rejected(self, sender: JID, error: JingleError) -> None: ...
    def on_connected(self, component: str) -> None: ...
    def on_disconnected(self, component: str, reason: str) -> None: ...


def stanzas(chance: random.Random) -> Iterator[Element]:
    """Everything that anybody may say, again and again."""
    while True:
        if chance.random() < 0.7:
            yield asked(chance)
            continue
        kind = chance.choice(("iq", "iq", "message", "presence"))
        attributes = {
            "type": chance.choice(("get", "set", "result", "error", "chat", "")),
            "id": str(chance.randrange(1000)),
            "to": chance.choice(OURS),
            "from": chance.choice(SENDERS),
        }
        absent = chance.choice(("", "", "", "from", "to", "type"))
        element = Element(f"{{{names.COMPONENT}}}{kind}", attributes)
        element.attrib.pop(absent, None)
        SubElement(element, chance.choice(PAYLOADS), {"node": "drain", "id": "a", "sid": "a"})
        yield element


def asked(chance: random.Random) -> Element:
    """A question or a notice of a server module, or of who would like to be one."""
    host = DOMAIN if chance.random() < 0.9 else chance.choice(SENDERS)
    kind = chance.choice(("iq", "iq", "iq", "message"))
    attributes = {"type": "set", "id": "q", "to": COMPONENT, "from": host}
    iq = Element(f"{{{names.COMPONENT}}}{kind}", attributes)
    inside = {"timeout": "3", "from-ip": "198.51.100.1", "to-ip": "198.51.100.2"}
    if kind == "message":
        inside |= {"event": chance.choice(EVENTS), "jid": chance.choice(LOCAL), "sid": "a"}
    intercept = SubElement(iq, f"{{{names.INTERCEPT}}}intercept", inside)
    forwarded = SubElement(intercept, f"{{{names.FORWARD}}}forwarded")
    held = SubElement(forwarded, f"{{{names.CLIENT}}}iq", {"type": "set", "id": "x"})
    users = (*LOCAL, *LOCAL, *REMOTE, OURS[2], "")
    held.set("from", chance.choice(users))
    held.set("to", chance.choice(users))
    action = chance.choice((*Action, Action.SESSION_INITIATE, Action.SESSION_ACCEPT))
    jingle = {"action": action, "sid": chance.choice("abc")}
    description = SubElement(held, f"{{{names.JINGLE}}}jingle", jingle)
    name = {"creator": "initiator", "name": "voice"}
    content = SubElement(description, f"{{{names.JINGLE}}}content", name)
    SubElement(content, f"{{{names.RTP}}}description", {"media": "audio"})
    transport = SubElement(content, f"{{{names.RAW_UDP}}}transport")
    candidate = {"component": "1", "generation": "0", "id": "c", "ip": "192.0.2.1", "port": "9"}
    SubElement(transport, f"{{{names.RAW_UDP}}}candidate", candidate)
    return iq


@pytest.mark.timeout(900)
async def test_nobodys_name_is_used_but_ours_and_the_parties(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    core = Core()
    monkeypatch.setattr(core.component._connection, "send", core.sends)
    for number, stanza in enumerate(stanzas(random.Random(13))):
        core.component._dispatch(Stanza(stanza))
        if number % 100 == 0:
            core.passes(30)
        if core.sent >= doses.count(STANZAS):
            break
    assert core.strangers == []
    assert core.injected > 0
    core.passes(1_000_000)
    assert len(core.stage.registry) == 0
    await core.component.stop()
