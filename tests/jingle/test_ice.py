"""Calls between ICE agents, in which the relay is one more candidate (RFC 7584, optional)."""

from dataclasses import replace
from ipaddress import ip_address

import pytest

from jingle_hnt.call.life import Why
from jingle_hnt.call.policy import IceMode, Times
from jingle_hnt.jingle.effects import Gone, Moved, Pass, Passed, Replace, Request
from jingle_hnt.jingle.record import dump, load
from jingle_hnt.model.address import TransportAddress
from jingle_hnt.model.content import Candidate, CandidateType, Content, ContentKey, Ice, Senders
from jingle_hnt.model.jid import JID
from jingle_hnt.model.jingle import Action, Info, Jingle
from jingle_hnt.relay.binding import Arm, Flow, Latched, Side
from jingle_hnt.relay.evidence import IceKey, SourceAuth
from tests.jingle.stage import ALICE, BOB, CAMERA, RELAY, VOICE, Stage, content

NAMESPACE = "urn:xmpp:jingle:transports:ice-udp:1"
OF_ALICE, OF_BOB = ("Aufrag", "pwd-of-alice"), ("Bufrag", "pwd-of-bob")
ALICES_KEY = IceKey("Bufrag:Aufrag", "pwd-of-bob")
BOBS_KEY = IceKey("Aufrag:Bufrag", "pwd-of-alice")
AT_ONCE = 0.0
"""No direct path is waited for."""
WAITING, OPEN = (Flow.WAITING, Flow.WAITING), (Flow.OPEN, Flow.OPEN)


def ice(
    credentials: tuple[str, str] = ("", ""),
    components: tuple[int, ...] = (1, 2),
    generation: int = 0,
    key: ContentKey = VOICE,
    mux: bool = False,
    media: str | None = "audio",
    senders: Senders | None = None,
) -> Content:
    """A content with a host candidate for each of these components."""
    address = TransportAddress.of("192.0.2.10", 5000)
    candidates = tuple(
        Candidate(c, generation, address, f"c{c}", CandidateType.HOST) for c in components
    )
    greatest = generation if components else None
    transport = Ice(NAMESPACE, *credentials, candidates, frozenset(components), greatest)
    return Content(key, senders, transport, media, mux)


def informs(stage: Stage, who: JID, *contents: Content) -> object:
    told = tuple(replace(c, media=None, mux=False) for c in contents)
    return stage.says(who, Action.TRANSPORT_INFO, *told)


def offered(stage: Stage, *contents: Content) -> Replace:
    answer = stage.says(ALICE, Action.SESSION_INITIATE, *(contents or (ice(OF_ALICE),)))
    assert isinstance(answer, Replace)
    return answer


def accepted(stage: Stage, *contents: Content) -> Replace:
    answer = stage.says(BOB, Action.SESSION_ACCEPT, *(contents or (ice(OF_BOB),)))
    assert isinstance(answer, Replace)
    return answer


def called(**options: object) -> Stage:
    """A call that was offered and accepted."""
    stage = Stage(**options)  # type: ignore[arg-type]
    offered(stage)
    accepted(stage)
    return stage


def armed(stage: Stage, side: int = 0, component: int = 1, name: str = "s1.1") -> Arm:
    return stage.plane.armed[f"{name}.{component}", 0 if side == 0 else 1]


def components(answer: object, key: ContentKey = VOICE) -> list[int]:
    """Our components in a stanza that went on; none where it passed."""
    if isinstance(answer, Pass):
        return []
    assert isinstance(answer, Replace)
    return [c.component for c in answer.substitution.get(key, ())]


@pytest.mark.rule("I3", "L1")
def test_each_party_is_offered_the_port_that_faces_it() -> None:
    stage = Stage()
    to_bob = offered(stage).substitution[VOICE]
    to_alice = accepted(stage).substitution[VOICE]
    for number, component in enumerate((1, 2)):
        first, second = stage.plane.bindings[f"s1.1.{component}"].pinholes
        assert to_alice[number].address == first
        assert to_bob[number].address == second
    assert {c.type for c in (*to_bob, *to_alice)} == {CandidateType.RELAY}


@pytest.mark.rule("I3")
def test_checks_are_expected_named_and_signed_for_the_other_party() -> None:
    stage = Stage(direct_first_s=AT_ONCE)
    offered(stage)
    early = {key: arm.evidence.keys for key, arm in stage.plane.armed.items()}
    expected = (IceKey(f"{OF_ALICE[0]}:", OF_ALICE[1]),)
    assert early == {("s1.1.1", 1): expected, ("s1.1.2", 1): expected}
    accepted(stage)
    for component in (1, 2):
        assert armed(stage, 0, component).evidence.keys == (ALICES_KEY,)
        assert armed(stage, 1, component).evidence.keys == (BOBS_KEY,)
    evidence = armed(stage).evidence
    assert evidence.source_auth is SourceAuth.ICE_INTEGRITY
    assert not evidence.admits(TransportAddress.of("203.0.113.9", 1).ip)
    assert stage.plane.flows["s1.1.1"] == (Flow.OPEN, Flow.OPEN)


