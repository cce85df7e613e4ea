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

from tests.fronts.xmpp.recorder import until
from tests.lab.prosody import Prosody
from tests.lab.server import VirtualHost
from tests.lab.slixmpp_client import SlixmppClient
from tests.threats.doses import Measured

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


SHORT_SESSIONS = """\
import sys
from jingle_hnt.fronts.xmpp import adhoc
from jingle_hnt.cli import main
adhoc.SESSION_S = 0.5
sys.exit(main(sys.argv[1:]))
"""


@contextlib.asynccontextmanager
async def running(directory: Path, *words: str) -> AsyncIterator[Prosody]:
    """A server, and the component that python runs with these words."""
    hosts = [
        VirtualHost(DOMAIN, {"admin": "secret", "mallory": "secret"}, component=COMPONENT),
        VirtualHost(OTHER, {"admin": "secret"}),
    ]
    async with Prosody(hosts, {COMPONENT: "hush"}) as server:
        path = directory / "jingle-hnt.toml"
        path.write_text(CONFIGURATION.format(port=server.component[1], directory=directory))
        log = (directory / "log").open("wb")
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, *words, "--config", str(path)), stdout=log, stderr=log
        )
        try:
            mark = b"connected to the XMPP server"
            await until(lambda: mark in (directory / "log").read_bytes(), patience_s=40.0)
            yield server
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
            await process.wait()
            log.close()
            sys.stderr.write((directory / "log").read_text()[-4000:])


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Prosody]:
    async with running(tmp_path, "-m", "jingle_hnt", "run") as server:
        yield server


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
        assert "draining: yes" in ended[LAST].replace("_", " ")
        assert "connected: yes" in ended["status"].replace("_", " ")
        assert ended["calls"] == "calls: 0"
        assert "no such call" in ended["terminate"]


async def test_the_status_is_a_form_of_typed_fields(server: Prosody) -> None:
    async with console(server, f"admin@{DOMAIN}/desk") as admin:
        form = (await admin.step("status"))["form"]
        fields = form.get_fields()
        assert form["type"] == "result"
        assert fields["connected"]["type"] == "boolean"
        assert fields["connected"]["value"] is True
        assert fields["ports.free"]["value"] == "100"
        assert fields["ports.free"]["validate"]["datatype"] == "xs:integer"


async def refused(client: Console, *step: Any) -> set[str]:
    """The conditions with which a step is refused."""
    with pytest.raises(IqError) as error:
        await client.step(*step)
    return conditions(error.value)


@pytest.mark.parametrize("jid", [f"mallory@{DOMAIN}/x", f"admin@{OTHER}/desk"])
async def test_nobody_else_gets_anything(
    server: Prosody, jid: str, record_property: Measured
) -> None:
    answers: list[set[str]] = []
    async with (
        console(server, f"admin@{DOMAIN}/desk") as admin,
        console(server, jid) as stranger,
    ):
        with pytest.raises(IqError) as hidden:
            await stranger.nodes()
        assert conditions(hidden.value) == {"item-not-found"}
        for node in [*await admin.nodes(), "no such"]:
            answers.append(await refused(stranger, node))
        async for node, session, form in opened(admin):
            for action in ("complete", "execute", "cancel", "next"):
                answers.append(await refused(stranger, node, action, session, form))
            assert (await admin.step(node, "cancel", session))["status"] == "canceled"
        assert await standing(admin) == UNTOUCHED
    forbidden = answers.count({"forbidden"})
    record_property("tries", len(answers))
    record_property("forbidden", forbidden)
    assert forbidden == len(answers)


UNTOUCHED = (False, "none")


async def standing(admin: Console) -> tuple[object, object]:
    """What forms would have changed: whether it drains, and who is blocked."""
    status = (await admin.step("status"))["form"].get_fields()
    limits = (await admin.step("limits"))["form"].get_fields()
    return status["draining"]["value"], limits["blocked"]["value"]


async def opened(admin: Console) -> AsyncIterator[tuple[str, str, Any]]:
    """Every command that asks, one after the other: its node, its session, its form filled in."""
    found = 0
    for node in sorted(await admin.nodes(), key=lambda node: node == LAST):
        asking = await admin.step(node)
        if asking["status"] == "executing":
            found += 1
            yield node, asking["sessionid"], admin.filled(asking)
        else:
            again = await refused(admin, node, "complete", asking["sessionid"])
            assert again == {"not-allowed", "session-expired"}, node
    assert found >= 9


FORGED = {"bad-request", "bad-sessionid"}
OVER = {"not-allowed", "session-expired"}


async def test_every_form_can_be_cancelled_and_none_forged(server: Prosody) -> None:
    async with (
        console(server, f"admin@{DOMAIN}/desk") as admin,
        console(server, f"admin@{DOMAIN}/phone") as phone,
    ):
        async for node, session, form in opened(admin):
            other = "explain" if node == "call" else "call"
            for client, asked, id_ in (
                (phone, node, session),  # of the same administrator's other client
                (admin, other, session),  # of another command
                (admin, node, "forged"),
                (admin, node, session + "x"),
            ):
                for action in ("complete", "cancel"):
                    assert await refused(client, asked, action, id_, form) == FORGED, node
            assert await refused(admin, node, "prev", session) == {"bad-request", "bad-action"}
            assert await refused(admin, node, "complete", session) == {"bad-request", "bad-payload"}
            assert (await admin.step(node, "cancel", session))["status"] == "canceled"
            for action in ("complete", "cancel"):
                assert await refused(admin, node, action, session, form) == OVER, node
        assert await standing(admin) == UNTOUCHED


async def test_no_form_is_completed_twice(server: Prosody) -> None:
    async with console(server, f"admin@{DOMAIN}/desk") as admin:
        async for node, session, form in opened(admin):
            assert (await admin.step(node, "complete", session, form))["status"] == "completed"
            for action in ("complete", "execute", "cancel"):
                assert await refused(admin, node, action, session, form) == OVER, node
        assert await standing(admin) == (True, "none")  # blocked and unblocked, and drained


async def test_no_form_is_completed_after_its_time(tmp_path: Path) -> None:
    async with (
        running(tmp_path, "-c", SHORT_SESSIONS, "signalling") as server,
        console(server, f"admin@{DOMAIN}/desk") as admin,
    ):
        left = [forms async for forms in opened(admin)]
        _, newest, _ = left[-1]
        await until_over(admin, LAST, newest)
        for node, session, form in left:
            assert await refused(admin, node, "complete", session, form) == OVER, node
        assert await standing(admin) == UNTOUCHED


async def until_over(admin: Console, node: str, session: str) -> None:
    """Wait for a session's end; a form that is missing does not complete it."""
    for _ in range(400):
        if await refused(admin, node, "complete", session) == OVER:
            return
        await asyncio.sleep(0.05)
    raise TimeoutError(f"the session of {node} does not end")
