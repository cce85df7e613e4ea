"""The public JSON: calls and status as frozen models.

Field names are part of the interface. Addresses are ``ip:port`` text; counts are since the binding
was made; times are seconds.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, replace
from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator

from jingle_hnt.admin import paths
from jingle_hnt.call.allocation import Allocation
from jingle_hnt.call.budgets import Budget
from jingle_hnt.call.leg import Leg
from jingle_hnt.call.medium import Medium
from jingle_hnt.jingle.budgets import BUDGETS
from jingle_hnt.jingle.machine import Session
from jingle_hnt.jingle.registry import Registry
from jingle_hnt.model.address import TransportAddress
from jingle_hnt.model.content import COMPONENTS
from jingle_hnt.relay import quality
from jingle_hnt.relay.binding import (
    BindingName,
    BindingSnapshot,
    Counters,
    PinholeSnapshot,
    Quality,
)
from jingle_hnt.relay.evidence import SourceAuth
from jingle_hnt.relay.ports import PortCounts

MOST = 10
"""Owners who are shown of each budget."""

_NUMBERED = dict(zip(("R1", "R2", "R3", "R4", "R5"), SourceAuth, strict=True))
"""How reports of versions before 0.1.0 named the kinds of source authentication."""

YOUNG_S = 5.0
"""A call that was accepted less than this ago is not blamed for media that is still to come."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class LegSnapshot(_Frozen):
    """One leg of one component.

    `signalled` is what the party says of itself, `advertised` what it is told to send to, `learned`
    where its packets really come from, `source_auth` how the latch authenticates them
    (a `SourceAuth`).
    `received_packets` are all that came of the party, `rtp_packets` its media. Loss, order, jitter
    and `mos` (1 to 4.5) are of what the party sends, on its way to the relay; what is dropped
    because it is too much counts as lost for `mos`;
    `round_trip_ms` is told by RTCP that is not encrypted, None where there is none.

    Where the party is an ICE agent, `pair` is the kind of its candidate that was learned, and
    `check_failure` why it has no pair with the relay; `checks` counts the relay's own, where ICE
    ends at it.
    """

    leg: str
    signalled: tuple[str, ...]
    advertised: str
    learned: str | None
    source_auth: str | None
    latch: str
    latched_after_s: float | None
    flow: str
    heard_s: float | None
    received_packets: int
    received_bytes: int
    sent_packets: int
    sent_bytes: int
    dropped: dict[str, int]
    rtp_packets: int = 0
    lost_packets: int = 0
    reordered_packets: int = 0
    duplicate_packets: int = 0
    jitter_ms: float = 0.0
    round_trip_ms: float | None = None
    mos: float | None = None
    pair: str | None = None
    check_failure: str | None = None
    checks: dict[str, int] = {}

    @model_validator(mode="before")
    @classmethod
    def _of_before(cls, found: Any) -> Any:
        """Take a leg of a report that a version before 0.1.0 has written."""
        if isinstance(found, dict) and "rung" in found:
            found = dict(found)
            found["source_auth"] = _NUMBERED.get(found.pop("rung"))
        return found


class ComponentSnapshot(_Frozen):
    """One component (1 RTP, 2 RTCP) of a relayed content.

    `unheard` is the leg of which nothing comes although the other's media does: a one-way call.
    """

    component: int
    legs: tuple[LegSnapshot, ...]
    unheard: str | None = None


class ContentSnapshot(_Frozen):
    """One content; `components` is empty where it is not relayed.

    `transport` is ``raw-udp``, ``ice``, or ``other`` for one that the relay takes no part in. `ice`
    is the mode of an ICE content, `path` which pair won: ``relayed``, ``direct``, or not known.
    `media` is what the content was described as, such as ``audio``. `agreed_s` is for how long it
    has been agreed on, or was until it was removed; None where that is not known.
    """

    creator: str
    name: str
    transport: str
    senders: str
    agreed: bool
    relayed: bool
    components: tuple[ComponentSnapshot, ...]
    ice: str | None = None
    path: str | None = None
    media: str | None = None
    agreed_s: float | None = None


