"""What a running jingle-hnt does and did: how it stands, what it counted, calls and reports."""

import argparse
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from jingle_hnt.commands import AddConfig, Commands
from jingle_hnt.commands.asking import (
    Answer,
    add,
    as_json,
    ask,
    local_time,
    print_lines,
    shown,
)
from jingle_hnt.commands.screen import console, printable

if TYPE_CHECKING:
    from rich.table import Table

RTP = 1


def add_to(commands: Commands, add_config: AddConfig) -> None:
    """Add the commands that ask a running process."""
    status = add(commands, add_config, "status", "is it ready, and what does it hold")
    status.set_defaults(command=show_status)
    stats = add(commands, add_config, "stats", "what it has counted since it started")
    stats.set_defaults(command=show_lines, ask="stats")
    text = "the limits of calls and the budgets, who is near them, who is blocked"
    add(commands, add_config, "limits", text).set_defaults(command=show_limits)
    policy = add(commands, add_config, "policy", "the options that new calls follow, as in force")
    policy.set_defaults(command=show_policy)
    calls = add(commands, add_config, "calls", "the calls that are going on", addresses=True)
    calls.set_defaults(command=show_calls)
    call = add(commands, add_config, "call", "one call that is going on, in full", addresses=True)
    call.add_argument("call", metavar="NAME|SID", help="the call's name, or its Jingle sid")
    call.set_defaults(command=show_call)
    explain = add(
        commands, add_config, "explain", "what is wrong with a call, now or over", addresses=True
    )
    explain.add_argument(
        "call",
        metavar="NAME|SID|JID",
        help="the call's name, or its Jingle sid, or a user, whose latest call it is",
    )
    explain.add_argument(
        "--at",
        default="",
        metavar="TIME",
        help="of a user the call of that time, also one that was refused: 14:05,"
        " 2026-11-30, '2026-11-30 14:05', 2h (ago)",
    )
    explain.set_defaults(command=show_explanation)
    history = add(commands, add_config, "history", "the calls that are over", addresses=True)
    history.add_argument("--count", default="20", metavar="N", help="how many (default: 20)")
    history.add_argument("--party", default="", metavar="JID", help="only calls of this JID")
    history.set_defaults(command=show_history)


def show_status(options: argparse.Namespace) -> int:
    """Print the status; 0 where a call that comes now would be relayed, else 1."""
    answer = ask(options, "status")
    if answer is None:
        return 1
    _print(options, answer, print_lines)
    return 0 if answer["ready"] else 1


def show_lines(options: argparse.Namespace) -> int:
    """Print an answer, a line each value."""
    return _show(options, ask(options, options.ask), print_lines)


def show_limits(options: argparse.Namespace) -> int:
    """Print the limits, a line each, and the budgets with those who are near them."""
    return _show(options, ask(options, "limits"), _print_limits)


def show_policy(options: argparse.Namespace) -> int:
    """Print the options in force, a line each."""
    return _show(options, ask(options, "policy"), _print_policy)


def show_calls(options: argparse.Namespace) -> int:
    """Print the calls, one line per leg and component."""
    return _show(
        options,
        ask(options, "calls"),
        lambda answer: console().print(
            table(answer["calls"], f"calls: {len(answer['calls'])}", options.addresses)
        ),
    )


def show_call(options: argparse.Namespace) -> int:
    """Print one call in full."""
    answer = ask(options, "call", call=options.call)
    return _show(options, answer, lambda call: _print_call(call, options.addresses))


def show_explanation(options: argparse.Namespace) -> int:
    """Print a call, and what is wrong with it."""
    answer = ask(options, "explain", call=options.call, at=options.at)
    return _show(options, answer, lambda found: _print_explanation(found, options.addresses))


def show_history(options: argparse.Namespace) -> int:
    """Print the calls that are over, and those that were refused, newest first."""
    answer = ask(options, "history", count=options.count, party=options.party)
    return _show(options, answer, _print_history)


