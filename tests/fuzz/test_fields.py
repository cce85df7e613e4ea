"""Row X12 of docs/threats.md: one field after the other is nasty, from the wire to the wire."""

import random
import re
from collections import Counter
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import cast
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape, quoteattr

import pytest
import structlog

from jingle_hnt import log
from jingle_hnt.app.xmpp_inputs import XmppInputs
from jingle_hnt.errors import JingleError
from jingle_hnt.fronts.xmpp.component import Component, ComponentSettings
from jingle_hnt.fronts.xmpp.names import ICE_UDP, RAW_UDP, local_name, namespace
from jingle_hnt.fronts.xmpp.serialise import serialise
from jingle_hnt.fronts.xmpp.stream_reader import Broken, Stanza, StreamReader
from jingle_hnt.jingle.effects import Gone, Moved, Refusal, Replace, Request
from jingle_hnt.model.address import TransportAddress
from jingle_hnt.model.content import Candidate, Ice, OwnTransport, RawUdp
from jingle_hnt.model.jid import JID
from tests.fronts.xmpp.test_stream_reader import HEADER
from tests.threats import doses
from tests.threats.doses import Measured

CASES = 1_000_000
LESS = 0.15
"""The part of a smaller dose that is given: a case goes all the way, and takes its time."""
SNIPPETS = 1000
OURS = tuple(
    Candidate(c, 0, TransportAddress.of("203.0.113.9", 29999 + c), f"r{c}") for c in (1, 2)
)
NASTY = (
    "", " ", "0", "-1", "+1", "01", "65535", "65536", "99999", "1e9", "1000000000", "9" * 400,
    "0x10", "1.5", "NaN", "\u0663", " 5", "5\n", "localhost", "evil.example", "0177.0.0.1", "127.1",
    "::", "192.0.2.256", "192.0.2.1:80", "[2001:db8::1]", "fe80::1%eth0", "::ffff:192.0.2.1",
    "255.255.255.255", "\0", "a\0b", "\x01", "\x1b[31m", "\x7f", "\x85", "\ud800", "\ufffe", "\r",
    "\n", "a\r\nb", "\t", "\n2026-01-01T00:00:00Z [error    ] forged", "%s%n", "{0}", "${x}",
    "x\u2028[error] forged\u2029", "'", '"', "<", "&", "]]>", "&#0;", "\u202e", "\U0001f600" * 30,
    "e\u0301", "@", "@/", "/", "a@/b", "x@y/z\n", "initiator", "session-terminate", "responder\n",
    "both ", "relay", "HOST",
)  # fmt: skip
"""Values of which no field makes sense of all."""
ILLEGAL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
"""What no XML has; it is written as it is, or put into the tree behind the reader's back."""
SURROGATE = re.compile("[\ud800-\udfff]")
"""What no reader of UTF-8 lets by, either."""
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")

