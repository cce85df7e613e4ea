"""Writes what is made of the options: docs/configuration.md and config/jingle-hnt.toml.

    python -m scripts.options [--check]

An option's only entry is its field in `jingle_hnt/settings/model.py`: name, type and default, the
text below it, an example, and when a change of it takes effect. A field without a text is an error,
and so are two with the same.
"""

import ast
import inspect
import json
import sys
import textwrap
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from jingle_hnt.jingle.budgets import BUDGETS, FIXED, BudgetPolicy
from jingle_hnt.settings.defaults import ENVIRONMENT
from jingle_hnt.settings.model import IceRuleOptions, InterfaceOptions, ServerOptions, Settings
from jingle_hnt.settings.reload import needs_restart
from scripts.generated import run

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "configuration.md"
SAMPLE = ROOT / "config" / "jingle-hnt.toml"
HIDDEN = {"xmpp.secret"}
"""Options that are for the environment only."""

HEAD = f"""# Configuration

jingle-hnt reads one file, `/etc/jingle-hnt/jingle-hnt.toml`, in [TOML](https://toml.io). Four
options have no default: `xmpp.component`, `xmpp.domains`, `xmpp.secret_file` and
`relay.interfaces`. `jingle-hnt init` asks for them. An unknown option is an error; the message
names the option that was probably meant. `jingle-hnt check` tests the file and this host.
`jingle-hnt config show` prints the options in force, secrets hidden.

Environment variables take precedence over the file: `{ENVIRONMENT}GATE__POLICY` sets
`gate.policy`.

* Commas separate the members of a list, or the list is JSON. A table is JSON.
* An empty variable counts as not set.
* A variable that ends in `__FILE` names a file that holds the value.
* `{ENVIRONMENT}RELAY__INTERFACES` is a list of `ADDRESS` or `ADDRESS=ADVERTISE`. `auto` is this
  host's address towards the internet. `auto=203.0.113.9` is the same, and parties are told
  203.0.113.9.
* If the environment sets the options of `xmpp` and `relay`, no file is needed: see
  [Docker](docker.md).

The secret comes from systemd's credential `secret`. If there is none, it comes from
`xmpp.secret_file` (`{ENVIRONMENT}XMPP__SECRET__FILE`), and last from `{ENVIRONMENT}XMPP__SECRET`.
It is never read from a command line.

**Reload** says whether `jingle-hnt reload` (or SIGHUP) puts a change into force for new calls.
The other options need a restart; `reload` names those that wait for one. A file that cannot be
used changes nothing.

This page and the sample [jingle-hnt.toml](../config/jingle-hnt.toml) are made by
`scripts/options.py` from the program.
"""


SAMPLE_HEAD = """\
# jingle-hnt: every option. What is commented out shows its default.
# `jingle-hnt init` writes a short file with the four that have none; `jingle-hnt check` tests the
# rest. This file is made by scripts/options.py.
"""


def page() -> str:
    """The page of all options."""
    parts = [HEAD]
    for section, model in sections():
        parts.append("\n".join(_section(section, model)))
        if section == "budgets":
            parts.append("\n".join(_budgets()))
    return "\n".join(parts)


def sample() -> str:
    """The sample configuration."""
    parts = [SAMPLE_HEAD]
    for section, model in sections():
        words = (model.__doc__ or "").strip().splitlines()[0]
        parts.append(f"\n[{section}]\n# {words}\n")
        for option, field in options(section, model):
            text = texts(model)[option]
            parts += [f"\n{_commented(text)}", f"{_line(option, field)}\n"]
    return "".join(parts)


def sections() -> Iterator[tuple[str, type[BaseModel]]]:
    """The tables of the configuration by name."""
    for section, field in Settings.model_fields.items():
        model = field.annotation
        assert isinstance(model, type)
        assert issubclass(model, BaseModel)
        yield section, model


def options(section: str, model: type[BaseModel]) -> Iterator[tuple[str, FieldInfo]]:
    """The options of a table by name, those of the environment left out."""
    for option, field in model.model_fields.items():
        if f"{section}.{option}" not in HIDDEN:
            yield option, field


def texts(model: type[BaseModel]) -> dict[str, str]:
    """The text below each field of a table, with those that it has from the classes above."""
    found: dict[str, str] = {}
    for kind in reversed(model.__mro__):
        if kind is BaseModel or not issubclass(kind, BaseModel):
            continue
        (tree,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
        assert isinstance(tree, ast.ClassDef)
        for field, text in zip(tree.body, tree.body[1:], strict=False):
            match field, text:
                case ast.AnnAssign(target=ast.Name(name)), ast.Expr(ast.Constant(str(words))):
                    found[name] = inspect.cleandoc(words)
    return found


def faults() -> Iterator[str]:
    """What is wrong with the entries."""
    seen: dict[str, str] = {}
    for section, model in sections():
        for option in model.model_fields:
            key, text = f"{section}.{option}", texts(model).get(option, "")
            if not text:
                yield f"{key}: write a text below the field"
            elif text in seen:
                yield f"{key} says what {seen[text]} says: write what is its own"
            seen[text] = key


def _commented(text: str) -> str:
    """A text as comment of the sample; an indented paragraph is an example."""
    lines = []
    for paragraph in text.split("\n\n"):
        if paragraph.startswith("    "):
            lines += paragraph.splitlines()
        else:
            words = " ".join(paragraph.split())
            lines += textwrap.wrap(words, 98, break_long_words=False, break_on_hyphens=False)
    return "".join(f"# {line}\n" for line in lines)


def _line(option: str, field: FieldInfo) -> str:
    if field.examples:
        return f"{option} = {_toml(field.examples[0])}"
    return f"#{option} = {_toml(field.get_default(call_default_factory=True))}"


def _toml(value: Any) -> str:
    match value:
        case dict():
            pairs = ", ".join(f"{name} = {_toml(member)}" for name, member in value.items())
            return f"{{ {pairs} }}"
        case list() | tuple():
            return f"[{', '.join(map(_toml, value))}]"
        case Path():
            return json.dumps(str(value))
    return json.dumps(value)


def _section(name: str, model: type[BaseModel]) -> Iterator[str]:
    yield f"## [{name}]\n"
    yield f"{(model.__doc__ or '').strip().splitlines()[0]}\n"
    yield "| option | type | default | reload | |"
    yield "| --- | --- | --- | --- | --- |"
    for option, field in options(name, model):
        row = (
            f"`{option}`",
            _type(field.annotation),
            _default(field),
            "no" if needs_restart(f"{name}.{option}") else "yes",
            _cell(texts(model)[option]),
        )
        yield "| " + " | ".join(row) + " |"
    yield ""


def _cell(text: str) -> str:
    """A text as a cell of a table."""
    words = []
    for paragraph in text.split("\n\n"):
        flat = " ".join(paragraph.split())
        words.append(f"`{flat}`" if paragraph.startswith("    ") else flat)
    return " ".join(words).replace("|", "\\|")


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
    if annotation in (IceRuleOptions, InterfaceOptions, ServerOptions, SecretStr):
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


def pages() -> dict[Path, str]:
    """The page and the sample configuration."""
    return {PAGE: page().rstrip() + "\n", SAMPLE: sample()}


def main() -> int:
    """Write both, or with --check tell whether they are out of date."""
    return run(__doc__, "python -m scripts.options", pages, faults)


if __name__ == "__main__":
    sys.exit(main())
