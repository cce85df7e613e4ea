"""A stage for SIP calls: Debian's Kamailio as it is shipped, jingle-hnt beside it, sipp as phones.

Kamailio runs the configuration of its package, with its switches WITH_NAT and WITH_RTPENGINE set on
the command line, and looks for rtpengine where that says: at 127.0.0.1:2223, so both are on one
host. What sipp does not do, media, `sip_media.py` does beside it.
"""

import asyncio
import contextlib
import json
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jingle_hnt.fronts.ng.bencode import Encodable, encode
from tests.lab.play import CONFIGURATION, PATIENCE_S, ROOT, Relay
from tests.lab.world import RELAY, Lab, NatKind

KAMAILIO = Path("/etc/kamailio/kamailio.cfg")
SCENARIOS = Path(__file__).parent / "sipp"
SIP_PORT, RTP_PORT, OTHER_PORT = 5060, 7000, 7010

NG = '[ng]\nenabled = true\nlisten = ["127.0.0.1:2223"]\n'

_IN_A_RUN_OF_ITS_OWN = (
    "mount -t tmpfs none /run && mkdir /run/kamailio && exec kamailio"
    " -f {configuration} -DD -E -m 32 -M 4 -A WITH_NAT -A WITH_RTPENGINE {more}"
)

_ORDER = """
import socket, sys
own = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
own.settimeout(60)
own.sendto(sys.stdin.buffer.read(), ("127.0.0.1", 2223))
sys.stdout.buffer.write(own.recv(65536))
"""

Said = dict[str, Any]


@dataclass
class SipPhone:
    """One phone: sipp for its signalling, `sip_media` for its media."""

    name: str
    node: str
    address: str
    public: str
    told: Path
    media: asyncio.subprocess.Process
    running: list[asyncio.subprocess.Process] = field(default_factory=list)
    asking: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def stats(self) -> list[Said]:
        """What its RTP and its RTCP sent and heard."""
        assert self.media.stdin is not None
        assert self.media.stdout is not None
        async with self.asking:
            self.media.stdin.write(b"\n")
            told: list[Said] = json.loads(await self.media.stdout.readline())
        return told

    async def heard(self, of: "SipPhone") -> int:
        """How many RTP packets of that phone it has heard."""
        found: int = (await self.stats())[0]["heard"].get(of.name, 0)
        return found

    async def hears(self, of: "SipPhone", packets: int, patience_s: float = PATIENCE_S) -> None:
        """Wait until it has heard so many more packets of that phone."""
        before = await self.heard(of)
        async with asyncio.timeout(patience_s):
            while await self.heard(of) < before + packets:  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.1)

    async def hears_no_more(self, of: "SipPhone", patience_s: float = PATIENCE_S) -> int:
        """Wait until what was on its way of that phone has come; how many that were."""
        before = -1
        async with asyncio.timeout(patience_s):
            while (now := await self.heard(of)) != before:
                before = now
                await asyncio.sleep(0.5)
        return now


