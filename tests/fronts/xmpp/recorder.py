"""Inputs that remember what they were told, for tests."""

import asyncio
from collections.abc import Callable

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


class Recorder:
    """Everything a component told, in order; `on_request` may answer at once."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.refusals: list[Refusal] = []
        self.moves: list[Moved] = []
        self.departures: list[Gone] = []
        self.channels: list[ChannelRequest] = []
        self.passed_by: list[Passed] = []
        self.expirations: list[Request] = []
        self.rings: list[Ring] = []
        self.withdrawals: list[Withdrawn] = []
        self.rejections: list[tuple[JID, JingleError]] = []
        self.server_connection: list[str] = []
        self.on_request: Callable[[Request], None] = lambda _: None

    def receive(self, request: Request) -> None:
        self.requests.append(request)
        self.on_request(request)

    def rang(self, ring: Ring) -> None:
        self.rings.append(ring)

    def refused(self, refusal: Refusal) -> None:
        self.refusals.append(refusal)

    def moved(self, moved: Moved) -> None:
        self.moves.append(moved)

    def gone(self, gone: Gone) -> None:
        self.departures.append(gone)

    def channel(self, request: ChannelRequest) -> None:
        self.channels.append(request)

    def withdrawn(self, withdrawn: Withdrawn) -> None:
        self.withdrawals.append(withdrawn)

    def passed(self, passed: Passed) -> None:
        self.passed_by.append(passed)

    def expired(self, request: Request) -> None:
        self.expirations.append(request)

    def rejected(self, sender: JID, error: JingleError) -> None:
        self.rejections.append((sender, error))

    def on_connected(self, component: str) -> None:
        self.server_connection.append("up")

    def on_disconnected(self, component: str, reason: str) -> None:
        self.server_connection.append(reason)


async def until(condition: Callable[[], object], patience_s: float = 30.0) -> None:
    """Wait for a condition that the event loop brings about; raises TimeoutError."""
    async with asyncio.timeout(patience_s):
        # What is waited for is inside the code under test, which has no event to offer.
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)
