"""The walls between rooms: what is forbidden is seen, wherever it is written."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts import rooms, walls

ROOT = Path(__file__).parent.parent

pytestmark = pytest.mark.timeout(300)  # two seconds of work; a busy machine takes its time

FORBIDDEN = (
    ("admin/metrics.py", "jingle_hnt.fronts.xmpp.codec"),
    ("call/life.py", "jingle_hnt.model.jid"),
    ("commands/page.py", "jingle_hnt.cli"),
    ("errors.py", "jingle_hnt.model.jid"),
    ("fronts/outgoing.py", "jingle_hnt.fronts.xmpp.pending_requests"),
    ("fronts/xmpp/codec.py", "jingle_hnt.plane.api"),
    ("jingle/table.py", "jingle_hnt.store.journal"),
    ("log.py", "jingle_hnt.errors"),
    ("model/jid.py", "jingle_hnt.relay.pace"),
    ("plane/api.py", "jingle_hnt.jingle.effects"),
    ("process/lock.py", "jingle_hnt.settings.defaults"),
    ("relay/pace.py", "jingle_hnt.log"),
    ("settings/defaults.py", "jingle_hnt.app"),
    ("store/private.py", "jingle_hnt.admin.call_counters"),
    ("admin/paths.py", "slixmpp"),
    ("plane/engines.py", "aioice"),
    ("relay/owner.py", "time"),
    ("app/host.py", "sqlite3"),
)
"""Where, and what is imported there that is not to be; one of them for each room and library."""

UNKNOWN = "upstairs"


def crossings() -> Iterator[tuple[str, str]]:
    """One import from each room into each other one that the table does not allow it."""
    may = rooms.allowed(rooms.contracts())
    for room, others in may.items():
        for other in may:
            if other not in {room, *others} and f"jingle_hnt.{other}" != "jingle_hnt.__main__":
                yield file_of(room), f"jingle_hnt.{other}"


def file_of(room: str) -> str:
    """A file of a room."""
    path = ROOT / "jingle_hnt" / room
    return f"{room}/__init__.py" if path.is_dir() else f"{room}.py"


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What the linter says of a copy of the package with what is forbidden and a new module."""
    root = copied(tmp_path_factory.mktemp("walls"))
    for place, name in (*FORBIDDEN, *crossings()):
        write(root, place, f"import {name}")
    (root / "jingle_hnt" / f"{UNKNOWN}.py").write_text("")
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root), "COLUMNS": "400"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    return done.stdout


def copied(root: Path) -> Path:
    shutil.copy(ROOT / "pyproject.toml", root)
    for path in sorted((ROOT / "jingle_hnt").rglob("*.py")):
        to = root / path.relative_to(ROOT)
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, to)
    return root


def write(root: Path, place: str, line: str) -> None:
    path = root / "jingle_hnt" / place
    path.write_text(f"{path.read_text()}\n{line}\n")


def is_told(said: str, place: str, name: str) -> bool:
    module = "jingle_hnt." + place.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    seen = (
        rf"(?<![\w.]){re.escape(module)} (->|is not allowed to import) {re.escape(name)}(?![\w.])"
    )
    return re.search(seen, said) is not None


@pytest.mark.parametrize(("place", "name"), FORBIDDEN)
def test_a_forbidden_import_breaks_a_contract(said: str, place: str, name: str) -> None:
    assert is_told(said, place, name)


def test_every_import_that_the_table_does_not_allow_breaks_a_contract(said: str) -> None:
    tried = list(crossings())
    assert len(tried) > 80
    assert [one for one in tried if not is_told(said, *one)] == []


def test_every_pure_room_is_in_its_contract() -> None:
    pure = next(c for c in rooms.contracts() if "structlog" in c.get("forbidden_modules", ()))
    assert {f"jingle_hnt.{room}" for room in walls.PURE} == set(pure["source_modules"])


def test_a_module_that_no_layer_names_breaks_a_contract(said: str) -> None:
    assert re.search(rf"^.*\b{UNKNOWN}\b.*$", said, re.MULTILINE)


def test_every_room_is_imported_from_where_it_is_not_to_be() -> None:
    tried = {place.split("/")[0].removesuffix(".py") for place, _ in FORBIDDEN}
    missing = set(rooms.allowed(rooms.contracts())) - tried
    assert missing == {"__main__", "cli"}  # they may import everything


def test_siblings_and_what_is_forbidden_are_not_in_the_table() -> None:
    may = rooms.allowed(rooms.contracts())
    assert "admin" not in may["fronts"]
    assert "jingle" in may["fronts"]
    assert not {"jingle", "call"} & set(may["plane"])
    assert may["errors"] == []


def page(*lines: str) -> str:
    return "\n".join(["# Rooms", "", rooms.HEAD, "| --- | --- | --- |", *lines, "", "Then", ""])


