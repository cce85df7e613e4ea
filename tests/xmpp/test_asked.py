"""X14, X15: only who was asked can answer, and once."""

import asyncio
from xml.etree.ElementTree import Element

import pytest

from jingle_hnt.xmpp.asked import Asked


def result(id_: str) -> Element:
    return Element("iq", {"type": "result", "id": id_})


async def test_an_answer_reaches_who_waits() -> None:
    asked = Asked()
    with asked.expect("example.org", "1") as answer:
        asked.settle("example.org", result("1"))
        assert (await answer) is not None
    assert len(asked) == 0


@pytest.mark.parametrize(
    "sender", ["", "hnt.example.org", "example.org/x", "a@example.org", "e.org"]
)
async def test_nobody_else_can_answer(sender: str) -> None:
    asked = Asked()
    with asked.expect("example.org", "1") as answer:
        asked.settle(sender, result("1"))
        asked.settle("example.org", result("2"))
        await asyncio.sleep(0)
        assert not answer.done()
    assert len(asked) == 0


async def test_a_second_answer_changes_nothing() -> None:
    asked = Asked()
    with asked.expect("example.org", "1") as answer:
        first = result("1")
        asked.settle("example.org", first)
        asked.settle("example.org", result("1"))
        assert await answer is first
    asked.settle("example.org", result("1"))
    assert len(asked) == 0


async def test_random_results_leave_nothing_behind() -> None:
    asked = Asked()
    for number in range(1000):
        asked.settle("example.org", result(str(number)))
    assert len(asked) == 0


async def test_a_lost_stream_answers_with_none() -> None:
    asked = Asked()
    with asked.expect("example.org", "1") as answer:
        asked.clear()
        assert await answer is None


async def test_who_gives_up_waiting_leaves_nothing_behind() -> None:
    asked = Asked()

    async def wait() -> None:
        with asked.expect("example.org", "1") as answer:
            await answer

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(asked) == 0
