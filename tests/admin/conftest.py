"""A desk over the pure core, with a history in a file."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from jingle_hnt.admin.desk import Desk
from jingle_hnt.store.history import History
from tests.admin.office import Office
from tests.jingle.stage import Stage


@pytest.fixture
def history(tmp_path: Path) -> Iterator[History]:
    history = History(tmp_path / "history.sqlite", 100)
    yield history
    history.close()


@pytest.fixture
def office() -> Office:
    return Office(Stage())


@pytest.fixture
def desk(office: Office, history: History) -> Desk:
    return Desk(office, history)
