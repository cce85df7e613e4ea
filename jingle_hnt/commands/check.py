"""check: what would keep calls from working, told before a user finds out.

One line each: ``ok``, ``warn`` or ``FAIL``, and what to write. Exit status 0 where nothing failed,
1 where something did, 78 where the configuration itself cannot be used.
"""

import argparse
import asyncio
import contextlib
import json
import random
import resource
import socket
from collections.abc import AsyncIterator, Iterable, Iterator
from pathlib import Path

from jingle_hnt.admin import selfcheck
from jingle_hnt.admin.snapshots import CheckFinding, CheckSnapshot
from jingle_hnt.commands import asking, firewall
from jingle_hnt.commands.advertised import advertised_findings
from jingle_hnt.commands.open_files import privacy, promises, writable_by_all
from jingle_hnt.commands.plane import descriptor_limit
from jingle_hnt.errors import JingleError, SecretRefused
from jingle_hnt.fronts.xmpp import expat
from jingle_hnt.fronts.xmpp.component import Component, ComponentSettings
from jingle_hnt.fronts.xmpp.rivals import NODE
from jingle_hnt.jingle.effects import (
    ChannelRequest,
    Gone,
    Moved,
    Passed,
    Refusal,
    Request,
    Ring,
    Withdrawn,
)
from jingle_hnt.model.jid import JID
from jingle_hnt.model.servers import ModuleState
from jingle_hnt.process.host_ports import bind_fault
from jingle_hnt.settings.file import load
from jingle_hnt.settings.model import Settings
from jingle_hnt.settings.wiring import component_settings, session_policy

CONNECT_S = 5.0
REPLACED_S = 2.0
"""How long a server may take to close the connection that was replaced."""
RUNNING_S = 20.0
"""How long a running process may take: it asks its servers, which may not answer."""
LATELY_S = 120.0
"""Who serves a component says so to its server modules at least as often as this."""
EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")
RESERVED = Path("/proc/sys/net/ipv4/ip_local_reserved_ports")
SAMPLE = 16
SCANNED = 4
REFUSED_S = 0.1
OPEN_FILES = "open files"


def check(options: argparse.Namespace) -> int:
    """Run all checks and print what they found."""
    from jingle_hnt.commands.media import media  # what `run` does not need
    from jingle_hnt.commands.reach import reach

    settings = load(options.config)
    component_settings(settings)  # or an error that says what to write
    inside = None if options.offline else running(settings)
    findings = [_found("ok", "configuration", f"{options.config} can be used")]
    findings += writable_by_all(settings, options.config)
    findings += promises(settings, alone=options.offline)
    findings += privacy(settings)
    findings += offline(settings, running=inside is not None)
    findings += _scans(settings)
    if not options.offline:
        found = asyncio.run(online(settings)) if inside is None else inside
        findings += found.findings
        servers = [*found.stun, *filter(None, [settings.relay.stun_server])]
        findings += asyncio.run(reach(settings.relay, servers))
    if options.media:
        findings += asyncio.run(media(settings.relay, settings.state.admin_socket))
    if options.json:
        print(json.dumps([finding.model_dump() for finding in findings]))
    else:
        for finding in findings:
            print(f"{finding.verdict:4}  {finding.subject}: {finding.text}")
    return 1 if any(finding.verdict == "FAIL" for finding in findings) else 0


def running(settings: Settings) -> CheckSnapshot | None:
    """Return the findings of the process with this configuration; None if none is running.

    It is asked because a second connection would take its place at the server: for a second or two
    calls would not be relayed.
    """
    try:
        path = settings.state.admin_socket
        answer = asking.exchange(path, {"command": "check"}, RUNNING_S)
        found = CheckSnapshot.model_validate(answer)
    except TimeoutError:
        text = f"running, and gives no answer within {RUNNING_S:g} s; its log may say why"
        return CheckSnapshot(findings=(_found("FAIL", "process", text),))
    except (OSError, ValueError):
        return None
    here = _found("ok", "process", "running; what follows is what it finds")
    return CheckSnapshot(findings=(here, *found.findings), stun=found.stun)


def offline(settings: Settings, running: bool = False) -> Iterator[CheckFinding]:
    """Return the findings that need no XMPP server; if a process is `running`, ports are in use."""
    yield from _addresses(settings, running)
    yield from advertised_findings(settings.relay)
    yield _port_range(settings)
    yield from firewall.findings(settings.relay)
    yield _descriptors(settings)
    yield _native()
    yield _parser()


