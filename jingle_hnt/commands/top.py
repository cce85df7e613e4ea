"""top: the calls that go on, live: a line each, trouble first, and one in full on demand.

Keys are read one by one where standard input is a terminal. What the view does with them is in
`View`, which knows neither keyboard nor screen.
"""

import argparse
import contextlib
import os
import select
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from jingle_hnt.commands.asking import Answer, as_json, ask
from jingle_hnt.commands.inspect import causes, explanation_lines
from jingle_hnt.commands.screen import columns, console, printable
from jingle_hnt.model.commands import ORDERS

if TYPE_CHECKING:
    from rich.text import Text

    from jingle_hnt.commands.lines import Line, Pen, Trails

HELP = "q quit  s sort  / filter  up/down choose  enter details"
DETAILS_HELP = "q quit  up/down scroll  enter back"

UNHURRIED = 5.0
"""A look takes no more than one part of so many of the time: the process has calls to serve."""

ESCAPES = {"\x1b[A": "up", "\x1b[B": "down", "\x1b[5~": "page-up", "\x1b[6~": "page-down"}
ESCAPES |= {"\x1bOA": "up", "\x1bOB": "down", "\x1b": "escape"}
PLAIN = {"\r": "enter", "\n": "enter", "\x7f": "rubout", "\x08": "rubout"}
MOVES = {"up": -1, "down": 1, "k": -1, "j": 1}


@dataclass(slots=True)
class View:
    """The view of `top`: its calls, their order, and the chosen one, perhaps in full.

    `key` takes what was pressed, `frame` says what is to be seen then: lines and their styles.
    """

    sort: str = ORDERS[0]
    filter: str = ""
    is_typing: bool = False
    is_detailed: bool = False
    chosen: str = ""
    _shown: list[str] = field(default_factory=list)
    _first: int = 0
    _scroll: int = 0
    _page: int = 10

    def key(self, key: str) -> bool:
        """Do what a key is for; False where it is to end."""
        if self.is_typing:
            self._type(key)
            return True
        match key:
            case "q":
                return False
            case "s":
                self.sort = ORDERS[(ORDERS.index(self.sort) + 1) % len(ORDERS)]
            case "/":
                self.is_typing, self.filter = True, ""
            case "escape" if not self.is_detailed:
                self.filter = ""
            case "enter" | "escape":
                self.is_detailed = not self.is_detailed and bool(self._shown)
                self._scroll = 0
            case "page-up" | "page-down":
                self._move(self._page if key == "page-down" else -self._page)
            case _ if key in MOVES:
                self._move(MOVES[key])
        return True

    def _type(self, key: str) -> None:
        match key:
            case "enter":
                self.is_typing = False
            case "escape":
                self.is_typing, self.filter = False, ""
            case "rubout":
                self.filter = self.filter[:-1]
            case _ if len(key) == 1 and key.isprintable():
                self.filter += key

    def _move(self, steps: int) -> None:
        if self.is_detailed:
            self._scroll = max(0, self._scroll + steps)
        elif self._shown:
            now = self._shown.index(self.chosen) if self.chosen in self._shown else 0
            self.chosen = self._shown[max(0, min(len(self._shown) - 1, now + steps))]

    def frame(
        self, found: "list[Line]", pen: "Pen", height: int | None, details: list[str] | None = None
    ) -> list[tuple[str, str]]:
        """The lines of the screen, each with its style; all of them where it has no height."""
        from jingle_hnt.commands import lines

        if self.is_detailed and details is not None:
            return self._in_full(details, height)
        chosen = lines.ordered(found, self.sort, self.filter)
        self._shown = [line.name for line in chosen]
        if self.chosen not in self._shown:
            self.chosen = self._shown[0] if self._shown else ""
        room = len(chosen) if height is None else max(1, height - 4)
        self._page = room
        at = self._shown.index(self.chosen) if self._shown else 0
        self._first = max(0, min(self._first, at, max(0, len(chosen) - room)))
        self._first = max(self._first, at - room + 1)
        part = chosen[self._first : self._first + room]
        head, *rows = pen.draw(part)
        shown = [(self._title(found, chosen, part), "bold"), (head, "dim")]
        for line, row in zip(part, rows, strict=True):
            style = "red" if line.is_bad else ""
            if height is not None and line.name == self.chosen:
                style += " reverse"
            shown.append((row, style.strip()))
        shown.append((lines.legend(pen), "dim"))
        if height is not None:
            shown.append((f"filter: {self.filter}_" if self.is_typing else HELP, "dim"))
        return shown

    def _title(self, found: "list[Line]", chosen: "list[Line]", part: "list[Line]") -> str:
        bad = sum(line.is_bad for line in found)
        title = f"calls: {len(found)}, in trouble: {bad}, by {self.sort}"
        if self.filter:
            title += f", with {self.filter!r}: {len(chosen)}"
        if len(part) < len(chosen):
            title += f", {self._first + 1}-{self._first + len(part)} of {len(chosen)}"
        return title

    def _in_full(self, details: list[str], height: int | None) -> list[tuple[str, str]]:
        room = len(details) if height is None else max(1, height - 2)
        self._page = room
        self._scroll = max(0, min(self._scroll, len(details) - room))
        part = details[self._scroll : self._scroll + room]
        shown = [(line, "red" if line.startswith("*") else "") for line in part]
        return [*shown, (DETAILS_HELP, "dim")]


