"""report: the calls of a day, in lines or as one page of HTML.

The history is read where it lies, so that the process that serves calls is not kept from them, and
need not run.
"""

import argparse
import os
import sys
from pathlib import Path


def show(options: argparse.Namespace) -> int:
    """Print the report, or write it; 1 where there is no history, 2 for a time that is none."""
    from datetime import datetime

    from jingle_hnt.admin.digest import digest
    from jingle_hnt.admin.moments import span
    from jingle_hnt.admin.refusals import RefusedCall
    from jingle_hnt.admin.reports import CallReport, valid
    from jingle_hnt.commands import page
    from jingle_hnt.commands.screen import printable
    from jingle_hnt.settings.file import load
    from jingle_hnt.store.history import read_between

    now = datetime.now().astimezone()
    try:
        since, until = span(options.since, now)[0], span(options.until, now)[1]
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    if since >= until:
        print("--since is not before --until: write an earlier time", file=sys.stderr)
        return 2
    state = load(options.config).state
    if not state.history_calls:
        text = "the history is off; write how many calls it keeps as state.history_calls"
        print(text, file=sys.stderr)
        return 1
    try:
        calls, refused = read_between(state.history, since.timestamp(), until.timestamp())
    except OSError as error:
        print(error, file=sys.stderr)
        return 1
    reports = valid(CallReport, calls)
    found = digest(list(reports), list(valid(RefusedCall, refused)), since, until)
    if options.html is None:
        print("\n".join(map(printable, page.text(found, now))))
        return 0
    try:
        _write(options.html, page.page(found, now))
    except OSError as error:
        print(f"{options.html}: {error.strerror}", file=sys.stderr)
        return 1
    print(f"{options.html}: {found.calls} calls, {found.bad} in trouble")
    return 0


def _write(path: Path, text: str) -> None:
    """Write a file that only its owner can read: it names who called whom."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
