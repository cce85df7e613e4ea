"""Every quirk of `model/compat.py`, played with stanzas as its client writes them."""

import re
from collections.abc import Callable
from ipaddress import ip_network
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

import jingle_hnt
from jingle_hnt.fronts.xmpp.codec import parse
from jingle_hnt.fronts.xmpp.component import _STANZAS
from jingle_hnt.fronts.xmpp.substitution import substitute
from jingle_hnt.fronts.xmpp.transports.elements import CANDIDATE
from jingle_hnt.jingle.effects import Answer, Pass, Replace
from jingle_hnt.model.address import TransportAddress
from jingle_hnt.model.compat import COMPAT
from jingle_hnt.model.content import COMPONENTS, RawUdp
from jingle_hnt.model.jid import JID
from jingle_hnt.relay.binding import Flow
from jingle_hnt.relay.evidence import Evidence, IceKey, SourceAuth
from jingle_hnt.relay.ice_latch import IceLatch
from jingle_hnt.relay.latch import Latch, Verdict
from jingle_hnt.relay.packet import classify
from tests.fronts.xmpp.corpus import stanza
from tests.jingle.stage import ALICE, BOB, RELAY, Stage
from tests.plane.checks import check

NCNAME = re.compile(r"[A-Za-z_][A-Za-z0-9._-]*", re.ASCII)
REQUIRED = {"component", "generation", "id", "ip", "port"}

ACCEPT = (
    "<jingle xmlns='urn:xmpp:jingle:1' action='session-accept' sid='{sid}'>"
    "<content creator='{creator}' name='{name}'>"
    "<transport xmlns='urn:xmpp:jingle:transports:raw-udp:1'>{candidates}</transport>"
    "</content></jingle>"
)


class Line:
    """A stage on which the parties speak in XML."""

    def __init__(self) -> None:
        self.stage = Stage()

    def says(
        self, sender: JID, jingle: ET.Element, to: JID | None = None
    ) -> tuple[Answer | None, ET.Element]:
        """The answer to a request, and the stanza as the other party receives it."""
        read = parse(jingle)
        answer = self.stage.says(
            sender, read.action, *read.contents, to=to, sid=read.sid, info=read.info
        )
        went_on = substitute(jingle, answer.substitution) if isinstance(answer, Replace) else jingle
        return answer, went_on

    def offers(self, name: str) -> list[ET.Element]:
        """The candidates that the callee is told, of a recorded offer of Alice's."""
        answer, went_on = self.says(ALICE, stanza(name))
        assert isinstance(answer, Replace)
        return list(went_on.iter(CANDIDATE))

    def answers(self, name: str, creator: str = "initiator", candidates: str = "") -> Answer | None:
        """The answer to Bob's accept of the offer of this name."""
        offer = stanza(name)
        (first, *_) = parse(offer).contents
        text = ACCEPT.format(
            sid=offer.get("sid"), creator=creator, name=first.key.name, candidates=candidates
        )
        return self.says(BOB, ET.fromstring(text))[0]

    def answers_again(self, attributes: str = "") -> None:
        """Bob accepts the offer `libpurple-initiate`, with these attributes in its content."""
        offer = stanza("libpurple-initiate")
        (first, *_) = parse(offer).contents
        content = f"<content creator='initiator' name='{first.key.name}' {attributes}>{CAMERA}"
        accept = later("session-accept", f"{content}</content>")
        assert isinstance(self.says(BOB, accept)[0], Replace)


CHECKS: dict[str, Callable[[], None]] = {}


def quirk(*ids: str) -> Callable[[Callable[[], None]], Callable[[], None]]:
    """Marks the check of these quirks."""

    def note(check: Callable[[], None]) -> Callable[[], None]:
        CHECKS.update(dict.fromkeys(ids, check))
        return check

    return note


@pytest.mark.parametrize("id_", [quirk.id for quirk in COMPAT])
def test_a_quirk_is_met(id_: str) -> None:
    CHECKS[id_]()


def test_the_table_and_the_code_name_the_same_quirks() -> None:
    ids = [quirk.id for quirk in COMPAT]
    assert len(set(ids)) == len(ids)
    assert set(CHECKS) == set(ids)
    sources = "".join(p.read_text() for p in Path(jingle_hnt.__path__[0]).rglob("*.py"))
    named = re.findall(r"COMPAT ([a-z0-9-]+(?:, [a-z0-9-]+)*)", sources)
    assert {name for names in named for name in names.split(", ")} <= set(ids)
    assert named


