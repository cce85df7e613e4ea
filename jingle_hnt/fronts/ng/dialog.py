"""One SIP call as the session core is told of it: offers and answers as Jingle requests.

The core knows sessions of contents (XEP-0166). A SIP dialog is one: its Call-ID the sid, each
``m=`` line a content, and what an offer or answer changes is asked as the actions that change it
(XEP-0167 section 10 maps them). So everything that the relay does for a Jingle call, from limits
and latches to the journal and `explain`, it does for a SIP call.

Two things differ. A description always tells everything, while Jingle tells what is new: here it is
remembered what each party said last and was shown. And a call has one callee leg for all phones
that ring: whoever answers is the callee from then on (its latches are armed anew), until another
tag answers.

Pure: what time it is and which request got which answer is told by `front.py`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from jingle_hnt.call.leg import Leg
from jingle_hnt.call.policy import EarlyMedia, IceMode
from jingle_hnt.fronts.ng.evidence import known
from jingle_hnt.fronts.ng.rewriting import Place, rewritten
from jingle_hnt.fronts.ng.sdp import MOST_MEDIA, Description, Media
from jingle_hnt.fronts.ng.unsupported import demand_same_encryption
from jingle_hnt.fronts.ng.words import NgCommand, Refused
from jingle_hnt.model.address import IPAddress, TransportAddress
from jingle_hnt.model.content import (
    ICE_UDP,
    RTCP,
    RTP,
    Candidate,
    Content,
    ContentKey,
    Creator,
    Ice,
    OwnTransport,
    RawUdp,
    Senders,
)
from jingle_hnt.model.jingle import Action, Info, Jingle, Reason
from jingle_hnt.relay.binding import BindingName
from jingle_hnt.relay.policy import PeerPolicy

FOUNDATION = "ngrelay"
"""Of our candidates beside an agent's own; no agent writes it."""

LEAST_PRIORITY = 255
"""Our candidates are tried last: type and local preference 0, 256 less the component."""

_EARLY = {
    EarlyMedia.BOTH: Senders.BOTH,
    EarlyMedia.RESPONDER: Senders.RESPONDER,
    EarlyMedia.DROP: Senders.NONE,
}


@dataclass(frozen=True, slots=True)
class Ask:
    """A request to make of the core in the name of one party, who was seen at `ip`."""

    leg: Leg
    jingle: Jingle
    ip: IPAddress | None = None


@dataclass(frozen=True, slots=True)
class KnownContent:
    """What the core knows of one content: for a front that has been started again."""

    key: ContentKey
    agreed: bool
    senders: Senders
    signalled: tuple[tuple[Candidate, ...], tuple[Candidate, ...]]
    advertised: tuple[dict[int, TransportAddress], dict[int, TransportAddress]]
    bindings: tuple[BindingName, ...]


@dataclass(frozen=True, slots=True)
class KnownCall:
    """What the core knows of one SIP call. `ips` are where the parties were seen."""

    name: str
    call_id: str
    caller_tag: str
    accepted: bool
    started_at: float
    ips: tuple[IPAddress | None, IPAddress | None]
    held: frozenset[Leg]
    contents: tuple[KnownContent, ...] = ()


@dataclass(slots=True)
class Shown:
    """What a party was told of the relay for one content."""

    components: dict[int, TransportAddress] = field(default_factory=dict)
    ufrag: str = ""
    pwd: str = field(default="", repr=False)


@dataclass(slots=True)
class Slot:
    """One ``m=`` line of the call.

    `key` is its content's while the relay takes part in it, None otherwise. `said` is what each leg
    said of it last, `before` where it took media before a restart of ours, `shown` what each was
    told. `carrier` is the index of the line whose port
    carries it (RFC 8843), None where it has its own.
    """

    key: ContentKey | None = None
    agreed: bool = False
    is_ice: bool = False
    protocol: str = ""
    senders: Senders = Senders.BOTH
    carrier: int | None = None
    said: dict[Leg, Media] = field(default_factory=dict)
    generations: dict[Leg, int] = field(default_factory=dict)
    shown: dict[Leg, Shown] = field(default_factory=dict)
    before: dict[Leg, dict[int, TransportAddress]] = field(default_factory=dict)


