"""The report of a call that is over, for the history and, in short, for the log."""

import contextlib
import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from jingle_hnt.admin.causes import Case
from jingle_hnt.admin.diagnosis import Finding, diagnose, streams
from jingle_hnt.admin.refusals import RefusedCall
from jingle_hnt.admin.snapshots import YOUNG_S, CallSnapshot, ContentSnapshot, LegSnapshot
from jingle_hnt.log import redact_text
from jingle_hnt.model.content import RTP
from jingle_hnt.model.jingle import Reason

MOST_BYTES = 64 * 1024
"""Of a report: parties choose the number of contents and their names."""


class CallReport(BaseModel):
    """A call that is over. `why` is ours, `reason` what the party who ended it has said.

    `started` and `ended` are ISO 8601 in UTC. `counted` tells whether the plane's last counters are
    in `call`, `left_out` how many contents are not, as `MOST_BYTES` have no room for them.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    started: str
    ended: str
    duration_s: float
    why: str
    reason: str | None
    reason_text: str | None
    counted: bool
    call: CallSnapshot
    diagnosis: tuple[Finding, ...]
    left_out: int = 0


def bounded(told: dict[str, Any], most: int = MOST_BYTES) -> str:
    """A report as JSON of so many bytes at most: removed contents are left out first."""
    text = json.dumps(told)
    for kind in ("removed", "contents"):
        contents = told["call"][kind]
        while len(text) > most and contents:
            told["left_out"] += 1
            contents.pop()
            text = json.dumps(told)
    return text


class HistorySnapshot(BaseModel):
    """Calls that are over and calls that were refused, newest first."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    calls: tuple[CallReport, ...]
    refused: tuple[RefusedCall, ...] = ()


class Explanation(BaseModel):
    """One call and what is wrong with it; `report` is None while it goes on.

    Of a call that was refused there is `refused` and no `call`. `dropped` says in words what was
    dropped of it, whatever for; `others` are calls of the same user at about the same time.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    call: CallSnapshot | None
    report: CallReport | None
    diagnosis: tuple[Finding, ...]
    dropped: str = ""
    refused: RefusedCall | None = None
    others: tuple[str, ...] = ()


def report(case: Case, reason: Reason | None, ended: datetime) -> CallReport:
    """The report of a case that is closed."""
    assert case.why is not None
    call = case.call
    return CallReport(
        started=_iso(ended - timedelta(seconds=call.age_s)),
        ended=_iso(ended),
        duration_s=call.age_s,
        why=case.why.value,
        reason=None if reason is None else reason.condition,
        reason_text=None if reason is None or not reason.text else reason.text[:200],
        counted=case.plane,
        call=call,
        diagnosis=diagnose(case),
    )


M = TypeVar("M", bound=BaseModel)

_ADDRESSES = frozenset({"signalled", "advertised", "learned"})


def redacted(value: Any) -> Any:
    """A report as JSON has it, with its addresses made unspecific."""
    match value:
        case dict():
            return {
                key: _unspecific(item) if key in _ADDRESSES else redacted(item)
                for key, item in value.items()
            }
        case list():
            return [redacted(item) for item in value]
    return value


def _unspecific(value: Any) -> Any:
    if isinstance(value, list):
        return [_unspecific(item) for item in value]
    return redact_text(value) if isinstance(value, str) else value


def valid(model: type[M], found: Iterable[Mapping[str, object]]) -> Iterator[M]:
    """Rows of the history as this model; those of other versions are left out."""
    for each in found:
        with contextlib.suppress(ValidationError):
            yield model.model_validate(each)


def log_line(made: CallReport) -> dict[str, object]:
    """The report as the values of one log line; what is nothing is left out."""
    call = made.call
    line: dict[str, object] = {
        "call": call.call,
        "sid": call.sid,
        "initiator": call.initiator,
        "responder": call.responder,
        "why": made.why,
        "reason": made.reason,
        "duration_s": made.duration_s,
        "setup_s": call.setup_s,
        "paths": [f"{c.name} {c.path}" for c in call.all_contents if c.path is not None],
        "legs": [_leg(content, number, leg) for content, number, leg in legs(call)],
        "exceeded": [f"{budget} {count}" for budget, count in call.exceeded.items()],
        "diagnosis": [finding.cause for finding in made.diagnosis],
    }
    return {key: value for key, value in line.items() if value not in (None, [])}


def legs(call: CallSnapshot) -> Iterator[tuple[ContentSnapshot, int, LegSnapshot]]:
    """Every leg of every component of a call."""
    for content in call.all_contents:
        for component in content.components:
            for leg in component.legs:
                yield content, component.component, leg


def is_one_way(call: CallSnapshot) -> bool:
    """Whether a content that both may send, agreed on long enough, has RTP of one party only.

    RTP that a party sends by another content (RFC 8843) is heard there.
    """
    if call.setup_s is None or call.held:
        return False
    return any(
        stream.content.senders == "both"
        and stream.content.agreed
        and (stream.content.agreed_s is None or stream.content.agreed_s >= YOUNG_S)
        and not stream.is_bundled
        and not stream.leg.rtp_packets
        and stream.peer.rtp_packets > 0
        for stream in streams(call)
    )


def _leg(content: ContentSnapshot, component: int, leg: LegSnapshot) -> str:
    parts = [f"{content.name}/{component} {leg.leg}:"]
    parts.append(f"signalled {','.join(leg.signalled) or '-'}")
    parts.append(f"advertised {leg.advertised}")
    if leg.learned is None:
        parts.append(f"learned - ({leg.source_auth or 'not armed'})")
    else:
        after = "" if leg.latched_after_s is None else f" after {leg.latched_after_s:.3f} s"
        parts.append(f"learned {leg.learned} ({leg.source_auth}){after}")
    parts += [] if leg.pair is None else [f"pair {leg.pair}"]
    parts += [] if leg.check_failure is None else [f"no check: {leg.check_failure}"]
    if leg.checks:
        parts.append(f"checks {leg.checks['answered']}/{leg.checks['sent']}")
    parts.append(f"in {leg.received_packets}/{leg.received_bytes}")
    parts.append(f"out {leg.sent_packets}/{leg.sent_bytes}")
    if leg.rtp_packets and component == RTP:
        parts.append(f"rtp {leg.rtp_packets}")
        parts.append(f"lost {leg.lost_packets} jitter {leg.jitter_ms:.1f} ms")
        parts += [] if leg.mos is None else [f"score {leg.mos:.1f}"]
    parts += [f"dropped {reason} {count}" for reason, count in leg.dropped.items()]
    return " ".join(parts)


def _iso(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds")