@quirk(
    "libpurple-guesses-rtcp",
    "libpurple-skips-incomplete",
    "yate-needs-component-1",
    "yate-offers-rtp-only",
    "switji-omits",
    "sylk-adds-protocol",
    "gabble-wants-ids",
)
def complete_candidates() -> None:
    for name in (
        "libpurple-initiate",
        "yate-initiate",
        "switji-initiate",
        "sylk-initiate",
        "gabble-initiate",
    ):
        candidates = Line().offers(name)
        assert [c.get("component") for c in candidates] == ["1", "2"], name
        assert all(set(c.keys()) >= REQUIRED and c.get("protocol") is None for c in candidates), (
            name
        )
        ids = [c.get("id", "") for c in candidates]
        assert len(set(ids)) == 2, name
        assert all(NCNAME.fullmatch(id_) for id_ in ids), name
        rtp, rtcp = (int(c.get("port", "")) for c in candidates)
        assert (rtp % 2, rtcp) == (0, rtp + 1), name


@quirk("libpurple-crashes-on-ipv6")
def family_of_the_party() -> None:
    line = Line()
    line.offers("libpurple-initiate")
    answer = line.answers(
        "libpurple-initiate",
        candidates="<candidate component='1' generation='0' id='a' ip='2001:db8:1::5' port='9'/>",
    )
    assert isinstance(answer, Replace)
    assert all(c.address.ip == RELAY for own in answer.substitution.values() for c in own)


@quirk("libpurple-sends-early")
def armed_from_the_offer_on() -> None:
    line = Line()
    line.offers("libpurple-initiate")
    assert {side for _, side in line.stage.plane.armed} == {0, 1}
    assert set(line.stage.plane.flows.values()) == {(Flow.NOMINAL, Flow.NOMINAL)}


@quirk("libpurple-ignores-replace", "wocky-takes-the-first-set")
def first_is_final() -> None:
    line = Line()
    line.stage.held = True
    jingle = stanza("gabble-initiate")
    assert line.says(ALICE, jingle)[0] is None, "it leaves without our addresses"
    line.stage.bind_all()
    (answer,) = line.stage.answers.values()
    assert isinstance(answer, Replace)
    assert line.stage.injected == []


@quirk("jitsi-punches-holes")
def bare_headers_teach() -> None:
    assert len(Line().offers("jitsi-initiate")) == 2
    source = TransportAddress.of("198.51.100.1", 5000)
    latch = Latch()
    assert latch.arm(0, Evidence(SourceAuth.SIGNALLING_ADDRESS, (ip_network(source.ip),)))
    header = bytes.fromhex("800800010000000000000007")
    assert latch.observe(source, classify(header), 0.0) is Verdict.LATCHED


@quirk("yate-is-trying", "yate-pings")
def informational() -> None:
    line = Line()
    line.offers("yate-initiate")
    line.answers("yate-initiate")
    flows = dict(line.stage.plane.flows)
    ping = ET.fromstring("<jingle xmlns='urn:xmpp:jingle:1' action='session-info' sid='yt1'/>")
    for jingle in (stanza("yate-trying"), ping):
        assert isinstance(line.says(BOB, jingle)[0], Pass)
    assert line.stage.plane.flows == flows


@quirk("yate-moves")
def one_component_moves() -> None:
    line = Line()
    line.offers("yate-initiate")
    line.answers("yate-initiate")
    before = {key: arm.generation for key, arm in line.stage.plane.armed.items()}
    answer, went_on = line.says(ALICE, stanza("yate-moved"))
    assert isinstance(answer, Replace)
    (told,) = went_on.iter(CANDIDATE)
    assert (told.get("component"), told.get("generation")) == ("1", "1")
    moved = {key for key, arm in line.stage.plane.armed.items() if arm.generation > before[key]}
    assert moved == {("s1.1.1", 0)}


@quirk("dino-answers-empty")
def an_empty_answer() -> None:
    line = Line()
    line.offers("libpurple-initiate")
    answer = line.answers("libpurple-initiate")
    assert isinstance(answer, Replace)
    (own,) = answer.substitution.values()
    assert [c.component for c in own] == list(COMPONENTS)
    (dinos,) = parse(stanza("dino-rawudp-accept")).contents
    assert dinos.transport == RawUdp(())


@quirk("ice-omits")
def a_missing_generation() -> None:
    jingle = stanza("switji-initiate")
    for candidate in jingle.iter(CANDIDATE):
        candidate.attrib.pop("generation", None)
    (content,) = parse(jingle).contents
    assert isinstance(content.transport, RawUdp)
    assert [(c.generation, c.id) for c in content.transport.candidates] == [(0, "")]


@quirk("qxmpp-checks-early")
def a_check_before_the_answer() -> None:
    latch = IceLatch()
    evidence = Evidence(
        SourceAuth.ICE_INTEGRITY, (ip_network("0.0.0.0/0"),), keys=(IceKey("A:", "of-a"),)
    )
    assert latch.arm(0, evidence)
    asked = check("A:B", "of-a")
    source = TransportAddress.of("198.51.100.2", 4000)
    assert latch.observe(source, classify(asked), asked, 0.0) is Verdict.LATCHED
    assert latch.is_early


