"""The link to the XMPP server: kept up for ever, bounded, and never stale.

A stanza is sent now or never. XEP-0114 has no resumption, so what was to be said on a stream that
broke is void: the server modules decide by themselves when the stream goes, and forget us.
"""

import asyncio
import random
import secrets
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import ip_address
from xml.etree.ElementTree import Element, SubElement

import structlog

from jingle_hnt.errors import ConfigurationError, SecretRefused
from jingle_hnt.fronts.xmpp import names
from jingle_hnt.fronts.xmpp.rivals import Rivals
from jingle_hnt.fronts.xmpp.sendqueue import SendQueue
from jingle_hnt.fronts.xmpp.serialise import serialise
from jingle_hnt.fronts.xmpp.stream import ComponentStream
from jingle_hnt.fronts.xmpp.stream_reader import Broken, Closed, Event, Stanza
from jingle_hnt.fronts.xmpp.streamerrors import explain, stream_error
from jingle_hnt.model.address import IPNetwork

log = structlog.get_logger(__name__)

CONNECT_S = 2.0
HANDSHAKE_S = 12.0
"""A server that has just started may take a while: who begins anew waits longer."""
SHORTEST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 2.0
"""With `CONNECT_S` it keeps the time from the server's return to ours below 5 s."""
MISSES = 3
"""Unanswered pings after which the stream is given up."""
USER_TIMEOUT_S = 12
"""For how long the kernel waits for an acknowledgement of what we sent (TCP_USER_TIMEOUT).

With pings every 10 s a cut that nobody is told of is noticed within 22 s, and healed within 30.
"""
LARGEST_SENT = 500_000
"""Bytes of a stanza of ours: above 512 kB Prosody closes a component's stream."""


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class ConnectionSettings:
    """The server and the component's domain. `ping_s` is the time between pings.

    `read_secret` is asked before each attempt to connect, so that a secret may change; it raises
    ConfigurationError where there is none. Without it `secret` holds. `host` is an IP address, or a
    name that is resolved for each connection; its address must be loopback, or in `trusted`.
    """

    jid: str
    secret: str = field(repr=False)
    host: str = "127.0.0.1"
    port: int = 5347
    ping_s: float = 10.0
    trusted: tuple[IPNetwork, ...] = ()
    read_secret: Callable[[], str] | None = field(default=None, repr=False)


