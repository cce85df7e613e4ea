"""What the plane spends on strangers, on nominations, and on sources that may be forged."""

import contextlib
import multiprocessing
import os
import socket
import time
from functools import partial
from ipaddress import ip_network

import pytest

from jingle_hnt.model.address import TransportAddress
from jingle_hnt.plane.api import Engine
from jingle_hnt.plane.native import NativeEngine, pack, pack_networks, pack_tags
from jingle_hnt.relay.binding import NOMINAL_BYTES_PER_S, UNPROVEN_PACKETS, Flow, Latched
from jingle_hnt.relay.evidence import Evidence, IceKey, SourceAuth
from jingle_hnt.relay.ice_latch import MOVES_AT_ONCE, MOVES_PER_S
from jingle_hnt.relay.latch import Verdict
from jingle_hnt.relay.packet import classify
from jingle_hnt.relay.srtp_latch import FAILURES_AT_ONCE, SrtpLatch
from tests.plane import _twins
from tests.plane.bound import ALICE, BOB, PATIENCE_S, STRANGER, Bound, anybody, only, until
from tests.plane.checks import check
from tests.plane.packets import dtls, rtp
from tests.plane.sdes import Sender
from tests.plane.test_ice_twins import KEYS, Twins
from tests.plane.test_srtp_engines import protected
from tests.plane.test_srtp_twins import FROM, REFUSED

pytestmark = pytest.mark.native

OF_ALICE = IceKey("B:A", "pwd-of-b")
VICTIM = "127.0.0.77"


def signed(*keys: IceKey) -> Evidence:
    return Evidence(SourceAuth.ICE_INTEGRITY, anybody().sources, keys=keys)


def nomination(number: int) -> bytes:
    return check(OF_ALICE.username, OF_ALICE.password, True, b"%012d" % number)


def test_both_twins_follow_so_many_nominations_a_second() -> None:
    twins = Twins()
    twins.arm(0, KEYS[:1])
    pair = [TransportAddress.of("192.0.2.1", port) for port in (1, 2)]
    moves, before = 0, None
    for number in range(1000):
        twins.now = number / 100
        twins.hear(pair[number % 2], check("B:A", "p", True, b"%012d" % number))
        twins.agree()
        moves += twins.python.source != before
        before = twins.python.source
    assert moves <= 1 + MOVES_AT_ONCE + 10 * MOVES_PER_S


def test_who_nominates_in_turn_is_told_of_rarely(engine: Engine) -> None:
    """Row P4: two sockets of one party, and a line in the log for each event."""
    bound = Bound(engine)
    bound.arm(0, signed(OF_ALICE))
    bound.arm(1, only(BOB))
    bound.open()
    events = 0
    with bound.party(0, ALICE) as one, bound.party(0, ALICE) as other:
        until_then = time.monotonic() + 3.0
        number = 0
        while time.monotonic() < until_then:
            (one, other)[number % 2].say(nomination(number))
            number += 1
            time.sleep(0.002)
            events += sum(isinstance(event, Latched) for event in engine.events())
    assert number > 100  # a busy machine sends fewer
    assert 2 <= events <= 1 + MOVES_AT_ONCE + 4 * MOVES_PER_S


def test_one_forged_check_earns_a_bystander_few_packets(engine: Engine) -> None:
    """Row P6: Alice nominates in the name of a bystander, who answers nothing."""
    bound = Bound(engine)
    bound.arm(0, signed(OF_ALICE))
    bound.arm(1, only(BOB))
    bound.open()
    with (
        bound.party(0, ALICE) as alice,
        bound.party(0, VICTIM) as victim,
        bound.party(1, BOB) as bob,
    ):
        alice.say(nomination(1))
        until(lambda: bound.pinhole(0).learned == alice.name)
        victim.say(nomination(2))
        until(lambda: bound.pinhole(0).learned == victim.name)
        bob.say(rtp(0))
        until(lambda: bound.pinhole(1).learned == bob.name)
        before = bound.pinhole(0).counters.sent_packets
        for sequence in range(1, 2 * UNPROVEN_PACKETS):
            bob.say(rtp(sequence))
            time.sleep(0.0005)
        until(lambda: bound.pinhole(1).counters.dropped_policed > 100)
        assert bound.pinhole(0).counters.sent_packets - before <= UNPROVEN_PACKETS
        alice.say(nomination(3))  # and the party itself is heard again
        until(lambda: bound.pinhole(0).learned == alice.name)
        before = bound.pinhole(0).counters.sent_packets
        for turn in range(4):
            alice.say(rtp(turn))
            time.sleep(0.4)
        for sequence in range(2 * UNPROVEN_PACKETS):
            bob.say(rtp(sequence))
            time.sleep(0.0005)
        until(lambda: bound.pinhole(0).counters.sent_packets - before == 2 * UNPROVEN_PACKETS)