def watch(options: argparse.Namespace) -> int:
    """Look until `q` or an interrupt; 1 where nobody answers, 2 for an interval that is none."""
    if not 0.1 <= options.interval <= 60:
        print(f"--interval is {options.interval}: write 0.1 to 60 seconds", file=sys.stderr)
        return 2
    if options.json:
        answer = ask(options, "calls")
        if answer is not None:
            print(as_json(answer, options))
        return int(answer is None)
    from jingle_hnt.commands.lines import Trails

    view, trails = View(options.sort, options.filter), Trails()
    looks = _Looks(options, view, trails)
    if options.once:
        return looks.once()
    return looks.live()


class _Looks:
    """Asks for the calls again and again, and shows them."""

    def __init__(self, options: argparse.Namespace, view: View, trails: "Trails") -> None:
        self._options = options
        self._view = view
        self._trails = trails
        self._found: list[Line] = []
        self._took_s = 0.0

    def once(self) -> int:
        """Look twice, and print what is seen."""
        if not self._look():
            return 1
        time.sleep(self._options.interval)
        if not self._look():
            return 1
        for line, _ in self._view.frame(self._found, self._pen(), None):
            print(line)
        return 0

    def live(self) -> int:
        """Look and show until it is to end."""
        from rich.live import Live

        if not self._look():
            return 1
        with _keys() as pressed, Live(console=console(), screen=True, auto_refresh=False) as live:
            due = time.monotonic()
            while True:
                live.update(self._drawn(live.console.height), refresh=True)
                wait_s = max(self._options.interval, UNHURRIED * self._took_s)
                for key in pressed(max(0.0, due + wait_s - time.monotonic())):
                    if not self._view.key(key):
                        return 0
                if time.monotonic() >= due + wait_s:
                    due = time.monotonic()
                    if not self._look():
                        return 1

    def _look(self) -> bool:
        from jingle_hnt.commands import lines

        began = time.monotonic()
        answer = ask(self._options, "calls")
        self._took_s = time.monotonic() - began
        if answer is None:
            return False
        self._trails.look(answer, began)
        self._found = lines.lines(printable(answer), causes, self._trails, began)
        return True

    def _pen(self) -> "Pen":
        from jingle_hnt.commands import lines

        return lines.pen(columns(), sys.stdout.encoding, trails=True)

    def _drawn(self, height: int) -> "Text":
        from rich.text import Text

        details = self._details() if self._view.is_detailed else None
        text = Text(no_wrap=True, overflow="crop")
        for line, style in self._view.frame(self._found, self._pen(), height, details):
            text.append(line + "\n", style=style or None)
        return text

    def _details(self) -> list[str]:
        """The chosen call in full, cut to lines that fit."""
        found: Answer | None
        with contextlib.redirect_stderr(None):
            found = ask(self._options, "explain", call=self._view.chosen)
        if found is None:
            return ["this call is not known any more"]
        width = columns() or 10_000
        told = explanation_lines(printable(found), self._options.addresses)
        return [part for line in told for part in _folded(line, width)]


def _folded(line: str, width: int) -> Iterator[str]:
    """A line in parts of this width; what follows is indented."""
    indent = len(line) - len(line.lstrip()) + 2
    while len(line) > width:
        at = line.rfind(" ", indent, width)
        at = at if at > 0 else width
        yield line[:at]
        line = " " * indent + line[at:].lstrip()
    yield line


@contextlib.contextmanager
def _keys() -> Iterator[Callable[[float], list[str]]]:
    """A function that waits for keys for so many seconds at most; no keys without a terminal."""
    if not sys.stdin.isatty():
        yield lambda seconds: (time.sleep(seconds), [])[1]  # type: ignore[func-returns-value]
        return
    import termios
    import tty

    number = sys.stdin.fileno()
    before = termios.tcgetattr(number)
    tty.setcbreak(number)

    def pressed(seconds: float) -> list[str]:
        ready, _, _ = select.select([number], [], [], seconds)
        return list(keys(os.read(number, 1024).decode(errors="replace"))) if ready else []

    try:
        yield pressed
    finally:
        termios.tcsetattr(number, termios.TCSADRAIN, before)


def keys(text: str) -> Iterator[str]:
    """The keys that a terminal sends as this text: their names, or the character itself."""
    while text:
        escape = next((e for e in ESCAPES if len(e) > 1 and text.startswith(e)), None)
        if escape is None and text[0] == "\x1b" and len(text) > 2 and text[1] in "[O":
            # A key that is for nothing here, to its last character (ECMA-48 section 5.4).
            end = next((i for i, c in enumerate(text) if i > 1 and "@" <= c <= "~"), len(text) - 1)
            text = text[end + 1 :]
            continue
        found = escape or text[0]
        text = text[len(found) :]
        yield ESCAPES.get(found) or PLAIN.get(found, found)
