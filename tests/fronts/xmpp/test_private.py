"""Row X19 of docs/threats.md: where the relay is the only way, neither party learns an address of
the other."""

import random
import re
from ipaddress import ip_address
from xml.etree.ElementTree import Element, fromstring

import pytest

from jingle_hnt.call.policy import IceMode
from jingle_hnt.fronts.xmpp import names
from jingle_hnt.fronts.xmpp.intercept import INTERCEPT
from jingle_hnt.fronts.xmpp.serialise import serialise
from jingle_hnt.fronts.xmpp.stream_reader import Stanza
from jingle_hnt.jingle.policy import LimitPolicy
from tests.fronts.xmpp.test_audit import COMPONENT, DOMAIN, LOCAL, Core
from tests.jingle.stage import Stage
from tests.threats import doses
from tests.threats.doses import Measured

CALLS = 10_000
ALICE, BOB = LOCAL[:2]
PEER = {ALICE: BOB, BOB: ALICE}
KINDS = (names.RAW_UDP, names.ICE_UDP, names.ICE)
FORMS = (
    "10.{}.{}.{}",
    "192.168.{1}.{2}",
    "172.16.{1}.{2}",
    "100.64.{1}.{2}",
    "198.51.{1}.{2}",
    "fd{0:02x}:{1:x}::{2:x}",
    "fe80::{:x}:{:x}:{:x}",
    "2001:db8:{:x}::{:x}:{:x}",
)
"""Of a site, a link, a carrier, the internet: all that clients gather."""
ADDRESS = re.compile(r"[0-9a-fA-F:.]{6,}")
VOICE, SCREEN = ("initiator", "voice"), ("responder", "screen")
PLAY = (
    (ALICE, "session-initiate", VOICE),
    (ALICE, "transport-info", VOICE),
    (BOB, "transport-info", VOICE),
    (BOB, "session-accept", VOICE),
    (BOB, "transport-info", VOICE),
    (BOB, "content-add", SCREEN),
    (BOB, "transport-info", SCREEN),
    (ALICE, "content-accept", SCREEN),
    (ALICE, "transport-info", SCREEN),
    (ALICE, "transport-replace", VOICE),
    (BOB, "transport-accept", VOICE),
    (BOB, "description-info", VOICE),
)
"""Who says what of which content."""
ENDS = ("session-terminate", "retract", "finish", "")
"""The last is none: we end the call, and tell both."""


