"""Every call that works without us works with us: what may be refused, ended, and told.

Stanzas go through codec, core and substitution, as from a server module and back to it.
"""

from typing import Any
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jingle_hnt.call.policy import IceMode
from jingle_hnt.errors import Unhidden
from jingle_hnt.fronts.xmpp.codec import parse
from jingle_hnt.fronts.xmpp.substitution import substitute
from jingle_hnt.jingle.budgets import BudgetPolicy
from jingle_hnt.jingle.effects import Answer, Bounce, Pass, Replace, Request
from jingle_hnt.jingle.policy import LimitPolicy
from jingle_hnt.model.jid import JID
from jingle_hnt.model.jingle import Action
from jingle_hnt.relay.binding import Flow
from jingle_hnt.relay.interfaces import Interface
from tests.fronts.xmpp.corpus import UNHURRIED, canonical
from tests.jingle.stage import ALICE, BOB, RELAY, Stage

ICE_UDP, RAW_UDP = "urn:xmpp:jingle:transports:ice-udp:1", "urn:xmpp:jingle:transports:raw-udp:1"
RTP = "urn:xmpp:jingle:apps:rtp:1"
UNBOUNDED: dict[str, Any] = {
    "limits": LimitPolicy(per_user=0, per_minute=0),
    "budgets": BudgetPolicy(*[0] * len(BudgetPolicy.__dataclass_fields__)),
}
MODES = list(IceMode)


class Play:
    """Two parties with a relay between them; `told` is what each receives."""

    def __init__(self, mode: IceMode = IceMode.APPEND) -> None:
        self.stage = Stage(ports=(2000, 9999), ice=mode, **UNBOUNDED)
        self.told: list[ET.Element] = []

    def says(self, sender: JID, jingle: str | ET.Element, to: JID | None = None) -> Answer:
        element = ET.fromstring(jingle) if isinstance(jingle, str) else jingle
        stage = self.stage
        stage.tokens += 1
        recipient = to or (BOB if sender == ALICE else ALICE)
        stage.registry.receive(Request(stage.tokens, sender, recipient, parse(element)), stage.now)
        stage.settle()
        answer = stage.answers[stage.tokens]
        if isinstance(answer, Replace):
            self.told.append(substitute(element, answer.substitution, answer.transports))
        elif isinstance(answer, Pass):
            self.told.append(element)
        return answer

    @property
    def last(self) -> ET.Element:
        return self.told[-1]


def addresses(element: ET.Element) -> set[str]:
    """Every address in it."""
    return {ip for each in element.iter() if (ip := each.get("ip"))}


def jingle(action: str, *contents: str, sid: str = "k7", more: str = "") -> str:
    inside = "".join(contents)
    return (
        f"<jingle xmlns='urn:xmpp:jingle:1' action='{action}' sid='{sid}' {more}>{inside}</jingle>"
    )


def ice(name: str = "0", *, ip: str = "192.0.2.50", media: str = "audio", who: str = "ann") -> str:
    """A content of an ICE agent; without `media` it says nothing but its transport."""
    described = f"<description xmlns='{RTP}' media='{media}'><rtcp-mux/></description>"
    candidate = (
        f"<candidate component='1' foundation='1' generation='0' id='c1' ip='{ip}' port='4000'"
        " priority='2130706431' network='0' protocol='udp' type='host'/>"
    )
    return (
        f"<content creator='initiator' name='{name}'>{described if media else ''}<transport"
        f" xmlns='{ICE_UDP}' ufrag='{who}U' pwd='{who}{'p' * 22}'>{candidate}</transport></content>"
    )


def raw(name: str = "0", ip: str = "192.0.2.50", more: str = "") -> str:
    return (
        f"<content creator='initiator' name='{name}'><description xmlns='{RTP}' media='audio'/>"
        f"<transport xmlns='{RAW_UDP}'><candidate component='1' generation='0' id='a' ip='{ip}'"
        f" port='7000'/>{more}</transport></content>"
    )


