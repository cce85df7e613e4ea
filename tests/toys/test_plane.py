"""A second plane is new files and one line in the table of planes."""

from pathlib import Path

from tests.toys import Toy

PLANE = Toy(
    files={"plane.py": "jingle_hnt/plane/toy.py"},
    lines=(
        (
            "jingle_hnt/plane/table.py",
            "    LOCAL: PlaneClient,\n",
            '    "toy": ToyPlane,\n',
            "from jingle_hnt.plane.toy import ToyPlane",
        ),
    ),
    play="play_plane.py",
)


def test_a_plane_carries_calls_while_the_local_one_is_away(tmp_path: Path) -> None:
    root = PLANE.laid_over(tmp_path)
    assert PLANE.walls_hold(root)
    seen = PLANE.played(root)
    assert seen["told"] == ["203.0.113.77"]
    assert seen["made"] == ["s1.1.1", "s1.1.2"]
    assert seen["orders"] > 0
    assert seen["local"] is False
