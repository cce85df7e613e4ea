"""The table of causes: what may be wrong with a call, in words, and what to do about it.

Each cause looks at the whole call or at one leg of one content (its RTP component), and names the
causes that it makes superfluous: a leg that was heard from another network than its XMPP connection
is not also told to have sent nothing. `diagnosis.py` looks through the table.

A party is heard when its RTP is: STUN, DTLS and RTCP come from a dead microphone as well.
"""

from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address

from jingle_hnt.admin.paths import CheckFailure, Path
from jingle_hnt.admin.snapshots import YOUNG_S, CallSnapshot, ContentSnapshot, LegSnapshot
from jingle_hnt.call.life import Why
from jingle_hnt.call.policy import IceMode
from jingle_hnt.model.content import Senders


@dataclass(frozen=True, slots=True)
class Case:
    """A call as it stands or stood; `why` is None while it goes on.

    `plane` tells whether the forwarding plane answered when it was asked about the call,
    `nobody_lately` whether no party of any relayed call was heard of late.
    """

    call: CallSnapshot
    why: Why | None = None
    plane: bool = True
    nobody_lately: bool = False

    @property
    def had_time(self) -> bool:
        """Return whether media had time to come."""
        setup_s = self.call.setup_s
        return setup_s is not None and self.call.age_s - setup_s >= YOUNG_S

    @property
    def is_relayed(self) -> bool:
        """Return whether its media must come to the relay: there is no direct path for it."""
        return any(
            c.agreed and c.components and c.ice != IceMode.APPEND for c in self.call.all_contents
        )

    @property
    def nobody_heard(self) -> bool:
        """Return whether the call is relayed and no packet of anybody came."""
        legs = (leg for c in self.call.all_contents for part in c.components for leg in part.legs)
        return self.is_relayed and not any(leg.received_packets for leg in legs)


@dataclass(frozen=True, slots=True)
class Stream:
    """The media of one leg in one content: `leg` of its RTP component, `peer` the other leg.

    `is_bundled` says whether the leg's RTP comes by another content of the call (RFC 8843).
    """

    content: ContentSnapshot
    leg: LegSnapshot
    peer: LegSnapshot
    is_bundled: bool = False

    @property
    def may_send(self) -> bool:
        """Return whether this leg is to send by the content's `senders`."""
        return self.content.senders in (Senders.BOTH.value, self.leg.leg)

    def dropped(self, *reasons: str) -> int:
        """This leg's packets that were dropped for these reasons."""
        return sum(self.leg.dropped.get(reason, 0) for reason in reasons)


@dataclass(frozen=True, slots=True)
class CallCause:
    """A cause that is about the call. The text may name {exceeded}, the budgets used up."""

    code: str
    text: str
    advice: str
    holds: Callable[[Case], bool]
    hides: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class LegCause:
    """A cause that is about one leg. The texts may name {party}, {medium}, {peer} and {count}.

    `explains` are the reasons for drops (keys of `DROPS`) that it accounts for.
    """

    code: str
    text: str
    advice: str
    holds: Callable[[Case, Stream], bool]
    count: Callable[[Stream], int] = lambda stream: stream.leg.received_packets
    hides: frozenset[str] = frozenset()
    explains: frozenset[str] = frozenset()


FEW, SMALL = 100, 0.02
"""So many packets of a leg, or this part of what came of it, are dropped of any healthy call: of
strangers, and of a party before its peer is heard."""


LATE = 3
"""So many packets of a port that its party has left may come late: they are no rival's."""


def is_many(stream: Stream, reason: str) -> bool:
    """Return whether more packets were dropped for this reason than of a healthy call."""
    count = stream.dropped(reason)
    return count > FEW and count > SMALL * stream.leg.received_packets


def _elsewhere(stream: Stream) -> int:
    return stream.dropped("stranger", "kernel")


def _forged_checks(stream: Stream) -> int:
    return stream.dropped("unfit") + stream.leg.checks.get("refused", 0)


def _has_no_signed_check(stream: Stream) -> bool:
    """Return whether the party made none; it may have answered ours where ICE ends at the relay."""
    wrong = stream.leg.check_failure == CheckFailure.WRONG_CREDENTIALS
    return wrong or (stream.leg.source_auth == "ice-integrity" and not stream.leg.received_packets)


def _had_time(case: Case, stream: Stream) -> bool:
    """Return whether media of this content had time to come; it may be younger than its call."""
    agreed_s = stream.content.agreed_s
    return case.had_time if agreed_s is None else agreed_s >= YOUNG_S


