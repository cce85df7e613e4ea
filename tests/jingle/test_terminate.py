"""Calls in which ICE ends at the relay (RFC 7584 section 4.2), and ICE against raw UDP."""

from dataclasses import replace

import pytest

from jingle_hnt.call.life import Why
from jingle_hnt.call.policy import IceMode, Times
from jingle_hnt.jingle.effects import Bounce, Pass, Passed, Replace
from jingle_hnt.jingle.policy import Fallback, IceRule
from jingle_hnt.jingle.record import dump, load
from jingle_hnt.model.address import TransportAddress
from jingle_hnt.model.content import (
    ICE,
    ICE_UDP,
    Candidate,
    CandidateType,
    Content,
    Ice,
    OwnTransport,
    RawUdp,
)
from jingle_hnt.model.jid import JID
from jingle_hnt.model.jingle import Action, Info, Jingle
from jingle_hnt.relay.binding import Arm, Flow
from jingle_hnt.relay.evidence import IceKey, SourceAuth
from jingle_hnt.relay.ice_agent import TARGETS, Checks
from jingle_hnt.relay.policy import PeerPolicy
from tests.jingle.stage import (
    ALICE,
    BOB,
    CAMERA,
    PUBLIC,
    RELAY,
    VOICE,
    Stage,
    candidates,
    content,
    policy,
)
from tests.jingle.test_ice import OF_ALICE, OF_BOB, armed, ice, informs

PHONE_OF_ALICE = TransportAddress.of("198.51.100.1", 5000)
RAW_BOB = ("bob@example.org",)


def at(
    offer: Content, *addresses: str, types: tuple[CandidateType, ...] = (), components: int = 1
) -> Content:
    """The same with these candidates, the best first."""
    assert isinstance(offer.transport, Ice)
    told = tuple(
        Candidate(
            component,
            0,
            TransportAddress.of(ip, 5000 + component - 1),
            type=types[n] if types else CandidateType.HOST,
            priority=100 - n,
        )
        for n, ip in enumerate(addresses)
        for component in range(1, components + 1)
    )
    return replace(offer, transport=replace(offer.transport, candidates=told))


def ours(answer: object, key: object = VOICE) -> OwnTransport:
    """The transport that stands in a stanza for its sender's."""
    assert isinstance(answer, Replace), answer
    assert answer.substitution == {}
    return answer.transports[key]  # type: ignore[index]


def checks(arm: Arm) -> Checks:
    assert arm.checks is not None
    return arm.checks


class Call:
    """A call that was offered and accepted; what each party was told of the other."""

    def __init__(self, **options: object) -> None:
        options.setdefault("ice", IceMode.TERMINATE)
        self.stage = Stage(**options)  # type: ignore[arg-type]
        offer = at(ice(OF_ALICE), "198.51.100.1", components=2)
        self.to_bob = ours(self.stage.says(ALICE, Action.SESSION_INITIATE, offer))
        answer = at(ice(OF_BOB), "198.51.100.2", components=2)
        self.to_alice = ours(self.stage.says(BOB, Action.SESSION_ACCEPT, answer))


@pytest.mark.rule("I2", "L1")
def test_nothing_of_a_party_s_reaches_the_other() -> None:
    call = Call()
    theirs = {*OF_ALICE, *OF_BOB}
    said = {call.to_bob.ufrag, call.to_bob.pwd, call.to_alice.ufrag, call.to_alice.pwd}
    assert len(said) == 4
    assert said.isdisjoint(theirs)
    for side, told in ((1, call.to_bob), (0, call.to_alice)):
        assert told.namespace == ICE_UDP
        assert [c.component for c in told.candidates] == [1, 2]
        for candidate in told.candidates:
            spec = call.stage.plane.bindings[f"s1.1.{candidate.component}"]
            assert candidate.address == spec.pinholes[side]


@pytest.mark.rule("I2")
def test_each_leg_is_an_ice_context_of_its_own() -> None:
    """Asked and asking are named and signed with what the two of them were told, and no third."""
    call = Call()
    for side, (ufrag, pwd), told in ((0, OF_ALICE, call.to_alice), (1, OF_BOB, call.to_bob)):
        arm = armed(call.stage, side)
        assert arm.evidence.source_auth is SourceAuth.ICE_INTEGRITY
        assert arm.evidence.keys == (IceKey(f"{told.ufrag}:{ufrag}", told.pwd),)
        assert checks(arm).username == f"{ufrag}:{told.ufrag}"
        assert checks(arm).password == pwd