FIELDS = {
    "ask": {"timeout": "3", "from-ip": "198.51.100.1", "to-ip": "198.51.100.2",
            "from-via": "bosh", "from-age": "7", "to-ip6": "2001:db8::2", "to-ip6-age": "1"},
    "iq": {"id": "q1", "from": "alice@example.org/phone", "to": "bob@example.org/desk"},
    "jingle": {"action": "session-initiate", "sid": "a1", "initiator": "alice@example.org/phone",
               "responder": "bob@example.org/desk"},
    "content": {"creator": "initiator", "name": "voice", "senders": "both"},
    "description": {"media": "audio"},
    "payload": {"id": "0", "name": "PCMU", "clockrate": "8000"},
    "crypto": {"crypto-suite": "AES_CM_128_HMAC_SHA1_80", "key-params": "inline:d0Rm", "tag": "1"},
    "transport": {},
    "candidate": {"component": "1", "generation": "0", "id": "c1", "ip": "192.0.2.10",
                  "port": "7078", "type": "host", "rel-addr": "10.0.0.1", "rel-port": "9"},
    "ice": {"ufrag": "8hhy", "pwd": "asd88fgpdd777uzjYhagZg"},
    "agent": {"component": "1", "foundation": "1", "generation": "0", "id": "d1",
              "ip": "192.0.2.11", "network": "0", "port": "7080", "priority": "2130706431",
              "protocol": "udp", "type": "srflx", "rel-addr": "10.0.0.1", "rel-port": "9"},
    "event": {"event": "expired", "jid": "alice@example.org/phone", "ip": "198.51.100.1",
              "sid": "a1", "action": "session-accept", "outcome": "passed"},
}  # fmt: skip
"""What may be nasty, by the element that has it, and what it is like else."""
TOLD = [(each, name) for each in ("event", "iq") for name in FIELDS[each]]
EVENTS = ("expired", "gone", "address", "message", "error")
HEAD = (
    '<iq xmlns="jabber:component:accept" type="set" id="i1"'
    ' from="example.org" to="hnt.example.org">'
    '<intercept xmlns="urn:hnt:intercept:0"{ask}><forwarded xmlns="urn:xmpp:forward:0">'
    '<iq xmlns="jabber:client" type="set"{iq}><jingle xmlns="urn:xmpp:jingle:1"{jingle}>{x1}'
)
TRANSPORT = (
    f'<transport xmlns="{RAW_UDP}"{{transport}}>{{x4}}<candidate{{candidate}}/></transport>'
    "</content>"
)
OF_RAW_UDP = "<content{content}>{x2}" + TRANSPORT + "<reason><success/><text>{text}</text></reason>"
OF_MEDIA = (
    '<content{content}>{x2}<description xmlns="urn:xmpp:jingle:apps:rtp:1"{description}>'
    "<payload-type{payload}/>{x3}<encryption><crypto{crypto}/></encryption></description>"
) + TRANSPORT
OF_ICE = (
    '<content{content}>{x2}<description xmlns="urn:xmpp:jingle:apps:rtp:1"{description}/>'
    f'<transport xmlns="{ICE_UDP}"{{ice}}>{{x4}}<candidate{{agent}}/>{{x3}}</transport></content>'
)
TAIL = "</jingle></iq></forwarded></intercept></iq>"
QUESTIONS = tuple(HEAD + inside + TAIL for inside in (OF_RAW_UDP, OF_MEDIA, OF_ICE))
ASKED = [
    [(each, name) for each, known in FIELDS.items() if f"{{{each}}}" in asked for name in known]
    for asked in QUESTIONS
]
NOTICE = (
    '<message xmlns="jabber:component:accept" from="example.org" to="hnt.example.org">'
    '<intercept xmlns="urn:hnt:intercept:0"{event}><forwarded xmlns="urn:xmpp:forward:0">'
    '<iq xmlns="jabber:client" type="error"{iq}/></forwarded></intercept></message>'
)
UNKNOWN = ("x1", "x2", "x3", "x4")


QUOTES = {'"': "&#34;", "'": "&#39;"}
BEHIND = {"ask": ("intercept", 0), "event": ("intercept", 0), "payload": ("payload-type", 0),
          "iq": ("iq", -1), "ice": ("transport", -1), "agent": ("candidate", -1)}  # fmt: skip
"""Which element of a tree is meant, where it is not the first one of its name."""


def attribute(name: str, value: str) -> str:
    """As `serialise` writes it, so that bytes can be compared; what is illegal stays."""
    return f" {name}={quoteattr(value, QUOTES)}"


def attributes(values: dict[str, str]) -> str:
    return "".join(attribute(name, value) for name, value in values.items())


def text(value: str) -> str:
    return escape(value, {"\r": "&#13;"})


def snippets(chance: random.Random) -> Iterator[str]:
    """Elements of namespaces that nobody knows, as `serialise` writes them."""
    legal = [value for value in NASTY if not ILLEGAL.search(value)]
    for number in range(SNIPPETS):
        plain = {name: chance.choice(legal) for name in chance.sample(("ip", "port", "b"), 2)}
        tag = chance.choice(("x", "candidate", "content", "é"))
        inside = chance.choice(("", text(chance.choice(legal)), f"<y{attributes(plain)}/> <z/>"))
        inside += chance.choice(("", '<w xmlns=""/>', f'<candidate xmlns="{RAW_UDP}"/>'))
        other = f' xmlns:a2="urn:of:{number}"' + attribute("a2:port", chance.choice(legal))
        head = f'<{tag} xmlns="urn:unknown:{number}"{attributes(plain)}{chance.choice(("", other))}'
        yield f"{head}>{inside}</{tag}>" if inside else f"{head}/>"


