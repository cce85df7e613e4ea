"""Ad-hoc commands: who may ask, what forms look like, and what a session survives."""

import asyncio
import sys
from collections.abc import AsyncIterator, Mapping
from xml.etree import ElementTree as ET

import pytest
from pydantic import BaseModel

from jingle_hnt.admin.commands import Served
from jingle_hnt.fronts.xmpp import adhoc
from jingle_hnt.fronts.xmpp import connection as connection_module
from jingle_hnt.fronts.xmpp.component import Component, ComponentSettings
from jingle_hnt.model.commands import Command, Field, FieldKind
from jingle_hnt.model.jid import JID
from tests.fronts.xmpp.fakeserver import SECRET, Connection, FakeServer
from tests.fronts.xmpp.recorder import Recorder, until
from tests.threats.doses import Measured

COMPONENT = "hnt.example.org"
ADMIN = "admin@example.org/desk"
SECOND = "admin@example.org/phone"
DEPUTY = "deputy@example.org/desk"
COMMANDS = "http://jabber.org/protocol/commands"
FORMS = "jabber:x:data"
SHUTDOWN = "http://jabber.org/protocol/admin#shutdown"
SUBMIT = "<x xmlns='jabber:x:data' type='submit'>{}</x>"
CALL = "<field var='call'><value>s1</value></field>"


class Plane(BaseModel):
    up: bool
    engine: str | None


class Leg(BaseModel):
    leg: str
    packets: int


class Call(BaseModel):
    call: str
    age_s: float
    legs: tuple[Leg, ...]


class Calls(BaseModel):
    plane: Plane
    calls: tuple[Call, ...]
    late: tuple[Leg, ...] = ()


ANSWER = Calls(
    plane=Plane(up=True, engine=None),
    calls=(
        Call(call="s1", age_s=1.5, legs=(Leg(leg="a", packets=3), Leg(leg="b", packets=4))),
        Call(call="s2", age_s=2.0, legs=()),
    ),
    late=(Leg(leg="c", packets=5),),
)


class AdminService:
    """Commands that remember what they were run with."""

    def __init__(self) -> None:
        self.runs: list[tuple[str, dict[str, object]]] = []
        self.wait: asyncio.Event | None = None
        call = Field("call", "The call's name", required=True)
        fields = (
            call,
            Field("how", "How", FieldKind.CHOICE, default="soft", options=("soft", "hard")),
            Field("tell", "Tell them", FieldKind.FLAG, default="true"),
            Field("by", "On whose behalf", FieldKind.JID),
        )
        self.commands = (
            self._command("calls", "Calls", (), None),
            self._command("terminate", "End a call", fields, None),
            self._command("drain", "Drain", (call,), SHUTDOWN),
            self._command("broken", "Broken", (), None),
        )

    def _command(
        self, name: str, title: str, fields: tuple[Field, ...], node: str | None
    ) -> Served:
        async def run(values: Mapping[str, object]) -> BaseModel:
            self.runs.append((name, dict(values)))
            if self.wait is not None:
                await self.wait.wait()
            if name == "broken":
                raise RuntimeError("a mistake of ours")
            if values.get("call") == "none":
                raise ValueError("no such call")
            return ANSWER

        command = Command(name, title, fields=fields, changes=bool(fields), node=node)
        return Served(command, run)


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Client:
    """Speaks as any JID to the component."""

    def __init__(self, server: FakeServer) -> None:
        self._server = server
        self._number = 0

    @property
    def connection(self) -> Connection:
        return self._server.last

    def send(self, payload: str, jid: str, type_: str = "set", to: str = COMPONENT) -> str:
        self._number += 1
        id_ = f"c{self._number}"
        self.connection.send(f"<iq type='{type_}' from='{jid}' to='{to}' id='{id_}'>{payload}</iq>")
        return id_

    async def ask(
        self, payload: str, jid: str = ADMIN, type_: str = "set", to: str = COMPONENT
    ) -> ET.Element:
        return await self.connection.reply(self.send(payload, jid, type_, to))

    async def begin(self, node: str, jid: str = ADMIN) -> str:
        answer = await self.ask(step(node), jid)
        return command_of(answer).get("sessionid", "")


def step(node: str, session: str | None = None, action: str | None = None, form: str = "") -> str:
    attributes = f" sessionid='{session}'" if session is not None else ""
    attributes += f" action='{action}'" if action is not None else ""
    return f"<command xmlns='{COMMANDS}' node='{node}'{attributes}>{form}</command>"


