"""Commands that show a running jingle-hnt: its state, counters, calls and reports."""

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from jingle_hnt.commands.asking import (
    Answer,
    as_json,
    ask_typed,
    local_time,
    print_lines,
    shown,
)
from jingle_hnt.commands.screen import columns, console, printable

if TYPE_CHECKING:
    from rich.table import Table

RTP = 1


def show_status(options: argparse.Namespace) -> int:
    """Print the status; 0 where a call that comes now would be relayed, else 1."""
    answer = ask_typed(options)
    if answer is None:
        return 1
    _print(options, answer, print_lines)
    return 0 if answer["ready"] else 1


def show_stats(options: argparse.Namespace) -> int:
    """Print the counts, a line each."""
    return _show(options, ask_typed(options), print_lines)


def show_limits(options: argparse.Namespace) -> int:
    """Print the limits, a line each, and the budgets with those who are near them."""
    return _show(options, ask_typed(options), _print_limits)


def show_policy(options: argparse.Namespace) -> int:
    """Print the options in force, a line each."""
    return _show(options, ask_typed(options), _print_policy)


def show_calls(options: argparse.Namespace) -> int:
    """Print the calls, one line each, trouble first; with `--addresses` what each leg says too."""
    return _show(options, ask_typed(options), lambda answer: _print_calls(options, answer))


def _print_calls(options: argparse.Namespace, answer: Answer) -> None:
    from jingle_hnt.commands import lines

    found = lines.ordered(lines.lines(answer, causes), options.sort, options.filter)
    bad = sum(line.is_bad for line in found)
    print(f"calls: {len(found)}, in trouble: {bad}")
    if not found:
        return
    pen = lines.pen(columns(), sys.stdout.encoding)
    head, *rows = pen.draw(found)
    print(head)
    calls = {call["call"]: call for call in answer["calls"]}
    for line, row in zip(found, rows, strict=True):
        print(row)
        if options.addresses:
            print("\n".join(_told(calls[line.name])))
    print(lines.legend(pen))


def _told(call: Answer) -> Iterator[str]:
    """Yield what each leg of a call signalled, what it is told, and where it was learned."""
    for content, component, leg in legs(call):
        says = ", ".join(leg["signalled"]) or "-"
        yield f"    {content['name']}/{component} {leg['leg']}: signalled {says},"
        yield f"      advertised {leg['advertised']}, learned {leg['learned'] or '-'}"


def causes(call: Mapping[str, Any]) -> list[str]:
    """Return the causes of `explain` for a live call."""
    from jingle_hnt.admin.causes import Case
    from jingle_hnt.admin.diagnosis import diagnose
    from jingle_hnt.admin.snapshots import CallSnapshot

    return [finding.cause for finding in diagnose(Case(CallSnapshot.model_validate(call)))]


def show_call(options: argparse.Namespace) -> int:
    """Print one call in full."""
    answer = ask_typed(options)
    return _show(
        options, answer, lambda call: print("\n".join(call_lines(call, options.addresses)))
    )


def show_explanation(options: argparse.Namespace) -> int:
    """Print a call, and what is wrong with it."""
    answer = ask_typed(options)
    return _show(
        options, answer, lambda found: print("\n".join(explanation_lines(found, options.addresses)))
    )


def show_history(options: argparse.Namespace) -> int:
    """Print the calls that are over, and those that were refused, newest first."""
    answer = ask_typed(options)
    return _show(options, answer, _print_history)


def legs(call: Mapping[str, Any]) -> Iterator[tuple[Answer, int, Answer]]:
    """Every leg of every component of a call."""
    for content in [*call["contents"], *call["removed"]]:
        for component in content["components"]:
            for leg in component["legs"]:
                yield content, component["component"], leg


def _show(
    options: argparse.Namespace, answer: Answer | None, show: Callable[[Answer], None]
) -> int:
    if answer is None:
        return 1
    _print(options, answer, show)
    return 0


def _print(options: argparse.Namespace, answer: Answer, show: Callable[[Answer], None]) -> None:
    if options.json:
        print(as_json(answer, options))
    else:
        show(printable(answer))


def call_lines(call: Answer, whole: bool) -> Iterator[str]:
    """One call in full."""
    setup = "not accepted" if call["setup_s"] is None else f"accepted after {call['setup_s']:g} s"
    yield f"{call['call']}  sid {call['sid']}  {call['state']}, {setup}, age {call['age_s']:g} s"
    yield f"  {call['initiator']} calls {call['responder']}{', on hold' if call['held'] else ''}"
    for content in call["contents"]:
        relayed = "relayed" if content["relayed"] else "not relayed"
        agreed = "agreed" if content["agreed"] else "offered"
        yield f"  {content['name']}: {content['transport']}, {relayed}, {agreed}"
    for content in call["removed"]:
        after = f"removed after {content['agreed_s']:g} s"
        yield f"  {content['name']}: {content['transport']}, {after}"
    for content, component, leg in legs(call):
        yield f"  {content['name']}/{component} {leg['leg']} ({call[leg['leg']]})"
        yield from (f"    {line}" for line in _leg_lines(component, leg, whole))


