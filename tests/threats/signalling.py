"""Rows X that are a matter of numbers: third parties, and stanzas that are made to cost."""

import random
import resource
import time
from collections.abc import Iterable

from jingle_hnt.errors import JingleError
from jingle_hnt.fronts.xmpp.codec import parse
from jingle_hnt.fronts.xmpp.stream_reader import Broken, Event, Stanza, StreamReader
from jingle_hnt.jingle.effects import Pass, Request
from jingle_hnt.jingle.record import dump
from jingle_hnt.jingle.registry import Registry
from jingle_hnt.model.content import Content
from jingle_hnt.model.jid import JID
from jingle_hnt.model.jingle import Action, Jingle
from tests.threats.anchors import DOMAIN, Ours, content
from tests.threats.field import Field, Outcome
from tests.threats.media import CALLS

TRIES = 10_000
ELSEWHERE = ("evil.example", DOMAIN)
HEADER = (
    b"<?xml version='1.0'?><stream:stream xmlns='jabber:component:accept'"
    b" xmlns:stream='http://etherx.jabber.org/streams' id='abc' from='hnt.example.org'>"
)
JINGLE = b"<jingle xmlns='urn:xmpp:jingle:1' action='session-initiate' sid='a'>"
CALM = b"<iq from='a' id='1'><q xmlns='urn:q'/></iq>"
READ = 65536
"""What is read from a socket at a time."""
DRIP, PIECE = 16, 1460


async def x1(field: Field) -> Outcome:
    """Third JIDs, local and remote, send every action with live sids, to either party."""
    assert isinstance(field.anchor, Ours)
    registry = field.anchor.registry
    await field.calls(CALLS)
    chance, now = random.Random(1), time.monotonic()
    before = _state(registry, now)
    told_apart = 0
    actions = [action for action in Action if action is not Action.SESSION_INITIATE]
    for number in range(field.count(TRIES)):
        call = number % CALLS
        sender = JID.of(f"m{number}@{chance.choice(ELSEWHERE)}/x")
        victim = JID.of(f"{chance.choice('ab')}{call}@{DOMAIN}/x")
        action = chance.choice(actions)
        answers = [
            _answer(registry, sender, victim, action, sid, now) for sid in (f"s{call}", "unknown")
        ]
        told_apart += answers != [Pass, Pass]
    changes = _state(registry, now) != before
    notes: dict[str, float] = {
        "tries": field.count(TRIES),
        "changes": changes,
        "told_apart": told_apart,
    }
    return Outcome(notes=notes)


def _answer(
    registry: Registry, sender: JID, victim: JID, action: Action, sid: str, now: float
) -> type[object]:
    """What a stranger's request is answered; it passes, and the victim answers as it always does.

    Anything else that it brings about counts as an answer, too.
    """
    contents: tuple[Content, ...] = (content(("198.51.100.66", 9000), 99),)
    request = Request(-1, sender, victim, Jingle(action, sid, contents=contents))
    registry.receive(request, now)
    effects = registry.calls.effects()
    return type(effects[0]) if len(effects) == 1 else list


def _state(registry: Registry, now: float) -> list[object]:
    return [dump(session, now) for session in registry]


async def x9(field: Field) -> Outcome:
    """Stanzas of 512 KiB, of 10^4 candidates, 10^3 contents, 10^5 attributes, 10^5 levels."""
    deep = 100_000
    monsters = (
        b"<x>" + b"y" * 512 * 1024 + b"</x>",
        b"<candidate port='1' ip='1.2.3.4' id='a'/>" * 10_000,
        b"<content name='a' creator='initiator'><description/><transport/></content>" * 1000,
        b"<x " + b"".join(b"a%d='' " % n for n in range(deep)) + b"/>",
        b"<x>" * deep + b"</x>" * deep,
    )
    longest_ms, whole = 0.0, 0
    for monster in monsters:
        reader = _opened()
        stanza = b"<iq from='a' id='1'>" + JINGLE + monster + b"</jingle></iq>"
        events, spent_s = _fed(reader, stanza, READ)
        whole += any(_is_believed(event) for event in events)
        lives = not any(isinstance(e, Broken) for e in events)
        after, _ = _fed(reader, CALM, READ)
        whole += len(after) != 1 if lives else 0
        longest_ms = max(longest_ms, 1000 * spent_s)
    return Outcome(notes={"stanzas": len(monsters), "let_in": whole, "longest_ms": longest_ms})