class CallSnapshot(_Frozen):
    """One call. `setup_s` is the time from offer to accept, None while it is not accepted.

    `removed` are contents that it has no more, and those in use with the transport that they had
    before; their times end with them. `exceeded` counts its requests that were beyond a budget, by
    the budget's name.
    """

    call: str
    sid: str
    initiator: str
    responder: str
    state: str
    age_s: float
    setup_s: float | None
    held: bool
    contents: tuple[ContentSnapshot, ...]
    exceeded: dict[str, int] = {}
    removed: tuple[ContentSnapshot, ...] = ()

    @property
    def all_contents(self) -> tuple[ContentSnapshot, ...]:
        """Return its contents, present and removed."""
        return self.contents + self.removed


class CallsSnapshot(_Frozen):
    """All calls, oldest first."""

    calls: tuple[CallSnapshot, ...]


class CheckFinding(_Frozen):
    """One line of a check; `verdict` is ``ok``, ``warn`` or ``FAIL``, `text` says what to write."""

    verdict: str
    subject: str
    text: str


class CheckSnapshot(_Frozen):
    """The findings of the running process about itself and its XMPP servers.

    `stun` are the STUN servers that the XMPP servers name (XEP-0215), as ``host:port``.
    """

    findings: tuple[CheckFinding, ...]
    stun: tuple[str, ...] = ()


class PortsSnapshot(_Frozen):
    """Media ports by state, counted singly over all interfaces."""

    free: int
    leased: int
    quarantined: int
    shunned: int


class PlaneSnapshot(_Frozen):
    """The forwarding plane; `engine` is None while it is not connected."""

    up: bool
    engine: str | None
    bindings: int
    draining: int


class StatusSnapshot(_Frozen):
    """`ready` is whether any call that comes now would be relayed; `not_ready` says why not.

    `connected` is whether all XMPP servers are connected; `disconnected` has each component whose
    server is not, and why. `replacements` counts how often another process that connects as the
    same component has taken our place.
    """

    version: str
    ready: bool
    not_ready: tuple[str, ...] = ()
    uptime_s: float
    connected: bool
    disconnected: dict[str, str] = {}
    replacements: int = 0
    draining: bool
    journal_healthy: bool
    history_healthy: bool
    calls: int
    tasks: int
    plane: PlaneSnapshot
    ports: PortsSnapshot


class UseSnapshot(_Frozen):
    """One owner of a budget: what it uses now (0 where that is not counted), and how often its
    requests were beyond the budget of late."""

    who: str
    used: int
    exceeded: int


class BudgetSnapshot(_Frozen):
    """One budget: how much there is of it (0: it is off), and those who are nearest to it."""

    budget: str
    limit: int
    owner: str
    what: str
    uses: tuple[UseSnapshot, ...]


class LimitsSnapshot(_Frozen):
    """The limits (0 is none), and those who have most: calls made and going on.

    `unanswered` counts those that ring, by the domain of who makes them.
    """

    per_user: int
    per_domain: int
    calls: int
    per_minute: int
    half_open: int
    total: int
    users: dict[str, int]
    domains: dict[str, int]
    unanswered: dict[str, int]
    blocked: tuple[str, ...]
    budgets: tuple[BudgetSnapshot, ...]


class StatsSnapshot(_Frozen):
    """Counts since the process started; `packets` and `bytes` by ``rtp`` and ``rtcp``."""

    uptime_s: float
    calls: dict[str, int]
    accepted: int
    ended: dict[str, int]
    refused: dict[str, int]
    one_way: int
    latches: dict[str, int]
    latches_again: int
    rivalries: int
    received_packets: dict[str, int]
    received_bytes: dict[str, int]
    dropped: dict[str, int]
    connections: int
    planes: int