class Dialog:
    """See the module's text. `offerer` is who waits for an answer, None where nobody does."""

    def __init__(
        self,
        call_id: str,
        caller_tag: str,
        peers: PeerPolicy,
        ice: IceMode = IceMode.PASS,
        early_media: EarlyMedia = EarlyMedia.BOTH,
    ) -> None:
        self.call_id = call_id
        self.caller_tag = caller_tag
        self.callee_tag = ""
        self.tags: dict[str, None] = {}
        self.slots: list[Slot] = []
        self.offerer: Leg | None = None
        self.begun = False
        self.accepted = False
        self._peers = peers
        self._ice = ice
        self._early_media = early_media
        self._held: set[Leg] = set()
        self._ips: dict[Leg, IPAddress | None] = {}
        self._replace: frozenset[str] = frozenset()
        self._strips_mux = False

    def recall(self, known: KnownCall) -> None:
        """Take up a call of before a restart, as far as the core knows it.

        What is not known is what each line said besides its address, so the next description of a
        party counts as news where it says another one.
        """
        self.begun, self.accepted = True, known.accepted
        self._held = set(known.held)
        self._ips = dict(zip(Leg, known.ips, strict=True))
        for content in known.contents:
            if not content.key.name.isdecimal() or int(content.key.name) >= MOST_MEDIA:
                continue
            index = int(content.key.name)
            self._grow(index + 1)
            slot = self.slots[index]
            slot.key, slot.agreed, slot.senders = content.key, content.agreed, content.senders
            for leg in Leg:
                slot.shown[leg] = Shown(dict(content.advertised[leg]))
                said = content.signalled[leg]
                slot.generations[leg] = max((c.generation for c in said), default=0)
                slot.before[leg] = {c.component: c.address for c in said}

    def leg_of(self, tag: str) -> Leg:
        """Whose tag this is: the caller's, or one of the phones' that it rings."""
        return Leg.INITIATOR if tag == self.caller_tag else Leg.RESPONDER

    @property
    def is_relayed(self) -> bool:
        """Whether the relay takes part in any of its media."""
        return any(slot.key is not None for slot in self.slots)

    # What the proxy tells

    def offer(self, command: NgCommand, description: Description) -> list[Ask]:
        """What an offer asks of the core. Raises Refused, and nothing has changed then."""
        leg = self.leg_of(command.from_tag)
        media = self._readable(command, description)
        self._demand(command, media)
        self._strips_mux = bool({"demux", "reject"} & set(command.options.get("rtcp-mux", ())))
        self._grow(len(description.media))
        fresh: list[Content] = []
        moved: list[Content] = []
        gone: list[Content] = []
        for m, slot in zip(media, self.slots, strict=False):
            carrier = self._carrier(description, m)
            if not m.is_relayable or not m.port or carrier is not None:
                gone += self._left(slot)
                slot.carrier = carrier if m.port or m.bundle_only else None
            elif slot.key is None:
                fresh.append(self._begin(leg, m, slot, command))
            elif slot.agreed and leg in slot.said and slot.said[leg].crypto and not m.crypto:
                gone += self._left(slot)  # what was signed is in the clear from now on
                fresh.append(self._begin(leg, m, slot, command))
            else:
                moved += self._moved(leg, m, slot, command)
            slot.said[leg] = m
        for slot in self.slots[len(media) :]:
            gone += self._left(slot)
        self.offerer = leg
        ip = self._ip(leg, command, media)
        action = Action.CONTENT_ADD if self.begun else Action.SESSION_INITIATE
        asks = [
            *self._asks(leg, Action.CONTENT_REMOVE, gone, ip),
            *self._asks(leg, action, fresh, ip),
            *self._asks(leg, Action.TRANSPORT_INFO, moved, ip),
        ]
        self.begun = self.begun or bool(fresh)
        return asks or self._sighting(leg, ip)

    def answer(self, command: NgCommand, description: Description) -> list[Ask]:
        """What an answer asks of the core. Raises Refused, and nothing has changed then."""
        offerer = Leg.INITIATOR if self.offerer is None else self.offerer
        leg = offerer.other
        media = self._readable(command, description)
        if len(media) > len(self.slots):
            raise Refused("Failed to parse SDP: the answer has more m= lines than the offer")
        self._demand(command, media)
        is_other = self._note_tag(leg, command.to_tag)
        accepted: list[Content] = []
        rejected: list[Content] = []
        gone: list[Content] = []
        moved: list[Content] = []
        for m, slot in zip(media, self.slots, strict=False):
            carrier = self._carrier(description, m)
            if slot.key is not None and (not m.port or carrier is not None):
                (gone if slot.agreed else rejected).extend(self._left(slot))
                slot.carrier = carrier if m.port else None
            elif slot.key is not None and not slot.agreed:
                accepted.append(self._content(leg, m, slot, command))
                slot.agreed = True
            elif slot.key is not None and is_other:
                accepted.append(self._content(leg, m, slot, command))
                moved.append(self._moved_content(leg, m, slot, command))
            elif slot.key is not None:
                moved += self._moved(leg, m, slot, command)
            slot.said[leg] = m
        for slot in self.slots[len(media) :]:  # an answer with fewer lines than the offer
            rejected += [] if slot.agreed else self._left(slot)
        ip = self._ip(leg, command, media)
        action = Action.CONTENT_ACCEPT
        if not self.accepted or is_other:
            action = Action.SESSION_ACCEPT
        self.accepted = self.accepted or bool(accepted)
        asks = [
            *self._asks(leg, action, accepted, ip),
            *self._asks(leg, Action.CONTENT_REJECT, rejected, ip),
            *self._asks(leg, Action.CONTENT_REMOVE, gone, ip),
            *self._asks(leg, Action.TRANSPORT_INFO, moved, ip),
        ]
        if not asks:
            asks = self._sighting(leg, ip)
        is_early = command.is_provisional
        if not is_early:
            self.offerer = None
        return [*asks, *self._direct(leg, ip, is_early)]

    def undo_offer(self) -> list[Ask]:
        """A later offer was turned down: what it added is given up, the rest stays as it was."""
        leg, self.offerer = self.offerer, None
        if leg is None:
            return []
        unagreed = [slot for slot in self.slots if slot.key is not None and not slot.agreed]
        rejected = [content for slot in unagreed for content in self._left(slot)]
        return self._asks(leg.other, Action.CONTENT_REJECT, rejected, None)

    def end(self, leg: Leg) -> list[Ask]:
        """The call is over."""
        jingle = Jingle(Action.SESSION_TERMINATE, self.call_id, reason=Reason("success"))
        return [Ask(leg, jingle)] if self.begun else []

    # What the core answers

    def take(
        self,
        leg: Leg,
        substitution: Mapping[ContentKey, tuple[Candidate, ...]],
        transports: Mapping[ContentKey, OwnTransport],
    ) -> None:
        """Remember what the core puts in the place of what this leg said."""
        for slot in self.slots:
            if slot.key is None:
                continue
            shown = slot.shown.setdefault(leg.other, Shown())
            own = transports.get(slot.key)
            candidates = substitution.get(slot.key, ()) if own is None else own.candidates
            if own is not None and own.ufrag != shown.ufrag:
                shown.components, shown.ufrag, shown.pwd = {}, own.ufrag, own.pwd
            shown.components.update({c.component: c.address for c in candidates})

    def written(self, leg: Leg, command: NgCommand, description: Description) -> bytes:
        """This leg's description as the other one is to see it."""
        places = {}
        for media in description.media:
            slot = self.slots[media.index]
            of = slot if slot.carrier is None else self.slots[slot.carrier]
            place = self._place(leg, of, media, command)
            if place is not None and media.port:
                places[media.index] = place
        return rewritten(description, places, command.replace)

    # The parts of it

    def _place(self, leg: Leg, slot: Slot, media: Media, command: NgCommand) -> Place | None:
        shown = slot.shown.get(leg.other)
        if slot.key is None or shown is None or RTP not in shown.components:
            return None
        rtp = shown.components[RTP]
        rtcp = shown.components.get(RTCP, rtp)
        wanted = command.option("transport-protocol").upper()
        protocol = wanted if media.is_rtp else ""
        if not slot.is_ice:
            return Place(rtp, rtcp, protocol=protocol, may_mux=not self._strips_mux)
        count = 1 if media.mux else 2
        components = {c: a for c, a in sorted(shown.components.items()) if c <= count}
        ours = tuple(
            Candidate(c, 0, address, FOUNDATION, priority=LEAST_PRIORITY + 1 - c)
            for c, address in components.items()
        )
        if shown.ufrag:
            return Place(rtp, rtcp, own=ours, ufrag=shown.ufrag, pwd=shown.pwd, protocol=protocol)
        return Place(rtp, rtcp, appended=ours, protocol=protocol)

    def _readable(self, command: NgCommand, description: Description) -> list[Media]:
        media = list(description.media)
        demand_same_encryption(command, (m.protocol for m in media if m.is_rtp and m.port))
        for m in media:
            if m.ports > 1 and m.port and m.is_relayable:
                raise Refused(
                    f"m= line {m.index + 1} asks for {m.ports} pairs of ports: write one line each"
                )
        return media

    def _demand(self, command: NgCommand, media: Iterable[Media]) -> None:
        """Raise Refused for T.38 that nobody could be latched by.

        Its packets carry nothing that tells them from junk, so they never teach a latch: it goes
        on where the audio of the same party was latched before.
        """
        for m in media:
            if m.is_rtp or not m.is_relayable or not m.port:
                continue
            slot = self.slots[m.index] if m.index < len(self.slots) else Slot()
            legs = (Leg.INITIATOR, Leg.RESPONDER)
            before = [slot.said[leg] for leg in legs if leg in slot.said]
            if m.kind == "image" and not any(b.is_rtp for b in before) and slot.key is None:
                raise Refused(
                    "T.38 can only take the place of audio in a call that was latched: its packets"
                    " do not tell whose they are; begin with m=audio, then send a re-INVITE"
                )

    def _grow(self, count: int) -> None:
        while len(self.slots) < count:
            self.slots.append(Slot())

    def _carrier(self, description: Description, media: Media) -> int | None:
        """The line whose port carries this one's media, where that is another one.

        In an answer a BUNDLE group says so. In an offer it does where the lines share a port, or
        this one has none of its own (RFC 8843 sections 7.2 and 7.3).
        """
        leader = description.leader(media)
        if leader.index == media.index:
            return None
        shares = (leader.port, leader.ip) == (media.port, media.ip)
        return leader.index if shares or media.bundle_only else None

    def _begin(self, leg: Leg, media: Media, slot: Slot, command: NgCommand) -> Content:
        creator = Creator.INITIATOR if leg is Leg.INITIATOR else Creator.RESPONDER
        slot.key = ContentKey(creator, str(media.index))
        slot.agreed = False
        slot.carrier = None
        slot.is_ice = media.has_ice and self._ice in (IceMode.APPEND, IceMode.TERMINATE)
        slot.shown.clear()
        slot.senders = Senders.BOTH
        return self._content(leg, media, slot, command)

    def _content(self, leg: Leg, media: Media, slot: Slot, command: NgCommand) -> Content:
        assert slot.key is not None
        own = known(command, media, self._peers)
        generation = slot.generations.setdefault(leg, 0)
        candidates = tuple(replace(c, generation=generation) for c in own.candidates)
        transport: RawUdp | Ice = RawUdp(candidates)
        if slot.is_ice:
            transport = _ice(media)
        return Content(
            slot.key,
            Senders.BOTH,
            transport,
            media.kind,
            media.mux,
            media.several or self._carries(media),
            media.events,
            media.crypto,
        )

    def _carries(self, media: Media) -> bool:
        """Whether this line's port carries others'."""
        return any(slot.carrier == media.index for slot in self.slots)

    def _moved(self, leg: Leg, media: Media, slot: Slot, command: NgCommand) -> list[Content]:
        """The content again where its party takes media elsewhere than it said before."""
        before = slot.said.get(leg)
        if before is None:
            same = slot.before.get(leg) in (None, media.addresses()) or not media.addresses()
            return [] if same else [self._moved_content(leg, media, slot, command)]
        same = before.addresses() == media.addresses() or not media.addresses()
        if slot.is_ice:
            same = (before.ufrag, before.pwd, before.candidates) == (
                media.ufrag,
                media.pwd,
                media.candidates,
            )
        if not same:
            return [self._moved_content(leg, media, slot, command)]
        return [self._content(leg, media, slot, command)] if is_rekeyed(before, media) else []

    def _moved_content(self, leg: Leg, media: Media, slot: Slot, command: NgCommand) -> Content:
        slot.generations[leg] = slot.generations.get(leg, 0) + 1
        return self._content(leg, media, slot, command)

    def _left(self, slot: Slot) -> list[Content]:
        """The content that this line is no more."""
        if slot.key is None:
            return []
        content = Content(slot.key)
        slot.key, slot.agreed = None, False
        slot.shown.clear()
        slot.generations.clear()
        return [content]

    def _note_tag(self, leg: Leg, tag: str) -> bool:
        """Whether another phone answers than the one that had answered last."""
        if leg is Leg.INITIATOR or not tag:
            return False
        self.tags[tag] = None
        before, self.callee_tag = self.callee_tag, tag
        return bool(before) and before != tag

    def _ip(self, leg: Leg, command: NgCommand, media: Iterable[Media]) -> IPAddress | None:
        """Where this party is: what its packets must come from; None for what the SDP says.

        The core does not take back where a party was seen. So one that is elsewhere from now on, at
        an address of its SDP, is told as seen there.
        """
        live = [m for m in media if m.port and m.is_relayable]
        found = [known(command, m, self._peers) for m in live]
        ip = next((k.signalling for k in found), command.received_from)
        if ip is None and self._ips.get(leg) is not None and found and found[0].candidates:
            ip = found[0].candidates[0].address.ip
        return ip

    def _sighting(self, leg: Leg, ip: IPAddress | None) -> list[Ask]:
        """Nothing is new but where the party is seen."""
        before = self._ips.get(leg)
        self._ips[leg] = ip
        if not self.begun or ip is None or ip == before:
            return []
        return [Ask(leg, Jingle(Action.SESSION_INFO, self.call_id, info=Info.RINGING), ip)]

    def _asks(
        self, leg: Leg, action: Action, contents: list[Content], ip: IPAddress | None
    ) -> list[Ask]:
        if not contents:
            return []
        if ip is not None:
            self._ips[leg] = ip
        return [Ask(leg, Jingle(action, self.call_id, contents=tuple(contents)), ip)]

    def _direct(self, leg: Leg, ip: IPAddress | None, is_early: bool) -> list[Ask]:
        """Who may send what, from what both parties have said (RFC 3264 sections 5.1 and 8.4)."""
        asks = []
        live = [slot for slot in self.slots if slot.key is not None and slot.agreed]
        changed = []
        for slot in live:
            senders = _EARLY[self._early_media] if is_early else _senders(slot.said)
            if senders is not slot.senders:
                slot.senders = senders
                assert slot.key is not None
                changed.append(Content(slot.key, senders))
        held = set() if is_early else {each for each in Leg if _holds(each, live)}
        for each in Leg:
            if (each in held) != (each in self._held):
                info = Info.HOLD if each in held else Info.ACTIVE
                asks.append(Ask(each, Jingle(Action.SESSION_INFO, self.call_id, info=info)))
        self._held = held
        return [*self._asks(leg, Action.CONTENT_MODIFY, changed, ip), *asks]


