"""What has once broken a reader of other people's bytes breaks it never again."""

import random
from pathlib import Path

import pytest

from tests.fuzz.targets import CORPUS, TARGETS, kept, mutated

ALL = [(name, path) for name in TARGETS for path in kept(name)]


@pytest.mark.parametrize(("name", "path"), ALL, ids=lambda v: getattr(v, "name", v))
def test_kept_input_is_read_or_refused(name: str, path: Path) -> None:
    target, _ = TARGETS[name]
    target(path.read_bytes())


@pytest.mark.parametrize("name", TARGETS)
def test_a_few_mutations_of_real_input(name: str) -> None:
    target, real = TARGETS[name]
    seeds = [*real(), *(path.read_bytes() for path in kept(name))]
    chance = random.Random(1)
    for _ in range(1500):
        target(mutated(chance.choice(seeds), seeds, chance))


def test_every_target_has_a_corpus() -> None:
    assert {path.name for path in CORPUS.iterdir()} == set(TARGETS)
    assert all(kept(name) for name in TARGETS)
