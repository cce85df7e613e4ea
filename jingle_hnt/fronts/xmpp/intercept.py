"""The intercept protocol: what server modules ask and tell, and how we answer.

Described for operators in config/prosody/README.md. A module speaks for its own virtual host only
(XEP-0114 leaves it to us whom to believe): whatever is about two other domains' users is refused.
"""

import math
from collections.abc import Collection
from dataclasses import dataclass
from xml.etree.ElementTree import Element, SubElement

from jingle_hnt.errors import OversizedJingle, ProtocolViolation
from jingle_hnt.fronts.xmpp import names
from jingle_hnt.fronts.xmpp.codec import JINGLE, parse, quoted
from jingle_hnt.fronts.xmpp.names import local_name
from jingle_hnt.fronts.xmpp.requests import error_element
from jingle_hnt.fronts.xmpp.substitution import substitute
from jingle_hnt.jingle.effects import (
    Bounce,
    Gone,
    Moved,
    Pass,
    Passed,
    Refusal,
    Replace,
    Verdict,
    Withdrawn,
)
from jingle_hnt.jingle.refusals import NO_SUCH_USER
from jingle_hnt.model.address import IPAddress, literal
from jingle_hnt.model.jid import JID
from jingle_hnt.model.jingle import Action
from jingle_hnt.model.servers import ModuleState
from jingle_hnt.relay.evidence import Sighting, Via

INTERCEPT = f"{{{names.INTERCEPT}}}intercept"
ADDRESS = f"{{{names.INTERCEPT}}}address"
MODULE = f"{{{names.INTERCEPT}}}module"
INJECT = f"{{{names.INTERCEPT}}}inject"
_FORWARDED = f"{{{names.FORWARD}}}forwarded"
_UNKNOWN_SESSION = f"{{{names.JINGLE_ERRORS}}}unknown-session"

RINGS = (f"{{{names.JINGLE_MESSAGE}}}propose", f"{{{names.CALL_INVITES}}}invite")
"""What makes a phone ring before there is a session (XEP-0353, XEP-0482)."""

CONTACT = {"both": True, "from": True, "to": True, "none": False}
"""Whether somebody is a contact, by the subscription that a roster has (RFC 6121 section 2.1.2.5).
"""

LONGEST_SID = 1023

ELSEWHERE = {"not-allowed", "remote-server-not-found", "remote-server-timeout"}
"""What a server says of a domain that is not its own (RFC 6120 section 8.3.3)."""

MOST_HOSTS = 100
"""Of those that a server module names."""

USUAL_TIMEOUT_S = 3.0
LONGEST_TIMEOUT_S = 60.0
MOST_NODES_NAMED = 3


@dataclass(frozen=True, slots=True)
class Question:
    """A held Jingle request, not yet read: who sent it to whom, and how long the module waits."""

    sender: JID
    recipient: JID
    jingle: Element
    timeout_s: float
    sender_ip: IPAddress | None
    recipient_ip: IPAddress | None
    id: str
    sender_seen: tuple[Sighting, ...] = ()
    recipient_seen: tuple[Sighting, ...] = ()
    contact: bool | None = None


@dataclass(frozen=True, slots=True)
class RingQuestion:
    """A held message that makes a phone ring: who sent what to whom, and how long is waited."""

    sender: JID
    recipient: JID
    element: Element
    timeout_s: float
    contact: bool | None

    @property
    def sid(self) -> str:
        """The id of the call that is proposed; empty where it is one that nobody needs."""
        sid = self.element.get("id", "")
        return sid if len(sid) <= LONGEST_SID else ""


@dataclass(frozen=True, slots=True)
class Expired:
    """Question `id` was not answered in time: the stanza has `passed` as it came, or was refused.

    Of one that was refused its error is told as well.
    """

    host: str
    id: str
    passed: bool


Notice = Refusal | Moved | Gone | Withdrawn | Passed | Expired


def question(intercept: Element, host: str, pruned: bool = False) -> Question:
    """Read the question of a module (an <intercept/> of an IQ-set).

    `pruned` says that the stanza was too large to be read whole. Raises ProtocolViolation where
    this is no question about a stanza of a party of `host`.
    """
    stanza = _forwarded(intercept)
    sender, recipient = _full_jid(stanza, "from"), _full_jid(stanza, "to")
    _require_local(host, sender, recipient)
    jingle = stanza.find(JINGLE)
    if jingle is None:
        if pruned:
            jingle = Element(JINGLE)
        else:
            raise ProtocolViolation("the forwarded stanza has no <jingle/>")
    sender_ip, sender_seen = _sighted(intercept, "from-")
    recipient_ip, recipient_seen = _sighted(intercept, "to-")
    return Question(
        sender=sender,
        recipient=recipient,
        jingle=jingle,
        timeout_s=_timeout_s(intercept.get("timeout")),
        sender_ip=sender_ip,
        recipient_ip=recipient_ip,
        id=stanza.get("id", ""),
        sender_seen=sender_seen,
        recipient_seen=recipient_seen,
        contact=_contact(intercept),
    )