def test_a_handshake_that_is_let_through_has_few_bytes(engine: Engine) -> None:
    bound = Bound(engine)
    bound.arm(0, only(ALICE))
    bound.arm(1, only(BOB))
    bound.open(Flow.NOMINAL, Flow.OPEN)
    large = dtls() + bytes(1200)
    with bound.party(0, ALICE) as alice, bound.party(1, BOB) as bob:
        bob.say(rtp(1))
        until(lambda: bound.pinhole(1).learned == bob.name)
        began = time.monotonic()
        for _ in range(40):
            alice.say(large)
        until(lambda: bound.pinhole(0).counters.received_packets == 40)
        seconds = int(time.monotonic() - began) + 2
        assert 0 < bound.pinhole(1).counters.sent_bytes <= seconds * NOMINAL_BYTES_PER_S


@pytest.mark.parametrize("named", [False, True], ids=["stranger", "who-knows-the-name"])
def test_a_crowd_at_an_agents_door_is_turned_away_by_the_kernel(named: bool) -> None:
    """Row P5: and the party is heard all the same."""
    with contextlib.closing(NativeEngine()) as engine:
        bound = Bound(engine)
        bound.arm(0, signed(OF_ALICE))
        bound.arm(1, only(BOB))
        bound.open()
        junk = check(OF_ALICE.username if named else "X:Y", "guess", transaction=b"a stranger's")
        seen = []
        with bound.party(0, STRANGER) as crowd, bound.party(0, ALICE) as alice:
            for _ in range(20_000):
                crowd.say(junk)
            seen.append(bound.pinhole(0).counters.dropped_unfit)
            bursts = 0
            while bursts < 8:  # a busy machine may see too few of the first ones
                bursts += 1
                time.sleep(1.3)  # the guard is set anew, by how many there were
                for _ in range(20_000):
                    crowd.say(junk)
                if bound.pinhole(0).counters.dropped_kernel > 10_000:
                    break
            seen.append(bound.pinhole(0).counters.dropped_unfit)
            until(lambda: bound.pinhole(0).counters.dropped_kernel > 10_000)
            if not named:
                alice.say(nomination(1))
                until(lambda: bound.pinhole(0).learned == alice.name)
        if not named:
            assert seen[1] < 6000 * bursts