class Wire:
    """The component between a server module and itself: every request is relayed at once.

    `reports` says that the log is told of the call, as it is when a call ends, and `own` that ICE
    ends here.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        settings = ComponentSettings("hnt.example.org", "secret", ("example.org",))
        self.component = Component(settings, self, clock=lambda: 0.0)
        monkeypatch.setattr(self.component._connection, "send", self.sends)
        service = SimpleNamespace(call_counters=SimpleNamespace(refused=Counter()))
        self.app = cast(XmppInputs, SimpleNamespace(_service=service))
        self.sent = ""
        self.own = self.reports = False
        self.reader = self.fresh()

    def fresh(self) -> StreamReader:
        reader = StreamReader()
        reader.feed(HEADER)
        return reader

    def sends(self, stanza: ET.Element, keep: bool = False) -> bool:
        self.sent = serialise(stanza)
        return True

    # Inputs

    def takes(self, data: bytes, behind: Callable[[ET.Element], None]) -> bool:
        """One stanza through all of it, changed on its way by `behind`; whether it was XML."""
        self.sent = ""
        for event in self.reader.feed(data):
            if isinstance(event, Broken):
                self.reader = self.fresh()
                return False
            assert isinstance(event, Stanza)
            behind(event.element)
            self.component._dispatch(event)
        return True

    def receive(self, request: Request) -> None:
        jingle = request.jingle
        if self.reports:
            structlog.get_logger().info(
                "call ended",
                sid=jingle.sid,
                initiator=str(request.sender),
                reason=None if jingle.reason is None else jingle.reason.text,
                paths=[f"{c.key.name} {c.media}" for c in jingle.contents],
            )
        of = {c.key: c.transport for c in jingle.contents}
        known = [key for key, t in of.items() if isinstance(t, RawUdp | Ice)]
        relay_agents = {}
        if self.own:
            relay_agents = {
                key: OwnTransport(OURS, t.namespace, "ours", "ours-and-secret")
                for key, t in of.items()
                if isinstance(t, Ice)
            }
        beside = {key: OURS for key in known if key not in relay_agents}
        self.component.answer(Replace(request.token, beside, relay_agents))

    def rejected(self, sender: JID, error: JingleError) -> None:
        XmppInputs.rejected(self.app, sender, error)

    def refused(self, refusal: Refusal) -> None: ...
    def moved(self, moved: Moved) -> None: ...
    def gone(self, gone: Gone) -> None: ...
    def withdrawn(self, withdrawn: object) -> None: ...
    def rang(self, ring: object) -> None: ...

    def expired(self, request: object) -> None: ...
    def passed(self, passed: object) -> None: ...
    def channel(self, request: object) -> None: ...
    def on_connected(self, component: str) -> None: ...
    def on_disconnected(self, component: str, reason: str) -> None: ...


class Lines:
    """A log's end, that looks at every line which gets there."""

    def __init__(self) -> None:
        self.lines = self.forged = 0

    def write(self, written: str) -> int:
        if written != "\n":  # which `print` writes by itself
            self.lines += len(written.splitlines())
            self.forged += CONTROL.search(written) is not None
        return len(written)

    def flush(self) -> None: ...


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Lines, Counter[str]]]:
    """The log as it is in the service, but for what it leaves out; and what was said to it."""
    monkeypatch.setattr(log, "BURST", float("inf"))
    log.configure(form="text")
    end, said = Lines(), Counter[str]()

    def count(_: object, __: str, event: dict[str, object]) -> dict[str, object]:
        said[str(event["event"])] += 1
        return event

    structlog.get_config()["processors"].insert(0, count)
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(end))  # type: ignore[arg-type]
    yield end, said
    structlog.reset_defaults()