@pytest.mark.rule("I2")
def test_we_control_towards_the_responder_and_are_controlled_by_the_initiator() -> None:
    call = Call()
    assert [checks(armed(call.stage, side)).controlling for side in (0, 1)] == [False, True]


@pytest.mark.rule("I2")
def test_no_two_agents_of_ours_draw_the_same_secret() -> None:
    call = Call()
    made = [checks(armed(call.stage, side, c)) for side in (0, 1) for c in (1, 2)]
    assert len({each.secret for each in made}) == 4


def test_the_targets_are_the_candidates_of_the_component_best_first() -> None:
    call = Call()
    told = at(ice(components=()), "198.51.100.7", "198.51.100.8")
    informs(call.stage, ALICE, told)
    addresses = [str(t) for t in checks(armed(call.stage)).targets]
    assert addresses == ["198.51.100.1:5000", "198.51.100.7:5000", "198.51.100.8:5000"]
    assert [str(t) for t in checks(armed(call.stage, 0, 2)).targets] == ["198.51.100.1:5001"]


@pytest.mark.rule("I2")
def test_nobody_is_asked_whom_the_operator_refuses() -> None:
    call = Call()
    refused = ("127.0.0.1", str(RELAY), "169.254.169.254", "10.0.0.1", "2001:db8:1::1")
    informs(call.stage, ALICE, at(ice(components=()), *refused))
    assert [str(t) for t in checks(armed(call.stage)).targets] == ["198.51.100.1:5000"]


def test_no_more_are_asked_than_the_plane_takes() -> None:
    call = Call()
    many = at(ice(components=()), *(f"198.51.100.{n}" for n in range(10, 50)))
    informs(call.stage, ALICE, many)
    assert len(checks(armed(call.stage)).targets) == TARGETS


@pytest.mark.rule("I2")
def test_trickled_candidates_go_no_further() -> None:
    call = Call()
    told = ours(informs(call.stage, BOB, at(ice(OF_BOB), "198.51.100.9")))
    assert told == OwnTransport((), ICE_UDP, call.to_alice.ufrag, call.to_alice.pwd)
    before = armed(call.stage, 1).generation
    assert ours(informs(call.stage, BOB, at(ice(OF_BOB), "198.51.100.9"))) == told
    assert armed(call.stage, 1).generation == before


def test_candidates_that_come_before_the_credentials_are_asked_when_these_are_there() -> None:
    stage = Stage(ice=IceMode.TERMINATE)
    stage.says(ALICE, Action.SESSION_INITIATE, at(ice(), "198.51.100.1"))
    told = ours(informs(stage, ALICE, ice(OF_ALICE, components=())))
    assert len(told.candidates) == 2
    stage.says(BOB, Action.SESSION_ACCEPT, ice(OF_BOB))
    assert checks(armed(stage)).targets == (PHONE_OF_ALICE,)


@pytest.mark.rule("I2")
def test_the_kind_of_the_transport_stays() -> None:
    stage = Stage(ice=IceMode.TERMINATE)
    offer = ice(OF_ALICE)
    assert isinstance(offer.transport, Ice)
    offer = replace(offer, transport=replace(offer.transport, namespace=ICE))
    assert ours(stage.says(ALICE, Action.SESSION_INITIATE, offer)).namespace == ICE


def test_bundled_contents_share_our_credentials_as_they_share_the_party_s() -> None:
    """And no secret: two bindings ask the same agent (RFC 8843 section 7)."""
    stage = Stage(ice=IceMode.TERMINATE)
    both = [ice(OF_ALICE), ice(OF_ALICE, key=CAMERA)]
    answer = stage.says(ALICE, Action.SESSION_INITIATE, *both)
    one, other = ours(answer), ours(answer, CAMERA)
    assert (one.ufrag, one.pwd) == (other.ufrag, other.pwd)
    answer = stage.says(BOB, Action.SESSION_ACCEPT, ice(OF_BOB), ice(("B2", "p2"), key=CAMERA))
    assert ours(answer).ufrag != ours(answer, CAMERA).ufrag
    secrets = {checks(armed(stage, 1, 1, name)).secret for name in ("s1.1", "s1.2")}
    assert len(secrets) == 2


