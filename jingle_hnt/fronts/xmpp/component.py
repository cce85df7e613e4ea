"""The external component: who may say what to us, and what goes to whom.

It knows no session. Requests and events of server modules go to the `Inputs`; answers and requests
of ours come back through methods. What nobody may ask is refused here, what is malformed is
bounced here, and every stanza that leaves is from the component's own domain.
"""

import asyncio
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from xml.etree.ElementTree import Element, SubElement

import structlog

from jingle_hnt import __version__
from jingle_hnt.errors import ProtocolViolation
from jingle_hnt.fronts.xmpp import addresses, adhoc, disco, extdisco, intercept, names, nodes
from jingle_hnt.fronts.xmpp.codec import parse
from jingle_hnt.fronts.xmpp.connection import ConnectionSettings, ServerConnection
from jingle_hnt.fronts.xmpp.inputs import Inputs
from jingle_hnt.fronts.xmpp.names import local_name, namespace
from jingle_hnt.fronts.xmpp.pending_queries import PendingQueries
from jingle_hnt.fronts.xmpp.pending_requests import PendingRequest, PendingRequests
from jingle_hnt.fronts.xmpp.requests import build, error_element, stanza_error
from jingle_hnt.fronts.xmpp.rivals import INSTANCE, NODE
from jingle_hnt.fronts.xmpp.stream_reader import Stanza
from jingle_hnt.jingle.effects import (
    Answer,
    Bounce,
    ChannelRequest,
    Gone,
    Inject,
    Moved,
    Opened,
    Pass,
    Passed,
    Refusal,
    Request,
    Ring,
    Token,
    Withdrawn,
)
from jingle_hnt.model.address import IPAddress, IPNetwork
from jingle_hnt.model.jid import JID
from jingle_hnt.model.jingle import Jingle
from jingle_hnt.model.servers import ComponentServices, ModuleState, Services

log = structlog.get_logger(__name__)

CHANNEL_S = 10.0
"""How long a request for a channel may wait for the plane."""

MOST_LATELY = 1000
"""Requests that are remembered in case that their module did not wait for the answer."""

_IQ = f"{{{names.COMPONENT}}}iq"
_MESSAGE = f"{{{names.COMPONENT}}}message"
_BODY = f"{{{names.COMPONENT}}}body"
_STANZAS = (names.COMPONENT, names.CLIENT)
"""COMPAT ejabberd-keeps-namespaces"""


@dataclass(frozen=True, slots=True)
class ComponentSettings:
    """The server, the component's domain, and the domains whose modules are trusted.

    `domains` are the virtual hosts with a server module, `ping_s` the time between pings to the
    server, `ask_s` how long a question of ours waits, `contacts` the form fields of XEP-0157.
    `channels` says whether users may ask for relay channels (XEP-0278), `callers` are the domains
    whose users may call by addresses of ours (none: there are no such addresses), `administrators`
    the bare JIDs that may use ad-hoc commands, `redacts` whether they see IP addresses without
    their last part. `rings` says whether modules ask about what makes a phone ring. `elsewhere` are
    the domains that other connections of the same process serve. `read_secret` is asked before each
    attempt to connect, and raises ConfigurationError where there is no secret; without it `secret`
    holds. A `host` that is a name must be loopback's, or in one of the `trusted` networks.
    """

    jid: str
    secret: str = field(repr=False)
    domains: tuple[str, ...]
    host: str = "127.0.0.1"
    port: int = 5347
    ping_s: float = 10.0
    trusted: tuple[IPNetwork, ...] = ()
    ask_s: float = 5.0
    contacts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    channels: bool = False
    callers: frozenset[str] = frozenset()
    elsewhere: frozenset[str] = frozenset()
    administrators: tuple[JID, ...] = ()
    rings: bool = False
    redacts: bool = False
    read_secret: Callable[[], str] | None = field(default=None, repr=False, compare=False)


