"""What messages of the command line and of the configuration say is done, and then it works."""

import contextlib
import os
import re
import socket
import subprocess
import sys
import tempfile
import threading
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest

from jingle_hnt.admin import selfcheck
from jingle_hnt.admin.causes import Case
from jingle_hnt.admin.diagnosis import diagnose
from jingle_hnt.admin.digest import digest
from jingle_hnt.admin.reports import report
from jingle_hnt.call.life import Why
from jingle_hnt.cli import main
from jingle_hnt.commands import init, page, provide
from jingle_hnt.commands.open_files import promises
from jingle_hnt.commands.reach import compared
from jingle_hnt.errors import ConfigurationError, NoPorts
from jingle_hnt.model.servers import ModuleState
from jingle_hnt.plane import engines
from jingle_hnt.relay.interfaces import Interface
from jingle_hnt.relay.ports import PortPool
from jingle_hnt.settings.file import load
from jingle_hnt.settings.model import InterfaceOptions as Told
from jingle_hnt.settings.model import Settings
from jingle_hnt.settings.reload import Reloader
from tests.admin.calls import call, leg
from tests.admin.test_refusals import row
from tests.jingle.stage import RELAY
from tests.settings.test_config import NEEDED

ROOT = Path(__file__).parent.parent
Says = pytest.CaptureFixture[str]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "c.toml"
    state = f'[state]\ndirectory = "{tmp_path}"\nruntime_directory = "{tmp_path}/run"\n'
    path.write_text(f"{NEEDED}\n{state}")
    return path


def test_a_file_that_is_not_there_is_written_by_init(tmp_path: Path, capsys: Says) -> None:
    path = tmp_path / "c.toml"
    for command in ("status", "check"):
        assert main([command, "--config", str(path)]) != 0
        said = capsys.readouterr().err
        says = {
            "status": "is not there (`jingle-hnt init` writes one)",
            "check": "; `jingle-hnt init` writes a configuration",
        }
        assert says[command] in said
    words = ["--domain", "example.org", "--relay-address", "203.0.113.9", "--yes"]
    assert main(["init", "--config", str(path), *words]) == 0
    assert load(path).xmpp.domains == ("example.org",)
    capsys.readouterr()
    main(["status", "--config", str(path)])
    assert "jingle-hnt init" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("wrong", "says", "right"),
    [
        (
            {"--domain": "alice@example.org"},
            "is no domain: write the name alone, such as",
            {"--domain": "example.org"},
        ),
        (
            {"--domain": "exa mple.org"},
            "is no domain; write one such as example.org",
            {"--domain": "example.org"},
        ),
        (
            {"--component": "example.org"},
            "is the users' own: name the component as hnt.example.org",
            {"--component": "hnt.example.org"},
        ),
        (
            {"--relay-address": "relay"},
            "is no IP address; write one such as 203.0.113.9",
            {"--relay-address": "203.0.113.9"},
        ),
        (
            {"--relay-address": "10.0.0.9"},
            "write what they reach it by as --advertise, or name a STUN server",
            {"--relay-address": "10.0.0.9", "--advertise": "203.0.113.9"},
        ),
        ({"--domain": ""}, "not given, and there is nobody to ask; see --help", {}),
    ],
)
def test_init_takes_what_it_asks_for(
    tmp_path: Path, capsys: Says, wrong: dict[str, str], says: str, right: dict[str, str]
) -> None:
    usual = {"--domain": "example.org", "--relay-address": "203.0.113.9"}

    def tried(given: dict[str, str], name: str) -> str:
        words = [w for pair in (usual | given).items() if pair[1] for w in pair]
        with contextlib.suppress(SystemExit):
            main(["init", "--config", str(tmp_path / name / "c.toml"), *words, "--yes"])
        return capsys.readouterr().err

    if wrong == {"--domain": ""}:
        with pytest.raises(SystemExit, match=says):
            main(["init", "--config", str(tmp_path / "wrong" / "c.toml"), "--yes"])
        with pytest.raises(SystemExit):
            main(["init", "--help"])
        assert "--domain" in capsys.readouterr().out
    else:
        assert says in tried(wrong, "wrong")
    assert tried(right, "right") == ""
    assert load(tmp_path / "right" / "c.toml").xmpp.domains == ("example.org",)


