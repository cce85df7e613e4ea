"""The administrator's admin service: what may be seen and done.

Made once by the signalling process, which tells it what happens. `commands` are those of the table
(`model/commands.py`) that this process answers; each is a method of its name in `state.py`,
`lookup.py` or `orders.py`.
"""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from jingle_hnt.admin.backend import Archive, Backend
from jingle_hnt.admin.call_closing import CallClosing
from jingle_hnt.admin.call_counters import CallCounters
from jingle_hnt.admin.commands import Served, served
from jingle_hnt.admin.lookup import CallCommands
from jingle_hnt.admin.orders import OrderCommands
from jingle_hnt.admin.refusals import Refusals
from jingle_hnt.admin.state import StateCommands
from jingle_hnt.admin.whereabouts import Whereabouts
from jingle_hnt.jingle.effects import CallRefused
from jingle_hnt.model.commands import Field, FieldKind
from jingle_hnt.relay.binding import Drained, Event, Latched, Rivalry
from jingle_hnt.relay.evidence import SourceAuth


class AdminService:
    """See the module's text."""

    def __init__(self, backend: Backend, archive: Archive, redact: bool = False) -> None:
        self.call_counters = CallCounters()
        self.refusals = Refusals(archive, backend.soon)
        self.whereabouts = Whereabouts()
        self._backend = backend
        self._plane_instance = ""
        self.call_closing = CallClosing(backend, archive, self.call_counters, self.refusals, redact)
        backend.registry.limits.blocked = archive.blocked()
        state = StateCommands(backend, archive, self.call_counters, self.whereabouts)
        calls = CallCommands(backend, archive, self.call_counters, self.refusals)
        orders = OrderCommands(backend, archive, state, calls)
        self.scrape = state.scrape
        self.commands = tuple(map(self._offering, served(state, calls, orders)))

    # What the process tells

    def on_event(self, event: Event) -> None:
        """Something happened in the plane."""
        match event:
            case Latched():
                pinhole = self._backend.registry.calls.pinhole(event.name, event.side)
                evidence = None if pinhole is None else pinhole.evidence
                source_auth = SourceAuth.PROBATION if evidence is None else evidence.source_auth
                self.call_counters.latches[
                    source_auth.value, "again" if event.relatched else "first"
                ] += 1
                self.call_counters.latch.observe(event.after_s)
            case Rivalry():
                self.call_counters.rivalries += 1
            case Drained():
                self.call_counters.traffic.drained(event)
                self.call_closing.drained(event)

    def refused(self, refused: CallRefused) -> None:
        """Record a call that was refused, or goes on without the relay."""
        self.refusals.add(refused, datetime.now(UTC) - timedelta(seconds=refused.age_s))

    def plane_met(self, instance: str) -> None:
        """The plane is connected; another instance than the last counts from zero."""
        if instance != self._plane_instance:
            self.call_counters.traffic.plane_is_new()
            self.call_counters.planes += 1
        self._plane_instance = instance

    def _offering(self, one: Served) -> Served:
        """A choice without values in the table is one of the options that can be set now."""

        def offered(field: Field) -> Field:
            is_open = field.kind is FieldKind.CHOICE and not field.options
            return replace(field, options=tuple(self._backend.policy())) if is_open else field

        fields = tuple(map(offered, one.command.asked))
        return replace(one, command=replace(one.command, fields=fields))
