"""Real browsers at both ends of a call: Chromium and Firefox with stanza.js, and no way but ours.

Both engines play both roles here, and both modes; `scripts/browsers` plays all pairs in both.
"""

import pytest

from tests.lab import browser_phone, browsers

pytestmark = [
    pytest.mark.integration,
    pytest.mark.busy,
    pytest.mark.skipif(bool(browser_phone.missing()), reason=browser_phone.missing()),
]


@pytest.mark.timeout(600)
@pytest.mark.rule("I2", "I3")
@pytest.mark.parametrize(
    ("caller", "callee", "mode"),
    [("chromium", "firefox", "append"), ("firefox", "chromium", "terminate")],
)
async def test_browsers_talk_through_us_whatever_their_users_do(
    caller: str, callee: str, mode: str
) -> None:
    seen = browsers.Seen()
    await browsers.call(caller, callee, mode, seen)
    assert list(seen.steps) == list(browsers.STEPS)
