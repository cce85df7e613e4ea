"""Stanzas leave in order, and when the orders that they depend on are carried out."""

import asyncio

import pytest

from jingle_hnt.fronts import outgoing
from jingle_hnt.fronts.outgoing import Outgoing


@pytest.fixture
def sent() -> list[str]:
    return []


async def turn() -> None:
    """Let what is due be called."""
    for _ in range(3):
        await asyncio.sleep(0)


async def test_what_depends_on_nothing_leaves_at_once(sent: list[str]) -> None:
    Outgoing(sent.append).put(["a", "b"])
    assert sent == ["a", "b"]


@pytest.mark.parametrize("fails", [False, True])
async def test_a_stanza_waits_for_its_orders_and_later_ones_for_it(
    sent: list[str], fails: bool
) -> None:
    out: Outgoing[str] = Outgoing(sent.append)
    done = asyncio.get_running_loop().create_future()
    out.put(["accept"], done)
    out.put(["info"])
    await turn()
    assert sent == []
    if fails:
        done.set_exception(RuntimeError("the plane is gone"))
    else:
        done.set_result(None)
    await turn()
    assert sent == ["accept", "info"]
    assert fails is (done.exception() is not None)


async def test_a_plane_that_does_not_answer_delays_nothing_for_long(
    sent: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outgoing, "LONGEST_S", 0.01)
    both = asyncio.Event()

    def send(stanza: str) -> None:
        sent.append(stanza)
        if len(sent) == 2:
            both.set()

    out = Outgoing(send)
    never = asyncio.get_running_loop().create_future()
    out.put(["one"], never)
    out.put(["two"], never)
    assert sent == []
    await both.wait()
    assert sent == ["one", "two"]


async def test_at_the_end_all_of_it_leaves(sent: list[str]) -> None:
    out: Outgoing[str] = Outgoing(sent.append)
    never = asyncio.get_running_loop().create_future()
    out.put(["one"], never)
    out.put(["two"])
    out.flush()
    assert sent == ["one", "two"]
    out.put(["three"])
    assert sent[-1] == "three"