@pytest.mark.rule("I2", "L4")
def test_a_restart_goes_through_and_each_leg_follows_when_its_party_knows() -> None:
    call = Call()
    first = {side: checks(armed(call.stage, side)) for side in (0, 1)}
    told = ours(informs(call.stage, ALICE, at(ice(("A2", "pwd2"), generation=1), "198.51.100.3")))
    assert told.ufrag != call.to_bob.ufrag
    assert {c.generation for c in told.candidates} == {1}
    for side in (0, 1):  # nobody has been told all of it yet
        now = checks(armed(call.stage, side))
        assert (now.username, now.password) == (first[side].username, first[side].password)
    assert any(k.username == f"{told.ufrag}:Bufrag" for k in armed(call.stage, 1).evidence.keys)
    back = ours(informs(call.stage, BOB, at(ice(("B2", "pwd3"), generation=1), "198.51.100.4")))
    assert back.ufrag != call.to_alice.ufrag
    assert armed(call.stage).evidence.keys[0] == IceKey(f"{back.ufrag}:A2", back.pwd)
    assert checks(armed(call.stage)).username == f"A2:{back.ufrag}"
    assert [str(t) for t in checks(armed(call.stage)).targets] == ["198.51.100.3:5000"]
    assert checks(armed(call.stage, 1)).username == f"B2:{told.ufrag}"
    assert checks(armed(call.stage, 1)).password == "pwd3"


@pytest.mark.rule("G2")
def test_media_flows_from_the_accept_on_and_stops_on_hold() -> None:
    stage = Stage(ice=IceMode.TERMINATE)
    stage.says(ALICE, Action.SESSION_INITIATE, ice(OF_ALICE))
    assert stage.plane.flows["s1.1.1"] == (Flow.NOMINAL, Flow.NOMINAL)
    stage.says(BOB, Action.SESSION_ACCEPT, ice(OF_BOB))
    assert stage.plane.flows["s1.1.1"] == (Flow.OPEN, Flow.OPEN)
    stage.says(ALICE, Action.SESSION_INFO, info=Info.HOLD)
    assert stage.plane.flows["s1.1.1"] == (Flow.HOLDING, Flow.HELD)


def test_a_call_of_which_nothing_comes_ends_as_any_relayed_one() -> None:
    """There is no direct path on which it could go on."""
    call = Call(times=Times(first_media_s=30.0), idle_s=5.0)
    call.stage.passes(29)
    assert call.stage.plane.bindings
    call.stage.passes(1)
    assert [ended.why for ended in call.stage.ended] == [Why.NO_MEDIA]
    call.stage.assert_nothing_left()


@pytest.mark.parametrize("fallback", list(Fallback))
def test_without_ports_the_operator_says_what_becomes_of_the_call(fallback: Fallback) -> None:
    stage = Stage(ports=(2000, 2001), ice=IceMode.TERMINATE, exhausted=fallback)
    answer = stage.says(ALICE, Action.SESSION_INITIATE, ice(OF_ALICE))
    assert isinstance(answer, Pass if fallback is Fallback.PASS else Bounce)
    stage.assert_nothing_left()


@pytest.mark.rule("I2")
def test_rules_choose_by_party_and_by_transport() -> None:
    rules = (
        IceRule(IceMode.PASS, ("mallory@example.org",)),
        IceRule(IceMode.TERMINATE, ("*.example.net", "b*@example.org"), (ICE_UDP,)),
        IceRule(IceMode.APPEND, ("bob@example.org",)),
    )
    asked = policy(ice=IceMode.PASS, ice_rules=rules)
    carol, dave = JID.of("carol@sub.example.net/x"), JID.of("dave@example.net/x")
    assert asked.ice_mode((ALICE, BOB), ICE_UDP) is IceMode.TERMINATE
    assert asked.ice_mode((ALICE, BOB), ICE) is IceMode.APPEND
    assert asked.ice_mode((carol, ALICE), ICE_UDP) is IceMode.TERMINATE
    assert asked.ice_mode((dave, ALICE), ICE_UDP) is IceMode.PASS
    assert asked.ice_mode((JID.of("mallory@example.org/x"), BOB), ICE_UDP) is IceMode.PASS


