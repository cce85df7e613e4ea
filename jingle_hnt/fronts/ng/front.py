"""Carries out a proxy's commands: each to its dialog, in the order in which they came.

Commands of one call wait for each other (two branches of a forked call are offered at once), those
of different calls do not.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import structlog

from jingle_hnt.call.leg import Leg
from jingle_hnt.errors import Condition
from jingle_hnt.fronts.ng import bencode, words
from jingle_hnt.fronts.ng.calls import Core, NgPolicy
from jingle_hnt.fronts.ng.dialog import Ask, Dialog, KnownCall
from jingle_hnt.fronts.ng.sdp import Description
from jingle_hnt.fronts.ng.sdp import read as read_sdp
from jingle_hnt.fronts.ng.unsupported import demand_supported
from jingle_hnt.fronts.ng.words import (
    NO_MATCH,
    OUT_OF_PORTS,
    SESSION_LIMIT,
    UNKNOWN_CALL,
    Answer,
    NgCommand,
    Refused,
    read,
)
from jingle_hnt.jingle.effects import Bounce, Pass, Replace
from jingle_hnt.jingle.refusals import NO_CAPACITY, NO_PLANE
from jingle_hnt.relay.binding import BindingName, BindingSnapshot

log = structlog.get_logger(__name__)

MOST_WAITING = 16
"""Commands of one call that wait for each other."""

MOST_AT_ONCE = 4096
"""Commands that are being carried out; a proxy that has more asks another node."""

SETUP_S = 300.0
"""A call that is not answered by then is over: its proxy has lost it (timer C is 180 s)."""

REOFFER_S = 40.0
"""A ``delete`` so soon after an unanswered offer in mid-call means the offer (RFC 3261 timer B)."""

TOLD_EVERY_S = 1.0
"""Pause between two lines of the log about refused commands."""

Snapshots = Callable[[Sequence[BindingName]], Awaitable[list[BindingSnapshot] | None]]


@dataclass(slots=True)
class SipCall:
    """One call of a proxy: its dialog, and the commands that wait for the one that is at work."""

    dialog: Dialog
    began_at: float
    created: float
    signalled: float
    offered_at: float = 0.0
    is_lost: bool = False
    busy: bool = False
    waiting: deque[asyncio.Future[None]] = field(default_factory=deque)


class NgFront:
    """See the module's text. `snapshots` asks the plane of bindings, `now` is monotonic seconds."""

    def __init__(
        self,
        core: Core,
        policy: NgPolicy,
        snapshots: Snapshots,
        now: Callable[[], float],
        epoch: Callable[[], float] = time.time,
    ) -> None:
        self.policy = policy
        self._core = core
        self._snapshots = snapshots
        self._now = now
        self._epoch = epoch
        self._calls: dict[tuple[str, str], SipCall] = {}
        self._of_id: dict[str, list[SipCall]] = {}
        self._at_once = 0
        self._told_at = float("-inf")
        self._untold = 0

    def __len__(self) -> int:
        return len(self._calls)

    def take_up(self) -> None:
        """Know the calls again that the core has taken up after a restart."""
        for known in self._core.live():
            if (known.call_id, known.caller_tag) not in self._calls:
                self._enter(self._recalled(known))

    def ended(self, call_id: str, caller_tag: str) -> None:
        """The core has ended a call: silence, a limit of time, an administrator."""
        call = self._calls.get((call_id, caller_tag))
        if call is not None:
            self._leave(call)

    async def sweep(self) -> None:
        """End the calls that nobody has answered for too long."""
        now = self._now()
        for call in list(self._calls.values()):
            if not call.dialog.accepted and not call.busy and now - call.began_at > SETUP_S:
                log.info("call was never answered", call_id=call.dialog.call_id)
                await self._end(call, Leg.INITIATOR)

    async def carry_out(self, message: bytes) -> bytes:
        """The answer to one message, both without the cookie; never raises."""
        command: NgCommand | None = None
        try:
            command = read(bencode.decode(message))
            if self._at_once >= MOST_AT_ONCE:
                raise Refused(SESSION_LIMIT, is_load=True)
            self._at_once += 1
            try:
                answer = await self._do(command)
            finally:
                self._at_once -= 1
        except bencode.BadBencode as error:
            answer = words.error(f"Could not decode bencode dictionary: {error}")
        except Refused as refused:
            self._tell_of(refused, command)
            answer = words.refusal(refused, command)
        except TimeoutError:
            log.warning("the relay did not answer a command in time")
            answer = words.refusal(Refused(OUT_OF_PORTS, is_load=True), command)
        except Exception:  # one command of many: a flaw of ours must not end the others
            log.exception("command failed")
            answer = words.error("Internal error; the log of the relay has more")
        return bencode.encode(answer)

    def _tell_of(self, refused: Refused, command: NgCommand | None) -> None:
        """A line of the log a second says enough; the proxy's log has them all."""
        self._untold += 1
        if self._now() - self._told_at >= TOLD_EVERY_S:
            name, call_id = ("", "") if command is None else (command.name, command.call_id)
            why, times = str(refused), self._untold
            log.info("command refused", command=name, call_id=call_id, why=why, refused=times)
            self._told_at, self._untold = self._now(), 0

    async def _do(self, command: NgCommand) -> Answer:
        match command.name:
            case "ping":
                return words.pong()
            case "list":
                ids = list(dict.fromkeys(id_ for id_, _ in self._calls))[: command.limit]
                return words.ok(calls=words.texts(ids))
            case "offer":
                return await self._in_turn(self._offered(command), self._offer, command)
            case "answer":
                return await self._in_turn(self._answered(command), self._answer, command)
            case "delete":
                return await self._delete(command)
        return await self._query(command)

    # Whose command it is

    def _offered(self, command: NgCommand) -> SipCall:
        """The call of an offer; a new one where there is none."""
        _demand_names(command)
        call = self._find(command)
        if call is None:
            if self._core.is_draining or 0 < self.policy.calls <= len(self._calls):
                raise Refused(SESSION_LIMIT, is_load=True)
            dialog = Dialog(
                command.call_id,
                command.from_tag,
                self._core.policy.peers,
                self.policy.ice,
                self.policy.early_media,
            )
            epoch = self._epoch()
            call = SipCall(dialog, self._now(), epoch, epoch)
            self._enter(call)
        return call

    def _answered(self, command: NgCommand) -> SipCall:
        _demand_names(command)
        if not command.to_tag:
            raise Refused("No to-tag in message")
        call = self._find(command)
        if call is None:
            raise Refused(UNKNOWN_CALL)
        return call

    def _find(self, command: NgCommand) -> SipCall | None:
        """The call of these tags. From-tags are those of the request: either party's."""
        for tag in (command.from_tag, command.to_tag):
            if tag and (call := self._calls.get((command.call_id, tag))) is not None:
                return call
        for call in self._of_id.get(command.call_id, ()):
            if command.from_tag in call.dialog.tags:
                return call
        return None

    async def _in_turn(
        self,
        call: SipCall,
        do: Callable[[SipCall, NgCommand, Description], Awaitable[bytes]],
        command: NgCommand,
    ) -> Answer:
        """Carry a command out when those of the same call before it are done."""
        try:
            demand_supported(command)
            if not command.sdp:
                raise Refused("No SDP body in message")
            description = read_sdp(command.sdp)
            await self._wait(call)
            try:
                if call.is_lost:
                    raise Refused(UNKNOWN_CALL)
                call.signalled = self._epoch()
                sdp = await do(call, command, description)
            finally:
                self._next(call)
        finally:
            if not call.dialog.begun and not call.busy and not call.waiting:
                self._leave(call)  # nothing has come of it
        return words.ok(sdp=sdp)

    async def _wait(self, call: SipCall) -> None:
        if not call.busy:
            call.busy = True
            return
        if len(call.waiting) >= MOST_WAITING:
            raise Refused("too many commands for this call at once; send them one by one")
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        call.waiting.append(turn)
        await turn

    def _next(self, call: SipCall) -> None:
        while call.waiting:
            turn = call.waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        call.busy = False

    # What is to be done

    async def _offer(self, call: SipCall, command: NgCommand, description: Description) -> bytes:
        dialog = call.dialog
        if self._is_ours(description):
            return description.raw  # it has been through this relay: a second time makes a loop
        leg = dialog.leg_of(command.from_tag)
        was_begun = dialog.begun
        asks = dialog.offer(command, description)
        try:
            await self._ask(call, asks)
        except (Refused, TimeoutError):
            if was_begun:
                await self._ask_quietly(call, dialog.undo_offer())
            else:
                await self._end(call, Leg.INITIATOR)
            raise
        call.offered_at = self._now()
        return dialog.written(leg, command, description)

    async def _answer(self, call: SipCall, command: NgCommand, description: Description) -> bytes:
        dialog = call.dialog
        if self._is_ours(description):
            return description.raw
        leg = (Leg.INITIATOR if dialog.offerer is None else dialog.offerer).other
        if dialog.leg_of(command.from_tag) is leg:
            # An answer that comes again names its parties as before, whoever is to speak now.
            leg = leg.other
            dialog.offerer = leg.other
        await self._ask(call, dialog.answer(command, description))
        return dialog.written(leg, command, description)

    async def _delete(self, command: NgCommand) -> Answer:
        _demand_names(command)
        call = self._find(command)
        if call is None:
            if "fatal" in command.flags:
                raise Refused(NO_MATCH)
            return words.ok(warning=NO_MATCH)
        dialog = call.dialog
        is_one_of_several = "to-tag" in command.flags and command.to_tag in dialog.tags
        if is_one_of_several and command.to_tag != dialog.callee_tag and len(dialog.tags) > 1:
            del dialog.tags[command.to_tag]  # one phone of several gave up; others ring
            return words.ok()
        told = await self._told_of(call, with_tags=False)
        await self._wait(call)
        try:
            if self._means_offer(call, command):
                await self._ask_quietly(call, dialog.undo_offer())
            else:
                await self._end(call, dialog.leg_of(command.from_tag))
        finally:
            self._next(call)
        return told

    def _means_offer(self, call: SipCall, command: NgCommand) -> bool:
        """Whether a delete tells that an offer in mid-call was turned down.

        Kamailio's `rtpengine_manage()` sends one in a failure route, whatever the request was that
        has failed; the call goes on then. Where it was a BYE after all, silence ends the call.
        """
        dialog = call.dialog
        offerer = dialog.offerer
        pending = dialog.accepted and offerer is not None
        recent = self._now() - call.offered_at < REOFFER_S
        return pending and recent and dialog.leg_of(command.from_tag) is offerer

    async def _query(self, command: NgCommand) -> Answer:
        if not command.call_id:
            raise Refused("No call-id in message")
        calls = self._of_id.get(command.call_id, [])
        if not calls:
            raise Refused(UNKNOWN_CALL)
        return await self._told_of(calls[0], with_tags=True)

    # The core

    async def _ask(self, call: SipCall, asks: Sequence[Ask]) -> None:
        """Make these requests of the core. Raises Refused where it refuses one of them."""
        dialog = call.dialog
        if not asks:
            return
        answers = await self._core.ask(dialog.call_id, dialog.caller_tag, asks)
        for ask, answer in zip(asks, answers, strict=True):
            match answer:
                case Replace(substitution=substitution, transports=transports):
                    dialog.take(ask.leg, substitution, transports)
                case Bounce(error=error):
                    raise _refused(error.condition, error.text)
                case Pass() if ask.jingle.action in _MAKING:
                    raise Refused(SESSION_LIMIT, is_load=True)

    async def _ask_quietly(self, call: SipCall, asks: Sequence[Ask]) -> None:
        if asks:
            await self._core.ask(call.dialog.call_id, call.dialog.caller_tag, asks)

    async def _end(self, call: SipCall, leg: Leg) -> None:
        asks = call.dialog.end(leg)
        self._leave(call)
        await self._ask_quietly(call, asks)

    def _enter(self, call: SipCall) -> None:
        dialog = call.dialog
        self._calls[dialog.call_id, dialog.caller_tag] = call
        self._of_id.setdefault(dialog.call_id, []).append(call)

    def _leave(self, call: SipCall) -> None:
        dialog = call.dialog
        call.is_lost = True
        if self._calls.pop((dialog.call_id, dialog.caller_tag), None) is None:
            return
        others = [each for each in self._of_id.pop(dialog.call_id, []) if each is not call]
        if others:
            self._of_id[dialog.call_id] = others

    def _is_ours(self, description: Description) -> bool:
        """Whether all media of a description is this relay's own already."""
        own = self._core.policy.peers.own
        ips = [m.ip for m in description.media if m.port and m.is_relayable]
        return bool(ips) and all(ip in own for ip in ips)

    def _recalled(self, known: KnownCall) -> SipCall:
        dialog = Dialog(
            known.call_id,
            known.caller_tag,
            self._core.policy.peers,
            self.policy.ice,
            self.policy.early_media,
        )
        dialog.recall(known)
        age_s = max(0.0, self._now() - known.started_at)
        epoch = self._epoch()
        return SipCall(dialog, known.started_at, epoch - age_s, epoch)

    # What is told of a call

    async def _told_of(self, call: SipCall, *, with_tags: bool) -> Answer:
        known = self._core.find(call.dialog.call_id, call.dialog.caller_tag)
        names = [] if known is None else [name for c in known.contents for name in c.bindings]
        found = (await self._snapshots(names)) if names else []
        told: dict[str, bencode.Encodable] = {
            "created": int(call.created),
            "last signal": int(call.signalled),
            "totals": _totals(found or ()),
        }
        if with_tags:
            told["tags"] = _tags(call, known, {b.name: b for b in found or ()})
        return {"result": "ok", **told}


