"""Writes docs/configuration.md: every option, from settings/model.py and the sample configuration.

    scripts/options.py [--check]

Names, types and defaults come from the settings, the words from the comments above each option in
config/jingle-hnt.toml. An option without a comment there is an error.
"""

import json
import re
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from jingle_hnt.session.budgets import BUDGETS, FIXED, BudgetPolicy
from jingle_hnt.settings.defaults import ENVIRONMENT
from jingle_hnt.settings.model import IceRule, Interface, Server, Settings
from jingle_hnt.settings.reload import needs_restart

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "configuration.md"
SAMPLE = ROOT / "config" / "jingle-hnt.toml"
HIDDEN = {"xmpp.secret"}
"""Options that are for the environment only."""

HEAD = f"""# Configuration

One file, `/etc/jingle-hnt/jingle-hnt.toml`, in [TOML](https://toml.io). Four options have no
default: `xmpp.component`, `xmpp.domains`, `xmpp.secret_file`, `relay.interfaces`; `jingle-hnt
init` asks for them. An unknown option is an error, and the message says which one was probably
meant. `jingle-hnt check` tests the file and the world around it; `jingle-hnt config show` prints
what is in force, secrets hidden.

The environment goes over the file: `{ENVIRONMENT}GATE__POLICY` sets `gate.policy`. The secret is
read from systemd's credential `secret`, then from `xmpp.secret_file`, then from
`{ENVIRONMENT}XMPP__SECRET`; never from a command line.

**Reload** says whether `jingle-hnt reload` (or SIGHUP) brings a change into force for new calls;
the others need a restart, and `reload` names those that wait for one. A file that cannot be used
changes nothing.

This page is made by `scripts/options.py` from the program and from
[jingle-hnt.toml](../config/jingle-hnt.toml).
"""


def page() -> str:
    """The whole page."""
    words = comments(SAMPLE.read_text())
    parts = [HEAD]
    for section, field in Settings.model_fields.items():
        model = field.annotation
        assert isinstance(model, type)
        assert issubclass(model, BaseModel)
        parts.append("\n".join(_section(section, model, words)))
        if section == "budgets":
            parts.append("\n".join(_budgets()))
    return "\n".join(parts)


def comments(sample: str) -> dict[str, str]:
    """The comment above each option of the sample, by the option's dotted name.

    Options that stand together share the comment above the first of them.
    """
    found: dict[str, str] = {}
    section, text, told = "", [], False
    for line in sample.splitlines():
        if heading := re.fullmatch(r"\[(\w+)\]", line):
            section, text, told = heading[1], [], False
        elif option := re.match(r"#?(\w+) = ", line):
            found[f"{section}.{option[1]}"] = " ".join(text)
            told = True
        elif line.startswith("# "):
            text, told = ([] if told else text) + [line[2:].strip()], False
    return found


def _section(name: str, model: type[BaseModel], words: dict[str, str]) -> Iterator[str]:
    yield f"## [{name}]\n"
    yield f"{(model.__doc__ or '').strip().splitlines()[0]}\n"
    yield "| option | type | default | reload | |"
    yield "| --- | --- | --- | --- | --- |"
    for option, field in model.model_fields.items():
        key = f"{name}.{option}"
        if key in HIDDEN:
            continue
        if not words.get(key):
            raise SystemExit(f"{SAMPLE}: {key} has no comment; write one above it")
        row = (
            f"`{option}`",
            _type(field.annotation),
            _default(field),
            "no" if needs_restart(key) else "yes",
            words[key].replace("|", "\\|"),
        )
        yield "| " + " | ".join(row) + " |"
    yield ""


def _budgets() -> Iterator[str]:
    yield "A request beyond a budget changes nothing, and costs nobody else anything. Its sender is"
    yield "told `resource-constraint` with the budget's name. `jingle-hnt limits` shows who is near"
    yield 'which, the metric `jingle_hnt_budget_exceeded_total{budget="..."}` counts, the log has a'
    yield "line a second at most, and the call's report in the history names what it exceeded.\n"
    yield "Where an option is 0 there is no such budget.\n"
    yield "| budget | owner | option | default | what it bounds | what counts more than that |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for budget in (*BUDGETS, *FIXED):
        option = f"`{budget.option}`" if budget.option else ""
        default = getattr(BudgetPolicy(), budget.option) if option else "fixed"
        told = (f"`{budget.name}`", budget.owner, option, str(default), budget.what, budget.counts)
        yield "| " + " | ".join(told) + " |"
    yield ""


def _type(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _type(arguments[0])
    if origin is Literal:
        return ", ".join(f"`{json.dumps(value)}`" for value in arguments)
    if origin is tuple:
        return f"list of {_type(arguments[0])}s"
    if origin in (Union, types.UnionType):
        some = [a for a in arguments if a is not type(None)]
        names = {_type(a) for a in some}
        return "address" if names == {"address"} else " or ".join(sorted(names))
    known = {bool: "true or false", int: "number", float: "number", Path: "path", str: "text"}
    if annotation in known:
        return known[annotation]
    if annotation in (IceRule, Interface, Server, SecretStr):
        return "text" if annotation is SecretStr else "table"
    return "network" if "Network" in annotation.__name__ else "address"


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "needed"
    value = field.get_default(call_default_factory=True)
    if value is None:
        return "none"
    if isinstance(value, Path):
        value = str(value)
    return f"`{json.dumps(list(value) if isinstance(value, tuple) else value)}`"


def main() -> int:
    text = page().rstrip() + "\n"
    if "--check" not in sys.argv:
        PAGE.write_text(text)
    elif not PAGE.exists() or PAGE.read_text() != text:
        print("docs/configuration.md is not current; run scripts/options.py")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
