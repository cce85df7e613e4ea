"""Why a call is silent, one-way or over, in words, and what to do about it.

A table of causes: each has a test over what the relay saw of a call, a sentence, and advice. They
are looked at in order, those that concern the whole call first; a leg has at most one.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from jingle_hnt.admin.snapshots import CallSnapshot, Finding, LegSnapshot
from jingle_hnt.session.effects import Why

RTP = 1
GATED_PART = 0.5
"""More than this part of a leg's packets stopped by the gate is worth a word."""


@dataclass(frozen=True, slots=True)
class CallCause:
    """A cause that concerns the whole call."""

    name: str
    holds: Callable[[CallSnapshot, Why | None], bool]
    text: str
    advice: str


@dataclass(frozen=True, slots=True)
class LegCause:
    """A cause that concerns the media of one party; `{party}` in its text is the party's JID."""

    name: str
    holds: Callable[[LegSnapshot], bool]
    text: str
    advice: str


def _relayed(call: CallSnapshot) -> bool:
    return any(content.relayed for content in call.contents)


def _over(*reasons: Why) -> Callable[[CallSnapshot, Why | None], bool]:
    return lambda _, why: why in reasons


CALL_CAUSES = (
    CallCause(
        "no-ports",
        _over(Why.NO_CAPACITY),
        "No media ports were left, or the forwarding plane was away.",
        "Look at `jingle-hnt status`: widen relay.ports if none are free, see to the plane if it"
        " is down.",
    ),
    CallCause(
        "never-accepted",
        _over(Why.SETUP_TIMEOUT),
        "The callee never answered.",
        "Nothing of ours: it rang until times.setup_s was over.",
    ),
    CallCause(
        "refused",
        _over(Why.REFUSED, Why.UNKNOWN_SESSION),
        "A party's client answered the offer or the accept with an error.",
        "Look for the error in that client; it may not support the offered media.",
    ),
    CallCause(
        "unproven",
        _over(Why.UNPROVEN),
        "Nothing was known of where a party's media would come from, and such calls are refused.",
        'Write relay.unknown_source = "probation" to relay them after a few packets in sequence.',
    ),
    CallCause(
        "not-relayed",
        lambda call, _: bool(call.contents) and not _relayed(call),
        "No content of the call is relayed: another relay's candidates, a transport that is not"
        " ours, or ICE agents that found a direct path.",
        "If the media is missing all the same, the parties cannot reach what they told each other;"
        " see relay.already_relayed and [ice].",
    ),
)

LEG_CAUSES = (
    LegCause(
        "forged-checks",
        lambda leg: leg.rung == "R1" and not leg.received_packets and _dropped(leg, "unfit") > 0,
        "{party} sent connectivity checks that are not signed with the signalled credentials.",
        "Its client changed its ICE credentials without saying so, or somebody forges them.",
    ),
    LegCause(
        "other-network",
        lambda leg: not leg.received_packets and _dropped(leg, "stranger", "kernel") > 0,
        "Packets came to the port of {party}, but not from where its XMPP connection comes from.",
        "A VPN or a proxy on one of the two ways: list proxies in relay.proxies, or widen the"
        " address with relay.widen_v4.",
    ),
    LegCause(
        "rival",
        lambda leg: not leg.received_packets and _dropped(leg, "rival") > 0,
        "Several sources competed for the port of {party}, and none was believed.",
        "Somebody sprays the port, or the client sends from two sockets.",
    ),
    LegCause(
        "on-probation",
        lambda leg: not leg.received_packets and _dropped(leg, "probation") > 0,
        "{party} sent too few packets in sequence to be believed without other evidence.",
        "Its server is not asked for addresses, or it is on another server: nothing to do if the"
        " call was short.",
    ),
    LegCause(
        "never-sent",
        lambda leg: not leg.received_packets,
        "{party} never sent a packet to the relay.",
        "Its firewall stops UDP, its client does not start media, or the relay's ports are not"
        " open to it.",
    ),
    LegCause(
        "gated",
        lambda leg: _dropped(leg, "gate") > GATED_PART * leg.received_packets,
        "Most of what {party} sent was stopped by the gate: the call was not accepted, or on hold.",
        "See gate.early_media if the media before the accept is wanted.",
    ),
)


def diagnose(call: CallSnapshot, why: Why | None = None) -> tuple[Finding, ...]:
    """What can be said of a call; `why` it ended, None while it lives. Nothing if all is well."""
    whole = [cause for cause in CALL_CAUSES if cause.holds(call, why)]
    found = [Finding(cause=c.name, text=c.text, advice=c.advice) for c in whole]
    return tuple(found) if found else tuple(_of_legs(call))


def _of_legs(call: CallSnapshot) -> Iterator[Finding]:
    for content in call.contents:
        for component in content.components:
            for leg in component.legs if component.component == RTP else ():
                cause = next((c for c in LEG_CAUSES if c.holds(leg)), None)
                if cause is None:
                    continue
                party = call.initiator if leg.leg == "initiator" else call.responder
                text = cause.text.format(party=party)
                yield Finding(
                    cause=cause.name,
                    leg=leg.leg,
                    media=content.name,
                    text=text,
                    advice=cause.advice,
                )


def _dropped(leg: LegSnapshot, *reasons: str) -> int:
    return sum(leg.dropped.get(reason, 0) for reason in reasons)
