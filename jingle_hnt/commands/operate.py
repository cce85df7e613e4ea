"""What an administrator changes: terminate, drain, undrain, reload, set, block, unblock, loglevel.

And `config show`, which asks nobody: it prints the options in force by file and environment.
"""

import argparse
import json
from collections.abc import Callable

from jingle_hnt.commands import AddConfig, Commands
from jingle_hnt.commands.asking import Answer, add, ask, in_words, redacted


def add_to(commands: Commands, add_config: AddConfig) -> None:
    """Add the commands that change something."""
    terminate = add(
        commands, add_config, "terminate", "end a call, or all of a user's, for both parties"
    )
    terminate.add_argument(
        "call", metavar="NAME|SID|JID", help="the call's name or sid, or a user's JID"
    )
    _does(terminate, "terminate", "call", lambda found: f"ended; calls left: {len(found['calls'])}")

    text = "take no new calls; those that go on are not disturbed"
    drain = add(commands, add_config, "drain", text)
    drain.add_argument(
        "--announce", dest="announcement", default="", metavar="TEXT", help="tell who is in a call"
    )
    _does(drain, "drain", "announcement", lambda answer: f"draining; calls left: {answer['calls']}")
    undrain = add(commands, add_config, "undrain", "take new calls again")
    _does(undrain, "undrain", None, lambda _: "new calls are taken again")

    again = add(commands, add_config, "reload", "read the configuration again, for new calls")
    _does(again, "reload", None, _reloaded)

    text = "set an option for new calls, until the next reload or start"
    one = add(commands, add_config, "set", text)
    one.add_argument("option", metavar="OPTION", help="such as gate.policy; `policy` lists them")
    one.add_argument("value", metavar="VALUE", help="as the configuration file writes it")
    one.set_defaults(command=set_option)

    for name, text in (
        ("block", "refuse all calls of a user or domain, also after a restart"),
        ("unblock", "allow them again"),
    ):
        command = add(commands, add_config, name, text)
        command.add_argument("who", metavar="JID|DOMAIN", help="a bare JID or a domain")
        _does(command, name, "who", lambda answer: f"blocked: {in_words(answer['blocked'])}")

    level = add(commands, add_config, "loglevel", "log more or less, until the next start")
    level.add_argument("level", choices=["debug", "info", "warning", "error"], help="log level")
    _does(level, "loglevel", "level", lambda answer: f"the log level is {answer['level']}")

    config = commands.add_parser("config", help="the configuration in force")
    actions = config.add_subparsers(required=True, metavar="ACTION")
    text = "every option as file and environment set it, secrets hidden"
    show = add(actions, add_config, "show", text)
    show.set_defaults(command=show_config)


def show_config(options: argparse.Namespace) -> int:
    """Print every option."""
    from jingle_hnt.reading import load  # what the other commands do not need
    from jingle_hnt.reload import shown

    found = shown(load(options.config))
    if options.json:
        print(json.dumps(found))
    else:
        for key, value in found.items():
            print(f"{key} = {json.dumps(value)}")
    return 0


def set_option(options: argparse.Namespace) -> int:
    """Set one option, and show what came of it."""
    answer = ask(options, "set", option=options.option, value=options.value)
    if answer is None:
        return 1
    if options.json:
        print(json.dumps(answer))
    else:
        (value,) = (o["value"] for o in answer["options"] if o["option"] == options.option)
        print(f"{options.option} = {value} for new calls, until the next reload or start")
    return 0


def _does(
    parser: argparse.ArgumentParser, name: str, field: str | None, words: Callable[[Answer], str]
) -> None:
    """Let a parsed command ask `name` with its argument, and tell the outcome in words."""

    def run(options: argparse.Namespace) -> int:
        fields = {} if field is None else {field: getattr(options, field)}
        answer = ask(options, name, **fields)
        if answer is None:
            return 1
        if name == "terminate":  # it answers the calls that are left
            answer = redacted(answer)
        print(json.dumps(answer) if options.json else words(answer))
        return 0

    parser.set_defaults(command=run)


def _reloaded(answer: Answer) -> str:
    lines = [f"in force for new calls: {in_words(answer['changed'])}"]
    if answer["needs_restart"]:
        lines.append(f"needs a restart: {in_words(answer['needs_restart'])}")
    return "\n".join(lines)