def table(calls: list[Answer], title: str, whole: bool) -> "Table":
    """Calls as a table; addresses are redacted unless `whole`."""
    from rich.table import Table  # `status`, the health check, prints without it

    made = Table(title=title)
    for column in ("call", "state", "leg", "party", "media", "signalled", "told", "learned"):
        made.add_column(column, overflow="fold")
    for column in ("rung", "flow", "in", "out"):
        made.add_column(column, overflow="fold")
    for call in calls:
        for content, component, leg in legs(call):
            made.add_row(
                call["call"],
                call["state"],
                leg["leg"],
                call[leg["leg"]],
                f"{content['name']}/{component}",
                shown(", ".join(leg["signalled"]) or None, whole),
                shown(leg["advertised"], whole),
                shown(leg["learned"], whole),
                leg["rung"] or "-",
                leg["flow"],
                str(leg["received_packets"]),
                str(leg["sent_packets"]),
            )
    return made


def legs(call: Mapping[str, Any]) -> Iterator[tuple[Answer, int, Answer]]:
    """Every leg of every component of a call."""
    for content in call["contents"]:
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


def _print_call(call: Answer, whole: bool) -> None:
    setup = "not accepted" if call["setup_s"] is None else f"accepted after {call['setup_s']:g} s"
    print(f"{call['call']}  sid {call['sid']}  {call['state']}, {setup}, age {call['age_s']:g} s")
    print(f"  {call['initiator']} calls {call['responder']}{', on hold' if call['held'] else ''}")
    for content in call["contents"]:
        relayed = "relayed" if content["relayed"] else "not relayed"
        agreed = "agreed" if content["agreed"] else "offered"
        print(f"  {content['name']}: {content['transport']}, {relayed}, {agreed}")
    for content, component, leg in legs(call):
        print(f"  {content['name']}/{component} {leg['leg']} ({call[leg['leg']]})")
        says = shown(", ".join(leg["signalled"]) or None, whole)
        print(f"    says {says}, is told {shown(leg['advertised'], whole)}")
        latch = f"{leg['latch']}, {leg['rung'] or 'no rung'}, flow {leg['flow']}"
        after = leg["latched_after_s"]
        print(
            f"    learned {shown(leg['learned'], whole)} ({latch})"
            + ("" if after is None else f" after {after:.3f} s")
        )
        print(
            f"    in {leg['received_packets']} packets, {leg['received_bytes']} bytes;"
            f" out {leg['sent_packets']} packets, {leg['sent_bytes']} bytes"
        )
        if leg["dropped"]:
            told = ", ".join(f"{reason} {count}" for reason, count in leg["dropped"].items())
            print(f"    dropped: {told}")
        if leg["rtp_packets"] and component == RTP:
            print(f"    {leg['rtp_packets']} of RTP, heard with {_quality(leg)}")


def _quality(leg: Mapping[str, Any]) -> str:
    """How well the relay hears a party."""
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


def _print_explanation(found: Answer, whole: bool) -> None:
    report, refused = found["report"], found["refused"]
    if refused is not None:
        _print_refused(refused)
    else:
        _print_call(found["call"], whole)
    if report is not None:
        reason = "" if report["reason"] is None else f" ({report['reason']})"
        print(f"  ended {local_time(report['ended'])}: {report['why']}{reason}")
    print()
    if not found["diagnosis"]:
        print("Nothing is wrong with this call as far as the relay can see.")
        if found["dropped"]:
            print(f"Few packets were dropped of it: {found['dropped']}.")
    for finding in found["diagnosis"]:
        print(f"* {finding['text']}.\n  {finding['advice']}.")
    if found["others"]:
        print("\nOther calls of about then:")
        print("\n".join(f"  {line}" for line in found["others"]))


def _print_refused(refused: Answer) -> None:
    if refused["outcome"] == "refused":
        print(f"{refused['caller']} could not call {refused['callee']}")
    else:
        print(f"the call of {refused['caller']} to {refused['callee']} went on without the relay")
    first, last = local_time(refused["first"]), local_time(refused["last"])
    if refused["count"] > 1:
        print(f"  {refused['count']} times, from {first} to {last}")
    else:
        print(f"  at {last}")
    if refused["told"]:
        print(f"  the caller was told: {refused['told']}")


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