BARE = f"<content creator='initiator' name='0'><description xmlns='{RTP}' media='audio'/></content>"
DATA = (
    f"<content creator='initiator' name='data'><transport xmlns='{ICE_UDP}' ufrag='dU'"
    " pwd='dddddddddddddddddddddd'/></content>"
)
BEN = {"ip": "192.0.2.60", "who": "ben"}


# Whatever may come


WORDS = st.sampled_from(["", "initiator", "responder", "both", "rejected", "0", "voice", "x"])
CHILDREN = st.sampled_from(
    [
        f"<candidate xmlns='{ICE_UDP}' component='1' ip='192.0.2.1' port='5' protocol='udp'/>",
        f"<candidate xmlns='{RAW_UDP}' component='1' ip='192.0.2.1' port='5'/>",
        f"<candidate xmlns='{ICE_UDP}' component='rtcp' ip='a.local' port='0'/>",
        f"<candidate xmlns='{RAW_UDP}' ip='fe80::1%eth0'/>",
        "<fingerprint xmlns='urn:xmpp:jingle:apps:dtls:0'>AA</fingerprint>",
    ]
)


@st.composite
def contents(draw: st.DrawFn) -> str:
    transports = ""
    for _ in range(draw(st.sampled_from([0, 1, 1, 1, 2]))):
        namespace = draw(st.sampled_from([ICE_UDP, RAW_UDP, "urn:xmpp:jingle:transports:s5b:1"]))
        known = "ufrag='uuuu' pwd='pppppppppppppppppppppp'" if draw(st.booleans()) else ""
        inside = "".join(draw(st.lists(CHILDREN, max_size=3)))
        transports += f"<transport xmlns='{namespace}' {known}>{inside}</transport>"
    described = f"<description xmlns='{RTP}' media='audio'/>" if draw(st.booleans()) else ""
    attributes = " ".join(
        f"{name}='{draw(WORDS)}'" for name in ("creator", "name", "senders") if draw(st.booleans())
    )
    return f"<content {attributes}>{described}{transports}</content>"


ACTIONS = st.sampled_from([*Action, Action.SESSION_INITIATE, Action.SESSION_ACCEPT, "x-more"])
STANZAS = st.builds(
    lambda action, inside, sid: ET.fromstring(jingle(str(action), *inside, sid=sid)),
    ACTIONS,
    st.lists(contents(), max_size=4),
    st.sampled_from(["a", "a", "b", ""]),
)
SAID = st.lists(st.tuples(st.sampled_from([ALICE, BOB]), STANZAS), min_size=1, max_size=8)


@given(mode=st.sampled_from(MODES), said=SAID)
@settings(UNHURRIED, max_examples=300)
def test_nothing_is_refused_but_what_would_tell_a_hidden_address(
    mode: IceMode, said: list[tuple[JID, ET.Element]]
) -> None:
    play = Play(mode)
    followed = set[str]()
    for sender, stanza in said:
        before = len(play.told)
        answer = play.says(sender, stanza)
        if isinstance(answer, Bounce):
            assert mode is IceMode.TERMINATE
            other_kind = "has another transport" in answer.error.text
            assert answer.error == Unhidden().answer or other_kind
            continue
        assert len(play.told) == before + 1
        followed |= {session.sid for session in play.stage.registry}
        if mode is IceMode.TERMINATE and stanza.get("sid") in followed:
            for transport in play.last.iter(f"{{{ICE_UDP}}}transport"):
                told = transport.findall(f"{{{ICE_UDP}}}candidate")
                assert not any(candidate.get("ip") == "192.0.2.1" for candidate in told)
                assert transport.get("ufrag") != "uuuu"
        if isinstance(answer, Pass):
            assert canonical(play.last) == canonical(stanza)
    carried = any(session.negotiation.allocations for session in play.stage.registry)
    play.stage.passes(90_000.0)
    if not carried:
        assert not play.stage.injected, "a call that has no media of ours is ended by us"


# One of each kind