class LogSnapshot(_Frozen):
    """The log level."""

    level: str


class RehearsalSnapshot(_Frozen):
    """The answer to a request of `check --media`: ``replace``, ``pass`` or ``bounce``.

    `text` says why it was bounced. `candidates` are the relay's, by component, IP address and
    port; `ufrag` and `pwd` are of its own agent, empty where the other party's hold.
    """

    verdict: str
    text: str = ""
    ufrag: str = ""
    pwd: str = ""
    candidates: tuple[tuple[int, str, int], ...] = ()


class ReloadSnapshot(_Frozen):
    """The options that have changed: those in force for new calls, those that need a restart."""

    changed: tuple[str, ...]
    needs_restart: tuple[str, ...]


class OptionSnapshot(_Frozen):
    """One option in force, its value as JSON has it."""

    option: str
    value: str


class PolicySnapshot(_Frozen):
    """The options in force for new calls."""

    options: tuple[OptionSnapshot, ...]


def budgets(registry: Registry) -> tuple[BudgetSnapshot, ...]:
    """Every budget and who is near it."""
    policy = asdict(registry.budgets.policy)
    return tuple(
        BudgetSnapshot(
            budget=budget.name,
            limit=policy[budget.option],
            owner=budget.owner,
            what=budget.what,
            uses=tuple(_uses(registry, budget)),
        )
        for budget in BUDGETS
    )


def _uses(registry: Registry, budget: Budget) -> Iterator[UseSnapshot]:
    used, refused = registry.budgets.most(budget, MOST), registry.budgets.refused(budget)
    for who in [*used, *(who for who in refused if who not in used)]:
        yield UseSnapshot(who=who, used=used.get(who, 0), exceeded=refused.get(who, 0))


def calls(
    sessions: Iterable[Session], bindings: Mapping[BindingName, BindingSnapshot], now: float
) -> CallsSnapshot:
    """Sessions and what the plane says of their bindings, put together."""
    ordered = sorted(sessions, key=lambda session: session.life.started_at)
    return CallsSnapshot(calls=tuple(call(session, bindings, now) for session in ordered))


def ports(counts: PortCounts) -> PortsSnapshot:
    """The pool's counts in public form."""
    return PortsSnapshot(
        free=counts.free,
        leased=counts.leased,
        quarantined=counts.quarantined,
        shunned=counts.shunned,
    )


def call(
    session: Session, bindings: Mapping[BindingName, BindingSnapshot], now: float
) -> CallSnapshot:
    """One session and what the plane says of its bindings, put together."""
    accepted_at = session.life.accepted_at
    initiator, responder = session.parties
    media = session.negotiation.media.values()
    removed = (
        _content(past.medium, session, {**bindings, **past.counted}, past.ended_at, is_past=True)
        for past in session.negotiation.past
    )
    return CallSnapshot(
        call=session.name,
        sid=session.sid,
        initiator=str(initiator.jid),
        responder=str(responder.jid),
        state=session.state.value,
        age_s=round(now - session.life.started_at, 3),
        setup_s=None if accepted_at is None else round(accepted_at - session.life.started_at, 3),
        held=bool(session.negotiation.gates.holders),
        contents=tuple(_content(medium, session, bindings, now) for medium in media),
        exceeded=dict(session.exceeded),
        removed=tuple(removed),
    )


def _content(
    medium: Medium,
    session: Session,
    bindings: Mapping[BindingName, BindingSnapshot],
    now: float,
    *,
    is_past: bool = False,
) -> ContentSnapshot:
    """One content as it stands `now`; one that is past was heard for the last time then."""
    allocation = medium.allocation
    agreed_at = session.life.accepted_at if medium.agreed_at is None else medium.agreed_at
    agreed_s = None if agreed_at is None or not medium.agreed else max(0.0, now - agreed_at)
    had_time = agreed_s is not None and agreed_s >= YOUNG_S
    relayed = allocation is not None
    return ContentSnapshot(
        creator=medium.key.creator.value,
        name=medium.key.name,
        transport=_transport(medium),
        senders=medium.senders.value,
        agreed=medium.agreed,
        relayed=relayed,
        components=()
        if allocation is None
        else tuple(_component(medium, allocation, c, bindings, is_past) for c in COMPONENTS),
        media=medium.media,
        agreed_s=None if agreed_s is None else round(agreed_s, 3),
        ice=paths.mode(medium),
        path=paths.path(medium, session.negotiation, bindings, had_time),
    )


