"""What the tests of the XMPP side share."""

from collections.abc import AsyncIterator

import pytest

from tests.fronts.xmpp.fakeserver import FakeServer
from tests.fronts.xmpp.recorder import Recorder


@pytest.fixture
async def server() -> AsyncIterator[FakeServer]:
    """A server that does what the test says."""
    async with FakeServer() as server:
        yield server


@pytest.fixture
def recorder() -> Recorder:
    """Inputs that remember what they were told."""
    return Recorder()