@pytest.mark.parametrize("mode", MODES)
def test_a_phone_rings_as_long_as_its_user_likes(mode: IceMode) -> None:
    for content in (ice(), raw()):
        play = Play(mode)
        play.says(ALICE, jingle("session-initiate", content))
        play.stage.passes(4000.0)
        assert not play.stage.ended
        answer = play.says(BOB, jingle("session-accept", content))
        assert isinstance(answer, Pass if content == ice() and mode is IceMode.PASS else Replace)
        assert all(flow > Flow.NOMINAL for flow in play.stage.plane.flows.get("s1.1.1", ()))


def test_ports_of_offers_that_ring_for_long_are_given_to_who_needs_them() -> None:
    play = Play()
    play.stage = Stage(ports=(2000, 2029), interfaces=(Interface(RELAY, RELAY),), **UNBOUNDED)
    for number in range(7):
        play.says(ALICE, jingle("session-initiate", raw(), sid=f"rings-{number}"))
    play.stage.passes(121.0)
    for sid in ("too soon", "next"):  # the quarantine of what is given up passes between
        play.says(ALICE, jingle("session-initiate", raw(), sid=sid))
        play.stage.drain()
    assert not play.stage.injected, "nobody is told: their phones may ring on"
    sids = [session.sid for session in play.stage.registry]
    assert sids == [*(f"rings-{number}" for number in range(2, 7)), "next"]


@pytest.mark.parametrize("mode", [IceMode.APPEND, IceMode.TERMINATE])
@pytest.mark.parametrize("offer", [BARE, DATA + BARE])
def test_a_transport_that_comes_later_is_relayed(mode: IceMode, offer: str) -> None:
    play = Play(mode)
    play.says(ALICE, jingle("session-initiate", offer))
    assert isinstance(play.says(ALICE, jingle("transport-info", ice(media=""))), Replace)
    assert str(RELAY) in addresses(play.last)
    assert ("192.0.2.50" in addresses(play.last)) == (mode is IceMode.APPEND)
    assert isinstance(play.says(BOB, jingle("session-accept", ice(**BEN))), Replace)
    assert str(RELAY) in addresses(play.last)
    assert ("192.0.2.60" in addresses(play.last)) == (mode is IceMode.APPEND)


def test_raw_udp_that_comes_later_is_relayed() -> None:
    play = Play()
    play.says(ALICE, jingle("session-initiate", BARE))
    play.says(ALICE, jingle("transport-info", raw()))
    assert addresses(play.last) == {str(RELAY)}


@pytest.mark.parametrize("mode", [IceMode.APPEND, IceMode.TERMINATE])
def test_audio_may_be_added_to_a_data_channel(mode: IceMode) -> None:
    play = Play(mode)
    play.says(ALICE, jingle("session-initiate", DATA))
    play.says(BOB, jingle("session-accept", DATA))
    assert isinstance(play.says(BOB, jingle("content-add", ice("1", **BEN))), Replace)
    assert str(RELAY) in addresses(play.last)


@pytest.mark.parametrize("mode", [IceMode.APPEND, IceMode.TERMINATE])
def test_what_crosses_a_reject_tells_nothing_that_is_hidden(mode: IceMode) -> None:
    play = Play(mode)
    play.says(ALICE, jingle("session-initiate", ice()))
    play.says(BOB, jingle("session-accept", ice(**BEN)))
    play.says(ALICE, jingle("content-add", ice("1")))
    play.says(BOB, jingle("content-reject", "<content creator='initiator' name='1'/>"))
    answer = play.says(ALICE, jingle("transport-info", ice("1", media="")))
    assert not isinstance(answer, Bounce)
    assert ("192.0.2.50" in addresses(play.last)) == (mode is IceMode.APPEND)


def test_a_content_that_nobody_showed_us_is_joined_between_agents() -> None:
    play = Play()
    play.says(ALICE, jingle("session-initiate", ice()))
    play.says(BOB, jingle("session-accept", ice(**BEN)))
    for action, sender in (("transport-info", ALICE), ("content-accept", BOB)):
        content = ice("unseen", media="" if sender is ALICE else "video", who=sender.local)
        assert isinstance(play.says(sender, jingle(action, content)), Replace)
        assert str(RELAY) in addresses(play.last)


