"""Makes one mistake, asks, does what the answer says, and asks again."""

import re
from dataclasses import dataclass

from tests.mistakes.bench import Bench
from tests.mistakes.catalogue import Mistake


@dataclass(frozen=True)
class Outcome:
    """What was said of a mistake by whom, and whether following it was enough."""

    said: dict[str, str]
    works: bool


def ask(bench: Bench, how: str) -> str:
    """What an operator is told by this command."""
    match how:
        case "check":
            return bench.check()
        case "check --offline":
            return bench.offline()
        case "run":
            return bench.start()
        case "explain":
            return bench.explain()
        case "server log":
            return bench.server_log()
        case "ready":
            return bench.ready()
        case "command":
            return bench.type(*bench.typed, save=False)[1].strip()
    raise ValueError(how)


def play(mistake: Mistake, bench: Bench) -> Outcome:
    """Raises AssertionError where nobody says what the catalogue says."""
    bench.reset()
    try:
        if mistake.kind == "H" and mistake.ask == "check":
            bench.serve()
        mistake.make(bench)
        answer = _answer(mistake, bench)
        said = {mistake.ask: answer}
        if mistake.kind in "RE":
            said["check"] = bench.check()
        if mistake.kind == "E":
            said["ready"] = bench.ready()
        mistake.mend(bench, answer)
        works = _is_gone(mistake, bench)
        return Outcome({by: _shown(text, mistake, bench) for by, text in said.items()}, works)
    finally:
        bench.close()


def _answer(mistake: Mistake, bench: Bench) -> str:
    """What is said; of a process that runs it may take a moment."""
    if mistake.kind == "R":
        bench.until(lambda: mistake.says in ask(bench, mistake.ask))
    answer = ask(bench, mistake.ask)
    assert mistake.says in answer, f"{mistake.id}: {answer}"
    lines = [line for line in answer.splitlines() if mistake.says in line]
    return "\n".join(lines)


def _is_gone(mistake: Mistake, bench: Bench) -> bool:
    if mistake.kind == "R":
        bench.until(lambda: not bench.ready())
        return True
    if mistake.kind == "E":  # a call on a busy machine may be too short to say much of it
        return any("Nothing is wrong with this call" in bench.explain() for _ in range(3))
    now = ask(bench, mistake.ask)
    return mistake.says not in now and "FAIL" not in now


def _shown(text: str, mistake: Mistake, bench: Bench) -> str:
    """The line that is about the mistake, without what is of this machine only."""
    about = [line for line in text.splitlines() if mistake.says in line]
    if mistake.kind == "E" and not about:
        about = [line for line in text.splitlines() if "advertised address" in line]
    line = (about or [line for line in text.splitlines() if line.startswith("FAIL")] or [""])[0]
    line = line.replace(str(bench.directory), "/etc/jingle-hnt")
    return re.sub(r"^\S+Z \[\w+ *\] ", "", line)