@pytest.mark.rule("I1")
def test_in_the_other_mode_everything_passes() -> None:
    stage = Stage(ice=IceMode.PASS)
    assert isinstance(stage.says(ALICE, Action.SESSION_INITIATE, ice(OF_ALICE)), Pass)
    assert isinstance(stage.says(BOB, Action.SESSION_ACCEPT, ice(OF_BOB)), Pass)
    assert stage.pool.counts.leased == 0


def test_without_credentials_there_is_nothing_to_join_until_they_come() -> None:
    stage = Stage()
    assert isinstance(stage.says(ALICE, Action.SESSION_INITIATE, ice()), Pass)
    assert components(informs(stage, ALICE, ice(OF_ALICE))) == [1, 2]
    assert components(accepted(stage)) == [1, 2]
    assert armed(stage).evidence.keys == (ALICES_KEY,)


@pytest.mark.rule("I3")
def test_trickled_candidates_get_no_second_set_of_ours() -> None:
    stage = called()
    for _ in range(3):
        assert isinstance(informs(stage, ALICE, ice(OF_ALICE)), Pass)
        assert isinstance(informs(stage, BOB, ice()), Pass)


@pytest.mark.parametrize(
    ("offer", "answer", "to_bob", "to_alice"),
    [
        ((False, (1, 2)), (False, (1, 2)), [1, 2], [1, 2]),
        ((True, (1, 2)), (True, (1,)), [1, 2], [1]),
        ((True, (1, 2)), (True, (1, 2)), [1, 2], [1]),
        ((True, (1, 2)), (False, (1, 2)), [1, 2], [1, 2]),
        ((True, ()), (True, ()), [1], [1]),
        ((True, (1,)), (False, (1, 2)), [1], [1, 2]),
    ],
)
def test_rtcp_gets_a_port_unless_it_goes_with_rtp(
    offer: tuple[bool, tuple[int, ...]],
    answer: tuple[bool, tuple[int, ...]],
    to_bob: list[int],
    to_alice: list[int],
) -> None:
    stage = Stage()
    mux, own = offer
    assert components(offered(stage, ice(OF_ALICE, own, mux=mux))) == to_bob
    mux, own = answer
    assert components(accepted(stage, ice(OF_BOB, own, mux=mux))) == to_alice


def test_rtcp_gets_its_port_when_its_first_candidate_comes() -> None:
    stage = Stage()
    assert components(offered(stage, ice(OF_ALICE, (), mux=True))) == [1]
    assert components(informs(stage, ALICE, ice(OF_ALICE, (1,)))) == []
    assert components(informs(stage, ALICE, ice(OF_ALICE, (2,)))) == [2]


def test_rtcp_that_goes_with_rtp_needs_no_port_after_a_restart_either() -> None:
    stage = Stage()
    offered(stage, ice(OF_ALICE, (1, 2), mux=True))
    accepted(stage, ice(OF_BOB, (1,), mux=True))
    assert components(informs(stage, ALICE, ice(("A2", "pwd2"), (1, 2)))) == [1]


@pytest.mark.rule("L2")
def test_an_agent_is_given_the_family_of_its_connection_where_it_can_use_both() -> None:
    stage = Stage()
    offer = ice(OF_ALICE)
    assert isinstance(offer.transport, Ice)
    texts = ("fe80::1", "2001:db8:1::5", "192.0.2.10")
    both = tuple(Candidate(1, 0, TransportAddress.of(ip, 5000)) for ip in texts)
    offered(stage, replace(offer, transport=replace(offer.transport, candidates=both)))
    assert accepted(stage).substitution[VOICE][0].address.ip.version == 4


@pytest.mark.rule("L2")
def test_an_agent_that_has_ipv6_only_is_given_that() -> None:
    """Link-local addresses of the other family do not count."""
    stage = Stage()
    offer = ice(OF_ALICE)
    assert isinstance(offer.transport, Ice)
    texts = ("169.254.1.1", "2001:db8:1::5")
    six = tuple(Candidate(1, 0, TransportAddress.of(ip, 5000)) for ip in texts)
    offered(stage, replace(offer, transport=replace(offer.transport, candidates=six)))
    assert accepted(stage).substitution[VOICE][0].address.ip.version == 6