def test_an_address_of_another_host_is_told_more_of_by_check(
    tmp_path: Path, capsys: Says, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(init, "_answer", lambda given, *_: given or "203.0.113.200")
    file = tmp_path / "c.toml"
    words = ["init", "--config", str(file), "--domain", "example.org"]
    main([*words, "--component", "hnt.example.org"])
    assert "is not among them: `jingle-hnt check` says more" in capsys.readouterr().err
    main(["check", "--offline", "--config", str(file)])
    assert "203.0.113.200: is on no interface of this host" in capsys.readouterr().out
    here = [ip_address("203.0.113.7")]
    monkeypatch.setattr(init, "host_addresses", lambda: here)
    monkeypatch.setattr(init, "_answer", lambda given, *_: given or str(here[0]))
    main([*words, "--component", "hnt.example.org", "--force"])
    assert "is not among them" not in capsys.readouterr().err


def test_what_init_prints_are_commands_that_there_are(tmp_path: Path, capsys: Says) -> None:
    words = ["--domain", "example.org", "--relay-address", "203.0.113.9", "--yes"]
    main(["init", "--config", str(tmp_path / "c.toml"), *words])
    said = capsys.readouterr().out
    last = said.strip().splitlines()[-1]
    assert last == "Then: jingle-hnt unit (with systemd), jingle-hnt check, jingle-hnt run"
    for name in re.findall(r"jingle-hnt (module prosody|module ejabberd|unit|check|run)", said):
        with pytest.raises(SystemExit) as ended:
            main([*name.split(), "--help"])
        assert ended.value.code == 0


@pytest.mark.parametrize("server", ["prosody", "ejabberd"])
def test_what_init_prints_for_a_server_is_what_its_page_has(
    tmp_path: Path, capsys: Says, server: str
) -> None:
    """The pages are followed on a fresh host by integration/test_install_pages.py."""
    words = ["--domain", "example.org", "--relay-address", "203.0.113.9", "--yes"]
    main(["init", "--config", str(tmp_path / "c.toml"), *words])
    said = capsys.readouterr().out
    main(["module", server, "--into", str(tmp_path)])
    said += capsys.readouterr().out
    page = (ROOT / "docs" / f"install-{server}.md").read_text().replace("$domain", "example.org")
    begins = "Prosody: run jingle-hnt module prosody, then add to prosody.cfg.lua"
    if server == "prosody":
        block = said.split(begins)[1].split("ejabberd: run")[0]
        assert 'Then: modules_enabled = { "jingle_hnt" } in the VirtualHost' in said
        assert "systemctl restart prosody" in page
    else:
        block = said.split("and add to ejabberd.yml, under listen:")[1].split("Then: ")[0]
        assert "ejabberd: run jingle-hnt module ejabberd, then" in said
        assert "ejabberdctl module_install mod_jingle_hnt" in page
    assert f"jingle-hnt module {server}" in page
    words_of_page = set(re.findall(r"[\w.]+", page))
    wanted = re.sub(r"--.*|\(the content of [^)]*\)", "", block)
    assert len(wanted.split()) > 10
    assert set(re.findall(r"[\w.]+", wanted)) <= words_of_page


@pytest.mark.parametrize("words", [["module", "prosody"], ["module", "ejabberd"], ["unit"]])
def test_another_directory_is_chosen(tmp_path: Path, capsys: Says, words: list[str]) -> None:
    blocked = tmp_path / "file"
    blocked.touch()
    assert main([*words, "--into", str(blocked)]) == 1
    said = capsys.readouterr().err
    assert "run this as root, or choose another directory with --into" in said
    assert main([*words, "--into", str(tmp_path / "other")]) == 0


def test_own_changes_to_the_unit_go_beside_it(tmp_path: Path, capsys: Says) -> None:
    unit = tmp_path / "jingle-hnt.service"
    unit.write_text("[Service]\nNice=5\n")
    assert main(["unit", "--into", str(tmp_path)]) == 1
    said = capsys.readouterr().err
    assert "put changes of your own into" in said
    assert "then write over it with --force" in said
    beside = Path(said.split("into ")[1].split(",")[0])
    beside.parent.mkdir()
    beside.write_text("[Service]\nNice=5\n")
    assert main(["unit", "--into", str(tmp_path), "--force"]) == 0
    assert "ExecStart=" in unit.read_text()
    assert beside.read_text() == "[Service]\nNice=5\n"


def test_a_program_outside_of_home_is_seen_by_the_unit(
    tmp_path: Path, capsys: Says, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place, warned in (("/root/venv", True), ("/opt/jingle-hnt", False)):
        program = Path(place) / "bin" / "jingle-hnt"
        monkeypatch.setattr(provide, "_program", lambda found=program: found)
        assert main(["unit", "--into", str(tmp_path), "--force"]) == 0
        said = capsys.readouterr().out
        assert ("install the program elsewhere, such as in /opt/jingle-hnt" in said) is warned


def test_a_report_of_a_time_that_there_was(file: Path, capsys: Says) -> None:
    words = ["report", "--config", str(file)]
    assert main([*words, "--since", "1h", "--until", "2h"]) == 2
    assert "is not before --until: write an earlier time" in capsys.readouterr().err
    main([*words, "--since", "3h", "--until", "2h"])
    assert "earlier time" not in capsys.readouterr().err


def test_a_history_that_is_off_is_put_on(file: Path, capsys: Says) -> None:
    on = file.read_text()
    file.write_text(f"{on}history_calls = 0\n")
    assert main(["report", "--config", str(file)]) == 1
    said = capsys.readouterr().err
    assert "write how many calls it keeps as state.history_calls" in said
    file.write_text(f"{on}history_calls = 10\n")
    main(["report", "--config", str(file)])
    assert "history_calls" not in capsys.readouterr().err


def test_top_looks_at_intervals_that_it_takes(file: Path, capsys: Says) -> None:
    words = ["top", "--once", "--config", str(file)]
    assert main([*words, "--interval", "0"]) == 2
    assert "write 0.1 to 60 seconds" in capsys.readouterr().err
    for interval in ("0.1", "60"):
        assert main([*words, "--interval", interval]) == 1  # nobody answers
        assert "60 seconds" not in capsys.readouterr().err


# The configuration


def test_a_table_that_is_missing_is_written(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    xmpp, _, relay = NEEDED.partition("[relay]")
    path.write_text(xmpp)
    with pytest.raises(ConfigurationError, match=r"write a table \[relay\] with interfaces"):
        load(path)
    path.write_text(f"{xmpp}[relay]{relay}")
    load(path)


@pytest.fixture
def reloader(file: Path) -> Reloader:
    return Reloader(load(file), lambda: load(file))


def refused(reloader: Reloader, option: str, value: str) -> str:
    with pytest.raises(ConfigurationError) as said:
        reloader.alter(option, value)
    return str(said.value)


def test_an_option_that_there_is_not_is_looked_up(reloader: Reloader) -> None:
    said = refused(reloader, "nonsense", "1")
    assert "no such option; `jingle-hnt policy` lists those that can be set" in said
    for option, value in reloader.followed().items():
        if option in ("gate.policy", "limits.per_user"):
            reloader.alter(option, str(value))


def test_what_only_the_file_sets_is_written_there(file: Path, reloader: Reloader) -> None:
    said = refused(reloader, "admin.jids", '["alice@example.org"]')
    assert "only the file sets this: write it there, and `jingle-hnt reload`" in said
    file.write_text(file.read_text() + '[admin]\njids = ["alice@example.org"]\n')
    assert reloader.reload() == (("admin.jids",), ())


def test_an_address_of_several_is_told_by_the_file(file: Path, reloader: Reloader) -> None:
    said = refused(reloader, "relay.advertise", "2001:db8::1")
    assert "where it is not one, write it into the file, and `jingle-hnt reload`" in said
    told = '{ address = "203.0.113.9", advertise = "198.51.100.1" }'
    file.write_text(file.read_text().replace('{ address = "203.0.113.9" }', told))
    assert reloader.reload() == (("relay.interfaces",), ())
    said = refused(reloader, "relay.advertise", "relay.example.org")
    assert 'is no IP address; write one such as "203.0.113.9"' in said
    reloader.alter("relay.advertise", "203.0.113.9")


def test_an_engine_that_is_not_there_is_done_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jingle_hnt.plane.native", None)
    with pytest.raises(ConfigurationError, match="or write engine = 'auto'") as said:
        engines.open_engine("native")
    assert "install a C compiler and jingle-hnt again" in str(said.value)
    engines.open_engine("auto").close()
    monkeypatch.undo()  # as after a compiler has built it
    engine = engines.open_engine("native")
    assert engine.name == "native"
    engine.close()


def test_a_wider_range_has_a_port_more() -> None:
    own = Interface(RELAY, RELAY)
    for last, is_enough in ((2001, False), (2003, True)):
        pool = PortPool([own], 2000, last, lambda _: 0)
        pool.lease(own, 0.0)
        if is_enough:
            pool.lease(own, 0.0)
        else:
            with pytest.raises(NoPorts, match=r"no free media ports on .*; widen relay\.ports"):
                pool.lease(own, 0.0)


# Findings


def test_addresses_stay_hidden_where_the_module_fails_closed(file: Path) -> None:
    """Alone, `check` can but say so; the module says what it has."""
    settings: Settings = load(file)
    ice = settings.ice.model_copy(update={"mode": "terminate"})
    hiding = settings.model_copy(update={"ice": ice})
    (found,) = [f for f in promises(hiding) if "hidden" in f.subject]
    assert 'write jingle_hnt_fail = "closed" (ejabberd: fail: closed) for the module' in found.text
    assert [f for f in promises(hiding, alone=False) if "hidden" in f.subject] == []
    for fails, verdict in (("open", "warn"), ("closed", "ok")):
        state = {"example.org": ModuleState(fails=fails)}
        assert [f.verdict for f in selfcheck.hidden_addresses(state)] == [verdict]


def test_calls_in_which_nobody_is_heard_fail_until_somebody_is() -> None:
    """What is behind it is found by `check` in full: tests/mistakes, E2 and E3."""
    wrong = selfcheck.media(3, is_fault=True)
    assert "told is wrong, or a firewall stops UDP to `relay.ports`" in wrong.text
    assert selfcheck.media(0, is_fault=False).verdict == "ok"


def test_what_others_sent_is_read_about_in_the_docs() -> None:
    (found,) = diagnose(Case(call(leg("initiator", dropped={"kernel": 5000}), leg("responder"))))
    assert found.advice.endswith("see what `explain` finds in docs/troubleshooting.md")
    page = (ROOT / "docs" / "troubleshooting.md").read_text()
    assert "## What `explain` finds" in page
    assert f"| `{found.cause}` |" in page


def test_a_stun_server_outside_sees_what_is_told() -> None:
    """What it sees decides; `check` writes the interface that is right (tests/mistakes, H4)."""
    inner, public = ip_address("10.0.0.9"), ip_address("203.0.113.9")
    told = Told(address=inner, advertise=public)
    inside = compared(told, 24000, "stun.lan:3478", ("10.0.0.9", 24000))
    assert inside.text.endswith("write one outside of it in relay.stun_server")
    shifted = compared(told, 24000, "stun.example.org:3478", ("203.0.113.9", 25000))
    assert "forward relay.ports to this host one to one, or write the difference" in shifted.text
    outside = compared(told, 24000, "stun.example.org:3478", ("203.0.113.9", 24000))
    offset = Told(address=inner, advertise=public, port_offset=1000)
    written = compared(offset, 24000, "stun.example.org:3478", ("203.0.113.9", 25000))
    assert [each.verdict for each in (inside, shifted, outside, written)] == [
        "warn",
        "warn",
        "ok",
        "ok",
    ]


@pytest.mark.skipif(os.geteuid() != 0, reason="root alone can be somebody else")
def test_the_users_who_may_ask_are_answered() -> None:
    """Another user is told so; root, and who owns the socket, get an answer."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        path = Path(name) / "admin.sock"
        Path(name).chmod(0o755)
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(str(path))
            listening.listen()
            path.chmod(0o600)
            threading.Thread(target=answer_one, args=(listening,), daemon=True).start()
            asker = (
                "import os, sys; from pathlib import Path; from jingle_hnt.commands import asking;"
                f" os.setuid(int(sys.argv[1])); print(asking.ask_at(Path({str(path)!r}), {{}}))"
            )
            told = [
                subprocess.run(
                    [sys.executable, "-c", asker, uid], capture_output=True, text=True, check=True
                )
                for uid in ("65534", "0")
            ]
    assert "only the user that jingle-hnt runs as, and root, may ask it" in told[0].stderr
    assert (told[1].stderr, told[1].stdout) == ("", "{'ok': True}\n")


def answer_one(listening: socket.socket) -> None:
    connection, _ = listening.accept()
    with connection:
        connection.recv(4096)
        connection.sendall(b'{"ok": true}\n')


def test_a_call_that_sounded_bad_says_where_to_look() -> None:
    """At the parties' networks, which `call` shows; one that did not has no such line."""
    bad, good = leg("initiator", mos=2.0, lost_packets=90, jitter_ms=80.0), leg("initiator")
    says = "see loss and jitter of its parties' networks"
    for each, is_said in ((bad, True), (good, False)):
        now = datetime.now(UTC)
        over = report(Case(call(each, leg("responder")), Why.TERMINATED), None, now)
        whole = digest([over], [], now - timedelta(hours=1), now + timedelta(hours=1))
        assert (says in page.page(whole, now)) is is_said


def test_a_refusal_of_a_later_version_is_in_its_docs() -> None:
    told = row("of-tomorrow").advice
    assert told.startswith("see docs/troubleshooting.md")
    assert (ROOT / told.removeprefix("see ")).exists()
