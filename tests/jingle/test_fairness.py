"""Who sends much waits for itself."""

from hypothesis import given
from hypothesis import strategies as st

from jingle_hnt.call.policy import GateMode, IceMode
from jingle_hnt.jingle.effects import Bounce, Pass, Request
from jingle_hnt.jingle.fairness import FairQueue
from jingle_hnt.jingle.policy import IceRule
from jingle_hnt.model.jid import JID
from jingle_hnt.model.jingle import Action, Jingle
from tests.jingle.stage import ALICE, BOB, Stage


def test_one_line_does_not_keep_the_others_waiting() -> None:
    queue: FairQueue[str] = FairQueue(longest=64)
    for number in range(100):
        assert queue.put("mallory", f"m{number}", 0.0) is (number < 64)
    assert queue.put("mallory", "hangs up", 0.0, ends=True)
    assert queue.put("alice", "a", 1.0)
    assert [queue.take() for _ in range(3)] == [("m0", 0.0), ("a", 1.0), ("m1", 0.0)]
    assert queue.put("mallory", "m100", 2.0)
    assert not queue.put("mallory", "m101", 2.0)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 9)), max_size=60))
def test_each_line_keeps_its_order_and_nobody_is_passed_over(asked: list[tuple[str, int]]) -> None:
    queue: FairQueue[tuple[str, int]] = FairQueue()
    for line, number in asked:
        queue.put(line, (line, number), 0.0)
    served = []
    while queue:
        waiting = {line for line in "abc" if queue.has(line)}
        turn = {queue.take()[0] for _ in waiting}
        assert {line for line, _ in turn} == waiting, "a whole turn serves each line once"
        served += [item for item in asked if item in turn]
    queue = FairQueue()
    for line, number in asked:
        queue.put(line, (line, number), 0.0)
    taken = []
    while queue:
        taken.append(queue.take()[0])
    for line in "abc":
        assert [n for each, n in taken if each == line] == [n for each, n in asked if each == line]


def late(action: Action, **changes: object) -> object:
    stage = Stage(**changes)  # type: ignore[arg-type]
    stage.registry.late(Request(1, ALICE, BOB, Jingle(action, "a")), 0.0)
    stage.settle()
    return stage.answers[1]


def test_what_waits_too_long_goes_on_but_where_that_breaks_a_promise() -> None:
    offer, end = Action.SESSION_INITIATE, Action.SESSION_TERMINATE
    assert isinstance(late(offer), Pass)
    assert isinstance(late(offer, ice=IceMode.TERMINATE), Bounce)
    assert isinstance(late(offer, gate=GateMode.TWO_STAGE), Bounce)
    assert isinstance(late(offer, ice_rules=(IceRule(IceMode.TERMINATE),)), Bounce)
    assert isinstance(late(end, ice=IceMode.TERMINATE), Pass)


def test_users_that_another_server_makes_up_share_a_line() -> None:
    budgets = Stage().registry.budgets
    ours = {budgets.line_of(JID.of(f"u{n}@example.org/x")) for n in range(3)}
    theirs = {budgets.line_of(JID.of(f"u{n}@evil.example/x")) for n in range(3)}
    assert (len(ours), len(theirs)) == (3, 1)