def _should_be_heard(case: Case, stream: Stream) -> bool:
    """Return whether RTP of this leg is to be expected, and none has come."""
    expected = _had_time(case, stream) and stream.may_send and stream.content.agreed
    expected = expected and not case.call.held
    is_elsewhere = stream.is_bundled or stream.content.path == Path.DIRECT
    return expected and not is_elsewhere and not stream.leg.rtp_packets


def _unheard(case: Case, stream: Stream) -> bool:
    return _should_be_heard(case, stream) and not stream.leg.received_packets


def _lacks_family(stream: Stream) -> bool:
    """Return whether the party offers addresses of one IP version, and is told one of the other."""
    own = {version for text in stream.leg.signalled if (version := _version(text))}
    return bool(own) and _version(stream.leg.advertised) not in own


def _ip(text: str) -> str:
    return text.rpartition(":")[0].strip("[]")


def _version(text: str) -> int:
    """The IP version of an ``ip:port``; 0 for what is none."""
    try:
        return ip_address(_ip(text)).version
    except ValueError:
        return 0


def _is_asymmetric(stream: Stream) -> bool:
    """Return whether a party without a NAT sends from another port than it listens at."""
    leg = stream.leg
    if leg.learned is None or stream.content.ice is not None or leg.learned in leg.signalled:
        return False
    return _ip(leg.learned) in {_ip(text) for text in leg.signalled}


def _received(content: ContentSnapshot) -> bool:
    return any(leg.received_packets for c in content.components for leg in c.legs)


CALL_CAUSES = (
    CallCause(
        "plane-away",
        "the forwarding plane did not answer, so the counters of this call are not known",
        "look at the log of `jingle-hnt plane`; `jingle-hnt status` tells whether it is back",
        lambda case: not case.plane and any(c.relayed for c in case.call.all_contents),
        hides=frozenset({"never-sent", "one-way", "other-network"}),
    ),
    CallCause(
        "ports-lost",
        "a new forwarding plane could not open the call's media ports again",
        "the log names the port and why; keep other programs off relay.ports with"
        " net.ipv4.ip_local_reserved_ports",
        lambda case: case.why is Why.PORTS_LOST,
        hides=frozenset({"plane-away", "never-accepted"}),
    ),
    CallCause(
        "unproven",
        "the callee's address could not be verified, and such calls are refused",
        'relay.unknown_source = "probation" accepts them after five packets in sequence',
        lambda case: case.why is Why.UNPROVEN,
        hides=frozenset({"never-accepted", "stranger"}),
    ),
    CallCause(
        "setup-timeout",
        "the call was not answered in time",
        "nobody answered, and after times.setup_s a party had left or ports were scarce",
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
        "if the call is silent, test whether both clients can reach relay.ports over UDP",
        lambda case: (
            case.had_time
            and any(c.ice == IceMode.APPEND for c in case.call.all_contents)
            and not any(_received(c) for c in case.call.all_contents)
        ),
        hides=frozenset({"never-sent", "no-rtp", "one-way"}),
    ),
    CallCause(
        "nobody-heard",
        "no party of this call was heard, and no party of the calls before it",
        "the advertised address is probably wrong, or a firewall stops UDP to relay.ports: see"
        " `advertised` of `jingle-hnt calls --addresses`, and run `jingle-hnt check`",
        lambda case: case.nobody_lately and case.nobody_heard and case.had_time,
        hides=frozenset({"never-sent", "no-rtp", "one-way"}),
    ),
    CallCause(
        "too-short",
        "nobody was heard, and the call was too short to say why",
        "nothing is wrong if somebody hung up at once; otherwise watch the next call with"
        " `jingle-hnt top`",
        lambda case: (
            case.why is Why.TERMINATED
            and case.call.setup_s is not None
            and not case.had_time
            and case.nobody_heard
        ),
    ),
    CallCause(
        "over-budget",
        "requests of this call exceeded a budget and were refused: {exceeded}",
        "`jingle-hnt limits` says who is near which; docs/configuration.md has the option of each"
        " budget",
        lambda case: bool(case.call.exceeded),
    ),
    CallCause(
        "unknown-transport",
        "the call uses a transport that the relay does not carry",
        "media goes directly between the parties; ice.mode and relay.already_relayed decide"
        " what is relayed",
        lambda case: (
            bool(case.call.all_contents)
            and all(c.transport == "other" for c in case.call.all_contents)
        ),
    ),
)

