"""Times as people write them: ``14:05``, ``2026-11-30``, ``2026-11-30 14:05``, ``90m``, ``2d``.

What has no time zone is of this host's.
"""

import re
from datetime import UTC, datetime, timedelta

_AGO = re.compile(r"(\d{1,6})\s*([mhd])")
_UNITS = {"m": "minutes", "h": "hours", "d": "days"}
_CLOCK = re.compile(r"(\d{1,2}):(\d{2})(?::(\d{2}))?")
_DAYS = {"today": 0, "yesterday": 1}

EXAMPLES = '"14:05", "2026-11-30", "2026-11-30 14:05", or "2h" for two hours ago'

Span = tuple[datetime, datetime]
"""From the first moment that a text may mean to the last, in UTC."""


def span(text: str, now: datetime) -> Span:
    """Return the span of time that a text names: a whole day, a minute, or a second.

    A clock time is the last one that is not in the future. Raises ValueError.
    """
    words = text.strip().lower()
    here = now.astimezone()
    if ago := _AGO.fullmatch(words):
        at = here - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        return _of(at, timedelta(0))
    if words in _DAYS:
        midnight = here.replace(hour=0, minute=0, second=0, microsecond=0)
        return _of(midnight - timedelta(days=_DAYS[words]), timedelta(days=1))
    try:
        if clock := _CLOCK.fullmatch(words):
            hour, minute, second = (int(part or 0) for part in clock.groups())
            at = here.replace(hour=hour, minute=minute, second=second, microsecond=0)
            at = at if at <= here else at - timedelta(days=1)
            return _of(at, timedelta(seconds=1 if clock[3] else 60))
        at = datetime.fromisoformat(text.strip())
    except (ValueError, OverflowError):
        raise ValueError(f"{text!r} is no time: write {EXAMPLES}") from None
    at = at if at.tzinfo is not None else at.replace(tzinfo=here.tzinfo)
    if len(words) == len("2026-11-30"):
        return _of(at, timedelta(days=1))
    return _of(at, timedelta(seconds=60 if words.count(":") == 1 else 1))


def _of(at: datetime, length: timedelta) -> Span:
    start = at.astimezone(UTC)
    return start, start + length
