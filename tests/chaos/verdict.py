"""What may be lost while something fails, and whether no more was.

A gap is what a party has not heard of several packets in a row that it had to hear. It is excused
by what the table of threats allows for the fault that was going on, and for what the parties were
about. All times are of one monotonic clock.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

GAP_S = (0.35, 0.9)
"""From the first to the last packet that is lost in a row, RTP and RTCP: less is no gap."""
PAUSE_S = (0.5, 2.5)
"""Who has sent nothing for so long was muted meanwhile: that is no gap."""
SETTLE_S = 0.6
"""From the answer to a request until all that it changes is in force."""
SETTLED_S = (SETTLE_S, 6.0)
"""The same of RTP and RTCP: to follow RTCP to another port may take packets that come once a
second."""
MOVED_S = 1.5
"""The same of who tells of other ports: it may have been a rival of its former self for a second
(rule 8 of `relay.latch`)."""
LEARNED_S = (2.0, 8.0)
"""From the return of the signalling process until what passed meanwhile is learned (row F34), RTP
and RTCP: to believe a latch's RTCP may take five packets, which come once a second."""
RESUMED_S = 0.5
"""From a plane's death until media flows again (row F5), on a machine that does nothing else."""
REMAPPED_S = (2.0, 8.0)
"""From the first packet that comes from another port of a NAT until it is followed (row M12)."""
SILENCE_S = 1.0
"""How long the port before has to be silent for that."""


class Reach(StrEnum):
    """Whom a fault may cost something: media of all, only who signals meanwhile, or nobody."""

    MEDIA = "media"
    SIGNALLING = "signalling"
    NOTHING = "nothing"


@dataclass
class Window:
    """A fault, from its begin until everything works again."""

    kind: str
    reach: Reach
    begin: float
    end: float = float("inf")


@dataclass
class Act:
    """A request of a party, from its sending to its answer: the error's condition, if any."""

    action: str
    begin: float
    end: float = float("inf")
    answer: str = ""


@dataclass
class Track:
    """What a party (0 or 1) has sent on a component of a content, and what of it was heard.

    Of each packet when it was sent, and whether it had to be heard.
    """

    seat: int
    content: str
    component: int
    sent: list[tuple[float, bool]] = field(default_factory=list)
    heard: set[int] = field(default_factory=set)

    @property
    def lost(self) -> int:
        """How many packets were not heard that had to be."""
        numbers = (n for n, (_, expected) in enumerate(self.sent) if expected)
        return sum(number not in self.heard for number in numbers)


@dataclass(frozen=True)
class Gap:
    """Packets in a row that were not heard, from the first to the last."""

    track: Track
    begin: float
    end: float

    @property
    def seconds(self) -> float:
        return self.end - self.begin


Span = tuple[float, float]


def gaps(track: Track) -> Iterator[Gap]:
    """The gaps of a track."""
    run: list[float] = []
    for number, (at, expected) in enumerate(track.sent):
        is_lost = expected and number not in track.heard
        if run and not (is_lost and at - run[-1] <= PAUSE_S[track.component]):
            yield from _gap(track, run)
            run = []
        if is_lost:
            run.append(at)
    yield from _gap(track, run)


def _gap(track: Track, run: Sequence[float]) -> Iterator[Gap]:
    if run and run[-1] - run[0] > GAP_S[track.component]:
        yield Gap(track, run[0], run[-1])


def excuses(
    gap: Gap,
    reverse: Track,
    acts: Iterable[Act],
    windows: Sequence[Window],
    flushed: tuple[Sequence[float], Sequence[float]],
) -> list[Span]:
    """When this gap is allowed.

    `reverse` is what the other party has sent on the same component; `flushed` says when the NAT of
    either party has forgotten its mappings. Who has moved in any way is found when it speaks.
    """
    component, seat = gap.track.component, gap.track.seat
    media = [w for w in windows if w.reach is Reach.MEDIA]
    away = [w for w in windows if w.reach is not Reach.NOTHING]
    spans = [(w.begin, w.end + RESUMED_S) for w in media]
    for act in acts:
        met = [w.end for w in away if w.begin <= act.end + SETTLE_S and act.begin <= w.end]
        until = act.end
        if met:
            learned_s = LEARNED_S[component]
            at = max(max(met), _first(gap.track, max(met)))  # who is muted cannot be found
            until = _beyond(act.begin, at + learned_s, learned_s, media)
        settled_s = SETTLED_S[component]
        if act.action == "transport-info":
            settled_s = max(settled_s, MOVED_S)
        spans.append((act.begin, max(until, act.end) + settled_s))
    for at in flushed[seat]:
        spans.append((at, _found(at, gap.track, media)))
    for at in flushed[1 - seat]:
        spans.append((at, _found(at, reverse, media)))
    return [(begin, _heard_again(begin, end, reverse)) for begin, end in spans]


def _found(at: float, track: Track, media: Sequence[Window]) -> float:
    """When a party whose NAT has forgotten it is followed: some time after it is heard again.

    What it sends while the address before may yet speak is not believed.
    """
    most = REMAPPED_S[track.component]
    first, later = _first(track, at), _first(track, at + SILENCE_S)
    return _beyond(at, max(first + most, later + most - SILENCE_S), most, media)


def _first(track: Track, since: float) -> float:
    """When this party has sent the first packet after that; infinite where it never has."""
    place = bisect_left(track.sent, (since, False))
    return track.sent[place][0] if place < len(track.sent) else float("inf")


def _beyond(begin: float, until: float, most: float, media: Sequence[Window]) -> float:
    """Until when, if media is away in between: then it takes as long as from anew."""
    for window in sorted(media, key=lambda w: w.begin):
        if window.begin <= until and begin <= window.end + RESUMED_S:
            until = max(until, window.end + RESUMED_S + most)
    return until


def _heard_again(since: float, until: float, reverse: Track) -> float:
    """Nothing can go to a party before it is found, by what it says after it was moved or lost."""
    most = REMAPPED_S[reverse.component]
    since = max(since, until - most)
    first = _first(reverse, since)
    return until if first <= since + PAUSE_S[reverse.component] else max(until, first + most)


def unexcused_s(gap: Gap, spans: Iterable[Span]) -> float:
    """How much of a gap, in seconds in a row, nothing excuses."""
    longest, at = 0.0, gap.begin
    for begin, end in sorted(spans):
        if begin > at:
            longest = max(longest, min(begin, gap.end) - at)
        at = max(at, end)
        if at >= gap.end:
            break
    return max(longest, gap.end - at)


def is_excused(gap: Gap, spans: Iterable[Span]) -> bool:
    """Whether the rest is too short for a gap."""
    return unexcused_s(gap, spans) <= GAP_S[gap.track.component]
