"""A second front is new files and one line in the table of fronts."""

from pathlib import Path

from tests.toys import Toy

FRONT = Toy(
    files={"front.py": "jingle_hnt/fronts/toy.py"},
    lines=(
        (
            "jingle_hnt/fronts/table.py",
            "FRONTS: list[Callable[[Driver], Front]] = [\n",
            "    ToyFront,\n",
            "from jingle_hnt.fronts.toy import ToyFront",
        ),
    ),
    play="play_front.py",
)


def test_a_front_drives_calls_without_jingle(tmp_path: Path) -> None:
    root = FRONT.laid_over(tmp_path)
    assert FRONT.walls_hold(root)
    seen = FRONT.played(root)
    assert seen["told"] == ["203.0.113.9:2498", "203.0.113.9:2500"]
    assert seen["flows"] == [3, 3]
    assert seen["heard"] is True
    assert seen["released"] == ["t0.1.1", "t0.1.2"]
    assert seen["calls"] == 0
    assert seen["knows_jingle"] is False
