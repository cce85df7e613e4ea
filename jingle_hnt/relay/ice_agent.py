"""The relay as an ICE agent of its own towards one party (RFC 7584 section 4.2, RFC 8445).

Where ICE is terminated the party's checks end here. It is answered with our credentials, and it is
checked with its own: Jingle has no ice-lite, so a party that is controlled waits for somebody who
checks and nominates. The rules:

1.  Its signalled candidates are the *targets*, best first; an address that its believed checks come
    from joins them (a triggered check). Each is checked every `RETRY_S` seconds, twice as long each
    time up to `LONGEST_RETRY_S`, at most `ATTEMPTS` times: a NAT of ours or of theirs may have to
    be opened first. At most `PER_TICK` checks leave at a time.
2.  An answer counts where it comes from the target, in the transaction under way, signed with the
    party's pwd. The target is *valid* then, and its address known to the latch.
3.  While we are controlling, the first valid target is nominated, once; while we are controlled the
    party does that, by its checks.
4.  Who asks in our own role loses it or takes it, by the greater tie-breaker (section 7.3.1.1); an
    answer 487 makes us change ours.
5.  The selected source is asked every `CONSENT_S` seconds, a little more or less; after
    `CONSENT_LOST_S` without an answer it is forgotten, and nothing is sent to it any more
    (RFC 7675). Other targets are left alone once they are valid.
6.  Other credentials of the party (ICE restart) begin all of it anew.
7.  A target that was never heard may be a bystander: all of them together get `UNASKED` checks and
    `UNASKED_EACH` more for each signalled one, not twice as many bytes as named them.

Transactions are made of a secret that signalling draws, so that nobody can guess them and both
engines make the same. The C engine's twin is `plane/native/rules/agent.c`.
"""

import hmac
from dataclasses import dataclass, field
from enum import IntEnum

from jingle_hnt.model.address import TransportAddress
from jingle_hnt.relay import stun, stun_writing
from jingle_hnt.relay.stun import BindingMessage, Class, Role

TARGETS = 16
"""Addresses of a party that are checked at a time."""

RETRY_S, LONGEST_RETRY_S = 0.2, 1.6
ATTEMPTS = 10
PER_TICK = 2
UNASKED, UNASKED_EACH = 1, 2

CONSENT_S = 4.0
"""The least time between two requests for consent; a second more on average."""

CONSENT_LOST_S = 30.0


@dataclass(frozen=True, slots=True)
class Checks:
    """What the checks towards one party are made with.

    `username` is that of our requests (``theirs:ours``), `password` the party's, `secret` the seed
    of our transactions, `tie_breaker` below 2**64. `targets` are the party's candidates of this
    component, best first.
    """

    username: str
    password: str = field(repr=False)
    secret: str = field(repr=False)
    tie_breaker: int
    controlling: bool
    targets: tuple[TransportAddress, ...] = ()


class Answered(IntEnum):
    """What an answer of the party tells. The numbers are the C engine's."""

    NOTHING = 0  # it answers nothing that we asked, or is not signed
    REFUSED = 1  # an error, signed
    VALID = 2
    NOMINATED = 3


@dataclass(slots=True)
class _Target:
    """One address of the party. `proven_at` is when it answered last, at first when it came up."""

    address: TransportAddress
    proven_at: float
    next_at: float
    transaction: bytes = b""
    attempts: int = 0
    valid: bool = False
    nominates: bool = False
    nominated: bool = False
    controlling: bool = False  # the role in which it was asked last
    heard: bool = False  # a believed check came from it, or a signed answer

    @property
    def is_pending(self) -> bool:
        """Whether an answer decides something yet."""
        return not self.valid or (self.nominates and not self.nominated)


