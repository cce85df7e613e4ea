"""A party that changes as parties do, and attackers beside it, in any order: whatever happens, the
party is heard again within the time that is promised, and nobody else is heard or sent to.

The rules in Python and in C are shown the same packets, and must agree. What is not promised is not
tried: SECURITY.md says what somebody at the party's own address can do to clear RTP. The plays are
the same each time, so that a run tells of a change and not of luck.
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import Enum

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jingle_hnt.model.address import TransportAddress
from jingle_hnt.relay.evidence import LAPSE_S, Evidence
from jingle_hnt.relay.latch import SILENCE_S, SUCCESSION_S
from tests.plane.both import BY_ADDRESS, ELSEWHERE, GOES_ON, HOME, UNKNOWN, Both
from tests.plane.packets import PRESS, dtls, press, rtcp, rtp, stun, zrtp

pytestmark = pytest.mark.native

BY_KEYS = replace(BY_ADDRESS, events=(PRESS,))
KEYS_S = 0.64
SPEAKS_S = 2.6
"""The party speaks for so long after each event: long enough to be sure again."""
EACH_S = 0.02
SLACK_S = 0.2
"""For what is lost, late, or has to be counted first."""
FORGER_SSRC, SPRAYER_SSRC = 0xF0F0, 0xABCD


class Happens(Enum):
    """What happens to a party; the value is how long it is not heard at most."""

    NOTHING = SLACK_S
    PORT = SILENCE_S + SLACK_S  # its NAT gives it another one
    SSRC = SUCCESSION_S + SLACK_S
    SHORT_MUTE = SLACK_S + 0.001
    HOLD = SLACK_S + 0.002
    RESUMED_HOLD = SLACK_S + 0.006  # after which signalling arms the latch anew
    GENERATION = SLACK_S + 0.003  # it signals what it has signalled before
    MOVE = SLACK_S + 0.3  # it signals another port, and begins a new stream there
    LONG_MUTE = SLACK_S + 0.004  # and comes back with another port and stream
    RESTART = SLACK_S + 0.005  # of the plane, which is told the stream
    RESTART_MOVED = SILENCE_S + SLACK_S + 0.001  # as it was long ago, and the port is another one
    RESTART_FORGOT = SILENCE_S + SLACK_S + 0.002  # not at all, and the port is another one
    KEYS = SLACK_S + 0.006  # are pressed, as a stream of their own


class Attacks(Enum):
    """Who is there beside the party."""

    SPRAY = "other ports of its address, a packet each"
    STEADY = "another port of its address, a stream of its own"
    SETUP = "RTCP, DTLS, ZRTP and STUN of another port of its address"
    FORGED = "its own address and port, blind to its SSRC"
    ELSEWHERE = "another address, its own stream's SSRC and numbers"


UNTOUCHED = frozenset({Happens.LONG_MUTE, Happens.RESTART_FORGOT, Happens.MOVE})
"""What heals by silence alone: not while somebody else at the same address speaks steadily."""


@dataclass
class World:
    """The party's state, and the latch's."""

    latch: Both
    evidence: Evidence
    chance: random.Random
    rough: bool
    attacks: frozenset[Attacks]
    now: float = 0.0
    source: TransportAddress = HOME
    ssrc: int = 1
    sequence: int = 65000
    generation: int = 0
    spoke_at: float = 0.0
    ends: float = 0.0
    foreign: int = 0
    keys: int = 1000  # their SSRC
    pressing: float = 0.0  # for so long
    unheard_keys: int = 0
    _attacked: int = 0

    def pass_time(self, seconds: float, speaks: bool) -> float:
        """Let time pass; returns the longest time that the party was not heard, if it spoke."""
        began, heard_at, longest = self.now, self.now, 0.0
        while self.now - began < seconds:
            self.now += EACH_S
            self._attack()
            for datagram in self._said() if speaks else ():
                self.spoke_at = self.now
                if self.latch.hears(self.source, datagram, self.now) in GOES_ON:
                    longest = max(longest, self.now - heard_at)
                    heard_at = self.now
            if speaks and self.pressing > 0:
                self.pressing -= EACH_S
                key = press(self.sequence, self.keys)
                self.unheard_keys += self.latch.hears(self.source, key, self.now) not in GOES_ON
        return max(longest, self.now - heard_at)

    def _said(self) -> Iterator[bytes]:
        """The party's packet of this moment: lost, doubled, or in the place of the next one."""
        self.sequence = (self.sequence + 1) % 65536
        if not self.rough:
            yield rtp(self.sequence, self.ssrc)
            return
        fate = self.chance.random()
        if fate < 0.03:
            return
        yield rtp(self.sequence ^ (fate < 0.2), self.ssrc)
        if fate > 0.9:
            yield rtp(self.sequence, self.ssrc)

    def _attack(self) -> None:
        for attack in self.attacks:
            self._attacked += 1
            source, datagram = ATTACKERS[attack](self, self._attacked)
            verdict = self.latch.hears(source, datagram, self.now)
            speaks = self.now - self.spoke_at < SUCCESSION_S
            if verdict in GOES_ON and (attack is not Attacks.FORGED or speaks):
                self.foreign += 1
        learned = self.latch.source
        if self.attacks and learned is not None and learned.port >= 40000:
            self.foreign += 1

    def happens(self, event: Happens) -> None:
        """Change the party, or what is told of it."""
        if event in MOVED:
            self.source = replace(HOME, port=self.source.port + 1)
        if event in (Happens.SSRC, Happens.MOVE, Happens.LONG_MUTE):
            self.ssrc += 1
            self.sequence = self.chance.randrange(65536)
        if event is Happens.SHORT_MUTE:
            self.pass_time(self.chance.uniform(0.1, LAPSE_S - 0.2), speaks=False)
        elif event is Happens.LONG_MUTE:
            self.pass_time(self.chance.uniform(LAPSE_S, 40.0), speaks=False)
        elif event in (Happens.HOLD, Happens.RESUMED_HOLD):
            self.latch.expect(False)
            self.pass_time(self.chance.uniform(0.1, 20.0), speaks=False)
            self.latch.expect(True)
            if event is Happens.RESUMED_HOLD:
                self.generation += 1
                assert self.latch.arm(self.generation, self.evidence)
        elif event in (Happens.GENERATION, Happens.MOVE):
            self.generation += 1
            assert self.latch.arm(self.generation, self.evidence)
        elif event is Happens.KEYS:
            self.keys += 1
            self.pressing = KEYS_S
        elif event in RESTARTS:
            learned, stream = self.latch.source, self.latch.python.stream
            assert learned is not None
            assert stream is not None
            assert self.latch.told == stream[0]
            told = {
                Happens.RESTART: stream,
                Happens.RESTART_MOVED: (stream[0], self.chance.randrange(65536)),
                Happens.RESTART_FORGOT: None,
            }
            self.latch = Both(self.evidence)
            self.generation = 0
            self.latch.resume(learned, told[event], self.now)


