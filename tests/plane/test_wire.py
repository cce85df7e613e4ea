"""The control connection with more than a line holds, and with orders that only partly fit."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path

import pytest
from pydantic import ValidationError

from jingle_hnt.errors import PlaneError, ProtocolViolation, UnknownBinding
from jingle_hnt.model.address import TransportAddress
from jingle_hnt.plane import client as client_module
from jingle_hnt.plane import protocol
from jingle_hnt.plane.api import LocalEngine
from jingle_hnt.plane.client import PlaneClient
from jingle_hnt.plane.native import NativeEngine
from jingle_hnt.plane.reference import ReferenceEngine
from jingle_hnt.plane.server import PlaneServer
from jingle_hnt.relay.binding import Arm, BindingSpec, Drained, Event, Flow, Gate
from jingle_hnt.relay.evidence import Evidence, SourceAuth
from tests.plane.bound import RELAY, free_port, only

pytestmark = pytest.mark.native

MANY = 1200
"""Bindings whose snapshot, and whose end, is well over protocol.MAX_LINE."""

LONG = Evidence(
    SourceAuth.PROBATION, (ip_network("0.0.0.0/0"),), tuple(ip_network(n) for n in range(200))
)


@pytest.fixture(params=[NativeEngine, ReferenceEngine], ids=["native", "reference"])
async def path(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Path]:
    engine: LocalEngine = request.param()
    path, ready = tmp_path / "plane.sock", asyncio.Event()
    serving = asyncio.create_task(PlaneServer(path, engine).run(ready))
    await ready.wait()
    yield path
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)


@contextlib.asynccontextmanager
async def connected(
    path: Path, on_event: Callable[[Event], None] = lambda _: None
) -> AsyncIterator[PlaneClient]:
    client = await PlaneClient.connect(path, on_event, lambda: None)
    try:
        yield client
    finally:
        await client.close()


def specs(count: int) -> list[BindingSpec]:
    """On as many loopback addresses as it takes: one free port of each serves two bindings."""
    port, found = free_port("0.0.0.0"), []
    for number in range(count):
        hosts = [f"127.1.{side}{number // 250}.{number % 250 + 1}" for side in (1, 2)]
        first, second = (TransportAddress.of(host, port) for host in hosts)
        found.append(BindingSpec(f"{number:04}-{'x' * 59}", (first, second)))
    return found


async def test_snapshots_and_ends_of_many_bindings_arrive_whole(path: Path) -> None:
    events: asyncio.Queue[Event] = asyncio.Queue()
    wanted = specs(MANY)
    names = [spec.name for spec in wanted]
    async with connected(path, events.put_nowait) as client:
        await client.bind(wanted)
        found = await client.snapshot()
        part = protocol.Part(id=1, bindings=tuple(found))
        assert len(protocol.encode(part)) > protocol.MAX_LINE
        assert [binding.name for binding in found] == names
        await client.release(names, 0)
        ended = [await asyncio.wait_for(events.get(), 5) for _ in names]
        assert [event.name for event in ended if isinstance(event, Drained)] == names
        assert await client.snapshot() == []


async def test_orders_too_long_for_a_line_are_carried_out_in_several(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "ANSWER_S", 60.0)  # 80,000 networks take their time
    wanted = specs(MANY // 3)
    async with connected(path) as client:
        await client.bind(wanted)
        arms = [Arm(spec.name, 0, 5, LONG) for spec in wanted]
        assert len(protocol.encode(protocol.ArmRequest(id=1, orders=tuple(arms)))) > 1 << 20
        arming = asyncio.create_task(client.arm(arms))
        await asyncio.sleep(0)
        await client.gate([Gate(spec.name, (Flow.OPEN, Flow.HELD)) for spec in wanted])
        await arming
        found = [binding.pinholes[0] for binding in await client.snapshot()]
        assert [(p.generation, p.source_auth, p.flow) for p in found] == [
            (5, SourceAuth.PROBATION, Flow.OPEN)
        ] * len(wanted)


async def test_a_bind_too_long_for_a_line_is_refused_and_the_connection_lives(path: Path) -> None:
    async with connected(path) as client:
        with pytest.raises(PlaneError, match="less at once"):
            await client.bind(specs(250) * 30)
        await client.ping()


async def test_an_unknown_binding_does_not_spare_those_behind_it(path: Path) -> None:
    first, second = specs(2)
    async with connected(path) as client:
        await client.bind([first, second])
        names = [first.name, "nobody", second.name]
        with pytest.raises(UnknownBinding, match="nobody"):
            await client.arm([Arm(name, 1, 0, only(RELAY)) for name in names])
        with pytest.raises(UnknownBinding, match="nobody"):
            await client.gate([Gate(name, (Flow.HELD, Flow.OPEN)) for name in names])
        found = await client.snapshot()
        pinholes = [binding.pinholes[1] for binding in found]
        assert [(p.generation, p.flow) for p in pinholes] == [(0, Flow.OPEN)] * 2
        with pytest.raises(UnknownBinding, match="nobody"):
            await client.release(names, 0)
        assert await client.snapshot() == []


ARM = Arm("a.1", 0, 0, only(RELAY))
OUT_OF_BOUNDS = [
    replace(ARM, generation=-1),
    replace(ARM, generation=1 << 31),
    replace(ARM, evidence=replace(ARM.evidence, probation=0)),
    replace(ARM, evidence=replace(ARM.evidence, probation=256)),
    replace(ARM, evidence=replace(ARM.evidence, sources=ARM.evidence.sources * 4097)),
]


@pytest.mark.parametrize("arm", OUT_OF_BOUNDS, ids=range(len(OUT_OF_BOUNDS)))
async def test_numbers_out_of_bounds_are_answered_and_the_connection_lives(
    path: Path, arm: Arm
) -> None:
    with pytest.raises(ValidationError):
        protocol.ArmRequest(id=1, orders=(arm,))
    request = protocol.ArmRequest.model_construct(id=1, orders=(arm,))
    reader, writer = await asyncio.open_unix_connection(path)
    await reader.readline()
    writer.write(request.model_dump_json().encode() + b"\n")
    assert json.loads(await reader.readline())["kind"] == "failed"
    writer.write(b'{"op": "ping", "id": 7}\n')
    assert json.loads(await reader.readline()) == {"kind": "done", "id": 7}
    writer.close()


@pytest.mark.parametrize("name", ["", "x" * 65])
def test_a_binding_has_a_name_of_bounded_length(name: str) -> None:
    address = TransportAddress.of(RELAY, 4000)
    request = protocol.BindRequest.model_construct(
        id=1, specs=(BindingSpec(name, (address, address)),)
    )
    with pytest.raises(ProtocolViolation, match="1 to 64"):
        protocol.read_request(request.model_dump_json().encode())
