"""module and unit: what other programs need of us, put where they find it."""

import os
from pathlib import Path

import pytest

from jingle_hnt.cli import main
from jingle_hnt.commands import provide

CONFIG = Path(__file__).parent.parent / "config"


def test_the_module_of_prosody_is_put_where_it_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    into = tmp_path / "modules"
    assert main(["module", "prosody", "--into", str(into)]) == 0
    shipped = CONFIG / "prosody" / "mod_jingle_hnt.lua"
    assert (into / shipped.name).read_bytes() == shipped.read_bytes()
    assert f"written: {into / shipped.name}" in capsys.readouterr().out


def test_the_module_of_ejabberd_replaces_the_one_before(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = tmp_path / "mod_jingle_hnt" / "src" / "old.erl"
    old.parent.mkdir(parents=True)
    old.touch()
    assert main(["module", "ejabberd", "--into", str(tmp_path)]) == 0
    shipped = CONFIG / "ejabberd" / "mod_jingle_hnt"
    made = {p.relative_to(tmp_path / "mod_jingle_hnt") for p in tmp_path.rglob("*") if p.is_file()}
    assert made == {p.relative_to(shipped) for p in shipped.rglob("*") if p.is_file()}
    assert "ejabberdctl module_install mod_jingle_hnt" in capsys.readouterr().out


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_what_is_put_belongs_to_whose_directory_it_is(tmp_path: Path) -> None:
    os.chown(tmp_path, 4711, 4712)
    into = tmp_path / ".ejabberd-modules" / "sources"
    assert main(["module", "ejabberd", "--into", str(into)]) == 0
    made = [into.parent, into, *into.rglob("*")]
    assert {(path.stat().st_uid, path.stat().st_gid) for path in made} == {(4711, 4712)}


def test_the_unit_starts_this_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    program = Path("/srv/hnt/bin/jingle-hnt")
    monkeypatch.setattr(provide, "_program", lambda: program)
    assert main(["unit", "--into", str(tmp_path)]) == 0
    unit = (tmp_path / "jingle-hnt.service").read_text()
    assert f"ExecStart={program} run" in unit
    assert "systemctl enable --now jingle-hnt" in capsys.readouterr().out


def test_a_unit_that_was_changed_is_kept_unless_forced(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    unit = tmp_path / "jingle-hnt.service"
    unit.write_text("[Service]\n")
    assert main(["unit", "--into", str(tmp_path)]) == 1
    assert unit.read_text() == "[Service]\n"
    assert "--force" in capsys.readouterr().err
    assert main(["unit", "--into", str(tmp_path), "--force"]) == 0
    assert main(["unit", "--into", str(tmp_path)]) == 0, "the same again changes nothing"
    assert "ExecStart=" in unit.read_text()


def test_a_program_in_a_home_directory_is_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(provide, "_program", lambda: Path("/root/venv/bin/jingle-hnt"))
    assert main(["unit", "--into", str(tmp_path)]) == 0
    assert "ProtectHome" in capsys.readouterr().out


def test_where_nothing_can_be_written_it_is_said_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    blocked = tmp_path / "file"
    blocked.touch()
    for words in (["module", "prosody"], ["unit"]):
        assert main([*words, "--into", str(blocked)]) == 1
        assert "--into" in capsys.readouterr().err
