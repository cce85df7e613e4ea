"""The state of the server modules, asked after each connection and every minute.

A module may be unloaded, or lose its configuration, while our link stands: calls then pass us by.
"""

import asyncio
import contextlib

import structlog

from jingle_hnt.fronts.xmpp.component import Component
from jingle_hnt.model.servers import ModuleState

log = structlog.get_logger(__name__)

ASK_EVERY_S = 60.0
ASK_AGAIN_S = 10.0
"""The pause while something is wrong: whoever mends it wants to see it."""

NOT_ASKED = ModuleState("its server module has not answered yet: look again in a few seconds")


class ModuleWatch:
    """The server modules of one component's domains.

    A state is that of the last answer. One question that nobody answers says nothing: the server
    may be busy. It is put again at once, and the second one counts.
    """

    def __init__(self, component: Component) -> None:
        self._component = component
        self._states: dict[str, ModuleState] = {}
        self._met: set[str] = set()
        self._wake = asyncio.Event()

    @property
    def faults(self) -> dict[str, str]:
        """Return for each domain why its calls are not relayed; empty while not connected.

        A domain whose users may call by addresses at the component may never have had a module; one
        that it had and lost is a fault there, too.
        """
        if not self._component.up:
            return {}
        offers = self._component.component_services
        states = {domain: self._states.get(domain, NOT_ASKED) for domain in offers.domains}
        return {
            domain: state.fault
            for domain, state in states.items()
            if state.fault and (domain not in offers.callers or domain in self._met)
        }

    def linked(self) -> None:
        """The link came up: what the last server said does not count any more."""
        self._states.clear()
        self._wake.set()

    def ask_now(self) -> None:
        """They are to hear of a change."""
        self._wake.set()

    async def run(self) -> None:
        """Ask until cancelled."""
        while True:
            self._wake.clear()
            if self._component.up:
                await self._ask()
            pause_s = ASK_AGAIN_S if self.faults else ASK_EVERY_S
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._wake.wait()

    async def _ask(self) -> None:
        told = await self._component.diagnose()
        if any(state.silent and not self._was_silent(domain) for domain, state in told.items()):
            told = await self._component.diagnose()
        if self._wake.is_set() or not self._component.up:
            return  # they were asked over a link that is gone
        for domain, state in told.items():
            self._say(domain, self._states.get(domain, ModuleState()), state)
            self._states[domain] = state
            if not state.fault:
                self._met.add(domain)

    def _was_silent(self, domain: str) -> bool:
        return self._states.get(domain, NOT_ASKED).silent

    def _say(self, domain: str, before: ModuleState, now: ModuleState) -> None:
        offers = self._component.component_services
        if domain in offers.callers and domain not in self._met:
            return
        if now.fault and now.fault != before.fault:
            log.warning("calls of a domain are not relayed", domain=domain, why=now.fault)
        elif before.fault and not now.fault:
            log.info("the server module answers again", domain=domain)
