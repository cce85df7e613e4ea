"""Short storms; `scripts/storm` plays long ones."""

import pytest

from tests.integration.server_module.stage import KINDS
from tests.integration.server_module.storm import storm

pytestmark = [pytest.mark.integration, pytest.mark.busy, pytest.mark.timeout(180)]


@pytest.mark.parametrize("components", [1, 2])
@pytest.mark.parametrize("name", list(KINDS))
async def test_nothing_is_lost_doubled_or_overtaken_in_a_storm(name: str, components: int) -> None:
    report = await storm(name, 2.0, components=components)
    assert report.storm.arrived > 0
    assert report.stop.arrived > 0
    assert report.is_calm(), report