class ServerConnection:
    """Connects, and connects again, until `run` is cancelled or `stop` is called.

    `on_stanza` is called for each stanza of a stream that is up. `on_up` and `on_down` (with the
    reason) alternate, except that attempts which fail for another reason than the last are told by
    `on_down` as well.
    """

    def __init__(
        self,
        settings: ConnectionSettings,
        on_stanza: Callable[[Stanza], None],
        on_up: Callable[[], None],
        on_down: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.rivals = Rivals(settings.jid)
        self._clock = clock
        self._was_replaced = False
        self._settings = settings
        self._on_stanza = on_stanza
        self._on_up = on_up
        self._on_down = on_down
        self._queue = SendQueue()
        self._secret = ""
        self._stream: ComponentStream | None = None
        self._up = False
        self._heard = False
        self._writable = True
        self._told: str | None = None
        self._why = ""
        self._refused: SecretRefused | None = None
        self._accepted = asyncio.Event()
        self._lost = asyncio.Event()
        self._runner: asyncio.Task[object] | None = None
        self._idle = asyncio.Event()

    @property
    def up(self) -> bool:
        """Return whether the server has accepted us and the stream stands."""
        return self._up

    @property
    def fault(self) -> str:
        """Why the link is down; empty while it is up."""
        return "" if self._up else self._told or "connecting"

    @property
    def dropped(self) -> int:
        """Stanzas that were lost because the server did not read, since the start."""
        return self._queue.dropped

    async def run(self) -> None:
        """Keep the link up. Raises SecretRefused where the server does not know our secret."""
        self._runner = asyncio.current_task()
        self._idle.clear()
        try:
            while True:
                await self._one_connection()
                if self._runner is None:
                    return
                await asyncio.sleep(self._pause_s())
        except asyncio.CancelledError:
            if self._runner is not None:
                raise
        finally:
            self._idle.set()

    async def stop(self) -> None:
        """Close the stream and let `run` return; to be called once more does no harm."""
        runner, self._runner = self._runner, None
        if runner is not None and not runner.done() and runner is not asyncio.current_task():
            runner.cancel()
            await self._idle.wait()

    def send(self, stanza: Element, keep: bool = False) -> bool:
        """Send a stanza; False where the link is down or the stanza too large for the server.

        `keep` marks what is dropped last when the server does not read.
        """
        if not self._up or self._stream is None:
            return False
        data = serialise(stanza).encode()
        if len(data) > LARGEST_SENT:
            log.warning("stanza is too large to be sent", size=len(data))
            return False
        if self._writable:
            self._stream.write(data)
        else:
            self._queue.put(data, keep)
        return True

    def _pause_s(self) -> float:
        if self._was_replaced:
            return self.rivals.pause_s(self._clock())
        return random.uniform(SHORTEST_PAUSE_S, LONGEST_PAUSE_S)

    # A connection

    async def _one_connection(self) -> None:
        """From connect to loss."""
        self._lost.clear()
        self._accepted.clear()
        self._why, self._refused, self._writable, self._heard = "", None, True, True
        self._was_replaced = False
        if not self._take_secret():
            return
        if self._stream is None:
            self._stream = ComponentStream(self._settings.jid, self._secret, self)
        if not await self._connect(self._stream):
            return
        guardian = asyncio.create_task(self._keep_alive())
        try:
            await self._lost.wait()
        finally:
            guardian.cancel()
            # Unlike a suppressed await, gather lets a cancellation of ours through.
            await asyncio.gather(guardian, return_exceptions=True)
            await self._hang_up(self._stream)
        if self._refused is not None:
            raise self._refused

    def _take_secret(self) -> bool:
        """Read the secret as it is now; False where there is none."""
        try:
            read = self._settings.read_secret
            secret = self._settings.secret if read is None else read()
        except ConfigurationError as error:
            self._set_down(str(error))
            return False
        if secret != self._secret:
            self._secret, self._stream = secret, None
        return True

    async def _connect(self, stream: ComponentStream) -> bool:
        where = (self._settings.host, self._settings.port)
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CONNECT_S):
                address = await self._resolved(*where)
                transport, _ = await loop.create_connection(lambda: stream, address, where[1])
        except OSError as error:  # TimeoutError is one
            why = str(error) or f"no answer within {CONNECT_S:g} s"
            self._set_down(f"cannot connect to {where[0]} port {where[1]}: {why}")
            return False
        connected: socket.socket = transport.get_extra_info("socket")
        timeout_ms = USER_TIMEOUT_S * 1000
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, timeout_ms)
        return True

    async def _resolved(self, host: str, port: int) -> str:
        """The address to connect to. Raises OSError where there is none that is trusted."""
        if _is_address(host):
            return host  # the configuration has looked at it
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        addresses = [ip_address(str(info[4][0]).partition("%")[0]) for info in found]
        for address in addresses:
            if address.is_loopback or any(
                address.version == network.version and address in network
                for network in self._settings.trusted
            ):
                return str(address)
        raise OSError(
            f"it is {addresses[0]}, another host, and the stream is not encrypted: list a network"
            " that you trust in xmpp.allow_plaintext_to"
        )

    async def _hang_up(self, stream: ComponentStream) -> None:
        """Leave nothing behind; a server that does not read is not waited for."""
        if self._lost.is_set():
            return
        self._why = "we closed the stream"
        stream.hang_up()
        # asyncio.timeout raises no TimeoutError in a cancelled task before Python 3.11.4.
        lost = asyncio.create_task(self._lost.wait())
        await asyncio.wait((lost,), timeout=1.0)
        if not lost.done():
            stream.cut()
        await lost

    async def _keep_alive(self) -> None:
        """Watch the handshake, then the server's life; end the connection if either fails."""
        try:
            async with asyncio.timeout(HANDSHAKE_S):
                await self._accepted.wait()
        except TimeoutError:
            self._end("the server did not answer the handshake")
            return
        misses = 0
        while misses < MISSES:
            self._heard = False
            self.send(self._ping())
            await asyncio.sleep(self._settings.ping_s)
            misses = 0 if self._heard else misses + 1
        self._end(f"no sign of life from the server for {MISSES} pings")

    def _ping(self) -> Element:
        """A ping to ourselves (XEP-0199): through the server and back, whatever it has loaded."""
        jid = self._settings.jid
        attributes = {"type": "get", "from": jid, "to": jid, "id": secrets.token_hex(8)}
        ping = Element(f"{{{names.COMPONENT}}}iq", attributes)
        SubElement(ping, f"{{{names.PING}}}ping")
        return ping

    def _end(self, why: str) -> None:
        self._why = self._why or why
        if self._stream is not None:
            self._stream.cut()

    # What the stream tells

    def on_event(self, event: Event) -> None:
        """Take what was read from the stream."""
        self._heard = True
        match event:
            case Stanza(element=element) if element.tag == f"{{{names.STREAM}}}error":
                self._failed(element)
            case Stanza(element=element) if not self._up:
                if element.tag == f"{{{names.COMPONENT}}}handshake":
                    self._set_up()
            case Stanza():
                self._on_stanza(event)
            case Broken(condition=condition, text=text):
                if self._stream is not None:
                    self._stream.write(stream_error(condition))
                self._end(f"the server sent what cannot be read ({condition}): {text}")
            case Closed():
                self._why = self._why or "the server closed the stream"
                if self._stream is not None:
                    self._stream.hang_up()

    def on_writable(self, writable: bool) -> None:
        """Send what waits, or begin to wait."""
        self._writable = writable
        while self._writable and self._stream is not None:
            data = self._queue.take()
            if data is None:
                return
            self._stream.write(data)

    def on_lost(self, error: BaseException | None) -> None:
        """The connection is gone."""
        self._why = self._why or (str(error) if error else "the server closed the connection")
        self._set_down(self._why)
        self._lost.set()

    def _failed(self, error: Element) -> None:
        condition, self._why = explain(error, self._settings.jid)
        if condition == "conflict" and self._up:
            self._was_replaced = True
            self.rivals.replaced(self._clock())
            self._why = self.rivals.text(self._clock()) or self._why
        if condition == "not-authorized":
            self._refused = SecretRefused(self._why)

    def _set_up(self) -> None:
        self._up, self._told = True, None
        self._accepted.set()
        self._on_up()

    def _set_down(self, why: str) -> None:
        was_up, self._up = self._up, False
        self._queue.clear()
        if (was_up or why != self._told) and self._runner is not None:
            self._told = why
            self._on_down(why)