LEG_CAUSES = (
    LegCause(
        "other-network",
        "{party} sends {medium} from another network than its XMPP connection: {count} packets"
        " were dropped",
        "a VPN or a proxy: list the XMPP server's proxies in relay.proxies, or widen the network"
        " with relay.widen_v4 or relay.widen_v6",
        lambda case, s: (
            s.leg.learned is None
            and s.leg.source_auth == "signalling-address"
            and _elsewhere(s) > 0
        ),
        count=_elsewhere,
        hides=frozenset({"never-sent", "one-way"}),
        explains=frozenset({"stranger", "kernel"}),
    ),
    LegCause(
        "stranger",
        "{count} packets came to {party}'s port of {medium} from an address that it did not"
        " signal, and were dropped",
        "if they came from an unrelated host, ignore this; if they are the party's own, its"
        " candidates are wrong or it has moved: relay.allow_networks lists private networks"
        " that may hold callers",
        lambda case, s: (
            s.leg.learned is None
            and s.leg.source_auth != "signalling-address"
            and _elsewhere(s) > 0
        ),
        count=_elsewhere,
        hides=frozenset({"never-sent", "one-way"}),
        explains=frozenset({"stranger", "kernel"}),
    ),
    LegCause(
        "forged-checks",
        "{count} connectivity checks with {party} were not signed with the signalled credentials",
        "somebody else sends to its port, or its client restarts ICE without saying so",
        lambda case, s: _has_no_signed_check(s) and _forged_checks(s) > 0,
        count=lambda stream: _forged_checks(stream),
        hides=frozenset({"never-sent", "one-way", "stranger"}),
        explains=frozenset({"unfit", "stranger", "kernel"}),
    ),
    LegCause(
        "unanswered-checks",
        "{party} answered none of {count} connectivity checks, and sent none that arrived",
        "its client does not speak ICE as it says, or a firewall stops UDP to relay.ports",
        lambda case, s: _had_time(case, s) and s.leg.check_failure == CheckFailure.NO_RESPONSE,
        count=lambda stream: stream.leg.checks.get("sent", 0),
        hides=frozenset({"never-sent", "one-way"}),
    ),
    LegCause(
        "no-candidate",
        "{party} signalled no candidate that the relay may check, and sent no check that arrived",
        "its candidates are TCP, host names or private addresses (relay.allow_networks lists those"
        " that may hold callers), and a firewall stops UDP to relay.ports",
        lambda case, s: _had_time(case, s) and s.leg.check_failure == CheckFailure.NO_CANDIDATE,
        hides=frozenset({"never-sent", "one-way"}),
    ),
    LegCause(
        "unsigned-media",
        "{party} sent {count} packets of {medium} that are not signed with the keys it signalled",
        "somebody else sends to its port, or its client does not use the <crypto/> that was agreed",
        lambda case, s: (
            s.leg.source_auth == "srtp-auth"
            and not s.leg.received_packets
            and s.dropped("unfit") > 0
        ),
        count=lambda stream: stream.dropped("unfit"),
        hides=frozenset({"never-sent", "one-way", "stranger"}),
        explains=frozenset({"unfit", "stranger", "kernel"}),
    ),
    LegCause(
        "forged-media",
        "{count} packets at {party}'s port of {medium} were not signed with the keys it"
        " signalled, or came twice; none was forwarded",
        "somebody else sends to that port, or {party}'s NAT has changed its mapping; the call"
        " goes on",
        lambda case, s: (
            s.leg.source_auth == "srtp-auth"
            and s.leg.received_packets > 0
            and s.dropped("unfit", "rival") > 0
        ),
        count=lambda stream: stream.dropped("unfit", "rival"),
        hides=frozenset({"rival"}),
        explains=frozenset({"unfit", "rival"}),
    ),
    LegCause(
        "on-probation",
        "{party} sent {count} packets of {medium}, too few in sequence to be accepted",
        "its client sends almost nothing, and its address cannot be verified: it is a user of"
        " another server, or behind a proxy of relay.proxies; five packets in sequence are"
        " accepted, one if the XMPP server sees its users' addresses",
        lambda case, s: s.leg.learned is None and s.dropped("probation") > 0,
        count=lambda stream: stream.dropped("probation"),
        hides=frozenset({"never-sent", "one-way"}),
        explains=frozenset({"probation"}),
    ),
    LegCause(
        "changed",
        "{party} changed its port or its stream of {medium}: {count} packets came before the"
        " change was accepted",
        "a NAT, a muted client or a gateway does that, and nothing is to be done: another stream is"
        " followed after 0.1 s, another port after 1 s",
        lambda case, s: s.leg.learned is not None and is_many(s, "probation"),
        count=lambda stream: stream.dropped("probation"),
        hides=frozenset(),
        explains=frozenset({"probation"}),
    ),
    LegCause(
        "gated",
        "the gate stopped {count} packets of {medium} of {party}, because the call was not"
        " accepted or was on hold",
        "its client sends before the accept or against the content's senders; gate.policy and"
        " gate.early_media say what may flow when",
        lambda case, s: s.dropped("gate") > s.leg.received_packets // 2 > 0,
        count=lambda stream: stream.dropped("gate"),
        explains=frozenset({"gate"}),
    ),
    LegCause(
        "rival",
        "two sources, or two streams of one, competed to be {party}'s {medium}: {count} packets"
        " were dropped",
        "somebody else sends to its port or in its name, or its client signals one stream and sends"
        " two; one that changes both its port and its stream is followed after"
        " relay.follow_after_s. Where `jingle-hnt call` shows probation, have the XMPP server see"
        " its users' addresses (PROXY protocol), so that the relay can check them",
        lambda case, s: s.dropped("rival") > LATE,
        count=lambda stream: stream.dropped("rival"),
        explains=frozenset({"rival", "stranger", "kernel", "unfit", "probation"}),
    ),
    LegCause(
        "moved-away",
        "nothing came from {party}'s address for {count} s, and packets came to its port from"
        " another",
        "the party has probably changed its network before its XMPP connection did; the relay"
        " follows when the client is online again or sends a transport-info",
        lambda case, s: (
            s.leg.learned is not None
            and (s.leg.heard_s or 0.0) >= YOUNG_S
            and _elsewhere(s) > 0
            and not case.call.held
        ),
        count=lambda stream: int(stream.leg.heard_s or 0),
        hides=frozenset({"strangers-later", "rival"}),
        explains=frozenset({"stranger", "kernel", "rival"}),
    ),
    LegCause(
        "strangers-later",
        "{count} packets came to {party}'s port of {medium} that are not its own; none was"
        " forwarded",
        "somebody else sends to that port; if {peer} hears nothing, {party} sends from an address"
        " that the relay does not take for its own: see relay.widen_v4, relay.widen_v6",
        lambda case, s: s.leg.learned is not None and is_many(s, "stranger"),
        count=lambda stream: stream.dropped("stranger"),
        explains=frozenset({"stranger"}),
    ),
    LegCause(
        "policed",
        "{party} sent more {medium} than one party may: {count} packets were dropped",
        "raise relay.max_kbps or relay.max_pps if that is a camera or a screen",
        lambda case, s: s.dropped("policed") > 0,
        count=lambda stream: stream.dropped("policed"),
        explains=frozenset({"policed"}),
    ),
    LegCause(
        "no-family",
        "{party} offers only addresses of another IP version than the relay's address that it"
        " is told",
        "add an address of that version to relay.interfaces",
        lambda case, s: _unheard(case, s) and _lacks_family(s),
        hides=frozenset({"never-sent", "one-way", "unanswered-checks", "no-candidate"}),
    ),
    LegCause(
        "own-address",
        "{party} signals the relay's own address as its own, and the relay sends nothing to itself",
        "it is behind the relay's own address, or on its host: tell it the inner one, with"
        " `networks` in relay.interfaces; or another relay rewrites the call: let only one do it",
        lambda case, s: (
            _unheard(case, s) and _ip(s.leg.advertised) in {_ip(text) for text in s.leg.signalled}
        ),
        hides=frozenset({"never-sent", "one-way", "stranger", "other-network"}),
    ),
    LegCause(
        "asymmetric-ports",
        "{party} sends {medium} from another port than it listens at, and nothing else is heard of"
        " it",
        "its client must send from the port that it receives on (symmetric RTP, RFC 4961)",
        lambda case, s: _had_time(case, s) and _is_asymmetric(s) and not s.peer.rtp_packets,
    ),
    LegCause(
        "no-rtp",
        "{party} sends keep-alives, checks or RTCP, and no {medium}: {count} packets came, none of"
        " them RTP",
        "its microphone or camera gives nothing, or its client has muted it",
        lambda case, s: _should_be_heard(case, s) and s.leg.received_packets > 0,
        hides=frozenset({"one-way", "never-sent"}),
    ),
    LegCause(
        "one-way",
        "only {peer} is heard: no {medium} of {party} reached the relay",
        "{party}'s client does not send, is muted, or its firewall stops UDP to relay.ports",
        lambda case, s: _unheard(case, s) and s.peer.rtp_packets > 0,
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
        explains=frozenset({"send"}),
    ),
)

DROPS = {
    "shut": "before signalling had armed the latch",
    "stranger": "from an address that is not the party's",
    "unfit": "of a kind that proves nothing, such as unsigned media where keys were signalled",
    "probation": "while the party was on probation",
    "rival": "from a second source",
    "gate": "while the gate was closed: before the accept, or on hold",
    "policed": "over relay.max_kbps or relay.max_pps",
    "unlatched": "before the other party was heard",
    "empty": "empty keep-alives, which end at the relay",
    "send": "refused by the kernel",
    "kernel": "stopped by the kernel's filter, or by a full queue",
}
"""The reasons for which the plane drops a packet (`relay.binding.Counters`), in words."""
