"""Every mistake of docs/mistakes.md is made, and what the answer says is done: then it works."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.mistakes.bench import Bench, bench
from tests.mistakes.catalogue import CATALOGUE, Mistake
from tests.mistakes.play import play

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]

LONG = ("R", "E")
"""Kinds for which a relay runs, or a call lasts until `explain` may blame it."""
SAMPLES = ("R1", "R6", "E4")
"""Of these kinds, what every run of the tests makes; the others are made at night."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    directory: Path = tmp_path_factory.mktemp("mistakes")
    with bench(directory) as made:
        yield made


def marks(mistake: Mistake) -> list[pytest.MarkDecorator]:
    return [pytest.mark.soak] if mistake.kind in LONG and mistake.id not in SAMPLES else []


@pytest.mark.parametrize(
    "mistake",
    [pytest.param(mistake, id=mistake.id, marks=marks(mistake)) for mistake in CATALOGUE],
)
def test_what_the_answer_says_helps(mistake: Mistake, made: Bench) -> None:
    assert play(mistake, made).works


def test_each_has_a_name_of_its_own() -> None:
    assert len(CATALOGUE) >= 60
    assert len({mistake.id for mistake in CATALOGUE}) == len(CATALOGUE)
