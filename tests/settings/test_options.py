"""One entry for each option: its text, when it takes effect, and the policy that has it."""

import inspect
import os
import re
import shutil
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from jingle_hnt.call.policy import Times
from jingle_hnt.jingle.policy import SessionPolicy
from jingle_hnt.settings.file import load
from jingle_hnt.settings.model import Settings
from jingle_hnt.settings.reload import is_alterable, leaves, needs_restart
from jingle_hnt.settings.wiring import session_policy
from tests.settings.test_config import NEEDED

ROOT = Path(__file__).parent.parent.parent
COPIED = ("jingle_hnt", "scripts", "config", "docs", "CONTRIBUTING.md", "pyproject.toml")
HERE = {"own", "max_kbps"}
"""What a policy has from another table, or from no option."""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    file = tmp_path / "jingle-hnt.toml"
    file.write_text(NEEDED + "[relay_nodes]\nenabled = true\n")
    return load(file)


def test_each_field_of_a_policy_is_an_option_of_its_table(settings: Settings) -> None:
    policy = session_policy(settings)
    for table in fields(SessionPolicy):
        value, name = getattr(policy, table.name), table.name.replace("peers", "relay")
        if name in ("domains", "guests", "apart"):  # of all servers, and of who calls otherwise
            continue
        options = type(getattr(settings, name)).model_fields
        names = {field.name for field in fields(value) if field.init} - HERE
        assert names <= set(options), table.name


def test_options_and_policies_have_the_same_defaults(settings: Settings) -> None:
    made = session_policy(settings)
    for table in fields(SessionPolicy):
        value = getattr(made, table.name)
        for field in fields(value) if hasattr(value, "__dataclass_fields__") else ():
            if field.init and field.name not in HERE:
                assert getattr(value, field.name) == getattr(type(value)(), field.name), field.name


def test_an_option_is_set_or_needs_a_restart_or_is_the_files_alone(settings: Settings) -> None:
    keys = [key for key, _ in leaves(settings)]
    assert not any(is_alterable(key) and needs_restart(key) for key in keys)
    files = {k.partition(".")[0] for k in keys if not is_alterable(k) and not needs_restart(k)}
    assert files == {"admin", "log"}


ADD = """
import sys
from pathlib import Path
from jingle_hnt.{reading} import load
from jingle_hnt.{reload} import Reloader
from jingle_hnt.{wiring} import session_policy
file = Path(sys.argv[1])
reloader = Reloader(load(file), lambda: load(file))
print(session_policy(reloader.settings).times.toy_s)
reloader.alter("times.toy_s", "8")
print(session_policy(reloader.settings).times.toy_s, reloader.followed()["times.toy_s"])
print(reloader.reload())
"""


@pytest.mark.timeout(300)
def test_an_option_is_added_as_the_recipe_says(tmp_path: Path) -> None:
    """In a copy: docs, sample, reload and policy follow from two fields of the same name."""
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, tmp_path / name, symlinks=True)
        else:
            shutil.copy(source, tmp_path / name)
    recipe = (ROOT / "CONTRIBUTING.md").read_text().partition("### Add an option\n")[2]
    recipe = recipe.partition("\n###")[0].partition("\n\n`python")[0]
    assert len(re.findall(r"^\d\. ", recipe, re.MULTILINE)) == 3
    named = [str(Path(inspect.getfile(kind)).relative_to(ROOT)) for kind in (Settings, Times)]
    assert all(f"`{name}`" in recipe for name in named)
    for name, field in (
        (named[0], '    toy_s: Seconds = 7.0\n    """Seconds that a toy lasts."""\n'),
        (named[1], "    toy_s: float = 7.0\n"),
    ):
        path = tmp_path / name
        before = path.read_text()
        after = re.sub(
            r"(class Times\w*\b.*?)(?=^    setup_s)",
            rf"\1{field}",
            before,
            count=1,
            flags=re.S | re.M,
        )
        assert after != before, name
        path.write_text(after)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    page = [sys.executable, "-m", "scripts.options"]
    subprocess.run(page, env=environment, cwd=tmp_path, check=True, timeout=150)
    row = "| `toy_s` | number | `7.0` | yes | Seconds that a toy lasts. |"
    assert row in (tmp_path / "docs" / "configuration.md").read_text()
    sample = (tmp_path / "config" / "jingle-hnt.toml").read_text()
    assert "\n# Seconds that a toy lasts.\n#toy_s = 7.0\n" in sample
    file = tmp_path / "used.toml"
    file.write_text(NEEDED + "[times]\ntoy_s = 3\n")
    code = ADD.format(
        reading=load.__module__.removeprefix("jingle_hnt."),
        reload=leaves.__module__.removeprefix("jingle_hnt."),
        wiring=session_policy.__module__.removeprefix("jingle_hnt."),
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(file)],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        timeout=150,
    )
    assert done.stdout.splitlines() == ["3.0", "8.0 8.0", "(('times.toy_s',), ())"]


@pytest.mark.timeout(200)
def test_each_text_is_its_own() -> None:
    """`scripts/lint` asks the same of every option."""
    done = subprocess.run(
        [sys.executable, "-m", "scripts.options", "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=150,
    )
    assert (done.returncode, done.stdout) == (0, "")
