"""``python -m tests.mistakes [--record] [--check] [ID ...]``; `scripts/mistakes` sets it up."""

import argparse
import json
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from scripts import generated
from tests.mistakes.bench import bench
from tests.mistakes.catalogue import CATALOGUE
from tests.mistakes.page import PAGE, RESULTS, page
from tests.mistakes.play import play


def main() -> int:
    """Make mistakes, or see whether the page is that of the last record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--record", action="store_true", help="write the results and the page")
    parser.add_argument("--check", action="store_true", help="only see whether the page is right")
    parser.add_argument("ids", nargs="*", metavar="ID", help="only these")
    options = parser.parse_args()
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    if options.check:
        return generated.write({PAGE: page(results)}, "scripts/mistakes --record", check=True)
    failed = 0
    with tempfile.TemporaryDirectory(prefix="hnt-mistakes-") as name, bench(Path(name)) as made:
        for mistake in CATALOGUE:
            if options.ids and mistake.id not in options.ids:
                continue
            try:
                outcome = play(mistake, made)
            except Exception as error:
                print(f"{mistake.id}  {mistake.what}: {error!r}", file=sys.stderr)
                failed += 1
                continue
            failed += not outcome.works
            verdict = "works" if outcome.works else "DOES NOT HELP"
            print(f"{mistake.id:4} {verdict}  {mistake.what}", flush=True)
            results[mistake.id] = asdict(outcome)
            if options.record:
                RESULTS.write_text(_json(results))
    if options.record:
        known = {mistake.id for mistake in CATALOGUE}
        results = {id_: found for id_, found in results.items() if id_ in known}
        RESULTS.write_text(_json(results))
        text = page(json.loads(_json(results)))
        generated.write({PAGE: text}, "scripts/mistakes --record", check=False)
    return 1 if failed else 0


def _json(results: object) -> str:
    return json.dumps(results, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


sys.exit(main())
