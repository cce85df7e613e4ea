"""Rows F, and floods of offers: what is lost when something fails, and how soon it is there again.

The parties are those of the media rows. The signalling process is the test's own: our session core
with its journal, driven as `app` drives it.
"""

import asyncio
import os
import signal
import statistics
import time
from collections.abc import Awaitable, Sequence

from benchmarks.figures import rss_bytes
from jingle_hnt.jingle.policy import LimitPolicy
from tests.threats.anchors import Call, Ours, Refused
from tests.threats.field import Field, Outcome
from tests.threats.media import CALLS

FULL_HOUSE, PORTS, TRIES = 5, 20, 30
HALF_OPEN = 100
OFFERS, SETUPS, ROUNDS = 100_000, 2000, 5
POLL_S = 0.05
FEW_MS = 5.0
"""What others may wait longer at less than the full dose: p99 is the longest of a hundred then."""


def ours(field: Field) -> Ours:
    assert isinstance(field.anchor, Ours)
    return field.anchor


async def f4(field: Field) -> Outcome:
    """The signalling process is killed in mid-call and started again a second later."""
    anchor, restored_s = ours(field), [0.0]
    calls = await field.calls(max(CALLS, field.count(100)))

    async def die(starts_at: float) -> None:
        await asyncio.sleep(starts_at + 2 - time.time())
        restored_s[0] = await anchor.forget_and_remember()

    outcome = await field.talk(calls, 5, meanwhile=die)
    unknown = await hang_up(anchor, [call.number for call in calls])
    outcome.notes |= {"calls": len(calls), "restored_s": restored_s[0], "unknown": unknown}
    return outcome


async def f7(field: Field) -> Outcome:
    """Ports for five calls, and thirty callers."""
    anchor = ours(field)
    anchor.only(PORTS)
    anchor.allow(linger_s=0.0)
    calls = await field.calls(FULL_HOUSE)
    times: list[float] = []
    free_s, last = [0.0], list[int]()

    async def call_on(starts_at: float) -> None:
        await asyncio.sleep(starts_at + 1 - time.time())
        for number in range(FULL_HOUSE, TRIES):
            times.append(await time_of(one_more(field, number), refused=True))
        await anchor.hang_up(calls[-1].number)
        started = time.monotonic()
        last.append(await as_soon_as(field, TRIES))
        free_s[0] = time.monotonic() - started

    outcome = await field.talk(calls, 4, meanwhile=call_on, attacked=range(FULL_HOUSE - 1))
    await hang_up(anchor, [call.number for call in calls[:-1]] + last)
    await until_empty(anchor)
    outcome.notes |= {"refused": len(times), "answer_ms": 1000 * max(times), "free_s": free_s[0]}
    outcome.notes |= {"left": anchor.registry.calls.planes.counts.leased}
    return outcome


async def f10(field: Field) -> Outcome:
    """Both processes stand still (SIGSTOP, a suspended machine) while the parties talk on."""
    anchor = ours(field)
    still_s = field.seconds(60, 3)
    anchor.allow(first_media_s=still_s / 2, silence_s=still_s / 2, setup_s=still_s / 2)
    calls = await field.calls(CALLS)

    async def stand_still(starts_at: float) -> None:
        await asyncio.sleep(starts_at + 1.5 - time.time())
        os.kill(anchor.pid, signal.SIGSTOP)
        time.sleep(still_s)  # noqa: ASYNC251 - this process stands still, too
        os.kill(anchor.pid, signal.SIGCONT)

    outcome = await field.talk(calls, still_s + 8, meanwhile=stand_still)
    outcome.notes |= {"still_s": still_s, "lost_calls": len(calls) - len(anchor.registry)}
    return outcome


async def f12(field: Field) -> Outcome:
    """Both parties vanish without a word."""
    anchor = ours(field)
    silence_s, linger_s = field.seconds(60, 4), field.seconds(30, 6)
    anchor.allow(silence_s=silence_s, linger_s=linger_s)
    calls = await field.calls(CALLS)
    outcome = await field.talk(calls, 2)
    gone_at = time.monotonic() - 0.5  # of which the parties listened to what was under way
    await until_empty(anchor)
    outcome.notes |= {"allowed_s": silence_s + 10, "free_s": time.monotonic() - gone_at}
    return outcome


async def f21(field: Field) -> Outcome:
    """Loss of 10 %, duplicates, reordering and jitter on both sides' way to the relay."""
    anchor = ours(field)
    calls = await field.calls(CALLS)
    field.rough = True
    outcome = await field.talk(calls, field.seconds(20, 4))
    came = went = dropped = 0
    for binding in await anchor.client.snapshot():
        for pinhole in binding.pinholes:
            counters = pinhole.counters
            came += counters.received_packets
            went += counters.sent_packets
            dropped += counters.dropped_unlatched + counters.dropped_empty
    outcome.notes |= {"came": came, "went": went, "unlatched": dropped}
    outcome.notes["added"] = went + dropped - came
    return outcome