class Ears:
    """What is sent to each party, and whose addresses are in it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, chance: random.Random) -> None:
        self.core = Core()
        limits = LimitPolicy(per_user=0, per_minute=0)
        self.core.stage = Stage(limits=limits, ice=IceMode.TERMINATE)
        monkeypatch.setattr(self.core.component._connection, "send", self.sends)
        self.chance = chance
        self.own: dict[str, set[str]] = {}
        self.asked: tuple[str, str] = ("", "")
        self.replaced = self.told = self.signalled = self.farewells = 0
        self.leaked: list[str] = []

    def gathered(self, party: str) -> str:
        """An address of this party that it has not said yet."""
        parts = [self.chance.randrange(1, 255) for _ in range(3)]
        found = str(ip_address(self.chance.choice(FORMS).format(*parts)))
        if found in self.own[PEER[party]]:
            return self.gathered(party)
        self.own[party].add(found)
        self.signalled += 1
        return found

    def candidate(self, party: str, component: int, name: str = "candidate") -> str:
        related = f' rel-addr="{self.gathered(party)}" rel-port="9"'
        return (
            f'<{name} component="{component}" generation="0" id="c{self.chance.randrange(99)}"'
            f' ip="{self.gathered(party)}" port="{self.chance.randrange(1024, 65000)}"'
            f' foundation="1" network="0" priority="{self.chance.randrange(1, 2**31)}"'
            f' protocol="udp" type="{self.chance.choice(("host", "srflx", "prflx"))}"'
            f"{self.chance.choice(('', related))}/>"
        )

    def transport(self, party: str, kind: str, trickles: bool) -> str:
        """All that its sender knows of itself."""
        inside = "".join(
            self.candidate(party, component)
            for component in (1, 2)
            for _ in range(self.chance.choice((1, 1, 2)))
        )
        if kind == names.RAW_UDP:
            return f'<transport xmlns="{kind}">{inside}</transport>'
        if trickles and self.chance.random() < 0.3:
            inside = self.candidate(party, 1, "remote-candidate") + inside
        secrets = f'ufrag="{party[0]}bcd" pwd="{party:0<22}"'
        return f'<transport xmlns="{kind}" {secrets}>{inside}</transport>'

    def says(self, party: str, action: str, content: tuple[str, str], sid: str, kind: str) -> None:
        """A party's request comes to us, with where its connection and the other's come from."""
        creator, name = content
        whole = action in ("session-initiate", "session-accept", "content-add", "content-accept")
        inside = '<description xmlns="urn:xmpp:jingle:apps:rtp:1" media="audio"/>' * whole
        if action == "description-info":
            inside = '<description xmlns="urn:xmpp:jingle:apps:rtp:1" media="video"/>'
        elif action != "session-terminate":
            inside += self.transport(party, kind, action == "transport-info")
        ips = f'from-ip="{self.gathered(party)}" to-ip="{self.gathered(PEER[party])}"'
        jingle = f'<jingle xmlns="{names.JINGLE}" action="{action}" sid="{sid}">'
        if action != "session-terminate":
            jingle += f'<content creator="{creator}" name="{name}">{inside}</content>'
        self.asked = (party, f"{jingle}</jingle>")
        self.takes(
            f'<iq xmlns="{names.COMPONENT}" type="set" id="q" from="{DOMAIN}" to="{COMPONENT}">'
            f'<intercept xmlns="{names.INTERCEPT}" {ips}><forwarded xmlns="{names.FORWARD}">'
            f'<iq xmlns="jabber:client" type="set" id="x" from="{party}" to="{PEER[party]}">'
            f"{self.asked[1]}</iq></forwarded></intercept></iq>"
        )

    def takes(self, stanza: str) -> None:
        self.core.component._dispatch(Stanza(fromstring(stanza)))

    def sends(self, stanza: Element, keep: bool = False) -> bool:
        """Who hears this through its server, and what."""
        text, answer = serialise(stanza), stanza.find(INTERCEPT)
        party, asked = self.asked
        verdict = "inject" if answer is None else answer.get("action")
        if verdict == "inject":
            self.farewells += 1
            (inside,) = stanza.iter(f"{{{names.CLIENT}}}iq")
            self.hears(inside.get("to", ""), text)
        elif verdict == "bounce":
            self.hears(party, text)
        else:
            self.replaced += verdict == "replace"
            self.hears(PEER[party], asked if verdict == "pass" else text)
        return True

    def hears(self, party: str, text: str) -> None:
        self.told += 1
        self.leaked += set(ADDRESS.findall(text)) & self.own[PEER[party]]

    def call(self, sid: str) -> None:
        """One call from the offer to its end."""
        self.own = {ALICE: set(), BOB: set()}
        kind = self.chance.choice(KINDS)
        for party, action, content in PLAY:
            if action != "transport-info" or self.chance.random() < 0.7:
                self.says(party, action, content, sid, kind)
        party, end = self.chance.choice((ALICE, BOB)), self.chance.choice(ENDS)
        if end == "session-terminate":
            self.says(party, end, VOICE, sid, kind)
        elif end:
            self.takes(
                f'<message xmlns="{names.COMPONENT}" from="{DOMAIN}" to="{COMPONENT}">'
                f'<intercept xmlns="{names.INTERCEPT}" event="message" action="{end}"'
                f' jid="{party}" sid="{sid}" ip="{self.gathered(party)}"/></message>'
            )
        self.core.passes(1000)


@pytest.mark.timeout(1800)
@pytest.mark.rule("I2")
async def test_no_partys_address_is_in_what_the_other_is_sent(
    monkeypatch: pytest.MonkeyPatch, record_property: Measured
) -> None:
    ears = Ears(monkeypatch, random.Random(19))
    calls = doses.count(CALLS)
    for number in range(calls):
        ears.call(f"s{number}")
        assert len(ears.core.stage.registry) == 0
    assert ears.leaked == []
    assert ears.replaced > 8 * calls
    assert ears.farewells > 0
    record_property("calls", calls)
    record_property("stanzas", ears.told)
    record_property("replaced", ears.replaced)
    record_property("addresses", ears.signalled)
    record_property("leaked", len(ears.leaked))
    await ears.core.component.stop()
