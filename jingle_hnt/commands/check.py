"""check: what would keep calls from working, told before a user finds out.

One line each: ``ok``, ``warn`` or ``FAIL``, and what to write. Exit status 0 where nothing failed,
1 where something did, 78 where the configuration itself cannot be used.
"""

import argparse
import asyncio
import json
import resource
import socket
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from jingle_hnt.commands import AddConfig, Commands
from jingle_hnt.config import Settings, load
from jingle_hnt.errors import JingleError, SecretRefused
from jingle_hnt.model.jid import JID
from jingle_hnt.session.effects import ChannelRequest, Gone, Moved, Refusal, Request, Withdrawn
from jingle_hnt.xmpp.component import Component, ComponentSettings

CONNECT_S = 5.0
EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")
RESERVED = Path("/proc/sys/net/ipv4/ip_local_reserved_ports")
SAMPLE = 16


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report; `verdict` is ``ok``, ``warn`` or ``FAIL``."""

    verdict: str
    subject: str
    text: str


def add_to(commands: Commands, add_config: AddConfig) -> None:
    """Add the command."""
    command = commands.add_parser("check", help="test the configuration and the world around it")
    add_config(command)
    command.add_argument("--offline", action="store_true", help="do not connect to the server")
    command.add_argument("--json", action="store_true", help="print the findings as JSON")
    command.set_defaults(command=check)


def check(options: argparse.Namespace) -> int:
    """Run all checks and print what they found."""
    settings = load(options.config)
    secret = settings.secret
    findings = [Finding("ok", "configuration", f"{options.config} can be used"), *offline(settings)]
    if not options.offline:
        findings += asyncio.run(online(settings, secret))
    if options.json:
        print(json.dumps([asdict(finding) for finding in findings]))
    else:
        for finding in findings:
            print(f"{finding.verdict:4}  {finding.subject}: {finding.text}")
    return 1 if any(finding.verdict == "FAIL" for finding in findings) else 0


def offline(settings: Settings) -> Iterator[Finding]:
    """What can be found out without the XMPP server."""
    yield from _addresses(settings)
    yield _port_range(settings)
    yield _descriptors(settings)
    yield _native()


async def online(settings: Settings, secret: str) -> list[Finding]:
    """What only the XMPP server can tell: the handshake, and every domain's module."""
    host, port = settings.xmpp.endpoint
    wanted = ComponentSettings(
        settings.xmpp.component, secret, settings.xmpp.domains, str(host), port
    )
    visitor = _Visitor()
    component = Component(wanted, visitor)
    link = asyncio.create_task(component.run())
    try:
        async with asyncio.timeout(CONNECT_S):
            await asyncio.wait(
                {link, asyncio.create_task(visitor.connected.wait())},
                return_when=asyncio.FIRST_COMPLETED,
            )
        if link.done():
            await link
        return [_handshake(settings), *_modules(await component.diagnose())]
    except SecretRefused as error:
        return [Finding("FAIL", "handshake", str(error))]
    except TimeoutError:
        why = visitor.reason or "nobody answers"
        text = f"{settings.xmpp.server}: {why}; is the server up, and its component port there?"
        return [Finding("FAIL", "handshake", text)]
    finally:
        await component.stop()
        link.cancel()
        await asyncio.gather(link, return_exceptions=True)


class _Visitor:
    """Connects to look around, and lets every stanza that comes meanwhile go its way.

    A check on a live system takes the component's place for a moment; the server's modules go on by
    their fail policy, and the running process reconnects.
    """

    def __init__(self) -> None:
        self.connected = asyncio.Event()
        self.reason = ""

    def receive(self, request: Request) -> None:
        """Not answered: the module decides."""

    def refused(self, refusal: Refusal) -> None:
        """Of no interest."""

    def moved(self, moved: Moved) -> None:
        """Of no interest."""

    def gone(self, gone: Gone) -> None:
        """Of no interest."""

    def channel(self, request: ChannelRequest) -> None:
        """Not answered: it asks again later."""

    def withdrawn(self, withdrawn: Withdrawn) -> None:
        """Of no interest."""

    def rejected(self, sender: JID, error: JingleError) -> None:
        """Of no interest."""

    def link_up(self) -> None:
        self.connected.set()

    def link_down(self, reason: str) -> None:
        self.reason = reason


def _addresses(settings: Settings) -> Iterator[Finding]:
    first, last = settings.relay.port_range
    for interface in settings.relay.interfaces:
        step = max(1, (last - first) // SAMPLE)
        faults = [_bind_fault(str(interface.address), port) for port in range(first, last, step)]
        absent = [f for f in faults if f == "absent"]
        taken = [f for f in faults if f == "taken"]
        if absent:
            text = "is on no interface of this host; write this host's address, or behind a 1:1"
            text += ' NAT { address = "(this host\'s)", advertise = "(the public one)" }'
            yield Finding("FAIL", f"relay address {interface.address}", text)
        elif taken:
            text = f"{len(taken)} of {len(faults)} ports tried are held by another process"
            yield Finding("warn", f"relay address {interface.address}", text)
        else:
            told = interface.advertise or interface.address
            text = f"ports can be bound; parties are told {told}"
            yield Finding("ok", f"relay address {interface.address}", text)


def _bind_fault(address: str, port: int) -> str | None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, port))
        except OSError as error:
            return "taken" if error.errno == 98 else "absent"
    return None


def _port_range(settings: Settings) -> Finding:
    first, last = settings.relay.port_range
    low, high = map(int, EPHEMERAL.read_text().split())
    calls = (last - first + 1) // 4
    if last < low or first > high or f"{first}-{last}" in RESERVED.read_text():
        return Finding("ok", "ports", f"{first}-{last}: enough for {calls} audio calls at once")
    text = (
        f"{first}-{last} overlaps the ports that this host gives to programs ({low}-{high});"
        f" write sysctl net.ipv4.ip_local_reserved_ports = {first}-{last}"
    )
    return Finding("warn", "ports", text)


def _descriptors(settings: Settings) -> Finding:
    first, last = settings.relay.port_range
    # A latched port has two sockets: its door and its line.
    wanted = 2 * (last - first + 1) * len(settings.relay.interfaces)
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit >= wanted:
        return Finding("ok", "open files", f"the limit of {limit} is enough")
    text = f"the limit of {limit} is too low for all ports; write LimitNOFILE={wanted + 1024}"
    return Finding("FAIL" if limit < wanted // 2 else "warn", "open files", text)


def _native() -> Finding:
    try:
        import jingle_hnt.plane.native  # noqa: F401
    except ImportError:
        text = "not built; media moves in pure Python, at a fraction of the speed"
        return Finding("warn", "native engine", text)
    return Finding("ok", "native engine", "built")


def _handshake(settings: Settings) -> Finding:
    return Finding("ok", "handshake", f"{settings.xmpp.server} accepts {settings.xmpp.component}")


def _modules(faults: dict[str, str]) -> Iterator[Finding]:
    for domain, fault in faults.items():
        if fault:
            yield Finding("FAIL", f"server module of {domain}", fault)
        else:
            yield Finding("ok", f"server module of {domain}", "answers")
