"""Records of calls in the journal, and the calls of a previous instance.

A call that changes is written down before the loop waits for anything, and one that changes too
fast a moment later. A call that is over stays in the journal until its report is in the history.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import structlog

from jingle_hnt.jingle.budgets import WRITE_DOWNS
from jingle_hnt.jingle.machine import Ended
from jingle_hnt.jingle.record import dump, dump_ended, is_ended, load, load_ended
from jingle_hnt.jingle.registry import Registry
from jingle_hnt.store.history import History
from jingle_hnt.store.journal import Journal, Record
from jingle_hnt.store.turns import Turns

log = structlog.get_logger(__name__)

STORE_RETRY_S = 1.0
"""Pause between attempts to write what a full disk did not take."""

FORGET_S = 600.0
"""Pause between two looks for what is too old for the history."""

WRITE_AGAIN_S = 0.5
"""Pause before calls are written down that change faster than they may be."""


class CallRecords:
    """Keeps the journal in step with a registry; `exceeded` counts what had to wait.

    `plane` is the instance of the plane that calls are bound at, or empty. After its use you must
    call `close`.
    """

    def __init__(
        self,
        registry: Registry,
        journal: Journal,
        history: History,
        exceeded: Counter[str],
        clock: Callable[[], float],
    ) -> None:
        self.plane = ""
        self._registry = registry
        self._journal = journal
        self._history = history
        self._exceeded = exceeded
        self._clock = clock
        self._turns = Turns(registry.policy.budgets.write_downs_per_s)
        self._unwritten: dict[str, bool] = {}
        self._over: dict[str, Ended] = {}
        self._ended_before: list[tuple[Ended, float]] = []
        self._written_on: dict[str, str] = {}
        self._writes_at: asyncio.Handle | None = None

    @property
    def healthy(self) -> bool:
        """Return whether the journal can be written."""
        return self._journal.healthy

    def follow(self) -> None:
        """The registry follows another policy."""
        self._turns.per_s = self._registry.policy.budgets.write_downs_per_s

    # While calls go on

    def note(self, name: str, *, live: bool) -> None:
        """A session has changed."""
        self._unwritten[name] = live
        if self._writes_at is None or isinstance(self._writes_at, asyncio.TimerHandle):
            if self._writes_at is not None:
                self._writes_at.cancel()
            self._writes_at = asyncio.get_running_loop().call_soon(self._write_down)

    def over(self, ended: Ended, *, waits: bool) -> None:
        """End a call; one that `waits` for its report stays in the journal until then."""
        if waits:
            self._over[ended.session] = ended
        self.note(ended.session, live=False)

    def reported(self, name: str) -> None:
        """The report of a call that is over is in the history; the journal may forget it."""
        if self._over.pop(name, None) is not None:
            self.note(name, live=False)

    def _write_down(self, every: bool = False) -> None:
        now = self._clock()
        self._writes_at = None
        records: dict[str, Record | None] = {}
        put_off = self._turns.put_off
        due = list(self._unwritten) if every else self._turns.due(self._unwritten, now)
        self._exceeded[WRITE_DOWNS.name] += self._turns.put_off - put_off
        for name in due:
            live = self._unwritten.pop(name)
            if not live:
                self._turns.forget(name)
            records[name] = self._record(name, live, now)
        if records:
            self._journal.write(records)
        if self._unwritten and not every:
            loop = asyncio.get_running_loop()
            self._writes_at = loop.call_later(WRITE_AGAIN_S, self._write_down)

    def _record(self, name: str, live: bool, now: float) -> Record | None:
        """Return the record of a call for the journal; None to delete it."""
        over = self._over.get(name)
        if over is not None and over.account is not None:
            return dump_ended(over, over.account, now)
        session = self._registry.find(name) if live else None
        if session is None or session.has_ended:
            return None
        return dump(session, now) | {"plane": self.plane}

    async def keep_written(self) -> None:
        """Write what a full disk did not take, or what has lost its file, as soon as can be.

        What is too old for the history goes."""
        looked_at = self._clock()
        while True:
            await asyncio.sleep(STORE_RETRY_S)
            if self._clock() - looked_at >= FORGET_S:
                looked_at = self._clock()
                self._history.forget_old()
            for store in (self._journal, self._history):
                if not store.healthy or store.is_gone:
                    store.retry()

    # Start and stop

    def restore(self) -> None:
        """Take up the calls of an earlier process; one bad record costs that call only.

        Of two that claim the same ports the one that was written last is right.
        """
        now = self._clock()
        for record in reversed(list(self._journal.records())):
            name = str(record.get("name", ""))
            if is_ended(record):
                self._restore_ended(name, record, now)
                continue
            try:
                self._registry.restore(load(record, self._registry, now), now)
            except ValueError as error:
                log.warning("call is not resumed", call=name, why=str(error))
                self._journal.forget(name)
            else:
                self._written_on[name] = str(record.get("plane", ""))
        if len(self._registry):
            log.info("calls resumed", calls=len(self._registry))

    def _restore_ended(self, name: str, record: Record, now: float) -> None:
        """Restore a call that was over without a report; it gets one once the plane is met."""
        try:
            if self._history.find(name) is None:
                ended, at = load_ended(record, self._registry, now)
                self._over[name] = ended
                self._ended_before.append((ended, at))
                return
        except ValueError as error:
            log.warning("call report is lost", call=name, why=str(error))
        self._journal.forget(name)

    def meet(self, plane: str) -> list[str]:
        """Calls are bound at this instance of the plane from now on; which of those that were
        restored it had served before."""
        self.plane = plane
        served = [name for name, instance in self._written_on.items() if instance == plane]
        self._written_on.clear()
        return served

    def take_unreported(self) -> list[tuple[Ended, float]]:
        """The calls that were over before this process began and have no report; and when."""
        found, self._ended_before = self._ended_before, []
        return found

    def take_leave(self) -> None:
        """Record that the farewells of ended calls have been sent."""
        for name, ended in self._over.items():
            self._over[name] = replace(ended, farewells=())
            self.note(name, live=False)

    def close(self) -> None:
        """Write down what is still to be, and close journal and history."""
        self._write_down(every=True)
        self._journal.close()
        self._history.close()