@quirk("gajim-nominates-late")
def a_nomination_that_comes_late() -> None:
    """Until then media goes to the path that was asked first; then to the nominated one."""
    latch = IceLatch()
    evidence = Evidence(
        SourceAuth.ICE_INTEGRITY, (ip_network("0.0.0.0/0"),), keys=(IceKey("A:B", "of-a"),)
    )
    assert latch.arm(0, evidence)
    first, second = (TransportAddress.of("198.51.100.2", port) for port in (4000, 4001))
    for source, nominates, now in ((first, False, 0.0), (second, False, 0.1), (second, True, 2.2)):
        asked = check("A:B", "of-a", nominates, f"{source.port:05}{now:07.2f}".encode())
        latch.observe(source, classify(asked), asked, now)
        assert latch.source == (second if nominates else first)


@quirk("siskin-names-itself")
def the_wrong_creator() -> None:
    line = Line()
    line.offers("libpurple-initiate")
    assert isinstance(line.answers("libpurple-initiate", creator="responder"), Replace)


@quirk("old-dialects-name-no-creator")
def no_creator() -> None:
    jingle = stanza("libpurple-initiate")
    for element in jingle.iter("{urn:xmpp:jingle:1}content"):
        element.attrib.pop("creator")
    assert isinstance(Line().says(ALICE, jingle)[0], Replace)


@quirk("ejabberd-keeps-namespaces")
def both_namespaces() -> None:
    assert set(_STANZAS) == {"jabber:component:accept", "jabber:client"}


RAW = "<transport xmlns='urn:xmpp:jingle:transports:raw-udp:1'>{}</transport>"
CAMERA = RAW.format("<candidate component='1' generation='0' id='v' ip='192.0.2.7' port='7'/>")


def later(action: str, contents: str, attributes: str = "") -> ET.Element:
    """A request in the session of the offer `libpurple-initiate`."""
    sid = stanza("libpurple-initiate").get("sid")
    head = f"<jingle xmlns='urn:xmpp:jingle:1' action='{action}' sid='{sid}' {attributes}>"
    return ET.fromstring(f"{head}{contents}</jingle>")


def in_a_call() -> Line:
    line = Line()
    line.offers("libpurple-initiate")
    line.answers_again()
    return line


@quirk("anybody-is-the-initiator", "gajim-accepts-twice")
def any_creator() -> None:
    for creator in ("creator='initiator'", "creator='responder'", ""):
        line = in_a_call()
        added = f"<content {creator} name='camera'>{CAMERA}</content>"
        assert isinstance(line.says(BOB, later("content-add", added))[0], Replace)
        for one in ("creator='initiator'", "creator='responder'", ""):
            accepted = f"<content {one} name='camera'>{CAMERA}</content>"
            assert isinstance(line.says(ALICE, later("content-accept", accepted))[0], Replace)
            moved = later("transport-info", accepted)
            assert isinstance(line.says(ALICE, moved)[0], Replace)


@quirk("senders-are-a-hint")
def senders_of_an_accept() -> None:
    for word in ("initiator", "responder", "none", "rejected", ""):
        line = Line()
        line.offers("libpurple-initiate")
        line.answers_again(f"senders='{word}'")
        assert line.stage.plane.flows["s1.1.1"] == (Flow.OPEN, Flow.OPEN), word


@quirk("initiator-as-typed")
def initiators() -> None:
    for named in (
        "Alice@Example.ORG/phone",
        "alice@example.org./x",
        "",
        "@",
        "focus@meet.example/f",
    ):
        offer = stanza("libpurple-initiate")
        offer.set("initiator", named)
        offer.set("responder", named)
        assert isinstance(Line().says(ALICE, offer)[0], Replace), named


@quirk("stanza-rejects-without-contents")
def reject_without_contents() -> None:
    line = in_a_call()
    bindings = set(line.stage.plane.bindings)
    added = f"<content creator='initiator' name='camera'>{CAMERA}</content>"
    line.says(ALICE, later("content-add", added))
    assert len(line.stage.plane.bindings) == len(bindings) + 2
    assert isinstance(line.says(BOB, later("content-reject", ""))[0], Pass)
    assert set(line.stage.plane.bindings) == bindings


@quirk("rooms-rewrite-the-pair")
def occupants_of_a_room() -> None:
    in_the_room = JID.of("lounge@rooms.example.net/bob"), JID.of("lounge@rooms.example.net/alice")
    line = Line()
    offer = stanza("libpurple-initiate")
    assert isinstance(line.says(ALICE, offer, to=in_the_room[0])[0], Replace)
    (first, *_) = parse(offer).contents
    content = f"<content creator='initiator' name='{first.key.name}'>{CAMERA}</content>"
    accept = later("session-accept", content)
    assert isinstance(line.says(BOB, accept, to=in_the_room[1])[0], Replace)
    assert line.stage.plane.flows["s1.1.1"] == (Flow.OPEN, Flow.OPEN)
    line.stage.passes(90_000.0)
    assert line.stage.ended
    assert line.stage.injected == []
