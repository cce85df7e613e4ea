"""The relay as an ICE agent of its own, rule by rule; the oracle of the native engine."""

import pytest
from aioice import stun as other

from jingle_hnt.model.address import TransportAddress
from jingle_hnt.relay import stun
from jingle_hnt.relay.ice_agent import (
    ATTEMPTS,
    CONSENT_LOST_S,
    CONSENT_S,
    PER_TICK,
    UNASKED,
    UNASKED_EACH,
    Answered,
    Checks,
    IceAgent,
)
from tests.plane.checks import believed, check

HOME = TransportAddress.of("192.0.2.1", 5000)
AWAY = TransportAddress.of("198.51.100.1", 5000)
TICK_S = 0.1
THEIRS, OURS = "password-of-the-party", "password-of-the-relay"


class Play:
    """An agent, its clock, and what it sent."""

    def __init__(self, controlling: bool = True, *targets: TransportAddress) -> None:
        self.agent = IceAgent()
        self.now = 100.0
        self.selected: TransportAddress | None = None
        self.sent: list[tuple[TransportAddress, other.Message]] = []
        self.arm(controlling, targets or (HOME,))

    def arm(
        self, controlling: bool, targets: tuple[TransportAddress, ...], password: str = THEIRS
    ) -> None:
        checks = Checks("P:R", password, "seed", 1000, controlling, targets)
        self.agent.arm(checks, self.now)

    def ticks(self, seconds: float = TICK_S) -> list[tuple[TransportAddress, other.Message]]:
        """Let time go by; what was sent meanwhile."""
        before = len(self.sent)
        for _ in range(round(seconds / TICK_S)):
            self.now += TICK_S
            for to, datagram in self.agent.tick(self.selected, self.now):
                message = believed(datagram, THEIRS.encode())
                self.sent.append((to, message))
        return self.sent[before:]

    def answers(
        self,
        source: TransportAddress,
        password: str = THEIRS,
        error: int | None = None,
    ) -> Answered:
        """The party answers the last check that went to this address."""
        asked = next(m for to, m in reversed(self.sent) if to == source)
        kind = other.Class.RESPONSE if error is None else other.Class.ERROR
        datagram = check("", password, transaction=asked.transaction_id, kind=kind, error=error)
        return self.hears(datagram, source)

    def hears(self, datagram: bytes, source: TransportAddress) -> Answered:
        message = stun.parse(datagram)
        assert message is not None
        return self.agent.hear(message, datagram, source, self.now)

    def asks(self, source: TransportAddress, role: str, tie_breaker: int = 1) -> other.Message:
        """The party checks us; our answer, which aioice believes."""
        datagram = check("R:P", OURS, role=role, tie_breaker=tie_breaker)
        message = stun.parse(datagram)
        assert message is not None
        answer = self.agent.answer(message, source, OURS, self.now)
        return believed(answer, OURS.encode())


def nominations(sent: list[tuple[TransportAddress, other.Message]]) -> list[TransportAddress]:
    return [to for to, message in sent if "USE-CANDIDATE" in message.attributes]


def is_controlling(play: Play) -> bool:
    return play.agent.controlling


@pytest.mark.rule("I2")
def test_a_check_is_named_and_signed_for_the_party_and_says_who_controls() -> None:
    ((to, message),) = Play(True, HOME).ticks()
    assert to == HOME
    assert message.attributes["USERNAME"] == "P:R"
    assert message.attributes["ICE-CONTROLLING"] == 1000
    assert "USE-CANDIDATE" not in message.attributes
    ((_, message),) = Play(False, HOME).ticks()
    assert message.attributes["ICE-CONTROLLED"] == 1000


@pytest.mark.rule("I2")
def test_a_believed_check_is_answered_with_its_source() -> None:
    answer = Play(False).asks(AWAY, "ICE-CONTROLLING")
    assert answer.message_class is other.Class.RESPONSE
    assert answer.attributes["XOR-MAPPED-ADDRESS"] == (str(AWAY.ip), AWAY.port)
    away6 = TransportAddress.of("2001:db8::17", 4321)
    answer = Play(False).asks(away6, "ICE-CONTROLLING")
    assert answer.attributes["XOR-MAPPED-ADDRESS"] == ("2001:db8::17", 4321)


@pytest.mark.rule("I2")
def test_while_we_control_the_first_that_answers_is_nominated_once() -> None:
    play = Play(True, HOME, AWAY)
    play.ticks()
    assert play.answers(AWAY) is Answered.VALID
    assert nominations(play.ticks()) == [AWAY]
    assert play.answers(AWAY) is Answered.NOMINATED
    play.ticks(0.5)
    play.answers(HOME)
    assert nominations(play.ticks(10)) == []


