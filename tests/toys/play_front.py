"""Plays a call of the toy front through the core, beside an obedient plane."""

import json
import sys
from importlib import import_module
from ipaddress import ip_address
from typing import Any

from jingle_hnt.call.calls import Calls
from jingle_hnt.call.effects import Bind, FrontEffect, Release
from jingle_hnt.model.address import TransportAddress
from jingle_hnt.relay.binding import Arm, Gate, Latched, Side
from jingle_hnt.relay.interfaces import Interface
from jingle_hnt.relay.planes import Planes
from jingle_hnt.relay.ports import PortPool

TOY = import_module("jingle_hnt.fronts.toy")
KNOWS_JINGLE = any(name.startswith("jingle_hnt.jingle") for name in sys.modules)
"""Other fronts of the table may."""

RELAY = ip_address("203.0.113.9")
ONE, OTHER = TransportAddress.of("198.51.100.1", 5000), TransportAddress.of("198.51.100.2", 6000)


class Driver:
    """What `app` does, in twenty lines."""

    def __init__(self) -> None:
        names = iter(f"t{n}" for n in range(9))
        pool = PortPool([Interface(RELAY, RELAY)], 2000, 2999, lambda n: n // 2)
        self.calls = Calls(Planes.of(pool), lambda: next(names), lambda: "0" * 88)
        self.free = pool.counts.free
        self.front: Any
        self.seen: dict[str, Any] = {"arms": 0, "gates": 0, "released": []}
        table = import_module("jingle_hnt.fronts.table")
        (self.front,) = (each for each in table.fronts(self) if isinstance(each, TOY.ToyFront))

    def options(self, kind: type[object]) -> None:
        """The operator has turned no other front on."""

    @property
    def registry(self) -> None:
        """The calls of a toy are no sessions."""

    async def bindings(self, names: object) -> None:
        """Nobody asks."""

    def now(self) -> float:
        return 100.0

    def carry_out(self) -> None:
        while effects := self.calls.effects():
            for effect in effects:
                match effect:
                    case Bind(session=name, number=number):
                        self.calls.bound(name, number, self.now())
                    case Arm():
                        self.seen["arms"] += 1
                    case Gate(flows=flows):
                        self.seen["gates"] += 1
                        self.seen["flows"] = [int(flow) for flow in flows]
                    case Release(names=names):
                        self.seen["released"] += names
                    case FrontEffect():
                        assert self.front.carry_out(effect)


def main() -> None:
    driver = Driver()
    name = driver.front.calls(ONE, OTHER)
    driver.front.answers(name, OTHER)
    (owner,) = driver.calls
    sides: tuple[tuple[Side, TransportAddress], ...] = ((0, ONE), (1, OTHER))
    for side, source in sides:
        event = Latched(f"{name}.1.1", side, 0, source, relatched=False, after_s=0.1)
        driver.calls.on_event(event, driver.now())
    heard = owner.call.life.heard
    driver.front.ends(name)
    told = [str(said.where) for said in driver.front.said]
    seen = {"told": told, "heard": heard, "calls": len(driver.calls), "knows_jingle": KNOWS_JINGLE}
    json.dump({**driver.seen, **seen}, sys.stdout)


if __name__ == "__main__":
    main()
