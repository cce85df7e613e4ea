"""The control protocol, its server and its client, over a real socket."""

import asyncio
import contextlib
import json
import os
import time
from collections.abc import AsyncIterator, Callable
from ipaddress import ip_network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jingle_hnt.errors import (
    ConfigurationError,
    PlaneError,
    PlaneGone,
    PlaneServed,
    PortTaken,
    ProtocolViolation,
)
from jingle_hnt.model.address import TransportAddress
from jingle_hnt.plane import client, protocol
from jingle_hnt.plane.client import PlaneClient
from jingle_hnt.plane.engines import open_engine, usual_workers
from jingle_hnt.plane.reference import ReferenceEngine
from jingle_hnt.plane.server import PlaneServer
from jingle_hnt.relay.binding import (
    Arm,
    BindingSpec,
    Drained,
    Event,
    Flow,
    Gate,
    Heard,
    Latched,
    Rivalry,
    Silent,
)
from jingle_hnt.relay.evidence import Evidence, SourceAuth
from tests.jingle.stage import shut
from tests.plane.bound import RELAY, free_port, only

ADDRESS = TransportAddress.of("203.0.113.9", 2200)
EVIDENCE = Evidence(
    SourceAuth.SIGNALLING_ADDRESS, (ip_network("198.51.100.7"),), (ip_network("10.0.0.0/8"),), 5
)
REQUESTS: list[protocol.Request] = [
    protocol.BindRequest(id=1, specs=(BindingSpec("a.1", (ADDRESS, ADDRESS)),)),
    protocol.ArmRequest(id=2, orders=(Arm("a.1", 0, 3, EVIDENCE, resume=ADDRESS, early=ADDRESS),)),
    protocol.GateRequest(id=3, orders=(Gate("a.1", (Flow.OPEN, Flow.HELD)),)),
    protocol.ReleaseRequest(id=4, names=("a.1",), linger_s=30),
    protocol.SnapshotRequest(id=5),
    protocol.PingRequest(id=6),
]
EVENTS: list[Event] = [
    Latched("a.1", 0, 2, ADDRESS, relatched=True, after_s=0.5),
    Rivalry("a.1", 1, ADDRESS),
    Silent("a.1", 1, 5.5),
    Heard("a.1", 1),
]


@pytest.mark.parametrize("request_", REQUESTS, ids=lambda r: r.op)
def test_requests_survive_the_wire(request_: protocol.Request) -> None:
    assert protocol.read_request(protocol.encode(request_)) == request_


def test_events_survive_the_wire_in_their_order() -> None:
    reply = protocol.read_reply(protocol.encode(protocol.Happened.of(EVENTS)))
    assert isinstance(reply, protocol.Happened)
    assert list(reply.events) == EVENTS


@given(st.one_of(st.binary(max_size=200), st.text(max_size=100).map(str.encode)))
def test_any_other_bytes_are_a_violation_and_nothing_else(line: bytes) -> None:
    for read in (protocol.read_request, protocol.read_reply):
        with pytest.raises(ProtocolViolation):
            read(line)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["op", "id", "specs", "orders", "names"]), inner, max_size=5
            )
        ),
        max_leaves=12,
    )
)
def test_any_other_json_is_a_violation_or_a_request(value: object) -> None:
    with contextlib.suppress(ProtocolViolation):
        protocol.read_request(json.dumps(value).encode())


@pytest.fixture
async def path(tmp_path: Path) -> AsyncIterator[Path]:
    path = tmp_path / "plane.sock"
    ready = asyncio.Event()
    serving = asyncio.create_task(PlaneServer(path, ReferenceEngine()).run(ready))
    await ready.wait()
    yield path
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)


@contextlib.asynccontextmanager
async def connected(
    path: Path, on_event: Callable[[Event], None] = lambda _: None
) -> AsyncIterator[PlaneClient]:
    client = await PlaneClient.connect(path, on_event, lambda: None)
    yield client
    await client.close()


def spec(name: str) -> BindingSpec:
    return BindingSpec(
        name,
        (
            TransportAddress.of(RELAY, free_port(RELAY)),
            TransportAddress.of(RELAY, free_port(RELAY)),
        ),
    )


