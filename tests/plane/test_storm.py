"""Every order at any time, under fire, while somebody holds copies: what plays do not think of.

Nothing is expected of the media here. That the plane is alive, holds nothing and waits for nothing
afterwards is; the sanitizers say the rest (`scripts/sanitize`).
"""

import contextlib
import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence

import pytest

from jingle_hnt.errors import PortTaken
from jingle_hnt.model.address import TransportAddress
from jingle_hnt.plane.native import NativeEngine
from jingle_hnt.relay.binding import Arm, BindingSpec, Flow, Gate, Side
from jingle_hnt.relay.evidence import Evidence, IceKey, SourceAuth
from jingle_hnt.relay.ice_agent import Checks
from tests.plane.bound import ALICE, BOB, RELAY, STRANGER, anybody, free_port, only, until, watched
from tests.plane.checks import answer, check
from tests.plane.packets import dtls, report, rtcp, rtp
from tests.plane.sdes import Sender

pytestmark = pytest.mark.native

STEPS, PLACES = 6000, 8
CAP_S = 0.05
KEY = IceKey("B:A", "pwd-of-b-twenty-two-ch")
SIGNER = Sender(1)
NETWORKS = anybody().sources
EVIDENCE = (
    only(ALICE),
    only(BOB, STRANGER),
    anybody(),
    Evidence(SourceAuth.ICE_INTEGRITY, NETWORKS, keys=(KEY,)),
    Evidence(SourceAuth.SRTP_AUTH, NETWORKS, tags=SIGNER.keys),
)
DATAGRAMS = (
    *(rtp(number, ssrc=number % 2) for number in range(20)),
    *(SIGNER.rtp(number) for number in range(20)),
    *(check(KEY.username, KEY.password, nominates, b"transaction1") for nominates in (False, True)),
    answer(KEY.password),
    SIGNER.rtcp(),
    rtcp(),
    report(),
    dtls(),
    b"",
    b"\0" * 1500,
)


class Place:
    """Two ports, and whether there is a binding on them; `held` are copies of its sockets."""

    def __init__(self, number: int) -> None:
        self.name = f"call.{number}.1"
        self.ports = free_port(RELAY), free_port(RELAY)
        self.is_bound = False
        self.generation = 0
        self.held: list[int] = []

    @property
    def spec(self) -> BindingSpec:
        first, second = (TransportAddress.of(RELAY, port) for port in self.ports)
        return BindingSpec(self.name, (first, second))

    def let_go(self) -> None:
        """Close the copies."""
        while self.held:
            os.close(self.held.pop())


def a_plane() -> NativeEngine:
    return NativeEngine(workers=2, linger_cap_s=CAP_S)


class Storm:
    """Random orders to an engine."""

    def __init__(self, seed: int, places: list[Place], sources: Sequence[TransportAddress]) -> None:
        self._random = random.Random(seed)
        self._sources = sources
        self.engine = a_plane()
        self.places = places

    def step(self) -> None:
        """One order, or one of the things that happen to a plane."""
        place = self._random.choice(self.places)
        if not place.is_bound:
            self._bind(place)
            return
        orders: dict[Callable[[Place], None], int] = {
            self._arm: 40,
            self._gate: 10,
            self._copy: 10,
            Place.let_go: 5,
            self._look: 10,
            self._release: 24,
            self._crash: 1,
        }
        (order,) = self._random.choices(list(orders), list(orders.values()))
        order(place)

    def end(self) -> None:
        """Release everything, and let go."""
        for place in self.places:
            if place.is_bound:
                self.engine.release(place.name, 0)
            place.let_go()
        until(lambda: not (self.engine.events() or self.engine.snapshot()))
        self.engine.close()

    def _bind(self, place: Place) -> None:
        if self.engine.snapshot([place.name]):
            self.engine.events()  # it still drains, or its end was not taken notice of
            return
        try:
            self.engine.bind([place.spec])
        except PortTaken:
            assert place.held
            place.let_go()
        else:
            place.is_bound, place.generation = True, 0

    def _arm(self, place: Place) -> None:
        place.generation += 1
        side: Side = self._random.choice((0, 1))
        evidence = self._random.choice(EVIDENCE)
        resume, early = (self._random.choice((None, *self._sources)) for _ in range(2))
        checks = None
        if evidence.keys and self._random.random() < 0.5:
            targets = tuple(self._random.sample(self._sources, 2))
            checks = Checks("A:B", "their-password-0123456", "secret", 7, side == 0, targets)
        order = Arm(place.name, side, place.generation, evidence, resume, early, checks)
        assert self.engine.arm(order)

    def _gate(self, place: Place) -> None:
        flows = self._random.choice(list(Flow)), self._random.choice(list(Flow))
        self.engine.gate(Gate(place.name, flows))

    def _copy(self, place: Place) -> None:
        place.let_go()
        place.held = self.engine.sockets(place.name)

    def _look(self, place: Place) -> None:
        assert self.engine.snapshot([place.name])
        self.engine.events()

    def _release(self, place: Place) -> None:
        self.engine.release(place.name, 0.01 if self._random.random() < 0.02 else 0)
        place.is_bound = False

    def _crash(self, _: Place) -> None:
        """The next plane begins with what somebody holds, and the calls of the journal."""
        self.engine.close()
        self.engine = a_plane()
        for place in self.places:
            for descriptor in place.held:
                self.engine.inherit(descriptor)
            place.held.clear()
        for place in self.places:
            if place.is_bound:
                self.engine.bind([place.spec])
                self._arm(place)
        self.engine.disown()


@contextlib.contextmanager
def under_fire(places: list[Place]) -> Iterator[list[TransportAddress]]:
    """Three hosts send all there is to these places; their addresses."""
    told = {
        "relay": RELAY,
        "hosts": [ALICE, BOB, STRANGER],
        "ports": [port for place in places for port in place.ports],
        "datagrams": [datagram.hex() for datagram in DATAGRAMS],
    }
    with subprocess.Popen(
        [sys.executable, "-m", "tests.plane.volleys"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as volleys:
        assert volleys.stdin is not None
        assert volleys.stdout is not None
        print(json.dumps(told), file=volleys.stdin, flush=True)
        yield [TransportAddress.of(*name) for name in json.loads(volleys.stdout.readline())]
        volleys.stdin.close()
        assert volleys.wait() == 0


@pytest.mark.parametrize("seed", range(4))
def test_a_plane_outlives_any_order_under_fire(seed: int) -> None:
    waited_for, opened = watched(), len(os.listdir("/proc/self/fd"))
    places = [Place(number) for number in range(PLACES)]
    with under_fire(places) as sources:
        storm = Storm(seed, places, sources)
        for _ in range(STEPS):
            storm.step()
        storm.end()
    assert watched() == waited_for
    assert len(os.listdir("/proc/self/fd")) == opened
