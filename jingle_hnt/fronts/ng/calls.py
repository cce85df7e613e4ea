"""The one place where this front meets the session core; to be changed with it, and nothing else.

SIP calls are sessions of the core under names of their own: a tag at the domain `SIP`. They follow
the operator's policy but for what would be wrong for SIP (`sip_policy`, which the core has under
that domain). What the core answers to a request of ours comes back by its token; what it would send
to a party is dropped, since a proxy cannot be told anything that it has not asked.
"""

import asyncio
import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol
from urllib.parse import quote, unquote

from jingle_hnt.call.effects import FrontEffect
from jingle_hnt.call.leg import Leg
from jingle_hnt.call.policy import AlreadyRelayed, EarlyMedia, IceMode
from jingle_hnt.fronts.ng.dialog import Ask, KnownCall, KnownContent
from jingle_hnt.fronts.ng.listening import SIP
from jingle_hnt.jingle.effects import (
    Answer,
    Bounce,
    Inject,
    Opened,
    Pass,
    Replace,
    Request,
)
from jingle_hnt.jingle.machine import Ended, Session
from jingle_hnt.jingle.policy import Fallback, SessionPolicy
from jingle_hnt.jingle.registry import Registry
from jingle_hnt.jingle.table import State
from jingle_hnt.model.content import COMPONENTS
from jingle_hnt.model.jid import JID

FIRST_TOKEN = 1 << 60
"""Tokens of this front are from here on; those of others are smaller."""

PATIENCE_S = 5.0
"""How long the core and the plane may take for one answer; the proxy has given up by then."""

FIRST_MEDIA_S = 180.0
"""Media may begin so late: most proxies tell of a 183 as they do of the 200 minutes later."""


@dataclass(frozen=True, slots=True)
class NgPolicy:
    """What the operator says of SIP calls.

    `calls` is how many there may be at a time, 0 for any number; `ice` what becomes of ICE, where
    PASS stands for taking it out; `early_media` whose media may flow before the final answer, where
    the proxy tells a provisional one from it (``sip-code``).
    """

    calls: int = 0
    ice: IceMode = IceMode.PASS
    early_media: EarlyMedia = EarlyMedia.BOTH


class Core(Protocol):
    """What this front needs of the core. Times are the core's monotonic seconds."""

    @property
    def policy(self) -> SessionPolicy: ...

    @property
    def is_draining(self) -> bool: ...

    async def ask(self, call_id: str, caller_tag: str, asks: Sequence[Ask]) -> list[Answer]: ...

    def find(self, call_id: str, caller_tag: str) -> KnownCall | None: ...

    def live(self) -> Iterable[KnownCall]: ...


