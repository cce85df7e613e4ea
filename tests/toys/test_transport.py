"""Another transport is new files, one for the call and one for its XML, and a line for each."""

from pathlib import Path

from tests.toys import Toy

TRANSPORT = Toy(
    files={
        "transport.py": "jingle_hnt/call/transports/toy.py",
        "transport_codec.py": "jingle_hnt/fronts/xmpp/transports/toy.py",
    },
    lines=(
        (
            "jingle_hnt/call/transports/table.py",
            "    ICE: (IceTerminate, IceAppend),\n",
            '    "urn:toy:1": (ToyKind,),\n',
            "from jingle_hnt.call.transports.toy import ToyKind",
        ),
        (
            "jingle_hnt/fronts/xmpp/transports/table.py",
            "    ICE: ice,\n",
            '    "urn:toy:1": toy,\n',
            "from jingle_hnt.fronts.xmpp.transports import toy",
        ),
    ),
    play="play_transport.py",
)


def test_a_transport_is_relayed_and_outlives_a_restart(tmp_path: Path) -> None:
    root = TRANSPORT.laid_over(tmp_path)
    assert TRANSPORT.walls_hold(root)
    seen = TRANSPORT.played(root)
    assert seen["told"] == ["203.0.113.9:2498", "203.0.113.9:2500"]
    assert seen["arms"] > 0
    assert seen["restored"] == "toy"
