"""Datagrams that are larger than a link: fragments are put together and made anew, errors harmless.

near 198.51.100.1 ── relay 203.0.113.9 ── router 198.51.100.2 ── far 198.51.100.3 (MTU 1280)
"""

import contextlib
import random
import select
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from ipaddress import ip_network

import pytest

from benchmarks.network import CLIENTS, RELAY, Network, socket_in
from benchmarks.plane import FIRST_PORT, SIDES, plane
from jingle_hnt.model.address import TransportAddress
from jingle_hnt.plane.client import PlaneClient
from jingle_hnt.relay.binding import Arm, BindingSpec, Flow, Gate
from jingle_hnt.relay.evidence import Evidence, SourceAuth
from jingle_hnt.relay.latch import LatchState
from tests.plane.packets import rtp
from tests.threats import doses
from tests.threats.doses import Measured

pytestmark = [pytest.mark.integration, pytest.mark.native]

NARROW = 1280
"""The least that IPv6 allows (RFC 8200 section 5)."""
FAR = "198.51.100.3"
SIX = {"near": "2001:db8:1::1", "relay": "2001:db8::9", "far": "2001:db8:3::1"}
FOUR = {"near": CLIENTS[0], "relay": RELAY, "far": FAR}
NAME = "call.1"
PATIENCE_S = 30.0
SIZES = (1400, 9000, 65507)
DATAGRAMS = 2000
"""At the full dose, per engine and family."""


class Road(Network):
    """The benchmarks' network, a narrow link behind its second client, and IPv6 everywhere."""

    def __init__(self) -> None:
        super().__init__()
        self.far = f"{self.relay}-far"
        try:
            self._lengthen()
        except BaseException:
            self.close()
            raise

    def _lengthen(self) -> None:
        near, router = self.clients
        run(f"ip netns add {self.far}")
        self._made.append(self.far)
        run(f"ip link add far netns {router} mtu {NARROW} type veth peer eth0 netns {self.far}")
        run(f"ip -n {self.far} link set lo up")
        run(f"ip -n {self.far} link set eth0 up mtu {NARROW}")
        run(f"ip -n {router} link set far up")
        run(f"ip netns exec {router} sysctl -qw net.ipv4.ip_forward=1")
        run(f"ip -n {self.far} addr add {FAR}/32 dev eth0")
        run(f"ip -n {self.far} route add default via {CLIENTS[1]} dev eth0 onlink")
        run(f"ip -n {router} route add {FAR}/32 dev far")
        run(f"ip -n {self.relay} route add {FAR}/32 via {CLIENTS[1]} dev veth1 onlink src {RELAY}")
        self._lengthen_six(near, router)

    def _lengthen_six(self, near: str, router: str) -> None:
        for namespace in (self.relay, router):
            run(f"ip netns exec {namespace} sysctl -qw net.ipv6.conf.all.forwarding=1")
        hosts = ((near, "eth0", SIX["near"]), (self.relay, "lo", SIX["relay"]))
        for namespace, device, address in (*hosts, (self.far, "eth0", SIX["far"])):
            run(f"ip -n {namespace} addr add {address}/128 dev {device} nodad")
        for namespace, device in ((self.relay, "veth0"), (self.relay, "veth1"), (router, "far")):
            run(f"ip -n {namespace} addr add fe80::9/64 dev {device} nodad")
        run(f"ip -n {router} addr add fe80::2/64 dev eth0 nodad")
        run(f"ip -n {near} route add default via fe80::9 dev eth0")
        run(f"ip -n {router} route add default via fe80::9 dev eth0")
        run(f"ip -n {self.far} route add default via fe80::9 dev eth0")
        run(f"ip -n {router} route add {SIX['far']} dev far")
        run(f"ip -n {near} addr add fe80::1/64 dev eth0 nodad")
        run(f"ip -n {self.relay} route add {SIX['near']} via fe80::1 dev veth0 src {SIX['relay']}")
        run(f"ip -n {self.relay} route add {SIX['far']} via fe80::2 dev veth1 src {SIX['relay']}")


def run(command: str) -> None:
    subprocess.run(command.split(), check=True)


