"""What went wrong with a call, in words, and what to do about it: a table of causes.

Pure: a `Case` goes in, findings come out. Each cause looks at the whole call or at one leg of one
content (its RTP component), and names the causes that it makes superfluous: a leg that was heard
from another network than its XMPP connection is not also told to have sent nothing.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict

from jingle_hnt.admin.paths import CheckFailure
from jingle_hnt.admin.snapshots import YOUNG_S, CallSnapshot, ContentSnapshot, LegSnapshot
from jingle_hnt.model.content import RTP, Senders
from jingle_hnt.session.effects import Why
from jingle_hnt.session.policy import IceMode


class Finding(BaseModel):
    """One cause that applies: `party` is the JID that it is about, None for the whole call."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cause: str
    party: str | None
    text: str
    advice: str


@dataclass(frozen=True, slots=True)
class Case:
    """A call as it stands or stood; `why` is None while it goes on.

    `plane` tells whether the forwarding plane answered when it was asked about the call.
    """

    call: CallSnapshot
    why: Why | None = None
    plane: bool = True

    @property
    def had_time(self) -> bool:
        """Whether media had time to come."""
        setup_s = self.call.setup_s
        return setup_s is not None and self.call.age_s - setup_s >= YOUNG_S


@dataclass(frozen=True, slots=True)
class Stream:
    """What one leg sends of one content: `leg` of its RTP component, `peer` the other leg."""

    content: ContentSnapshot
    leg: LegSnapshot
    peer: LegSnapshot

    @property
    def may_send(self) -> bool:
        """Whether this leg is to send by the content's `senders`."""
        return self.content.senders in (Senders.BOTH.value, self.leg.leg)

    def dropped(self, *reasons: str) -> int:
        """This leg's packets that were dropped for these reasons."""
        return sum(self.leg.dropped.get(reason, 0) for reason in reasons)


@dataclass(frozen=True, slots=True)
class CallCause:
    """A cause that is about the call."""

    code: str
    text: str
    advice: str
    holds: Callable[[Case], bool]
    hides: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class LegCause:
    """A cause that is about one leg. The texts may name {party}, {medium}, {peer} and {count}."""

    code: str
    text: str
    advice: str
    holds: Callable[[Case, Stream], bool]
    count: Callable[[Stream], int] = lambda stream: stream.leg.received_packets
    hides: frozenset[str] = frozenset()


def _elsewhere(stream: Stream) -> int:
    return stream.dropped("stranger", "kernel")


def _forged_checks(stream: Stream) -> int:
    return stream.dropped("unfit") + stream.leg.checks.get("refused", 0)


def _has_no_signed_check(stream: Stream) -> bool:
    """Whether the party made none; it may have answered ours where ICE ends at the relay."""
    wrong = stream.leg.check_failure == CheckFailure.WRONG_CREDENTIALS
    return wrong or (stream.leg.rung == "R1" and not stream.leg.received_packets)


def _unheard(case: Case, stream: Stream) -> bool:
    heard = stream.leg.received_packets
    return case.had_time and stream.may_send and not case.call.held and not heard