ROOM_BEN, ROOM_ANN = JID.of("room@conf.example.org/be"), JID.of("room@conf.example.org/an")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("content", [ice, raw])
def test_occupants_of_a_room_are_followed(mode: IceMode, content: object) -> None:
    """XEP-0045: the room rewrites from and to, so offer and accept are of two pairs."""
    assert callable(content)
    play = Play(mode)
    play.says(ALICE, jingle("session-initiate", content()), to=ROOM_BEN)
    answer = play.says(BOB, jingle("session-accept", content(ip="192.0.2.60")), to=ROOM_ANN)
    if mode is IceMode.PASS and content is ice:
        assert isinstance(answer, Pass)
    else:
        assert isinstance(answer, Replace)
        assert str(RELAY) in addresses(play.last)
        info = jingle("transport-info", content(ip="192.0.2.61"))
        assert not isinstance(play.says(BOB, info, to=ROOM_ANN), Bounce)
    play.stage.reborn()
    assert not isinstance(play.says(BOB, jingle("session-info"), to=ROOM_ANN), Bounce)
    play.stage.passes(90_000.0)
    assert not play.stage.injected, "we can tell them nothing in each other's name"
    play.stage.assert_nothing_left()


def test_another_device_of_who_was_called_may_answer() -> None:
    play = Play()
    play.says(ALICE, jingle("session-initiate", raw()))
    other = JID.of(f"{BOB.bare}/watch")
    answer = play.says(other, jingle("session-accept", raw(ip="192.0.2.60")), to=ALICE)
    assert isinstance(answer, Replace)
    assert not isinstance(play.says(other, jingle("session-info"), to=ALICE), Bounce)


def test_who_only_guesses_the_room_or_the_account_is_nobody() -> None:
    play = Play()
    play.says(ALICE, jingle("session-initiate", raw()), to=ROOM_BEN)
    stranger = JID.of("mallory@elsewhere.example/x")
    for to in (ALICE, ROOM_BEN, JID.of("other@conf.example.org/an")):
        accept = jingle("session-accept", raw(ip="192.0.2.66"))
        assert isinstance(play.says(stranger, accept, to=to), Pass)
    (session,) = play.stage.registry
    assert session.alias is None


@pytest.mark.parametrize(
    "transfer",
    [
        "<content name='f'><transport xmlns='urn:xmpp:jingle:transports:s5b:1' sid='v'/></content>",
        "".join(f"<content creator='initiator' name='f{n}'/>" for n in range(40)),
        f"<content name='f'><x xmlns='urn:x'>{'long ' * 20_000}</x></content>",
    ],
)
def test_a_file_transfer_is_not_ours(transfer: str) -> None:
    for mode in MODES:
        play = Play(mode)
        for action in ("session-initiate", "transport-info", "session-accept", "content-add"):
            for sender in (ALICE, BOB):
                assert isinstance(play.says(sender, jingle(action, transfer)), Pass)
        assert len(play.stage.registry) == 0


def test_a_candidate_that_nobody_can_use_costs_no_call() -> None:
    odd = "<candidate component='rtcp' id='z' ip='fe80::54a9:1%21' port='0'/>"
    play = Play()
    assert isinstance(play.says(ALICE, jingle("session-initiate", raw(more=odd))), Replace)
    assert addresses(play.last) == {str(RELAY)}


def test_a_request_without_a_sid_means_the_only_session_of_the_two() -> None:
    """Movim's transport-info names neither the session nor the content."""
    play = Play(IceMode.TERMINATE)
    play.says(ALICE, jingle("session-initiate", ice()))
    nameless = ET.fromstring(jingle("transport-info", ice("", media=""), sid=""))
    assert isinstance(play.says(ALICE, nameless), Replace)
    assert "192.0.2.50" not in addresses(play.last)
