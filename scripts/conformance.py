"""Makes docs/conformance.md and docs/clients.md.

The first comes from docs/rules.toml and the tests that carry a rule's mark, the second from the
table of quirks in `jingle_hnt/model/compat.py` and from what `scripts/browsers --record` wrote.
`python -m scripts.conformance` writes the pages,
`--check` says whether they are up to date. A rule that has neither a test nor a reason, and a mark
that names no rule, are errors.
"""

import contextlib
import io
import sys
import tomllib
from pathlib import Path

import pytest

from jingle_hnt.model.compat import COMPAT
from scripts.generated import run

ROOT = Path(__file__).parent.parent
HEAD = """\
# Conformance

Made from [rules.toml](rules.toml) and from the tests that carry a rule's mark, by
`python -m scripts.conformance`. L: latching (RFC 7362). G: gating (media-path-middleboxes).
I: ICE on the media path (RFC 7584). J: Jingle (XEP-0166, 0167, 0177, 0278).

| rule | what it asks | source | shown by |
| --- | --- | --- | --- |
"""

CLIENTS_HEAD = """\
# Clients

What real clients and servers do beside the specifications, and what jingle-hnt does about it.
Made from `jingle_hnt/model/compat.py` by `python -m scripts.conformance`; each row has a test of
its name in `tests/fronts/xmpp/test_compat.py`.

| quirk | who | what it does | what we do |
| --- | --- | --- | --- |
"""

MEASURED = ROOT / "tests" / "lab" / "browser" / "measured.md"
BROWSERS_HEAD = """
## Browsers

Both parties are stanza.js in a real browser, behind symmetric NATs, with no path but the relay. A
column is what a user does, and the time until media of all contents is heard at both ends after it.
`audio` lasts from the call to half a second of sound; video counts from its tenth packet. `mute`
and `hold` are put on and taken off, `restart` is one of ICE, and in `refusal` the caller rejects a
content that the callee adds. The figures grow with how busy the machine is.

"""

Rule = dict[str, str]


class Marks:
    """A pytest plugin that gathers which test shows which rule."""

    def __init__(self) -> None:
        self.tests: dict[str, set[str]] = {}

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        for item in items:
            for mark in item.iter_markers("rule"):
                for rule in mark.args:
                    self.tests.setdefault(rule, set()).add(item.nodeid.partition("[")[0])


def collect() -> dict[str, set[str]]:
    """The tests of every rule, by collecting the suite without running it."""
    marks = Marks()
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        code = pytest.main(["--collect-only", "-q", "-p", "no:cacheprovider"], plugins=[marks])
    if code != pytest.ExitCode.OK:
        raise SystemExit(f"the tests cannot be collected:\n{said.getvalue()[-2000:]}")
    return marks.tests


def page(rules: list[Rule], tests: dict[str, set[str]]) -> str:
    """The page in Markdown. Raises SystemExit for rules and marks that do not fit together."""
    unknown = sorted(set(tests) - {rule["id"] for rule in rules})
    if unknown:
        raise SystemExit(f"marks that name no rule of docs/rules.toml: {', '.join(unknown)}")
    return HEAD + "".join(_row(rule, tests.get(rule["id"], set())) for rule in rules)


def _row(rule: Rule, tests: set[str]) -> str:
    shown = "<br>".join(f"`{test.removeprefix('tests/')}`" for test in sorted(tests))
    if reason := rule.get("not_yet"):
        shown = f"**not yet**: {reason}" + (f"<br>{shown}" if shown else "")
    elif reason := rule.get("not_ours"):
        shown = f"does not apply: {reason}"
    elif not shown:
        raise SystemExit(f"rule {rule['id']} has no test and no reason")
    return f"| {rule['id']} | {rule['text']} | {rule['source']} | {shown} |\n"


def clients() -> str:
    """The page of quirks, and of calls between browsers, in Markdown."""
    rows = (f"| {q.id} | {q.who} | {q.does} | {q.we} |\n" for q in COMPAT)
    quirks = CLIENTS_HEAD + "".join(rows).replace("<trying/>", "`<trying/>`")
    return quirks + BROWSERS_HEAD + MEASURED.read_text()


def pages() -> dict[Path, str]:
    """Both pages."""
    rules = tomllib.loads((ROOT / "docs" / "rules.toml").read_text())["rule"]
    docs = ROOT / "docs"
    return {docs / "conformance.md": page(rules, collect()), docs / "clients.md": clients()}


def main() -> int:
    """Write the pages, or with --check tell whether they are out of date."""
    return run(__doc__, "python -m scripts.conformance", pages)


if __name__ == "__main__":
    sys.exit(main())
