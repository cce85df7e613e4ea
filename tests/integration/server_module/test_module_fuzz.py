"""Short fuzz from clients, another server and components; scripts/fuzz plays it long."""

import pytest

from tests.integration.server_module.fuzz import fuzz
from tests.integration.server_module.stage import KINDS

pytestmark = [pytest.mark.integration, pytest.mark.busy, pytest.mark.timeout(180)]


@pytest.mark.parametrize("name", list(KINDS))
async def test_honest_requests_arrive_among_fuzz_and_nothing_crashes(name: str) -> None:
    outcome = await fuzz(name, 4.0)
    assert outcome.fuzzed > 0
    assert outcome.honest > 0
    assert outcome.is_fine(), outcome
