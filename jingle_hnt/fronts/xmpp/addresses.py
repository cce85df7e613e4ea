"""Calls without a server module: by addresses at the component that stand for the parties' own.

Alice calls ``bob\\40example.org@hnt.example.org``; Bob is called by
``alice\\40example.org@hnt.example.org``. Every stanza goes on under the sender's address here, with
`initiator` and `responder` rewritten alike, and each answer goes back for the stanza that it
answers. What crosses is what calls need: Jingle, service discovery, and the messages of XEP-0353
by which whoever knows no full JID is called. In the session core both have their own names.

Only users of the domains that are allowed may begin anything, with anybody; whom they call may
answer them. It is the component that speaks here: a server's block list knows the users by their
own addresses only.
"""

import contextlib
import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from xml.etree.ElementTree import Element

from jingle_hnt.fronts.xmpp import intercept, names
from jingle_hnt.fronts.xmpp.codec import JINGLE, parse
from jingle_hnt.fronts.xmpp.escaping import across
from jingle_hnt.fronts.xmpp.inputs import Inputs
from jingle_hnt.fronts.xmpp.names import local_name, namespace
from jingle_hnt.fronts.xmpp.pending_replies import ForwardedStanza, PendingReplies
from jingle_hnt.fronts.xmpp.pending_requests import Crossing, PendingRequest
from jingle_hnt.fronts.xmpp.requests import build, error_element, stanza_error
from jingle_hnt.fronts.xmpp.stream_reader import Stanza
from jingle_hnt.fronts.xmpp.substitution import substitute
from jingle_hnt.jingle.effects import (
    Answer,
    Bounce,
    Inject,
    Refusal,
    Replace,
    Request,
    Token,
    Withdrawn,
)
from jingle_hnt.model.jid import JID
from jingle_hnt.model.jingle import Action

HOLD_S = 30.0
"""How long the core may take; our own time, no server's."""

FEATURES = (names.JID_ESCAPING,)
MESSAGES = frozenset({"propose", "ringing", "proceed", "accept", "reject", "retract", "finish"})
_DISCO = (f"{{{names.DISCO_INFO}}}query", f"{{{names.DISCO_ITEMS}}}query")
_UNKNOWN_SESSION = f"{{{names.JINGLE_ERRORS}}}unknown-session"

_BUSY = ("resource-constraint", "wait", "too many of your requests wait for an answer")
_NOBODY = ("item-not-found", "cancel", r"write user\40domain in front of the component's domain")
_STRANGER = ("forbidden", "auth", "calls by these addresses are for users of listed domains")
_NO_RESOURCE = (
    "service-unavailable",
    "cancel",
    "sessions are with a full JID: write the resource, or propose the call first (XEP-0353)",
)
_UNANSWERED = ("remote-server-timeout", "wait", "no answer came")


@dataclass(frozen=True, slots=True)
class Way:
    """The component, as it is needed here: it sends, and holds requests until their answer."""

    send: Callable[[Element, bool], bool]
    hold: Callable[[PendingRequest, float], Token | None]
    clock: Callable[[], float]


