"""The table of commands: every entry has its functions, and no more is needed for a new one."""

import importlib
from collections.abc import Mapping
from xml.etree import ElementTree as ET

import pytest

from jingle_hnt import cli
from jingle_hnt.admin import commands as admin_commands
from jingle_hnt.admin.commands import served
from jingle_hnt.admin.rehearsal import Rehearsals
from jingle_hnt.admin.server import AdminServer
from jingle_hnt.admin.service import AdminService
from jingle_hnt.admin.snapshots import LogSnapshot
from jingle_hnt.commands import operate
from jingle_hnt.fronts.xmpp import forms
from jingle_hnt.model.commands import COMMANDS, GROUPS, Command, Field, named
from tests.admin.backend import Backend


def test_each_entry_of_the_command_line_has_its_function() -> None:
    for command in COMMANDS:
        assert bool(command.help) == bool(command.function)
        if command.function:
            module, _, function = command.function.partition(":")
            found = importlib.import_module(f"jingle_hnt.commands.{module}")
            assert callable(getattr(found, function)), command.name
        assert command.title or not command.asked, command.name


def test_each_entry_that_a_process_is_asked_has_one_function_there(service: AdminService) -> None:
    asked = [command.name for command in COMMANDS if command.title]
    played = [one.command.name for one in served(Rehearsals.__new__(Rehearsals))]
    assert played == [command.name for command in COMMANDS if command.is_local]
    assert [one.command.name for one in service.commands] == [n for n in asked if n not in played]


def test_names_are_unique_and_groups_are_told() -> None:
    names = [command.name for command in COMMANDS]
    assert len(set(names)) == len(names)
    assert {name.split()[0] for name in names if " " in name} == set(GROUPS)
    assert named("status").title == "Status"


def test_an_option_that_can_be_set_is_a_choice_of_the_form(
    backend: Backend, service: AdminService
) -> None:
    (one,) = (one.command for one in service.commands if one.command.name == "set")
    assert one.fields[0].options == tuple(backend.options)


async def test_a_new_command_is_one_entry_and_its_functions(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The recipe of CONTRIBUTING: parser, request, form and answer follow from the entry."""
    who = Field("who", "Whom to greet", required=True, metavar="NAME", help="a name")
    greet = Command("greet", "Greet", "greet somebody", "operate:greet", (who,), has_json=True)
    sent: list[tuple[str, Mapping[str, object]]] = []

    class Greetings:
        async def greet(self, request: Mapping[str, object]) -> LogSnapshot:
            return LogSnapshot(level=f"hello {request['who']}")

    def ask(_: object, name: str, **fields: object) -> dict[str, object]:
        sent.append((name, fields))
        return {"level": "hello Alice"}

    def greeting(options: object) -> int:
        return operate._said(options, lambda answer: answer["level"])  # type: ignore[arg-type]

    monkeypatch.setattr(cli, "COMMANDS", (*COMMANDS, greet))
    monkeypatch.setattr(admin_commands, "COMMANDS", (*COMMANDS, greet))
    monkeypatch.setattr("jingle_hnt.commands.asking.ask", ask)
    monkeypatch.setattr(operate, "greet", greeting, raising=False)
    assert cli.main(["greet", "Alice"]) == 0
    assert sent == [("greet", {"who": "Alice"})]
    assert capsys.readouterr().out == "hello Alice\n"
    (one,) = served(Greetings())
    server = AdminServer.__new__(AdminServer)
    server._commands = {one.command.name: one}
    answer = await server._answer(b'{"command": "greet", "who": "Bob"}\n')
    assert b"hello Bob" in answer
    form = forms.question(one.command.title, one.command.fields, None)
    assert b"Whom to greet" in ET.tostring(form)
