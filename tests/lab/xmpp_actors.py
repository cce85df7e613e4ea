"""Plain fakes that speak XMPP to a real server: a client and an external component.

They are bare on purpose: a test decides every byte, sees every stanza, and chooses the address it
connects from. Elements are xml.etree elements with namespaces as the stream carried them.
"""

import asyncio
import base64
import hashlib
import itertools
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self, cast
from xml.etree import ElementTree as ET
from xml.sax.saxutils import quoteattr

Element = ET.Element
_Events = Iterator[tuple[str, Element]]

INTERCEPT = "urn:hnt:intercept:0"
FORWARD = "urn:xmpp:forward:0"
JINGLE = "urn:xmpp:jingle:1"
CONDITIONS = "urn:ietf:params:xml:ns:xmpp-stanzas"
CLIENT = "jabber:client"
COMPONENT = "jabber:component:accept"
_BIND = "urn:ietf:params:xml:ns:xmpp-bind"
_SASL = "urn:ietf:params:xml:ns:xmpp-sasl"
_SM = "urn:xmpp:sm:3"

PATIENCE_S = 30.0
"""How long an actor waits for what has to come."""

_numbers = itertools.count(1)


class XMPPServer(Protocol):
    """What actors and contract tests need of a server, whichever it is."""

    @property
    def c2s(self) -> tuple[str, int]:
        """Where clients connect."""

    @property
    def component(self) -> tuple[str, int]:
        """Where components connect."""

    def log_text(self) -> str:
        """The server's log so far."""

    async def reload_module(self, on: bool, domain: str | None = None) -> None:
        """Load the server module anew, or unload it."""


class Disconnected(Exception):
    """The stream ended while an actor was waiting for a stanza."""


class Refused(Exception):
    """The server did not let the actor in."""


def unique(prefix: str = "id") -> str:
    """A name that no other stanza of this test run has."""
    return f"{prefix}-{next(_numbers)}"


def bare_name(element: Element) -> str:
    """The element's name without its namespace."""
    return element.tag.rpartition("}")[2]


def as_text(element: Element) -> str:
    """The element as a string that can be sent inside any other namespace."""
    return ET.tostring(element, encoding="unicode")


def canonical(element: Element) -> str:
    """A form in which equal XML is equal text."""
    return ET.canonicalize(as_text(element))


