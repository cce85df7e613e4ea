"""Administration from a client: slixmpp's own ad-hoc commands and data forms, a real Prosody, and
jingle-hnt as an operator runs it."""

import asyncio
import contextlib
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from slixmpp.exceptions import IqError

from tests.lab.prosody import Prosody
from tests.lab.server import VirtualHost
from tests.lab.slixmpp_client import SlixmppClient
from tests.xmpp.recorder import until

pytestmark = pytest.mark.integration

DOMAIN, OTHER, COMPONENT = "example.org", "other.example.org", "hnt.example.org"
COMMANDS = "http://jabber.org/protocol/commands"
LAST = "http://jabber.org/protocol/admin#shutdown"
CONFIGURATION = """\
[xmpp]
component = "hnt.example.org"
domains = ["example.org"]
server = "127.0.0.1:{port}"
secret = "hush"
[relay]
interfaces = [{{ address = "127.0.0.1" }}]
ports = "41000-41099"
[state]
directory = "{directory}"
runtime_directory = "{directory}"
[admin]
jids = ["admin@example.org"]
"""


class Console(SlixmppClient):
    """A client whose ad-hoc commands are slixmpp's."""

    def __init__(self, jid: str, password: str) -> None:
        super().__init__(jid, password)
        for plugin in ("xep_0030", "xep_0004", "xep_0122", "xep_0050"):
            self._stream.register_plugin(plugin)

    async def nodes(self) -> list[str]:
        """The commands that are offered, in their order."""
        items = await self._stream.plugin["xep_0030"].get_items(jid=COMPONENT, node=COMMANDS)
        assert {jid for jid, _, _ in items["disco_items"]["items"]} <= {COMPONENT}
        found = [item["node"] for item in items["disco_items"]["substanzas"]]
        return [str(node) for node in found]

    async def step(
        self, node: str, action: str = "execute", session: str | None = None, form: Any = None
    ) -> Any:
        """One step; the <command/> that answers it. Raises IqError."""
        answer = await self._stream.plugin["xep_0050"].send_command(
            COMPONENT, node, action=action, sessionid=session, payload=form
        )
        return answer["command"]

    def filled(self, asking: Any) -> Any:
        """The form of a command with every field filled in, if only with something."""
        values = {
            name: field["value"] or _something(field)
            for name, field in asking["form"].get_fields().items()
            if field["type"] != "hidden"
        }
        reply = self._stream.plugin["xep_0004"].make_form(ftype="submit")
        for name, value in values.items():
            reply.add_field(var=name, value=value)
        return reply


def _something(field: Any) -> object:
    match field["type"]:
        case "boolean":
            return True
        case "list-single":
            return field["options"][0]["value"]
        case "jid-single":
            return "nobody@example.org"
    return "nothing"


def conditions(error: IqError) -> set[str]:
    return {e.tag.rpartition("}")[2] for e in error.iq["error"].xml} - {"text"}


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Prosody]:
    hosts = [
        VirtualHost(DOMAIN, {"admin": "secret", "mallory": "secret"}, component=COMPONENT),
        VirtualHost(OTHER, {"admin": "secret"}),
    ]
    async with Prosody(hosts, {COMPONENT: "hush"}) as server:
        path = tmp_path / "jingle-hnt.toml"
        path.write_text(CONFIGURATION.format(port=server.component[1], directory=tmp_path))
        command = [sys.executable, "-m", "jingle_hnt", "run", "--config", str(path)]
        log = (tmp_path / "log").open("wb")
        process = await asyncio.create_subprocess_exec(*command, stdout=log, stderr=log)
        try:
            await until(lambda: b"connected to the XMPP server" in (tmp_path / "log").read_bytes())
            yield server
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
            await process.wait()
            log.close()
            sys.stderr.write((tmp_path / "log").read_text()[-4000:])


@contextlib.asynccontextmanager
async def console(server: Prosody, jid: str) -> AsyncIterator[Console]:
    client = await Console.login(server, jid)
    try:
        yield client
    finally:
        await client.close()


async def test_an_administrator_runs_every_command(server: Prosody) -> None:
    async with console(server, f"admin@{DOMAIN}/desk") as admin:
        nodes = await admin.nodes()
        assert {"status", "calls", "terminate"} <= set(nodes)
        ended: dict[str, str] = {}
        for node in sorted(nodes, key=lambda node: node == LAST):
            answer = await admin.step(node)
            if answer["status"] == "executing":
                assert answer["actions"] == {"complete"}
                form = admin.filled(answer)
                answer = await admin.step(node, "complete", answer["sessionid"], form)
            assert answer["status"] == "completed", node
            notes = dict(answer["notes"])
            assert set(notes) <= {"info", "warn", "error"}
            assert notes, node
            ended[node] = next(iter(notes.values()))
        assert LAST in nodes
        assert "draining yes" in ended[LAST].replace("_", " ")
        assert "link up yes" in ended["status"].replace("_", " ")
        assert ended["calls"] == "0 calls"
        assert "no such call" in ended["terminate"]


async def test_the_status_is_a_form_of_typed_fields(server: Prosody) -> None:
    async with console(server, f"admin@{DOMAIN}/desk") as admin:
        form = (await admin.step("status"))["form"]
        fields = form.get_fields()
        assert form["type"] == "result"
        assert fields["link_up"]["type"] == "boolean"
        assert fields["link_up"]["value"] is True
        assert fields["ports.free"]["value"] == "100"
        assert fields["ports.free"]["validate"]["datatype"] == "xs:integer"


@pytest.mark.parametrize("jid", [f"mallory@{DOMAIN}/x", f"admin@{OTHER}/desk"])
async def test_nobody_else_gets_anything(server: Prosody, jid: str) -> None:
    async with (
        console(server, f"admin@{DOMAIN}/desk") as admin,
        console(server, jid) as stranger,
    ):
        asking = await admin.step("terminate")
        session, form = asking["sessionid"], admin.filled(asking)
        with pytest.raises(IqError) as hidden:
            await stranger.nodes()
        assert conditions(hidden.value) == {"item-not-found"}
        for node in [*await admin.nodes(), "no such"]:
            for action, id_ in (("execute", None), ("complete", session), ("cancel", session)):
                with pytest.raises(IqError) as refused:
                    await stranger.step(node, action, id_, form if id_ else None)
                assert conditions(refused.value) == {"forbidden"}
        answer = await admin.step("terminate", "complete", session, form)
        assert answer["status"] == "completed"


async def test_cancelled_repeated_and_forged_sessions(server: Prosody) -> None:
    async with (
        console(server, f"admin@{DOMAIN}/desk") as admin,
        console(server, f"admin@{DOMAIN}/phone") as phone,
    ):
        asking = await admin.step("terminate")
        session, form = asking["sessionid"], admin.filled(asking)
        for client, id_ in ((phone, session), (admin, "forged"), (admin, session + "x")):
            with pytest.raises(IqError) as forged:
                await client.step("terminate", "complete", id_, form)
            assert conditions(forged.value) == {"bad-request", "bad-sessionid"}
        assert (await admin.step("terminate", "cancel", session))["status"] == "canceled"
        again = await admin.step("terminate")
        await admin.step("terminate", "complete", again["sessionid"], form)
        for id_ in (session, again["sessionid"]):
            with pytest.raises(IqError) as over:
                await admin.step("terminate", "complete", id_, form)
            assert conditions(over.value) == {"not-allowed", "session-expired"}
