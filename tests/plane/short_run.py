"""Calls through the native engine, and nothing else, for valgrind (`scripts/sanitize memory`).

Everything that allocates is met once: bindings, evidence with networks and with keys, lines,
events, snapshots, a datagram that is kept, what drains and what the engine's end finds undrained.
"""

import os
import select
import socket
from ipaddress import ip_network

from jingle_hnt.model.address import TransportAddress
from jingle_hnt.plane.native import NativeEngine
from jingle_hnt.relay.binding import Arm, BindingSpec, Drained, Event, Flow, Gate, Latched, Side
from jingle_hnt.relay.evidence import Evidence, IceKey, SourceAuth
from jingle_hnt.relay.ice_agent import Checks

HOST = "127.0.0.1"
WAIT_S = 20.0
"""For an event or a datagram: valgrind is slow, and a machine may be busy."""
SIDES: tuple[Side, Side] = (0, 1)
RTP = bytes.fromhex("80000001000000a000000001") + bytes(160)


def free_port() -> int:
    """A UDP port that is free now."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind((HOST, 0))
        return int(taken.getsockname()[1])


def spec(name: str) -> BindingSpec:
    """A binding on two free ports."""
    first, second = (TransportAddress.of(HOST, free_port()) for _ in SIDES)
    return BindingSpec(name, (first, second))


def party() -> socket.socket:
    """A client's socket."""
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.settimeout(WAIT_S)
    made.bind((HOST, 0))
    return made


def told(engine: NativeEngine, kind: type[Event], count: int) -> None:
    """Wait for so many events of a kind. Raises TimeoutError where they do not come."""
    while count > 0:
        if not select.select([engine.fileno()], [], [], WAIT_S)[0]:
            raise TimeoutError(f"{count} events of {kind.__name__} did not come")
        count -= sum(isinstance(event, kind) for event in engine.events())


def call(engine: NativeEngine) -> None:
    """A call from its binding to its end; media goes both ways."""
    made = spec("call")
    engine.bind([made])
    for side in SIDES:
        evidence = Evidence(
            SourceAuth.SIGNALLING_ADDRESS, (ip_network(HOST),), (ip_network("192.0.2.0/24"),)
        )
        engine.arm(Arm("call", side, 0, evidence))
    engine.gate(Gate("call", (Flow.OPEN, Flow.OPEN)))
    with party() as first, party() as second:
        parties = list(zip((first, second), made.pinholes, strict=True))
        for sender, pinhole in parties:
            sender.sendto(RTP, (HOST, pinhole.port))
        told(engine, Latched, 2)
        for _ in range(3):
            for sender, pinhole in parties:
                sender.sendto(RTP, (HOST, pinhole.port))
        for hearer in (first, second):
            assert hearer.recv(2048) == RTP
    assert len(engine.snapshot()) == 1
    engine.release("call", 0)
    told(engine, Drained, 1)


def checks(engine: NativeEngine) -> None:
    """A binding with keys and an agent of ours, armed again; it is left for the engine's end."""
    engine.bind([spec("checks")])
    for generation in range(2):
        for side in SIDES:
            keys = (IceKey(f"u{generation}:v", "password-of-twenty-two"),)
            networks = (ip_network("0.0.0.0/0"),)
            own = Checks("v:u", f"password-{generation}", "secret", 1, side == 1)
            evidence = Evidence(SourceAuth.ICE_INTEGRITY, networks, keys=keys)
            agent = own if (side, generation) != (1, 1) else None
            engine.arm(Arm("checks", side, generation, evidence, checks=agent))


def main() -> None:
    """Run twice, so that what the first run leaves is seen to be lost."""
    for _ in range(2):
        engine = NativeEngine(workers=2)
        call(engine)
        checks(engine)
        engine.close()


if __name__ == "__main__":
    main()
    os._exit(0)  # what the interpreter does with its own memory at its end is not ours
