"""The modules are written as each project's own: what its tools and its readers expect.

`scripts/lint-modules` runs dialyzer as well, which takes minutes.
"""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.lab.ejabberd import LIBRARIES, PACKAGE, compiled

ROOT = Path(__file__).resolve().parents[3]
LUA = ROOT / "config/prosody"
SOURCE = PACKAGE / "src/mod_jingle_hnt.erl"


def run(*command: str, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.skipif(shutil.which("luacheck") is None, reason="apt-get install lua-check")
def test_luacheck_finds_nothing_and_only_what_prosody_offers_is_used() -> None:
    rules = str(LUA / ".luacheckrc")
    run("luacheck", "--no-color", "--config", rules, str(LUA / "mod_jingle_hnt.lua"))


def test_its_page_begins_as_those_of_prosody_modules() -> None:
    front, rest = (LUA / "README.md").read_text().removeprefix("---\n").split("\n...\n", 1)
    told = yaml.safe_load(front)
    assert told["summary"]
    assert any(label.startswith("Stage-") for label in told["labels"])
    for heading in ("Introduction", "Configuration", "Compatibility"):
        assert f"\n# {heading}\n" in rest


def test_every_option_is_on_its_page_and_no_other() -> None:
    options = set(re.findall(r"get_option_\w+\(\"(jingle_hnt_\w+)\"", _text("mod_jingle_hnt.lua")))
    told = set(re.findall(r"^\| `(jingle_hnt_\w+)`", _text("README.md"), re.M))
    assert options == told
    page = (PACKAGE / "README.md").read_text()
    options = set(re.findall(r"^mod_opt_type\((\w+)\)", SOURCE.read_text(), re.M))
    assert options == set(re.findall(r"^\* `(\w+): ", page, re.M))
    general = (ROOT / "config/ejabberd/README.md").read_text()
    assert options == set(re.findall(r"^\| `(\w+)` \|", general, re.M))


def _text(name: str) -> str:
    return (LUA / name).read_text()


def test_its_package_has_what_those_of_ejabberd_contrib_have() -> None:
    spec = yaml.safe_load((PACKAGE / "mod_jingle_hnt.spec").read_text())
    assert set(spec) == {"author", "category", "summary", "home", "url"}
    assert all(spec.values())
    page = (PACKAGE / "README.md").read_text().splitlines()
    assert page[0] == f"mod_jingle_hnt - {spec['summary']}"
    assert page[1] == "=" * len(page[0])
    assert "* Requires: ejabberd 23.01 or higher" in page
    assert {path.name for path in PACKAGE.iterdir()} >= {"COPYING", "conf", "src"}


@pytest.mark.skipif(shutil.which("erl") is None, reason="apt-get install ejabberd")
def test_xref_finds_no_call_of_what_is_not_there_or_going() -> None:
    module = compiled() / "mod_jingle_hnt"
    found = f'io:format("~0p", [xref:m("{module}")]), halt().'
    text = run("env", f"ERL_LIBS={LIBRARIES}", "erl", "-noshell", "-eval", found)
    assert text == "[{deprecated,[]},{undefined,[]},{unused,[]}]"