def test_where_the_default_is_to_pass_a_rule_may_still_terminate() -> None:
    rule = IceRule(IceMode.TERMINATE, ("bob@*",))
    assert Call(ice=IceMode.PASS, ice_rules=(rule,)).to_bob.ufrag not in OF_ALICE


def test_early_media_goes_to_the_likeliest_candidate_where_that_is_allowed() -> None:
    """RFC 7584 section 4.2: to the default candidate while the other party is still checking."""
    peers = PeerPolicy(own=(RELAY,), allow_networks=PUBLIC, early_stream=True)
    stage = Stage(ice=IceMode.TERMINATE, peers=peers)
    kinds = (CandidateType.HOST, CandidateType.SRFLX)
    offer = at(ice(OF_ALICE), "198.51.100.1", "198.51.100.77", types=kinds)
    stage.says(ALICE, Action.SESSION_INITIATE, offer)
    stage.says(BOB, Action.SESSION_ACCEPT, ice(OF_BOB))
    assert str(armed(stage).early) == "198.51.100.77:5000"
    assert Call().stage.plane.armed["s1.1.1", 0].early is None


def test_a_call_survives_a_restart_with_its_agents() -> None:
    call = Call()
    call.stage.latch("s1.1.1", 0, "198.51.100.1")
    (session,) = call.stage.registry
    record = dump(session, call.stage.now)
    reborn = Stage(ice=IceMode.TERMINATE)
    restored = load(record, reborn.registry, reborn.now)
    assert dump(restored, reborn.now) == record
    reborn.registry.restore(restored, reborn.now)
    restored.anchor.rebind(restored.negotiation.allocations)
    reborn.settle()
    assert armed(reborn).checks == armed(call.stage).checks
    told = ours(informs(reborn, BOB, ice(OF_BOB, components=())))
    assert (told.ufrag, told.pwd) == (call.to_alice.ufrag, call.to_alice.pwd)


@pytest.mark.rule("I2")
def test_a_transport_that_replaces_raw_udp_is_ended_too() -> None:
    stage = Stage(ice=IceMode.TERMINATE)
    stage.call()
    told = ours(stage.says(ALICE, Action.TRANSPORT_REPLACE, ice(OF_ALICE, media=None)))
    assert told.ufrag != OF_ALICE[0]
    back = ours(stage.says(BOB, Action.TRANSPORT_ACCEPT, ice(OF_BOB, media=None)))
    assert checks(armed(stage, name="s1.2")).username == f"Aufrag:{back.ufrag}"
    assert set(stage.plane.bindings) == {"s1.2.1", "s1.2.2"}
    assert stage.plane.flows["s1.2.1"] == (Flow.OPEN, Flow.OPEN)


def test_a_transport_that_replaces_ice_is_latched_by_its_media() -> None:
    call = Call()
    call.stage.says(ALICE, Action.TRANSPORT_REPLACE, content())
    call.stage.says(BOB, Action.TRANSPORT_ACCEPT, call.stage.bobs())
    assert armed(call.stage, name="s1.2").checks is None
    assert armed(call.stage, name="s1.2").evidence.source_auth is SourceAuth.SIGNALLING_ADDRESS


def test_the_end_of_the_call_leaves_nothing() -> None:
    call = Call()
    call.stage.says(BOB, Action.SESSION_TERMINATE)
    call.stage.assert_nothing_left()


# ICE on one leg, raw UDP on the other (I4)


@pytest.mark.rule("I4")
def test_who_knows_raw_udp_only_is_offered_that_and_answers_as_an_agent_would() -> None:
    stage = Stage(raw_udp=RAW_BOB)
    offer = at(ice(OF_ALICE), "198.51.100.1", components=2)
    to_bob = ours(stage.says(ALICE, Action.SESSION_INITIATE, offer))
    assert (to_bob.namespace, to_bob.ufrag, to_bob.pwd) == ("", "", "")
    assert [c.component for c in to_bob.candidates] == [1, 2]
    to_alice = ours(stage.says(BOB, Action.SESSION_ACCEPT, stage.bobs()))
    assert to_alice.namespace == ICE_UDP
    assert [c.component for c in to_alice.candidates] == [1, 2]
    assert checks(armed(stage, 0)).username == f"Aufrag:{to_alice.ufrag}"
    assert armed(stage, 0).evidence.source_auth is SourceAuth.ICE_INTEGRITY
    assert armed(stage, 1).evidence.source_auth is SourceAuth.SIGNALLING_ADDRESS
    assert armed(stage, 1).checks is None
    assert stage.plane.flows["s1.1.1"] == (Flow.OPEN, Flow.OPEN)