def is_rekeyed(before: Media, now: Media) -> bool:
    """Whether a party says other keys than it said before (RFC 4568)."""
    return bool(now.crypto) and now.crypto != before.crypto


def _senders(said: Mapping[Leg, Media]) -> Senders:
    """Which parties send, by what both say of a line; who has said nothing does both."""
    sends = {
        leg: _may(said.get(leg), "sendonly") and _may(said.get(leg.other), "recvonly")
        for leg in Leg
    }
    match sends[Leg.INITIATOR], sends[Leg.RESPONDER]:
        case True, True:
            return Senders.BOTH
        case True, False:
            return Senders.INITIATOR
        case False, True:
            return Senders.RESPONDER
    return Senders.NONE


def _may(media: Media | None, way: str) -> bool:
    if media is None:
        return True
    if way == "recvonly" and media.connection is not None and media.connection.is_zero:
        return False
    return media.direction in ("sendrecv", way)


def _holds(leg: Leg, slots: Iterable[Slot]) -> bool:
    said = [slot.said[leg] for slot in slots if leg in slot.said]
    return bool(said) and all(media.is_held for media in said)


def _ice(media: Media) -> Ice:
    components = frozenset(c.component for c in media.candidates)
    return Ice(ICE_UDP, media.ufrag, media.pwd, media.candidates, components, 0)