def command_of(iq: ET.Element) -> ET.Element:
    command = iq.find(f"{{{COMMANDS}}}command")
    assert command is not None, ET.tostring(iq)
    return command


def conditions(iq: ET.Element) -> list[str]:
    """The error's type and conditions; the text apart."""
    error = iq.find("{*}error")
    assert error is not None, ET.tostring(iq)
    found = [e.tag.rpartition("}")[2] for e in error if not e.tag.endswith("}text")]
    return [error.get("type", ""), *found]


def notes(command: ET.Element) -> list[tuple[str | None, str | None]]:
    return [(n.get("type"), n.text) for n in command.iterfind(f"{{{COMMANDS}}}note")]


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_module, "SHORTEST_PAUSE_S", 0.01)
    monkeypatch.setattr(connection_module, "LONGEST_PAUSE_S", 0.02)


@pytest.fixture
async def service() -> AdminService:
    return AdminService()


@pytest.fixture
async def clock() -> Clock:
    return Clock()


@pytest.fixture
async def component(
    server: FakeServer, service: AdminService, clock: Clock
) -> AsyncIterator[Component]:
    administrators = (JID.of("admin@example.org"), JID.of("deputy@example.org"))
    settings = ComponentSettings(
        COMPONENT, SECRET, ("example.org",), port=server.port, administrators=administrators
    )
    component = Component(settings, Recorder(), clock, service.commands)
    task = asyncio.create_task(component.run())
    await until(lambda: component.up)
    yield component
    await component.stop()
    await task


@pytest.fixture
async def client(component: Component, server: FakeServer) -> Client:
    return Client(server)


# Who may


STRANGERS = [
    "mallory@example.org/x",
    "admin@evil.example/desk",
    "admin@example.org.evil.example/x",
    "admin@example.org",
    "example.org",
    "example.org/admin@example.org",
    COMPONENT,
    "anonymous-1@anon.example.org/x",
    "Admin@example.org/desk",
]


@pytest.mark.parametrize("stranger", [s for s in STRANGERS if s != COMPONENT])
async def test_others_learn_nothing_and_change_nothing(
    client: Client, service: AdminService, stranger: str, record_property: Measured
) -> None:
    session = await client.begin("terminate")
    attempts = [
        step("calls"),
        step("no such"),
        step("terminate", session, "complete", SUBMIT.format(CALL)),
        step("terminate", session, "cancel"),
        step("terminate", "forged", "next"),
        step("terminate", session, "fly"),
        f"<command xmlns='{COMMANDS}'/>",
    ]
    answers = [await client.ask(attempt, stranger) for attempt in attempts]
    shown = {ET.tostring(answer[0]) for answer in answers}
    assert len(shown) == 1, "there is an oracle"
    assert conditions(answers[0]) == ["cancel", "forbidden"]
    record_property("tries", len(answers))
    record_property("commands_run", len(service.runs))
    assert service.runs == []
    # The administrator's session is as it was.
    await client.ask(step("terminate", session, "complete", SUBMIT.format(CALL)))
    assert len(service.runs) == 1


@pytest.mark.parametrize("what", ["info", "items"])
async def test_to_others_no_node_exists(client: Client, what: str) -> None:
    def query(node: str) -> str:
        return f"<query xmlns='http://jabber.org/protocol/disco#{what}' node='{node}'/>"

    stranger = STRANGERS[0]
    nodes = (COMMANDS, "calls", SHUTDOWN, "no such")
    answers = [await client.ask(query(node), stranger, "get") for node in nodes]
    assert len({ET.tostring(answer[0]) for answer in answers}) == 1
    assert conditions(answers[0]) == ["cancel", "item-not-found"]
    none = await client.ask(query("no such"), ADMIN, "get")
    assert ET.tostring(none[0]) == ET.tostring(answers[0][0])


async def test_the_feature_is_told_to_administrators(client: Client) -> None:
    query = "<query xmlns='http://jabber.org/protocol/disco#info'/>"
    for jid, told in ((ADMIN, True), (STRANGERS[0], False)):
        answer = await client.ask(query, jid, "get")
        features = [f.get("var") for f in answer.iterfind("{*}query/{*}feature")]
        assert (COMMANDS in features) is told