class Case:
    """One stanza with a nasty field, or two."""

    def __init__(self, chance: random.Random, usual: dict[str, str], unknown: list[str]) -> None:
        self.behind: list[tuple[str, str, str]] = []
        self.asks = chance.random() < 0.95
        kind = chance.randrange(len(QUESTIONS))
        there = [place for place in UNKNOWN if f"{{{place}}}" in QUESTIONS[kind]]
        self.unknown = {chance.choice(there): chance.choice(unknown)}
        pieces = usual | self.unknown
        places = ASKED[kind] if self.asks else TOLD
        for element, name in chance.sample(places, chance.choice((1, 1, 1, 2))):
            pieces[element] = self._damaged(chance, element, name)
        if chance.random() < 0.1:
            pieces["text"] = text(chance.choice(NASTY))
        whole = (QUESTIONS[kind] if self.asks else NOTICE).format_map(pieces)
        self.data = whole.encode(errors="surrogatepass")

    def _damaged(self, chance: random.Random, element: str, name: str) -> str:
        """An element's attributes: one is missing, there twice, or nasty."""
        values, kind, value = dict(FIELDS[element]), chance.random(), chance.choice(NASTY)
        if element == "event":
            values["event"] = chance.choice(EVENTS)
        if kind < 0.1:
            del values[name]
        elif kind < 0.12:
            return attributes(values) + attribute(name, value)
        elif kind < 0.2:
            return attributes(values) + f' xmlns:o="urn:o"{attribute("o:" + name, "9")}'
        elif ILLEGAL.search(value) and kind < 0.9 and not SURROGATE.search(value):
            self.behind.append((element, name, value))
        else:
            values[name] = value
        return attributes(values)

    def changes(self, tree: ET.Element) -> None:
        """What XML cannot say is put in behind the reader."""
        for element, name, value in self.behind:
            tag, number = BEHIND.get(element, (element, 0))
            named = [each for each in tree.iter() if local_name(each) == tag]
            if found := [e for e in named if e.attrib and "unknown" not in namespace(e)]:
                found[number].set(name, value)


@pytest.mark.timeout(1800)
@pytest.mark.rule("J3", "J11")
async def test_a_nasty_field_is_passed_on_as_it_came(
    monkeypatch: pytest.MonkeyPatch,
    lines: tuple[Lines, Counter[str]],
    record_property: Measured,
) -> None:
    chance = random.Random(12)
    end, said = lines
    wire, unknown = Wire(monkeypatch), list(snippets(chance))
    usual = {element: attributes(known) for element, known in FIELDS.items()}
    usual |= dict.fromkeys(UNKNOWN, "") | {"text": "bye"}
    cases = doses.count(CASES if doses.dose() == 1 else round(CASES * LESS))
    came, kept, exceptions, lost = Counter[str](), 0, Counter[str](), 0
    for _ in range(cases):
        case = Case(chance, usual, unknown)
        wire.own, wire.reports = chance.random() < 0.5, chance.random() < 0.2
        try:
            if not wire.takes(case.data, case.changes):
                came["broken"] += 1
                continue
        except Exception as error:
            exceptions[repr(error)] += 1
            continue
        if not case.asks:
            continue
        ET.fromstring(wire.sent)
        if ' action="replace"' not in wire.sent:
            came["refused"] += 1  # nobody can tell who asks, or for whom
            continue
        came["relayed"] += 1
        there = sum(element in wire.sent for element in case.unknown.values())
        kept, lost = kept + there, lost + len(case.unknown) - there
    assert not exceptions
    assert end.lines == said.total()
    assert (end.forged, lost) == (0, 0)
    assert min(came["broken"], came["refused"], came["relayed"]) > cases / 50
    kinds = {
        "request of the server module cannot be read",
        "event of the server module cannot be read",
    }
    assert kinds | {"call ended", "the server module decided a request without jingle-hnt"} <= set(
        said
    )
    for name, number in {"cases": cases, "exceptions": exceptions.total(), **came}.items():
        record_property(name, number)
    record_property("log_lines", end.lines)
    record_property("forged_lines", end.forged + end.lines - said.total())
    record_property("unknown_kept", kept)
    record_property("unknown_lost", lost)