@pytest.mark.parametrize(("relay", "sources"), [("127.0.0.1", 4), ("127.0.0.1", 32), ("::1", 4)])
def test_a_party_is_told_from_those_who_crowd(relay: str, sources: int) -> None:
    """Rows M4 and M19: nothing but its tags tells the party, which speaks while others spray."""
    crowders, party = ("::1", "::1") if relay == "::1" else (STRANGER, ALICE)
    junk = rtp(1) + bytes(20)
    anywhere = (ip_network("::/0" if relay == "::1" else "0.0.0.0/0"),)
    with contextlib.closing(NativeEngine()) as engine, contextlib.ExitStack() as undo:
        lost = []
        for number in range(4):
            bound, sender = Bound(engine, f"call{number}.1.1", relay), Sender(number)
            bound.arm(0, Evidence(SourceAuth.SRTP_AUTH, anywhere, tags=sender.keys))
            bound.open()
            crowd = [undo.enter_context(bound.party(0, crowders)) for _ in range(sources)]
            alice = undo.enter_context(bound.party(0, party))
            before, packets = 0, 0
            while bound.pinhole(0).counters.dropped_kernel - before < 2000:
                before = before or bound.pinhole(0).counters.dropped_kernel
                for one in crowd * (400 // sources):
                    one.say(junk)
            while bound.pinhole(0).learned is None:
                for one in crowd * max(1, 20 // sources):
                    one.say(junk)
                alice.say(sender.rtp(packets))
                packets += 1
                time.sleep(0.005)
            time.sleep(0.1)  # those that a busy machine has yet to judge
            lost.append(packets - bound.pinhole(0).counters.received_packets)
            assert bound.pinhole(0).learned == alice.name
        # Of 4 who crowd one source in 4000 shares both its places, of 32 one in 70.
        assert sorted(lost)[2] <= 3, lost


def test_a_crowd_of_many_sources_is_turned_away_as_well() -> None:
    """And so is one that changes its address before it is named."""
    with contextlib.closing(NativeEngine()) as engine, contextlib.ExitStack() as stack:
        stranger = Sender(9)
        bound = protected(engine, Sender(1))
        many = [stack.enter_context(bound.party(0, STRANGER)) for _ in range(100)]
        deadline = time.monotonic() + 2 * PATIENCE_S
        sent = 0
        while time.monotonic() < deadline and bound.pinhole(0).counters.dropped_kernel < 20_000:
            for number in range(1000):
                many[sent // 700 % 100 if sent > 10_000 else number % 100].say(stranger.rtp(number))
                sent += 1
        counters = bound.pinhole(0).counters
        assert counters.dropped_kernel >= 20_000
        assert counters.dropped_unfit <= sent / 4


def test_any_stream_of_an_agents_source_passes_and_none_from_elsewhere(engine: Engine) -> None:
    """Row P15: ICE tells who sends, not what; SECURITY.md says so."""
    bound = Bound(engine)
    bound.arm(0, signed(OF_ALICE))
    bound.arm(1, only(BOB))
    bound.open()
    with (
        bound.party(0, ALICE) as alice,
        bound.party(0, ALICE) as neighbour,
        bound.party(1, BOB) as bob,
    ):
        alice.say(nomination(1))
        bob.say(rtp(1))
        until(lambda: bound.pinhole(1).learned == bob.name)
        until(lambda: bound.pinhole(0).learned == alice.name)
        for ssrc in (1, 2, 3):
            neighbour.say(rtp(7, ssrc=ssrc))
            alice.say(told := rtp(8, ssrc=ssrc))
            assert bob.hears(told)
        assert bob.hears_nothing()


def test_both_twins_try_so_many_tags_of_strangers() -> None:
    sender, other = Sender(1), Sender(9)
    python, native = SrtpLatch(), _twins.SrtpLatch()
    python.arm(0, Evidence(SourceAuth.SRTP_AUTH, FROM, REFUSED, tags=sender.keys))
    native.arm(0, pack_networks(FROM), pack_networks(REFUSED), pack_tags(sender.keys))

    def hears(port: int, datagram: bytes, now: float) -> Verdict:
        source = TransportAddress.of("192.0.2.1", port)
        verdict = python.observe(source, classify(datagram), datagram, now)
        assert native.observe(pack(source), datagram, now) == verdict
        return verdict

    for number in range(int(2 * FAILURES_AT_ONCE)):
        hears(1, other.rtp(number), 0.0)
    assert hears(2, sender.rtp(1), 0.0) is Verdict.UNFIT, "too many have failed"
    assert hears(2, sender.rtp(2), 1.0) is Verdict.LATCHED


def _join(port: int, ready: object, joined: object, stop: object) -> None:
    """Another user tries to bind the port, by whatever option."""
    os.setuid(65534)
    ready.set()  # type: ignore[attr-defined]
    while not stop.is_set():  # type: ignore[attr-defined]
        for options in ((socket.SO_REUSEADDR,), (socket.SO_REUSEPORT,), (2, 15)):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mine:
                for option in options:
                    mine.setsockopt(socket.SOL_SOCKET, option, 1)
                with contextlib.suppress(OSError):
                    mine.bind(("127.0.0.1", port))
                    joined.set()  # type: ignore[attr-defined]


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
def test_no_other_user_joins_a_port_while_its_line_is_made() -> None:
    """Row P8."""
    context = multiprocessing.get_context("fork")
    with contextlib.closing(NativeEngine()) as engine:
        bound = Bound(engine)
        ready, joined, stop = context.Event(), context.Event(), context.Event()
        intruder = context.Process(target=_join, args=(bound.ports[0], ready, joined, stop))
        intruder.start()
        try:
            assert ready.wait(10)

            def has_learned(name: TransportAddress) -> bool:
                return bound.pinhole(0).learned == name

            with bound.party(0, ALICE) as one, bound.party(0, ALICE) as other:
                for generation in range(300):
                    bound.arm(0, only(ALICE), generation)
                    (one, other)[generation % 2].say(rtp(generation))
                    until(partial(has_learned, (one, other)[generation % 2].name))
            assert not joined.is_set()
        finally:
            stop.set()
            intruder.join(10)