class AddressFront:
    """See the module's text. `component` is our domain, `domains` are whose users may call."""

    def __init__(self, component: str, domains: Iterable[str], inputs: Inputs, way: Way) -> None:
        self._component = component
        self._domains = frozenset(domains)
        self._inputs = inputs
        self._way = way
        self._replies = PendingReplies(self._overdue)

    def serves(self, stanza: Element) -> bool:
        """Return whether a stanza is for an address that stands for somebody else's."""
        try:
            to = JID.of(stanza.get("to", ""))
        except ValueError:
            return False
        return to.domain == self._component and bool(to.local)

    def clear(self) -> None:
        """The stream is lost, and with it every answer."""
        self._replies.clear()

    # What arrives

    def requested(self, stanza: Stanza) -> None:
        """An IQ of type get or set for an address of ours."""
        iq = stanza.element
        payload = next(iter(iq), None)
        crossing = self._crossing(iq)
        if crossing is None:
            self._refuse(iq, _NOBODY)
        elif payload is None:
            self._refuse(iq, ("bad-request", "modify", ""))
        elif iq.get("type") == "get" and payload.tag in _DISCO and not stanza.pruned:
            self._discover(iq, crossing, payload)
        elif iq.get("type") == "set" and payload.tag == JINGLE:
            self._request(iq, crossing, payload, stanza.pruned)
        else:
            self._refuse(iq, ("service-unavailable", "cancel", ""))

    def answered(self, iq: Element) -> None:
        """An IQ of type result or error: back to who asked, if it is from who was asked."""
        asked = self._replies.take(iq.get("from", ""), iq.get("id", ""))
        if asked is None:
            return
        failed = iq.get("type") == "error"
        if failed and asked.refusal is not None:
            unknown = iq.find(f"*/{_UNKNOWN_SESSION}") is not None
            self._inputs.refused(replace(asked.refusal, unknown_session=unknown))
        kept = _errors(iq) if failed else list(iq)
        self._back(asked, "error" if failed else "result", kept)

    def messaged(self, message: Element) -> None:
        """A message for an address of ours: XEP-0353's go on, and their errors go back."""
        if message.get("type") == "error":
            self._undelivered(message)
            return
        said = next((e for e in message if namespace(e) == names.JINGLE_MESSAGE), None)
        crossing = self._crossing(message)
        if said is None or local_name(said) not in MESSAGES or crossing is None:
            return
        if not self._may(crossing, begins=local_name(said) == "propose"):
            self._refuse(message, _STRANGER)
            return
        id_ = _fresh_id()
        asked = ForwardedStanza(crossing, message.get("id", ""), kind="message")
        if not self._replies.add(str(crossing.recipient), id_, asked):
            self._refuse(message, _BUSY)
            return
        kept = [e for e in message if e is said or namespace(e) == names.HINTS]
        self._send(asked.kind, message.get("type"), crossing, id_, kept)
        action, sid = local_name(said), said.get("id", "")
        if action in ("retract", "finish") and sid:
            self._inputs.withdrawn(Withdrawn(crossing.sender, sid, retract=action == "retract"))

    # What the core answers and wants

    def answer(self, held: PendingRequest, answer: Answer) -> None:
        """Let a held request go on, or refuse it. Raises ValueError as `substitute` does."""
        crossing = held.crossing
        assert crossing is not None
        asked = ForwardedStanza(crossing, held.id)
        if isinstance(answer, Bounce):
            self._back(asked, "error", [error_element(answer.error)])
            return
        jingle = held.jingle
        if isinstance(answer, Replace):
            jingle = substitute(jingle, answer.substitution, answer.transports)
        self._go_on(asked, jingle)

    def inject(self, inject: Inject) -> bool:
        """Send a request of ours; False where the link is down."""
        address = across(inject.recipient, self._component)
        crossing = Crossing(inject.sender, address, inject.recipient)
        return self._send("iq", "set", crossing, _fresh_id(), [build(inject.jingle)], keep=True)

    # The parts of it

    def _crossing(self, stanza: Element) -> Crossing | None:
        """None where there is nobody behind the address, or who sends can have none."""
        try:
            sender, address = (JID.of(stanza.get(name, "")) for name in ("from", "to"))
            across(sender, self._component)
            recipient = across(address, self._component)
        except ValueError:
            return None
        return None if sender.domain == self._component else Crossing(sender, address, recipient)

    def _may(self, crossing: Crossing, begins: bool) -> bool:
        """Return whether this sender may send this; who was called may answer whoever may call."""
        if crossing.sender.domain in self._domains:
            return True
        return not begins and crossing.recipient.domain in self._domains

    def _discover(self, iq: Element, crossing: Crossing, query: Element) -> None:
        if self._may(crossing, begins=False):
            self._ask(ForwardedStanza(crossing, iq.get("id", "")), "get", query)
        else:
            self._refuse(iq, _STRANGER)

    def _request(self, iq: Element, crossing: Crossing, jingle: Element, pruned: bool) -> None:
        begins = jingle.get("action") == Action.SESSION_INITIATE
        now = self._way.clock()
        if not self._may(crossing, begins):
            self._refuse(iq, _STRANGER)
            return
        if not crossing.recipient.is_full or not crossing.sender.is_full:
            self._refuse(iq, _NO_RESOURCE)
            return
        held = PendingRequest(
            iq.get("id", ""), str(crossing.sender), jingle, now + HOLD_S, crossing
        )
        if pruned:  # we are on its way here, and do not have it whole
            error = intercept.too_large()
            self.answer(held, Bounce(0, error.answer))
            self._inputs.rejected(crossing.sender, error)
            return
        parsed = parse(self._among_themselves(jingle))
        token = self._way.hold(held, now)
        if token is None:
            self._refuse(iq, _BUSY)
            return
        who = crossing.sender, crossing.recipient
        request = Request(token, *who, parsed, via=self._component, id=held.id, patience_s=HOLD_S)
        self._inputs.receive(request)

    def _go_on(self, asked: ForwardedStanza, jingle: Element) -> None:
        """The request leaves for its recipient; an error will undo what it did in the core."""
        crossing, action = asked.crossing, jingle.get("action")
        who = crossing.sender, crossing.recipient
        if action in list(Action):
            refusal = Refusal(*who, jingle.get("sid", ""), Action(action), id=asked.id)
            asked = replace(asked, refusal=refusal)
        sent = self._ask(asked, "set", self._seen_from_there(jingle))
        if not sent and asked.refusal is not None:
            self._inputs.refused(asked.refusal)

    def _ask(self, asked: ForwardedStanza, type_: str, payload: Element) -> bool:
        id_, crossing = _fresh_id(), asked.crossing
        if not self._replies.add(str(crossing.recipient), id_, asked):
            self._back(asked, "error", [stanza_error(*_BUSY)])
            return False
        # A lost session-terminate would leave a call standing.
        keep = payload.get("action") == Action.SESSION_TERMINATE
        return self._send(asked.kind, type_, crossing, id_, [payload], keep=keep)

    def _undelivered(self, message: Element) -> None:
        asked = self._replies.take(message.get("from", ""), message.get("id", ""))
        if asked is not None and asked.kind == "message":
            self._back(asked, "error", _errors(message))

    def _overdue(self, asked: ForwardedStanza) -> None:
        if asked.kind == "iq":
            if asked.refusal is not None:
                self._inputs.refused(asked.refusal)
            self._back(asked, "error", [stanza_error(*_UNANSWERED)])

    # Names

    def _among_themselves(self, jingle: Element) -> Element:
        """The <jingle/> with everybody called by their own names, as the core knows them."""
        return self._renamed(jingle, lambda jid: jid.domain == self._component)

    def _seen_from_there(self, jingle: Element) -> Element:
        """The <jingle/> with everybody called as on the other side."""
        return self._renamed(jingle, lambda _: True)

    def _renamed(self, jingle: Element, which: Callable[[JID], bool]) -> Element:
        copy = Element(jingle.tag, jingle.attrib)
        copy.text = jingle.text
        copy.extend(jingle)
        for attribute in ("initiator", "responder"):
            # One that is nobody's address here is left as it is: it steers nothing.
            with contextlib.suppress(ValueError):
                jid = JID.of(jingle.get(attribute, self._component))
                if jid.local and which(jid):
                    copy.set(attribute, str(across(jid, self._component)))
        return copy

    # What leaves

    def _send(
        self,
        kind: str,
        type_: str | None,
        crossing: Crossing,
        id_: str,
        payload: Iterable[Element],
        *,
        keep: bool = False,
    ) -> bool:
        """On to the recipient, in the name of the sender's address here."""
        attributes = {
            "from": str(across(crossing.sender, self._component)),
            "to": str(crossing.recipient),
            "id": id_,
        }
        return self._put(kind, type_, attributes, payload, keep)

    def _back(self, asked: ForwardedStanza, type_: str, payload: Iterable[Element]) -> None:
        """To who asked, from the address that was asked."""
        crossing = asked.crossing
        attributes = {"from": str(crossing.address), "to": str(crossing.sender), "id": asked.id}
        self._put(asked.kind, type_, attributes, payload)

    def _refuse(self, stanza: Element, error: tuple[str, str, str]) -> None:
        attributes = {"id": stanza.get("id", "")}
        attributes["from"], attributes["to"] = stanza.get("to", ""), stanza.get("from", "")
        self._put(local_name(stanza), "error", attributes, [stanza_error(*error)])

    def _put(
        self,
        kind: str,
        type_: str | None,
        attributes: dict[str, str],
        payload: Iterable[Element],
        keep: bool = False,
    ) -> bool:
        stanza = Element(f"{{{names.COMPONENT}}}{kind}", attributes)
        if type_ is not None:
            stanza.set("type", type_)
        stanza.extend(payload)
        return self._way.send(stanza, keep)


def _errors(stanza: Element) -> list[Element]:
    """The <error/> of a stanza, in our stream's namespace. COMPAT ejabberd-keeps-namespaces"""
    found = [child for child in stanza if local_name(child) == "error"]
    for error in found:
        error.tag = f"{{{names.COMPONENT}}}error"
    return found or [stanza_error("undefined-condition", "cancel", "")]


def _fresh_id() -> str:
    """An id that nobody can guess."""
    return secrets.token_hex(12)