def test_a_data_channel_has_one_component() -> None:
    stage = Stage()
    data = ice(OF_ALICE, (1,), key=CAMERA, media=None)
    answer = offered(stage, ice(OF_ALICE), data)
    assert components(answer) == [1, 2]
    assert components(answer, CAMERA) == [1]


def test_each_content_has_ports_of_its_own_whatever_is_bundled() -> None:
    stage = Stage()
    answer = offered(stage, ice(OF_ALICE), ice(OF_ALICE, key=CAMERA))
    addresses = [c.address for key in (VOICE, CAMERA) for c in answer.substitution[key]]
    assert len(set(addresses)) == 4


@pytest.mark.rule("L4", "I3")
def test_a_restart_brings_new_keys_and_the_old_hold_on() -> None:
    stage = called()
    stage.latch("s1.1.1", 0, "198.51.100.1")
    before = armed(stage).generation
    first = informs(stage, ALICE, ice(("A2", "pwd2"), generation=1))
    assert isinstance(first, Replace)
    assert {c.generation for c in first.substitution[VOICE]} == {1}
    assert armed(stage).generation > before
    assert armed(stage).evidence.keys == (ALICES_KEY,)
    second = informs(stage, BOB, ice(("B2", "pwd3"), generation=1))
    assert components(second) == [1, 2]
    assert armed(stage).evidence.keys[0] == IceKey("B2:A2", "pwd3")
    assert ALICES_KEY in armed(stage).evidence.keys
    assert armed(stage, 1).evidence.keys[0] == IceKey("A2:B2", "pwd2")
    pinhole = stage.registry.calls.pinhole("s1.1.1", 0)
    assert pinhole is not None
    assert pinhole.learned == TransportAddress.of("198.51.100.1", 40000)


@pytest.mark.parametrize("mode", [IceMode.APPEND, IceMode.TERMINATE])
def test_a_late_candidate_of_before_a_restart_begins_no_other_one(mode: IceMode) -> None:
    """RFC 8838 section 8: what belongs to an earlier generation is no news of this one."""
    stage = called(ice=mode)
    informs(stage, ALICE, ice(("new", "pwd-new")))
    before, draws = stage.picture(), stage.draws
    late = informs(stage, ALICE, ice(OF_ALICE))
    assert components(late) == []
    assert stage.picture() == before
    assert stage.draws == draws
    (session,) = stage.registry
    agents = session.negotiation.media[VOICE].agents
    assert agents is not None
    assert agents.of[0].credentials[0].ufrag == "new"


@pytest.mark.parametrize("action", [Action.SESSION_ACCEPT, Action.CONTENT_ACCEPT])
@pytest.mark.parametrize("mode", [IceMode.APPEND, IceMode.TERMINATE])
def test_an_answer_that_is_said_twice_has_our_candidates_twice(
    mode: IceMode, action: Action
) -> None:
    """COMPAT gajim-accepts-twice: who reads the second one anew is to find the relay in it."""
    stage = Stage(ice=mode)
    offered(stage)
    once = accepted(stage)
    again = stage.says(BOB, action, ice(OF_BOB))
    assert again == replace(once, token=stage.tokens)
    assert stage.pool.counts.leased == 4


@pytest.mark.parametrize("mode", [IceMode.APPEND, IceMode.TERMINATE])
def test_a_content_that_is_added_once_more_has_our_candidates_again(mode: IceMode) -> None:
    stage = Stage(ice=mode)
    offered(stage)
    accepted(stage)
    added = stage.says(ALICE, Action.CONTENT_ADD, ice(OF_ALICE, key=CAMERA))
    stage.says(BOB, Action.CONTENT_ACCEPT, ice(OF_BOB, key=CAMERA))
    again = stage.says(ALICE, Action.CONTENT_ADD, ice(OF_ALICE, key=CAMERA))
    assert isinstance(added, Replace)
    assert again == replace(added, token=stage.tokens)


@pytest.mark.parametrize("action", [Action.CONTENT_REJECT, Action.CONTENT_REMOVE])
def test_candidates_that_cross_the_end_of_their_content_take_no_ports(action: Action) -> None:
    stage = called()
    stage.says(ALICE, Action.CONTENT_ADD, ice(OF_ALICE, key=CAMERA))
    stage.says(BOB, action, Content(CAMERA))
    assert isinstance(informs(stage, ALICE, ice(OF_ALICE, key=CAMERA)), Pass)
    assert stage.pool.counts.leased == 4
    assert components(stage.says(ALICE, Action.CONTENT_ADD, ice(OF_ALICE, key=CAMERA)), CAMERA)