async def test_a_binding_lives_through_the_clients_death(path: Path) -> None:
    async with connected(path) as first:
        assert first.engine == "reference"
        await first.ping()
        await first.bind([spec("a.1"), spec("a.2")])
        await first.gate([Gate("a.1", (Flow.OPEN, Flow.OPEN))])
    events: asyncio.Queue[Event] = asyncio.Queue()
    async with connected(path, events.put_nowait) as second:
        assert second.instance == first.instance
        assert [b.name for b in await second.snapshot()] == ["a.1", "a.2"]
        (binding,) = await second.snapshot(["a.1", "unknown"])
        assert binding.pinholes[0].flow is Flow.OPEN
        await second.release(["a.1", "a.2"], 0)
        drained = [await asyncio.wait_for(events.get(), 2) for _ in range(2)]
        assert [event.name for event in drained if isinstance(event, Drained)] == ["a.1", "a.2"]
        assert await second.snapshot() == []


async def test_a_binding_can_be_made_with_its_latches_armed_and_its_gate_set(path: Path) -> None:
    async with connected(path) as client:
        gate, arm = Gate("a.1", (Flow.OPEN, Flow.HELD)), Arm("a.1", 1, 3, only(RELAY))
        await client.bind([spec("a.1")], [arm, gate])
        (binding,) = await client.snapshot()
        assert [p.flow for p in binding.pinholes] == [Flow.OPEN, Flow.HELD]
        assert [p.source_auth for p in binding.pinholes] == [None, only(RELAY).source_auth]
        assert binding.pinholes[1].generation == 3


async def test_the_planes_errors_arrive_as_what_they_are(path: Path) -> None:
    async with connected(path) as client:
        taken = spec("a.1")
        await client.bind([taken])
        with pytest.raises(PortTaken, match=str(taken.pinholes[0].port)) as caught:
            await client.bind([BindingSpec("b.1", taken.pinholes)])
        assert caught.value.address == str(taken.pinholes[0])


async def test_every_waiting_call_fails_when_the_plane_is_gone(tmp_path: Path) -> None:
    path = tmp_path / "plane.sock"
    lost = asyncio.Event()

    async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        hello = protocol.Hello(
            protocol=protocol.PROTOCOL, version="0", engine="mute", instance="1", pid=1
        )
        writer.write(protocol.encode(hello))
        await reader.readline()
        writer.close()

    async with await asyncio.start_unix_server(mute, path):
        client = await PlaneClient.connect(path, lambda _: None, lost.set)
        with pytest.raises(PlaneGone):
            await client.ping()
        await lost.wait()
        with pytest.raises(PlaneGone):
            await client.ping()
        await client.close()


async def test_one_client_at_a_time_orders_and_the_others_may_look(path: Path) -> None:
    async with connected(path) as guest:
        async with connected(path) as master:
            await master.serve()
            await master.bind([spec("a.1")])
            with pytest.raises(PlaneServed, match=r"uses this plane; end it, or give this one"):
                await guest.serve()
            for order in (guest.bind([spec("b.1")]), guest.release(["a.1"], 0.0)):
                with pytest.raises(PlaneServed):
                    await order
            assert [b.name for b in await guest.snapshot()] == ["a.1"]
            await guest.ping()
            await guest.bind([spec("probe.1")])
            await guest.release(["probe.1"], 0.0)
        while True:
            with contextlib.suppress(PlaneServed):
                await guest.serve()
                break
            await asyncio.sleep(0.01)
        await guest.release(["a.1"], 0.0)


async def test_garbage_is_answered_and_the_connection_lives_on(path: Path) -> None:
    reader, writer = await asyncio.open_unix_connection(path, limit=1 << 22)
    assert json.loads(await reader.readline())["kind"] == "hello"
    for line in (
        b"garbage\n",
        b'{"op": "explode", "id": 1}\n',
        b'{"op": "ping", "id": 1, "x": 2}\n',
    ):
        writer.write(line)
        assert json.loads(await reader.readline())["kind"] == "failed"
    writer.write(b'{"op": "ping", "id": 7}\n')
    assert json.loads(await reader.readline()) == {"kind": "done", "id": 7}
    writer.write(b"x" * (protocol.MAX_LINE + 10))
    assert "longer than" in json.loads(await reader.readline())["text"]
    assert await reader.readline() == b""
    writer.close()