class RegistryCore:
    """The core as it stands: a driver's `Registry`, which this gives requests beside other fronts.

    `take` is shown all that leaves the core; `on_end` is called with the names of a call that is
    over.
    """

    def __init__(
        self,
        registry: Registry,
        now: Callable[[], float],
        carry_out: Callable[[], None],
        on_end: Callable[[str, str], None] = lambda call_id, caller_tag: None,
    ) -> None:
        self._registry = registry
        self._now = now
        self._carry_out = carry_out
        self.on_end = on_end
        self._tokens = itertools.count(FIRST_TOKEN)
        self._waiting: dict[int, asyncio.Future[Answer]] = {}

    @property
    def policy(self) -> SessionPolicy:
        return self._registry.policy.of_party(JID("", SIP, ""))

    @property
    def is_draining(self) -> bool:
        return self._registry.draining

    def take(self, effect: FrontEffect) -> bool:
        """Take what is for a SIP party; False where it is not, or others have to see it too."""
        match effect:
            case Pass() | Replace() | Bounce() | Opened():
                return self._takes(effect)
            case Inject(recipient=recipient):
                return recipient.domain == SIP  # nobody can tell it anything
            case Ended(account=session) if session is not None:
                self._ended(session)
        return False

    def _takes(self, answer: Answer) -> bool:
        waiting = self._waiting.pop(answer.token, None)
        if waiting is not None and not waiting.done():
            waiting.set_result(answer)
        return answer.token >= FIRST_TOKEN

    def _ended(self, session: Session) -> None:
        if session.parties[Leg.INITIATOR].jid.domain == SIP:
            self.on_end(session.sid, _tag(session))

    async def ask(self, call_id: str, caller_tag: str, asks: Sequence[Ask]) -> list[Answer]:
        """Make these requests, in order, and wait for all answers. Raises TimeoutError."""
        legs = party_names(caller_tag)
        waiting: list[asyncio.Future[Answer]] = []
        for ask in asks:
            token = next(self._tokens)
            future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
            self._waiting[token] = future
            waiting.append(future)
            sender, recipient = legs[ask.leg], legs[ask.leg.other]
            request = Request(token, sender, recipient, ask.jingle, ask.ip)
            self._registry.receive_apart(request, self._now())
        self._carry_out()
        try:
            async with asyncio.timeout(PATIENCE_S):
                return [await future for future in waiting]
        finally:
            for future in waiting:
                future.cancel()

    def find(self, call_id: str, caller_tag: str) -> KnownCall | None:
        """The call of these names."""
        session = self._registry.between(*party_names(caller_tag), call_id)
        return None if session is None else _known(session)

    def live(self) -> Iterable[KnownCall]:
        """All SIP calls that the core knows."""
        for session in self._registry:
            if session.parties[Leg.INITIATOR].jid.domain == SIP and not session.has_ended:
                yield _known(session)


def sip_policy(usual: SessionPolicy, own: NgPolicy) -> SessionPolicy:
    """What SIP calls follow. A tag is no user: what one user may have is the proxy's to limit. A
    call that cannot be relayed is refused, so that the proxy takes another node."""
    first_media_s = max(FIRST_MEDIA_S, usual.times.first_media_s)
    return replace(
        usual,
        domains=frozenset({SIP}),
        ice=replace(usual.ice, mode=own.ice, rules=(), raw_udp=()),
        relay=replace(
            usual.relay,
            exhausted=Fallback.REFUSE,
            draining=Fallback.REFUSE,
            already_relayed=AlreadyRelayed.RELAY,
        ),
        times=replace(usual.times, first_media_s=first_media_s),
        limits=replace(usual.limits, per_user=0, per_domain=0, per_minute=0, half_open=0),
        budgets=replace(
            usual.budgets,
            ports_per_user=0,
            ports_per_domain=0,
            ports_per_remote_domain=0,
            remote_ports_percent=0,
            user_stanzas_per_s=0,
        ),
    )


def party_names(caller_tag: str) -> tuple[JID, JID]:
    """What the core calls caller and callee; SIP knows the callee's tag only when it answers."""
    tag = quote(caller_tag, safe="!*_+`'~.-")
    return JID(tag, SIP, ""), JID("callee", SIP, tag)


def _tag(session: Session) -> str:
    return unquote(session.parties[Leg.INITIATOR].jid.local)


def _known(session: Session) -> KnownCall:
    initiator, responder = session.parties
    contents = []
    for medium in session.negotiation.media.values():
        allocation = medium.allocation
        if allocation is None:
            continue
        initiators, responders = (
            {c: allocation.leases[leg].advertised(c) for c in COMPONENTS} for leg in Leg
        )
        signalled = tuple(medium.signalled.get(leg, ()) for leg in Leg)
        contents.append(
            KnownContent(
                medium.key,
                medium.agreed,
                medium.senders,
                (signalled[0], signalled[1]),
                (initiators, responders),
                allocation.bindings,
            )
        )
    return KnownCall(
        session.name,
        session.sid,
        _tag(session),
        session.state is State.ACTIVE,
        session.life.started_at,
        (initiator.ip, responder.ip),
        frozenset(session.negotiation.gates.holders),
        tuple(contents),
    )
