"""Reading <jingle/>: what clients write, what they leave out, and what is refused."""

from xml.etree import ElementTree as ET

import pytest

from jingle_hnt.fronts.xmpp import names
from jingle_hnt.fronts.xmpp.codec import parse
from jingle_hnt.fronts.xmpp.transports.elements import MOST_CANDIDATES
from jingle_hnt.model.address import TransportAddress
from jingle_hnt.model.content import (
    Candidate,
    CandidateType,
    ContentKey,
    Creator,
    Ice,
    RawUdp,
    Senders,
)
from jingle_hnt.model.jid import JID
from jingle_hnt.model.jingle import Action, Info, Reason
from tests.fronts.xmpp.corpus import stanza

ICE_UDP = "urn:xmpp:jingle:transports:ice-udp:1"


def candidate(
    component: int,
    port: int,
    id_: str,
    *,
    ip: str = "192.0.2.5",
    generation: int = 0,
    type_: CandidateType | None = None,
) -> Candidate:
    return Candidate(component, generation, TransportAddress.of(ip, port), id_, type_)


def jingle(
    inside: str = "", action: str = "session-initiate", attributes: str = "sid='s'"
) -> ET.Element:
    return ET.fromstring(
        f"<jingle xmlns='urn:xmpp:jingle:1' action='{action}' {attributes}>{inside}</jingle>"
    )


def raw(candidates: str, attributes: str = "creator='initiator' name='a'") -> str:
    return (
        f"<content {attributes}><transport xmlns='urn:xmpp:jingle:transports:raw-udp:1'>"
        f"{candidates}</transport></content>"
    )


# What clients write


@pytest.mark.parametrize(
    ("name", "candidates"),
    [
        (
            "libpurple-initiate",
            (
                candidate(1, 7078, "purple446fafbc", ip="192.0.2.2"),
                candidate(2, 7079, "purple446fafbd", ip="192.0.2.2"),
            ),
        ),
        (
            "libpurple-accept",
            (
                candidate(1, 7078, "purplea4de528c", ip="198.51.100.2"),
                candidate(2, 7079, "purplea4de528d", ip="198.51.100.2"),
            ),
        ),
        ("gabble-initiate", (candidate(1, 54000, "L1"), candidate(2, 54001, "L2"))),
        (
            "jitsi-initiate",
            (
                candidate(1, 5000, "host1", type_=CandidateType.HOST),
                candidate(2, 5001, "host2", type_=CandidateType.HOST),
            ),
        ),
        ("yate-initiate", (candidate(1, 24000, "k3v"),)),
        ("yate-moved", (candidate(1, 24002, "k3w", generation=1),)),
        ("switji-initiate", (candidate(1, 16384, "", type_=CandidateType.HOST),)),
        ("sylk-initiate", (candidate(1, 50000, "100"), candidate(2, 50001, "101"))),
        ("dino-rawudp-accept", ()),
    ],
)
def test_raw_udp_of_each_client_is_read(name: str, candidates: tuple[Candidate, ...]) -> None:
    [content] = parse(stanza(name)).contents
    assert content.transport == RawUdp(candidates)


@pytest.mark.parametrize(
    ("name", "ufrag", "addresses", "components", "mux"),
    [
        ("libpurple-ice-accept", "be9Q", 4, {1, 2}, False),
        ("dino-ice-initiate", "Tm06", 2, {1, 2}, True),
        ("psi-ice-initiate", "uF1g", 0, set(), False),
        ("conversations-ice-initiate", "uF1g", 0, set(), True),
        ("conversations-ice-info", "uF1g", 1, {1}, False),
        ("conversations-omemo-initiate", "uF1g", 0, set(), True),
        ("movim-ice-initiate", "uF1g", 0, set(), True),
        ("gajim-ice-info", "uF1g", 1, {1}, False),
        ("gajim-ice-offer", "Oj+l", 4, {1, 2}, False),
    ],
)
def test_ice_of_each_client_is_read(
    name: str, ufrag: str, addresses: int, components: set[int], mux: bool
) -> None:
    [content] = parse(stanza(name)).contents
    transport = content.transport
    assert isinstance(transport, Ice)
    assert (transport.namespace, transport.ufrag, bool(transport.pwd)) == (
        ICE_UDP,
        ufrag,
        bool(ufrag),
    )
    assert len(transport.candidates) == addresses
    assert transport.components == components
    assert content.mux is mux