def _is_believed(event: Event) -> bool:
    """Whether a stanza would reach a session."""
    if not isinstance(event, Stanza) or event.pruned:
        return False
    try:
        parse(event.element[0])
    except JingleError:
        return False
    return True


async def x10(field: Field) -> Outcome:
    """Bombs of entities, DTDs, processing instructions and comments."""
    laughs = b"".join(
        b'<!ENTITY l%d "%s">' % (n, b"&l%d;" % (n - 1) * 10 if n else b"ha") for n in range(30)
    )
    bombs = (
        b"<!DOCTYPE a [" + laughs + b"]><a>&l29;</a>",
        b'<!DOCTYPE a [<!ENTITY x "' + b"x" * 50_000 + b'">]><a>' + b"&x;" * 50_000 + b"</a>",
        b"<!DOCTYPE a SYSTEM 'file:///etc/passwd'><a/>",
        b"<?php evil ?>",
        b"<!-- a comment -->",
    )
    before = _peak()
    let_in = 0
    for bomb in bombs:
        events, _ = _fed(_opened(), bomb, READ)
        let_in += not any(isinstance(event, Broken) for event in events)
    return Outcome(notes={"bombs": len(bombs), "let_in": let_in, "grew": _peak() - before})


async def x11(field: Field) -> Outcome:
    """One token of 64 KiB in small pieces, and one of 2 MiB in packets, of the dearest bytes."""
    small_s = large_s = 0.0
    for dear in (b"x", b">", b"&"):
        _, spent_s = _fed(_opened(), b"<iq a='" + dear * 65536 + b"'/>", DRIP, total=True)
        small_s = max(small_s, spent_s)
        _, spent_s = _fed(_opened(), b"<iq a='" + dear * 1_900_000 + b"'/>", PIECE, total=True)
        large_s = max(large_s, spent_s)
    return Outcome(notes={"dripped_ms": 1000 * small_s, "packets_ms": 1000 * large_s})


def _opened() -> StreamReader:
    reader = StreamReader()
    reader.feed(HEADER)
    return reader


def _fed(
    reader: StreamReader, data: bytes, size: int, total: bool = False
) -> tuple[list[Event], float]:
    """What came out, and the CPU time of the longest piece, or of all."""
    events: list[Event] = []
    times = []
    for at in range(0, len(data), size):
        piece = data[at : at + size]
        started = time.process_time()
        events += reader.feed(piece)
        times.append(time.process_time() - started)
    return events, _sum(times) if total else max(times)


def _sum(times: Iterable[float]) -> float:
    return sum(times)


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def no_oracle(outcome: Outcome) -> bool:
    """Nothing changed, and a live sid is answered as an unknown one is."""
    notes = outcome.notes
    return notes["tries"] > 0 and not notes["changes"] and notes["told_apart"] == 0


def pruned(outcome: Outcome) -> bool:
    """None was let in whole, and none held the loop for long."""
    return outcome.notes["let_in"] == 0 and outcome.notes["longest_ms"] <= 20


def refused(outcome: Outcome) -> bool:
    """Each ended its stream, and hardly any memory was touched."""
    return outcome.notes["let_in"] == 0 and outcome.notes["grew"] <= 10 << 20


def cheap(outcome: Outcome) -> bool:
    """64 KiB cost no more than 50 ms, however they come."""
    return outcome.notes["dripped_ms"] <= 50
