"""Commands that change something: terminate, drain, reload, set, block, loglevel and so on.

And `config show`, which asks nobody: it prints the options in force by file and environment.
"""

import argparse
import json
from collections.abc import Callable

from jingle_hnt.commands.asking import Answer, ask_typed, in_words, redacted


def terminate(options: argparse.Namespace) -> int:
    """End calls, and say how many are left."""

    def words(answer: Answer) -> str:
        return f"ended; calls left: {len(answer['calls'])}"

    return _said(options, words, redacted)


def drain(options: argparse.Namespace) -> int:
    """Take no new calls."""
    return _said(options, lambda answer: f"draining; calls left: {answer['calls']}")


def undrain(options: argparse.Namespace) -> int:
    """Take new calls again."""
    return _said(options, lambda _: "new calls are taken again")


def reload(options: argparse.Namespace) -> int:
    """Have the configuration read again, and say what changed."""
    return _said(options, _reloaded)


def set_option(options: argparse.Namespace) -> int:
    """Set one option, and show what came of it."""

    def words(answer: Answer) -> str:
        (value,) = (o["value"] for o in answer["options"] if o["option"] == options.option)
        return f"{options.option} = {value} for new calls, until the next reload or start"

    return _said(options, words)


def block(options: argparse.Namespace) -> int:
    """Block a user or domain, or unblock it, and list who is blocked."""
    return _said(options, lambda answer: f"blocked: {in_words(answer['blocked'])}")


def loglevel(options: argparse.Namespace) -> int:
    """Set the log level."""
    return _said(options, lambda answer: f"the log level is {answer['level']}")


def show_config(options: argparse.Namespace) -> int:
    """Print every option."""
    from jingle_hnt.settings.file import load  # what the other commands do not need
    from jingle_hnt.settings.reload import shown

    found = shown(load(options.config))
    if options.json:
        print(json.dumps(found))
    else:
        for key, value in found.items():
            print(f"{key} = {json.dumps(value)}")
    return 0


def _said(
    options: argparse.Namespace,
    words: Callable[[Answer], str],
    shown: Callable[[Answer], Answer] = lambda answer: answer,
) -> int:
    """Ask what was typed, and print the outcome in words or as JSON; 1 where there is none."""
    answer = ask_typed(options)
    if answer is None:
        return 1
    answer = shown(answer)
    print(json.dumps(answer) if options.json else words(answer))
    return 0


def _reloaded(answer: Answer) -> str:
    lines = [f"in force for new calls: {in_words(answer['changed'])}"]
    if answer["needs_restart"]:
        lines.append(f"needs a restart: {in_words(answer['needs_restart'])}")
    return "\n".join(lines)