async def test_commands_are_of_the_component_itself(client: Client, service: AdminService) -> None:
    answer = await client.ask(step("calls"), to=f"user@{COMPONENT}")
    assert conditions(answer) == ["cancel", "service-unavailable"]
    answer = await client.ask(step("calls"), type_="get")
    assert conditions(answer) == ["cancel", "service-unavailable"]
    assert service.runs == []


async def test_who_is_no_administrator_any_more_cannot_go_on(
    client: Client, component: Component, service: AdminService
) -> None:
    session = await client.begin("terminate")
    component.administer([JID.of("deputy@example.org")], redacts=False)
    answer = await client.ask(step("terminate", session, None, SUBMIT.format(CALL)))
    assert conditions(answer) == ["cancel", "forbidden"]
    assert service.runs == []
    assert await client.begin("terminate", DEPUTY)


# Discovery


async def test_the_list_names_every_command(client: Client, service: AdminService) -> None:
    query = f"<query xmlns='http://jabber.org/protocol/disco#items' node='{COMMANDS}'/>"
    answer = await client.ask(query, type_="get")
    items = [dict(item.attrib) for item in answer.iterfind("{*}query/{*}item")]
    assert items == [
        {"jid": COMPONENT, "node": c.node or c.name, "name": c.title}
        for c in (one.command for one in service.commands)
    ]
    assert answer[0].get("node") == COMMANDS


async def test_each_command_says_what_it_is(client: Client) -> None:
    for node, name, kind in (
        (COMMANDS, "Administration", "command-list"),
        (SHUTDOWN, "Drain", "command-node"),
    ):
        query = f"<query xmlns='http://jabber.org/protocol/disco#info' node='{node}'/>"
        answer = await client.ask(query, type_="get")
        identity = answer.find("{*}query/{*}identity")
        assert identity is not None
        assert identity.attrib == {"category": "automation", "type": kind, "name": name}
        features = [f.get("var") for f in answer.iterfind("{*}query/{*}feature")]
        assert features == [COMMANDS, FORMS]


# Running


async def test_without_fields_it_completes_at_once(client: Client, service: AdminService) -> None:
    command = command_of(await client.ask(step("calls", action="execute")))
    assert (command.get("status"), command.get("node")) == ("completed", "calls")
    assert service.runs == [("calls", {})]
    assert notes(command) == [("info", "plane.up: yes, plane.engine: -, calls: 2, late: 1")]
    plain, first, second, again = command.findall(f"{{{FORMS}}}x")
    assert (plain.get("type"), plain.findtext("{*}title")) == ("result", "Calls")
    assert plain.find("{*}reported") is None  # Gajim 1.7 fails on it, and looks no further
    assert ET.tostring(again) == ET.tostring(plain)  # Psi 1.5 looks at the last, draws no table
    single = {
        f.get("var"): (f.get("type"), [v.text for v in f.iterfind("{*}value")])
        for f in plain.iterfind("{*}field")
    }
    assert single == {
        "plane.up": ("boolean", ["true"]),
        "plane.engine": ("text-single", [None]),
        "calls": (
            "text-multi",
            [
                "call s1, age s 1.5, leg a, packets 3",
                "call s1, age s 1.5, leg b, packets 4",
                "call s2, age s 2",
            ],
        ),
        "late": ("text-multi", ["leg c, packets 5"]),
    }
    reported = first.findall("{*}reported/{*}field")
    assert [f.get("label") for f in reported] == ["call", "age s", "leg", "packets"]
    validated = [f.find("{http://jabber.org/protocol/xdata-validate}validate") for f in reported]
    assert [None if v is None else v.get("datatype") for v in validated] == [
        None,
        "xs:decimal",
        None,
        None,
    ]
    rows = [
        [(f.get("var"), f.findtext("{*}value") or "") for f in item]
        for item in first.iterfind("{*}item")
    ]
    columns = [f.get("var") for f in reported]
    assert [[var for var, _ in row] for row in rows] == [columns] * 3
    assert [[value for _, value in row] for row in rows] == [
        ["s1", "1.5", "a", "3"],
        ["s1", "1.5", "b", "4"],
        ["s2", "2", "", ""],
    ]
    [packets] = [f for f in second.iterfind("{*}reported/{*}field") if f.get("var") == "packets"]
    assert packets.find("{*}validate") is not None


