"""status, calls, explain, history, terminate: what a running jingle-hnt does and did."""

import argparse
import json
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from jingle_hnt.commands import AddConfig, Commands
from jingle_hnt.config import load
from jingle_hnt.log import redact_text

ANSWER_S = 5.0


def add_to(commands: Commands, add_config: AddConfig) -> None:
    """Add the commands that ask a running process."""
    status = commands.add_parser("status", help="is it ready, and what does it hold")
    status.set_defaults(command=show_status)
    calls = commands.add_parser("calls", help="the calls that are going on")
    calls.add_argument("--addresses", action="store_true", help="show whole addresses")
    calls.set_defaults(command=show_calls)
    explain = commands.add_parser("explain", help="what is, or was, wrong with a call")
    explain.add_argument("call", help="its name, as `calls` and `history` show it, or its sid")
    explain.set_defaults(command=explain_call)
    history = commands.add_parser("history", help="the calls that have ended, newest first")
    history.add_argument("--limit", type=int, default=20, help="how many (default: 20)")
    history.set_defaults(command=show_history)
    terminate = commands.add_parser("terminate", help="end a call for both parties")
    terminate.add_argument("call", help="the call's name, as `calls` shows it")
    terminate.set_defaults(command=terminate_call)
    for command in (status, calls, explain, history, terminate):
        add_config(command)
        command.add_argument("--json", action="store_true", help="print the answer as JSON")


def show_status(options: argparse.Namespace) -> int:
    """Print the status; 0 where a call that comes now would be relayed, else 1."""
    answer = ask(_socket(options), {"command": "status"})
    if answer is None:
        return 1
    if options.json:
        print(json.dumps(answer))
    else:
        for key, value in answer.items():
            print(f"{key:16} {_in_words(value)}")
    return 0 if answer["ready"] else 1


def show_calls(options: argparse.Namespace) -> int:
    """Print the calls, one line per leg and component."""
    answer = ask(_socket(options), {"command": "calls"})
    if answer is None:
        return 1
    if options.json:
        print(json.dumps(answer))
    else:
        Console().print(table(answer, whole=options.addresses))
    return 0


def explain_call(options: argparse.Namespace) -> int:
    """Print what became of a call, and what to do about it."""
    report = ask(_socket(options), {"command": "explain", "call": options.call})
    if report is None:
        return 1
    if options.json:
        print(json.dumps(report))
        return 0
    call = report["call"]
    print(f"{call['initiator']} called {call['responder']} ({call['call']}, sid {call['sid']})")
    ended = f"ended after {report['duration_s']:.0f} s: {report['why']}"
    print(
        f"{ended} ({report['reason']})"
        if report["reason"]
        else ended
        if report["why"]
        else "goes on"
    )
    for finding in report["findings"]:
        print(f"\n{finding['text']}\n  {finding['advice']}")
    if not report["findings"]:
        print("\nBoth parties were heard; the relay saw nothing wrong.")
    return 0


def _fate(report: Mapping[str, Any]) -> str:
    if report["why"] is None:
        return "it goes on"
    said = f" ({report['reason']})" if report["reason"] else ""
    return f"ended after {report['duration_s']:.0f} s: {report['why']}{said}"


def show_history(options: argparse.Namespace) -> int:
    """Print one line per ended call."""
    answer = ask(_socket(options), {"command": "history", "limit": str(options.limit)})
    if answer is None:
        return 1
    if options.json:
        print(json.dumps(answer))
        return 0
    made = Table(title=f"{len(answer['reports'])} ended calls")
    for column in ("call", "from", "to", "seconds", "why", "findings"):
        made.add_column(column)
    for report in answer["reports"]:
        call = report["call"]
        causes = ", ".join(finding["cause"] for finding in report["findings"])
        why = report["why"] + (f", {report['reason']}" if report["reason"] else "")
        seconds = f"{report['duration_s']:.0f}"
        made.add_row(call["call"], call["initiator"], call["responder"], seconds, why, causes)
    Console().print(made)
    return 0


def terminate_call(options: argparse.Namespace) -> int:
    """End a call."""
    answer = ask(_socket(options), {"command": "terminate", "call": options.call})
    if answer is None:
        return 1
    print(json.dumps(answer) if options.json else f"{options.call} is ended")
    return 0


def ask(path: Path, request: Mapping[str, object]) -> dict[str, Any] | None:
    """The answer of the process behind a socket; None, with a word on stderr, where none comes."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(ANSWER_S)
            connection.connect(str(path))
            connection.sendall(json.dumps(request).encode() + b"\n")
            with connection.makefile("rb") as lines:
                answer: dict[str, Any] = json.loads(lines.readline())
    except (OSError, ValueError) as error:
        print(f"jingle-hnt does not answer at {path}: {error}", file=sys.stderr)
        return None
    if "error" in answer:
        print(answer["error"], file=sys.stderr)
        return None
    return answer


def table(answer: Mapping[str, Any], whole: bool) -> Table:
    """Calls as a table; addresses are redacted unless `whole`."""

    def shown(text: str | None) -> str:
        return "-" if text is None else text if whole else redact_text(text)

    made = Table(title=f"{len(answer['calls'])} calls")
    for column in ("call", "state", "leg", "party", "media", "signalled", "told", "learned"):
        made.add_column(column)
    for column in ("rung", "flow", "in", "out"):
        made.add_column(column)
    for call in answer["calls"]:
        for content in call["contents"]:
            for component in content["components"]:
                for leg in component["legs"]:
                    made.add_row(
                        call["call"],
                        call["state"],
                        leg["leg"],
                        call[leg["leg"]],
                        f"{content['name']}/{component['component']}",
                        shown(", ".join(leg["signalled"]) or None),
                        shown(leg["advertised"]),
                        shown(leg["learned"]),
                        leg["rung"] or "-",
                        leg["flow"],
                        str(leg["received_packets"]),
                        str(leg["sent_packets"]),
                    )
    return made


def _socket(options: argparse.Namespace) -> Path:
    return load(options.config).state.admin_socket


def _in_words(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_in_words(item)}" for key, item in value.items())
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)