async def online(settings: Settings) -> CheckSnapshot:
    """Return the findings that need the XMPP servers: handshake, modules, STUN servers."""
    hides = session_policy(settings).terminates
    found = [await _visited(each, hides) for each in component_settings(settings)]
    findings = tuple(finding for each in found for finding in each.findings)
    stun = dict.fromkeys(server for each in found for server in each.stun)
    return CheckSnapshot(findings=findings, stun=tuple(stun))


async def _visited(settings: ComponentSettings, hides: bool) -> CheckSnapshot:
    async with _visiting(settings) as (component, visitor):
        failed = await visitor.arrived()
        where = f"{settings.host}:{settings.port}"
        if failed:
            refused = _found("FAIL", "handshake", f"{where}: {failed}")
            return CheckSnapshot(findings=(refused,))
        modules, services = await asyncio.gather(component.diagnose(), component.services())
        offers = component.component_services
        findings = [_found("ok", "handshake", f"{where} accepts {settings.jid}")]
        findings += _displaced(settings.jid, modules.values())
        findings += selfcheck.modules(modules, offers.callers)
        findings += selfcheck.unlisted(modules, {*settings.domains, *settings.elsewhere})
        findings += selfcheck.hidden_addresses(modules) if hides else ()
        findings += selfcheck.component_services(offers)
        findings += selfcheck.services(services)
        if not any(state.server for state in modules.values()):
            findings.append(await _coming_back(settings, visitor))
        return CheckSnapshot(findings=tuple(findings), stun=selfcheck.stun_servers(services))


def _displaced(jid: str, modules: Iterable[ModuleState]) -> list[CheckFinding]:
    """Return whether a process on another host serves our component now; at most one finding."""
    others = {s.other for s in modules if s.other and s.other_age_s < LATELY_S} - {NODE}
    if not others:
        return []
    text = (
        f"jingle-hnt on host {', '.join(sorted(others))} connects as {jid} now, and this check took"
        " its place for a moment: end one of the two, or give it a component of its own"
    )
    return [_found("FAIL", f"second instance of {jid}", text)]


async def _coming_back(settings: ComponentSettings, visitor: "_Visitor") -> CheckFinding:
    """Return whether a new connection takes the place of one that the server believes in.

    A module can tell; without one it is tried out.
    """
    subject = "coming back"
    async with _visiting(settings) as (_, second):
        refused = await second.arrived()
        if refused:
            return _found("warn", subject, refused)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(REPLACED_S):
                await visitor.left.wait()
    if visitor.left.is_set():
        return _found("ok", subject, "a new connection takes the place of an old one at once")
    text = "the server keeps an old connection beside a new one, and shares stanzas out between"
    return _found("warn", subject, f"{text} them; ejabberd keeps one where our module is loaded")


@contextlib.asynccontextmanager
async def _visiting(settings: ComponentSettings) -> AsyncIterator[tuple[Component, "_Visitor"]]:
    """A connection of our own to the server, on its way."""
    visitor = _Visitor()
    component = Component(settings, visitor)
    visitor.link = asyncio.create_task(component.run())
    try:
        yield component, visitor
    finally:
        await component.stop()
        visitor.link.cancel()
        await asyncio.gather(visitor.link, return_exceptions=True)


