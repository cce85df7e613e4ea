"""The contents of a call as plain data, for the record of whoever owns the call.

Records are made of dicts, lists, strings, numbers and None. Times are kept as ages, since a
monotonic clock starts anew with the machine. What cannot be read back raises ValueError, or what
reading a dict or a list of another shape raises.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from jingle_hnt.call.allocation_record import (
    Claim,
    Record,
    age,
    dump_address,
    dump_allocation,
    dump_candidate,
    dump_tag,
    load_address,
    load_allocation,
    load_candidate,
    load_tag,
    since,
)
from jingle_hnt.call.ice import Agent, Agents, Credentials, RelayAgent
from jingle_hnt.call.leg import Leg
from jingle_hnt.call.medium import PASSING, Medium, Replacement, TransportKind
from jingle_hnt.call.past import Past
from jingle_hnt.call.sdes import Protection
from jingle_hnt.model.address import TransportAddress
from jingle_hnt.model.content import (
    ContentKey,
    Creator,
    Crypto,
    Senders,
)
from jingle_hnt.relay.binding import (
    BindingSnapshot,
    Counters,
    Flow,
    PinholeSnapshot,
    Quality,
)
from jingle_hnt.relay.interfaces import Interface
from jingle_hnt.relay.latch import LatchState as LatchState
from jingle_hnt.relay.ports import Lease

Kinds = Mapping[str, TransportKind]
"""The kinds of a call's transports, by name."""


def dump_medium(medium: Medium, is_over: bool, now: float) -> Record:
    """Return the record of a content; `is_over` where its session has ended."""
    return {
        "creator": medium.key.creator.value,
        "name": medium.key.name,
        "proposer": int(medium.proposer),
        "senders": medium.senders.value,
        "added": medium.added_by is not None,
        "added_by": medium.added_by,
        "agreed": medium.agreed,
        "agreed_s": age(medium.agreed_at, now),
        "media": medium.media,
        "mux": medium.mux,
        "kind": _kind_of(medium, is_over),
        "kinds": {str(int(leg)): _kind_of(r, is_over) for leg, r in medium.replacements.items()},
        "allocation": dump_allocation(medium.allocation, is_over, now),
        "agents": None if medium.agents is None else _dump_agents(medium.agents, now),
        "protection": _dump_protection(medium.protection),
        "replacements": {
            str(int(leg)): dump_allocation(r.allocation, is_over, now)
            for leg, r in medium.replacements.items()
        },
        "replacing": {
            str(int(leg)): _dump_agents(r.agents, now)
            for leg, r in medium.replacements.items()
            if r.agents is not None
        },
        "renewing": {
            str(int(leg)): [dump_candidate(c) for c in r.signalled]
            for leg, r in medium.replacements.items()
        },
        "asked_by": {str(int(leg)): r.asked_by for leg, r in medium.replacements.items()},
        "signalled": {
            str(int(leg)): [dump_candidate(c) for c in candidates]
            for leg, candidates in medium.signalled.items()
        },
    }


def _kind_of(of: Medium | Replacement, is_over: bool) -> str:
    """The kind that whoever reads the record has to take it for: what is not in it passes."""
    kept = of.allocation is not None and (of.allocation.was_bound or is_over)
    return of.kind.name if kept or of.agents is not None else PASSING.name