async def test_with_fields_it_asks_and_then_completes(
    client: Client, service: AdminService
) -> None:
    asking = command_of(await client.ask(step("terminate")))
    assert asking.get("status") == "executing"
    actions = asking.find(f"{{{COMMANDS}}}actions")
    assert actions is not None
    assert actions.get("execute") == "complete"
    assert [a.tag.rpartition("}")[2] for a in actions] == ["complete"]
    form = asking.find(f"{{{FORMS}}}x")
    assert form is not None
    assert form.get("type") == "form"
    assert [
        (f.get("var"), f.get("type"), f.findtext("{*}value"), f.find("{*}required") is not None)
        for f in form.iterfind("{*}field")
    ] == [
        ("call", "text-single", None, True),
        ("how", "list-single", "soft", False),
        ("tell", "boolean", "true", False),
        ("by", "jid-single", None, False),
    ]
    options = [o.findtext("{*}value") for o in form.iterfind("{*}field/{*}option")]
    assert options == ["soft", "hard"]
    filled = CALL + (
        "<field var='how'><value>hard</value></field><field var='tell'><value>0</value></field>"
        "<field var='by'><value>boss@example.org</value></field><field var='x'/>"
    )
    session = asking.get("sessionid")
    done = command_of(
        await client.ask(step("terminate", session, "complete", SUBMIT.format(filled)))
    )
    assert (done.get("status"), done.get("sessionid")) == ("completed", session)
    values = {"call": "s1", "how": "hard", "tell": False, "by": "boss@example.org"}
    assert service.runs == [("terminate", values)]


async def test_a_form_that_was_cut_off_is_not_run(client: Client, service: AdminService) -> None:
    session = await client.begin("terminate")
    form = SUBMIT.format(CALL + "<field/>" * 4200)
    answer = await client.ask(step("terminate", session, "complete", form))
    assert conditions(answer) == ["cancel", "service-unavailable"]
    assert service.runs == []


async def test_what_is_left_out_has_its_default(client: Client, service: AdminService) -> None:
    session = await client.begin("terminate")
    await client.ask(step("terminate", session, None, SUBMIT.format(CALL)))
    assert service.runs == [("terminate", {"call": "s1", "how": "soft", "tell": True})]


async def test_a_standard_command_has_the_standards_form_type(client: Client) -> None:
    form = command_of(await client.ask(step(SHUTDOWN))).find(f"{{{FORMS}}}x")
    assert form is not None
    hidden = form.find("{*}field[@var='FORM_TYPE']")
    assert hidden is not None
    assert hidden.findtext("{*}value") == "http://jabber.org/protocol/admin"
    form = command_of(await client.ask(step("terminate"))).find(f"{{{FORMS}}}x")
    assert form is not None
    assert form.find("{*}field[@var='FORM_TYPE']") is None


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ("", "call (The call's name) is missing"),
        ("<field var='call'><value/></field>", "is missing"),
        (CALL + CALL, "twice"),
        (CALL.replace("</field>", "<value>s2</value></field>"), "takes one value"),
        (CALL.replace("s1", "x" * 1025), "longer"),
        (CALL * 2, "is there twice: send each field once"),
        (CALL.replace("s1", "a\nb"), "is one line: send it without line breaks"),
        (CALL + "<field var='how'><value>rude</value></field>", "how must be one of: soft, hard"),
        (
            CALL + "<field var='tell'><value>maybe</value></field>",
            "is a boolean: send true or false",
        ),
        (
            CALL + "<field var='by'><value>@</value></field>",
            "by must be an XMPP address, such as user@example.org",
        ),
    ],
)
async def test_a_bad_form_can_be_corrected(
    client: Client, service: AdminService, fields: str, said: str
) -> None:
    session = await client.begin("terminate")
    answer = await client.ask(step("terminate", session, "complete", SUBMIT.format(fields)))
    assert conditions(answer) == ["modify", "bad-request", "bad-payload"]
    assert said in (answer.findtext(".//{*}text") or "")
    assert service.runs == []
    answer = await client.ask(step("terminate", session, "complete", SUBMIT.format(CALL)))
    assert command_of(answer).get("status") == "completed"


