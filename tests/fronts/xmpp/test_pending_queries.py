"""X14, X15: only who was asked can answer, and once."""

import asyncio
import random
from xml.etree.ElementTree import Element

import pytest

from jingle_hnt.fronts.xmpp.pending_queries import PendingQueries
from tests.threats import doses
from tests.threats.doses import Measured


def result(id_: str) -> Element:
    return Element("iq", {"type": "result", "id": id_})


async def test_an_answer_reaches_who_waits() -> None:
    asked = PendingQueries()
    with asked.expect("example.org", "1") as answer:
        asked.settle("example.org", result("1"))
        assert (await answer) is not None
    assert len(asked) == 0


@pytest.mark.parametrize(
    "sender", ["", "hnt.example.org", "example.org/x", "a@example.org", "e.org"]
)
async def test_nobody_else_can_answer(sender: str) -> None:
    asked = PendingQueries()
    with asked.expect("example.org", "1") as answer:
        asked.settle(sender, result("1"))
        asked.settle("example.org", result("2"))
        await asyncio.sleep(0)
        assert not answer.done()
    assert len(asked) == 0


async def test_a_forged_error_is_ignored_whoever_it_is_of(record_property: Measured) -> None:
    """X15: the liar knows the id, and may use any address but that of who was asked."""
    asked, chance, tries, believed = PendingQueries(), random.Random(15), doses.count(10_000), 0
    users = ("", "a@", "b@", "example.org@", "B@")
    domains = ("example.org", "e.example.org", "example.org.", "example.orgs", "evil.example")
    for number in range(tries):
        whom = chance.choice(("example.org", "b@example.org/x"))
        with asked.expect(whom, str(number)) as answer:
            sender = whom
            while sender == whom:
                resource = chance.choice(("", "/", "/x", "/X", "/y"))
                sender = chance.choice(users) + chance.choice(domains) + resource
            asked.settle(sender, Element("iq", {"type": "error", "id": str(number)}))
            believed += answer.done()
            asked.settle(whom, result(str(number)))
            assert answer.done()
    record_property("tries", tries)
    record_property("believed", believed)
    assert believed == len(asked) == 0


async def test_a_second_answer_changes_nothing() -> None:
    asked = PendingQueries()
    with asked.expect("example.org", "1") as answer:
        first = result("1")
        asked.settle("example.org", first)
        asked.settle("example.org", result("1"))
        assert await answer is first
    asked.settle("example.org", result("1"))
    assert len(asked) == 0


async def test_random_results_leave_nothing_behind() -> None:
    asked = PendingQueries()
    with asked.expect("example.org", "the one") as answer:
        for number in range(doses.count(100_000)):
            asked.settle("example.org", result(str(number)))
            asked.settle(f"u{number}@example.org", result("the one"))
        assert len(asked) == 1
        assert not answer.done()
    asked.settle("example.org", result("the one"))  # late
    assert len(asked) == 0


async def test_a_lost_stream_answers_with_none() -> None:
    asked = PendingQueries()
    with asked.expect("example.org", "1") as answer:
        asked.clear()
        assert await answer is None


async def test_who_gives_up_waiting_leaves_nothing_behind() -> None:
    asked = PendingQueries()

    async def wait() -> None:
        with asked.expect("example.org", "1") as answer:
            await answer

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(asked) == 0
