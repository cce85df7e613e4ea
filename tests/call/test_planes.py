"""Calls on several planes: what is said of one changes nothing of another's."""

import json
from ipaddress import ip_address

import pytest

from jingle_hnt.call.calls import Calls
from jingle_hnt.call.effects import Bind, Effect, Release
from jingle_hnt.call.reconcile import reconcile
from jingle_hnt.jingle.effects import Request
from jingle_hnt.jingle.record import dump, load
from jingle_hnt.jingle.registry import Registry
from jingle_hnt.model.jingle import Action, Jingle
from jingle_hnt.relay.binding import BindingSnapshot, Drained
from jingle_hnt.relay.interfaces import Interface
from jingle_hnt.relay.planes import Planes
from jingle_hnt.relay.ports import LOCAL, PortPool
from tests.jingle.stage import ALICE, BOB, content, policy, shut

FAR = "far"


class House:
    """Two planes, `LOCAL` and `FAR`, of a registry; each call begins where it is told to."""

    def __init__(self) -> None:
        names = iter(f"s{n}" for n in range(1, 99))
        pools = {
            plane: PortPool(
                [Interface(ip_address(ip), ip_address(ip))], 2000, 2999, lambda n: n // 2, plane
            )
            for plane, ip in ((LOCAL, "203.0.113.9"), (FAR, "203.0.113.77"))
        }
        self.calls = Calls(Planes(pools), lambda: next(names), lambda: "0" * 88)
        self.registry = Registry(policy(), self.calls)
        self.tokens = 0

    def begin(self, plane: str, sid: str) -> Bind:
        """An offer, whose bindings are made."""
        self.calls.planes.away = {LOCAL, FAR} - {plane}
        self.tokens += 1
        jingle = Jingle(Action.SESSION_INITIATE, sid, contents=(content(),))
        self.registry.receive(Request(self.tokens, ALICE, BOB, jingle), 100.0)
        (bind,) = [e for e in self.calls.effects() if isinstance(e, Bind)]
        self.calls.bound(bind.session, bind.number, 100.0)
        self.calls.effects()
        return bind

    def met(self, plane: str, *bindings: BindingSnapshot) -> list[Effect]:
        reconcile(self.calls, bindings, 101.0, plane=plane)
        return [e for e in self.calls.effects() if isinstance(e, Bind | Release)]


def snapshot(bind: Bind, *, draining: bool = False) -> list[BindingSnapshot]:
    return [
        BindingSnapshot(s.name, (shut(s.pinholes[0]), shut(s.pinholes[1])), draining)
        for s in bind.specs
    ]


def test_a_call_is_on_the_plane_that_is_there() -> None:
    house = House()
    near, far = house.begin(LOCAL, "a"), house.begin(FAR, "b")
    assert (near.plane, far.plane) == (LOCAL, FAR)
    assert {str(address.ip) for address in far.addresses()} == {"203.0.113.77"}
    assert house.calls.plane_of(far.specs[0].name) == FAR


def test_an_empty_plane_makes_its_own_calls_again_and_no_others() -> None:
    house = House()
    near, far = house.begin(LOCAL, "a"), house.begin(FAR, "b")
    (again,) = house.met(FAR)
    assert isinstance(again, Bind)
    assert (again.plane, again.specs) == (FAR, far.specs)
    assert house.met(LOCAL, *snapshot(near)) == []


def test_a_binding_is_an_orphan_where_its_call_is_elsewhere() -> None:
    house = House()
    near = house.begin(LOCAL, "a")
    (released,) = house.met(FAR, *snapshot(near))
    assert released == Release(tuple(s.name for s in near.specs), FAR)
    assert house.calls.planes[LOCAL].counts.leased == 4


def test_ports_are_freed_on_the_plane_that_says_so() -> None:
    house = House()
    bind = house.begin(FAR, "a")
    house.registry.terminate(bind.session, 101.0)
    assert house.calls.planes[FAR].counts.quarantined == 4
    for plane, left in ((LOCAL, 4), (FAR, 0)):
        for spec in bind.specs:
            first, second = (shut(address) for address in spec.pinholes)
            house.calls.on_event(Drained(spec.name, (first, second)), 102.0, plane)
        assert house.calls.planes[FAR].counts.quarantined == left


def test_a_user_has_one_budget_for_all_planes() -> None:
    house = House()
    house.begin(LOCAL, "a")
    house.begin(FAR, "b")
    assert house.calls.planes.used(("user", str(ALICE.bare))) == 8


def test_a_record_names_the_plane_and_one_of_before_means_the_local_one() -> None:
    house = House()
    kept = {}
    for plane, sid in ((LOCAL, "a"), (FAR, "b")):
        session = house.registry.find(house.begin(plane, sid).session)
        assert session is not None
        kept[plane] = json.loads(json.dumps(dump(session, 101.0)))
    assert [kept[plane]["version"] for plane in (LOCAL, FAR)] == [5, 6]
    del kept[LOCAL]["on_plane"]
    fresh = House()
    assert load(kept[LOCAL], fresh.registry, 101.0).anchor.plane == LOCAL
    assert load(kept[FAR], fresh.registry, 101.0).anchor.plane == FAR
    assert [fresh.calls.planes[plane].counts.leased for plane in (LOCAL, FAR)] == [4, 4]


def test_a_call_of_a_plane_that_is_gone_is_not_taken_up() -> None:
    house = House()
    session = house.registry.find(house.begin(FAR, "a").session)
    assert session is not None
    record = dump(session, 101.0) | {"on_plane": "nowhere"}
    with pytest.raises(ValueError, match="no plane 'nowhere'"):
        load(record, House().registry, 101.0)
