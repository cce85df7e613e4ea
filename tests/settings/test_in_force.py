"""What a child of `run` finds of the life before: rows F31 and F33."""

from pathlib import Path

import pytest

from jingle_hnt.errors import ConfigurationError
from jingle_hnt.settings import in_force
from jingle_hnt.settings.in_force import Kept


def configuration(path: Path, tmp_path: Path, ports: str = "24000-24999", calls: int = 5) -> None:
    path.write_text(
        f"""
        [xmpp]
        component = "hnt.example.org"
        domains = ["example.org"]
        secret = "x"
        [relay]
        interfaces = [{{ address = "203.0.113.9" }}]
        ports = "{ports}"
        [limits]
        per_user = {calls}
        [state]
        directory = "{tmp_path}"
        runtime_directory = "{tmp_path}"
        """
    )


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The configuration that `run` has started with."""
    file = tmp_path / "jingle-hnt.toml"
    configuration(file, tmp_path)
    for name, value in in_force.begin(tmp_path / "kept", file).items():
        monkeypatch.setenv(name, value)
    return file


def test_a_file_that_was_edited_is_no_configuration_yet(file: Path, tmp_path: Path) -> None:
    for spoiled in ("[xmpp", "[nonsense]\nx = 1\n"):
        file.write_text(spoiled)
        assert Kept().settings(file).limits.per_user == 5
        with pytest.raises(ConfigurationError):
            Kept().reload(file)
        assert Kept().settings(file).limits.per_user == 5
    file.unlink()
    assert Kept().settings(file).limits.per_user == 5


def test_what_was_reloaded_is_in_force_but_what_needs_a_restart(file: Path, tmp_path: Path) -> None:
    configuration(file, tmp_path, ports="30000-30999", calls=7)
    Kept().reload(file)
    configuration(file, tmp_path, calls=9)
    settings = Kept().settings(file)
    assert (settings.limits.per_user, str(settings.relay.ports)) == (7, "24000-24999")


def test_orders_hold_in_the_next_life_of_a_child_and_not_of_the_whole(
    file: Path, tmp_path: Path
) -> None:
    Kept().keep("draining", True)
    Kept().keep("loglevel", "debug")
    assert Kept().order("draining") is True
    Kept().reload(file)
    assert (Kept().order("draining"), Kept().order("loglevel")) == (True, None)
    in_force.begin(tmp_path / "kept", file)
    assert Kept().order("draining") is None


def test_without_run_nothing_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "jingle-hnt.toml"
    configuration(file, tmp_path)
    Kept().keep("draining", True)
    assert Kept().order("draining") is None
    file.write_text("[xmpp")
    with pytest.raises(ConfigurationError):
        Kept().settings(file)
