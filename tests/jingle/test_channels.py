"""Relay channels (XEP-0278) over the pure core."""

from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from jingle_hnt.call.life import Why
from jingle_hnt.call.policy import AlreadyRelayed
from jingle_hnt.errors import Condition
from jingle_hnt.jingle.channel import Quota
from jingle_hnt.jingle.effects import Bounce, ChannelRequest, Opened, Pass
from jingle_hnt.jingle.policy import ChannelPolicy
from jingle_hnt.jingle.record import dump, load
from jingle_hnt.model.content import CandidateType
from jingle_hnt.model.jid import JID
from jingle_hnt.model.jingle import Action
from jingle_hnt.relay.binding import Flow
from jingle_hnt.relay.evidence import SourceAuth
from jingle_hnt.relay.interfaces import Interface
from tests.jingle.stage import (
    ADDRESSES,
    ALICE,
    BOB,
    RELAY,
    Stage,
    candidates,
    content,
    policy,
)

POLICY = ChannelPolicy(per_user=2, per_minute=5, expire_s=60, max_kbps=4000)


def ask(stage: Stage, jid: JID = ALICE) -> object:
    stage.tokens += 1
    ip = ip_address(ADDRESSES[jid]) if jid in ADDRESSES else None
    stage.registry.channel(ChannelRequest(stage.tokens, jid, ip), stage.now)
    stage.settle()
    return stage.answers.get(stage.tokens)


@pytest.mark.rule("J18")
def test_a_channel_has_two_ends_on_one_address() -> None:
    stage = Stage(relay_nodes=POLICY)
    opened = ask(stage)
    assert isinstance(opened, Opened)
    assert opened.local.ip == opened.remote.ip == RELAY
    assert opened.local.port != opened.remote.port
    assert opened.max_kbps == 4000
    assert set(stage.plane.flows.values()) == {(Flow.OPEN, Flow.OPEN)}
    source_auths = {
        (name, side): arm.evidence.source_auth for (name, side), arm in stage.plane.armed.items()
    }
    assert source_auths == {
        ("s1.1.1", 0): SourceAuth.SIGNALLING_ADDRESS,
        ("s1.1.2", 0): SourceAuth.SIGNALLING_ADDRESS,
        ("s1.1.1", 1): SourceAuth.PROBATION,
    }


@pytest.mark.rule("J18")
def test_a_channel_ends_without_a_word_when_nothing_comes() -> None:
    stage = Stage(relay_nodes=POLICY)
    ask(stage)
    stage.passes(59)
    assert len(stage.registry) == 1
    stage.latch("s1.1.1", 0, ADDRESSES[ALICE])
    stage.passes(120)
    assert len(stage.registry) == 1
    stage.silent("s1.1.1", 0)
    stage.passes(61)
    assert [end.why for end in stage.ended] == [Why.SILENCE]
    assert stage.injected == []
    stage.assert_nothing_left()


@pytest.mark.rule("J18")
def test_nobody_has_more_channels_than_the_operator_allows() -> None:
    stage = Stage(relay_nodes=POLICY)
    elsewhere = JID.of("alice@example.org/elsewhere")
    assert isinstance(ask(stage), Opened)
    assert isinstance(ask(stage, elsewhere), Opened)
    refused = ask(stage)
    assert isinstance(refused, Bounce)
    assert refused.error.condition is Condition.RESOURCE_CONSTRAINT
    assert isinstance(ask(stage, BOB), Opened)
    stage.passes(61)
    stage.drain()
    assert isinstance(ask(stage), Opened)


def test_asking_too_often_is_refused_for_a_minute() -> None:
    quota = Quota(POLICY)
    assert [quota.refusal(ALICE, t) is None for t in range(7)] == [True] * 5 + [False] * 2
    assert quota.refusal(BOB, 7) is None
    assert quota.refusal(ALICE, 60) is None


def test_strangers_and_everybody_where_it_is_off_get_none() -> None:
    for stage, jid in ((Stage(relay_nodes=POLICY), JID.of("eve@evil.example/x")), (Stage(), ALICE)):
        refused = ask(stage, jid)
        assert isinstance(refused, Bounce)
        assert refused.error.condition is Condition.FORBIDDEN
        stage.assert_nothing_left()


def test_a_reload_changes_how_many_there_may_be() -> None:
    stage = Stage(relay_nodes=POLICY)
    ask(stage)
    ask(stage)
    stage.registry.follow(policy(relay_nodes=replace(POLICY, per_user=3)))
    assert isinstance(ask(stage), Opened)


def test_no_channel_is_opened_while_calls_are_waited_for() -> None:
    stage = Stage(relay_nodes=POLICY)
    stage.registry.draining = True
    refused = ask(stage)
    assert isinstance(refused, Bounce)
    assert refused.error.condition is Condition.RESOURCE_CONSTRAINT


def test_both_ends_face_the_requester_wherever_its_peer_may_be() -> None:
    inside = Interface(
        ip_address("10.0.0.9"), ip_address("10.0.0.9"), networks=(ip_network(ADDRESSES[ALICE]),)
    )
    stage = Stage(relay_nodes=POLICY, interfaces=[Interface(RELAY, RELAY), inside])
    opened = ask(stage)
    assert isinstance(opened, Opened)
    assert opened.local.ip == opened.remote.ip == inside.bound


def test_without_ports_there_is_none_whatever_the_policy_for_calls() -> None:
    stage = Stage(ports=(2000, 2003), relay_nodes=POLICY)
    assert isinstance(ask(stage), Opened)
    assert isinstance(ask(stage), Bounce)
    assert len(stage.registry) == 1


def test_a_channel_survives_a_restart() -> None:
    stage, after = Stage(relay_nodes=POLICY), Stage(relay_nodes=POLICY)
    ask(stage)
    (channel,) = stage.registry
    after.plane = stage.plane
    after.registry.restore(load(dump(channel, stage.now), after.registry, after.now), after.now)
    (restored,) = after.registry
    assert type(restored) is type(channel)
    after.passes(120)
    assert after.injected == []
    off = Stage()
    with pytest.raises(ValueError, match="not allowed"):
        load(dump(channel, stage.now), off.registry, off.now)


@pytest.mark.rule("J16")
@pytest.mark.parametrize("kind", [None, CandidateType.HOST])
def test_a_candidate_of_ours_is_never_relayed_again(kind: CandidateType | None) -> None:
    stage = Stage(already_relayed=AlreadyRelayed.RELAY)
    ours = content(transport=candidates(str(RELAY), 2000))
    assert isinstance(stage.says(ALICE, Action.SESSION_INITIATE, ours), Pass)