@pytest.mark.rule("I4")
def test_who_knows_raw_udp_only_may_call_an_agent() -> None:
    stage = Stage(raw_udp=("alice@example.org",))
    to_bob = ours(stage.says(ALICE, Action.SESSION_INITIATE, content()))
    assert to_bob.namespace == ICE_UDP
    assert to_bob.ufrag
    to_alice = ours(stage.says(BOB, Action.SESSION_ACCEPT, ice(OF_BOB)))
    assert to_alice.namespace == ""
    assert checks(armed(stage, 1)).username == f"Bufrag:{to_bob.ufrag}"
    assert armed(stage, 0).evidence.source_auth is SourceAuth.SIGNALLING_ADDRESS


@pytest.mark.rule("I4", "L6")
def test_of_whom_nothing_is_known_is_not_armed_before_it_answers() -> None:
    stage = Stage(raw_udp=RAW_BOB)
    stage.says(ALICE, Action.SESSION_INITIATE, ice(OF_ALICE), known=False)
    assert {side for _, side in stage.plane.armed} <= {0}
    stage.says(BOB, Action.SESSION_ACCEPT, stage.bobs(), known=False)
    assert armed(stage, 1).evidence.source_auth is SourceAuth.PROBATION


def test_two_who_know_raw_udp_only_speak_it() -> None:
    stage = Stage(raw_udp=("*@example.org",))
    stage.call()
    assert stage.plane.armed["s1.1.1", 0].checks is None


def test_a_leg_keeps_to_what_it_was_offered() -> None:
    stage = Stage(raw_udp=RAW_BOB)
    stage.says(ALICE, Action.SESSION_INITIATE, ice(OF_ALICE))
    assert isinstance(stage.says(BOB, Action.SESSION_ACCEPT, ice(OF_BOB)), Bounce)
    ours(stage.says(BOB, Action.SESSION_ACCEPT, stage.bobs()))


def test_a_moved_port_of_raw_udp_arms_its_leg_and_nothing_is_said_of_it() -> None:
    stage = Stage(raw_udp=RAW_BOB)
    stage.says(ALICE, Action.SESSION_INITIATE, ice(OF_ALICE))
    to_alice = ours(stage.says(BOB, Action.SESSION_ACCEPT, stage.bobs()))
    before = armed(stage, 1).generation, armed(stage, 0).generation
    again = candidates("192.0.2.20", 7000, generation=1)
    moved = replace(stage.bobs(), transport=again, media=None)
    told = ours(stage.says(BOB, Action.TRANSPORT_INFO, moved))
    assert (told.ufrag, told.pwd) == (to_alice.ufrag, to_alice.pwd)
    assert armed(stage, 1).generation == before[0] + 1
    assert armed(stage, 0).generation == before[1]


def test_an_agent_s_restart_is_not_known_to_a_party_without() -> None:
    """It follows at once: the other leg has nothing to restart."""
    stage = Stage(raw_udp=RAW_BOB)
    stage.says(ALICE, Action.SESSION_INITIATE, ice(OF_ALICE))
    to_alice = ours(stage.says(BOB, Action.SESSION_ACCEPT, stage.bobs()))
    told = ours(informs(stage, ALICE, at(ice(("A2", "pwd2"), generation=1), "198.51.100.3")))
    assert {c.generation for c in told.candidates} == {0}
    assert checks(armed(stage)).username == f"A2:{to_alice.ufrag}"
    assert [str(t) for t in checks(armed(stage)).targets] == ["198.51.100.3:5000"]


