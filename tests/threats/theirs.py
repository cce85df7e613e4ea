"""rtpengine as the relay that is attacked.

It has no word for where a party's XMPP connection comes from, is run as its documentation advises
against this attack (strict source, heuristic endpoint learning), and is told what a SIP proxy would
tell it.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from benchmarks.network import udp_socket
from benchmarks.rtpengine import CONTROL, NOTHING_ELSE, Rtpengine, until_ready
from tests.lab.world import RELAY, Lab
from tests.threats.anchors import PORTS, Addresses, ByHalves, Call, Refused
from tests.threats.guards import SUITE, Guard, agreed, credentials, master


class Theirs(ByHalves):
    """Debian's rtpengine, in userspace."""

    name = "rtpengine"

    def __init__(self, daemon: Rtpengine) -> None:
        self._daemon = daemon
        self.pid = daemon.pid

    async def offer(
        self, number: int, signalled: tuple[str, int], known: tuple[str, str]
    ) -> tuple[int, int]:
        return await self._ask(number, "offer", signalled)

    async def answer(
        self, number: int, signalled: tuple[str, int], known: tuple[str, str]
    ) -> tuple[int, int]:
        return await self._ask(number, "answer", signalled)

    async def move(
        self, number: int, leg: int, signalled: tuple[str, int], generation: int
    ) -> None:
        await self._ask(number, ("offer", "answer")[leg], signalled)

    async def guarded(self, number: int, signalled: Addresses, guard: Guard) -> Call:
        """rtpengine is the other party of both in SDES and ICE."""
        told = []
        for leg, command in enumerate(("offer", "answer")):
            own = master("ab"[leg], number) if guard is Guard.SDES else ""
            agent = credentials("ab"[leg], number) if guard is Guard.ICE else None
            sdp = _sdp(signalled[leg], own, agent)
            told.append(await self._sdp_for(number, command, sdp, guard))
        terms = agreed(number, guard)
        for leg, sdp in enumerate(reversed(told)):
            if guard is Guard.SDES:
                terms[leg]["peer_key"] = _after(sdp, " inline:")[:40]
            else:
                terms[leg]["peer"] = _after(sdp, "ice-ufrag:"), _after(sdp, "ice-pwd:")
        return Call(number, (_ports_of(told[1]), _ports_of(told[0])), terms)

    async def reconnected(self, number: int, leg: int, address: str) -> None:
        """A SIP client whose registration moves sends a re-INVITE; no address in it is new."""

    async def _ask(self, number: int, command: str, signalled: tuple[str, int]) -> tuple[int, int]:
        return _ports_of(await self._sdp_for(number, command, _sdp(signalled), Guard.NONE))

    async def _sdp_for(self, number: int, command: str, sdp: str, guard: Guard) -> str:
        order: dict[str, Any] = {
            "command": command,
            "call-id": f"call-{number}",
            "from-tag": "caller",
            "flags": ["strict source"],
            "replace": ["origin"],
            "ICE": "force" if guard is Guard.ICE else "remove",
            "sdp": sdp,
        }
        if command == "answer":
            order["to-tag"] = "callee"
        try:
            told = await asyncio.to_thread(self._daemon.ask, order)
        except (RuntimeError, TimeoutError) as error:
            raise Refused(str(error)) from error
        return str(told["sdp"])

    async def hang_up(self, number: int) -> None:
        order: dict[str, Any] = {"command": "delete", "call-id": f"call-{number}"}
        order |= {"from-tag": "caller", "delete-delay": 0}
        await asyncio.to_thread(self._daemon.ask, order)

    async def seen(self) -> None:
        return None


def _sdp(signalled: tuple[str, int], key: str = "", agent: tuple[str, str] | None = None) -> str:
    host, port = signalled
    where = f"IN IP{6 if ':' in host else 4} {host}"
    lines = [f"m=audio {port} RTP/{'SAVP' if key else 'AVP'} 0", f"a=rtcp:{port + 1}"]
    if key:
        lines.append(f"a=crypto:1 {SUITE} inline:{key}")
    if agent is not None:
        lines += [f"a=ice-ufrag:{agent[0]}", f"a=ice-pwd:{agent[1]}"]
        lines += [
            f"a=candidate:1 {c} udp {2130706432 - c} {host} {port + c - 1} typ host" for c in (1, 2)
        ]
    head = f"v=0\r\no=- 1 1 {where}\r\ns=-\r\nc={where}\r\nt=0 0\r\n"
    return head + "".join(f"{line}\r\n" for line in lines)


def _after(sdp: str, word: str) -> str:
    return sdp.partition(word)[2].split()[0]


def _ports_of(sdp: str) -> tuple[int, int]:
    lines = sdp.splitlines()
    rtp = next(int(line.split()[1]) for line in lines if line.startswith("m=audio"))
    rtcp = (int(line[7:].split()[0]) for line in lines if line.startswith("a=rtcp:"))
    return rtp, next(rtcp, rtp + 1)


@contextlib.asynccontextmanager
async def theirs(lab: Lab, linger_s: float = 0.0) -> AsyncIterator[Theirs]:
    """rtpengine in the lab's relay namespace."""
    words = ["rtpengine", *NOTHING_ELSE, "--table=-1", f"--interface={RELAY}"]
    words += [f"--listen-ng={CONTROL[0]}:{CONTROL[1]}", "--endpoint-learning=heuristic"]
    words += [f"--port-min={PORTS[0]}", f"--port-max={PORTS[1]}"]
    with udp_socket(lab.namespace("relay")) as control:
        control.settimeout(0.5)
        control.connect(CONTROL)
        process = await asyncio.create_subprocess_exec(
            *lab.command("relay", words),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            daemon = Rtpengine(process.pid, control)
            await until_ready(daemon, process)
            yield Theirs(daemon)
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()