@pytest.mark.parametrize(("first", "second"), [(ALICE, BOB), (BOB, ALICE)])
def test_no_check_goes_from_a_new_life_to_the_old_one_of_the_other(first: JID, second: JID) -> None:
    """Nor does it after the answer, which may be on its way to who asks; a second restart is like
    the first, whoever begins it."""
    stage = called()
    for n in (1, 2):
        informs(stage, first, ice((f"1st{n}", "p"), generation=n))
        side = 0 if first is ALICE else 1
        assert not any(f":1st{n}" in key.username for key in armed(stage, side).evidence.keys)
        informs(stage, second, ice((f"2nd{n}", "p"), generation=n))
        names = [key.username for key in armed(stage, side).evidence.keys]
        assert [name for name in names if f":1st{n}" in name] == [f"2nd{n}:1st{n}"]
        other = [key.username for key in armed(stage, 1 - side).evidence.keys]
        assert other[0] == f"1st{n}:2nd{n}"
        first, second = second, first


def test_a_caller_may_renew_its_credentials_while_it_rings() -> None:
    stage = Stage(direct_first_s=AT_ONCE)
    offered(stage)
    informs(stage, ALICE, ice(("A2", "pwd2")))
    accepted(stage)
    assert armed(stage).evidence.keys[0] == IceKey("Bufrag:A2", "pwd-of-bob")


def test_only_two_lives_of_credentials_are_known() -> None:
    stage = called()
    for number in range(5):
        informs(stage, ALICE, ice((f"A{number}", "p")))
        informs(stage, BOB, ice((f"B{number}", "p")))
    names = [key.username for key in armed(stage).evidence.keys]
    assert names == ["B4:A4", "B4:A3", "B3:A3"]


def test_a_restart_without_candidates_counts_on() -> None:
    stage = called()
    answer = informs(stage, ALICE, ice(("A2", "pwd2"), components=()))
    assert isinstance(answer, Replace)
    assert {c.generation for c in answer.substitution[VOICE]} == {1}


def test_where_the_xmpp_connection_comes_from_changes_nothing() -> None:
    stage = called()
    before = dict(stage.plane.armed)
    stage.registry.moved(Moved(ALICE, ip_address("198.51.100.77")), stage.now)
    stage.settle()
    assert stage.plane.armed == before


@pytest.mark.rule("I3")
def test_a_call_on_a_direct_path_lives_on_when_our_ports_are_released() -> None:
    stage = called(idle_s=60.0)
    stage.passes(59)
    assert stage.plane.bindings
    stage.passes(1)
    assert stage.plane.bindings == {}
    stage.drain()
    assert stage.pool.counts.leased == 0
    stage.passes(20_000)
    assert (len(stage.registry), stage.ended, stage.injected) == (1, [], [])


@pytest.mark.rule("I3")
def test_a_relayed_call_keeps_its_ports_through_its_silence_and_gives_up_what_is_unused() -> None:
    stage = Stage()
    offered(stage, ice(OF_ALICE), ice(OF_ALICE, key=CAMERA))
    accepted(stage, ice(OF_BOB), ice(OF_BOB, key=CAMERA))
    stage.latch("s1.1.1", 0, "198.51.100.1")
    stage.latch("s1.1.1", 1, "198.51.100.2")
    stage.passes(300)
    assert set(stage.plane.bindings) == {"s1.1.1", "s1.1.2"}
    stage.silent("s1.1.1", 0)
    stage.silent("s1.1.1", 1)
    stage.passes(59)
    stage.heard("s1.1.1", 1)
    stage.passes(300)
    assert "s1.1.1" in stage.plane.bindings
    stage.silent("s1.1.1", 1)
    stage.passes(60)
    assert stage.plane.bindings == {}
    assert stage.ended == []


def test_each_place_is_released_in_its_own_time() -> None:
    stage = Stage(idle_s=60.0)
    offered(stage, ice(OF_ALICE), ice(OF_ALICE, key=CAMERA))
    accepted(stage, ice(OF_BOB), ice(OF_BOB, key=CAMERA))
    stage.latch("s1.1.1", 0, "198.51.100.1")
    stage.passes(30)
    stage.silent("s1.1.1", 0)
    stage.passes(30)
    assert set(stage.plane.bindings) == {"s1.1.1", "s1.1.2"}
    stage.passes(30)
    assert stage.plane.bindings == {}


def test_a_place_is_kept_for_as_long_as_the_call_rings() -> None:
    stage = Stage(idle_s=60.0)
    offered(stage)
    stage.passes(100)
    accepted(stage)
    stage.passes(59)
    assert stage.plane.bindings
    stage.passes(1)
    assert stage.plane.bindings == {}


