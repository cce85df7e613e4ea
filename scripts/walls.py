"""Finds what the import contracts cannot: circles of files, libraries in pure rooms, shared names.

    scripts/walls.py [ROOT]

* No circle of Python modules, imports under TYPE_CHECKING included.
* No circle of C files: neither by `#include` nor by functions that one file calls in another.
* No import by name, which a contract does not see, but of the command that is given.
* The pure rooms import only what is named here of the standard library.
* The rules in C ask the system for nothing, and know neither sockets nor Python.
* Every C file is in pyproject.toml.
* Every C file begins with a comment that says what it is for.
* No two public classes of the package bear the same name.
"""

import ast
import re
import sys
import tomllib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import grimp

ROOT = Path(__file__).parent.parent
NATIVE = "jingle_hnt/plane/native"

FLOORS = ("python", "io", "rules")
"""Folders of the native engine, from top to bottom: a file includes its own and those below."""

PURE = ("errors", "model", "jingle", "call", "relay")
"""Rooms that know no clock, socket, log, XML or library."""

HARMLESS = {
    *("abc", "base64", "binascii", "bisect", "collections", "contextlib", "dataclasses", "enum"),
    *("fnmatch", "functools", "hashlib", "heapq", "hmac", "ipaddress", "itertools", "math"),
    *("operator", "re", "struct", "typing", "zlib"),
}
"""What the pure rooms may import beside each other: functions of their arguments."""

LATE = {"cli.py"}
"""Who may load a module by its name: the one of the command that is given."""

EXCEPTIONS = {("jingle_hnt.relay.srtp", "cryptography"): "AES of a kept library (RFC 3711 keys)"}

Graph = Mapping[str, Iterable[str]]


def circles(graph: Graph) -> list[list[str]]:
    """The sets of nodes that reach each other (Tarjan's strongly connected components)."""
    number: dict[str, int] = {}
    lowest: dict[str, int] = {}
    path: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        number[node] = lowest[node] = len(number)
        path.append(node)
        for other in graph.get(node, ()):
            if other not in number:
                visit(other)
                lowest[node] = min(lowest[node], lowest[other])
            elif other in path:
                lowest[node] = min(lowest[node], number[other])
        if lowest[node] == number[node]:
            circle = path[path.index(node) :]
            del path[path.index(node) :]
            if len(circle) > 1:
                found.append(sorted(circle))

    for node in graph:
        if node not in number:
            visit(node)
    return sorted(found)


def python_graph(root: Path) -> dict[str, list[str]]:
    """Which module imports which, imports for types included."""
    sys.path.insert(0, str(root))
    try:
        graph = grimp.build_graph(
            "jingle_hnt",
            cache_dir=None,
            include_external_packages=True,
            exclude_type_checking_imports=False,
        )
    finally:
        sys.path.remove(str(root))
    return {
        module: sorted(graph.find_modules_directly_imported_by(module))
        for module in sorted(graph.modules)
    }


def included(sources: Mapping[str, str]) -> dict[str, list[str]]:
    """Which C file includes which."""
    return {
        name: re.findall(r'^#include "([^"]+)"', text, re.MULTILINE)
        for name, text in sources.items()
    }


def called(sources: Mapping[str, str]) -> dict[str, list[str]]:
    """Which C file names a function that another one defines."""
    home = {
        function: name
        for name, text in sources.items()
        if name.endswith(".c")
        for function in re.findall(
            r"^(?!static)[a-z][\w \*]*?\b(hnt_\w+)\([^;{]*\)\n\{", text, re.M
        )
    }
    found: dict[str, list[str]] = {}
    for name, text in sources.items():
        if name.endswith(".c"):
            used = re.findall(r"\bhnt_\w+\b", _code(text))
            found[name] = sorted({home[f] for f in used if f in home} - {name})
    return found