def ring(intercept: Element, host: str) -> RingQuestion | None:
    """What a module asks about a message; None where it asks about a request.

    Raises ProtocolViolation where this is no question about a ring of a party of `host`.
    """
    message = _child(intercept, "message")
    if message is None:
        return None
    element = next((child for child in message if child.tag in RINGS), None)
    if element is None:
        raise ProtocolViolation("the forwarded message is no proposal and no invitation")
    sender, recipient = _jid(message, "from"), _jid(message, "to")
    _require_local(host, sender, recipient)
    timeout_s = _timeout_s(intercept.get("timeout"))
    return RingQuestion(sender, recipient, element, timeout_s, _contact(intercept))


def too_large() -> OversizedJingle:
    """The error for a request whose stanza was pruned while it was read."""
    return OversizedJingle("the request is larger than any call needs")


def notice(intercept: Element, host: str) -> Notice | None:
    """Read the event of a module (an <intercept/> of a message); None for an unknown event.

    Raises ProtocolViolation where it cannot be understood or is not about a party of `host`.
    """
    match intercept.get("event"):
        case "error":
            return _refusal(intercept, host)
        case "address":
            jid = _full_jid(intercept, "jid")
            _require_local(host, jid)
            ip, seen = _sighted(intercept, "")
            if ip is not None:
                return Moved(jid, ip, seen=seen)
            if not seen:
                raise ProtocolViolation("event 'address' without a usable ip")
            return Moved(jid, None, seen=seen)
        case "gone":
            jid = _full_jid(intercept, "jid")
            _require_local(host, jid)
            return Gone(jid)
        case "message":
            return _withdrawn(intercept)
        case "passed":
            return _passed(intercept, host)
        case "expired":
            outcome = intercept.get("outcome", "")
            return Expired(host, intercept.get("id", ""), outcome == "passed")
    return None


def _refusal(intercept: Element, host: str) -> Refusal:
    stanza = _forwarded(intercept)
    recipient, sender = _full_jid(stanza, "from"), _full_jid(stanza, "to")
    _require_local(host, sender, recipient)
    sid, action = intercept.get("sid", ""), intercept.get("action", "")
    if not sid or action not in list(Action):
        raise ProtocolViolation("event 'error' without a sid and a Jingle action")
    error = next((child for child in stanza if local_name(child) == "error"), None)
    unknown = error is not None and error.find(_UNKNOWN_SESSION) is not None
    return Refusal(sender, recipient, sid, Action(action), unknown, stanza.get("id", ""))


def _withdrawn(intercept: Element) -> Withdrawn:
    """A Jingle message. Its sender may be of another server: it is its own calls that it ends."""
    jid, sid = _full_jid(intercept, "jid"), intercept.get("sid", "")
    action = intercept.get("action")
    if not sid or action not in ("retract", "finish"):
        raise ProtocolViolation("event 'message' without a sid and retract or finish")
    return Withdrawn(jid, sid, retract=action == "retract")


def _passed(intercept: Element, host: str) -> Passed:
    stanza = _forwarded(intercept)
    sender, recipient = _full_jid(stanza, "from"), _full_jid(stanza, "to")
    _require_local(host, sender, recipient)
    element = stanza.find(JINGLE)
    sid, action = ("", "") if element is None else (element.get("sid"), element.get("action"))
    if element is None or not sid or action not in list(Action):
        raise ProtocolViolation("event 'passed' without a sid and a Jingle action")
    return Passed(
        sender=sender,
        recipient=recipient,
        sid=sid,
        action=Action(action),
        jingle=parse(element),
        age_s=_age_s(intercept.get("age")),
        missed=_count(intercept.get("missed")),
        id=stanza.get("id", ""),
    )


# Answers


def answer_element(answer: Verdict, jingle: Element) -> Element:
    """The <intercept/> that answers the question about `jingle`."""
    match answer:
        case Pass():
            return Element(INTERCEPT, {"action": "pass"})
        case Replace(substitution=substitution, transports=transports):
            element = Element(INTERCEPT, {"action": "replace"})
            _forward(element, substitute(jingle, substitution, transports))
            return element
        case Bounce(error=error):
            element = Element(INTERCEPT, {"action": "bounce"})
            if error == NO_SUCH_USER:
                element.set("as", "unknown-user")
            element.append(error_element(error))
            return element


