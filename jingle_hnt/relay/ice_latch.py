"""The latch of a pinhole whose party is an ICE agent: only signed checks teach it.

The party's agent takes our address for a candidate of the other party. It sends checks to it that
are named and signed for the other party (RFC 8445 section 7.2.2), and these go on as they came: the
relay signs nothing and answers nothing, unless it is an agent itself (`ice_agent.py`). The rules:

1.  A Binding request is believed where USERNAME and MESSAGE-INTEGRITY are those of a key that
    signalling armed. Its source is *known* from then on, and media is heard from known sources
    only. A packet of an unknown source leaves no trace but a count.
2.  Agents try several pairs at once, so up to `SOURCES` sources are known. One is *selected*: the
    other party's media goes there. It is the first that is known; then the one that nominates
    (USE-CANDIDATE), or to which a nomination of the other party is handed.
3.  Without a nomination the selection moves only where the selected source has been silent for
    `SILENCE_S`; away from a nominated one only to a source that appeared after that silence had
    begun. That heals a NAT re-mapping, and a spare pair that is kept warm takes nothing over.
4.  The other party's checks go to the selected source while it is nominated and heard, else to the
    source that asked last. An answer goes back to the source that sent the request of the same
    transaction. A transaction that is asked again from elsewhere is a replay, and not believed.
    The last check that came before the other party was known is kept, and goes to it when it is:
    its sender would ask again only half a second later (RFC 8445 section 14.3).
5.  An agent that was offered our path may check before it has answered, and the pwd that it was
    offered is known: its sources are known from then on, and it is answered in the other one's
    name, so that neither has to wait for a retransmission (RFC 8445 section 7.3).
6.  A greater generation brings new keys (ICE restart). The keys before it hold until one of the
    newest is used; the selected source stays until another is nominated or it is silent.
7.  The selection moves `MOVES_AT_ONCE` times at once and `MOVES_PER_S` times a second at most: two
    sources that nominate in turn would have the relay and its journal follow them. Of names without
    the password that fits, `GUESSES_PER_S` cost a digest; who is known, or may be the party, is
    always heard.

The C engine's twin is `plane/native/rules/ice.c`; a property test drives both with the same
packets.
"""

from dataclasses import dataclass, field

from jingle_hnt.model.address import TransportAddress
from jingle_hnt.relay import stun
from jingle_hnt.relay.evidence import Evidence, IceKey
from jingle_hnt.relay.latch import SILENCE_S, LatchState, Verdict
from jingle_hnt.relay.pace import Pace
from jingle_hnt.relay.packet import Header, PacketKind
from jingle_hnt.relay.stun import BindingMessage, Class

SOURCES = 8
"""Sources of one agent that are known at a time; the one that asked longest ago makes room."""

MOVES_PER_S, MOVES_AT_ONCE = 1.0, 8.0
"""How often the selection may move."""

GUESSES_PER_S, GUESSES_AT_ONCE = 500.0, 500.0
"""How many digests may fail."""

LONGEST_KEPT = 512
"""Of a check that is kept until the other party is known, in bytes."""

TRANSACTIONS = 64
"""Requests of one agent that may be answered; the oldest makes room."""


@dataclass(slots=True)
class _Source:
    """A source that has signed a check. `fresh` tells that it was with the newest key."""

    address: TransportAddress
    first_at: float
    asked_at: float
    heard_at: float
    fresh: bool