class Host:
    """A party's socket."""

    def __init__(self, namespace: str, address: str, relay: tuple[str, int]) -> None:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self._socket = socket_in(namespace, socket.SOCK_DGRAM, family=family)
        self._socket.bind((address, 7078))
        self._socket.settimeout(0.2)
        self._relay = relay
        self.largest = self.cut = 0
        """How much came that was the beginning of what was meant."""

    def close(self) -> None:
        self._socket.close()

    def say(self, datagram: bytes) -> None:
        """Send; what the kernel has heard of an earlier datagram is of no interest."""
        with contextlib.suppress(OSError):
            self._socket.sendto(datagram, self._relay)

    def hears(self, datagram: bytes) -> bool:
        """Whether exactly this is the next that comes."""
        with contextlib.suppress(TimeoutError):
            got = self._socket.recv(65535)
            self.largest = max(self.largest, len(got))
            self.cut += got != datagram and datagram.startswith(got)
            return got == datagram
        return False

    def waiting(self, patience_s: float) -> Iterator[bytes]:
        """All that comes until nothing comes for so long."""
        while select.select([self._socket], [], [], patience_s)[0]:
            yield self._socket.recv(65535)


@pytest.fixture(scope="module")
def road() -> Iterator[Road]:
    with Road() as network:
        yield network


async def latched(client: PlaneClient) -> bool:
    (binding,) = await client.snapshot([NAME])
    return all(pinhole.state is LatchState.LATCHED for pinhole in binding.pinholes)


@pytest.mark.parametrize("addresses", [FOUR, SIX], ids=["IPv4", "IPv6"])
@pytest.mark.parametrize("engine", ["native", "reference"])
async def test_datagrams_over_the_links_size_go_on_whole(
    road: Road, engine: str, addresses: dict[str, str], record_property: Measured
) -> None:
    """Fragments come in, fragments leave; a router's "too big" costs one packet and no call."""
    async with called(road, engine, addresses) as (client, near, far):
        for size in SIZES:
            assert arrives(near, far, rtp(3).ljust(size, b"x")), f"{size} bytes to the far party"
            back = rtp(3, ssrc=2).ljust(size, b"x")
            assert arrives(far, near, back), f"{size} bytes from the far party"
        for size in (1200, 1400, 9000):
            assert burst_arrives(near, far, 1, size), f"a burst of {size} bytes to the far party"
            assert burst_arrives(far, near, 2, size), f"a burst of {size} bytes from it"
        counters = (await client.snapshot([NAME]))[0].pinholes[1].counters
        assert counters.dropped_send == 0
        assert await latched(client)
        record_property("largest", min(near.largest, far.largest))
        record_property("truncated", near.cut + far.cut)
        assert near.cut + far.cut == 0
        assert near.largest == far.largest == max(SIZES)


@contextlib.asynccontextmanager
async def called(
    road: Road, engine: str, addresses: dict[str, str]
) -> AsyncIterator[tuple[PlaneClient, Host, Host]]:
    """A call between the near and the far party, who hear each other."""
    parties = (addresses["near"], addresses["far"])
    relay, ports = addresses["relay"], (FIRST_PORT, FIRST_PORT + 1)
    bound = tuple(TransportAddress.of(relay, port) for port in ports)
    arms = [
        Arm(NAME, side, 0, Evidence(SourceAuth.SIGNALLING_ADDRESS, (ip_network(parties[side]),)))
        for side in SIDES
    ]
    async with plane(road, engine) as made:
        client = made.client
        await client.bind([BindingSpec(NAME, (bound[0], bound[1]))], arms)
        await client.gate([Gate(NAME, (Flow.OPEN, Flow.OPEN))])
        with (
            contextlib.closing(Host(road.clients[0], parties[0], (relay, ports[0]))) as near,
            contextlib.closing(Host(road.far, parties[1], (relay, ports[1]))) as far,
        ):
            await until_heard(client, near, far)
            yield client, near, far


LOSSY = (
    "table netdev lossy {{ chain ingress {{ type filter hook ingress device {device} priority 0\n\
numgen inc mod 10 9 drop\n}}\n}}\n"
)
"""Each tenth frame is lost, whichever part of which datagram it is."""


