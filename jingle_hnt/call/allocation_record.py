"""What a content holds of the relay as plain data: its ports, its latches and their evidence.

See `record.py`, which has the contents.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from ipaddress import ip_network
from typing import Any

from jingle_hnt.call.allocation import Allocation, Pinhole
from jingle_hnt.call.leg import Leg
from jingle_hnt.model.address import IPNetwork, TransportAddress
from jingle_hnt.model.content import (
    Candidate,
    CandidateType,
    TagKey,
)
from jingle_hnt.relay.binding import (
    Flow,
    StreamAt,
)
from jingle_hnt.relay.evidence import LAPSE_S, Evidence, IceKey, SourceAuth
from jingle_hnt.relay.ice_agent import Checks
from jingle_hnt.relay.ports import Lease

Record = dict[str, Any]

Claim = Callable[[TransportAddress, TransportAddress], Lease]
"""Finds the lease of a bound address and of what was told of it. Raises ValueError."""


def dump_allocation(allocation: Allocation | None, is_over: bool, now: float) -> Record | None:
    """One that the plane makes again after it was lost is as good as made: its ports are told.

    Of a session that is over it may be released by now.
    """
    if allocation is None or not (allocation.was_bound or is_over):
        return None
    return {
        "name": allocation.name,
        "bound": [dump_address(lease.bound(1)) for lease in allocation.leases],
        "told": [dump_address(lease.advertised(1)) for lease in allocation.leases],
        "flows": [int(flow) for flow in allocation.flows],
        "several": allocation.several,
        "events": sorted(allocation.events),
        "payer": int(allocation.payer),
        "pinholes": [
            {"component": component, "leg": int(leg), **_dump_pinhole(pinhole, now)}
            for (component, leg), pinhole in allocation.pinholes.items()
        ],
    }


def load_allocation(
    entry: Mapping[str, Any] | None, claim: Claim, written_at: float
) -> Allocation | None:
    """Return the allocation of a record, its ports claimed. Raises ValueError."""
    if entry is None:
        return None
    first, second = (
        claim(load_address(bound), load_address(told))
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
        "learned": None if learned is None else dump_address(learned),
        "stream": None if pinhole.stream is None else list(pinhole.stream),
        "early": None if pinhole.early is None else dump_address(pinhole.early),
        "checks": None if pinhole.checks is None else _dump_checks(pinhole.checks),
        "latched_after_s": pinhole.latched_after_s,
        "latched_s": age(pinhole.latched_at, now),
        "quiet_s": age(pinhole.quiet_since, now),
        "lively": pinhole.lively,
    }


def _load_pinhole(entry: Mapping[str, Any], written_at: float) -> Pinhole:
    learned, early, checks = entry["learned"], entry.get("early"), entry.get("checks")
    return Pinhole(
        generation=int(entry["generation"]),
        evidence=None if entry["evidence"] is None else _load_evidence(entry["evidence"]),
        early=None if early is None else load_address(early),
        checks=None if checks is None else _load_checks(checks),
        learned=None if learned is None else load_address(learned),
        stream=_load_stream(entry.get("stream")),
        latched_after_s=entry["latched_after_s"],
        latched_at=since(entry.get("latched_s"), written_at),
        quiet_since=since(entry.get("quiet_s"), written_at),
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
        "targets": [dump_address(target) for target in checks.targets],
    }


def _load_checks(entry: Mapping[str, Any]) -> Checks:
    return Checks(
        str(entry["username"]),
        str(entry["password"]),
        str(entry["secret"]),
        int(entry["tie_breaker"]),
        bool(entry["controlling"]),
        tuple(load_address(target) for target in entry["targets"]),
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
        "tags": [dump_tag(key) for key in evidence.tags],
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
        tuple(load_tag(tag) for tag in entry.get("tags", ())),
        tuple(ip_network(str(text)) for text in entry.get("likely", ())),
        bool(entry.get("reports", False)),
        float(entry.get("lapse_s", LAPSE_S)),
        _load_types(entry.get("events", ())),
    )


def dump_candidate(candidate: Candidate) -> Record:
    """Return the record of a candidate."""
    return {
        "component": candidate.component,
        "generation": candidate.generation,
        "address": dump_address(candidate.address),
        "id": candidate.id,
        "type": None if candidate.type is None else candidate.type.value,
        "priority": candidate.priority,
    }


def load_candidate(entry: Mapping[str, Any]) -> Candidate:
    """Return the candidate of a record. Raises ValueError."""
    return Candidate(
        int(entry["component"]),
        int(entry["generation"]),
        load_address(entry["address"]),
        str(entry["id"]),
        None if entry["type"] is None else CandidateType(entry["type"]),
        int(entry.get("priority", 0)),
    )


def dump_address(address: TransportAddress) -> list[str | int]:
    """Return the record of an address."""
    return [str(address.ip), address.port]


def load_address(entry: list[Any]) -> TransportAddress:
    """Return the address of a record. Raises ValueError."""
    return TransportAddress.of(str(entry[0]), int(entry[1]))


def dump_tag(key: TagKey) -> list[Any]:
    """Return the record of what packets are signed with."""
    return [key.rtp, key.rtcp, key.tag_bytes, key.mki_bytes]


def load_tag(entry: list[Any]) -> TagKey:
    """Return the key of a record. Raises ValueError."""
    rtp, rtcp, tag_bytes, mki_bytes = entry
    return TagKey(str(rtp), str(rtcp), int(tag_bytes), int(mki_bytes))


def age(at: float | None, now: float) -> float | None:
    """Return how long ago that was; None where it was never."""
    return None if at is None else now - at


def since(age_s: float | None, written_at: float) -> float | None:
    """Return when it was that was so old when it was written down."""
    return None if age_s is None else written_at - float(age_s)