def load_medium(entry: Mapping[str, Any], claim: Claim, kinds: Kinds, written_at: float) -> Medium:
    """Return the content of a record, its ports claimed. Raises ValueError."""
    agents, renewing = entry.get("replacing", {}), entry.get("renewing", {})
    asked_by = entry.get("asked_by", {})
    medium = Medium(
        key=ContentKey(Creator(entry["creator"]), str(entry["name"])),
        proposer=Leg(entry["proposer"]),
        senders=Senders(entry["senders"]),
        added_by=str(entry.get("added_by") or "") if entry.get("added") else None,
        agreed=bool(entry["agreed"]),
        agreed_at=since(entry.get("agreed_s"), written_at),
        media=None if entry.get("media") is None else str(entry["media"]),
        mux=bool(entry.get("mux", False)),
        allocation=load_allocation(entry["allocation"], claim, written_at),
        agents=None if entry.get("agents") is None else _load_agents(entry["agents"], written_at),
        replacements={
            Leg(int(leg)): Replacement(
                load_allocation(allocation, claim, written_at),
                _load_agents(agents[leg], written_at) if leg in agents else None,
                tuple(load_candidate(c) for c in renewing.get(leg, ())),
                str(asked_by.get(leg, "")),
            )
            for leg, allocation in entry["replacements"].items()
        },
        signalled={
            Leg(int(leg)): tuple(load_candidate(c) for c in candidates)
            for leg, candidates in entry["signalled"].items()
        },
    )
    medium.kind = _kind(medium, entry.get("kind"), kinds)
    for leg, offered in medium.replacements.items():
        kind = _kind(offered, entry.get("kinds", {}).get(str(int(leg))), kinds)
        medium.replacements[leg] = replace(offered, kind=kind)
    if entry.get("protection") is not None:
        medium.protection = _load_protection(entry["protection"])
        for allocation in medium.allocations:
            allocation.protection = medium.protection
    return medium


def _kind(of: Medium | Replacement, named: object, kinds: Kinds) -> TransportKind:
    """Return the kind of its transport; older records imply it by their other fields."""
    if of.agents is None and of.allocation is None:
        return PASSING
    if named in kinds:
        return kinds[str(named)]
    if of.agents is None:
        return kinds["raw-udp"]
    return kinds["ice-append" if of.agents.relay_agents is None else "ice-terminate"]


def dump_past(past: Past, now: float) -> Record:
    """A content that was removed, for the report; its keys and passwords are of no use any more."""
    kept = dump_medium(past.medium, True, now)
    kept["protection"] = None
    for pinhole in kept["allocation"]["pinholes"]:
        if pinhole["evidence"] is not None:
            pinhole["evidence"] |= {"refused": [], "keys": [], "tags": []}
        if pinhole["checks"] is not None:
            pinhole["checks"] |= {"password": "", "secret": ""}
    counted = {name: _dump_counted(last) for name, last in past.counted.items()}
    return kept | {"ended_s": round(now - past.ended_at, 6), "counted": counted}


def load_past(
    entry: Mapping[str, Any],
    find: Callable[[TransportAddress, TransportAddress], Lease | None],
    kinds: Kinds,
    written_at: float,
) -> Past | None:
    """Its ports are not its own any more. None where they are not the relay's either."""
    known = True

    def look(address: TransportAddress, told: TransportAddress) -> Lease:
        nonlocal known
        lease = find(address, told)
        known = known and lease is not None
        return lease or Lease(Interface(address.ip, told.ip), address.port)

    medium = load_medium(entry, look, kinds, written_at)
    ended_at = written_at - float(entry["ended_s"])
    if medium.allocation is None or not known:
        return None
    counted = {str(name): _load_counted(name, last) for name, last in entry["counted"].items()}
    return Past(medium, medium.allocation, ended_at, counted)


def _dump_counted(last: BindingSnapshot) -> list[Record]:
    """Dump the last counters of a binding, as a report shows them."""
    return [
        {
            "bound": dump_address(pinhole.bound),
            "state": int(pinhole.state),
            "learned": None if pinhole.learned is None else dump_address(pinhole.learned),
            "flow": int(pinhole.flow),
            "counters": {n: v for n, v in asdict(pinhole.counters).items() if v},
            "quality": asdict(pinhole.quality),
        }
        for pinhole in last.pinholes
    ]


def _load_counted(name: str, entry: Sequence[Mapping[str, Any]]) -> BindingSnapshot:
    first, second = (
        PinholeSnapshot(
            bound=load_address(pinhole["bound"]),
            state=LatchState(pinhole["state"]),
            generation=0,
            source_auth=None,
            learned=None if pinhole["learned"] is None else load_address(pinhole["learned"]),
            latched_s=None,
            heard_s=None,
            flow=Flow(pinhole["flow"]),
            counters=Counters(**{str(n): int(v) for n, v in pinhole["counters"].items()}),
            quality=_load_quality(pinhole["quality"]),
        )
        for pinhole in entry
    )
    return BindingSnapshot(str(name), (first, second), draining=True)


