"""A admin service over the pure core, with a history in a file."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from jingle_hnt.admin.service import AdminService
from jingle_hnt.store.history import History
from tests.admin.backend import Backend
from tests.jingle.stage import Stage


@pytest.fixture
def history(tmp_path: Path) -> Iterator[History]:
    history = History(tmp_path / "history.sqlite", 100)
    yield history
    history.close()


@pytest.fixture
def backend() -> Backend:
    return Backend(Stage())


@pytest.fixture
def service(backend: Backend, history: History) -> AdminService:
    return AdminService(backend, history)
