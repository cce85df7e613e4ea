"""The table of transitions against XEP-0166, and against every small mistake that it could hold."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from jingle_hnt.call.leg import Leg
from jingle_hnt.jingle import table
from jingle_hnt.jingle.effects import Pass, Replace
from jingle_hnt.jingle.machine import Session
from jingle_hnt.jingle.table import TABLE, State, Transition, Verb, transition
from jingle_hnt.model.content import Content, ContentKey, Creator, Senders
from jingle_hnt.model.jingle import Action, Info
from tests.jingle.model import ROWS
from tests.jingle.stage import ALICE, BOB, CAMERA, VOICE, Stage, candidates, content

SCREEN = ContentKey(Creator.RESPONDER, "screen")


def everything(stage: Stage, session: Session) -> object:
    """All that a verb could change."""
    media = {
        key: (m.agreed, m.senders, m.allocation, dict(m.replacements), dict(m.signalled))
        for key, m in session.negotiation.media.items()
    }
    gates = session.negotiation.gates
    return media, set(gates.holders), dict(stage.plane.armed), dict(stage.plane.flows)


def says_all(stage: Stage, action: Action) -> object:
    """Bob's answer to whatever is open, more contents, a move, another direction, and hold."""
    moves = replace(stage.bobs(), transport=candidates("192.0.2.20", 6100, 4))
    told = [replace(each, senders=Senders.NONE) for each in (moves, stage.bobs(CAMERA))]
    return stage.says(BOB, action, *told, content(SCREEN), info=Info.HOLD)


def open_questions(stage: Stage) -> None:
    """Alice has asked for another content, and for another transport."""
    stage.says(ALICE, Action.CONTENT_ADD, content(CAMERA))
    stage.says(ALICE, Action.TRANSPORT_REPLACE, moved(3))


def legal() -> None:
    """Every action of every party in every state."""
    for (state, action), (who, to) in ROWS.items():
        for leg in Leg:
            found = transition(state, action, leg)
            assert (found is not None) == (leg in who), (state, action, leg)
            assert found is None or found.to is to, (state, action)
    assert {action for _, action in ROWS} == set(Action)


def at(state: State) -> tuple[Stage, Session]:
    """A call in this state, with Bob's RTP heard."""
    stage = Stage()
    stage.says(ALICE, Action.SESSION_INITIATE, content())
    if state is State.ACTIVE:
        stage.says(BOB, Action.SESSION_ACCEPT, stage.bobs())
    (session,) = stage.registry
    return stage, session


def moved(generation: int = 1) -> Content:
    return content(transport=candidates("192.0.2.10", 5100, generation))