def ice(attributes: str, inside: str = "") -> Ice:
    """The transport of an offer with these attributes."""
    element = ET.fromstring(
        "<jingle xmlns='urn:xmpp:jingle:1' action='session-initiate' sid='s'>"
        "<content creator='initiator' name='a'>"
        f"<transport xmlns='{ICE_UDP}' {attributes}>{inside}</transport></content></jingle>"
    )
    [content] = parse(element).contents
    assert isinstance(content.transport, Ice)
    return content.transport


@pytest.mark.parametrize("attributes", ["", "ufrag='u'", "pwd='p'", f"ufrag='u' pwd='{'p' * 257}'"])
def test_half_or_endless_credentials_are_none(attributes: str) -> None:
    transport = ice(attributes)
    assert (transport.ufrag, transport.pwd) == ("", "")


def test_ice_candidates_that_cannot_be_read_are_left_to_the_parties() -> None:
    transport = ice(
        "ufrag='u' pwd='p'",
        "<candidate ip='a1b2.local' port='9' component='x'/>"
        "<candidate ip='192.0.2.1' port='9' protocol='tcp' component='1'/>"
        "<candidate ip='192.0.2.1' port='5' component='2' generation='3' type='host'/>",
    )
    [candidate] = transport.candidates
    assert candidate.address == TransportAddress.of("192.0.2.1", 5)
    assert transport.components == {1, 2}
    assert transport.generation == 3


def test_a_password_is_not_shown() -> None:
    assert "hush" not in repr(ice("ufrag='u' pwd='hush'"))


def test_a_whole_offer_is_read() -> None:
    offer = parse(stanza("libpurple-initiate"))
    assert offer.action is Action.SESSION_INITIATE
    assert offer.sid == "purple446fafbb"
    assert offer.initiator == JID.of("alice@x.test/desk")
    assert offer.responder == JID.of("bob@x.test/laptop")
    [content] = offer.contents
    assert content.key == ContentKey(Creator.INITIATOR, "audio-session")
    assert content.senders is Senders.BOTH
    assert content.media == "audio"
    assert (offer.reason, offer.info) == (None, None)


def test_transports_of_two_kinds_in_one_offer() -> None:
    first, second = parse(stanza("two-transports-kinds")).contents
    assert first.transport == RawUdp((candidate(1, 5000, "a1"),))
    assert isinstance(second.transport, Ice)
    assert (first.media, second.media) == ("audio", "video")


def test_ice_0_is_read_as_ice_udp_is() -> None:
    [content] = parse(stanza("psi-ice0-initiate")).contents
    assert isinstance(content.transport, Ice)
    assert content.transport.namespace == "urn:xmpp:jingle:transports:ice:0"
    assert content.transport.ufrag == "uF1g"


@pytest.mark.parametrize(
    ("name", "reason"),
    [("libpurple-terminate", Reason("success")), ("libpurple-decline", Reason("decline"))],
)
def test_ends_are_read(name: str, reason: Reason) -> None:
    end = parse(stanza(name))
    assert (end.action, end.reason, end.contents) == (Action.SESSION_TERMINATE, reason, ())


def test_a_nameless_content_of_movim_is_read() -> None:
    read = parse(stanza("movim-ice-info-nameless"))
    assert (read.sid, [content.key.name for content in read.contents]) == ("", [""])


# What they leave out


def test_what_is_missing_has_a_meaning() -> None:
    [content] = parse(
        jingle(
            raw("<candidate ip='192.0.2.5' port='1'/><candidate ip='2001:db8::1' port='65535'/>")
        )
    ).contents
    assert content.senders is None
    assert content.media is None
    assert content.transport == RawUdp(
        (candidate(1, 1, ""), candidate(1, 65535, "", ip="2001:db8::1"))
    )


def test_unknown_attributes_types_and_children_do_not_matter() -> None:
    [content] = parse(
        jingle(
            raw(
                "<candidate ip='192.0.2.5' port='7' type='strange' network='0' x='y' id='i'>"
                "<more/></candidate><other xmlns='urn:x'/>"
            )
        )
    ).contents
    assert content.transport == RawUdp((candidate(1, 7, "i"),))


