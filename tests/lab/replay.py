"""Plays exchanges between two users of a real server, and says what became of each stanza."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Self
from xml.etree import ElementTree as ET
from xml.sax.saxutils import quoteattr

from tests.fronts.xmpp.exchanges import PARTIES, Exchange, Step, written
from tests.lab.xmpp_actors import JINGLE, Client, Element, XMPPServer, bare_name

AT_ONCE = 24
"""So many exchanges go on side by side."""
PATIENCE_S = 20.0
PROPOSALS = "{urn:xmpp:jingle-message:0}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the receiver got, and what the sender was answered; None for nothing."""

    arrived: Element | None
    answered: Element | None


Outcomes = dict[str, list[Outcome]]
"""By the name of the exchange, one of each of its stanzas."""


@dataclass(slots=True)
class _Waiting:
    """A stanza on its way."""

    error: Element | None
    arrived: asyncio.Future[Element] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )
    answered: asyncio.Future[Element] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )


class Listener(Client):
    """A client that answers every request at once, as its exchange has it."""

    def __init__(self, jid: str) -> None:
        super().__init__(jid)
        self.waiting: dict[str, _Waiting] = {}
        self.strays: list[Element] = []
        self.listening = False

    def listen(self, waiting: dict[str, _Waiting]) -> Self:
        """Be online, and take every stanza from now on."""
        self.waiting, self.listening = waiting, True
        self.send("<presence/>")
        return self

    def _on_event(self, event: str, element: Element) -> None:
        super()._on_event(event, element)
        while self.listening and self.inbox:
            self._take(self.inbox.pop(0))

    def _take(self, stanza: Element) -> None:
        kind = bare_name(stanza)
        if kind == "presence":
            return
        expected = self.waiting.get(stanza.get("id", ""))
        if expected is None:
            self.strays.append(stanza)
            return
        is_answer = kind == "iq" and stanza.get("type") in ("result", "error")
        future = expected.answered if is_answer else expected.arrived
        if future.done():
            self.strays.append(stanza)
            return
        future.set_result(stanza)
        if kind == "iq" and not is_answer:
            self._answer(stanza, expected.error)

    def _answer(self, stanza: Element, error: Element | None) -> None:
        if error is None:
            self.acknowledge(stanza)
            return
        inside = "".join(written(child) for child in error)
        to, id_ = quoteattr(stanza.get("from", "")), stanza.get("id")
        self.send(f"<iq type='error' to={to} id='{id_}'>{inside}</iq>")


class Players:
    """A caller and a callee, online."""

    def __init__(self, caller: Listener, callee: Listener) -> None:
        self.waiting: dict[str, _Waiting] = {}
        self.pair = (caller.listen(self.waiting), callee.listen(self.waiting))

    @classmethod
    @asynccontextmanager
    async def online(cls, server: XMPPServer, places: tuple[str, str]) -> AsyncIterator[Self]:
        """Log both in, each from its place (an address)."""
        async with AsyncExitStack() as stack:
            pair = [
                await stack.enter_async_context(await Listener.login(server, jid, local=place))
                for jid, place in zip(PARTIES, places, strict=True)
            ]
            yield cls(*pair)

    @property
    def strays(self) -> list[Element]:
        """What nobody of the two has sent, or what came twice."""
        return [stray for player in self.pair for stray in player.strays]

    async def play(self, exchanges: Sequence[Exchange]) -> Outcomes:
        """Play them all, several at a time; each gets a session id of its own."""
        found: Outcomes = {}
        turns = asyncio.Semaphore(AT_ONCE)

        async def one(number: int, exchange: Exchange) -> None:
            async with turns:
                found[exchange.name] = [
                    await self._step(step, f"s{number}.{place}", str(number))
                    for place, step in enumerate(exchange.steps)
                ]

        async with asyncio.TaskGroup() as group:
            for number, exchange in enumerate(exchanges):
                group.create_task(one(number, exchange))
        return found

    async def _step(self, step: Step, id_: str, mark: str) -> Outcome:
        sender, receiver = self.pair[step.sender], self.pair[1 - step.sender]
        to = (sender if step.own else receiver).jid
        stanza = _renamed(step.stanza, mark)
        stanza.set("id", id_)
        stanza.set("to", to.partition("/")[0] if step.bare else to)
        stanza.attrib.pop("from", None)
        waiting = self.waiting[id_] = _Waiting(step.error)
        sender.send(written(stanza))
        ends = waiting.answered if step.is_iq else waiting.arrived
        with suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(ends), PATIENCE_S)
        return Outcome(_result(waiting.arrived), _result(waiting.answered))


