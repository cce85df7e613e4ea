"""This front as the driver of the signalling process knows it."""

import asyncio
from dataclasses import dataclass

import structlog

from jingle_hnt.call.effects import FrontEffect
from jingle_hnt.fronts.inputs import Driver
from jingle_hnt.fronts.ng.calls import NgPolicy, RegistryCore
from jingle_hnt.fronts.ng.front import NgFront
from jingle_hnt.fronts.ng.listening import Listening
from jingle_hnt.fronts.ng.server import NgServer
from jingle_hnt.model.address import IPNetwork

log = structlog.get_logger(__name__)

BIND_RETRY_S = 5.0
"""Pause between attempts to listen where another process does, or the address is yet to come."""

SWEEP_S = 10.0
"""Pause between two looks for calls that nobody has answered."""


@dataclass(frozen=True, slots=True)
class NgSettings:
    """Where to listen, for whom, and what SIP calls follow."""

    listening: tuple[Listening, ...]
    networks: tuple[IPNetwork, ...]
    policy: NgPolicy


class NgService:
    """Listens for proxies, where the operator wants that; `front` is what carries out commands."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        policy = self._policy()
        self._core = RegistryCore(driver.registry, driver.now, driver.carry_out)
        self.front = NgFront(self._core, policy, driver.bindings, driver.now)
        self._core.on_end = self.front.ended

    def _policy(self) -> NgPolicy:
        settings = self._driver.options(NgSettings)
        return NgPolicy() if settings is None else settings.policy

    def follow(self) -> None:
        """See `Front`."""
        self.front.policy = self._policy()

    def carry_out(self, effect: FrontEffect) -> bool:
        """See `Front`."""
        return self._core.take(effect)

    async def run(self) -> None:
        """Serve until cancelled. What cannot be bound is tried again; calls of others go on."""
        settings = self._driver.options(NgSettings)
        if settings is None:
            return
        self.front.take_up()
        server = NgServer(settings.listening, settings.networks, self.front.carry_out)
        told = False
        while True:
            try:
                await server.start()
                break
            except OSError as error:
                if not told:
                    log.error("cannot listen for SIP proxies", why=str(error), do="see ng.listen")
                told = True
                await asyncio.sleep(BIND_RETRY_S)
        places = ", ".join(map(str, settings.listening))
        log.info("listening for SIP proxies", listen=places, calls=len(self.front))
        try:
            while True:
                await asyncio.sleep(SWEEP_S)
                await self.front.sweep()
        finally:
            await server.close()
