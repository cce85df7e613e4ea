"""Another process that connects as the same component: noticed, named, and not fought with.

Each connection of one ends that of the other. Whoever is replaced waits longer each time, so that
calls have one relay for minutes and not two that take turns each second.
"""

import os
import random
import secrets
import socket
from collections import deque

INSTANCE = secrets.token_hex(8) + f"-{os.getpid()}"
"""Tells this process from every other, and from its own earlier lives."""

NODE = socket.gethostname()[:64]
"""What other processes know this host by."""

REMEMBERED_S = 900.0
"""For how long a replacement counts."""
GONE_S = 400.0
"""Who is still there comes back sooner than this (`LONGEST_PAUSE_S` and a quarter of it)."""
BELIEVED = 2
"""A single replacement may be an operator's `check` elsewhere."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 2.0, 300.0
"""Before the connection after the first replacement; it doubles with each that counts."""


class Rivals:
    """Other processes that serve the component `jid`; `now` is in seconds throughout."""

    def __init__(self, jid: str) -> None:
        self._jid = jid
        self._replaced_at: deque[float] = deque(maxlen=32)
        self._node = ""
        self._met_at = float("-inf")
        self.replacements = 0

    def replaced(self, now: float) -> None:
        """Another connection has taken the place of ours."""
        self.replacements += 1
        self._replaced_at.append(now)

    def met(self, node: str, now: float) -> None:
        """A server module says that a process on host `node` was there, and we were before it."""
        self._node, self._met_at = node, now

    def pause_s(self, now: float) -> float:
        """Return the seconds before the next connection; two rivals wait differently."""
        self._forget(now)
        pause_s = FIRST_PAUSE_S * 2 ** min(len(self._replaced_at), 16) / 2
        return float(min(LONGEST_PAUSE_S, pause_s)) * random.uniform(0.75, 1.25)

    def text(self, now: float) -> str:
        """Return what is wrong and what to do; empty if no other process is known."""
        self._forget(now)
        met = now - self._met_at < REMEMBERED_S
        times = len(self._replaced_at)
        if times < BELIEVED or now - self._replaced_at[-1] >= GONE_S:
            return ""
        where = f" on host {self._node}" if met and self._node else ""
        if where == f" on host {NODE}":
            where += " (this one)"
        return (
            f"another jingle-hnt{where} connects as {self._jid} too, and each takes the other's"
            f" place ({times} times in {REMEMBERED_S / 60:g} minutes): end one of the two, or give"
            " it a component of its own"
        )

    def _forget(self, now: float) -> None:
        while self._replaced_at and now - self._replaced_at[0] >= REMEMBERED_S:
            self._replaced_at.popleft()