@contextlib.contextmanager
def lossy(road: Road) -> Iterator[None]:
    """What comes to the relay, and to both parties, loses frames meanwhile.

    Kernels wait a second for the rest of a datagram, not half a minute: their room for parts is
    never full.
    """
    ends = (
        (road.relay, "veth0"),
        (road.relay, "veth1"),
        (road.far, "eth0"),
        (road.clients[0], "eth0"),
    )
    try:
        for number, (namespace, device) in enumerate(ends):
            for name in ("ipv4.ipfrag_time", "ipv6.ip6frag_time"):
                run(f"ip netns exec {namespace} sysctl -qw net.{name}=1")
            rules = LOSSY.format(device=device).replace("lossy", f"lossy{number}")
            load(namespace, rules)
        yield
    finally:
        for number, (namespace, _) in enumerate(ends):
            load(namespace, f"table netdev lossy{number} {{}}\ndelete table netdev lossy{number}\n")


def load(namespace: str, rules: str) -> None:
    words = ["ip", "netns", "exec", namespace, "nft", "-f", "-"]
    subprocess.run(words, input=rules, text=True, check=True)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("addresses", [FOUR, SIX], ids=["IPv4", "IPv6"])
@pytest.mark.parametrize("engine", ["native", "reference"])
async def test_what_has_lost_a_fragment_goes_nowhere_and_nothing_is_cut(
    road: Road, engine: str, addresses: dict[str, str], record_property: Measured
) -> None:
    """Datagrams of all sizes; what arrives is byte for byte what was sent."""
    chance = random.Random(14)
    async with called(road, engine, addresses) as (client, near, far):
        sent, heard, cut, largest = 0, 0, 0, 0
        with lossy(road):
            for number in range(doses.count(DATAGRAMS)):
                size = chance.choice((172, 1200, 1400, 4000, 9000, 20000, 65507))
                speaker, listener, ssrc = ((near, far, 1), (far, near, 2))[number % 2]
                datagram = rtp(number, ssrc) + chance.randbytes(size - 32)
                speaker.say(datagram)
                sent += 1
                for got in listener.waiting(0.02):
                    heard += got == datagram
                    cut += got != datagram
                    largest = max(largest, len(got))
        record_property("datagrams", sent)
        record_property("whole", heard)
        record_property("cut", cut)
        record_property("largest", largest)
        assert cut == 0
        assert sent // 10 < heard < sent
        assert largest >= 4000
        assert arrives(near, far, rtp(number + 1).ljust(65507, b"x"))
        assert await latched(client)


BLACK_HOLE = (
    "table inet black_hole { chain output { type filter hook output priority 0\n"
    "icmp type destination-unreachable drop\nicmpv6 type packet-too-big drop\n}\n}\n"
)
"""The router before the narrow link says nothing of it."""


@pytest.mark.parametrize("engine", ["native", "reference"])
async def test_a_narrow_path_that_says_nothing_lets_large_packets_through(
    road: Road, engine: str
) -> None:
    """Media sockets set no DF, so the router before the narrow link may fragment (RFC 791)."""
    async with called(road, engine, FOUR) as (_, near, far):
        router = road.clients[1]
        load(router, BLACK_HOLE)
        try:
            run(f"ip -n {road.relay} route flush cache")  # what an earlier test has taught it
            for number in range(4, 24):
                assert arrives(near, far, rtp(number).ljust(1400, b"x")), "no packet arrives"
        finally:
            load(router, "delete table inet black_hole\n")


async def until_heard(client: PlaneClient, near: Host, far: Host) -> None:
    """Teach both latches, and let nothing be under way."""
    deadline = time.monotonic() + PATIENCE_S
    while not await latched(client):
        assert time.monotonic() < deadline, "the parties were not heard"
        near.say(rtp(1))
        far.say(rtp(1, ssrc=2))
    near.say(rtp(2))
    while not far.hears(rtp(2)):
        assert time.monotonic() < deadline, "the far party hears nothing"
    far.say(rtp(2, ssrc=2))
    while not near.hears(rtp(2, ssrc=2)):
        assert time.monotonic() < deadline, "the near party hears nothing"


def arrives(speaker: Host, listener: Host, datagram: bytes) -> bool:
    """Whether it does; the first ones may be lost, and tell kernels how wide the road is."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        speaker.say(datagram)
        if listener.hears(datagram):
            return True
    return False


def burst_arrives(speaker: Host, listener: Host, ssrc: int, size: int) -> bool:
    """Whether all do, in order, the last of them shorter; the way is known to both kernels."""
    sizes = [size] * 7 + [size // 2]
    burst = [rtp(10 + n, ssrc).ljust(each, b"x") for n, each in enumerate(sizes)]
    for datagram in burst:
        speaker.say(datagram)
    return all([listener.hears(datagram) for datagram in burst])