class Component:
    """The XMPP side as the app sees it. All methods are for the event loop that `run` runs in."""

    def __init__(
        self,
        settings: ComponentSettings,
        inputs: Inputs,
        clock: Callable[[], float] = time.monotonic,
        commands: Iterable[adhoc.AdhocCommand] = (),
        tokens: Iterator[Token] | None = None,
    ) -> None:
        self._settings = settings
        self._inputs = inputs
        self._clock = clock
        self._requests = PendingRequests(tokens=tokens)
        self._lately: OrderedDict[tuple[str, str], Request] = OrderedDict()
        self._queries = PendingQueries()
        self.asks_about_rings = settings.rings
        """Whether server modules are to ask about what makes a phone ring, when they are asked."""
        way = addresses.Way(self._pass_on, self._requests.hold, clock)
        self._addresses = addresses.AddressFront(settings.jid, settings.callers, inputs, way)
        features: tuple[str, ...] = nodes.FEATURES if settings.channels else ()
        features += addresses.FEATURES if settings.callers else ()
        self._about = disco.About(__version__, clock(), settings.contacts, features)
        self._adhoc = adhoc.AdHoc(commands, settings.administrators, settings.jid, settings.redacts)
        self._streams = 0
        self._accepted = False
        self._asking: set[asyncio.Task[None]] = set()
        self._connection = ServerConnection(
            ConnectionSettings(
                settings.jid,
                settings.secret,
                settings.host,
                settings.port,
                settings.ping_s,
                settings.trusted,
                settings.read_secret,
            ),
            on_stanza=self._take,
            on_up=self._up,
            on_down=self._down,
            clock=clock,
        )

    @property
    def accepted(self) -> bool:
        """Return whether the server has ever accepted us."""
        return self._accepted

    @property
    def component_services(self) -> ComponentServices:
        """Return the component's services besides answering server modules."""
        own = self._settings
        return ComponentServices(own.jid, own.domains, own.callers, own.channels)

    @property
    def up(self) -> bool:
        """Return whether the server has accepted us and the stream stands."""
        return self._connection.up

    @property
    def fault(self) -> str:
        """Why the link is down; empty while it is up."""
        return self._connection.fault

    @property
    def rivalry(self) -> str:
        """Return what is wrong if another process connects as this component; else empty."""
        return self._connection.rivals.text(self._clock())

    @property
    def replacements(self) -> int:
        """Return how often another connection has taken the place of ours, since the start."""
        return self._connection.rivals.replacements

    async def run(self) -> None:
        """Keep the link up until cancelled or stopped. Raises SecretRefused, and nothing else."""
        await self._connection.run()

    def administer(self, administrators: Iterable[JID], redacts: bool) -> None:
        """From now on these bare JIDs, and no others, may use ad-hoc commands."""
        self._adhoc.redacts = redacts
        self._adhoc.administrators = frozenset(jid.bare for jid in administrators)

    async def stop(self) -> None:
        """Close the stream in an orderly way; `run` returns."""
        self._adhoc.stop()
        await self._connection.stop()

    # What the app wants

    def holds(self, token: Token) -> bool:
        """Return whether a request of this name waits for an answer here."""
        return token in self._requests

    def answer(self, answer: Answer) -> None:
        """Answer a held request, or one for a channel.

        Too late, or after the stream was lost, it has no effect. Raises ValueError for a
        substitution that does not fit the request.
        """
        held = self._requests.take(answer.token, self._clock())
        if held is None:
            log.info("answer came too late", token=answer.token)
            return
        if held.crossing is not None:
            self._addresses.answer(held, answer)
            return
        if held.jingle.tag == nodes.CHANNEL or isinstance(answer, Opened):
            self._answer_channel(held, answer)
            return
        payload = intercept.answer_element(answer, held.jingle)
        # A lost session-terminate would leave a call standing.
        keep = held.jingle.get("action") == "session-terminate"
        self._send_iq("result", held.host, held.id, payload, keep=keep)

    def inject(self, inject: Inject) -> bool:
        """Send a request of ours; False where the link is down or no party is of our domains."""
        if inject.via:
            return self._addresses.inject(inject)
        host = intercept.host_for(inject.sender, inject.recipient, self._settings.domains)
        if host is None:
            return False
        jingle = build(inject.jingle)
        payload = intercept.inject_element(inject.sender, inject.recipient, _fresh_id(), jingle)
        return self._send_iq("set", host, _fresh_id(), payload, keep=True)

    def announce(self, to: JID, text: str) -> bool:
        """Send a headline (RFC 6121 section 5.2.2): no server stores it, and nobody answers it."""
        attributes = {"type": "headline", "from": self._settings.jid, "to": str(to)}
        message = Element(_MESSAGE, attributes)
        SubElement(message, _BODY).text = text
        return self._connection.send(message)

    async def address(self, jid: JID) -> IPAddress | None:
        """Return the address of a full JID's XMPP connection; None if its server cannot say."""
        if jid.domain not in self._settings.domains:
            return None
        answer = await self._ask(jid.domain, Element(intercept.ADDRESS, {"jid": str(jid)}))
        return None if answer is None else intercept.address_in(answer)

    async def probe(self) -> list[str]:
        """The domains whose server module answers us."""
        return [domain for domain, state in (await self.diagnose()).items() if not state.fault]

    async def diagnose(self) -> dict[str, ModuleState]:
        """The server module of each domain: what is wrong with it, and what to write."""
        domains = self._settings.domains
        states = await asyncio.gather(*(self._module_of(domain) for domain in domains))
        return dict(zip(domains, states, strict=True))

    async def services(self) -> dict[str, Services]:
        """The STUN and TURN servers that each domain names to its users (XEP-0215)."""
        domains = self._settings.domains
        answers = await asyncio.gather(
            *(self._ask(domain, Element(extdisco.SERVICES)) for domain in domains)
        )
        return {
            domain: extdisco.services(answer, self._settings.jid)
            for domain, answer in zip(domains, answers, strict=True)
        }

    async def _module_of(self, domain: str) -> ModuleState:
        answer = await self._ask(
            domain, intercept.module_query(INSTANCE, NODE, self.asks_about_rings)
        )
        state = intercept.module_state(answer, domain, self._settings.jid)
        if self.asks_about_rings and not (state.fault or state.asks_about_rings):
            state = replace(state, caution=state.caution or intercept.rings_unasked(domain))
        found = intercept.other_instance(answer)
        if found is None:
            return state
        node, age_s, again = found
        if again:
            self._connection.rivals.met(node, self._clock())
        return replace(state, other=node, other_age_s=age_s)

    # Stanzas that arrive

    def _up(self) -> None:
        self._accepted = True
        self._inputs.on_connected(self._settings.jid)

    def _start(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)

    def _down(self, reason: str) -> None:
        self._streams += 1
        self._requests.clear()
        self._lately.clear()  # the module tells of these otherwise
        self._queries.clear()
        self._addresses.clear()
        self._inputs.on_disconnected(self._settings.jid, reason)

    def _take(self, stanza: Stanza) -> None:
        """One stanza; whatever goes wrong with it must not harm the stream of all others."""
        try:
            self._dispatch(stanza)
        except Exception:
            log.exception("stanza could not be processed", kind=local_name(stanza.element))

    def _dispatch(self, stanza: Stanza) -> None:
        element = stanza.element
        sender = element.get("from", "")
        # The server vouches for `from`; without one there is nobody to answer or to believe.
        if not sender or namespace(element) not in _STANZAS:
            return
        match local_name(element), element.get("type"):
            case "iq", "result" | "error":
                self._queries.settle(sender, element)
                self._addresses.answered(element)
            case "iq", _ if self._settings.callers and self._addresses.serves(element):
                self._addresses.requested(stanza)
            case "iq", "get" | "set":
                self._requested(sender, stanza)
            case "message", _ if self._is_module(sender, element):
                self._noticed(sender, element)
            case "message", _ if self._settings.callers and self._addresses.serves(element):
                self._addresses.messaged(element)

    def _is_module(self, sender: str, element: Element) -> bool:
        """Return whether this is a server module that talks to us, and no user or other host."""
        return sender in self._settings.domains and element.get("to") == self._settings.jid

    def _requested(self, sender: str, stanza: Stanza) -> None:
        iq = stanza.element
        payload = next(iter(iq), None)
        if iq.get("type") == "set" and payload is not None and payload.tag == intercept.INTERCEPT:
            if self._is_module(sender, iq):
                self._asked_about(sender, iq.get("id", ""), payload, stanza.pruned)
            else:
                why = f"{sender} is not among the domains of {self._settings.jid}"
                self._refuse(iq, stanza_error("forbidden", "auth", why))
            return
        if payload is None or iq.get("to") != self._settings.jid:
            self._refuse(iq, disco.unavailable())
        elif iq.get("type") == "set" and payload.tag == adhoc.COMMAND and not stanza.pruned:
            self._administered(iq, payload)
        elif iq.get("type") == "get":
            self._asked_of_us(iq, payload)
        else:
            self._refuse(iq, disco.unavailable())

    def _asked_of_us(self, iq: Element, payload: Element) -> None:
        """An IQ-get of anybody, to our own address."""
        if self._settings.channels and payload.tag == nodes.CHANNEL:
            self._channel_wanted(iq, payload)
            return
        if self._settings.channels and payload.tag == nodes.SERVICES:
            answer: Element | None = nodes.services(self._settings.jid)
        else:
            answer = self._said_of_us(payload, iq.get("from", ""))
        if answer is not None and local_name(answer) == "error":
            self._refuse(iq, answer)
        else:
            self._reply(iq, "result", answer)

    def _said_of_us(self, query: Element, sender: str) -> Element | None:
        about = self._about
        if self._adhoc.serves(sender):
            about = replace(about, features=(*about.features, names.COMMANDS))
        found = self._adhoc.discovered(query, sender)
        return disco.answer(query, about, self._clock()) if found is None else found

    def _administered(self, iq: Element, command: Element) -> None:
        """A step of an ad-hoc command; its answer belongs on this stream or nowhere."""
        stream = self._streams

        def answer(payload: Element) -> None:
            if self._streams == stream:
                failed = local_name(payload) == "error"
                self._reply(iq, "error" if failed else "result", payload)

        self._adhoc.step(command, iq.get("from", ""), self._clock(), answer)

    def _asked_about(self, host: str, id_: str, element: Element, pruned: bool) -> None:
        """Hold a question, read it, and pass it on or bounce it."""
        now = self._clock()
        try:
            question = intercept.ring(element, host) or intercept.question(element, host, pruned)
        except ProtocolViolation as error:
            log.warning("request of the server module cannot be read", host=host, why=str(error))
            self._send_iq("error", host, id_, stanza_error("bad-request", "modify", str(error)))
            return
        about = (
            question.element if isinstance(question, intercept.RingQuestion) else question.jingle
        )
        held = PendingRequest(id_, host, about, now + question.timeout_s)
        token = self._requests.hold(held, now)
        if token is None:
            log.warning("too many requests wait for an answer", host=host)
            why = "too many requests wait for an answer"
            self._send_iq("error", host, id_, stanza_error("resource-constraint", "wait", why))
            return
        if isinstance(question, intercept.RingQuestion):
            self._rang(question, token)
        else:
            self._read(question, token, (host, id_), pruned)

    def _rang(self, question: intercept.RingQuestion, token: Token) -> None:
        sender, recipient = question.sender, question.recipient
        ours = self._settings.jid in (sender.domain, recipient.domain)
        if ours or sender.domain in self._settings.elsewhere:
            self.answer(Pass(token))  # it is on its way to us, or the sender's server has asked us
        else:
            ring = Ring(token, sender, recipient, question.sid, question.contact)
            self._inputs.rang(ring)

    def _expired(self, notice: intercept.Expired) -> None:
        """A question was answered too late, or is not answered yet, and its stanza has gone on."""
        outcome = "passed" if notice.passed else "refused"
        log.warning(
            "the server module decided a request without jingle-hnt",
            host=notice.host,
            outcome=outcome,
        )
        request = self._lately.pop((notice.host, notice.id), None)
        if request is not None and notice.passed:
            self._inputs.expired(request)

    def _read(
        self, question: intercept.Question, token: Token, asked: tuple[str, str], pruned: bool
    ) -> None:
        if self._settings.jid in (question.sender.domain, question.recipient.domain):
            self.answer(Pass(token))  # it is on its way to us, or from us
            return
        if question.sender.domain in self._settings.elsewhere:
            # The sender's own server has asked us before. This one knows where the recipient is.
            if question.recipient_ip is not None or question.recipient_seen:
                seen = question.recipient_seen
                self._inputs.moved(Moved(question.recipient, question.recipient_ip, seen))
            self.answer(Pass(token))
            return
        # Of a stanza that was too large to be read nothing is known, not even whose session it is.
        jingle = Jingle(None, "", is_whole=False) if pruned else parse(question.jingle)
        request = Request(
            token=token,
            sender=question.sender,
            recipient=question.recipient,
            jingle=jingle,
            sender_ip=question.sender_ip,
            recipient_ip=question.recipient_ip,
            sender_seen=question.sender_seen,
            recipient_seen=question.recipient_seen,
            id=question.id,
            contact=question.contact,
            patience_s=question.timeout_s,
        )
        if jingle.contents:
            self._lately[asked] = request
            if len(self._lately) > MOST_LATELY:
                self._lately.popitem(last=False)
        self._inputs.receive(request)

    # Relay channels (XEP-0278)

    def _channel_wanted(self, iq: Element, wanted: Element) -> None:
        try:
            requester = JID.of(iq.get("from", ""))
        except ValueError:
            return
        now = self._clock()
        held = PendingRequest(iq.get("id", ""), str(requester), wanted, now + CHANNEL_S)
        error = nodes.fault(wanted)
        token = self._requests.hold(held, now) if error is None else None
        if token is None:
            busy = stanza_error("resource-constraint", "wait", "too many requests wait; try later")
            self._refuse(iq, busy if error is None else error)
            return
        self._start(self._want_channel(token, requester))

    async def _want_channel(self, token: Token, requester: JID) -> None:
        ip = await self.address(requester)
        self._inputs.channel(ChannelRequest(token, requester, ip))

    def _answer_channel(self, held: PendingRequest, answer: Answer) -> None:
        match answer:
            case Opened():
                self._send_iq("result", held.host, held.id, nodes.channel(answer))
            case Bounce(error=error):
                self._send_iq("error", held.host, held.id, error_element(error))

    def _noticed(self, host: str, message: Element) -> None:
        element = message.find(intercept.INTERCEPT)
        if element is None:
            return
        try:
            notice = intercept.notice(element, host)
        except ProtocolViolation as error:
            log.warning("event of the server module cannot be read", host=host, why=str(error))
            return
        match notice:
            case Refusal():
                self._inputs.refused(notice)
            case Moved():
                self._inputs.moved(notice)
            case Gone():
                self._inputs.gone(notice)
            case Withdrawn():
                self._inputs.withdrawn(notice)
            case Passed():
                self._inputs.passed(notice)
            case intercept.Expired():
                self._expired(notice)

    # Stanzas that leave

    def _refuse(self, iq: Element, error: Element) -> None:
        self._reply(iq, "error", error)

    def _reply(self, iq: Element, type_: str, payload: Element | None) -> None:
        """Answer from the address that was asked, which is our domain or one inside it."""
        asked = iq.get("to", "")
        own = asked if _is_inside(asked, self._settings.jid) else self._settings.jid
        self._send_iq(type_, iq.get("from", ""), iq.get("id", ""), payload, sender=own)

    def _pass_on(self, stanza: Element, keep: bool) -> bool:
        return self._connection.send(stanza, keep)

    def _send_iq(
        self,
        type_: str,
        to: str,
        id_: str,
        payload: Element | None,
        *,
        sender: str = "",
        keep: bool = False,
    ) -> bool:
        own = sender or self._settings.jid
        iq = Element(_IQ, {"type": type_, "from": own, "to": to, "id": id_})
        if payload is not None:
            iq.append(payload)
        return self._connection.send(iq, keep)

    async def _ask(self, host: str, payload: Element) -> Element | None:
        """Ask a server module; its answer (an error is one), or None where there is none."""
        id_ = _fresh_id()
        with self._queries.expect(host, id_) as answer:
            if not self._send_iq("get", host, id_, payload):
                return None
            try:
                async with asyncio.timeout(self._settings.ask_s):
                    return await answer
            except TimeoutError:
                return None


def _fresh_id() -> str:
    """An id that nobody can guess."""
    return secrets.token_hex(12)


def _is_inside(jid: str, domain: str) -> bool:
    try:
        return JID.of(jid).domain == domain
    except ValueError:
        return False
