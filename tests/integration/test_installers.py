"""The server modules, installed by the servers' own installers from what is given to others."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.integration.server_module.stage import HNT
from tests.lab.ejabberd import PACKAGE, Ejabberd
from tests.lab.play import DOMAIN, ROOT
from tests.lab.prosody import Prosody
from tests.lab.server import VirtualHost

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]


@pytest.fixture
def plugins(tmp_path: Path) -> Path:
    """Where prosodyctl has put the module."""
    rocks, plugins = tmp_path / "rocks", tmp_path / "plugins"
    subprocess.run([ROOT / "scripts" / "rocks", rocks], check=True)
    file = tmp_path / "prosody.cfg.lua"
    file.write_text(f'installer_plugin_path = "{plugins}"\nplugin_server = "{rocks}"\n')
    words = ["prosodyctl", "--root", "--config", str(file)]
    done = subprocess.run(
        [*words, "install", "mod_jingle_hnt"], capture_output=True, text=True, check=False
    )
    assert "is now installed" in done.stdout, done.stdout + done.stderr
    listed = subprocess.run([*words, "list"], capture_output=True, text=True, check=False).stdout
    assert "mod_jingle_hnt" in listed
    return plugins


async def test_prosodyctl_installs_the_rock(plugins: Path) -> None:
    server = Prosody(
        [VirtualHost(DOMAIN, component=HNT)],
        {HNT: "secret"},
        settings={"plugin_paths": [], "installer_plugin_path": str(plugins)},
    )
    async with server:
        assert "asked (counter)" in await server.shell(f"module:info('jingle_hnt', '{DOMAIN}')")


async def test_ejabberd_finds_nothing_to_complain_of_in_the_package() -> None:
    server = Ejabberd([VirtualHost(DOMAIN)], {HNT: "secret"}, module_on_path=False)
    async with server:
        sources = server.directory / "modules" / "sources"
        shutil.copytree(PACKAGE, sources / PACKAGE.name)
        assert await server.evaluate(f"ext_mod:check({PACKAGE.name}).") == "ok"
        (sources / PACKAGE.name / "COPYING").unlink()
        assert "COPYING" in await server.evaluate(f"ext_mod:check({PACKAGE.name}).")


def test_the_spec_is_as_ejabberd_contrib_has_them() -> None:
    """Its own checks want these, in this form, of each module."""
    lines = dict(
        line.split(": ", 1) for line in (PACKAGE / f"{PACKAGE.name}.spec").read_text().splitlines()
    )
    assert list(lines) == ["author", "category", "summary", "home", "url"]
    assert all(value.startswith('"') and value.endswith('"') for value in lines.values())