@dataclass(slots=True)
class IceLatch:
    """See the module's text. Times are monotonic and never fall."""

    state: LatchState = LatchState.SHUT
    generation: int = -1
    evidence: Evidence | None = None
    latched_at: float = 0.0
    heard_at: float = 0.0
    kept: bytes = field(default=b"", repr=False)
    signed_with: str = field(default="", repr=False)
    _nominated: bool = False
    _selected: _Source | None = None
    _keys: tuple[IceKey, ...] = ()
    _sources: list[_Source] = field(default_factory=list)
    _asked: dict[bytes, TransportAddress] = field(default_factory=dict)
    _moves: Pace = field(default_factory=lambda: Pace(MOVES_PER_S, MOVES_AT_ONCE))
    _guesses: Pace = field(
        default_factory=lambda: Pace(GUESSES_PER_S, GUESSES_AT_ONCE), compare=False
    )

    @property
    def is_early(self) -> bool:
        """Whether the agent has yet to say its name: its checks are answered here meanwhile."""
        return bool(self._keys) and self._keys[0].is_early

    @property
    def source(self) -> TransportAddress | None:
        """Where the other party's media goes."""
        return None if self._selected is None else self._selected.address

    def arm(self, generation: int, evidence: Evidence) -> bool:
        """Arm with the keys of a generation greater than every one before; the newest key first.

        Returns False, and changes nothing, for a generation that is not greater.
        """
        if generation <= self.generation:
            return False
        goes_on = bool(self._keys) and evidence.keys[0].is_same_agents(self._keys[0])
        if not goes_on:
            for source in self._sources:
                source.fresh = False
        self.generation = generation
        self.evidence = evidence
        self._keys = evidence.keys
        self.state = LatchState.ARMED if self._selected is None else LatchState.LATCHED
        return True

    def resume(self, source: TransportAddress, now: float) -> None:
        """Take up what an earlier life of the plane had learned; the latch must be armed."""
        self._select(self._known(source) or self._enter(source, now), now, nominated=False)

    def observe(
        self, source: TransportAddress, header: Header, datagram: bytes, now: float
    ) -> Verdict:
        """Judge one packet, and learn from it where the rules allow."""
        if self.evidence is None:
            return Verdict.SHUT
        known = self._known(source)
        if known is None and not self.evidence.admits(source.ip):
            return Verdict.STRANGER
        if header.kind is PacketKind.STUN:
            return self._stun(known, source, datagram, now)
        if known is None:
            return Verdict.STRANGER
        return self._heard(known, now)

    def where_to_ask(self, now: float) -> TransportAddress | None:
        """Where the other party's next check goes; None while nobody is known."""
        fresh = [s for s in self._sources if s.fresh] or self._sources
        if not fresh:
            return None
        selected = self._selected
        if selected in fresh and self._nominated and now - selected.heard_at < SILENCE_S:
            return selected.address
        return max(fresh, key=lambda s: s.asked_at).address

    def asker(self, transaction: bytes) -> TransportAddress | None:
        """Who sent the request of this transaction, and is to have its answer."""
        return self._asked.get(transaction)

    def keep(self, check: bytes) -> None:
        """Keep a believed check of this party for the other one, in place of an earlier one."""
        self.kept = check if len(check) <= LONGEST_KEPT else b""

    def take_kept(self) -> bytes:
        """The check that was kept; empty where there is none."""
        kept, self.kept = self.kept, b""
        return kept

    def nominated(self, address: TransportAddress, now: float) -> bool:
        """A nomination of the other party is handed to this source; tells whether that moves us."""
        source = self._known(address)
        if source is None:
            return False
        return self._select(source, now, nominated=True) is Verdict.RELATCHED

    def vouch(self, address: TransportAddress, nominates: bool, now: float) -> Verdict:
        """This source has answered a check of ours, signed by the party (`ice_agent.py`)."""
        source = self._known(address) or self._enter(address, now)
        self._heard(source, now)
        if not self._moves_to(source, nominates, now):
            return Verdict.PASS
        return self._select(source, now, nominates)

    def lose(self) -> None:
        """The selected source has not consented for too long: nobody is to have anything."""
        if self._selected is not None:
            self._sources.remove(self._selected)
        self._selected, self._nominated = None, False
        self.state = LatchState.ARMED

    def _stun(
        self, known: _Source | None, source: TransportAddress, datagram: bytes, now: float
    ) -> Verdict:
        message = stun.parse(datagram)
        if message is None:
            return Verdict.UNFIT
        if message.kind is not Class.REQUEST:
            return Verdict.UNFIT if known is None else self._heard(known, now)
        key = self._signer(known, source, datagram, message, now)
        if key is None:
            return Verdict.UNFIT
        if self._asked.get(message.transaction, source) != source:
            return Verdict.RIVAL
        self.signed_with = self._keys[key].password
        if key == 0:
            self._keys = self._keys[:1]
        return self._ask(known or self._enter(source, now), message, key == 0, now)

    def _signer(
        self,
        known: _Source | None,
        source: TransportAddress,
        datagram: bytes,
        message: BindingMessage,
        now: float,
    ) -> int | None:
        """Which of the keys made this request."""
        assert self.evidence is not None
        keys = [(n, key) for n, key in enumerate(self._keys) if key.names(message.username)]
        if not keys:
            return None
        allowed = self._guesses.allows(now)
        if not (allowed or known is not None or self.evidence.is_likely(source.ip)):
            return None
        for number, key in keys:
            if stun.is_signed(datagram, message, key.password.encode()):
                return number
        self._guesses.spend()
        return None

    def _ask(self, source: _Source, message: BindingMessage, fresh: bool, now: float) -> Verdict:
        source.fresh = fresh
        source.asked_at = now
        self._remember(message.transaction, source.address)
        self._heard(source, now)
        if not self._moves_to(source, message.nominates, now):
            return Verdict.PASS
        return self._select(source, now, message.nominates)

    def _moves_to(self, source: _Source, nominates: bool, now: float) -> bool:
        selected = self._selected
        if selected is None or nominates:
            return True
        if source is selected or now - selected.heard_at < SILENCE_S:
            return False
        return not self._nominated or source.first_at > selected.heard_at

    def _select(self, source: _Source, now: float, nominated: bool) -> Verdict:
        if self._selected is not None and source is not self._selected:
            if not self._moves.allows(now):
                return Verdict.PASS
            self._moves.spend()
        self._nominated = nominated
        if source is self._selected:
            return Verdict.PASS
        verdict = Verdict.LATCHED if self._selected is None else Verdict.RELATCHED
        self._selected = source
        self.state = LatchState.LATCHED
        self.latched_at = self.heard_at = now
        return verdict

    def _heard(self, source: _Source, now: float) -> Verdict:
        source.heard_at = self.heard_at = now
        return Verdict.PASS

    def _known(self, address: TransportAddress) -> _Source | None:
        return next((s for s in self._sources if s.address == address), None)

    def _enter(self, address: TransportAddress, now: float) -> _Source:
        if len(self._sources) == SOURCES:
            spare = [s for s in self._sources if s is not self._selected]
            self._sources.remove(min(spare, key=lambda s: s.asked_at))
        source = _Source(address, first_at=now, asked_at=now, heard_at=now, fresh=True)
        self._sources.append(source)
        return source

    def _remember(self, transaction: bytes, source: TransportAddress) -> None:
        if len(self._asked) == TRANSACTIONS and transaction not in self._asked:
            del self._asked[next(iter(self._asked))]
        self._asked[transaction] = source
