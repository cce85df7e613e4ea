"""Several external components in one process: one for each server, side by side.

A call is one session, whichever of our servers its parties are on. Where both are on servers of
ours, the sender's asks and the recipient's lets pass (see `ComponentSettings.elsewhere`).
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import count

import structlog

from jingle_hnt.errors import SecretRefused, only_refusals
from jingle_hnt.fronts.xmpp import adhoc
from jingle_hnt.fronts.xmpp.component import Component, ComponentSettings
from jingle_hnt.fronts.xmpp.inputs import Inputs
from jingle_hnt.fronts.xmpp.modules import ModuleWatch
from jingle_hnt.jingle.effects import Answer, Inject
from jingle_hnt.model.jid import JID
from jingle_hnt.model.servers import ComponentServices, ModuleState, Services

log = structlog.get_logger(__name__)

REFUSED_RETRY_S, LONGEST_RETRY_S = 2.0, 60.0
"""Between attempts at a server that refuses our secret, which somebody has to mend: the first
pause, which doubles, and the longest."""


class Components:
    """The XMPP side as the app sees it: of all methods of a `Component` the one that is meant."""

    def __init__(
        self,
        settings: Sequence[ComponentSettings],
        inputs: Inputs,
        commands: Sequence[adhoc.AdhocCommand] = (),
        is_needed: Callable[[], bool] = lambda: False,
    ) -> None:
        """`is_needed` says whether calls go on, which must not end because a server refuses us."""
        tokens = count(1)
        self._is_needed = is_needed
        self._refused: set[str] = set()
        self._all = {
            each.jid: Component(each, inputs, commands=commands, tokens=tokens) for each in settings
        }
        self._watches = {jid: ModuleWatch(component) for jid, component in self._all.items()}
        self._of_domain = {
            domain: self._all[each.jid] for each in settings for domain in each.domains
        }

    @property
    def links(self) -> dict[str, str]:
        """Return for each component why it is not connected; empty if it is."""
        return {jid: component.fault for jid, component in self._all.items()}

    @property
    def rivalries(self) -> dict[str, str]:
        """Return the advice for each component as which another process connects too."""
        return {jid: c.rivalry for jid, c in self._all.items() if c.rivalry}

    @property
    def replacements(self) -> int:
        """Return how often another connection has taken the place of one of ours."""
        return sum(component.replacements for component in self._all.values())

    @property
    def component_services(self) -> tuple[ComponentServices, ...]:
        """Return the services of each component besides answering server modules."""
        return tuple(component.component_services for component in self._all.values())

    async def run(self) -> None:
        """Keep all links up until cancelled or stopped.

        Raises SecretRefused, and nothing else, where every server refuses us at a first start: none
        has ever accepted us, and no call goes on. Else one that refuses us is tried again, with the
        secret as it is then: its operator may mend it, and no call is touched meanwhile.
        """
        try:
            async with asyncio.TaskGroup() as group:
                for jid in self._all:
                    group.create_task(self._keep(jid))
        except ExceptionGroup as failed:
            refused = only_refusals(failed)
            if refused is None:
                raise
            raise refused from None

    async def _keep(self, jid: str) -> None:
        pause_s = REFUSED_RETRY_S
        while True:
            self._refused.discard(jid)
            try:
                return await self._all[jid].run()
            except SecretRefused as error:
                self._refused.add(jid)
                if self._is_hopeless:
                    raise
                log.error(
                    "an XMPP server refuses the secret; calls go on, another attempt follows",
                    component=jid,
                    why=str(error),
                    next_try_s=pause_s,
                )
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_RETRY_S)

    @property
    def _is_hopeless(self) -> bool:
        was_accepted = any(component.accepted for component in self._all.values())
        return self._refused == self._all.keys() and not was_accepted and not self._is_needed()

    async def watch_modules(self) -> None:
        """Ask the server modules how they are, now and then, until cancelled."""
        async with asyncio.TaskGroup() as group:
            for watch in self._watches.values():
                group.create_task(watch.run())

    def linked(self, component: str) -> None:
        """This component's link came up."""
        self._watches[component].linked()

    @property
    def modules_down(self) -> Mapping[str, str]:
        """Return for each domain why its calls are not relayed though its server is connected."""
        faults = (watch.faults for watch in self._watches.values())
        return {domain: why for each in faults for domain, why in each.items()}

    async def stop(self) -> None:
        """Close all streams in an orderly way."""
        await asyncio.gather(*(component.stop() for component in self._all.values()))

    def administer(self, administrators: Iterable[JID], redacts: bool) -> None:
        """See `Component.administer`."""
        administrators = tuple(administrators)
        for component in self._all.values():
            component.administer(administrators, redacts)

    def ask_about_rings(self, wanted: bool) -> None:
        """From now on server modules ask about what makes a phone ring, or do not."""
        for jid, component in self._all.items():
            if component.asks_about_rings != wanted:
                component.asks_about_rings = wanted
                self._watches[jid].ask_now()

    def answer(self, answer: Answer) -> None:
        """Answer where the request came in; see `Component.answer`."""
        first, *_ = self._all.values()
        holders = (each for each in self._all.values() if each.holds(answer.token))
        next(holders, first).answer(answer)

    def inject(self, inject: Inject) -> bool:
        """Send a request of ours; False where no link is up that leads to a party."""
        if inject.via:
            through = self._all.get(inject.via)
            return through is not None and through.inject(inject)
        ways = [self._of_domain.get(jid.domain) for jid in (inject.recipient, inject.sender)]
        return any(component.inject(inject) for component in ways if component is not None)

    def announce(self, to: JID, text: str) -> bool:
        """Send a headline from the component of the user's domain."""
        first, *_ = self._all.values()
        return self._of_domain.get(to.domain, first).announce(to, text)

    async def diagnose(self) -> dict[str, ModuleState]:
        """The server modules of all domains whose server is connected."""
        told = await asyncio.gather(*(each.diagnose() for each in self._all.values() if each.up))
        return {domain: state for states in told for domain, state in states.items()}

    async def services(self) -> dict[str, Services]:
        """The STUN and TURN servers that each domain names, of servers that are connected."""
        told = await asyncio.gather(*(each.services() for each in self._all.values() if each.up))
        return {domain: services for found in told for domain, services in found.items()}