def test_what_was_learned_while_new_keys_were_on_their_way_counts() -> None:
    stage = called()
    order = armed(stage)
    informs(stage, ALICE, ice(("A2", "pwd2"), generation=1))
    source = TransportAddress.of("198.51.100.1", 40000)
    told = Latched("s1.1.1", 0, order.generation, source, relatched=False, after_s=0.1)
    stage.registry.calls.on_event(told, stage.now)
    stage.settle()
    stage.passes(1000)
    assert "s1.1.1" in stage.plane.bindings


def test_a_transport_that_replaces_ice_follows_its_own_rules() -> None:
    stage = called()
    stage.says(ALICE, Action.TRANSPORT_REPLACE, content())
    stage.says(BOB, Action.TRANSPORT_ACCEPT, stage.bobs())
    assert armed(stage, name="s1.2").evidence.source_auth is SourceAuth.SIGNALLING_ADDRESS
    stage.passes(31)
    assert [ended.why for ended in stage.ended] == [Why.NO_MEDIA]


def replaced(stage: Stage) -> None:
    """Alice offers new ICE in place of the transport in use, and Bob takes it."""
    offer = ice(("A2", "pwd2"), media=None)
    assert components(stage.says(ALICE, Action.TRANSPORT_REPLACE, offer)) == [1, 2]
    assert isinstance(informs(stage, ALICE, ice(("A2", "pwd2"), components=(1,))), Pass)
    answer = stage.says(BOB, Action.TRANSPORT_ACCEPT, ice(("B2", "pwd3"), media=None))
    assert components(answer) == [1, 2]


@pytest.mark.parametrize("before", ["raw udp", "ice"])
def test_ice_that_replaces_a_transport_has_its_place_too(before: str) -> None:
    if before == "ice":
        stage = called(direct_first_s=AT_ONCE)
    else:
        stage = Stage(direct_first_s=AT_ONCE)
        stage.call()
    replaced(stage)
    assert set(stage.plane.bindings) == {"s1.2.1", "s1.2.2"}
    assert armed(stage, name="s1.2").evidence.keys == (IceKey("B2:A2", "pwd3"),)
    assert stage.plane.flows["s1.2.1"] == (Flow.OPEN, Flow.OPEN)
    stage.says(BOB, Action.SESSION_TERMINATE)
    stage.assert_nothing_left()


def test_ice_on_offer_changes_nothing_of_the_transport_in_use() -> None:
    stage = called(direct_first_s=AT_ONCE)
    before = armed(stage)
    stage.says(ALICE, Action.TRANSPORT_REPLACE, ice(("A2", "pwd2"), media=None))
    informs(stage, ALICE, ice(("A2", "pwd2"), components=(1,)))
    assert armed(stage) == before
    stage.says(BOB, Action.TRANSPORT_REJECT, ice(media=None))
    assert set(stage.plane.bindings) == {"s1.1.1", "s1.1.2"}


def test_ice_may_replace_a_transport_where_there_are_no_ports() -> None:
    stage = Stage(direct_first_s=AT_ONCE)
    stage.call()
    stage.held = True
    stage.says(ALICE, Action.TRANSPORT_REPLACE, ice(("A2", "pwd2"), media=None))
    stage.fail_all(port_taken=False)
    stage.held = False
    assert isinstance(stage.answers[stage.tokens], Pass)
    assert isinstance(
        stage.says(BOB, Action.TRANSPORT_ACCEPT, ice(("B2", "pwd3"), media=None)), Replace
    )
    assert stage.plane.flows["s1.3.1"] == (Flow.OPEN, Flow.OPEN)


def test_a_transport_is_not_of_another_kind_all_at_once() -> None:
    stage = Stage()
    stage.call()
    before = dict(stage.plane.armed)
    assert isinstance(informs(stage, ALICE, ice(OF_ALICE)), Pass)
    assert stage.plane.armed == before


def test_an_agent_that_restarts_gets_a_new_place() -> None:
    stage = called(direct_first_s=AT_ONCE)
    stage.passes(100)
    assert stage.plane.bindings == {}
    assert isinstance(informs(stage, ALICE, ice(OF_ALICE)), Pass)
    assert components(informs(stage, ALICE, ice(("A2", "pwd2"), generation=1))) == [1, 2]
    assert components(informs(stage, BOB, ice(("B2", "pwd3"), generation=1))) == [1, 2]
    assert armed(stage, name="s1.2").evidence.keys[0] == IceKey("B2:A2", "pwd3")
    assert stage.plane.flows["s1.2.1"] == (Flow.OPEN, Flow.OPEN)


def test_without_ports_agents_do_without_us() -> None:
    stage = Stage(ports=(2000, 2003))
    offered(stage)
    answer = stage.says(ALICE, Action.SESSION_INITIATE, ice(OF_ALICE), sid="b")
    assert isinstance(answer, Pass)
    assert (len(stage.registry), stage.ended) == (2, [])