class SipStage:
    """See the module's text; made by `sip_stage`."""

    def __init__(self, lab: Lab, directory: Path, relay: Relay) -> None:
        self.lab = lab
        self.directory = directory
        self.relay = relay
        self.phones: list[SipPhone] = []
        self._kamailio: asyncio.subprocess.Process | None = None

    async def start_kamailio(self, configuration: Path = KAMAILIO, more: str = "") -> None:
        """Start it, and wait until it answers."""
        command = _IN_A_RUN_OF_ITS_OWN.format(configuration=configuration, more=more)
        with (self.directory / "kamailio.log").open("ab") as output:
            self._kamailio = await asyncio.create_subprocess_exec(
                *self.lab.command("relay", ["sh", "-c", command]), stdout=output, stderr=output
            )
        async with asyncio.timeout(PATIENCE_S):
            while not self._listens():
                if self._kamailio.returncode is not None:
                    raise RuntimeError((self.directory / "kamailio.log").read_text()[-3000:])
                await asyncio.sleep(0.1)

    def _listens(self) -> bool:
        command = self.lab.command("relay", ["ss", "-Hlun", f"sport = :{SIP_PORT}"])
        return bool(subprocess.run(command, capture_output=True, check=True).stdout)

    async def phone(self, name: str, kind: NatKind) -> SipPhone:
        """A phone at home behind a NAT of this kind."""
        address, public = self.lab.site(name, kind)
        return await self.phone_at(name, name, address, public)

    async def phone_at(
        self, name: str, node: str, address: str, public: str, port: int = RTP_PORT
    ) -> SipPhone:
        """A phone on a node that is there already, with its media at this port."""
        told = self.directory / (f"{node}.told" if port == RTP_PORT else f"{node}.told2")
        command = [sys.executable, "-m", "tests.lab.sip_media", "--address", address]
        command += ["--port", str(port), "--stream", name]
        media = await asyncio.create_subprocess_exec(
            *self.lab.command(node, [*command, "--told", str(told)]),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            cwd=ROOT,
        )
        phone = SipPhone(name, node, address, public, told, media)
        self.phones.append(phone)
        assert media.stdout is not None
        async with asyncio.timeout(PATIENCE_S):
            assert await media.stdout.readline()
        return phone

    async def register(self, phone: SipPhone) -> None:
        """The phone tells Kamailio where it is."""
        await self.done(await self.sipp(phone, "register.xml", to=phone.name))

    async def call(
        self, caller: SipPhone, callee: SipPhone, length_s: float = 1.0
    ) -> tuple[int, int]:
        """A call from ringing to the end; returns how much caller and callee heard of each other.

        The callee has told Kamailio where it is.
        """
        before = await caller.heard(callee), await callee.heard(caller)
        answering = await self.sipp(callee, "answer.xml", length_s=length_s)
        calling = await self.sipp(caller, "call.xml", to=callee.name, length_s=length_s)
        await self.done(calling)
        await self.done(answering)
        after = await caller.heard(callee), await callee.heard(caller)
        return after[0] - before[0], after[1] - before[1]

    async def sipp(
        self,
        phone: SipPhone,
        scenario: str,
        to: str = "nobody",
        length_s: float = 3.0,
        more: Sequence[str] = (),
    ) -> asyncio.subprocess.Process:
        """Start a scenario at a phone."""
        command = ["sipp", f"{RELAY}:{SIP_PORT}", "-sf", str(SCENARIOS / scenario)]
        command += ["-i", phone.address, "-p", str(SIP_PORT), "-m", "1", "-nostdin", "-s", to]
        command += ["-key", "own", phone.name, "-key", "rtp", str(RTP_PORT)]
        command += ["-key", "rtp2", str(OTHER_PORT), "-key", "media2", f"{phone.told}2"]
        command += ["-key", "media", str(phone.told), "-d", str(int(1000 * length_s))]
        command += ["-timeout", f"{PATIENCE_S:.0f}", "-timeout_error", "-recv_timeout", "60000"]
        command += ["-trace_err", "-error_file", str(self.directory / f"{phone.name}.errors")]
        command += ["-trace_msg", "-message_file", str(self.directory / f"{phone.name}.messages")]
        process = await asyncio.create_subprocess_exec(
            *self.lab.command(phone.node, [*command, *more]),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            cwd=self.directory,
            env={"TERM": "vt100", "PATH": "/usr/bin:/bin:/usr/sbin:/sbin"},
        )
        phone.running.append(process)
        return process

    async def done(self, process: asyncio.subprocess.Process) -> None:
        """Wait for the end of a scenario, which must be a good one."""
        async with asyncio.timeout(PATIENCE_S):
            _, errors = await process.communicate()
        if process.returncode != 0:
            raise RuntimeError(
                f"sipp ended with {process.returncode}: {errors.decode()[-500:]}\n{self.logs()}"
            )

    async def report(self) -> Said:
        """The report of the only call that there was, once it is written."""
        told = await self.relay.until(lambda told: bool(told["calls"]), command="history")
        (report,) = told["calls"]
        return dict(report)

    async def order(self, **message: Encodable) -> bytes:
        """The relay's answer to a command that no proxy has sent."""
        command = self.lab.command("relay", [sys.executable, "-c", _ORDER])
        process = await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        answer, _ = await process.communicate(b"lab " + encode(message))
        return answer

    def logs(self) -> str:
        """The ends of what everybody has logged."""
        texts = []
        for path in sorted(self.directory.iterdir()):
            if path.suffix in (".log", ".errors", ".messages"):
                texts.append(f"--- {path.name}\n{path.read_text(errors='replace')[-2500:]}")
        return "\n".join(texts)

    async def close(self) -> None:
        for phone in self.phones:
            for process in (*phone.running, phone.media):
                if process.returncode is None:
                    process.kill()
                    await process.wait()
        await self.relay.stop()
        if self._kamailio is not None and self._kamailio.returncode is None:
            self._kamailio.terminate()
            try:
                async with asyncio.timeout(5):
                    await self._kamailio.wait()
            except TimeoutError:
                self._kamailio.kill()
                await self._kamailio.wait()


@contextlib.asynccontextmanager
async def sip_stage(
    *, kamailio: bool = True, engine: str = "auto", extra: str = NG
) -> AsyncIterator[SipStage]:
    """A stage with Kamailio and jingle-hnt up; everything is ended and removed afterwards."""
    with Lab() as lab, tempfile.TemporaryDirectory(prefix="hnt-sip-") as name:
        directory = Path(name)
        lab.public("relay", RELAY)
        (directory / "secret").write_text("hush")
        (directory / "jingle-hnt.toml").write_text(
            CONFIGURATION.format(
                component="hnt.example.org",
                domain="example.org",
                server="127.0.0.1",
                interfaces=f'{{ address = "{RELAY}" }}',
                directory=directory,
                state=directory,
                engine=engine,
                ports="30000-30999",
                quarantine_s=1.0,
                relay_extra="",
                extra=extra,
            )
        )
        made = SipStage(lab, directory, Relay(lab, directory))
        try:
            await made.relay.start(
                until=lambda status: bool(status["plane"]["up"]), patience_s=PATIENCE_S
            )
            if kamailio:
                await made.start_kamailio()
            yield made
        finally:
            await made.close()
