"""Another transport is new files, one for the call and one for its XML, and one line in a table."""

from pathlib import Path

from tests.toys import Toy

TRANSPORT = Toy(
    files={
        "transport.py": "jingle_hnt/call/transports/toy.py",
        "transport_codec.py": "jingle_hnt/fronts/xmpp/transports/toy.py",
    },
    table="jingle_hnt/call/transports/table.py",
    after="    ICE: _ICE,\n",
    line='    "urn:toy:1": (f"{_HERE}.toy:ToyKind",),\n',
    play="play_transport.py",
)


def test_a_transport_is_relayed_and_outlives_a_restart(tmp_path: Path) -> None:
    root = TRANSPORT.laid_over(tmp_path)
    assert TRANSPORT.walls_hold(root)
    seen = TRANSPORT.played(root)
    assert seen["told"] == ["203.0.113.9:2498", "203.0.113.9:2500"]
    assert seen["arms"] > 0
    assert seen["restored"] == "toy"