def test_the_last_column_is_made_of_the_contract() -> None:
    contract = {"type": "layers", "layers": ["cli", "app | log", "errors"]}
    rows = [f"| `{name}` | it | old |" for name in ("cli.py", "app/", "log.py", "errors.py")]
    made = list(rooms.table(page(*rows), [contract]))
    assert made[4] == "| `cli.py` | it | `app/`, `log.py`, `errors.py` |"
    assert made[5] == "| `app/` | it | `errors.py` |"
    assert made[-1] == "Then"


@pytest.mark.parametrize(
    "rows", [("| `app/` | it | |",), ("| `app/` | it | |", "| `cli.py` | it | |")]
)
def test_a_table_without_a_room_or_in_another_order_is_a_fault(rows: tuple[str, ...]) -> None:
    contract = {"type": "layers", "layers": ["cli", "app"]}
    with pytest.raises(ValueError, match="the rows are to be cli, app"):
        list(rooms.table(page(*rows), [contract]))


def test_circles_are_found() -> None:
    graph = {"a": ["b"], "b": ["c", "d"], "c": ["a"], "d": ["e"], "e": ["d"], "f": ["a", "f"]}
    assert walls.circles(graph) == [["a", "b", "c"], ["d", "e"]]
    assert walls.circles({"a": ["b", "c"], "b": ["d"], "c": ["d"], "d": []}) == []


def test_c_files_that_call_each_other_are_a_circle() -> None:
    sources = {
        "a.c": "int hnt_a(int x)\n{\n    return hnt_b(x);\n}\n",
        "b.c": "static int help(void)\n{\n}\n\nconst char *hnt_b(int x)\n{\n    hnt_a(x);\n}\n",
        "c.c": "void hnt_c(int x)\n{\n    hnt_a(x); /* not hnt_d */\n}\n",
        "d.c": "void hnt_d(int x)\n{\n    hnt_c(x);\n}\n",
    }
    assert walls.circles(walls.called(sources)) == [["a.c", "b.c"]]


def test_headers_that_include_each_other_are_a_circle() -> None:
    one, other = '#include "io/b.h"\n', '#include "rules/a.h"\n'
    sources = {"rules/a.h": one, "io/b.h": other, "io/c.h": other}
    assert walls.circles(walls.included(sources)) == [["io/b.h", "rules/a.h"]]


def test_rules_in_c_know_neither_sockets_nor_python() -> None:
    sources = {
        "rules/a.c": '#include "io/b.h"\n#include <sys/socket.h>\n#include <string.h>\n',
        "io/b.c": '#include "rules/a.h"\n#include "python/c.h"\n#include <sys/socket.h>\n',
        "python/c.c": '#include "io/b.h"\n#include "rules/a.h"\n',
    }
    assert list(walls.misplaced(sources)) == [
        "rules/a.c includes io/b.h, which is above it",
        "rules/a.c is a rule, and includes sys/socket.h",
        "io/b.c includes python/c.h, which is above it",
    ]


LATE = "import importlib\nimportlib.import_module('a')\n"

PROJECT = """
[[tool.setuptools.ext-modules]]
name = "jingle_hnt.plane._engine"
sources = []
depends = ["native/gone.h"]
"""


@pytest.fixture
def package(tmp_path: Path) -> Path:
    for name in ("__init__", "model/__init__", "model/a", "model/b", "store"):
        path = tmp_path / "jingle_hnt" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    return tmp_path


def faults(package: Path) -> list[str]:
    """In a process of its own: a package of this name is loaded in ours."""
    words = [sys.executable, str(ROOT / "scripts" / "walls.py"), str(package)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == bool(done.stderr)
    return done.stderr.splitlines()


def test_what_the_contracts_cannot_see_is_found(package: Path) -> None:
    assert faults(package) == []
    checking = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    "
    write(package, "model/a.py", "import jingle_hnt.model.b\n\nclass Twice: ...\n")
    write(package, "model/b.py", f"import subprocess\n{checking}import jingle_hnt.model.a")
    (package / "pyproject.toml").write_text(PROJECT)
    write(
        package,
        "store.py",
        "import importlib\nimportlib.import_module('a')\nclass Twice: ...\nclass _Own: ...\n",
    )
    native = package / "jingle_hnt" / "plane" / "native"
    native.mkdir(parents=True)
    (native / "silent.c").write_text("int x;\n")
    circle, impure, late, unknown, gone, silent, name = faults(package)
    assert circle.endswith("in a circle: jingle_hnt.model.a, jingle_hnt.model.b")
    assert impure == "jingle_hnt.model.b is pure and imports subprocess"
    assert late.startswith("store.py imports by name")
    assert unknown == "jingle_hnt/plane/native/silent.c is not in the ext-modules of pyproject.toml"
    assert gone.startswith("native/gone.h is only in the ext-modules")
    assert silent.startswith("silent.c does not begin with a comment")
    assert name.startswith("two public classes are called Twice: ")