def effective(state: State) -> None:
    """Every verb does in this state what it is there for."""
    stage, session = at(state)
    media = session.negotiation.media
    assert isinstance(stage.says(ALICE, Action.SESSION_INFO, info=Info.HOLD), Pass)
    assert session.negotiation.gates.holders == {Leg.INITIATOR}
    stage.says(ALICE, Action.SESSION_INFO, info=Info.ACTIVE)
    assert session.negotiation.gates.holders == set()

    assert isinstance(stage.says(ALICE, Action.CONTENT_ADD, content(CAMERA)), Replace)
    assert not media[CAMERA].agreed
    assert isinstance(stage.says(BOB, Action.CONTENT_ACCEPT, stage.bobs(CAMERA)), Replace)
    assert media[CAMERA].agreed
    stage.says(ALICE, Action.CONTENT_MODIFY, replace(content(CAMERA), senders=Senders.NONE))
    assert media[CAMERA].senders is Senders.NONE
    assert isinstance(stage.says(ALICE, Action.CONTENT_REMOVE, content(CAMERA)), Pass)
    assert CAMERA not in media
    stage.says(ALICE, Action.CONTENT_ADD, content(CAMERA))
    assert isinstance(stage.says(ALICE, Action.CONTENT_REJECT, content(CAMERA)), Pass)
    assert CAMERA in media, "nobody rejects what is his own"
    assert isinstance(stage.says(BOB, Action.CONTENT_REJECT, content(CAMERA)), Pass)
    assert CAMERA not in media

    assert isinstance(stage.says(ALICE, Action.TRANSPORT_INFO, moved()), Replace)
    assert stage.plane.armed["s1.1.1", 0].generation == 1
    nobodys = content(ContentKey(Creator.INITIATOR, "third"))
    assert isinstance(stage.says(ALICE, Action.TRANSPORT_INFO, nobodys), Pass), "nobody proposed it"

    assert isinstance(stage.says(ALICE, Action.TRANSPORT_REPLACE, moved(2)), Replace)
    assert set(media[VOICE].replacements) == {Leg.INITIATOR}
    before = media[VOICE].allocation
    assert isinstance(stage.says(BOB, Action.TRANSPORT_REJECT, content()), Pass)
    assert media[VOICE].replacements == {}
    assert media[VOICE].allocation is before
    stage.says(ALICE, Action.TRANSPORT_REPLACE, moved(3))
    assert isinstance(stage.says(BOB, Action.TRANSPORT_ACCEPT, stage.bobs()), Replace)
    assert media[VOICE].allocation is not before

    open_questions(stage)
    as_it_was = everything(stage, session)
    for action in (Action.DESCRIPTION_INFO, Action.SECURITY_INFO):
        assert isinstance(says_all(stage, action), Pass)
        assert everything(stage, session) == as_it_was
    if state is State.ACTIVE:
        again = stage.says(BOB, Action.SESSION_ACCEPT, stage.bobs(), stage.bobs(CAMERA))
        assert isinstance(again, Replace), "an accept that is said twice is the same"
        assert media[CAMERA].agreed
        assert set(media[VOICE].replacements) == {Leg.INITIATOR}
        assert isinstance(stage.says(ALICE, Action.SESSION_ACCEPT, moved(3)), Pass)


def final() -> None:
    """What opens and what ends a call."""
    for state in (State.PENDING, State.ACTIVE):
        stage, session = at(state)
        assert session.negotiation.media[VOICE].agreed == (state is State.ACTIVE)
        open_questions(stage)
        media = everything(stage, session)
        assert isinstance(says_all(stage, Action.SESSION_TERMINATE), Pass)
        assert session.state is State.ENDED
        assert kept(everything(stage, session)) == kept(media)
        assert isinstance(stage.says(ALICE, Action.SESSION_TERMINATE), Pass)
        stage.assert_nothing_left()
    stage, session = at(State.ACTIVE)
    open_questions(stage)
    stage.held = True
    stage.says(ALICE, Action.CONTENT_ADD, content(ContentKey(Creator.INITIATOR, "third")))
    stage.says(ALICE, Action.SESSION_TERMINATE)
    assert session.state is State.ENDED, "kept for the stanza that waits"
    media = everything(stage, session)
    says_all(stage, Action.SESSION_TERMINATE)
    assert kept(everything(stage, session)) == kept(media)
    stage.bind_all()
    assert isinstance(stage.answers[stage.tokens], Pass)
    stage.assert_nothing_left()


def kept(of_session: object) -> object:
    """What an end does not touch: the plane releases what was bound."""
    assert isinstance(of_session, tuple)
    return of_session[:2]


def walk() -> None:
    """All that this file knows of the table."""
    legal()
    effective(State.PENDING)
    effective(State.ACTIVE)
    final()


def mutants() -> Iterator[tuple[tuple[State, Action], Transition | None]]:
    """Every row without it, for one party only, leading elsewhere, or doing something else."""
    for key, row in TABLE.items():
        yield key, None
        yield from ((key, replace(row, by=frozenset({leg}))) for leg in Leg if row.by != {leg})
        yield from ((key, replace(row, to=to)) for to in State if to is not row.to)
        yield from ((key, replace(row, verb=verb)) for verb in Verb if verb is not row.verb)


@pytest.mark.rule("J1")
def test_the_table_is_that_of_xep_0166() -> None:
    walk()


@pytest.mark.timeout(120)
def test_every_small_mistake_in_the_table_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each row is dropped, kept from one party, led elsewhere and given every other verb."""
    survivors = []
    for key, row in mutants():
        changed = {**TABLE, key: row} if row else {k: v for k, v in TABLE.items() if k != key}
        with monkeypatch.context() as patch:
            patch.setattr(table, "TABLE", changed)
            try:
                walk()
            except Exception:
                continue
        survivors.append((key, row))
    assert survivors == []