def inject_element(sender: JID, recipient: JID, id_: str, jingle: Element) -> Element:
    """The <inject/> that makes a module send `jingle` to `recipient` in the name of `sender`."""
    element = Element(INJECT)
    attributes = {"type": "set", "from": str(sender), "to": str(recipient), "id": id_}
    _forward(element, jingle, attributes)
    return element


def _forward(parent: Element, jingle: Element, attributes: dict[str, str] | None = None) -> None:
    wrapper = SubElement(parent, _FORWARDED)
    SubElement(wrapper, f"{{{names.CLIENT}}}iq", attributes or {}).append(jingle)


# Parts


def host_for(sender: JID, recipient: JID, domains: Collection[str]) -> str | None:
    """The virtual host whose module can speak for this pair: the recipient's if there is a choice.

    The recipient's own host alone knows at once that somebody is offline.
    """
    return next((jid.domain for jid in (recipient, sender) if jid.domain in domains), None)


def address_in(element: Element) -> IPAddress | None:
    """The ip of an answer to an <address/> query; None where it may be stale."""
    found = element.find(ADDRESS)
    return None if found is None else _sighted(found, "")[0]


def module_state(answer: Element | None, domain: str, component: str) -> ModuleState:
    """What the answer to a <module/> query says. `answer` is the IQ, or None where none came."""
    fault = f"{domain} does not answer: is it a virtual host of the server we are connected to?"
    if answer is None:
        return ModuleState(fault, silent=True)
    module = answer.find(MODULE)
    if answer.get("type") == "result" and module is not None:
        server, fails = module.get("server", ""), module.get("fail", "")
        return ModuleState(
            _missing(module, domain),
            _caution(module, component),
            server,
            fails=fails,
            hosts=_hosts(module),
            asks_about_rings=module.get("rings") == "1",
        )
    conditions = {local_name(each) for each in answer.iter()}
    if "forbidden" in conditions:
        return ModuleState(
            f"the server module of {domain} is set up for another component: "
            f'write jingle_hnt_component = "{component}" (Prosody) or component: {component}'
            " (ejabberd)"
        )
    if conditions & ELSEWHERE:
        return ModuleState(fault)
    if "item-not-found" in conditions:
        return ModuleState(
            f"the server module of {domain} asks nobody: write component: {component} among the"
            " options of mod_jingle_hnt (its own conf/mod_jingle_hnt.yml), and ejabberdctl"
            " reload_config"
        )
    return ModuleState(
        f'the server module is not loaded on {domain}: write modules_enabled = {{ "jingle_hnt" }}'
        " (Prosody), or run ejabberdctl module_install mod_jingle_hnt"
    )


def _missing(module: Element, domain: str) -> str:
    """On which nodes of a cluster nobody asks us; empty where all do."""
    without = module.get("without", "").split()
    if not without:
        return ""
    named = ", ".join(_printable(node) for node in without[:MOST_NODES_NAMED])
    more = f" and {len(without) - MOST_NODES_NAMED} more" if len(without) > MOST_NODES_NAMED else ""
    return (
        f"the server module of {domain} does not answer on {named}{more}, or asks another component"
        " there: calls of users that are connected to that node are not relayed; run ejabberdctl"
        " module_install mod_jingle_hnt on every node, with the same conf/mod_jingle_hnt.yml"
    )


def module_query(instance: str, node: str, rings: bool = False) -> Element:
    """Ask a server module how it is set, and say which process on which host asks.

    With `rings` the module asks about what makes a phone ring from now on, without it no more.
    """
    asked = {"instance": instance, "node": node}
    return Element(MODULE, asked | {"rings": "1"} if rings else asked)


def other_instance(answer: Element | None) -> tuple[str, float, bool] | None:
    """Of the process that asked a module before we did: its host, how many seconds ago, and whether
    we had asked before it did, so that both live. None where it was we ourselves, or nobody."""
    module = None if answer is None else answer.find(MODULE)
    if module is None or answer is None or answer.get("type") != "result":
        return None
    node = module.get("other")
    if node is None:
        return None
    return _printable(node), _age_s(module.get("other-age")), module.get("again") == "1"


def _hosts(module: Element) -> tuple[str, ...]:
    named = module.get("hosts", "").split()[:MOST_HOSTS]
    return tuple(host for host in named if host.isprintable())


def _printable(node: str) -> str:
    return "".join(c for c in node[:64] if c.isprintable())


def rings_unasked(domain: str) -> str:
    """What to do about a module that does not ask about rings, though it is to."""
    return (
        f"the server module of {domain} is too old to ask before a phone rings: blocks, limits and"
        " rules speak when a call is offered; install the module of this version"
    )