@dataclass(slots=True)
class IceAgent:
    """See the module's text. Times are monotonic and never fall."""

    controlling: bool = False
    sent: int = 0
    answered: int = 0
    refused: int = 0
    _checks: Checks | None = None
    _targets: list[_Target] = field(default_factory=list)
    _serial: int = 0
    _unasked: int = 0

    def arm(self, checks: Checks, now: float) -> None:
        """Take these credentials and targets; targets of the same credentials are kept."""
        before = self._checks
        credentials = (checks.username, checks.password)
        if before is None or credentials != (before.username, before.password):
            self._targets.clear()
            self._unasked = 0
            self.controlling = checks.controlling
        if before is None or before.secret != checks.secret:
            self._serial = 0
        self._checks = checks
        for address in checks.targets:
            self._target(address, now)

    def answer(
        self, message: BindingMessage, source: TransportAddress, password: str, now: float
    ) -> bytes:
        """The answer to a check that the latch believes; `password` is what it was signed with."""
        if self._is_conflict(message):
            return stun_writing.role_conflict(message.transaction, password)
        target = self._target(source, now)
        if target is not None:
            target.heard = True
        if target is not None and target.is_pending:
            target.next_at = min(target.next_at, now)
            target.attempts %= ATTEMPTS
        return stun_writing.success(message.transaction, source, password)

    def hear(
        self, message: BindingMessage, datagram: bytes, source: TransportAddress, now: float
    ) -> Answered:
        """An answer, or what is made up as one."""
        target = self._find(source)
        if self._checks is None or target is None or target.transaction != message.transaction:
            return Answered.NOTHING
        if not stun.is_signed(datagram, message, self._checks.password.encode()):
            self.refused += 1
            return Answered.NOTHING
        if message.kind is not Class.SUCCESS:
            self._refuse(target, message.error, now)
            return Answered.REFUSED
        self.answered += 1
        target.transaction, target.attempts = b"", 0
        target.valid, target.heard, target.proven_at = True, True, now
        target.nominated = target.nominated or target.nominates
        target.next_at = now + CONSENT_S
        return Answered.NOMINATED if target.nominated else Answered.VALID

    def tick(
        self, selected: TransportAddress | None, now: float
    ) -> list[tuple[TransportAddress, bytes]]:
        """The checks that are due now, with where they go."""
        if self._checks is None:
            return []
        chosen = None if selected is None else self._target(selected, now)
        if chosen is not None:
            chosen.heard = True
        self._nominate(now)
        asked: list[tuple[TransportAddress, bytes]] = []
        for target in self._targets:
            due = target.next_at <= now and len(asked) < PER_TICK
            if due and self._is_wanted(target, self._checks, selected):
                asked.append((target.address, self._check(target, self._checks, now)))
        return asked

    def was_heard(self, address: TransportAddress) -> bool:
        """Whether the party has shown to be at this address."""
        target = self._find(address)
        return target is not None and target.heard

    def has_lost(self, selected: TransportAddress, now: float) -> bool:
        """Whether the selected source has not consented for too long; it is forgotten then."""
        target = self._find(selected)
        if target is None or now - target.proven_at < CONSENT_LOST_S:
            return False
        self._targets.remove(target)
        return True

    def _is_conflict(self, message: BindingMessage) -> bool:
        """Settle who controls; tells whether it is the other agent that has to change."""
        ours = Role.CONTROLLING if self.controlling else Role.CONTROLLED
        if message.role is not ours or self._checks is None:
            return False
        if (self._checks.tie_breaker >= message.tie_breaker) is self.controlling:
            return True
        self.controlling = not self.controlling
        return False

    def _refuse(self, target: _Target, error: int, now: float) -> None:
        self.refused += 1
        target.transaction, target.attempts = b"", ATTEMPTS
        if error == stun.ROLE_CONFLICT:
            self.controlling = not target.controlling
            target.attempts, target.next_at = 0, now

    def _nominate(self, now: float) -> None:
        if not self.controlling or any(t.nominates for t in self._targets):
            return
        best = next((t for t in self._targets if t.valid), None)
        if best is not None:
            best.nominates = True
            best.transaction, best.attempts, best.next_at = b"", 0, now

    def _is_wanted(
        self, target: _Target, checks: Checks, selected: TransportAddress | None
    ) -> bool:
        if target.is_pending:
            may_be_asked = target.heard or self._unasked < UNASKED + UNASKED_EACH * len(
                checks.targets
            )
            return target.attempts < ATTEMPTS and may_be_asked
        return target.address == selected

    def _check(self, target: _Target, checks: Checks, now: float) -> bytes:
        if not target.is_pending or not target.transaction:
            self._serial += 1
            digest = hmac.digest(checks.secret.encode(), self._serial.to_bytes(8), "sha1")
            target.transaction = digest[: stun.TRANSACTION]
        if target.is_pending:
            target.next_at = now + min(RETRY_S * (1 << target.attempts), LONGEST_RETRY_S)
            target.attempts += 1
        else:
            target.next_at = now + CONSENT_S + target.transaction[0] / 128
        target.controlling = self.controlling
        self.sent += 1
        self._unasked += not target.heard
        nominates = target.nominates and self.controlling
        return stun_writing.check(
            target.transaction,
            checks.username,
            checks.password,
            self.controlling,
            checks.tie_breaker,
            nominates,
        )

    def _find(self, address: TransportAddress) -> _Target | None:
        return next((t for t in self._targets if t.address == address), None)

    def _target(self, address: TransportAddress, now: float) -> _Target | None:
        """This address as a target; None where there is no room for it.

        The oldest that is not valid makes room: a party may move, and be asked at its new address.
        """
        known = self._find(address)
        if known is not None:
            return known
        if len(self._targets) == TARGETS:
            spare = next((t for t in self._targets if not t.valid), None)
            if spare is None:
                return None
            self._targets.remove(spare)
        target = _Target(address, proven_at=now, next_at=now)
        self._targets.append(target)
        return target