def _transport(medium: Medium) -> str:
    if medium.agents is not None:
        return "ice"
    return "other" if medium.allocation is None else "raw-udp"


def _component(
    medium: Medium,
    allocation: Allocation,
    component: int,
    bindings: Mapping[BindingName, BindingSnapshot],
    is_past: bool,
) -> ComponentSnapshot:
    seen = bindings.get(allocation.binding(component))
    legs = tuple(
        _leg(medium, allocation, component, leg, None if seen is None else seen.pinholes[leg])
        for leg in Leg
    )
    if is_past:
        legs = tuple(leg.model_copy(update={"heard_s": None}) for leg in legs)
    side = None if seen is None else quality.unheard(seen)
    unheard = None if side is None else Leg(side).name.lower()
    return ComponentSnapshot(component=component, unheard=unheard, legs=legs)


def _leg(
    medium: Medium, allocation: Allocation, component: int, leg: Leg, seen: PinholeSnapshot | None
) -> LegSnapshot:
    pinhole = allocation.pinholes[component, leg]
    counters = Counters() if seen is None else seen.counters
    heard = Quality() if seen is None else seen.quality
    score = quality.mos(replace(heard, lost=heard.lost + counters.dropped_policed))
    learned = pinhole.learned if seen is None else seen.learned
    candidates = medium.signalled.get(leg, ())
    if medium.agents is not None and leg not in medium.agents.raw:
        candidates = medium.agents.of[leg].candidates
    return LegSnapshot(
        leg=leg.name.lower(),
        signalled=tuple(str(c.address) for c in candidates if c.component == component),
        advertised=str(allocation.leases[leg].advertised(component)),
        learned=_text(learned),
        source_auth=None if pinhole.evidence is None else pinhole.evidence.source_auth.value,
        latch="unknown" if seen is None else seen.state.name.lower(),
        latched_after_s=pinhole.latched_after_s,
        flow=allocation.flows[leg].name.lower(),
        heard_s=None if seen is None else seen.heard_s,
        received_packets=counters.received_packets,
        received_bytes=counters.received_bytes,
        sent_packets=counters.sent_packets,
        sent_bytes=counters.sent_bytes,
        dropped=_dropped(counters),
        rtp_packets=heard.packets,
        lost_packets=heard.lost,
        reordered_packets=heard.reordered,
        duplicate_packets=heard.duplicates,
        jitter_ms=round(heard.jitter_ms, 3),
        round_trip_ms=None if heard.round_trip_ms is None else round(heard.round_trip_ms, 3),
        mos=None if score is None else round(score, 2),
        pair=paths.pair(medium, leg, component, learned),
        check_failure=paths.check_failure(medium, leg, component, pinhole, seen),
        checks={} if pinhole.checks is None else _named(counters, "checks_"),
    )


def _dropped(counters: Counters) -> dict[str, int]:
    """Drops by reason, those that happened only."""
    counts = _named(counters, "dropped_")
    return {reason: count for reason, count in counts.items() if count}


def _named(counters: Counters, prefix: str) -> dict[str, int]:
    """The counters of this prefix, without it."""
    names = (name for name in Counters.__slots__ if name.startswith(prefix))
    return {name.removeprefix(prefix): getattr(counters, name) for name in names}


def _text(address: TransportAddress | None) -> str | None:
    return None if address is None else str(address)