def test_an_offer_that_does_without_us_is_followed_until_it_is_answered() -> None:
    stage = Stage(ports=(2000, 2001))
    stage.says(ALICE, Action.SESSION_INITIATE, ice(OF_ALICE))
    stage.registry.gone(Gone(ALICE), stage.now)
    stage.settle()
    assert stage.ended == []
    stage.passes(121)
    assert [ended.why for ended in stage.ended] == [Why.SETUP_TIMEOUT]


def test_what_the_plane_cannot_bind_is_not_promised() -> None:
    stage = Stage()
    stage.held = True
    assert stage.says(ALICE, Action.SESSION_INITIATE, ice(OF_ALICE)) is None
    stage.fail_all(port_taken=False)
    assert isinstance(stage.answers[1], Pass)
    assert isinstance(stage.says(BOB, Action.SESSION_ACCEPT, ice(OF_BOB)), Pass | None)
    stage.fail_all(port_taken=False)
    assert (len(stage.registry), stage.ended) == (1, [])
    assert stage.pool.counts.leased == 0


@pytest.mark.rule("G4")
def test_what_flows_of_one_content_flows_of_all_between_agents() -> None:
    """Either content's path may carry both (BUNDLE)."""
    stage = Stage(direct_first_s=AT_ONCE)
    camera = {"key": CAMERA, "senders": Senders.INITIATOR}
    offered(stage, ice(OF_ALICE, **camera), ice(OF_ALICE))  # type: ignore[arg-type]
    accepted(stage, ice(OF_BOB, **camera), ice(OF_BOB))  # type: ignore[arg-type]
    assert set(stage.plane.flows.values()) == {(Flow.OPEN, Flow.OPEN)}
    stage.says(ALICE, Action.SESSION_INFO, info=Info.HOLD)
    assert set(stage.plane.flows.values()) == {(Flow.HOLDING, Flow.HELD)}
    stage.says(ALICE, Action.SESSION_INFO, info=Info.UNHOLD)
    assert set(stage.plane.flows.values()) == {(Flow.OPEN, Flow.OPEN)}


def told(content: Content, *addresses: TransportAddress) -> Content:
    """The same with these candidates, which are server-reflexive."""
    assert isinstance(content.transport, Ice)
    candidates = tuple(Candidate(1, 0, a, f"s{a}", CandidateType.SRFLX) for a in addresses)
    return replace(content, transport=replace(content.transport, candidates=candidates))


def asks(stage: Stage, side: Side, source: TransportAddress) -> None:
    stage.latch("s1.1.1", side, str(source.ip), source.port)


OF_NAT, OF_OTHER = (TransportAddress.of(ip, 6000) for ip in ("198.51.100.1", "198.51.100.2"))
ELSEWHERE = TransportAddress.of("198.51.100.1", 6001)
SIX = TransportAddress.of("2001:db8::1", 6000)
HOME, OFFICE = TransportAddress.of("192.168.1.5", 6000), TransportAddress.of("10.0.0.5", 6000)


@pytest.mark.rule("I3")
def test_a_direct_path_has_a_head_start_from_the_first_check_of_who_begins_last() -> None:
    """Where one party is reached at the port that it was told, the other's checks may arrive."""
    stage = Stage(direct_first_s=0.7)
    offered(stage, told(ice(OF_ALICE), OF_NAT))
    assert stage.plane.flows["s1.1.1"] == (Flow.NOMINAL, Flow.NOMINAL)
    accepted(stage, told(ice(OF_BOB), OF_OTHER))
    assert stage.plane.flows["s1.1.1"] == WAITING
    asks(stage, 1, OF_OTHER)
    stage.passes(5)
    asks(stage, 0, ELSEWHERE)
    stage.passes(0.69)
    assert stage.plane.flows["s1.1.1"] == stage.plane.flows["s1.1.2"] == WAITING
    stage.passes(0.02)
    assert stage.plane.flows["s1.1.1"] == stage.plane.flows["s1.1.2"] == OPEN
    stage.passes(0.0)
    assert stage.plane.flows["s1.1.1"] == OPEN


@pytest.mark.rule("I3")
@pytest.mark.parametrize(("rang_s", "head_start_s"), [(20.0, 0.1), (0.5, 0.7)])
def test_a_direct_path_has_less_of_it_where_the_callee_has_checked_while_it_rang(
    rang_s: float, head_start_s: float
) -> None:
    stage = Stage(direct_first_s=0.7)
    offered(stage, told(ice(OF_ALICE), OF_NAT))
    asks(stage, 1, OF_OTHER)
    assert stage.plane.flows["s1.1.1"] == (Flow.NOMINAL, Flow.NOMINAL)
    stage.passes(rang_s)
    accepted(stage, told(ice(OF_BOB), OF_OTHER))
    asks(stage, 0, ELSEWHERE)
    stage.passes(head_start_s - 0.01)
    assert stage.plane.flows["s1.1.1"] == WAITING
    stage.passes(0.02)
    assert stage.plane.flows["s1.1.1"] == OPEN