CALL_CAUSES = (
    CallCause(
        "plane-away",
        "the forwarding plane did not answer, so the counters of this call are not known",
        "look at the log of `jingle-hnt plane`; `jingle-hnt status` tells whether it is back",
        lambda case: not case.plane and any(c.relayed for c in case.call.contents),
        hides=frozenset({"never-sent", "one-way", "other-network"}),
    ),
    CallCause(
        "no-ports",
        "no pair of media ports was left for this call",
        "widen relay.ports, or let such calls pass with relay.exhausted; `jingle-hnt status` counts"
        " the ports by state",
        lambda case: case.why is Why.NO_CAPACITY,
        hides=frozenset({"unknown-transport", "never-accepted"}),
    ),
    CallCause(
        "unproven",
        "nothing was known of where the callee's media would come from, and such calls are refused",
        'relay.unknown_source = "probation" accepts them after five packets in sequence',
        lambda case: case.why is Why.UNPROVEN,
        hides=frozenset({"never-accepted"}),
    ),
    CallCause(
        "setup-timeout",
        "the call was not answered in time",
        "nobody took it; times.setup_s is how long it may ring",
        lambda case: case.why is Why.SETUP_TIMEOUT,
        hides=frozenset({"never-accepted"}),
    ),
    CallCause(
        "refused-by-party",
        "a party's client answered the offer or the accept with an error",
        "the client's own log says why; it may not know one of the call's contents",
        lambda case: case.why is Why.REFUSED,
        hides=frozenset({"never-accepted"}),
    ),
    CallCause(
        "never-accepted",
        "the call ended before it was accepted, so the gate was never opened for its media",
        "nothing is wrong where somebody declined or hung up",
        lambda case: case.why is not None and case.call.setup_s is None,
    ),
    CallCause(
        "unused-relay",
        "both clients speak ICE and do not use the relay: they have found a direct path, or no way"
        " to the relay",
        "where the call is silent, see whether both can reach relay.ports over UDP",
        lambda case: (
            case.had_time
            and any(c.ice == IceMode.APPEND for c in case.call.contents)
            and not any(_heard(c) for c in case.call.contents)
        ),
        hides=frozenset({"never-sent"}),
    ),
    CallCause(
        "unknown-transport",
        "the call uses a transport that the relay takes no part in",
        "media goes between the parties themselves; ice.mode and relay.already_relayed say what of"
        " it could be relayed",
        lambda case: (
            bool(case.call.contents) and all(c.transport == "other" for c in case.call.contents)
        ),
    ),
)

LEG_CAUSES = (
    LegCause(
        "other-network",
        "{party} sends {medium} from another network than its XMPP connection: {count} packets were"
        " not believed",
        "a VPN or a proxy: list the XMPP server's proxies in relay.proxies, or widen the network"
        " with relay.widen_v4 or relay.widen_v6",
        lambda case, s: s.leg.learned is None and s.leg.rung == "R3" and _elsewhere(s) > 0,
        count=_elsewhere,
        hides=frozenset({"never-sent", "one-way"}),
    ),
    LegCause(
        "stranger",
        "packets came to {party}'s port of {medium} that are not from where it said it is: {count}"
        " were dropped",
        "of another host, nothing is to be done; of the party, its candidates are wrong or it has"
        " moved: relay.allow_networks lists private networks that may hold callers",
        lambda case, s: s.leg.learned is None and s.leg.rung != "R3" and _elsewhere(s) > 0,
        count=_elsewhere,
        hides=frozenset({"never-sent", "one-way"}),
    ),
    LegCause(
        "forged-checks",
        "{count} connectivity checks with {party} were not signed with what was signalled",
        "somebody else sends to its port, or its client restarts ICE without saying so",
        lambda case, s: _has_no_signed_check(s) and _forged_checks(s) > 0,
        count=lambda stream: _forged_checks(stream),
        hides=frozenset({"never-sent", "one-way", "stranger"}),
    ),
    LegCause(
        "unanswered-checks",
        "{party} answered none of {count} connectivity checks, and made none that arrived",
        "its client does not speak ICE as it says, or a firewall stops UDP to relay.ports",
        lambda case, s: case.had_time and s.leg.check_failure == CheckFailure.NO_RESPONSE,
        count=lambda stream: stream.leg.checks.get("sent", 0),
        hides=frozenset({"never-sent", "one-way"}),
    ),
    LegCause(
        "no-candidate",
        "{party} signalled no candidate that the relay may check, and made no check that arrived",
        "its candidates are TCP, host names or private addresses (relay.allow_networks lists those"
        " that may hold callers), and a firewall stops UDP to relay.ports",
        lambda case, s: case.had_time and s.leg.check_failure == CheckFailure.NO_CANDIDATE,
        hides=frozenset({"never-sent", "one-way"}),
    ),
    LegCause(
        "unsigned-media",
        "{party} sent {count} packets of {medium} that are not signed with the keys it signalled",
        "somebody else sends to its port, or its client does not use the <crypto/> that was agreed",
        lambda case, s: (
            s.leg.rung == "R2" and not s.leg.received_packets and s.dropped("unfit") > 0
        ),
        count=lambda stream: stream.dropped("unfit"),
        hides=frozenset({"never-sent", "one-way", "stranger"}),
    ),
    LegCause(
        "forged-media",
        "{count} packets at {party}'s port of {medium} were not shown to be its own by the keys it"
        " signalled, or came twice; none of them was forwarded",
        "somebody else sends to that port, or {party}'s NAT has changed its mapping; the call"
        " goes on",
        lambda case, s: (
            s.leg.rung == "R2" and s.leg.received_packets > 0 and s.dropped("unfit", "rival") > 0
        ),
        count=lambda stream: stream.dropped("unfit", "rival"),
        hides=frozenset({"rival"}),
    ),
    LegCause(
        "on-probation",
        "{party} sent {count} packets of {medium}, too few in sequence to be believed",
        "the server does not know where the party is: a remote user, or a proxy that is not in"
        " relay.proxies",
        lambda case, s: s.leg.learned is None and s.dropped("probation") > 0,
        count=lambda stream: stream.dropped("probation"),
        hides=frozenset({"never-sent", "one-way"}),
    ),
    LegCause(
        "gated",
        "the gate stopped {count} packets of {medium} of {party}: the call was not accepted, or on"
        " hold",
        "its client sends before the accept or against the content's senders; gate.policy and"
        " gate.early_media say what may flow when",
        lambda case, s: s.dropped("gate") > s.leg.received_packets // 2 > 0,
        count=lambda stream: stream.dropped("gate"),
    ),
    LegCause(
        "rival",
        "two sources competed to be {party}'s {medium}: {count} packets were dropped",
        "somebody else sends to its port, or its NAT changes its mapping; where it is one network,"
        " make the XMPP server's address known (relay.proxies) so that the latch rests on R3",
        lambda case, s: s.dropped("rival") > 0,
        count=lambda stream: stream.dropped("rival"),
    ),
    LegCause(
        "one-way",
        "only {peer} is heard: no {medium} of {party} reached the relay",
        "{party}'s client does not send, is muted, or its firewall stops UDP to relay.ports",
        lambda case, s: _unheard(case, s) and s.peer.received_packets > 0,
        hides=frozenset({"never-sent"}),
    ),
    LegCause(
        "never-sent",
        "{party} never sent a packet of {medium} to the relay",
        "its client does not send, or cannot reach relay.ports over UDP; `jingle-hnt check` tests"
        " the address that it is told",
        _unheard,
    ),
    LegCause(
        "not-delivered",
        "the kernel refused to send {count} packets to {party}",
        "look at this host's firewall and routes to the address where the party was learned",
        lambda case, s: s.peer.learned is not None and s.dropped("send") > 0,
        count=lambda stream: stream.dropped("send"),
    ),
)


