"""Calls of nobody: `check --media` plays both parties of one, through this process and its plane.

What the parties say comes over the administrator's socket in place of an XMPP server. The session
core deals with it as with any other request; only what such a call may be is decided here: its
parties are on this host, at addresses that are no peers else. They leave no report and no count.
"""

import asyncio
import itertools
import secrets
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, IPvAnyAddress, ValidationError

from jingle_hnt.admin.commands import served
from jingle_hnt.admin.snapshots import RehearsalSnapshot
from jingle_hnt.call.policy import IceMode
from jingle_hnt.jingle.effects import Answer, Bounce, Inject, Replace, Request
from jingle_hnt.jingle.policy import SessionPolicy
from jingle_hnt.jingle.registry import Registry
from jingle_hnt.model.address import TransportAddress, host_network
from jingle_hnt.model.content import (
    ICE_UDP,
    Candidate,
    Content,
    ContentKey,
    Creator,
    Ice,
    OwnTransport,
    RawUdp,
)
from jingle_hnt.model.jid import JID
from jingle_hnt.model.jingle import Action, Jingle, Reason

ANSWER_S = 5.0
"""How long the plane may take for the ports of such a call."""
MOST = 100
"""Calls of this kind that are remembered."""
USER = "jingle-hnt-check-"
"""What the names of their parties begin with."""
VOICE = ContentKey(Creator.INITIATOR, "voice")
NAMES = {"initiator": "caller", "responder": "callee"}
"""The resources of the two parties."""


class _Party(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Offered(_Party):
    """One candidate of a party."""

    component: int = Field(ge=1, le=2)
    ip: IPvAnyAddress
    port: int = Field(ge=1, le=65535)
    priority: int = Field(ge=0, lt=1 << 32)


class Said(_Party):
    """A request of one party; `kind` is how to relay the call, whatever the options are."""

    command: Literal["rehearse"]
    call: str = Field(min_length=1, max_length=40, pattern="^[0-9a-f]+$")
    party: Literal["initiator", "responder"]
    kind: Literal["append", "terminate", "raw-udp"]
    action: Literal["session-initiate", "session-accept", "session-terminate"]
    ufrag: str = Field("", max_length=256)
    pwd: str = Field("", max_length=256)
    candidates: tuple[Offered, ...] = Field((), max_length=64)


class Rehearsals:
    """Gives such requests to a registry; `settle` carries out what comes of them."""

    def __init__(
        self, registry: Registry, now: Callable[[], float], settle: Callable[[], None]
    ) -> None:
        self._registry = registry
        self._now = now
        self._settle = settle
        self._tokens = itertools.count(-1, -1)
        self._waiting: dict[int, asyncio.Future[Answer]] = {}
        self._sids: dict[str, str] = {}
        (self.command,) = served(self)

    def takes(self, answer: Answer) -> bool:
        """Take the answer to a request of ours; False where it is none."""
        waiting = self._waiting.pop(answer.token, None)
        if waiting is not None and not waiting.done():
            waiting.set_result(answer)
        return answer.token < 0

    def is_one(self, sid: str) -> bool:
        """Return whether this is the sid of such a call; nobody can guess one."""
        return sid in self._sids.values()

    def owns(self, inject: Inject) -> bool:
        """Whether a request of the relay's is for a party of such a call, which hears nothing."""
        return self.is_one(inject.jingle.sid)

    async def rehearse(self, fields: Mapping[str, object]) -> RehearsalSnapshot:
        try:
            said = Said.model_validate(fields)
        except ValidationError as error:
            raise ValueError(f"rehearse: {error.errors()[0]['msg']}") from None
        if said.action == "session-initiate":
            self._sids[said.call] = secrets.token_hex(16)
            while len(self._sids) > MOST:
                del self._sids[next(iter(self._sids))]
        if said.call not in self._sids:
            raise ValueError("rehearse: no such call")
        answer = await self._answered(said)
        return _shown(answer)

    async def _answered(self, said: Said) -> Answer:
        registry, token = self._registry, next(self._tokens)
        waiting: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting[token] = waiting
        usual = registry.policy
        registry.follow(_policy(usual, said))
        try:
            registry.receive(self._request(said, token), self._now())
        finally:
            registry.follow(usual)
        self._settle()
        try:
            async with asyncio.timeout(ANSWER_S):
                return await waiting
        except TimeoutError:
            raise ValueError("rehearse: the forwarding plane does not answer") from None
        finally:
            self._waiting.pop(token, None)

    def _request(self, said: Said, token: int) -> Request:
        domain = min(self._registry.policy.domains)
        user = f"{USER}{said.call[:16]}@{domain}"
        jids = {party: JID.of(f"{user}/{name}") for party, name in NAMES.items()}
        peer = jids["responder" if said.party == "initiator" else "initiator"]
        sender = jids[said.party]
        ip = said.candidates[0].ip if said.candidates else None
        contents = (Content(VOICE, None, _transport(said), "audio", mux=True),)
        ends = said.action == "session-terminate"
        jingle = Jingle(
            Action(said.action),
            self._sids[said.call],
            contents=() if ends else contents,
            reason=Reason("success") if ends else None,
        )
        return Request(token, sender, peer, jingle, ip, patience_s=ANSWER_S)


def _policy(usual: SessionPolicy, said: Said) -> SessionPolicy:
    """Return the policy of such a call: its parties may be at the relay's addresses alone."""
    allowed = tuple(dict.fromkeys(host_network(offered.ip) for offered in said.candidates))
    mode = IceMode.PASS if said.kind == "raw-udp" else IceMode(said.kind)
    return replace(
        usual,
        peers=replace(
            usual.peers,
            own=(),
            proxies=(),
            allow_networks=(*usual.peers.allow_networks, *allowed),
        ),
        ice=replace(usual.ice, mode=mode, rules=(), raw_udp=(), direct_first_s=0.0),
    )


def _transport(said: Said) -> RawUdp | Ice:
    candidates = tuple(
        Candidate(
            offered.component,
            0,
            TransportAddress(offered.ip, offered.port),
            f"c{number}",
            priority=offered.priority,
        )
        for number, offered in enumerate(said.candidates)
    )
    if said.kind == "raw-udp":
        return RawUdp(candidates)
    components = frozenset(c.component for c in candidates)
    return Ice(ICE_UDP, said.ufrag, said.pwd, candidates, components, 0)


def _shown(answer: Answer) -> RehearsalSnapshot:
    match answer:
        case Bounce(error=error):
            return RehearsalSnapshot(verdict="bounce", text=error.text)
        case Replace(substitution=substitution, transports=transports):
            own = transports.get(VOICE, OwnTransport(substitution.get(VOICE, ())))
            told = tuple(
                (candidate.component, str(candidate.address.ip), candidate.address.port)
                for candidate in own.candidates
            )
            return RehearsalSnapshot(
                verdict="replace", ufrag=own.ufrag, pwd=own.pwd, candidates=told
            )
    return RehearsalSnapshot(verdict="pass")
