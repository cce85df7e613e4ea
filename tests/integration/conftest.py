"""What the integration tests share."""

from collections.abc import Iterator

import pytest

from tests.lab import play

BUSY_S = 300.0
"""What a test here may take at least: it mostly waits, and the machine may be busy."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give each of these tests the time that a busy machine takes."""
    for item in items:
        if item.get_closest_marker("integration") is None:
            continue
        own = item.get_closest_marker("timeout")
        if own is None or own.args[0] < BUSY_S:
            item.add_marker(pytest.mark.timeout(BUSY_S), append=False)


@pytest.fixture(params=list(play.SERVERS))
def each_server(request: pytest.FixtureRequest) -> Iterator[None]:
    """The test is played on one server and then on the other."""
    before, play.in_use = play.in_use, play.SERVERS[request.param]
    yield
    play.in_use = before


@pytest.fixture(params=["prosody", pytest.param("ejabberd", marks=pytest.mark.soak)])
def either_server(request: pytest.FixtureRequest) -> Iterator[None]:
    """The test is about us, whichever the server is: it is played on the other one at night."""
    before, play.in_use = play.in_use, play.SERVERS[request.param]
    yield
    play.in_use = before