def diagnose(case: Case) -> tuple[Finding, ...]:
    """What is wrong with a call, the most telling first; empty where nothing is."""
    of_call = [cause for cause in CALL_CAUSES if cause.holds(case)]
    hidden = {code for cause in of_call for code in cause.hides}
    findings = [
        Finding(cause=c.code, party=None, text=c.text, advice=c.advice)
        for c in of_call
        if c.code not in hidden
    ]
    for stream in _streams(case.call):
        findings += _of_stream(case, stream, hidden)
    return tuple(findings)


def words(findings: Iterable[Finding]) -> str:
    """What the parties of a call may read of it: each what is about one of them."""
    said = dict.fromkeys(finding.text for finding in findings if finding.party is not None)
    return "; ".join(said)


def _of_stream(case: Case, stream: Stream, hidden: set[str]) -> Iterator[Finding]:
    causes = [cause for cause in LEG_CAUSES if cause.holds(case, stream)]
    hidden = hidden.union(*(cause.hides for cause in causes))
    party, peer = (getattr(case.call, leg.leg) for leg in (stream.leg, stream.peer))
    for cause in causes:
        if cause.code not in hidden:
            names = {
                "party": party,
                "peer": peer,
                "medium": stream.content.name,
                "count": cause.count(stream),
            }
            text, advice = cause.text.format(**names), cause.advice.format(**names)
            yield Finding(cause=cause.code, party=party, text=text, advice=advice)


def _streams(call: CallSnapshot) -> Iterator[Stream]:
    for content in call.contents:
        for component in content.components:
            if component.component == RTP:
                first, second = component.legs
                yield Stream(content, first, second)
                yield Stream(content, second, first)


def _heard(content: ContentSnapshot) -> bool:
    return any(leg.received_packets for c in content.components for leg in c.legs)
