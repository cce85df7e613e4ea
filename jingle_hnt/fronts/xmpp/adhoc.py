"""Ad-hoc commands (XEP-0050): what an administrator may ask, from an ordinary XMPP client.

Every command of the table is offered, and rendered from its description alone. Who may ask is
asked at every step. Whoever is no administrator learns nothing: each attempt is answered by the
same error, whether the command, the session or the form exists or not.

A session belongs to the full JID that opened it and to one command, ends with the first step that
completes or cancels it, and after ten minutes anyway.
"""

import asyncio
import secrets
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol
from xml.etree.ElementTree import Element, SubElement

import structlog
from pydantic import BaseModel

from jingle_hnt.fronts.xmpp import forms, names, tables
from jingle_hnt.fronts.xmpp.names import namespace
from jingle_hnt.fronts.xmpp.requests import stanza_error
from jingle_hnt.log import redact_text
from jingle_hnt.model.commands import Command
from jingle_hnt.model.jid import JID

log = structlog.get_logger(__name__)

COMMAND = f"{{{names.COMMANDS}}}command"
SESSION_S = 600.0
"""How long a form may stay open."""
MOST_SESSIONS = 8
"""Of one administrator; the oldest gives way to a new one."""
MOST_RUNNING = 8
"""Commands that run at a time."""
RUN_S = 60.0
"""How long a command may take to answer."""
REMEMBERED = 256
"""Ended sessions that are still known as such."""

_ACTIONS = ("execute", "complete", "cancel", "prev", "next")
_LANGUAGE = "{http://www.w3.org/XML/1998/namespace}lang"


class AdhocCommand(Protocol):
    """A command of the table and what answers it; see `admin.commands`."""

    @property
    def command(self) -> Command: ...
    @property
    def run(self) -> Callable[[Mapping[str, object]], Awaitable[BaseModel]]: ...
    @property
    def spoken(self) -> Callable[[BaseModel], Mapping[str, Sequence[str]]]: ...


@dataclass(frozen=True, slots=True)
class _Session:
    """A form that waits to be filled in."""

    opener: JID
    node: str
    expires_at: float