async def x8(field: Field) -> Outcome:
    """One user makes 1000 calls a second, a thousand of a domain ring and never stop; others call.

    The attackers' domain has a limit of unanswered calls, as an operator would set it.
    """
    anchor = ours(field)
    anchor.allow(LimitPolicy(half_open=HALF_OPEN))
    setups = max(100, field.count(SETUPS))
    offers = field.count(OFFERS) // ROUNDS
    quiet: list[float] = []
    loud: list[float] = []
    answers: list[tuple[bool, float]] = []
    before = rss_bytes(os.getpid())
    for first in range(0, 2 * setups, 2 * setups // ROUNDS):
        middle, last = first + setups // ROUNDS, first + 2 * setups // ROUNDS
        quiet += [await _set_up(field, number) for number in range(first, middle)]
        flood = asyncio.create_task(_flood(anchor, len(answers), offers))
        loud += [await _set_up(field, number) for number in range(middle, last)]
        answers += await flood
    notes: dict[str, float] = {
        "offers": len(answers),
        "refused": sum(refused for refused, _ in answers),
        "answer_ms": 1000 * p99([seconds for refused, seconds in answers if refused]),
        "quiet_ms": 1000 * p99(quiet),
        "loud_ms": 1000 * p99(loud),
        "grew": rss_bytes(os.getpid()) - before,
    }
    return Outcome(notes=notes)


async def _flood(anchor: Ours, first: int, offers: int) -> list[tuple[bool, float]]:
    """Half of them by one user, the others by a thousand of a remote domain, 1000 a second."""
    answers = []
    due = time.monotonic()
    for number in range(first, first + offers):
        caller = "flood@evil.example/x" if number % 2 else f"u{number % 1000}@evil.example/x"
        started = time.monotonic()
        refused = await anchor.rings(caller, number)
        answers.append((refused, time.monotonic() - started))
        due += 0.001
        await asyncio.sleep(max(0.0, due - time.monotonic()))
    return answers


async def _set_up(field: Field, number: int) -> float:
    """How long a call takes to be made; it is ended again."""
    seconds = await time_of(one_more(field, number))
    await field.anchor.hang_up(number)
    await asyncio.sleep(0.005)
    return seconds


async def one_more(field: Field, number: int) -> Call:
    """A call between the parties of the field; Refused where there are no ports for it."""
    known = (field.home_public, field.office_public)
    return await field.anchor.call(number, ((field.home, 20000), (field.office, 20000)), known)


async def as_soon_as(field: Field, number: int) -> int:
    """A call is made as soon as there are ports; returns its number, this one or a later one."""
    while True:
        try:
            await one_more(field, number)
        except Refused:
            number += 1
            await asyncio.sleep(POLL_S)
        else:
            return number


async def time_of(work: Awaitable[object], refused: bool = False) -> float:
    started = time.monotonic()
    try:
        await work
    except Refused:
        if not refused:
            raise
    else:
        assert not refused, "there were no ports for this call"
    return time.monotonic() - started


async def hang_up(anchor: Ours, calls: Sequence[int]) -> int:
    """End these calls; returns how many of them were not known any more."""
    unknown = 0
    for number in calls:
        before = len(anchor.registry)
        await anchor.hang_up(number)
        unknown += len(anchor.registry) == before
    return unknown


async def until_empty(anchor: Ours) -> None:
    while await anchor.client.snapshot():  # noqa: ASYNC110
        await asyncio.sleep(POLL_S)


def p99(values: Sequence[float]) -> float:
    return statistics.quantiles(values, n=100)[98] if len(values) > 1 else max(values, default=0.0)


def unnoticed(outcome: Outcome) -> bool:
    """No packet was lost, and every call is under control again."""
    notes = outcome.notes
    return outcome.live >= 1.0 and notes["restored_s"] <= 2 and notes["unknown"] == 0


def told_at_once(outcome: Outcome) -> bool:
    """Who was too much is told within 50 ms, nobody else notices, and nothing is left over."""
    notes = outcome.notes
    soon = notes["answer_ms"] <= 50 and notes["free_s"] <= 1
    return soon and outcome.live >= 0.995 and notes["left"] == 0 and notes["refused"] == 25


def goes_on(outcome: Outcome) -> bool:
    """No call has ended, and media flowed again at once."""
    at_once = outcome.gap_ms <= 1000 * (outcome.notes["still_s"] + 1)
    return outcome.notes["lost_calls"] == 0 and at_once and outcome.inject == 0


def freed(outcome: Outcome) -> bool:
    """The ports were free in time, and not before."""
    return 1.0 < outcome.notes["free_s"] <= outcome.notes["allowed_s"]


def adds_nothing(outcome: Outcome) -> bool:
    """What came went on: once, each of it."""
    return outcome.notes["added"] == 0 and outcome.notes["went"] > 0


def bearable(outcome: Outcome) -> bool:
    """The flood is refused within 50 ms, and others hardly wait longer than without it."""
    notes = outcome.notes
    slack_ms = 0 if notes["offers"] >= OFFERS else FEW_MS
    others = notes["loud_ms"] <= max(1.2 * notes["quiet_ms"], notes["quiet_ms"] + slack_ms)
    flood = notes["refused"] >= notes["offers"] - HALF_OPEN and notes["answer_ms"] <= 50
    return others and flood and notes["grew"] <= 50 << 20
