"""Plays a call on the toy plane, by links of the signalling process, while no other is there."""

import asyncio
import json
import sys
from collections.abc import Callable, Coroutine
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from jingle_hnt.app.plane_link import PlaneLink
from jingle_hnt.call.calls import Calls
from jingle_hnt.call.effects import Bind, Release
from jingle_hnt.call.reconcile import reconcile
from jingle_hnt.jingle.effects import Replace, Request
from jingle_hnt.jingle.policy import SessionPolicy
from jingle_hnt.jingle.registry import Registry
from jingle_hnt.model.address import TransportAddress
from jingle_hnt.model.content import Candidate, Content, ContentKey, Creator, RawUdp
from jingle_hnt.model.jid import JID
from jingle_hnt.model.jingle import Action, Jingle
from jingle_hnt.plane.table import PLANES, pools
from jingle_hnt.relay.binding import Arm, BindingSnapshot, Event, Gate
from jingle_hnt.relay.interfaces import Interface
from jingle_hnt.relay.planes import Planes
from jingle_hnt.relay.ports import PlaneId, PortPool

LOCAL_ADDRESS = ip_address("203.0.113.9")
TOY = "toy"


class Host:
    """The part of `app.signalling` that has to do with planes."""

    def __init__(self) -> None:
        local = PortPool([Interface(LOCAL_ADDRESS, LOCAL_ADDRESS)], 2000, 2999, lambda n: n // 2)
        self.calls = Calls(Planes(pools(local, lambda n: n // 2)), lambda: "s1", lambda: "0" * 88)
        self.registry = Registry(SessionPolicy(frozenset({"example.org"})), self.calls)
        self.links = {plane: PlaneLink(plane, Path("nowhere"), self) for plane in PLANES}
        self.answers: list[Replace] = []
        self.tasks: set[asyncio.Task[None]] = set()

    def now(self) -> float:
        return 100.0

    def spawn(self, coroutine: Coroutine[object, object, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(coroutine)
        self.tasks.add(task)
        return task

    def met(self, link: PlaneLink, bindings: list[BindingSnapshot]) -> None:
        reconcile(self.calls, bindings, self.now(), (), link.plane)
        self.carry_out()

    def after_met(self) -> None:
        """There are no reports."""

    def on_event(self, event: Event, plane: PlaneId) -> None:
        self.calls.on_event(event, self.now(), plane)

    def carry_out(self) -> None:
        for effect in self.calls.effects():
            match effect:
                case Bind():
                    self.links[effect.plane].bind(effect)
                case Arm() | Gate():
                    self.links[self.calls.plane_of(effect.name)].order([effect], 0.0)
                case Release():
                    self.links[effect.plane].order([effect], 0.0)
                case Replace():
                    self.answers.append(effect)


async def until(is_so: Callable[[], bool]) -> None:
    """Let the others run until this is so."""
    for _ in range(1000):
        if is_so():
            return
        await asyncio.sleep(0)
    raise TimeoutError


async def main() -> None:
    host = Host()
    keeping = [asyncio.create_task(link.keep()) for link in host.links.values()]
    await until(lambda: host.links[TOY].is_met)
    alice, bob = JID.of("alice@example.org/phone"), JID.of("bob@example.org/desk")
    key = ContentKey(Creator.INITIATOR, "voice")
    for token, action, jids in (
        (1, Action.SESSION_INITIATE, (alice, bob)),
        (2, Action.SESSION_ACCEPT, (bob, alice)),
    ):
        candidate = Candidate(1, 0, TransportAddress.of("198.51.100.1", 5000 + token))
        content = Content(key, None, RawUdp((candidate,)), "audio")
        host.registry.receive(
            Request(token, *jids, Jingle(action, "a", contents=(content,))), 100.0
        )
        host.carry_out()
        await until(lambda: len(host.answers) == token)  # noqa: B023 - waited for at once
    toy: Any = PLANES[TOY]
    told = [str(c.address.ip) for a in host.answers for c in a.substitution[key]]
    seen: dict[str, Any] = {
        "told": sorted(set(told)),
        "made": [spec.name for spec in toy.made],
        "orders": len(toy.told),
        "local": host.links[""].is_met,
    }
    host.registry.receive(Request(3, alice, bob, Jingle(Action.SESSION_TERMINATE, "a")), 100.0)
    host.carry_out()
    await until(lambda: not toy.made)
    for task in keeping:
        task.cancel()
    json.dump(seen, sys.stdout)


if __name__ == "__main__":
    asyncio.run(main())