def misplaced(sources: Mapping[str, str]) -> Iterator[str]:
    """C files that include what is above them, or rules that ask the system for anything."""
    for name, text in sources.items():
        floor = name.split("/")[0]
        above = FLOORS[: FLOORS.index(floor)] if floor in FLOORS else ()
        for other in re.findall(r'^#include ["<]([^">]+)[">]', text, re.MULTILINE):
            if other.split("/")[0] in above:
                yield f"{name} includes {other}, which is above it"
            elif floor == "rules" and re.match(
                r"(linux|netinet|sys)/|(fcntl|time|unistd)\.h", other
            ):
                yield f"{name} is a rule, and includes {other}"


def _code(text: str) -> str:
    return re.sub(r"/\*.*?\*/|//[^\n]*", "", text, flags=re.DOTALL)


def class_names(root: Path) -> dict[str, list[str]]:
    """Where each public class is defined."""
    found = defaultdict(list)
    for path in sorted((root / "jingle_hnt").rglob("*.py")):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                found[node.name].append(str(path.relative_to(root)))
    return found


def late_imports(root: Path) -> Iterator[str]:
    """Modules that load others by name, which no contract sees, but for `LATE`."""
    for path in sorted((root / "jingle_hnt").rglob("*.py")):
        name = str(path.relative_to(root / "jingle_hnt"))
        late = re.search(r"\b(import_module|__import__)\(", path.read_text())
        if late and name not in LATE:
            yield f"{name} imports by name, where no contract sees it; write an import"


def unbuilt(root: Path, sources: Iterable[str]) -> Iterator[str]:
    """C files that the build does not know, or would not be made anew for."""
    if not (root / "pyproject.toml").exists():
        return
    project = tomllib.loads((root / "pyproject.toml").read_text())
    (extension,) = project["tool"]["setuptools"]["ext-modules"]
    listed = {*extension["sources"], *extension["depends"]}
    own = {f"{NATIVE}/{name}" for name in sources}
    for name in sorted(own ^ listed):
        where = "not in" if name in own else "only in"
        yield f"{name} is {where} the ext-modules of pyproject.toml"


def faults(root: Path) -> Iterator[str]:
    """What is wrong, each in a line."""
    yield from python_faults(root)
    native = root / NATIVE
    yield from native_faults(
        {str(p.relative_to(native)): p.read_text() for p in sorted(native.rglob("*.[ch]"))}, root
    )
    for name, places in class_names(root).items():
        if len(places) > 1:
            yield f"two public classes are called {name}: {', '.join(places)}"


def python_faults(root: Path) -> Iterator[str]:
    """Circles of modules, and what pure rooms import beside the package."""
    graph = python_graph(root)
    ours = {module: others for module, others in graph.items() if module.startswith("jingle_hnt")}
    for circle in circles(ours):
        yield f"modules import each other in a circle: {', '.join(circle)}"
    for module, others in ours.items():
        if module.partition(".")[2].partition(".")[0] not in PURE:
            continue
        for other in sorted(set(others) - ours.keys() - HARMLESS):
            if (module, other) not in EXCEPTIONS:
                yield f"{module} is pure and imports {other}"
    yield from late_imports(root)


def native_faults(sources: Mapping[str, str], root: Path) -> Iterator[str]:
    """What is wrong with the files of the native engine."""
    for kind, found in (("include", included(sources)), ("call", called(sources))):
        for circle in circles(found):
            yield f"C files {kind} each other in a circle: {', '.join(circle)}"
    yield from misplaced(sources)
    yield from unbuilt(root, sources)
    for name, text in sources.items():
        if name.endswith(".c") and not text.startswith("/*"):
            yield f"{name} does not begin with a comment that says what it is for"


def main() -> int:
    """Print what is wrong; 1 if anything is."""
    found = list(faults(Path(sys.argv[1]) if sys.argv[1:] else ROOT))
    print("\n".join(found), end="\n" if found else "", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
