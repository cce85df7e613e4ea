"""The inputs of the XMPP front to the sessions."""

from collections.abc import Callable

import structlog

from jingle_hnt.admin.service import AdminService
from jingle_hnt.app.requests import Requests
from jingle_hnt.errors import JingleError
from jingle_hnt.jingle.effects import (
    ChannelRequest,
    Gone,
    Moved,
    Passed,
    Refusal,
    Request,
    Ring,
    Withdrawn,
)
from jingle_hnt.jingle.registry import Registry
from jingle_hnt.model.jid import JID

log = structlog.get_logger(__name__)


class XmppInputs:
    """The methods of `fronts.xmpp.inputs.Inputs`.

    `carry_out` does what comes of an input, `connected` is told of a component that is accepted.
    """

    def __init__(
        self,
        registry: Registry,
        requests: Requests,
        service: AdminService,
        carry_out: Callable[[], None],
        connected: Callable[[str], None],
        clock: Callable[[], float],
    ) -> None:
        self._registry = registry
        self._requests = requests
        self._service = service
        self._carry_out = carry_out
        self._connected = connected
        self._clock = clock

    def receive(self, request: Request) -> None:
        """A stanza that a server module holds; its user's turn comes soon."""
        self._service.whereabouts.seen(request.sender, request.sender_ip)
        self._service.whereabouts.seen(request.recipient, request.recipient_ip)
        self._requests.put(request)

    def rang(self, ring: Ring) -> None:
        """A message that makes a phone ring."""
        self._registry.rang(ring, self._clock())
        self._carry_out()

    def refused(self, refusal: Refusal) -> None:
        """A diverted request was answered by an error."""
        self._requests.serve_before(refusal.sender)
        self._registry.refused(refusal, self._clock())
        self._carry_out()

    def moved(self, moved: Moved) -> None:
        """A party's connection comes from another address."""
        self._registry.moved(moved, self._clock())
        self._carry_out()

    def gone(self, gone: Gone) -> None:
        """A party has left its server."""
        self._requests.serve_before(gone.jid)
        self._registry.gone(gone, self._clock())
        self._carry_out()

    def withdrawn(self, withdrawn: Withdrawn) -> None:
        """A party said in a message that its call is over."""
        self._requests.serve_before(withdrawn.jid)
        self._registry.withdrawn(withdrawn, self._clock())
        self._carry_out()

    def passed(self, passed: Passed) -> None:
        """A request went on unasked while we were not connected."""
        log.warning(
            "a request passed during an absence of jingle-hnt",
            sender=str(passed.sender),
            recipient=str(passed.recipient),
            sid=passed.sid,
            action=str(passed.action),
            age_s=passed.age_s,
            missed=passed.missed,
        )
        self._registry.passed(passed, self._clock())
        self._carry_out()

    def expired(self, request: Request) -> None:
        """A request went on as it came, since its answer comes too late."""
        self._requests.serve_before(request.sender)
        self._registry.expired(request, self._clock())
        self._carry_out()

    def channel(self, request: ChannelRequest) -> None:
        """A user asks for a relay channel."""
        self._registry.channel(request, self._clock())
        self._carry_out()

    def rejected(self, sender: JID, error: JingleError) -> None:
        """A stanza was bounced for what it is, before any session saw it."""
        condition = error.answer.condition.value
        self._service.call_counters.refused[condition] += 1
        log.info("stanza rejected", sender=str(sender), condition=condition, why=str(error))

    def on_connected(self, component: str) -> None:
        """An XMPP server has accepted us."""
        self._service.call_counters.connections += 1
        log.info("connected to the XMPP server", component=component)
        self._connected(component)

    def on_disconnected(self, component: str, reason: str) -> None:
        """The stream is gone; media goes on, and calls are under control again when it is back."""
        log.warning(
            "XMPP connection is down; media goes on",
            component=component,
            reason=reason,
            calls=len(self._registry),
        )