def test_addresses_of_raw_udp_are_hidden_where_nothing_better_can_be_said() -> None:
    """Out of place: for a content that is none, in an offer said twice, and after the end."""
    stage = Stage(ice=IceMode.TERMINATE)
    stage.call()
    camera = replace(content(CAMERA), media=None)
    assert ours(stage.says(ALICE, Action.TRANSPORT_INFO, camera), CAMERA) == OwnTransport()
    assert ours(stage.says(ALICE, Action.SESSION_INITIATE, content())) == OwnTransport()
    stage.says(ALICE, Action.SESSION_TERMINATE)
    assert ours(stage.says(BOB, Action.TRANSPORT_INFO, content())) == OwnTransport()


def test_a_relay_s_own_address_tells_nothing() -> None:
    stage = Stage(ice=IceMode.TERMINATE)
    told = candidates("198.51.100.99", 7000).candidates
    relayed = RawUdp(tuple(replace(c, type=CandidateType.RELAY) for c in told))
    offer = replace(content(), transport=relayed)
    assert isinstance(stage.says(ALICE, Action.SESSION_INITIATE, offer), Pass)


def test_a_drain_tells_no_address_that_is_to_be_hidden() -> None:
    stage = Stage(ice=IceMode.TERMINATE)
    stage.registry.draining = True
    for offer in (ice(OF_ALICE), content()):
        assert isinstance(stage.says(ALICE, Action.SESSION_INITIATE, offer), Bounce)
    stage.registry.follow(policy())
    assert isinstance(stage.says(ALICE, Action.SESSION_INITIATE, ice(OF_ALICE)), Pass)


def passes(stage: Stage, who: JID, action: Action, *contents: Content) -> list[Ice]:
    """What we told of a request that nobody showed us."""
    jingle = Jingle(action, "a", contents=contents)
    stage.registry.passed(Passed(who, BOB if who == ALICE else ALICE, "a", action, jingle), 0.0)
    stage.settle()
    told = [c.transport for i in stage.injected if i.sender == who for c in i.jingle.contents]
    stage.injected.clear()
    assert all(isinstance(transport, Ice) for transport in told)
    return [transport for transport in told if isinstance(transport, Ice)]


@pytest.mark.rule("I2")
def test_who_was_told_a_party_s_own_credentials_finds_our_agent_at_them() -> None:
    """The answer passed while nobody signalled: ours is trickled to it, with what it knows."""
    stage = Stage(ice=IceMode.TERMINATE)
    offer = at(ice(OF_ALICE), "198.51.100.1", components=2)
    to_bob = ours(stage.says(ALICE, Action.SESSION_INITIATE, offer))
    answer = at(ice(OF_BOB), "198.51.100.2", components=2)
    (told,) = passes(stage, BOB, Action.SESSION_ACCEPT, answer)
    assert (told.ufrag, told.pwd) == OF_BOB
    assert [c.component for c in told.candidates] == [1, 2]
    assert {c.address.ip for c in told.candidates} == {RELAY}
    of_alice, of_bob = armed(stage, 0), armed(stage, 1)
    assert of_alice.evidence.keys == (IceKey(f"{OF_BOB[0]}:{OF_ALICE[0]}", OF_BOB[1]),)
    assert checks(of_alice).username == f"{OF_ALICE[0]}:{OF_BOB[0]}"
    assert of_bob.evidence.keys == (IceKey(f"{to_bob.ufrag}:{OF_BOB[0]}", to_bob.pwd),)
    assert passes(stage, BOB, Action.TRANSPORT_INFO, answer) == [], "it is told once"
    again = ours(stage.says(BOB, Action.TRANSPORT_INFO, answer))
    assert (again.ufrag, again.pwd) == OF_BOB, "what it was told stays so"


@pytest.mark.rule("I2")
def test_a_restart_that_passed_is_followed_by_our_agent() -> None:
    call = Call()
    renewed = at(ice(("new", "pwd-new"), generation=1), "198.51.100.2", components=2)
    (told,) = passes(call.stage, BOB, Action.TRANSPORT_INFO, renewed)
    assert (told.ufrag, told.pwd) == ("new", "pwd-new")
    assert [c.component for c in told.candidates] == [1, 2]
    keys = armed(call.stage, 0).evidence.keys
    assert IceKey(f"new:{OF_ALICE[0]}", "pwd-new") in keys
    assert IceKey(f"{call.to_alice.ufrag}:{OF_ALICE[0]}", call.to_alice.pwd) in keys