MOVED = frozenset(
    {
        Happens.PORT,
        Happens.MOVE,
        Happens.LONG_MUTE,
        Happens.RESTART_MOVED,
        Happens.RESTART_FORGOT,
    }
)
RESTARTS = frozenset({Happens.RESTART, Happens.RESTART_MOVED, Happens.RESTART_FORGOT})
Attacker = Callable[[World, int], tuple[TransportAddress, bytes]]
SETUPS = (rtcp(SPRAYER_SSRC), dtls(), zrtp(), stun())
ATTACKERS: dict[Attacks, Attacker] = {
    Attacks.SPRAY: lambda w, n: (replace(HOME, port=40000 + n % 20000), rtp(n, SPRAYER_SSRC)),
    Attacks.STEADY: lambda w, n: (replace(HOME, port=65000), rtp(n, SPRAYER_SSRC)),
    Attacks.SETUP: lambda w, n: (replace(HOME, port=65001), SETUPS[n % len(SETUPS)]),
    Attacks.FORGED: lambda w, n: (w.source, rtp(n, FORGER_SSRC)),
    Attacks.ELSEWHERE: lambda w, n: (ELSEWHERE, rtp(w.sequence + 1, w.ssrc)),
}
ARMS_ANEW = frozenset({Happens.MOVE, Happens.GENERATION, Happens.RESUMED_HOLD})
STEADY = frozenset({Attacks.STEADY, Attacks.FORGED})


def allowed_s(event: Happens, attacks: frozenset[Attacks], evidence: Evidence) -> float | None:
    """How long the party may be unheard after an event; None where nothing is promised."""
    if event in UNTOUCHED and attacks & STEADY:
        return None
    if event in {*ARMS_ANEW, Happens.LONG_MUTE} and evidence is UNKNOWN and attacks:
        return None
    if event is Happens.KEYS and (Attacks.FORGED in attacks or PRESS not in evidence.events):
        return None
    if event is Happens.SSRC and Attacks.FORGED in attacks:
        return SILENCE_S + SLACK_S
    return event.value + (SLACK_S if attacks else 0)


@settings(max_examples=1200, deadline=None)
@given(
    evidence=st.sampled_from([BY_ADDRESS, BY_KEYS, UNKNOWN]),
    events=st.lists(st.sampled_from(Happens), min_size=1, max_size=7),
    attacks=st.frozensets(st.sampled_from(Attacks), max_size=3),
    rough=st.booleans(),
    seed=st.integers(0, 1 << 16),
)
def test_the_party_is_heard_and_nobody_else(
    evidence: Evidence,
    events: list[Happens],
    attacks: frozenset[Attacks],
    rough: bool,
    seed: int,
) -> None:
    world = World(Both(evidence), evidence, random.Random(seed), rough, frozenset())
    assert world.pass_time(SPEAKS_S, speaks=True) <= SLACK_S
    world.attacks = attacks
    assert world.pass_time(SPEAKS_S, speaks=True) <= SLACK_S
    for event in events:
        allowed = allowed_s(event, attacks, evidence)
        if allowed is None:
            continue
        world.happens(event)
        assert world.pass_time(SPEAKS_S, speaks=True) <= allowed, event
        assert world.latch.source == world.source
    assert world.foreign == world.unheard_keys == 0