@pytest.mark.parametrize("action", ["session-initiate", "content-add", "transport-info", "x"])
def test_a_missing_or_unknown_creator_is_the_initiator(action: str) -> None:
    for creator in ("", "creator='me'"):
        [content] = parse(jingle(raw("", f"name='a' {creator}"), action)).contents
        assert content.key == ContentKey(Creator.INITIATOR, "a")


def test_a_content_may_come_without_transport() -> None:
    [content] = parse(jingle("<content creator='responder' name='v' senders='none'/>")).contents
    assert content.transport is None
    assert content.senders is Senders.NONE
    assert content.key.creator is Creator.RESPONDER


def test_an_empty_stanza_is_enough() -> None:
    ping = parse(jingle(action="session-info"))
    assert (ping.contents, ping.info, ping.reason, ping.initiator) == ((), None, None, None)


@pytest.mark.parametrize("info", list(Info))
def test_infos_are_read(info: Info) -> None:
    payload = f"<x xmlns='urn:x'/><{info} xmlns='urn:xmpp:jingle:apps:rtp:info:1'/>"
    assert parse(jingle(payload, "session-info")).info is info
    assert parse(jingle(payload, "description-info")).info is None


def test_infos_of_others_are_not_ours_to_judge() -> None:
    assert parse(stanza("yate-trying")).info is None


def test_a_reason_may_have_any_condition_and_a_text() -> None:
    reason = "<reason><text>good bye</text><made-up/><x xmlns='urn:x'/></reason>"
    assert parse(jingle(reason, "session-terminate")).reason == Reason("made-up", "good bye")
    assert parse(jingle("<reason/>", "session-terminate")).reason is None
    only_text = "<reason><text>hm</text></reason>"
    assert parse(jingle(only_text, "session-terminate")).reason == Reason("", "hm")


# What is refused, and in which words


# What cannot be used is left out, and the rest is read


GOOD = "<candidate ip='192.0.2.9' port='9'/>"


def left_out(element: ET.Element) -> bool:
    """Whether only the good candidate beside it was read."""
    read = parse(element)
    [content] = read.contents
    assert read.is_whole, "a candidate that is left out is replaced all the same"
    return content.transport == RawUdp((candidate(1, 9, "", ip="192.0.2.9"),))


@pytest.mark.parametrize(
    "port",
    [
        "",
        "0",
        "65536",
        "99999",
        "-1",
        "+5",
        "1e9",
        " 5",
        "5 ",
        "٣",
        "5.0",
        "0x10",
        "007",
        "1_0",
        "9" * 5000,
    ],
)
def test_ports_that_are_none(port: str) -> None:
    element = jingle(raw("<candidate ip='192.0.2.5'/>" + GOOD))
    element[0][0][0].set("port", port)
    assert left_out(element)


@pytest.mark.parametrize(
    "ip",
    [
        "",
        "host.example",
        "fe80::1%eth0",
        "0177.0.0.1",
        "0x7f.1",
        "2130706433",
        "192.0.2",
        "1.2.3.4.5",
        "192.0.2.5 ",
        "[2001:db8::1]",
        "192.0.2.5:80",
        "192.0.2.256",
        "::ffff:1.2.3",
        "127.1",
        "abc.local",
    ],
)
def test_addresses_that_are_none(ip: str) -> None:
    element = jingle(raw("<candidate port='5'/>" + GOOD))
    element[0][0][0].set("ip", ip)
    assert left_out(element)


@pytest.mark.parametrize("component", ["0", "256", "-1", "x", ""])
def test_components_that_are_none(component: str) -> None:
    element = jingle(raw("<candidate ip='192.0.2.5' port='5'/>" + GOOD))
    element[0][0][0].set("component", component)
    assert left_out(element)


def test_a_v4_mapped_address_is_what_it_stands_for() -> None:
    [content] = parse(jingle(raw("<candidate ip='::ffff:192.0.2.5' port='5'/>"))).contents
    assert content.transport == RawUdp((candidate(1, 5, ""),))


KNOWN = "<transport xmlns='urn:xmpp:jingle:transports:raw-udp:1'/>"