def _load_quality(entry: Mapping[str, Any]) -> Quality:
    ssrc, round_trip_ms = entry["ssrc"], entry["round_trip_ms"]
    return Quality(
        ssrc=None if ssrc is None else int(ssrc),
        packets=int(entry["packets"]),
        lost=int(entry["lost"]),
        reordered=int(entry["reordered"]),
        duplicates=int(entry["duplicates"]),
        jitter_ms=float(entry["jitter_ms"]),
        round_trip_ms=None if round_trip_ms is None else float(round_trip_ms),
    )


def _dump_protection(protection: Protection) -> Record:
    chosen = protection.chosen
    return {
        "proposer": int(protection.proposer),
        "offered": [_dump_crypto(crypto) for crypto in protection.offered],
        "chosen": None if chosen is None else [_dump_crypto(crypto) for crypto in chosen],
    }


def _load_protection(entry: Mapping[str, Any]) -> Protection:
    chosen = entry["chosen"]
    return Protection(
        Leg(entry["proposer"]),
        tuple(_load_crypto(crypto) for crypto in entry["offered"]),
        None if chosen is None else tuple(_load_crypto(crypto) for crypto in chosen),
    )


def _dump_crypto(crypto: Crypto) -> list[Any]:
    return [crypto.tag, [dump_tag(key) for key in crypto.keys]]


def _load_crypto(entry: list[Any]) -> Crypto:
    tag, keys = entry
    return Crypto(str(tag), tuple(load_tag(key) for key in keys))


def _dump_agents(agents: Agents, now: float) -> Record:
    return {
        "has_media": agents.has_media,
        "quiet_s": age(agents.quiet_since, now),
        "waits": agents.waits,
        "waits_s": age(agents.waits_until, now),
        "of": [
            {
                "credentials": _dump_credentials(agent.credentials),
                "components": sorted(agent.components),
                "generation": agent.generation,
                "mux": agent.mux,
                "shown": sorted(agent.shown),
                "candidates": [dump_candidate(c) for c in agent.candidates],
                "lives": agent.lives,
                "outdated": _dump_credentials(() if agent.outdated is None else (agent.outdated,)),
            }
            for agent in agents.of
        ],
        "stand_ins": None
        if agents.relay_agents is None
        else [
            [_dump_credentials(s.credentials), s.secret, s.tie_breaker] for s in agents.relay_agents
        ],
        "raw": sorted(agents.raw),
        "namespace": agents.namespace,
    }


def _dump_credentials(credentials: tuple[Credentials, ...]) -> list[list[str]]:
    return [[c.ufrag, c.pwd] for c in credentials]


def _load_credentials(entry: list[Any]) -> tuple[Credentials, ...]:
    return tuple(Credentials(str(ufrag), str(pwd)) for ufrag, pwd in entry)


def _load_agents(entry: Mapping[str, Any], written_at: float) -> Agents:
    first, second = (
        Agent(
            _load_credentials(agent["credentials"]),
            frozenset(int(c) for c in agent["components"]),
            int(agent["generation"]),
            bool(agent["mux"]),
            frozenset(int(c) for c in agent["shown"]),
            tuple(load_candidate(c) for c in agent.get("candidates", ())),
            int(agent.get("lives", len(agent["credentials"]))),
            next(iter(_load_credentials(agent.get("outdated", []))), None),
        )
        for agent in entry["of"]
    )
    agents = Agents((first, second), bool(entry["has_media"]))
    agents.quiet_since = since(entry.get("quiet_s"), written_at)
    if entry.get("waits"):
        # A record of before has no such time: it has waited long enough.
        agents.waits, agents.waits_until = True, since(entry.get("waits_s", 0.0), written_at)
    if entry.get("stand_ins") is not None:
        one, other = (_load_relay_agent(each) for each in entry["stand_ins"])
        agents.relay_agents = (one, other)
        agents.raw = frozenset(Leg(leg) for leg in entry["raw"])
        agents.namespace = str(entry["namespace"])
    return agents


def _load_relay_agent(entry: list[Any]) -> RelayAgent:
    credentials, secret, tie_breaker = entry
    return RelayAgent(_load_credentials(credentials), str(secret), int(tie_breaker))