def _caution(module: Element, component: str) -> str:
    """Return what will go wrong when our connection breaks silently; empty if nothing will."""
    if module.get("conflict", "kick_old") != "kick_old":
        return (
            "after our host was cut off, Prosody would refuse us for a quarter of an hour, until"
            ' it takes the old connection for dead: write component_conflict_resolve = "kick_old"'
            " in its global section, and prosodyctl reload"
        )
    routes = module.get("routes", "1")
    if routes != "1":
        return (
            f"ejabberd has {quoted(routes)} connections of {component} and shares stanzas out"
            " between them: end the second jingle-hnt, or restart whichever you want to keep"
        )
    return ""


def _child(intercept: Element, name: str) -> Element | None:
    """The forwarded stanza of this kind."""
    wrapper = intercept.find(_FORWARDED)
    children = [] if wrapper is None else list(wrapper)
    return next((child for child in children if local_name(child) == name), None)


def _contact(intercept: Element) -> bool | None:
    """Whether the parties are contacts: as the recipient's roster has it, else the sender's."""
    found = (intercept.get(f"{side}-contact") for side in ("to", "from"))
    return next((CONTACT[text] for text in found if text in CONTACT), None)


def _forwarded(intercept: Element) -> Element:
    stanza = _child(intercept, "iq")
    if stanza is None:
        raise ProtocolViolation("<intercept/> without a forwarded IQ")
    return stanza


def _jid(element: Element, attribute: str) -> JID:
    text = element.get(attribute, "")
    try:
        return JID.of(text)
    except ValueError:
        raise ProtocolViolation(f"'{attribute}' is {quoted(text)}, which is no JID") from None


def _full_jid(element: Element, attribute: str) -> JID:
    text = element.get(attribute, "")
    try:
        jid = JID.of(text)
    except ValueError:
        jid = None
    if jid is None or not jid.is_full:
        raise ProtocolViolation(f"'{attribute}' is {quoted(text)}, which is no full JID")
    return jid


def _require_local(host: str, *parties: JID) -> None:
    if all(jid.domain != host for jid in parties):
        raise ProtocolViolation(f"no party is of {host}, whose module sent this")


def _timeout_s(text: str | None) -> float:
    try:
        timeout_s = float(text or USUAL_TIMEOUT_S)
    except ValueError:
        return USUAL_TIMEOUT_S
    if not math.isfinite(timeout_s) or timeout_s <= 0:
        return USUAL_TIMEOUT_S
    return min(timeout_s, LONGEST_TIMEOUT_S)


def _sighted(element: Element, prefix: str) -> tuple[IPAddress | None, tuple[Sighting, ...]]:
    """Return a party's address by attributes with this prefix, and its earlier ones, newest first.

    `ip` is of its connection, of which `via` tells the kind (TCP where it does not) and `age` how
    many seconds ago it was last known to be the user's (0). Only an address that is sure is where
    the party is. `ip4` and `ip6` are the last ones of either family, with ages of their own.
    """
    ip = _ip(element.get(f"{prefix}ip"))
    via, age_s = _via(element.get(f"{prefix}via")), _seen_age_s(element.get(f"{prefix}age"))
    seen = [] if ip is None else [Sighting(ip, via, age_s)]
    sure = bool(seen) and seen[0].is_sure
    for name in (f"{prefix}ip4", f"{prefix}ip6"):
        other = _ip(element.get(name))
        if other is not None and other != ip:
            seen.append(Sighting(other, Via.EARLIER, _seen_age_s(element.get(f"{name}-age"))))
    return (ip, tuple(seen[1:])) if sure else (None, tuple(seen))


def _via(text: str | None) -> Via:
    """The kind of a connection; one that we do not know proves little."""
    try:
        return Via(text or Via.TCP)
    except ValueError:
        return Via.EARLIER


def _seen_age_s(text: str | None) -> float:
    """Return the age of an address; one that cannot be read is too old."""
    try:
        age_s = float(text or 0)
    except ValueError:
        return math.inf
    return age_s if age_s >= 0 else math.inf


def _age_s(text: str | None) -> float:
    try:
        age_s = float(text or 0)
    except ValueError:
        return 0.0
    return age_s if math.isfinite(age_s) and age_s > 0 else 0.0


def _count(text: str | None) -> int:
    plain = text is not None and text.isascii() and text.isdecimal() and len(text) < 10
    return int(text) if text is not None and plain else 0


def _ip(text: str | None) -> IPAddress | None:
    try:
        return literal(text) if text else None
    except ValueError:
        return None
