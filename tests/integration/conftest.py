"""What the integration tests share."""

from collections.abc import Iterator

import pytest

from tests.lab import play


@pytest.fixture(params=list(play.SERVERS))
def each_server(request: pytest.FixtureRequest) -> Iterator[None]:
    """The test is played on one server and then on the other."""
    before, play.in_use = play.in_use, play.SERVERS[request.param]
    yield
    play.in_use = before
