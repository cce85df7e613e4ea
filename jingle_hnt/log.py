"""Logs: one line per event on standard error, as text or JSON, without what must not be in them.

Addresses are redacted unless the operator wants them: the last octet of an IPv4 address and all but
the first 48 bits of an IPv6 address become ``x``. Control characters never reach a line, so a
party's text cannot forge one. slixmpp is capped at INFO: its DEBUG prints whole stanzas, keys and
all.
"""

import ipaddress
import logging
import re
import sys
import time
from collections import OrderedDict
from collections.abc import Callable, MutableMapping
from typing import Literal

import structlog

_V4 = re.compile(r"\b(\d{1,3}\.\d{1,3}\.\d{1,3})\.\d{1,3}\b")
_V6 = re.compile(r"(?<![\w:.])[0-9a-fA-F]{0,4}(?::[0-9a-fA-F]{0,4}){2,7}(?![\w:])")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_SECRET_KEYS = frozenset({"secret", "password", "pwd", "key", "token"})

BURST = 10.0
KINDS = 100
"""How many texts are counted at a time."""
WARNINGS_PER_S = 1.0
PROVOKED = {
    "stanza rejected": 1.0,
    "call ended unanswered": 5.0,
    "call refused": 5.0,
    "call not relayed": 5.0,
    "latched": 5.0,
    "re-latched": 1.0,
}
"""What strangers can provoke and is no warning: how many a second are told of, by the text."""

LONGEST_TEXT, LONGEST_LINE = 512, 4096
"""Characters of one value of a line, and of all its values: parties choose names, and many."""

_NOT_ACCEPTED = "socket.accept() out of system resource"
"""What asyncio says, with a traceback of its own, where no file descriptor is left."""

Level = Literal["debug", "info", "warning", "error"]
Event = MutableMapping[str, object]


class Calm:
    """A processor: what strangers can provoke is told of so often a second, after `BURST` times.

    That is every warning, and what `PROVOKED` names, each by its text; the next one that is told
    says how many were `left_out`. What a call leaves that was answered is always told: both its
    parties had to want it, and how many they may make is limited.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._kinds: OrderedDict[str, tuple[float, float, int]] = OrderedDict()

    def __call__(self, _: object, level: str, event: Event) -> Event:
        """Raises DropEvent for what is left out."""
        kind = str(event.get("event", ""))
        rate = WARNINGS_PER_S if level == "warning" else PROVOKED.get(kind)
        if rate is None:
            return event
        now = self._clock()
        tokens, at, left_out = self._kinds.pop(kind, (BURST, now, 0))
        tokens = min(BURST, tokens + rate * (now - at))
        told = tokens >= 1
        self._kinds[kind] = (tokens - 1, now, 0) if told else (tokens, now, left_out + 1)
        if len(self._kinds) > KINDS:
            self._kinds.popitem(last=False)
        if not told:
            raise structlog.DropEvent
        if left_out:
            event["left_out"] = left_out
        return event


class _CalmLibraries(logging.Filter):
    """Limits what libraries log through the standard library, as `Calm` limits warnings of ours."""

    def __init__(self) -> None:
        super().__init__()
        self._calm = Calm()

    def filter(self, record: logging.LogRecord) -> bool:
        if str(record.msg).startswith(_NOT_ACCEPTED) and record.exc_info:
            record.msg = f"a connection is not accepted: {record.exc_info[1]}"
            record.exc_info = None
        kind = f"{record.name}: {str(record.msg).partition(chr(10))[0]}"
        try:
            self._calm(None, "warning", {"event": kind})
        except structlog.DropEvent:
            return False
        return True


def configure(
    level: Level = "info", form: Literal["text", "json"] = "text", redact: bool = True
) -> None:
    """Set logging up for the whole process; call once, before anything is logged."""
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if form == "json"
        else structlog.dev.ConsoleRenderer(colors=False)
    )
    processors: list[structlog.typing.Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso"),
        Calm(),
        structlog.processors.format_exc_info,
        _tidy,
        *([_redact] if redact else []),
        renderer,
    ]
    structlog.configure(
        processors=processors,
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    # Libraries log through the standard library; their lines are to be of the same form.
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(_CalmLibraries())
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *processors[:2]],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *processors[3:],
            ],
        )
    )
    logging.basicConfig(handlers=[handler], force=True)
    set_level(level)


def set_level(level: str) -> None:
    """From now on log this level (``debug``, ``info``, ``warning``, ``error``) and above."""
    number = getattr(logging, level.upper())
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(number))
    logging.getLogger().setLevel(max(number, logging.WARNING))
    logging.getLogger("slixmpp").setLevel(max(number, logging.INFO))


def redact_text(text: str) -> str:
    """A text with its IP addresses made unspecific."""
    return _V6.sub(_redact_v6, _V4.sub(r"\1.x", text))


def _redact_v6(match: re.Match[str]) -> str:
    try:
        address = ipaddress.IPv6Address(match.group())
    except ValueError:
        return match.group()
    words = address.exploded.split(":")[:3]
    return ":".join(format(int(word, 16), "x") for word in words) + "::x"


def _tidy(_: object, __: str, event: Event) -> Event:
    for key, value in event.items():
        if key in _SECRET_KEYS:
            event[key] = "***"
        elif key != "exception":
            event[key] = _each(value, lambda text: _CONTROL.sub("?", _cut(text, LONGEST_TEXT)))
    return _within_a_line(event)


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: max(0, most - 1)] + "…"


def _within_a_line(event: Event) -> Event:
    """The event without what a line has no room for."""
    room = LONGEST_LINE
    for key, value in event.items():
        if key == "exception":
            continue
        if isinstance(value, list) and len(str(value)) > room:
            kept = []
            for item in value:
                room -= len(str(item))
                if room < 0:
                    break
                kept.append(item)
            event[key] = [*kept, f"… {len(value) - len(kept)} more"]
        elif isinstance(value, str):
            event[key] = _cut(value, max(room, 1))
        room = max(0, room - len(str(event[key])))
    return event


def _redact(_: object, __: str, event: Event) -> Event:
    for key, value in event.items():
        if key != "timestamp":
            event[key] = _each(value, redact_text)
    return event


def _each(value: object, change: Callable[[str], str]) -> object:
    """The value with every text in it changed."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, list):
        return [_each(item, change) for item in value]
    return value