@pytest.mark.parametrize("form", ["", f"<x xmlns='{FORMS}' type='form'/>", f"<x xmlns='{FORMS}'/>"])
async def test_a_step_needs_a_submitted_form(
    client: Client, service: AdminService, form: str
) -> None:
    session = await client.begin("terminate")
    answer = await client.ask(step("terminate", session, "complete", form))
    assert conditions(answer) == ["modify", "bad-request", "bad-payload"]
    said = answer.findtext(".//{*}text")
    assert said == "the form is missing: send it filled in, of the type 'submit'"
    assert service.runs == []
    answer = await client.ask(step("terminate", session, "complete", SUBMIT.format(CALL)))
    assert command_of(answer).get("status") == "completed"


async def test_what_the_command_refuses_is_told(client: Client) -> None:
    session = await client.begin(SHUTDOWN)
    answer = await client.ask(
        step(SHUTDOWN, session, "complete", SUBMIT.format(CALL.replace("s1", "none")))
    )
    assert command_of(answer).get("status") == "completed"
    assert notes(command_of(answer)) == [("error", "no such call")]


async def test_a_mistake_of_ours_is_told_without_its_inside(client: Client) -> None:
    [(kind, said)] = notes(command_of(await client.ask(step("broken"))))
    assert (kind, said) == ("error", "the command failed; the log says why")


async def test_a_command_that_takes_too_long_is_given_up(
    client: Client, service: AdminService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adhoc, "RUN_S", 0.01)
    service.wait = asyncio.Event()
    [(kind, _)] = notes(command_of(await client.ask(step("calls"))))
    assert kind == "error"


async def test_only_so_many_run_at_a_time(client: Client, service: AdminService) -> None:
    service.wait = asyncio.Event()
    waiting = [client.send(step("calls"), ADMIN) for _ in range(adhoc.MOST_RUNNING)]
    refused = await client.ask(step("calls"))
    assert conditions(refused) == ["wait", "resource-constraint"]
    assert refused.findtext(".//{*}text") == "too many commands are running: try again in a while"
    service.wait.set()
    for id_ in waiting:
        assert command_of(await client.connection.reply(id_)).get("status") == "completed"
    assert command_of(await client.ask(step("calls"))).get("status") == "completed"


async def test_an_answer_does_not_outlive_its_stream(
    client: Client, component: Component, server: FakeServer, service: AdminService
) -> None:
    service.wait = asyncio.Event()
    id_ = client.send(step("calls"), ADMIN)
    await until(lambda: service.runs)
    server.last.cut()
    await until(lambda: len(server.connections) == 2 and component.up)
    service.wait.set()
    await client.ask(step("calls"))
    assert [s for s in server.last.stanzas if s.get("id") == id_] == []


# Sessions


async def test_cancel_ends_it(client: Client, service: AdminService) -> None:
    session = await client.begin("terminate")
    answer = command_of(await client.ask(step("terminate", session, "cancel")))
    assert (answer.get("status"), answer.get("sessionid")) == ("canceled", session)
    for action in ("complete", "cancel"):
        again = await client.ask(step("terminate", session, action, SUBMIT.format(CALL)))
        assert conditions(again) == ["cancel", "not-allowed", "session-expired"]
    assert service.runs == []


async def test_what_is_completed_is_not_completed_again(
    client: Client, service: AdminService
) -> None:
    service.wait = asyncio.Event()
    session = await client.begin("terminate")
    submitted = step("terminate", session, "complete", SUBMIT.format(CALL))
    first = client.send(submitted, ADMIN)
    assert conditions(await client.ask(submitted)) == ["cancel", "not-allowed", "session-expired"]
    service.wait.set()
    assert command_of(await client.connection.reply(first)).get("status") == "completed"
    assert len(service.runs) == 1


async def test_a_session_ends_after_ten_minutes(
    client: Client, clock: Clock, service: AdminService
) -> None:
    session = await client.begin("terminate")
    clock.now += 599.9
    other = await client.begin("terminate")
    clock.now += 0.1
    late = await client.ask(step("terminate", session, "complete", SUBMIT.format(CALL)))
    assert conditions(late) == ["cancel", "not-allowed", "session-expired"]
    assert service.runs == []
    await client.ask(step("terminate", other, "complete", SUBMIT.format(CALL)))
    assert len(service.runs) == 1