class AdHoc:
    """Commands for `administrators`, who may change at any time (bare JIDs).

    With `redacts` the answers have IP addresses without their last part.

    `answer` is called, now or later, with the payload of the IQ that answers a step: a <command/>,
    or an <error/>.
    """

    def __init__(
        self,
        commands: Iterable[AdhocCommand],
        administrators: Iterable[JID],
        component: str,
        redacts: bool = False,
    ) -> None:
        self.redacts = redacts
        self.administrators = frozenset(jid.bare for jid in administrators)
        self._commands = {one.command.node or one.command.name: one for one in commands}
        self._component = component
        self._sessions: OrderedDict[str, _Session] = OrderedDict()
        self._ended: OrderedDict[str, JID] = OrderedDict()
        self._running: set[asyncio.Task[None]] = set()

    @property
    def open_sessions(self) -> int:
        """Forms that wait to be filled in, the expired ones that nobody asked about included."""
        return len(self._sessions)

    def serves(self, sender: str) -> bool:
        """Return whether this is an administrator's client. The server vouches for the sender."""
        try:
            jid = JID.of(sender)
        except ValueError:
            return False
        return jid.is_full and jid.bare in self.administrators

    def stop(self) -> None:
        """End the commands that still run."""
        for task in self._running:
            task.cancel()

    # Discovery (sections 2.1 and 2.2)

    def discovered(self, query: Element, sender: str) -> Element | None:
        """The answer to a disco query about a node of ours; None where that is not for us.

        To others than administrators our nodes do not exist.
        """
        node = query.get("node")
        if node is None or not self.serves(sender):
            return None
        match namespace(query), node:
            case names.DISCO_ITEMS, names.COMMANDS:
                return self._listed(query)
            case names.DISCO_INFO, names.COMMANDS:
                return _described(query, "Administration", "command-list")
            case names.DISCO_INFO, _ if node in self._commands:
                return _described(query, self._commands[node].command.title, "command-node")
            case names.DISCO_ITEMS, _ if node in self._commands:
                return Element(query.tag, {"node": node})
        return None

    def _listed(self, query: Element) -> Element:
        answer = Element(query.tag, {"node": names.COMMANDS})
        for node, one in self._commands.items():
            item = {"jid": self._component, "node": node, "name": one.command.title}
            SubElement(answer, f"{{{names.DISCO_ITEMS}}}item", item)
        return answer

    # Steps (section 2.4)

    def step(
        self, element: Element, sender: str, now: float, answer: Callable[[Element], None]
    ) -> None:
        """Deal with one <command/>."""
        if not self.serves(sender):
            log.debug("ad-hoc command refused: not an administrator", sender=sender)
            answer(stanza_error("forbidden", "cancel", "you are no administrator here"))
            return
        opener = JID.of(sender)
        self._expire(now)
        node, action = element.get("node", ""), element.get("action", "execute")
        one = self._commands.get(node)
        if one is None:
            answer(stanza_error("item-not-found", "cancel", "there is no such command"))
        elif action not in _ACTIONS:
            why = f"actions are: {', '.join(_ACTIONS)}"
            answer(_refusal("bad-request", "modify", "malformed-action", why))
        elif (id_ := element.get("sessionid")) is None:
            self._begin(one, node, action, opener, now, answer)
        elif (error := self._fault(id_, node, opener)) is not None:
            answer(error)
        else:
            self._go_on(one, node, id_, element, answer)

    def _begin(
        self,
        one: AdhocCommand,
        node: str,
        action: str,
        opener: JID,
        now: float,
        answer: Callable[[Element], None],
    ) -> None:
        id_ = secrets.token_urlsafe(18)
        if action != "execute":
            why = "a command begins with the action execute"
            answer(_refusal("bad-request", "modify", "bad-action", why))
        elif not one.command.fields:
            self._run(one, node, id_, {}, opener, answer)
        else:
            self._make_room(opener.bare)
            self._sessions[id_] = _Session(opener, node, now + SESSION_S)
            answer(_asking(one.command, node, id_))

    def _fault(self, id_: str, node: str, opener: JID) -> Element | None:
        """Return what is wrong with a session that this sender names; None if it is in order.

        A session of somebody else is one that does not exist.
        """
        session = self._sessions.get(id_)
        if session is not None and (session.opener, session.node) == (opener, node):
            return None
        if session is None and self._ended.get(id_) == opener:
            why = "this session is over: begin the command anew"
            return _refusal("not-allowed", "cancel", "session-expired", why)
        why = "you have no such session of this command"
        return _refusal("bad-request", "modify", "bad-sessionid", why)

    def _go_on(
        self,
        one: AdhocCommand,
        node: str,
        id_: str,
        element: Element,
        answer: Callable[[Element], None],
    ) -> None:
        match element.get("action", "execute"):
            case "cancel":
                self._end(id_)
                answer(_command(node, id_, "canceled"))
            case "execute" | "complete":
                try:
                    values = forms.filled_in(forms.form_in(element), one.command.fields)
                except forms.BadForm as error:
                    answer(_refusal("bad-request", "modify", "bad-payload", str(error)))
                    return
                opener = self._sessions[id_].opener
                # Over before it runs, so that a repeated stanza runs nothing twice.
                if self._is_free(answer):
                    self._end(id_)
                    self._run(one, node, id_, values, opener, answer)
            case _:
                why = "this form is the only one: complete it, or cancel"
                answer(_refusal("bad-request", "modify", "bad-action", why))

    # Sessions

    def _expire(self, now: float) -> None:
        while self._sessions:
            id_, session = next(iter(self._sessions.items()))
            if session.expires_at > now:
                return
            self._end(id_)

    def _make_room(self, administrator: JID) -> None:
        own = [id_ for id_, s in self._sessions.items() if s.opener.bare == administrator]
        for id_ in own[: max(0, len(own) - MOST_SESSIONS + 1)]:
            self._end(id_)

    def _end(self, id_: str) -> None:
        self._remember(id_, self._sessions.pop(id_).opener)

    def _remember(self, id_: str, opener: JID) -> None:
        self._ended[id_] = opener
        while len(self._ended) > REMEMBERED:
            self._ended.popitem(last=False)

    # Running

    def _is_free(self, answer: Callable[[Element], None]) -> bool:
        if len(self._running) < MOST_RUNNING:
            return True
        why = "too many commands are running: try again in a while"
        answer(stanza_error("resource-constraint", "wait", why))
        return False

    def _run(
        self,
        one: AdhocCommand,
        node: str,
        id_: str,
        values: Mapping[str, object],
        opener: JID,
        answer: Callable[[Element], None],
    ) -> None:
        if not self._is_free(answer):
            return
        if one.command.changes:
            log.info("ad-hoc command", command=one.command.name, administrator=str(opener))
        self._remember(id_, opener)
        task = asyncio.get_running_loop().create_task(
            self._run_and_answer(one, node, id_, values, answer)
        )
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _run_and_answer(
        self,
        one: AdhocCommand,
        node: str,
        id_: str,
        values: Mapping[str, object],
        answer: Callable[[Element], None],
    ) -> None:
        done = _command(node, id_, "completed")
        try:
            async with asyncio.timeout(RUN_S):
                found = await one.run(values)
            layout = tables.lay_out(found, one.spoken(found))
            layout = layout.redacted(redact_text) if self.redacts else layout
        except ValueError as error:
            _note(done, "error", str(error))
        except TimeoutError:
            _note(done, "error", f"there was no answer within {RUN_S:g} seconds")
        except Exception:
            log.exception("an ad-hoc command failed", command=one.command.name)
            _note(done, "error", "the command failed; the log says why")
        else:
            _conclude(done, one.command, layout)
        answer(done)


