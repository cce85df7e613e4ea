"""One server of each kind for all tests that leave it as they found it, or one per test."""

import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack

import pytest

from tests.integration.server_module.stage import COMPONENTS, KINDS, Stage, hosts
from tests.lab.server import LocalServer


@pytest.fixture(scope="package", params=list(KINDS))
def kind(request: pytest.FixtureRequest) -> type[LocalServer]:
    """The server under test."""
    return KINDS[request.param]


@pytest.fixture(scope="package")
def server(kind: type[LocalServer], request: pytest.FixtureRequest) -> Iterator[LocalServer]:
    """One server for all tests that leave it as they found it."""
    with kind(hosts(), COMPONENTS) as running:
        failed = request.session.testsfailed
        yield running
        if request.session.testsfailed > failed:
            sys.stderr.write(running.log_text()[-20000:])


@pytest.fixture
async def actors() -> AsyncIterator[AsyncExitStack]:
    """Closes what entered it at the end of the test."""
    async with AsyncExitStack() as stack:
        yield stack


@pytest.fixture
def stage(server: LocalServer, actors: AsyncExitStack) -> Stage:
    """Actors on the server for all tests."""
    return Stage(server, actors)


@pytest.fixture
async def own_stage(kind: type[LocalServer], actors: AsyncExitStack) -> Stage:
    """Actors on a server for this test alone, whose hosts wait long for the component."""
    server = await actors.enter_async_context(kind(hosts(hold_s=20), COMPONENTS))
    return Stage(server, actors)