@pytest.mark.parametrize("jid", [SECOND, DEPUTY])
async def test_a_session_is_its_openers(client: Client, service: AdminService, jid: str) -> None:
    session = await client.begin("terminate")
    forged = await client.ask(step("terminate", "forged", "complete", SUBMIT.format(CALL)), jid)
    for action in ("complete", "cancel"):
        taken = await client.ask(step("terminate", session, action, SUBMIT.format(CALL)), jid)
        assert conditions(taken) == ["modify", "bad-request", "bad-sessionid"]
        assert ET.tostring(taken[0]) == ET.tostring(forged[0])
    assert service.runs == []
    await client.ask(step("terminate", session, "complete", SUBMIT.format(CALL)))
    taken = await client.ask(step("terminate", session, "complete", SUBMIT.format(CALL)), jid)
    assert conditions(taken) == ["modify", "bad-request", "bad-sessionid"]
    assert len(service.runs) == 1


async def test_a_session_is_of_one_command(client: Client, service: AdminService) -> None:
    session = await client.begin("terminate")
    answer = await client.ask(step(SHUTDOWN, session, "complete", SUBMIT.format(CALL)))
    assert conditions(answer) == ["modify", "bad-request", "bad-sessionid"]
    assert service.runs == []


@pytest.mark.parametrize(
    ("action", "in_session", "wanted"),
    [
        ("prev", True, ["modify", "bad-request", "bad-action"]),
        ("next", True, ["modify", "bad-request", "bad-action"]),
        ("fly", True, ["modify", "bad-request", "malformed-action"]),
        ("", True, ["modify", "bad-request", "malformed-action"]),
        ("complete", False, ["modify", "bad-request", "bad-action"]),
        ("cancel", False, ["modify", "bad-request", "bad-action"]),
    ],
)
async def test_actions_that_cannot_be(
    client: Client, service: AdminService, action: str, in_session: bool, wanted: list[str]
) -> None:
    session = await client.begin("terminate") if in_session else None
    answer = await client.ask(step("terminate", session, action, SUBMIT.format(CALL)))
    assert conditions(answer) == wanted
    assert service.runs == []
    if session is not None:
        await client.ask(step("terminate", session, "complete", SUBMIT.format(CALL)))
        assert len(service.runs) == 1


async def test_there_is_no_such_command(client: Client) -> None:
    for payload in (step("no such"), step("no such", "forged", "cancel"), step("")):
        assert conditions(await client.ask(payload)) == ["cancel", "item-not-found"]


async def test_too_many_sessions_cost_the_one_who_opens_them(
    client: Client, component: Component, service: AdminService
) -> None:
    deputys = await client.begin("terminate", DEPUTY)
    sessions = [await client.begin("terminate") for _ in range(adhoc.MOST_SESSIONS + 1)]
    assert len(set(sessions)) == len(sessions)
    assert component._adhoc.open_sessions == adhoc.MOST_SESSIONS + 1
    first = await client.ask(step("terminate", sessions[0], "complete", SUBMIT.format(CALL)))
    assert conditions(first) == ["cancel", "not-allowed", "session-expired"]
    for session, jid in ((sessions[1], ADMIN), (deputys, DEPUTY)):
        await client.ask(step("terminate", session, "complete", SUBMIT.format(CALL)), jid)
    assert len(service.runs) == 2


async def test_ended_sessions_are_forgotten_in_the_end(
    client: Client, component: Component, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adhoc, "REMEMBERED", 2)
    sessions = [await client.begin("terminate") for _ in range(3)]
    for session in sessions:
        await client.ask(step("terminate", session, "cancel"))
    answers = [await client.ask(step("terminate", session, "cancel")) for session in sessions]
    found = [conditions(answer)[-1] for answer in answers]
    assert found == ["bad-sessionid", "session-expired", "session-expired"]


@pytest.mark.parametrize("redacts", [False, True])
async def test_administrators_may_be_shown_addresses_without_their_last_part(
    client: Client,
    component: Component,
    service: AdminService,
    monkeypatch: pytest.MonkeyPatch,
    redacts: bool,
) -> None:
    """In the table, the lines, the single values and the note."""
    whole = ANSWER.model_copy(
        update={
            "plane": Plane(up=True, engine="at 192.0.2.10"),
            "calls": (Call(call="s1 at 192.0.2.10:5000", age_s=1.0, legs=()),),
        }
    )
    monkeypatch.setattr(sys.modules[__name__], "ANSWER", whole)
    component.administer([JID.of("admin@example.org")], redacts=redacts)
    said = ET.tostring(await client.ask(step("calls"))).decode()
    assert ("192.0.2.10" in said) is not redacts
    assert ("192.0.2.x" in said) is redacts