@pytest.mark.rule("I3")
@pytest.mark.parametrize(
    ("of_alice", "of_bob", "sources", "waits"),
    [
        ((OF_NAT,), (OF_OTHER,), (ELSEWHERE, TransportAddress.of("198.51.100.2", 7)), False),
        ((OF_NAT,), (OF_OTHER,), (OF_NAT, TransportAddress.of("198.51.100.2", 7)), True),
        ((OF_NAT,), (OF_OTHER,), (ELSEWHERE, OF_OTHER), True),
        ((OF_NAT,), (OF_NAT,), (ELSEWHERE, ELSEWHERE), True),  # behind one NAT
        ((), (OF_OTHER,), (ELSEWHERE, TransportAddress.of("198.51.100.2", 7)), True),
        ((SIX,), (OF_OTHER,), (SIX, OF_OTHER), False),  # no IP version in common
        ((HOME,), (OFFICE,), (OF_NAT, OF_OTHER), False),  # private addresses behind two NATs
        ((HOME,), (OFFICE,), (OF_NAT, ELSEWHERE), True),
        ((HOME,), (OF_OTHER,), (OF_NAT, OF_OTHER), True),
    ],
)
def test_nobody_waits_for_a_direct_path_that_is_ruled_out(
    of_alice: tuple[TransportAddress, ...],
    of_bob: tuple[TransportAddress, ...],
    sources: tuple[TransportAddress, TransportAddress],
    waits: bool,
) -> None:
    stage = Stage()
    offered(stage, told(ice(OF_ALICE), *of_alice))
    accepted(stage, told(ice(OF_BOB), *of_bob))
    asks(stage, 0, sources[0])
    assert stage.plane.flows["s1.1.1"] == WAITING
    asks(stage, 1, sources[1])
    assert stage.plane.flows["s1.1.1"] == (WAITING if waits else OPEN)


def test_who_has_our_path_keeps_it_through_a_restart() -> None:
    """Only a new place is waited for: an interruption would be heard."""
    stage = called()
    asks(stage, 0, OF_NAT)
    asks(stage, 1, OF_OTHER)
    stage.passes(1)
    informs(stage, ALICE, ice(("A2", "pwd2"), generation=1))
    asks(stage, 0, ELSEWHERE)
    assert stage.plane.flows["s1.1.1"] == OPEN
    stage.passes(100)
    assert stage.plane.flows["s1.1.1"] == OPEN


def test_after_a_restart_of_ours_the_path_opens_when_it_would_have() -> None:
    stage = called(direct_first_s=0.7)
    asks(stage, 0, TransportAddress.of("198.51.100.1", 40000))
    stage.reborn()
    stage.passes(0.6)
    assert stage.plane.flows["s1.1.1"] == WAITING
    stage.passes(0.2)
    assert stage.plane.flows["s1.1.1"] == OPEN


def test_both_kinds_of_transport_go_side_by_side() -> None:
    stage = Stage()
    answer = offered(stage, content(), ice(OF_ALICE, key=CAMERA))
    assert set(answer.substitution) == {VOICE, CAMERA}
    accepted(stage, stage.bobs(), ice(OF_BOB, key=CAMERA))
    assert armed(stage, name="s1.1").evidence.source_auth is SourceAuth.SIGNALLING_ADDRESS
    assert armed(stage, name="s1.2").evidence.source_auth is SourceAuth.ICE_INTEGRITY


def test_the_end_of_the_call_leaves_nothing() -> None:
    stage = called()
    informs(stage, ALICE, ice(("A2", "pwd2")))
    stage.says(BOB, Action.SESSION_TERMINATE)
    stage.assert_nothing_left()


def test_a_call_survives_a_restart_with_its_keys() -> None:
    stage = called()
    stage.latch("s1.1.1", 0, "198.51.100.1")
    informs(stage, ALICE, ice(("A2", "pwd2"), generation=1))
    (session,) = stage.registry
    record = dump(session, stage.now)
    reborn = Stage()
    restored = load(record, reborn.registry, reborn.now)
    assert dump(restored, reborn.now) == record
    reborn.registry.restore(restored, reborn.now)
    restored.anchor.rebind(restored.negotiation.allocations)
    reborn.settle()
    assert armed(reborn).evidence == armed(stage).evidence
    assert armed(reborn).resume == TransportAddress.of("198.51.100.1", 40000)
    assert components(informs(reborn, BOB, ice(("B2", "pwd3"), generation=1))) == [1, 2]