def _asking(command: Command, node: str, id_: str) -> Element:
    """The stage that asks for a command's fields, which is its first and last."""
    element = _command(node, id_, "executing")
    actions = SubElement(element, f"{{{names.COMMANDS}}}actions", {"execute": "complete"})
    SubElement(actions, f"{{{names.COMMANDS}}}complete")
    element.append(forms.question(command.title, command.fields, _form_type(command)))
    return element


def _conclude(done: Element, command: Command, layout: tables.Layout) -> None:
    """Say it in a line and show it in forms; some clients look at one of the two only."""
    _note(done, "info", layout.summary or "done")
    for table in layout.tables:
        if len(table.rows) < table.total:
            shown = f"{table.name}: {len(table.rows)} of {table.total} rows fit in here;"
            _note(done, "warn", f"{shown} `jingle-hnt {command.name}` shows all")
    done.extend(forms.results(command.title, layout, _form_type(command)))


def _form_type(command: Command) -> str | None:
    """XEP-0133 fixes the FORM_TYPE of the commands that it has nodes for."""
    known = command.node is not None and command.node.startswith(f"{names.ADMIN}#")
    return names.ADMIN if known else None


def _command(node: str, id_: str, status: str) -> Element:
    attributes = {"node": node, "sessionid": id_, "status": status, _LANGUAGE: "en"}
    return Element(COMMAND, attributes)


def _note(command: Element, type_: str, text: str) -> None:
    SubElement(command, f"{{{names.COMMANDS}}}note", {"type": type_}).text = text


def _refusal(condition: str, type_: str, specific: str, text: str) -> Element:
    """An error with the condition that XEP-0050 section 4.4 adds."""
    error = stanza_error(condition, type_, text)
    SubElement(error, f"{{{names.COMMANDS}}}{specific}")
    return error


def _described(query: Element, name: str, type_: str) -> Element:
    info = Element(query.tag, {"node": query.get("node", "")})
    identity = {"category": "automation", "type": type_, "name": name}
    SubElement(info, f"{{{names.DISCO_INFO}}}identity", identity)
    for feature in (names.COMMANDS, names.DATA_FORMS):
        SubElement(info, f"{{{names.DISCO_INFO}}}feature", {"var": feature})
    return info
