"""The watchdog's packet: it comes through a plane that works, and tells of one that does not."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from jingle_hnt.errors import PlaneError
from jingle_hnt.plane import probe as probe_module
from jingle_hnt.plane.probe import PREFIX, probe
from jingle_hnt.plane.reference import ReferenceEngine
from jingle_hnt.plane.server import PlaneServer
from jingle_hnt.relay.binding import BindingSpec, Gate


class Engine(ReferenceEngine):
    """Remembers what it bound; `stuck` moves nothing although it answers every order."""

    def __init__(self) -> None:
        super().__init__()
        self.bound: list[str] = []
        self.stuck = False

    def bind(self, specs: Sequence[BindingSpec]) -> None:
        self.bound += [spec.name for spec in specs]
        super().bind(specs)

    def gate(self, order: Gate) -> None:
        if not self.stuck:
            super().gate(order)


@pytest.fixture
async def engine() -> Engine:
    return Engine()


@pytest.fixture
async def path(engine: Engine, tmp_path: Path) -> AsyncIterator[Path]:
    path, ready = tmp_path / "plane.sock", asyncio.Event()
    serving = asyncio.create_task(PlaneServer(path, engine).run(ready))
    await ready.wait()
    yield path
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)


async def test_a_packet_comes_through_and_leaves_nothing_behind(path: Path, engine: Engine) -> None:
    await probe(path)
    await probe(path)
    assert len(set(engine.bound)) == 2
    assert all(name.startswith(PREFIX) for name in engine.bound)
    assert engine.snapshot() == []


async def test_a_plane_that_moves_nothing_is_told(
    path: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe_module, "PATIENCE_S", 0.2)
    engine.stuck = True
    with pytest.raises(PlaneError, match="no packet came through"):
        await probe(path)
    assert engine.snapshot() == []


async def test_a_plane_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        await probe(tmp_path / "plane.sock")