def _leg_lines(component: int, leg: Answer, whole: bool) -> Iterator[str]:
    says = shown(", ".join(leg["signalled"]) or None, whole)
    yield f"signalled {says}, advertised {shown(leg['advertised'], whole)}"
    latch = f"{leg['latch']}, {leg['source_auth'] or 'not armed'}, flow {leg['flow']}"
    after = leg["latched_after_s"]
    learned = f"learned {shown(leg['learned'], whole)} ({latch})"
    yield learned + ("" if after is None else f" after {after:.3f} s")
    yield (
        f"in {leg['received_packets']} packets, {leg['received_bytes']} bytes;"
        f" out {leg['sent_packets']} packets, {leg['sent_bytes']} bytes"
    )
    if leg["dropped"]:
        told = ", ".join(f"{reason} {count}" for reason, count in leg["dropped"].items())
        yield f"dropped: {told}"
    if leg["rtp_packets"] and component == RTP:
        yield f"{leg['rtp_packets']} of RTP, heard with {_quality(leg)}"


def _quality(leg: Mapping[str, Any]) -> str:
    """Return how well the relay hears a party."""
    told = [f"{leg['lost_packets']} lost", f"{leg['reordered_packets']} out of order"]
    told.append(f"jitter {leg['jitter_ms']:.1f} ms")
    if leg["round_trip_ms"] is not None:
        told.append(f"round trip {leg['round_trip_ms']:.0f} ms")
    if leg["mos"] is not None:
        told.append(f"estimated score {leg['mos']:.1f}")
    return ", ".join(told)


def _print_limits(answer: Mapping[str, Any]) -> None:
    print_lines({name: value for name, value in answer.items() if name != "budgets"})
    for budget in answer["budgets"]:
        limit = budget["limit"] or "off"
        print(f"{budget['budget']:20} {limit:>5} {budget['what']}, for each {budget['owner']}")
        for use in budget["uses"]:
            print(f"{'':20} {use['used']:5} {use['who']}, refused {use['exceeded']} times")


def _print_policy(answer: Answer) -> None:
    for option in answer["options"]:
        print(f"{option['option']} = {option['value']}")


def explanation_lines(found: Answer, whole: bool) -> Iterator[str]:
    """A call, or one that was refused, and what is wrong with it."""
    report, refused = found["report"], found["refused"]
    if refused is not None:
        yield from _refused_lines(refused)
    else:
        yield from call_lines(found["call"], whole)
    if report is not None:
        reason = "" if report["reason"] is None else f" ({report['reason']})"
        yield f"  ended {local_time(report['ended'])}: {report['why']}{reason}"
    yield ""
    if not found["diagnosis"]:
        yield "Nothing is wrong with this call as far as the relay can see."
        if found["dropped"]:
            yield f"Few packets were dropped of it: {found['dropped']}."
    for finding in found["diagnosis"]:
        yield f"* {finding['text']}."
        yield f"  {finding['advice']}."
    if found["others"]:
        yield ""
        yield "Other calls of about then:"
        yield from (f"  {line}" for line in found["others"])


def _refused_lines(refused: Answer) -> Iterator[str]:
    if refused["outcome"] == "refused":
        yield f"{refused['caller']} could not call {refused['callee']}"
    else:
        yield f"the call of {refused['caller']} to {refused['callee']} went on without the relay"
    first, last = local_time(refused["first"]), local_time(refused["last"])
    if refused["count"] > 1:
        yield f"  {refused['count']} times, from {first} to {last}"
    else:
        yield f"  at {last}"
    if refused["told"]:
        yield f"  the caller was told: {refused['told']}"


def _print_history(found: Answer) -> None:
    if found["calls"] or not found["refused"]:
        console().print(_history_table(found["calls"]))
    if found["refused"]:
        console().print(_refused_table(found["refused"]))


def _refused_table(refused: list[Answer]) -> "Table":
    from rich.table import Table

    made = Table(title=f"calls that were refused, or not relayed: {len(refused)}")
    for column in ("last", "caller", "callee", "times", "outcome", "obstacle"):
        made.add_column(column, overflow="fold")
    for each in refused:
        made.add_row(
            local_time(each["last"]),
            each["caller"],
            each["callee"],
            str(each["count"]),
            each["outcome"],
            " ".join(filter(None, (each["kind"], each["which"]))),
        )
    return made


def _history_table(reports: list[Answer]) -> "Table":
    from rich.table import Table  # `status`, the health check, prints without it

    made = Table(title=f"calls that are over: {len(reports)}")
    columns = ("ended", "call", "initiator", "responder", "seconds", "why", "diagnosis")
    for column in columns:
        made.add_column(column, overflow="fold")
    for report in reports:
        call = report["call"]
        made.add_row(
            local_time(report["ended"]),
            call["call"],
            call["initiator"],
            call["responder"],
            f"{report['duration_s']:.0f}",
            report["why"],
            ", ".join(dict.fromkeys(f["cause"] for f in report["diagnosis"])) or "-",
        )
    return made