@pytest.mark.parametrize(
    ("element", "whole"),
    [
        (ET.fromstring("<jingle xmlns='urn:x'/>"), True),
        (ET.fromstring("<jingle xmlns='urn:xmpp:jingle:1' sid='s'/>"), True),
        (jingle(action="session-invite"), True),
        (jingle(attributes=""), True),
        (jingle(attributes="sid='s' initiator='@' responder=''"), True),
        (jingle("<content creator='initiator'/>"), True),
        (jingle("<content creator='initiator' name='a' senders='rejected'/>"), True),
        (jingle("<content creator='initiator' name='a'/>" * 2), True),
        (jingle("".join(f"<content name='f{n}'/>" for n in range(40))), True),
        (jingle(f"<content name='a'><transport xmlns='urn:1'/>{KNOWN}</content>"), False),
        (jingle(f"<content name='a'>{KNOWN}</content>" * 2), False),
        (jingle("<content name='a'><transport xmlns='urn:1'/></content>" * 2), True),
    ],
)
def test_what_breaks_the_schemas_is_no_error(element: ET.Element, whole: bool) -> None:
    """Only where a transport of ours was not read the stanza cannot be rewritten."""
    assert parse(element).is_whole == whole


def test_the_same_name_by_two_creators_is_two_contents() -> None:
    both = "".join(f"<content creator='{c}' name='a'/>" for c in Creator)
    assert len(parse(jingle(both, "content-modify")).contents) == 2


def test_no_more_candidates_are_read_than_a_call_needs() -> None:
    [content] = parse(jingle(raw("<candidate ip='192.0.2.5' port='5'/>" * 100))).contents
    assert isinstance(content.transport, RawUdp)
    assert len(content.transport.candidates) == MOST_CANDIDATES


@pytest.mark.parametrize(
    ("described", "several"),
    [
        ('<payload-type id="0" name="PCMU"/>', False),
        ('<payload-type id="96" name="VP8"/><payload-type id="97" name="RTX"/>', True),
        ('<payload-type id="96" name="red"/>', False),
        ('<payload-type id="98" name="flexfec-03"/>', True),
        (f'<source xmlns="{names.SOURCES}" ssrc="1"/>', False),
        (
            f'<source xmlns="{names.SOURCES}" ssrc="1"/><source xmlns="{names.SOURCES}" ssrc="2"/>',
            True,
        ),
        (f'<ssrc-group xmlns="{names.SOURCES}" semantics="FID"/>', True),
    ],
)
def test_streams_beside_the_first_are_read_from_the_description(
    described: str, several: bool
) -> None:
    text = (
        f'<jingle xmlns="{names.JINGLE}" action="session-initiate" sid="a">'
        f'<content creator="initiator" name="x"><description xmlns="{names.RTP}" media="video">'
        f"{described}</description></content></jingle>"
    )
    [content] = parse(ET.fromstring(text)).contents
    assert content.several is several


@pytest.mark.parametrize(
    ("described", "events"),
    [
        ('<payload-type id="101" name="telephone-event" clockrate="8000"/>', {101}),
        ('<payload-type id="0" name="PCMU"/><payload-type id="96" name="Telephone-Event"/>', {96}),
        ('<payload-type id="128" name="telephone-event"/>', set()),
        ('<payload-type id="-1" name="telephone-event"/>', set()),
        ('<payload-type id="1e1" name="telephone-event"/><payload-type/>', set()),
        ('<payload-type name="telephone-event"/>', set()),
    ],
)
def test_key_presses_are_read_from_the_description(described: str, events: set[int]) -> None:
    text = (
        f'<jingle xmlns="{names.JINGLE}" action="session-initiate" sid="a">'
        f'<content creator="initiator" name="x"><description xmlns="{names.RTP}" media="audio">'
        f"{described}</description></content></jingle>"
    )
    [content] = parse(ET.fromstring(text)).contents
    assert content.events == events


@pytest.mark.parametrize(
    ("candidate", "odd"),
    [
        ("<candidate component='1' ip='192.0.2.1' port='9'/>", False),
        ("<candidate component='rtcp' ip='192.0.2.1' port='9'/>", True),
        ("<candidate component='1' ip='phone.local' port='9'/>", True),
    ],
)
def test_a_transport_tells_of_candidates_that_cannot_be_read(candidate: str, odd: bool) -> None:
    transport = f"<transport xmlns='urn:xmpp:jingle:transports:raw-udp:1'>{candidate}</transport>"
    content = f"<content creator='initiator' name='v'>{transport}</content>"
    head = "<jingle xmlns='urn:xmpp:jingle:1' action='transport-info' sid='s'>"
    (read,) = parse(ET.fromstring(f"{head}{content}</jingle>")).contents
    assert isinstance(read.transport, RawUdp)
    assert read.transport.odd is odd
