"""Looks through the table of causes: what is wrong with a call, the most telling first.

Pure: a `Case` goes in, findings come out. Every packet that was dropped is accounted for: by the
finding that explains it, as one of the few that are dropped of nearly every call, or by a finding
of its own.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from pydantic import BaseModel, ConfigDict

from jingle_hnt.admin.causes import CALL_CAUSES, DROPS, LEG_CAUSES, Case, Stream, is_many
from jingle_hnt.admin.snapshots import CallSnapshot, ContentSnapshot, LegSnapshot
from jingle_hnt.model.content import RTP

OTHER_DROPS = "other-drops"
"""The cause of a finding about packets that no other cause accounts for."""


class Finding(BaseModel):
    """One cause that applies: `party` is the JID that it is about, None for the whole call."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cause: str
    party: str | None
    text: str
    advice: str


def diagnose(case: Case) -> tuple[Finding, ...]:
    """Return what is wrong with a call, the most telling first; empty if nothing is."""
    of_call = [cause for cause in CALL_CAUSES if cause.holds(case)]
    hidden = {code for cause in of_call for code in cause.hides}
    exceeded = ", ".join(f"{budget} {count} times" for budget, count in case.call.exceeded.items())
    findings = [
        Finding(cause=c.code, party=None, text=c.text.format(exceeded=exceeded), advice=c.advice)
        for c in of_call
        if c.code not in hidden
    ]
    for stream in streams(case.call):
        findings += _of_stream(case, stream, hidden)
    return tuple(findings)


def words(findings: Iterable[Finding]) -> str:
    """Return the texts for the parties of a call: each about one of them."""
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
                "medium": _medium(case.call, stream.content),
                "count": cause.count(stream),
            }
            text, advice = cause.text.format(**names), cause.advice.format(**names)
            yield Finding(cause=cause.code, party=party, text=text, advice=advice)
    explained = frozenset[str]().union(*(cause.explains for cause in causes))
    if stream.peer.learned is None:  # what is wrong with the peer is told of the peer
        explained |= {"unlatched", "gate"}
    left = [reason for reason in stream.leg.dropped if reason not in explained]
    many = {reason: stream.leg.dropped[reason] for reason in left if is_many(stream, reason)}
    if many:
        yield Finding(
            cause=OTHER_DROPS,
            party=party,
            text=f"at {party}'s port of {_medium(case.call, stream.content)} were dropped:"
            f" {_drops(many)}",
            advice="nothing is to be done if they came from somebody else, or before the accept;"
            " see what `explain` finds in docs/troubleshooting.md",
        )


def _medium(call: CallSnapshot, content: ContentSnapshot) -> str:
    """Return the medium of a content, with its name if the call has several of it."""
    if not content.media:
        return content.name
    named = {each.name for each in call.all_contents if each.media == content.media}
    several = len(named) > 1
    return f"{content.media} ({content.name})" if several else content.media


def set_aside(call: CallSnapshot) -> str:
    """Return the drops of a call in words, by reason; empty if every packet was forwarded."""
    total: Counter[str] = Counter()
    for stream in streams(call):
        total.update(stream.leg.dropped)
    return _drops(total)


def _drops(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {DROPS.get(reason, reason)}" for reason, count in counts.items())


def streams(call: CallSnapshot) -> Iterator[Stream]:
    """Return the media of each leg in each content."""
    for content in call.all_contents:
        for component in content.components:
            if component.component == RTP:
                first, second = component.legs
                yield Stream(content, first, second, _is_bundled(call, content, first))
                yield Stream(content, second, first, _is_bundled(call, content, second))


def _is_bundled(call: CallSnapshot, content: ContentSnapshot, leg: LegSnapshot) -> bool:
    """Whether RTP of this leg comes by another ICE content of the call: agents that bundle send
    all of it there (RFC 8843), and the ports of this one stay idle."""
    if content.ice is None:
        return False
    others = (c for c in call.all_contents if c.ice is not None and c.name != content.name)
    legs = (each for c in others for component in c.components for each in component.legs)
    return any(each.leg == leg.leg and each.rtp_packets > 0 for each in legs)
