"""The servers' configurations beside the compose files, read by real servers."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.ejabberd import Ejabberd
from tests.lab.prosody import Prosody
from tests.lab.server import LocalServer, VirtualHost
from tests.lab.xmpp_actors import Component, Refused

pytestmark = pytest.mark.integration

COMPOSE = Path(__file__).parents[2] / "config" / "compose"
SECRET = "from a file"
HOSTS = [VirtualHost("example.org", {"alice": "secret"}, component="hnt.example.org")]


class ShippedProsody(Prosody):
    """With config/compose/prosody/prosody.cfg.lua over the lab's own paths and ports."""

    def _configuration(self, directory: Path) -> str:
        (directory / "prosody-secret").write_text(SECRET + "\n")
        lab = super()._configuration(directory).partition("VirtualHost")[0]
        lab = "\n".join(ln for ln in lab.splitlines() if not ln.startswith("modules_enabled"))
        shipped = (COMPOSE / "prosody" / "prosody.cfg.lua").read_text()
        shipped = shipped.replace("/run/secrets/prosody-secret", str(directory / "prosody-secret"))
        mine = "\n".join(ln for ln in shipped.splitlines() if not ln.startswith("plugin_paths"))
        head, _, hosts = mine.partition("VirtualHost")
        return f"{head}\n{lab}\nVirtualHost{hosts}"


class ShippedEjabberd(Ejabberd):
    """With config/compose/ejabberd/ejabberd.yml on the lab's ports."""

    def _write_files(self, directory: Path) -> None:
        super()._write_files(directory)
        macros = directory / "macros.yml"
        secret = f"HNT_SECRET: {json.dumps(SECRET)}"
        macros.write_text(f'define_macro: {{ {secret}, HNT_IP: "{self.component[0]}" }}\n')
        shipped = (COMPOSE / "ejabberd" / "ejabberd.yml").read_text()
        shipped = shipped.replace("/run/secrets/ejabberd-secret.yml", str(macros))
        shipped = shipped.replace("5222", str(self.c2s[1])).replace("5269", str(self.s2s[1]))
        shipped = shipped.replace("5347", str(self.component[1]))
        shipped = shipped.replace("starttls_required: true", "starttls_required: false")
        (directory / "ejabberd.yml").write_text(shipped)


@pytest.fixture(params=[ShippedProsody, ShippedEjabberd], ids=["prosody", "ejabberd"])
def server(request: pytest.FixtureRequest) -> Iterator[LocalServer]:
    kind: type[LocalServer] = request.param
    with kind(HOSTS, {"hnt.example.org": SECRET}) as running:
        yield running


async def test_the_component_is_let_in_with_the_files_secret_only(server: LocalServer) -> None:
    async with await Component.connect(server, "hnt.example.org", SECRET):
        pass
    with pytest.raises(Refused):
        await Component.connect(server, "hnt.example.org", "HNT_SECRET")