@pytest.mark.parametrize("first", [True, False])
def test_a_call_that_does_without_us_is_forgotten_when_its_party_has_left(first: bool) -> None:
    """Before its ports are released or after: nobody is told, and what is said later passes."""
    stage = called()
    stage.passes(1 if first else 100)
    stage.registry.gone(Gone(ALICE), stage.now)
    stage.settle()
    assert len(stage.registry) == int(first)
    stage.passes(100)
    assert (len(stage.registry), stage.injected) == (0, [])
    assert isinstance(informs(stage, BOB, ice(OF_BOB)), Pass)
    stage.assert_nothing_left()


def test_the_longest_duration_ends_relayed_calls_and_forgets_the_others() -> None:
    stage = called(times=Times(call_s=1000.0))
    stage.passes(1000)
    assert (len(stage.registry), stage.injected) == (0, [])
    stage = called(times=Times(call_s=1000.0))
    stage.latch("s1.1.1", 0, "198.51.100.1")
    stage.passes(1000)
    assert len(stage.injected) == 2


def test_a_relayed_call_is_kept_when_its_party_has_left() -> None:
    stage = called()
    stage.latch("s1.1.1", 0, "198.51.100.1")
    stage.registry.gone(Gone(ALICE), stage.now)
    stage.passes(1000)
    assert (len(stage.registry), stage.ended) == (1, [])


def test_a_plane_that_comes_back_without_the_ports_ends_no_call() -> None:
    stage = called()
    (session,) = stage.registry
    stage.held = True
    session.anchor.rebind(session.negotiation.allocations)
    stage.settle()
    stage.fail_all(port_taken=True)
    assert (len(stage.registry), stage.ended, stage.injected) == (1, [], [])


def test_passwords_are_not_shown() -> None:
    stage = called()
    (session,) = stage.registry
    shown = repr(session.negotiation.media) + repr(armed(stage)) + repr(ice(OF_ALICE))
    assert "pwd-of" not in shown


# What passed while nobody of ours was there


def passes(stage: Stage, who: JID, action: Action, *contents: Content) -> list[Content]:
    """What we told of it."""
    jingle = Jingle(action, "a", contents=contents)
    to = BOB if who == ALICE else ALICE
    stage.registry.passed(Passed(who, to, "a", action, jingle), stage.now)
    stage.settle()
    told = [c for i in stage.injected if i.sender == who for c in i.jingle.contents]
    stage.injected.clear()
    return told


def test_an_agent_whose_word_passed_without_us_is_followed_by_our_candidates() -> None:
    """An ICE restart, a further content, and its answer."""
    stage = called()
    renewed, camera = ice(("new", "pwd-new"), generation=1), ice(("Acam", "pwd-acam"), key=CAMERA)
    answer = ice(("Bcam", "pwd-bcam"), key=CAMERA)
    for who, action, said in (
        (ALICE, Action.TRANSPORT_INFO, renewed),
        (ALICE, Action.CONTENT_ADD, camera),
        (BOB, Action.CONTENT_ACCEPT, answer),
    ):
        (told,) = passes(stage, who, action, said)
        assert told.key == said.key
        assert isinstance(told.transport, Ice)
        assert isinstance(said.transport, Ice)
        assert (told.transport.ufrag, told.transport.pwd) == (
            said.transport.ufrag,
            said.transport.pwd,
        )
        assert {c.address.ip for c in told.transport.candidates} == {RELAY}
        assert {c.component for c in told.transport.candidates} == {1, 2}
        assert {c.generation for c in told.transport.candidates} == {said.transport.generation}
        assert passes(stage, who, Action.TRANSPORT_INFO, said) == []
    key = armed(stage, name="s1.2").evidence.keys
    assert key == (IceKey("Bcam:Acam", "pwd-bcam"),)


def test_an_agents_offer_that_was_answered_too_late_is_followed_by_our_candidates() -> None:
    stage = Stage()
    request = Request(
        7, ALICE, BOB, Jingle(Action.SESSION_INITIATE, "a", contents=(ice(OF_ALICE),))
    )
    stage.registry.receive(request, stage.now)
    stage.settle()
    assert isinstance(stage.answers[7], Replace)
    stage.registry.expired(request, stage.now)
    stage.settle()
    ((told,),) = [injected.jingle.contents for injected in stage.injected]
    assert isinstance(told.transport, Ice)
    assert told.transport.ufrag == OF_ALICE[0]
    assert {c.address.ip for c in told.transport.candidates} == {RELAY}
