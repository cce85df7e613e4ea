"""Toys that show where the house has room: each is new files and a line in a table.

A `Toy` is its own diff. It is laid over a copy of the package, where `lint-imports` holds the walls
and a play shows that the toy works.
"""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Toy:
    """`files` says where each file of this folder goes, `lines` what is added to which table behind
    which of its lines; what that names is imported at the table's beginning.

    All of it is the toy: nothing else of the package is touched.
    """

    files: dict[str, str]
    lines: tuple[tuple[str, str, str, str], ...]
    play: str

    def laid_over(self, root: Path) -> Path:
        """A copy of the package with the toy in it."""
        shutil.copy(ROOT / "pyproject.toml", root)
        shutil.copytree(
            ROOT / "jingle_hnt",
            root / "jingle_hnt",
            ignore=shutil.ignore_patterns("__pycache__", "*.so", "*.c", "*.h"),
        )
        for file, place in self.files.items():
            assert not (root / place).exists(), f"{place} is no new file"
            shutil.copy(Path(__file__).parent / file, root / place)
        for place, after, line, imported in self.lines:
            before = (root / place).read_text()
            assert before.count(after) == 1
            assert line.count("\n") == 1
            added = before.replace(after, f"{after}{line}")
            head, mark, rest = added.partition("\nfrom jingle_hnt.")
            (root / place).write_text(f"{head}\n{imported}{mark}{rest}")
        return root

    def walls_hold(self, root: Path) -> bool:
        """Whether the import contracts hold with the toy in the package."""
        linter = Path(sys.executable).with_name("lint-imports")
        return _run([str(linter), "--no-cache"], root).returncode == 0

    def played(self, root: Path) -> Any:
        """What the toy's play says it has seen."""
        done = _run([sys.executable, str(Path(__file__).parent / self.play)], root)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])


def _run(command: list[str], root: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root), "COLUMNS": "400"},
        capture_output=True,
        text=True,
        check=False,
    )