_MAKING = frozenset({"session-initiate", "content-add"})


def _demand_names(command: NgCommand) -> None:
    if not command.call_id:
        raise Refused("No call-id in message")
    if not command.from_tag:
        raise Refused("No from-tag in message")


def _refused(condition: Condition, text: str) -> Refused:
    """In the words by which a proxy knows whether another node should be asked."""
    if text in (NO_CAPACITY.text, NO_PLANE.text):
        return Refused(OUT_OF_PORTS, is_load=True)
    of_the_call = "(budget " in text  # any other node would refuse it too
    if condition is Condition.RESOURCE_CONSTRAINT and not of_the_call:
        return Refused(SESSION_LIMIT, is_load=True)
    return Refused(text)


def _totals(bindings: Iterable[BindingSnapshot]) -> dict[str, bencode.Encodable]:
    """What has come of both parties, RTP (component 1) and RTCP (component 2)."""
    sums = {"RTP": [0, 0, 0], "RTCP": [0, 0, 0]}
    for binding in bindings:
        kind = "RTP" if binding.name.endswith(".1") else "RTCP"
        for pinhole in binding.pinholes:
            sums[kind][0] += pinhole.counters.received_packets
            sums[kind][1] += pinhole.counters.received_bytes
            sums[kind][2] += pinhole.counters.dropped_send
    return {
        kind: {"packets": packets, "bytes": size, "errors": errors}
        for kind, (packets, size, errors) in sums.items()
    }