class _Visitor:
    """Connects to look around, and lets every stanza that comes meanwhile go its way.

    Used only where no process of this configuration answers (see `running`).
    """

    def __init__(self) -> None:
        self.link: asyncio.Task[None] | None = None
        self.connected = asyncio.Event()
        self.left = asyncio.Event()
        self.reason = ""

    async def arrived(self) -> str:
        """Why there is no connection; empty when there is one."""
        assert self.link is not None
        waiting = {asyncio.create_task(e.wait()) for e in (self.connected, self.left)}
        try:
            await asyncio.wait(
                {self.link, *waiting}, timeout=CONNECT_S, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            for task in waiting:
                task.cancel()
        if self.link.done() and isinstance(error := self.link.exception(), SecretRefused):
            return str(error)
        if self.connected.is_set():
            return ""
        if self.reason and not self.reason.startswith("cannot connect"):
            return self.reason
        return f"{self.reason or 'no answer'}; is the server up, and its component port there?"

    def receive(self, request: Request) -> None:
        """Not answered: the module decides."""

    def rang(self, ring: Ring) -> None:
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

    def expired(self, request: Request) -> None:
        """Of no interest."""

    def passed(self, passed: Passed) -> None:
        """Of no interest."""

    def rejected(self, sender: JID, error: JingleError) -> None:
        """Of no interest."""

    def on_connected(self, component: str) -> None:
        self.connected.set()

    def on_disconnected(self, component: str, reason: str) -> None:
        self.reason = reason
        self.left.set()


def _addresses(settings: Settings, running: bool) -> Iterator[CheckFinding]:
    first, last = settings.relay.port_range
    for interface in settings.relay.interfaces:
        step = max(1, (last - first) // SAMPLE)
        faults = [bind_fault(str(interface.address), port) for port in range(first, last, step)]
        absent = [f for f in faults if f == "absent"]
        taken = [f for f in faults if f == "taken"]
        if absent:
            text = "is on no interface of this host; write this host's address, or behind a 1:1"
            text += ' NAT { address = "(this host\'s)", advertise = "(the public one)" }'
            yield _found("FAIL", f"relay address {interface.address}", text)
        elif taken and not running:
            text = f"{len(taken)} of {len(faults)} ports tried are held by another process"
            yield _found("warn", f"relay address {interface.address}", text)
        else:
            told = interface.advertise or interface.address
            text = f"ports can be bound; parties are told {told}"
            yield _found("ok", f"relay address {interface.address}", text)


def _port_range(settings: Settings) -> CheckFinding:
    first, last = settings.relay.port_range
    calls = (last - first + 1) // 4
    try:
        low, high = map(int, EPHEMERAL.read_text().split())
        reserved = RESERVED.read_text()
    except OSError:  # a sandbox: `check` outside of it can tell
        low, high, reserved = last + 1, last + 1, ""
    if last < low or first > high or _covered(first, last, reserved):
        return _found("ok", "ports", f"{first}-{last}: enough for {calls} audio calls at once")
    text = (
        f"{first}-{last} overlaps the ports that this host gives to programs ({low}-{high});"
        f" write sysctl net.ipv4.ip_local_reserved_ports = {first}-{last}"
    )
    return _found("warn", "ports", text)


def _covered(first: int, last: int, reserved: str) -> bool:
    """Return whether a list such as ``8080,9148-9150`` names all these ports."""
    ports = set(range(first, last + 1))
    for part in filter(None, reserved.strip().split(",")):
        low, _, high = part.partition("-")
        ports.difference_update(range(int(low), int(high or low) + 1))
    return not ports


def _scans(settings: Settings) -> Iterator[CheckFinding]:
    """Return whether the kernel tells a scan which ports of the relay nobody has (threats: M17)."""
    first, last = settings.relay.port_range
    for interface in settings.relay.interfaces:
        address = str(interface.address)
        tried = random.sample(range(first, last + 1), min(SCANNED, last + 1 - first))
        if any(_is_refused(address, port) for port in tried):
            text = "the kernel answers for ports that have no call, so a scan tells which have one;"
            text += " load config/nftables/jingle-hnt.nft of the project"
            yield _found("warn", f"scans of {address}", text)
        else:
            yield _found("ok", f"scans of {address}", "free ports are as silent as those of calls")


def _is_refused(address: str, port: int) -> bool:
    """Return whether a datagram to this port is answered by ICMP port unreachable."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.settimeout(REFUSED_S)
        try:
            probe.connect((address, port))
            probe.send(b"\0")
            probe.recv(1)
        except ConnectionRefusedError:
            return True
        except OSError:  # silence; or an address that is not ours, of which another finding tells
            return False
    return False


def _descriptors(settings: Settings) -> CheckFinding:
    first, last = settings.relay.port_range
    # A latched port has two sockets: an unconnected and a connected one.
    wanted = 2 * (last - first + 1) * len(settings.relay.interfaces)
    _, limit = descriptor_limit()  # `run` takes all that it may have
    if limit >= wanted or limit == resource.RLIM_INFINITY:
        return _found("ok", OPEN_FILES, f"the limit of {limit} is enough")
    text = f"the limit of {limit} is too low for all ports; write LimitNOFILE={wanted + 1024}"
    return _found("FAIL", OPEN_FILES, text)


def _parser() -> CheckFinding:
    concern, well = expat.found()
    return _found("warn" if concern else "ok", "XML parser", concern or well)


def _native() -> CheckFinding:
    try:
        import jingle_hnt.plane.native  # noqa: F401
    except ImportError:
        return _found("warn", "native engine", selfcheck.NOT_NATIVE)
    return _found("ok", "native engine", "built")


def _found(verdict: str, subject: str, text: str) -> CheckFinding:
    return CheckFinding(verdict=verdict, subject=subject, text=text)
