"""Requests and errors of our own, as the specifications write them."""

from dataclasses import replace
from xml.etree import ElementTree as ET

import pytest

from jingle_hnt.errors import Condition, JingleCondition, StanzaError
from jingle_hnt.fronts.xmpp.codec import parse
from jingle_hnt.fronts.xmpp.requests import build, build_terminate, error_element
from jingle_hnt.model.address import TransportAddress
from jingle_hnt.model.content import (
    Candidate,
    CandidateType,
    Content,
    ContentKey,
    Creator,
    Ice,
    OtherTransport,
    RawUdp,
    Senders,
)
from jingle_hnt.model.jid import JID
from jingle_hnt.model.jingle import Action, Info, Jingle, Reason
from tests.fronts.xmpp.corpus import canonical

KEY = ContentKey(Creator.INITIATOR, "audio")


def test_a_terminate_with_reason_and_text() -> None:
    element = build_terminate("s1", Reason("timeout", "no <media>"), JID.of("a@x.example/1"))
    wanted = (
        "<jingle xmlns='urn:xmpp:jingle:1' action='session-terminate' sid='s1'"
        " initiator='a@x.example/1'><reason><timeout/><text>no &lt;media&gt;</text></reason>"
        "</jingle>"
    )
    assert canonical(element) == canonical(ET.fromstring(wanted))


@pytest.mark.parametrize(
    "jingle",
    [
        Jingle(Action.SESSION_INFO, "s"),
        Jingle(Action.SESSION_INFO, "s", info=Info.HOLD),
        Jingle(Action.SESSION_TERMINATE, "s", reason=Reason("success")),
        Jingle(
            Action.TRANSPORT_INFO,
            "s",
            initiator=JID.of("a@x.example/1"),
            responder=JID.of("b@x.example/2"),
            contents=(
                Content(
                    KEY,
                    Senders.BOTH,
                    RawUdp(
                        (
                            Candidate(
                                1,
                                3,
                                TransportAddress.of("2001:db8::9", 30000),
                                "r1",
                                CandidateType.RELAY,
                            ),
                        )
                    ),
                ),
                Content(ContentKey(Creator.RESPONDER, "video")),
            ),
        ),
    ],
)
def test_what_is_built_reads_back(jingle: Jingle) -> None:
    assert parse(build(jingle)) == jingle


def test_our_candidates_beside_those_of_an_agent() -> None:
    ours = Candidate(1, 2, TransportAddress.of("203.0.113.9", 30000), "r1")
    ice = Ice("urn:xmpp:jingle:transports:ice-udp:1", "uf", "pw", (ours,))
    jingle = Jingle(Action.TRANSPORT_INFO, "s", contents=(Content(KEY, transport=ice),))
    (content,) = parse(build(jingle)).contents
    assert isinstance(content.transport, Ice)
    assert (content.transport.ufrag, content.transport.pwd) == ("uf", "pw")
    (read,) = content.transport.candidates
    assert (read.address, read.generation) == (ours.address, 2)
    assert read.type is CandidateType.RELAY


def test_what_only_the_parties_know_is_not_written() -> None:
    jingle = Jingle(Action.TRANSPORT_INFO, "s")
    for content in (Content(KEY, media="audio"), Content(KEY, transport=OtherTransport("urn:x"))):
        with pytest.raises(ValueError, match="initiator:audio"):
            build(replace(jingle, contents=(content,)))


def test_an_error_of_jingle() -> None:
    error = StanzaError(
        Condition.ITEM_NOT_FOUND, "cancel", "no such session", JingleCondition.UNKNOWN_SESSION
    )
    wanted = (
        "<error xmlns='jabber:component:accept' type='cancel'>"
        "<item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>"
        "<text xmlns='urn:ietf:params:xml:ns:xmpp-stanzas' xml:lang='en'>no such session</text>"
        "<unknown-session xmlns='urn:xmpp:jingle:errors:1'/></error>"
    )
    assert canonical(error_element(error)) == canonical(ET.fromstring(wanted))


def test_an_error_without_more_to_say() -> None:
    element = error_element(StanzaError(Condition.FORBIDDEN, "auth", ""))
    assert [child.tag.rpartition("}")[2] for child in element] == ["forbidden"]
