"""The queue of requests, which wait for their user's turn (`jingle.fairness`)."""

import asyncio
from collections.abc import Callable

import structlog

from jingle_hnt.jingle.effects import Request
from jingle_hnt.jingle.fairness import LATE, FairQueue
from jingle_hnt.jingle.registry import Registry
from jingle_hnt.model.jid import JID
from jingle_hnt.model.jingle import Action

log = structlog.get_logger(__name__)

SLICE_S = 0.01
"""How long requests are served before what has come meanwhile is read: else nobody new would wait
fairly."""


class Requests:
    """Gives requests to a registry, each in its turn; `carry_out` does what comes of one."""

    def __init__(
        self, registry: Registry, carry_out: Callable[[], None], clock: Callable[[], float]
    ) -> None:
        self._registry = registry
        self._carry_out = carry_out
        self._clock = clock
        self._waiting: FairQueue[Request] = FairQueue()
        self._serving = False

    def put(self, request: Request) -> None:
        """A stanza that a server module holds; its user's turn comes soon."""
        line = self._registry.budgets.line_of(request.sender)
        ends = request.jingle.action is Action.SESSION_TERMINATE
        if not self._waiting.put(line, request, self._clock(), ends=ends):
            self._registry.crowded(request)
            self._carry_out()
        elif not self._serving:
            self._serving = True
            asyncio.get_running_loop().call_soon(self.serve)

    def serve(self, every: bool = False) -> None:
        """Serve those that wait, in turn, for as long as others of the loop may be kept waiting."""
        self._serving = False
        until = self._clock() + SLICE_S
        while self._waiting and (every or self._clock() < until):
            request, since = self._waiting.take()
            now = self._clock()
            ends = request.jingle.action is Action.SESSION_TERMINATE
            if now - since > LATE * request.patience_s and not ends:
                log.warning("a request has waited too long", sender=str(request.sender))
                self._registry.late(request, now)
                self._carry_out()
                self._registry.learn(request, now)
            else:
                self._registry.receive(request, now)
            self._carry_out()
        if self._waiting:
            self._serving = True
            asyncio.get_running_loop().call_soon(self.serve)

    def serve_before(self, user: JID) -> None:
        """Serve this user's earlier requests before another input of the user."""
        if self._waiting.has(self._registry.budgets.line_of(user)):
            self.serve(every=True)
