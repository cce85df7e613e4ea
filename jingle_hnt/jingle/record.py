"""Sessions as plain data, so that they survive a restart of the process.

A record is made of dicts, lists, strings, numbers and None. It holds all that a later request, an
event of the plane or time can depend on, and is written after everything that changes it, never per
packet: a session that is written down and read back goes on as if it had not been. Times are kept
as ages, since a monotonic clock starts anew with the machine, beside the time of writing: an
accepted call goes on while nobody signals. What cannot be read back is a ValueError, and concerns
that record only.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from ipaddress import ip_network
from typing import Any

from jingle_hnt.call.allocation import Allocation, Pinhole
from jingle_hnt.call.ice import Agent, Agents, Credentials, RelayAgent
from jingle_hnt.call.leg import Leg
from jingle_hnt.call.life import Why
from jingle_hnt.call.medium import PASSING, Medium, Replacement, TransportKind
from jingle_hnt.call.past import Past
from jingle_hnt.call.sdes import Protection
from jingle_hnt.jingle.channel import Channel, policy_of_channels
from jingle_hnt.jingle.machine import Ended, Session
from jingle_hnt.jingle.party import Party
from jingle_hnt.jingle.registry import Registry
from jingle_hnt.jingle.table import State
from jingle_hnt.model.address import IPNetwork, TransportAddress, literal
from jingle_hnt.model.content import (
    Candidate,
    CandidateType,
    ContentKey,
    Creator,
    Crypto,
    Senders,
    TagKey,
)
from jingle_hnt.model.jid import JID
from jingle_hnt.model.jingle import Reason
from jingle_hnt.relay.binding import (
    BindingSnapshot,
    Counters,
    Flow,
    PinholeSnapshot,
    Quality,
    StreamAt,
)
from jingle_hnt.relay.evidence import LAPSE_S, Evidence, IceKey, SourceAuth
from jingle_hnt.relay.ice_agent import Checks
from jingle_hnt.relay.interfaces import Interface
from jingle_hnt.relay.latch import LatchState as LatchState
from jingle_hnt.relay.ports import LOCAL, Lease, PlaneId

VERSION = 6
"""Raised whenever a record could be misread by the version before."""

OF_LOCAL_PLANE = 5
"""What the version before reads as well: a call on the local plane is written so."""

READABLE = (1, 2, 3, 4, OF_LOCAL_PLANE, VERSION)

Record = dict[str, Any]

Kinds = Mapping[str, TransportKind]


Claim = Callable[[TransportAddress, TransportAddress], Lease]
"""Finds the lease of a bound address and of what was told of it. Raises ValueError."""


def dump_ended(ended: Ended, session: Session, now: float) -> Record:
    """The record of a session that is over and has no report yet."""
    reason = ended.reason
    return dump(session, now) | {
        "why": ended.why.value,
        "reason": None if reason is None else [reason.condition, reason.text],
        "farewells": bool(ended.farewells),
    }


def dump(session: Session, now: float) -> Record:
    """The record of a session; only bound allocations are part of it."""
    life = session.life
    return {
        "version": VERSION if session.anchor.plane else OF_LOCAL_PLANE,
        "on_plane": session.anchor.plane or LOCAL,
        "name": session.name,
        "sid": session.sid,
        "channel": isinstance(session, Channel),
        "via": session.via,
        "alias": None if session.alias is None else [str(jid) for jid in session.alias],
        "state": session.state.value,
        "made": session.anchor.made,
        "clock_s": now,
        "age_s": now - life.started_at,
        "accepted_s": None if life.accepted_at is None else now - life.accepted_at,
        "heard": life.heard,
        "quiet_s": _age(life.quiet_since, now),
        "parties": [_dump_party(party) for party in session.parties],
        "holders": sorted(session.negotiation.gates.holders),
        "unwilling": sorted(session.negotiation.gates.unwilling),
        "media": [
            _dump_medium(medium, session.has_ended, now)
            for medium in session.negotiation.media.values()
        ],
        "past": [_dump_past(past, now) for past in session.negotiation.past],
    }


def load(record: Mapping[str, Any], registry: Registry, now: float) -> Session:
    """The session of a record, its leases claimed from the registry's pool.

    Raises ValueError for a record that is damaged, of another version, of a call that is over, or
    whose ports the pool does not have or has given to another; nothing is claimed then.
    """
    claimed: list[Lease] = []
    pool = registry.calls.planes[_plane(record)]

    def claim(address: TransportAddress, told: TransportAddress) -> Lease:
        lease = pool.claim(address, told)
        if lease is None:
            raise ValueError(
                f"port {address} of a recorded session is another call's, or none of relay.ports"
            )
        claimed.append(lease)
        return lease

    try:
        if is_ended(record):
            raise ValueError("the recorded session is over")
        return _loaded(record, registry, claim, now)
    except ValueError:
        for lease in claimed:
            pool.abandon(lease)
        raise


def is_ended(record: Mapping[str, Any]) -> bool:
    """Return whether a record is of a session that is over, for `load_ended`."""
    return record.get("state") == State.ENDED.value


def load_ended(record: Mapping[str, Any], registry: Registry, now: float) -> tuple[Ended, float]:
    """The end of a recorded session that has no report yet, and when that was.

    Its ports are not its own any more, and nothing is claimed. Raises ValueError as `load` does.
    """

    pool = registry.calls.planes[_plane(record)]

    def claim(address: TransportAddress, told: TransportAddress) -> Lease:
        lease = pool.lease_of(address, told)
        if lease is None:
            raise ValueError(f"port {address} of a recorded session is none of relay.ports")
        return lease

    session = _loaded(record, registry, claim, now)
    try:
        said = record["reason"]
        reason = None if said is None else Reason(str(said[0]), str(said[1]))
        tell = bool(record["farewells"]) and reason is not None
        farewells = session.farewells(reason) if tell and reason is not None else ()
        ended = Ended(session.name, Why(record["why"]), reason, farewells, session)
        return ended, min(now, float(record["clock_s"]))
    except _DAMAGED as error:
        raise ValueError(f"damaged session record: {error!r}") from error


_DAMAGED = (KeyError, TypeError, AttributeError, IndexError, OverflowError)


def _loaded(record: Mapping[str, Any], registry: Registry, claim: Claim, now: float) -> Session:
    try:
        return _load(record, registry, claim, now)
    except _DAMAGED as error:
        raise ValueError(f"damaged session record: {error!r}") from error


def _load(record: Mapping[str, Any], registry: Registry, claim: Claim, now: float) -> Session:
    if record["version"] not in READABLE:
        raise ValueError(f"session record of version {record['version']}, not {VERSION}")
    initiator, responder = (_load_party(party) for party in record["parties"])
    parties = initiator, responder
    state = State(record["state"])
    written_at = _written_at(record, state, now)
    started_at = written_at - float(record["age_s"])
    kind = Channel if record.get("channel") else Session
    if kind is Channel and registry.policy.relay_nodes is None:
        raise ValueError("a recorded channel, and channels are not allowed any more")
    policy = policy_of_channels(registry.policy) if kind is Channel else registry.policy
    call = registry.open(str(record["name"]), parties, policy, started_at)
    call.anchor.made = int(record["made"])
    call.anchor.plane = _plane(record)
    session = kind(str(record["sid"]), parties, call, policy, started_at)
    session.via = str(record.get("via", ""))
    if record.get("alias") is not None:
        one, other = (JID.of(jid) for jid in record["alias"])
        session.alias = (one, other)
    session.state = state
    session.life.heard = bool(record["heard"])
    if record["accepted_s"] is not None:
        session.life.accepted_at = written_at - float(record["accepted_s"])
    session.life.quiet_since = _since(record.get("quiet_s"), written_at)
    session.negotiation.gates.holders = {Leg(leg) for leg in record["holders"]}
    session.negotiation.gates.unwilling = {Leg(leg) for leg in record.get("unwilling", ())}
    kinds = session.negotiation.kinds.by_name
    for entry in record["media"]:
        medium = _load_medium(entry, claim, kinds, written_at)
        session.negotiation.media[medium.key] = medium
    pool = registry.calls.planes[_plane(record)]
    found = (
        _load_past(entry, pool.lease_of, kinds, written_at) for entry in record.get("past", ())
    )
    session.negotiation.past.restore(past for past in found if past is not None)
    if "quiet_s" not in record:
        session.call.note_life(now)  # a record of before says nothing of it
    return session


def _plane(record: Mapping[str, Any]) -> PlaneId:
    """The plane that a recorded call is on; a record of before knows the local one only."""
    return str(record.get("on_plane", LOCAL))


def _written_at(record: Mapping[str, Any], state: State, now: float) -> float:
    """Return when the record was written; for a call that rings, now.

    Who calls has the whole set-up time after a restart: the accept may have passed by meanwhile.
    After a reboot the clock is behind what was written, or the call is long dead anyway.
    """
    return min(now, float(record.get("clock_s", now))) if state is State.ACTIVE else now


def _dump_party(party: Party) -> Record:
    return {
        "jid": str(party.jid),
        "ip": None if party.ip is None else str(party.ip),
        "gone": party.gone,
        "seen": [str(ip) for ip in party.seen],
    }


def _load_party(entry: Mapping[str, Any]) -> Party:
    party = Party(JID.of(entry["jid"]), None if entry["ip"] is None else literal(entry["ip"]))
    party.seen = tuple(literal(str(ip)) for ip in entry.get("seen", ()))
    party.gone = bool(entry.get("gone", False))
    return party


def _age(at: float | None, now: float) -> float | None:
    return None if at is None else now - at


def _since(age_s: float | None, written_at: float) -> float | None:
    return None if age_s is None else written_at - float(age_s)


def _dump_medium(medium: Medium, is_over: bool, now: float) -> Record:
    return {
        "creator": medium.key.creator.value,
        "name": medium.key.name,
        "proposer": int(medium.proposer),
        "senders": medium.senders.value,
        "added": medium.added_by is not None,
        "added_by": medium.added_by,
        "agreed": medium.agreed,
        "agreed_s": _age(medium.agreed_at, now),
        "media": medium.media,
        "mux": medium.mux,
        "kind": _kind_of(medium, is_over),
        "kinds": {str(int(leg)): _kind_of(r, is_over) for leg, r in medium.replacements.items()},
        "allocation": _dump_allocation(medium.allocation, is_over, now),
        "agents": None if medium.agents is None else _dump_agents(medium.agents, now),
        "protection": _dump_protection(medium.protection),
        "replacements": {
            str(int(leg)): _dump_allocation(r.allocation, is_over, now)
            for leg, r in medium.replacements.items()
        },
        "replacing": {
            str(int(leg)): _dump_agents(r.agents, now)
            for leg, r in medium.replacements.items()
            if r.agents is not None
        },
        "renewing": {
            str(int(leg)): [_dump_candidate(c) for c in r.signalled]
            for leg, r in medium.replacements.items()
        },
        "asked_by": {str(int(leg)): r.asked_by for leg, r in medium.replacements.items()},
        "signalled": {
            str(int(leg)): [_dump_candidate(c) for c in candidates]
            for leg, candidates in medium.signalled.items()
        },
    }


def _kind_of(of: Medium | Replacement, is_over: bool) -> str:
    """The kind that whoever reads the record has to take it for: what is not in it passes."""
    kept = of.allocation is not None and (of.allocation.was_bound or is_over)
    return of.kind.name if kept or of.agents is not None else PASSING.name


def _load_medium(entry: Mapping[str, Any], claim: Claim, kinds: Kinds, written_at: float) -> Medium:
    agents, renewing = entry.get("replacing", {}), entry.get("renewing", {})
    asked_by = entry.get("asked_by", {})
    medium = Medium(
        key=ContentKey(Creator(entry["creator"]), str(entry["name"])),
        proposer=Leg(entry["proposer"]),
        senders=Senders(entry["senders"]),
        added_by=str(entry.get("added_by") or "") if entry.get("added") else None,
        agreed=bool(entry["agreed"]),
        agreed_at=_since(entry.get("agreed_s"), written_at),
        media=None if entry.get("media") is None else str(entry["media"]),
        mux=bool(entry.get("mux", False)),
        allocation=_load_allocation(entry["allocation"], claim, written_at),
        agents=None if entry.get("agents") is None else _load_agents(entry["agents"], written_at),
        replacements={
            Leg(int(leg)): Replacement(
                _load_allocation(allocation, claim, written_at),
                _load_agents(agents[leg], written_at) if leg in agents else None,
                tuple(_load_candidate(c) for c in renewing.get(leg, ())),
                str(asked_by.get(leg, "")),
            )
            for leg, allocation in entry["replacements"].items()
        },
        signalled={
            Leg(int(leg)): tuple(_load_candidate(c) for c in candidates)
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


def _dump_past(past: Past, now: float) -> Record:
    """A content that was removed, for the report; its keys and passwords are of no use any more."""
    kept = _dump_medium(past.medium, True, now)
    kept["protection"] = None
    for pinhole in kept["allocation"]["pinholes"]:
        if pinhole["evidence"] is not None:
            pinhole["evidence"] |= {"refused": [], "keys": [], "tags": []}
        if pinhole["checks"] is not None:
            pinhole["checks"] |= {"password": "", "secret": ""}
    counted = {name: _dump_counted(last) for name, last in past.counted.items()}
    return kept | {"ended_s": round(now - past.ended_at, 6), "counted": counted}


def _load_past(
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

    medium = _load_medium(entry, look, kinds, written_at)
    ended_at = written_at - float(entry["ended_s"])
    if medium.allocation is None or not known:
        return None
    counted = {str(name): _load_counted(name, last) for name, last in entry["counted"].items()}
    return Past(medium, medium.allocation, ended_at, counted)


def _dump_counted(last: BindingSnapshot) -> list[Record]:
    """Dump the last counters of a binding, as a report shows them."""
    return [
        {
            "bound": _dump_address(pinhole.bound),
            "state": int(pinhole.state),
            "learned": None if pinhole.learned is None else _dump_address(pinhole.learned),
            "flow": int(pinhole.flow),
            "counters": {n: v for n, v in asdict(pinhole.counters).items() if v},
            "quality": asdict(pinhole.quality),
        }
        for pinhole in last.pinholes
    ]


def _load_counted(name: str, entry: Sequence[Mapping[str, Any]]) -> BindingSnapshot:
    first, second = (
        PinholeSnapshot(
            bound=_load_address(pinhole["bound"]),
            state=LatchState(pinhole["state"]),
            generation=0,
            source_auth=None,
            learned=None if pinhole["learned"] is None else _load_address(pinhole["learned"]),
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
    return [crypto.tag, [_dump_tag(key) for key in crypto.keys]]


def _load_crypto(entry: list[Any]) -> Crypto:
    tag, keys = entry
    return Crypto(str(tag), tuple(_load_tag(key) for key in keys))


def _dump_tag(key: TagKey) -> list[Any]:
    return [key.rtp, key.rtcp, key.tag_bytes, key.mki_bytes]


def _load_tag(entry: list[Any]) -> TagKey:
    rtp, rtcp, tag_bytes, mki_bytes = entry
    return TagKey(str(rtp), str(rtcp), int(tag_bytes), int(mki_bytes))


def _dump_agents(agents: Agents, now: float) -> Record:
    return {
        "has_media": agents.has_media,
        "quiet_s": _age(agents.quiet_since, now),
        "waits": agents.waits,
        "waits_s": _age(agents.waits_until, now),
        "of": [
            {
                "credentials": _dump_credentials(agent.credentials),
                "components": sorted(agent.components),
                "generation": agent.generation,
                "mux": agent.mux,
                "shown": sorted(agent.shown),
                "candidates": [_dump_candidate(c) for c in agent.candidates],
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
            tuple(_load_candidate(c) for c in agent.get("candidates", ())),
            int(agent.get("lives", len(agent["credentials"]))),
            next(iter(_load_credentials(agent.get("outdated", []))), None),
        )
        for agent in entry["of"]
    )
    agents = Agents((first, second), bool(entry["has_media"]))
    agents.quiet_since = _since(entry.get("quiet_s"), written_at)
    if entry.get("waits"):
        # A record of before has no such time: it has waited long enough.
        agents.waits, agents.waits_until = True, _since(entry.get("waits_s", 0.0), written_at)
    if entry.get("stand_ins") is not None:
        one, other = (_load_relay_agent(each) for each in entry["stand_ins"])
        agents.relay_agents = (one, other)
        agents.raw = frozenset(Leg(leg) for leg in entry["raw"])
        agents.namespace = str(entry["namespace"])
    return agents


def _load_relay_agent(entry: list[Any]) -> RelayAgent:
    credentials, secret, tie_breaker = entry
    return RelayAgent(_load_credentials(credentials), str(secret), int(tie_breaker))


def _dump_allocation(allocation: Allocation | None, is_over: bool, now: float) -> Record | None:
    """One that the plane makes again after it was lost is as good as made: its ports are told.

    Of a session that is over it may be released by now.
    """
    if allocation is None or not (allocation.was_bound or is_over):
        return None
    return {
        "name": allocation.name,
        "bound": [_dump_address(lease.bound(1)) for lease in allocation.leases],
        "told": [_dump_address(lease.advertised(1)) for lease in allocation.leases],
        "flows": [int(flow) for flow in allocation.flows],
        "several": allocation.several,
        "events": sorted(allocation.events),
        "payer": int(allocation.payer),
        "pinholes": [
            {"component": component, "leg": int(leg), **_dump_pinhole(pinhole, now)}
            for (component, leg), pinhole in allocation.pinholes.items()
        ],
    }


def _load_allocation(
    entry: Mapping[str, Any] | None, claim: Claim, written_at: float
) -> Allocation | None:
    if entry is None:
        return None
    first, second = (
        claim(_load_address(bound), _load_address(told))
        for bound, told in zip(entry["bound"], entry.get("told", entry["bound"]), strict=True)
    )
    flows = (Flow(entry["flows"][0]), Flow(entry["flows"][1]))
    allocation = Allocation(str(entry["name"]), (first, second), flows=flows)
    allocation.bound = allocation.was_bound = True
    allocation.several = bool(entry.get("several", False))
    allocation.events = frozenset(_load_types(entry.get("events", ())))
    allocation.payer = Leg(entry.get("payer", Leg.INITIATOR))
    for pinhole in entry["pinholes"]:
        key = (int(pinhole["component"]), Leg(pinhole["leg"]))
        if key not in allocation.pinholes:
            raise ValueError(f"damaged session record: no pinhole {key}")
        allocation.pinholes[key] = _load_pinhole(pinhole, written_at)
    return allocation


def _dump_pinhole(pinhole: Pinhole, now: float) -> Record:
    evidence, learned = pinhole.evidence, pinhole.learned
    return {
        "generation": pinhole.generation,
        "evidence": None if evidence is None else _dump_evidence(evidence),
        "learned": None if learned is None else _dump_address(learned),
        "stream": None if pinhole.stream is None else list(pinhole.stream),
        "early": None if pinhole.early is None else _dump_address(pinhole.early),
        "checks": None if pinhole.checks is None else _dump_checks(pinhole.checks),
        "latched_after_s": pinhole.latched_after_s,
        "latched_s": _age(pinhole.latched_at, now),
        "quiet_s": _age(pinhole.quiet_since, now),
        "lively": pinhole.lively,
    }


def _load_pinhole(entry: Mapping[str, Any], written_at: float) -> Pinhole:
    learned, early, checks = entry["learned"], entry.get("early"), entry.get("checks")
    return Pinhole(
        generation=int(entry["generation"]),
        evidence=None if entry["evidence"] is None else _load_evidence(entry["evidence"]),
        early=None if early is None else _load_address(early),
        checks=None if checks is None else _load_checks(checks),
        learned=None if learned is None else _load_address(learned),
        stream=_load_stream(entry.get("stream")),
        latched_after_s=entry["latched_after_s"],
        latched_at=_since(entry.get("latched_s"), written_at),
        quiet_since=_since(entry.get("quiet_s"), written_at),
        lively=bool(entry.get("lively", learned is not None)),
    )


def _load_types(entry: Sequence[Any]) -> tuple[int, ...]:
    types = tuple(int(number) for number in entry)
    if not all(0 <= number < 128 for number in types):
        raise ValueError("damaged session record: a payload type that is none")
    return types


def _load_stream(entry: Sequence[Any] | None) -> StreamAt | None:
    if entry is None:
        return None
    ssrc, sequence = (int(number) for number in entry)
    if not (0 <= ssrc < 1 << 32 and 0 <= sequence < 65536):
        raise ValueError("damaged session record: a stream that is none")
    return ssrc, sequence


def _dump_checks(checks: Checks) -> Record:
    return {
        "username": checks.username,
        "password": checks.password,
        "secret": checks.secret,
        "tie_breaker": checks.tie_breaker,
        "controlling": checks.controlling,
        "targets": [_dump_address(target) for target in checks.targets],
    }


def _load_checks(entry: Mapping[str, Any]) -> Checks:
    return Checks(
        str(entry["username"]),
        str(entry["password"]),
        str(entry["secret"]),
        int(entry["tie_breaker"]),
        bool(entry["controlling"]),
        tuple(_load_address(target) for target in entry["targets"]),
    )


def _dump_evidence(evidence: Evidence) -> Record:
    return {
        "source_auth": evidence.source_auth.value,
        "sources": [str(network) for network in evidence.sources],
        "refused": list(_texts(evidence.refused)),
        "probation": evidence.probation,
        "keys": [[key.username, key.password] for key in evidence.keys],
        "several": evidence.several,
        "reports": evidence.reports,
        "lapse_s": evidence.lapse_s,
        "events": list(evidence.events),
        "tags": [_dump_tag(key) for key in evidence.tags],
        "likely": [str(network) for network in evidence.likely],
    }


@functools.lru_cache(maxsize=64)
def _texts(networks: tuple[IPNetwork, ...]) -> tuple[str, ...]:
    """Return networks as texts, cached: most latches have the same ones."""
    return tuple(str(network) for network in networks)


_NUMBERED = dict(zip(("R1", "R2", "R3", "R4", "R5"), SourceAuth, strict=True))
"""How records up to version 4 named the kinds of source authentication."""


def _load_source_auth(entry: Mapping[str, Any]) -> SourceAuth:
    return _NUMBERED[entry["rung"]] if "rung" in entry else SourceAuth(entry["source_auth"])


def _load_evidence(entry: Mapping[str, Any]) -> Evidence:
    return Evidence(
        _load_source_auth(entry),
        tuple(ip_network(str(text)) for text in entry["sources"]),
        tuple(ip_network(str(text)) for text in entry["refused"]),
        int(entry["probation"]),
        tuple(IceKey(str(name), str(password)) for name, password in entry.get("keys", ())),
        bool(entry.get("several", False)),
        tuple(_load_tag(tag) for tag in entry.get("tags", ())),
        tuple(ip_network(str(text)) for text in entry.get("likely", ())),
        bool(entry.get("reports", False)),
        float(entry.get("lapse_s", LAPSE_S)),
        _load_types(entry.get("events", ())),
    )


def _dump_candidate(candidate: Candidate) -> Record:
    return {
        "component": candidate.component,
        "generation": candidate.generation,
        "address": _dump_address(candidate.address),
        "id": candidate.id,
        "type": None if candidate.type is None else candidate.type.value,
        "priority": candidate.priority,
    }


def _load_candidate(entry: Mapping[str, Any]) -> Candidate:
    return Candidate(
        int(entry["component"]),
        int(entry["generation"]),
        _load_address(entry["address"]),
        str(entry["id"]),
        None if entry["type"] is None else CandidateType(entry["type"]),
        int(entry.get("priority", 0)),
    )


def _dump_address(address: TransportAddress) -> list[str | int]:
    return [str(address.ip), address.port]


def _load_address(entry: list[Any]) -> TransportAddress:
    return TransportAddress.of(str(entry[0]), int(entry[1]))
