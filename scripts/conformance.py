"""Makes docs/conformance.md from docs/rules.toml and the tests that carry a rule's mark.

`python scripts/conformance.py` writes the page, `--check` says whether it is up to date. A rule
that has neither a test nor a reason, and a mark that names no rule, are errors.
"""

import argparse
import contextlib
import io
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "conformance.md"
HEAD = """\
# Conformance

Made from [rules.toml](rules.toml) and from the tests that carry a rule's mark, by
`python scripts/conformance.py`. L: latching (RFC 7362). G: gating (media-path-middleboxes).
I: ICE on the media path (RFC 7584). J: Jingle (XEP-0166, 0167, 0177, 0278).

| rule | what it asks | source | shown by |
| --- | --- | --- | --- |
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


def main() -> int:
    """Write the page, or with --check tell whether it is out of date."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if out of date")
    check = parser.parse_args().check
    rules = tomllib.loads((ROOT / "docs" / "rules.toml").read_text())["rule"]
    text = page(rules, collect())
    current = PAGE.exists() and PAGE.read_text() == text
    if check:
        if not current:
            print("docs/conformance.md is out of date; run `python scripts/conformance.py`")
        return 0 if current else 1
    PAGE.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
