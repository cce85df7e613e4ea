"""One server of each kind for all tests that leave it as they found it, or one per test."""

import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack

import pytest

from tests.integration.server_module.stage import COMPONENTS, KINDS, Stage, hosts
from tests.lab.ejabberd_cluster import AlternatingCluster
from tests.lab.server import LocalServer

ON_CLUSTER = ("test_questions", "test_answers", "test_requests", "test_notices", "test_no_harm")
"""Whose tests that share a server run on two ejabberd nodes as well, a client on each in turn."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Each test of one server runs on each kind."""
    if "kind" in metafunc.fixturenames:
        kinds: dict[str, type[LocalServer]] = dict(KINDS)
        name = metafunc.module.__name__.rpartition(".")[2]
        if name in ON_CLUSTER and "server" in metafunc.fixturenames:
            kinds["ejabberd-cluster"] = AlternatingCluster
        metafunc.parametrize("kind", kinds.values(), ids=kinds, indirect=True, scope="package")


@pytest.fixture(scope="package")
def kind(request: pytest.FixtureRequest) -> type[LocalServer]:
    """The server under test."""
    found: type[LocalServer] = request.param
    return found


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
async def stage(server: LocalServer, actors: AsyncExitStack) -> AsyncIterator[Stage]:
    """Actors on the server for all tests."""
    yield Stage(server, actors)
    if isinstance(server, AlternatingCluster):
        await server.forget_parties()


@pytest.fixture
async def own_stage(kind: type[LocalServer], actors: AsyncExitStack) -> Stage:
    """Actors on a server for this test alone, whose hosts wait long for the component."""
    server = await actors.enter_async_context(kind(hosts(hold_s=20), COMPONENTS))
    return Stage(server, actors)
