"""Whose keys arm which latch (`srtp-auth`), from the offer to the answer and through a restart."""

from dataclasses import replace

import pytest

from jingle_hnt.call.leg import Leg
from jingle_hnt.call.sdes import MOST_TAGS, Protection
from jingle_hnt.jingle.effects import Replace
from jingle_hnt.jingle.record import dump, load
from jingle_hnt.model.content import Content, Crypto, TagKey
from jingle_hnt.model.jid import JID
from jingle_hnt.model.jingle import Action
from jingle_hnt.relay.evidence import SourceAuth
from jingle_hnt.relay.policy import PeerPolicy, UnknownSource
from tests.jingle.stage import ALICE, BOB, PUBLIC, RELAY, Stage, candidates, content


def line(number: int) -> Crypto:
    return Crypto(str(number), (TagKey(f"{number:040x}", f"{number + 100:040x}"),))


DTLS = Crypto("")
FIRST, SECOND, ANSWER = line(1), line(2), replace(line(7), tag="2")


class Protected(Stage):
    """A call whose descriptions have these <crypto/> elements."""

    def offers(self, *lines: Crypto, known: bool = True) -> None:
        offer = replace(content(), crypto=lines)
        assert isinstance(self.says(ALICE, Action.SESSION_INITIATE, offer, known=known), Replace)

    def answers_with(self, *lines: Crypto, known: bool = True) -> None:
        answer = self.answer(*lines)
        assert isinstance(self.says(BOB, Action.SESSION_ACCEPT, answer, known=known), Replace)

    def answer(self, *lines: Crypto) -> Content:
        return replace(self.bobs(), crypto=lines)

    def tags(self, side: int, name: str = "s1.1.1") -> tuple[TagKey, ...]:
        evidence = self.plane.armed[name, 0 if side == 0 else 1].evidence
        assert evidence.source_auth is (
            SourceAuth.SRTP_AUTH if evidence.tags else SourceAuth.SIGNALLING_ADDRESS
        )
        return evidence.tags


def whole(keys: tuple[TagKey, ...]) -> tuple[TagKey, ...]:
    return keys


def of_reports(keys: tuple[TagKey, ...]) -> tuple[TagKey, ...]:
    """At the RTCP port nobody is believed by RTP: it may have been copied on its way."""
    return tuple(replace(key, rtp=key.rtcp) for key in keys)


@pytest.mark.rule("L11")
def test_the_offer_tells_the_caller_s_keys_and_the_answer_chooses_and_tells_the_callee_s() -> None:
    stage = Protected()
    stage.offers(FIRST, SECOND)
    for name, of in (("s1.1.1", whole), ("s1.1.2", of_reports)):
        assert stage.tags(0, name) == of(FIRST.keys + SECOND.keys)
        assert (name, 1) not in stage.plane.armed  # the callee's keys are not known yet
    stage.answers_with(ANSWER)
    for name, of in (("s1.1.1", whole), ("s1.1.2", of_reports)):
        assert stage.tags(0, name) == of(SECOND.keys)
        assert stage.tags(1, name) == of(ANSWER.keys)


@pytest.mark.parametrize("proposer", Leg)
def test_before_the_answer_nothing_tells_what_the_other_party_signs_with(proposer: Leg) -> None:
    protection = Protection(proposer, (FIRST,))
    assert protection.tags(proposer) == FIRST.keys
    assert protection.tags(proposer.other) == ()


def test_a_caller_with_one_line_keeps_its_latch_through_the_answer() -> None:
    stage = Protected()
    stage.offers(SECOND)
    before = stage.plane.armed["s1.1.1", 0]
    stage.answers_with(ANSWER)
    assert stage.plane.armed["s1.1.1", 0] is before


@pytest.mark.parametrize("chosen", [(), (DTLS, ANSWER), (Crypto("2"),), (line(9),)])
def test_a_call_whose_answer_leaves_it_open_is_latched_by_address(chosen: tuple[Crypto]) -> None:
    stage = Protected()
    stage.offers(FIRST, SECOND)
    stage.answers_with(*chosen)
    assert stage.tags(0) == stage.tags(1) == ()


@pytest.mark.parametrize(
    "offered", [(SECOND, DTLS), (Crypto("1"), SECOND), tuple(map(line, range(MOST_TAGS + 1)))]
)
def test_an_offer_that_leaves_it_open_waits_for_the_choice(offered: tuple[Crypto, ...]) -> None:
    stage = Protected()
    stage.offers(*offered)
    assert stage.tags(0) == stage.tags(1) == ()
    stage.answers_with(ANSWER)
    assert stage.tags(0) == next(c.keys for c in offered if c.tag == "2")
    assert stage.tags(1) == ANSWER.keys


def test_a_signature_is_proof_where_the_operator_asks_for_it() -> None:
    stage = Protected(
        peers=PeerPolicy(own=(RELAY,), allow_networks=PUBLIC, unknown_source=UnknownSource.REFUSE)
    )
    stage.offers(SECOND, known=False)
    stage.answers_with(ANSWER, known=False)
    assert stage.tags(1) == ANSWER.keys


def test_what_was_learned_is_known_after_a_choice_and_after_a_restart() -> None:
    stage = Protected()
    stage.offers(FIRST, SECOND)
    stage.latch("s1.1.1", 0, "198.51.100.1")
    stage.answers_with(ANSWER)
    (session,) = stage.registry
    record = dump(session, stage.now)
    again = Stage()
    loaded = load(record, again.registry, again.now)
    (medium,) = loaded.negotiation.media.values()
    (allocation,) = medium.allocations
    arms = {(arm.name, arm.side): arm for arm in allocation.arm_again()}
    resumed = arms["s1.1.1", 0]
    assert resumed.evidence.tags == SECOND.keys
    assert str(resumed.resume) == "198.51.100.1:40000"
    assert arms["s1.1.1", 1].evidence.tags == ANSWER.keys
    assert allocation.protection is medium.protection
    assert medium.protection.chosen == (ANSWER,)


def test_a_replaced_transport_asks_for_the_same_keys() -> None:
    stage = Protected()
    stage.offers(FIRST, SECOND)
    stage.answers_with(ANSWER)
    moved = replace(content(transport=candidates("192.0.2.11", 7000)), media=None)
    stage.says(ALICE, Action.TRANSPORT_REPLACE, moved)
    stage.says(BOB, Action.TRANSPORT_ACCEPT, replace(stage.bobs(), media=None))
    assert stage.tags(0, "s1.2.1") == SECOND.keys
    assert stage.tags(1, "s1.2.1") == ANSWER.keys


def test_a_second_call_of_strangers_has_keys_of_its_own() -> None:
    stage = Protected()
    stage.offers(FIRST)
    other = replace(content(), crypto=(SECOND,))
    stage.says(JID.of("mallory@example.org/lair"), Action.SESSION_INITIATE, other, to=BOB)
    assert stage.tags(0) == FIRST.keys
    assert stage.tags(0, "s2.1.1") == SECOND.keys