async def test_another_protocol_is_refused_in_words(tmp_path: Path) -> None:
    path = tmp_path / "plane.sock"
    left = asyncio.Event()

    async def future(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        hello = protocol.Hello(protocol=99, version="9", engine="?", instance="1", pid=1)
        writer.write(protocol.encode(hello))
        await reader.read()
        writer.close()
        await writer.wait_closed()
        left.set()

    async with await asyncio.start_unix_server(future, path):
        with pytest.raises(PlaneError, match="update both"):
            await PlaneClient.connect(path, lambda _: None, lambda: None)
        await left.wait()


async def test_a_second_plane_at_the_same_path_refuses_to_start(path: Path) -> None:
    with (
        contextlib.closing(ReferenceEngine()) as engine,
        pytest.raises(ConfigurationError, match="another jingle-hnt"),
    ):
        await PlaneServer(path, engine).run()


def test_the_engine_that_was_asked_for_is_the_one_that_is_opened() -> None:
    for kind, name in (("auto", "native"), ("native", "native"), ("reference", "reference")):
        with contextlib.closing(open_engine(kind)) as engine:  # type: ignore[arg-type]
            assert engine.name == name


def test_half_of_the_cores_move_media_unless_told_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for cores, workers in ((1, 1), (2, 1), (3, 1), (8, 4), (256, 64)):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _, n=cores: set(range(n)))
        assert usual_workers() == workers
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(6)))
    for wanted, started in ((0, 3), (5, 5)):
        before = threads()
        with contextlib.closing(open_engine("native", wanted)):
            assert len(threads() - before) == started


def threads() -> set[str]:
    return set(os.listdir("/proc/self/task"))


def test_names_are_not_kept_when_nobody_needs_them() -> None:
    """Each is new, so that a cache of strings would fill with those of calls that are over."""
    line = protocol.encode(protocol.SnapshotRequest(id=1, names=("call.1.1",)))
    first, second = protocol.read_request(line), protocol.read_request(line)
    assert isinstance(first, protocol.SnapshotRequest)
    assert isinstance(second, protocol.SnapshotRequest)
    assert first.names is not None
    assert second.names is not None
    assert first.names[0] is not second.names[0]


async def test_a_plane_that_does_not_answer_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it does with the order when it goes on is found where it is met again."""
    monkeypatch.setattr(client, "ANSWER_S", 0.2)
    lost, served = asyncio.Event(), asyncio.Event()

    async def stand_still(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        hello = protocol.Hello(
            protocol=protocol.PROTOCOL, version="", engine="", instance="i", pid=1
        )
        writer.write(protocol.encode(hello))
        await served.wait()
        writer.close()

    server = await asyncio.start_unix_server(stand_still, tmp_path / "plane")
    async with server:
        plane = await PlaneClient.connect(tmp_path / "plane", lambda _: None, lost.set)
        with pytest.raises(PlaneGone, match="did not answer"):
            await plane.bind([])
        assert lost.is_set()
        with pytest.raises(PlaneGone, match="is lost"):
            await plane.ping()
        served.set()
        await plane.close()


async def test_who_stood_still_itself_reads_before_it_gives_the_plane_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "ANSWER_S", 0.1)
    monkeypatch.setattr(client, "STOOD_STILL_S", 0.05)
    server = PlaneServer(tmp_path / "plane", ReferenceEngine())
    ready = asyncio.Event()
    serving = asyncio.create_task(server.run(ready))
    await ready.wait()
    lost = asyncio.Event()
    plane = await PlaneClient.connect(tmp_path / "plane", lambda _: None, lost.set)
    asking = asyncio.create_task(plane.ping())
    await asyncio.sleep(0)
    time.sleep(0.3)  # noqa: ASYNC251 - this process stands still
    await asking
    assert not lost.is_set()
    await plane.close()
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)


async def test_events_that_are_older_than_a_snapshot_do_not_come_after_it(tmp_path: Path) -> None:
    """A party that fell silent while the plane was met stays silent (row F27)."""
    old: list[Event] = [Heard("a.1", 0), Drained("b.1", (shut(ADDRESS), shut(ADDRESS)))]
    new: list[Event] = [Silent("a.1", 0, 4.5)]

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        hello = protocol.Hello(
            protocol=protocol.PROTOCOL, version="", engine="", instance="i", pid=1
        )
        writer.write(protocol.encode(hello))
        request = protocol.read_request(await reader.readline())
        for reply in (
            protocol.Happened.of(old),
            protocol.Done(id=request.id),
            protocol.Happened.of(new),
        ):
            writer.write(protocol.encode(reply))
        await reader.read()
        writer.close()

    told: list[Event] = []
    async with await asyncio.start_unix_server(serve, tmp_path / "plane"):
        plane = await PlaneClient.connect(tmp_path / "plane", told.append, lambda: None)
        plane.hold_events()
        assert await plane.snapshot() == []
        await asyncio.sleep(0.1)
        assert told == []
        plane.tell_events()
        assert told == [old[1], *new]
        await plane.close()