def _tags(
    call: SipCall, known: KnownCall | None, bindings: Mapping[str, BindingSnapshot]
) -> dict[str, bencode.Encodable]:
    dialog = call.dialog
    names = {Leg.INITIATOR: dialog.caller_tag, Leg.RESPONDER: dialog.callee_tag}
    told: dict[str, bencode.Encodable] = {}
    for leg in Leg:
        medias: list[bencode.Encodable] = []
        for number, content in enumerate(() if known is None else known.contents, start=1):
            streams = [
                _stream(bindings[name], leg) for name in content.bindings if name in bindings
            ]
            medias.append({"index": number, "streams": streams})
        told[names[leg]] = {
            "tag": names[leg],
            "created": int(call.created),
            "in dialogue with": names[leg.other],
            "medias": medias,
        }
    return told


def _stream(binding: BindingSnapshot, leg: Leg) -> dict[str, bencode.Encodable]:
    pinhole = binding.pinholes[leg]
    stream: dict[str, bencode.Encodable] = {
        "local port": pinhole.bound.port,
        "stats": {
            "packets": pinhole.counters.received_packets,
            "bytes": pinhole.counters.received_bytes,
            "errors": pinhole.counters.dropped_send,
        },
    }
    if pinhole.learned is not None:
        ip = pinhole.learned.ip
        stream["endpoint"] = {
            "family": f"IPv{ip.version}",
            "address": str(ip),
            "port": pinhole.learned.port,
        }
    return stream