def _result(future: asyncio.Future[Element]) -> Element | None:
    return future.result() if future.done() else None


def _renamed(stanza: Element, mark: str) -> Element:
    """A copy whose session is no other exchange's."""
    copy = deepcopy(stanza)
    for element in copy.iter():
        if element.tag == f"{{{JINGLE}}}jingle" and element.get("sid"):
            element.set("sid", f"{element.get('sid')}.{mark}")
        elif element.tag.startswith(PROPOSALS) and element.get("id"):
            element.set("id", f"{element.get('id')}.{mark}")
    return copy


# What may differ

_TRANSPORTS = tuple(
    f"{{urn:xmpp:jingle:transports:{kind}}}" for kind in ("raw-udp:1", "ice-udp:1", "ice:0")
)


def canonical(element: Element | None) -> str:
    """A form in which equal XML is equal text, whatever its prefixes."""
    if element is None:
        return ""
    return ET.canonicalize(ET.tostring(element, encoding="unicode"), rewrite_prefixes=True)


def same_but_for_relay(
    before: Element, after: Element, relay: str, terminates: bool = False
) -> bool:
    """Whether two stanzas differ only by the relay in transports that it is in.

    Beside the candidates of an agent ours are added; those of raw-udp, and with `terminates` those
    of an agent with its credentials, are replaced.
    """
    if canonical(before) == canonical(after):
        return True
    one, other = deepcopy(before), deepcopy(after)
    pairs = zip(_transports(one), _transports(other), strict=False)
    for theirs, ours in pairs:
        candidates = _candidates(ours)
        in_it = [c for c in candidates if c.get("ip") == relay]
        replaced = terminates or _kind(ours) == _TRANSPORTS[0]
        if replaced and len(in_it) == len(candidates):
            for transport in (theirs, ours):
                _strip(transport, _candidates(transport))
                if terminates:  # whose agent can do that is not ours
                    _strip(transport, [c for c in transport if bare_name(c) == "renomination"])
                for name in ("ufrag", "pwd", "ice2") if terminates else ():
                    transport.attrib.pop(name, None)
        elif not replaced and in_it:
            _strip(ours, in_it)
    return canonical(one) == canonical(other)


def addresses_told(stanza: Element, relay: str) -> set[str]:
    """Addresses other than the relay's in the transports that it is in."""
    return {
        candidate.get("ip", "")
        for transport in _transports(stanza)
        if any(c.get("ip") == relay for c in _candidates(transport))
        for candidate in _candidates(transport)
    } - {relay}


def _transports(stanza: Element) -> list[Element]:
    content = f"{{{JINGLE}}}content"
    return [t for c in stanza.iter(content) for t in c if _kind(t) and bare_name(t) == "transport"]


def _kind(transport: Element) -> str:
    return next((kind for kind in _TRANSPORTS if transport.tag.startswith(kind)), "")


def _candidates(transport: Element) -> list[Element]:
    names = (f"{_kind(transport)}candidate", f"{_kind(transport)}remote-candidate")
    return [child for child in transport if child.tag in names]


def _strip(parent: Element, children: Sequence[Element]) -> None:
    """Take children away and leave the text around them."""
    for child in children:
        before = list(parent).index(child) - 1
        if before >= 0:
            parent[before].tail = (parent[before].tail or "") + (child.tail or "")
        else:
            parent.text = (parent.text or "") + (child.tail or "")
        parent.remove(child)
