"""The latch's rules in Python and in C, which must agree on every packet of a play."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from ipaddress import ip_network

from jingle_hnt.model.address import TransportAddress
from jingle_hnt.plane.native import pack, pack_networks, unpack
from jingle_hnt.relay.binding import StreamAt
from jingle_hnt.relay.evidence import PROBATION_PACKETS, Evidence, SourceAuth
from jingle_hnt.relay.latch import Latch, Verdict
from jingle_hnt.relay.packet import classify
from tests.plane import _twins
from tests.plane.packets import rtp

HOME, MOVED, NEIGHBOUR, OTHER = (
    TransportAddress.of("198.51.100.1", port) for port in (5000, 6000, 7777, 8888)
)
ELSEWHERE = TransportAddress.of("203.0.113.66", 666)
POOLED = TransportAddress.of("198.51.100.2", 5000)

BY_ADDRESS = Evidence(SourceAuth.SIGNALLING_ADDRESS, (ip_network("198.51.100.1"),))
BY_POOL = Evidence(SourceAuth.SIGNALLING_ADDRESS, (ip_network("198.51.100.0/24"),))
UNKNOWN = Evidence(SourceAuth.PROBATION, (ip_network("0.0.0.0/0"),), probation=PROBATION_PACKETS)

GOES_ON = frozenset({Verdict.PASS, Verdict.LATCHED, Verdict.RELATCHED})


class Both:
    """A latch and its twin."""

    def __init__(self, evidence: Evidence | None = None) -> None:
        self.python, self.native = Latch(), _twins.Latch()
        self.told: int | None = None  # of streams, by an engine that asks at each packet
        if evidence is not None:
            assert self.arm(0, evidence)

    @property
    def source(self) -> TransportAddress | None:
        return self.python.source

    def arm(self, generation: int, evidence: Evidence) -> bool:
        armed = self.native.arm(
            generation,
            pack_networks(evidence.sources),
            pack_networks(evidence.refused),
            evidence.probation,
            evidence.several,
            pack_networks(evidence.likely),
            evidence.reports,
            evidence.lapse_s,
            bytes(evidence.events),
        )
        assert self.python.arm(generation, evidence) is armed
        return armed

    def resume(self, source: TransportAddress, stream: StreamAt | None, now: float) -> None:
        self.python.resume(source, now, stream)
        self.native.resume(pack(source), stream, now)

    def expect(self, media: bool) -> None:
        self.python.expect(media)
        self.native.expect(media)

    def hears(self, source: TransportAddress, datagram: bytes, now: float) -> Verdict:
        verdict = self.python.observe(source, classify(datagram), now)
        assert self.native.observe(pack(source), datagram, now) == verdict
        learned = self.native.source()
        assert self.python.source == (None if learned is None else unpack(learned))
        assert self.python.stream == self.native.stream()
        news = self.python.news_of_stream(self.told, now)
        assert self.native.news_of_stream(self.told, now) == news
        if news is not None:
            self.told = news[0]
        return verdict


@dataclass(frozen=True, slots=True, order=True)
class Sent:
    """One datagram of a play; `media` says that its sender wants it heard."""

    at: float
    source: TransportAddress = field(compare=False)
    datagram: bytes = field(compare=False)
    media: bool = field(default=True, compare=False)


def talk(
    source: TransportAddress,
    ssrc: int,
    begins: float,
    ends: float,
    sequence: int = 0,
    pps: float = 50,
) -> Iterator[Sent]:
    """An unbroken stream of RTP."""
    for number in range(round((ends - begins) * pps)):
        yield Sent(begins + number / pps, source, rtp(sequence + number, ssrc))


@dataclass(slots=True)
class Told:
    """What came of a play: of the party's packets those heard and sent, and the longest gap
    between two that were heard; of others those that went on; seconds as another's destination."""

    heard: int = 0
    sent: int = 0
    gap_s: float = 0.0
    injected: int = 0
    bled_s: float = 0.0
    verdicts: list[tuple[Sent, Verdict]] = field(default_factory=list)

    @property
    def lost(self) -> int:
        return self.sent - self.heard


def play(
    latch: Both, *talks: Iterable[Sent], party: Iterable[TransportAddress], since: float = 0.0
) -> Told:
    """Show all packets to the latch in the order of their times; count from `since` on."""
    told, own = Told(), set(party)
    heard_at, last, until = since, since, since
    for sent in sorted(packet for packets in talks for packet in packets):
        if latch.source is not None and latch.source not in own and sent.at > since:
            told.bled_s += sent.at - max(last, since)
        last = sent.at
        verdict = latch.hears(sent.source, sent.datagram, sent.at)
        told.verdicts.append((sent, verdict))
        goes_on = verdict in GOES_ON
        if sent.source not in own:
            told.injected += goes_on
        elif sent.at >= since and sent.media:
            told.sent += 1
            until = sent.at
            told.heard += goes_on
            if goes_on:
                told.gap_s = max(told.gap_s, sent.at - heard_at)
                heard_at = sent.at
    told.gap_s = max(told.gap_s, until - heard_at)
    return told