class Stream:
    """One XML stream; stanzas that nobody waited for stay in `inbox`, oldest first."""

    def __init__(self) -> None:
        self.inbox: list[Element] = []
        self._writer: asyncio.StreamWriter | None = None
        self._task: asyncio.Task[None] | None = None
        self._news = asyncio.Event()
        self._ended = False
        self._header: dict[str, str] = {}
        self._parser: ET.XMLPullParser[Element] = ET.XMLPullParser(["start", "end"])
        self._root: Element | None = None
        self._depth = 0

    async def open(self, endpoint: tuple[str, int], local: str | None = None) -> None:
        """Connect, from the address `local` if given."""
        _, self._writer = await asyncio.open_connection(
            *endpoint, local_addr=(local, 0) if local else None
        )
        self._begin_to_read()

    def _begin_to_read(self) -> None:
        # By another descriptor: a transport that fails to write throws away what has come.
        assert self._writer is not None
        transport = cast(asyncio.Transport, self._writer.transport)
        transport.pause_reading()
        connection: socket.socket = transport.get_extra_info("socket").dup()
        connection.setblocking(False)
        self._task = asyncio.create_task(self._read(connection))

    async def header(self, text: str) -> dict[str, str]:
        """(Re)start the stream with this header; returns the attributes of the server's."""
        self._parser = ET.XMLPullParser(["start", "end"])
        self._root, self._header, self._depth = None, {}, 0
        self.send(text)
        async with asyncio.timeout(PATIENCE_S):
            while not self._header:
                await self._wait_news()
        return self._header

    @property
    def is_open(self) -> bool:
        """Whether there is a connection as far as we know."""
        return self._writer is not None and not self._ended

    def send(self, text: str) -> None:
        """Put this text on the stream."""
        assert self._writer is not None, "open the stream first"
        self._writer.write(text.encode())

    async def flushed(self) -> None:
        """Wait until the system took over what was sent."""
        assert self._writer is not None, "open the stream first"
        await self._writer.drain()

    async def next(
        self, wanted: Callable[[Element], bool] = lambda _: True, patience_s: float = PATIENCE_S
    ) -> Element:
        """Take the oldest stanza that is wanted out of the inbox, waiting for it if need be.

        Raises TimeoutError, with what did come, or Disconnected.
        """
        try:
            async with asyncio.timeout(patience_s):
                while True:
                    for element in self.inbox:
                        if wanted(element):
                            self.inbox.remove(element)
                            return element
                    if self._ended:
                        raise Disconnected
                    await self._wait_news()
        except TimeoutError:
            came = "\n".join(map(as_text, self.inbox)) or "nothing"
            raise TimeoutError(f"what was waited for did not come, but: {came}") from None

    async def turn_deaf(self) -> None:
        """Read nothing any more, as if the host had been cut off; the connection stays."""
        assert self._task is not None, "open the stream first"
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task

    async def ended(self) -> None:
        """Wait until the server closed the stream."""
        async with asyncio.timeout(PATIENCE_S):
            while not self._ended:
                await self._wait_news()

    async def close(self) -> None:
        """Close the stream in an orderly way."""
        if self._writer is not None and not self._ended:
            self.send("</stream:stream>")
            with suppress(ConnectionError):
                await self.flushed()
        await self.abort()

    async def abort(self) -> None:
        """Cut the connection without a word."""
        writer, self._writer = self._writer, None
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        if writer is not None:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    async def drop(self) -> None:
        """The same without what was not sent yet: a server that reads slowly is not waited for."""
        if self._writer is not None:
            self._writer.transport.abort()
        await self.abort()

    async def _wait_news(self) -> None:
        self._news.clear()
        if not self._ended:
            await self._news.wait()

    async def _read(self, connection: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        try:
            while data := await loop.sock_recv(connection, 65536):
                self._parser.feed(data)
                for event, element in cast(_Events, self._parser.read_events()):
                    self._on_event(event, element)
                self._news.set()
        except (ConnectionError, ET.ParseError):
            pass
        finally:
            connection.close()
            self._ended = True
            self._news.set()

    def _on_event(self, event: str, element: Element) -> None:
        if event == "start":
            self._depth += 1
            if self._depth == 1:
                self._root, self._header = element, dict(element.attrib)
            return
        self._depth -= 1
        if self._depth == 1 and self._root is not None:
            self._root.clear()
            self.inbox.append(element)


class _Actor(Stream):
    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def reply_to(self, stanza_id: str) -> Element:
        """The result or error with this id."""
        return await self.next(
            lambda e: e.get("id") == stanza_id and e.get("type") in ("result", "error")
        )


class Client(_Actor):
    """A logged-in client; `jid` is its full JID, `resumption` its XEP-0198 token if it has one."""

    def __init__(self, jid: str) -> None:
        super().__init__()
        self.jid = jid
        self.resumption: str | None = None
        self._domain = jid.partition("@")[2].partition("/")[0]

    @classmethod
    async def login(
        cls, server: XMPPServer, jid: str, password: str = "secret", local: str | None = None
    ) -> Self:
        """Connect (from `local`), authenticate and bind the resource of `jid`."""
        client = cls(jid)
        await client._authenticate(server, password, local)
        bind = unique("bind")
        resource = jid.partition("/")[2]
        client.send(
            f"<iq type='set' id='{bind}'><bind xmlns='{_BIND}'>"
            f"<resource>{resource}</resource></bind></iq>"
        )
        answer = await client.reply_to(bind)
        if answer.findtext(f".//{{{_BIND}}}jid") != jid:
            raise Refused(as_text(answer))
        return client

    @classmethod
    async def resume(
        cls, server: XMPPServer, lost: "Client", password: str = "secret", local: str | None = None
    ) -> Self:
        """Take over the session of `lost` on a new connection (XEP-0198)."""
        client = cls(lost.jid)
        await client._authenticate(server, password, local)
        client.send(f"<resume xmlns='{_SM}' h='0' previd='{lost.resumption}'/>")
        answer = await client.next(lambda e: e.tag.startswith(f"{{{_SM}}}"))
        if bare_name(answer) != "resumed":
            raise Refused(as_text(answer))
        client.resumption = lost.resumption
        return client

    async def enable_acknowledgements(self, resume: bool) -> None:
        """Ask for XEP-0198, with resumption or without; nothing will ever be acknowledged."""
        self.send(f"<enable xmlns='{_SM}' resume='{str(resume).lower()}'/>")
        answer = await self.next(lambda e: e.tag == f"{{{_SM}}}enabled")
        self.resumption = answer.get("id")

    async def _authenticate(self, server: XMPPServer, password: str, local: str | None) -> None:
        await self.open(server.c2s, local)
        await self._features()
        user = self.jid.partition("@")[0]
        proof = base64.b64encode(f"\0{user}\0{password}".encode()).decode()
        self.send(f"<auth xmlns='{_SASL}' mechanism='PLAIN'>{proof}</auth>")
        answer = await self.next()
        if bare_name(answer) != "success":
            raise Refused(as_text(answer))
        await self._features()

    async def _features(self) -> None:
        await self.header(
            f"<stream:stream to='{self._domain}' version='1.0' xmlns='{CLIENT}'"
            " xmlns:stream='http://etherx.jabber.org/streams'>"
        )
        await self.next(lambda e: bare_name(e) == "features")

    # What clients of a call say

    def request(
        self, to: str, action: str, sid: str, payload: str = "", stanza_id: str | None = None
    ) -> str:
        """Send a Jingle request; returns its id."""
        stanza_id = stanza_id or unique(action)
        self.send(
            f"<iq type='set' to={quoteattr(to)} id='{stanza_id}'>"
            f"<jingle xmlns='{JINGLE}' action='{action}' sid='{sid}'>{payload}</jingle></iq>"
        )
        return stanza_id

    def acknowledge(self, stanza: Element) -> None:
        """Answer with an empty result."""
        self.send(
            f"<iq type='result' to={quoteattr(stanza.get('from', ''))} id='{stanza.get('id')}'/>"
        )

    def reject(self, stanza: Element, condition: str = "item-not-found", extra: str = "") -> None:
        """Answer with an error."""
        self.send(
            f"<iq type='error' to={quoteattr(stanza.get('from', ''))} id='{stanza.get('id')}'>"
            f"<error type='cancel'><{condition} xmlns='{CONDITIONS}'/>{extra}</error></iq>"
        )

    async def next_request(self, sid: str | None = None) -> Element:
        """The next Jingle request that arrived (of this session)."""

        def wanted(element: Element) -> bool:
            jingle = element.find(f"{{{JINGLE}}}jingle")
            return (
                element.get("type") == "set"
                and jingle is not None
                and (sid is None or jingle.get("sid") == sid)
            )

        return await self.next(wanted)

    async def caught_up(self) -> list[Element]:
        """What is in the inbox once the server has dealt with all that this client sent."""
        ping = unique("ping")
        self.send(
            f"<iq type='get' to='{self._domain}' id='{ping}'><ping xmlns='urn:xmpp:ping'/></iq>"
        )
        await self.reply_to(ping)
        return list(self.inbox)


@dataclass(frozen=True, slots=True)
class Question:
    """A held stanza about which the server asks the component."""

    iq: Element
    intercept: Element
    stanza: Element

    @property
    def id(self) -> str:
        """The id of the server's IQ."""
        return self.iq.get("id", "")

    @property
    def jingle(self) -> Element:
        """The payload of the held stanza."""
        jingle = self.stanza.find(f"{{{JINGLE}}}jingle")
        assert jingle is not None, as_text(self.iq)
        return jingle


class Component(_Actor):
    """An external component (XEP-0114) that answers questions as the test says."""

    def __init__(self, domain: str) -> None:
        super().__init__()
        self.domain = domain

    @classmethod
    async def connect(cls, server: XMPPServer, domain: str, secret: str = "secret") -> Self:
        """Connect and shake hands; raises Refused if the server does not want it."""
        component = cls(domain)
        await component.open(server.component)
        header = await component.header(
            f"<stream:stream to='{domain}' xmlns='{COMPONENT}'"
            " xmlns:stream='http://etherx.jabber.org/streams'>"
        )
        proof = hashlib.sha1((header["id"] + secret).encode()).hexdigest()
        component.send(f"<handshake>{proof}</handshake>")
        answer = await component.next()
        if bare_name(answer) != "handshake":
            await component.abort()
            raise Refused(as_text(answer))
        return component

    async def question(self, sid: str | None = None) -> Question:
        """The next question (about this session)."""

        def wanted(element: Element) -> bool:
            found = _question(element)
            return found is not None and (sid is None or found.jingle.get("sid") == sid)

        found = _question(await self.next(wanted))
        assert found is not None
        return found

    async def ring(self, sid: str) -> Question:
        """The question about the message that makes a phone ring for this call."""

        def wanted(element: Element) -> bool:
            found = _question(element, "message")
            return found is not None and found.stanza[0].get("id") == sid

        found = _question(await self.next(wanted), "message")
        assert found is not None
        return found

    def answer(
        self, question: Question, action: str, payload: str = "", attributes: str = ""
    ) -> None:
        """Answer with this action; `payload` is what belongs inside <intercept/>."""
        self.send(
            f"<iq type='result' from='{self.domain}' to='{question.iq.get('from')}'"
            f" id='{question.id}'><intercept xmlns='{INTERCEPT}' action='{action}' {attributes}>"
            f"{payload}</intercept></iq>"
        )

    def replace(self, question: Question, jingle: str, attributes: str = "") -> None:
        """Answer that the stanza goes on with this payload."""
        iq = f"<iq xmlns='{CLIENT}' {attributes}>{jingle}</iq>"
        self.answer(question, "replace", f"<forwarded xmlns='{FORWARD}'>{iq}</forwarded>")

    def fail(self, question: Question) -> None:
        """Answer with an error."""
        self.send(
            f"<iq type='error' from='{self.domain}' to='{question.iq.get('from')}'"
            f" id='{question.id}'><error type='wait'>"
            f"<internal-server-error xmlns='{CONDITIONS}'/></error></iq>"
        )

    async def event(self, name: str) -> Element:
        """The <intercept/> of the next event of this name."""
        path = f"{{{INTERCEPT}}}intercept[@event='{name}']"
        message = await self.next(lambda e: e.find(path) is not None)
        intercept = message.find(path)
        assert intercept is not None
        assert bare_name(message) == "message"
        assert message.get("to") == self.domain
        return intercept

    async def request(self, to: str, kind: str, payload: str, sender: str | None = None) -> Element:
        """Send an IQ get or set to the server; returns the answer."""
        stanza_id = unique("request")
        self.send(
            f"<iq type='{kind}' from='{sender or self.domain}' to='{to}' id='{stanza_id}'>"
            f"{payload}</iq>"
        )
        return await self.reply_to(stanza_id)

    async def inject(self, via: str, iq: str) -> Element:
        """Have this IQ sent by the module of `via`; returns the module's answer."""
        return await self.request(
            via,
            "set",
            f"<inject xmlns='{INTERCEPT}'><forwarded xmlns='{FORWARD}'>{iq}</forwarded></inject>",
        )


def condition_of(stanza: Element) -> str:
    """The defined condition of an error stanza, whatever its stream's namespace."""
    for element in stanza.iter():
        name = bare_name(element)
        if element.tag == f"{{{CONDITIONS}}}{name}" and name != "text":
            return name
    raise AssertionError(f"no error: {as_text(stanza)}")


def _question(element: Element, kind: str = "iq") -> Question | None:
    intercept = element.find(f"{{{INTERCEPT}}}intercept")
    if bare_name(element) != "iq" or element.get("type") != "set" or intercept is None:
        return None
    stanza = intercept.find(f"{{{FORWARD}}}forwarded/{{{CLIENT}}}{kind}")
    return None if stanza is None else Question(element, intercept, stanza)