def test_of_two_that_answered_the_better_one_is_nominated() -> None:
    play = Play(True, HOME, AWAY)
    play.ticks()
    play.answers(AWAY)
    play.answers(HOME)
    assert nominations(play.ticks()) == [HOME]


def test_while_the_party_controls_nobody_is_nominated() -> None:
    play = Play(False, HOME)
    play.ticks()
    play.answers(HOME)
    assert nominations(play.ticks(10)) == []


def test_a_target_that_never_answers_is_given_up() -> None:
    play = Play(True, HOME)
    assert len(play.ticks(60)) == min(ATTEMPTS, UNASKED + UNASKED_EACH)
    assert len({message.transaction_id for _, message in play.sent}) == 1


def test_a_party_that_asks_is_asked_again() -> None:
    """A triggered check (RFC 8445 section 7.3.1.4): its NAT has just opened."""
    play = Play(True, HOME)
    play.ticks(60)
    play.asks(HOME, "ICE-CONTROLLED")
    play.asks(AWAY, "ICE-CONTROLLED")
    assert {to for to, _ in play.ticks()} == {HOME, AWAY}


def test_many_targets_are_not_asked_at_once() -> None:
    targets = tuple(TransportAddress.of("192.0.2.9", port) for port in range(1, 9))
    play = Play(True, *targets)
    assert len(play.ticks()) == PER_TICK
    assert {to for to, _ in play.ticks(1)} == set(targets)


@pytest.mark.rule("I2")
def test_an_answer_counts_only_signed_and_from_where_it_was_asked() -> None:
    play = Play(True, HOME)
    play.ticks()
    assert play.answers(HOME, password="another") is Answered.NOTHING
    assert play.agent.refused == 1
    (_, asked), *_ = play.sent
    reply = check("", THEIRS, transaction=asked.transaction_id, kind=other.Class.RESPONSE)
    assert play.hears(reply, AWAY) is Answered.NOTHING
    made_up = check("", THEIRS, transaction=b"another one!", kind=other.Class.RESPONSE)
    assert play.hears(made_up, HOME) is Answered.NOTHING
    assert play.hears(reply, HOME) is Answered.VALID
    assert play.hears(reply, HOME) is Answered.NOTHING


@pytest.mark.rule("I2")
def test_a_role_conflict_is_settled_by_the_tie_breaker() -> None:
    weaker, stronger = 1, 1 << 63
    play = Play(True)
    conflict = play.asks(HOME, "ICE-CONTROLLING", weaker)
    assert conflict.attributes["ERROR-CODE"][0] == 487
    assert is_controlling(play)
    assert play.asks(HOME, "ICE-CONTROLLING", stronger).message_class is other.Class.RESPONSE
    assert not is_controlling(play)
    play = Play(False)
    assert play.asks(HOME, "ICE-CONTROLLED", stronger).attributes["ERROR-CODE"][0] == 487
    assert play.asks(HOME, "ICE-CONTROLLED", weaker).message_class is other.Class.RESPONSE
    assert is_controlling(play)


def test_a_487_makes_us_ask_in_the_other_role() -> None:
    play = Play(True)
    play.ticks()
    assert play.answers(HOME, error=487) is Answered.REFUSED
    ((_, message),) = play.ticks()
    assert "ICE-CONTROLLED" in message.attributes
    assert play.answers(HOME) is Answered.VALID


def test_consent_is_asked_for_and_its_loss_is_noticed() -> None:
    play = Play(False, HOME)
    play.ticks()
    play.answers(HOME)
    play.selected = HOME
    asked = play.ticks(CONSENT_S + 2.1)
    assert len(asked) == 1
    play.answers(HOME)
    unheard = play.ticks(CONSENT_LOST_S - 0.5)
    assert len({m.transaction_id for _, m in unheard}) == len(unheard) >= 4
    assert not play.agent.has_lost(HOME, play.now)
    play.ticks(1)
    assert play.agent.has_lost(HOME, play.now)
    play.selected = None
    assert play.ticks(10) == []


def test_who_is_selected_and_never_answers_loses_consent_as_well() -> None:
    play = Play(False, AWAY)
    play.selected = HOME
    play.ticks(CONSENT_LOST_S + 0.2)
    assert play.agent.has_lost(HOME, play.now)


def test_other_credentials_begin_anew_and_new_targets_join() -> None:
    play = Play(True, HOME)
    play.ticks()
    play.answers(HOME)
    play.arm(True, (HOME, AWAY))
    assert AWAY in {to for to, _ in play.ticks()}
    play.answers(HOME)
    play.ticks(5)
    play.arm(True, (HOME,), password="after-the-restart")
    sent = play.agent.tick(None, play.now)
    assert len(sent) == 1
    believed(sent[0][1], b"after-the-restart")
