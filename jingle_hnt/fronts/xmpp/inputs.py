"""The inputs of the XMPP front."""

from typing import Protocol

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
from jingle_hnt.model.jid import JID


class Inputs(Protocol):
    """The methods that the component calls, in the event loop. None of them may block."""

    def receive(self, request: Request) -> None:
        """A request that a server module holds; `Component.answer` is to follow, now or later."""

    def rang(self, ring: Ring) -> None:
        """A message that makes a phone ring is held; `Component.answer` is to follow."""

    def refused(self, refusal: Refusal) -> None:
        """A request that went through us was answered by an error."""

    def moved(self, moved: Moved) -> None:
        """A party's XMPP connection comes from another address."""

    def gone(self, gone: Gone) -> None:
        """A party's XMPP session is over."""

    def withdrawn(self, withdrawn: Withdrawn) -> None:
        """A party said in a message that its call is over."""

    def passed(self, passed: Passed) -> None:
        """A request went on unasked while we were away; it is told once we are back, in order."""

    def expired(self, request: Request) -> None:
        """A request that we were asked about went on as it came: our answer comes too late."""

    def channel(self, request: ChannelRequest) -> None:
        """A user asks for a relay channel; `Component.answer` is to follow, now or later."""

    def rejected(self, sender: JID, error: JingleError) -> None:
        """A request was bounced by the component itself, for what it is."""

    def on_connected(self, component: str) -> None:
        """A server has accepted us under this domain."""

    def on_disconnected(self, component: str, reason: str) -> None:
        """This component's stream is gone, or there is a new reason why it does not come back."""
