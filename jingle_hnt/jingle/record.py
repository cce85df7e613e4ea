"""Sessions as plain data, so that they survive a restart of the process.

A record is made of dicts, lists, strings, numbers and None. It holds all that a later request, an
event of the plane or time can depend on, and is written after everything that changes it, never per
packet: a session that is written down and read back goes on as if it had not been. Times are kept
as ages, since a monotonic clock starts anew with the machine, beside the time of writing: an
accepted call goes on while nobody signals. What cannot be read back is a ValueError, and concerns
that record only.
"""

from collections.abc import Mapping
from typing import Any

from jingle_hnt.call.allocation_record import Claim, Record, age, since
from jingle_hnt.call.leg import Leg
from jingle_hnt.call.life import Why
from jingle_hnt.call.record import dump_medium, dump_past, load_medium, load_past
from jingle_hnt.jingle.channel import Channel, policy_of_channels
from jingle_hnt.jingle.machine import Ended, Session
from jingle_hnt.jingle.party import Party
from jingle_hnt.jingle.registry import Registry
from jingle_hnt.jingle.table import State
from jingle_hnt.model.address import TransportAddress, literal
from jingle_hnt.model.jid import JID
from jingle_hnt.model.jingle import Reason
from jingle_hnt.relay.latch import LatchState as LatchState
from jingle_hnt.relay.ports import LOCAL, Lease, PlaneId

VERSION = 6
"""Raised whenever a record could be misread by the version before."""

OF_LOCAL_PLANE = 5
"""What the version before reads as well: a call on the local plane is written so."""

READABLE = (1, 2, 3, 4, OF_LOCAL_PLANE, VERSION)


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
        "quiet_s": age(life.quiet_since, now),
        "parties": [_dump_party(party) for party in session.parties],
        "holders": sorted(session.negotiation.gates.holders),
        "unwilling": sorted(session.negotiation.gates.unwilling),
        "media": [
            dump_medium(medium, session.has_ended, now)
            for medium in session.negotiation.media.values()
        ],
        "past": [dump_past(past, now) for past in session.negotiation.past],
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
    policy = registry.policy.of_party(initiator.jid)
    if kind is Channel:
        policy = policy_of_channels(policy)
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
    session.life.quiet_since = since(record.get("quiet_s"), written_at)
    session.negotiation.gates.holders = {Leg(leg) for leg in record["holders"]}
    session.negotiation.gates.unwilling = {Leg(leg) for leg in record.get("unwilling", ())}
    kinds = session.negotiation.kinds.by_name
    for entry in record["media"]:
        medium = load_medium(entry, claim, kinds, written_at)
        session.negotiation.media[medium.key] = medium
    pool = registry.calls.planes[_plane(record)]
    found = (load_past(entry, pool.lease_of, kinds, written_at) for entry in record.get("past", ()))
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
