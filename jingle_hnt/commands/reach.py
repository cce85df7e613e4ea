"""The address that parties are told, tested for real: a part of `check`.

A STUN server is asked where each of the relay's addresses is seen from (RFC 8489), and a datagram
goes to the advertised address and ought to come back. aioice has the codec and the transactions.
"""

import asyncio
import contextlib
import secrets
import socket
from collections.abc import Sequence
from ipaddress import ip_address
from typing import cast

import aioice
from aioice import stun
from aioice.ice import StunProtocol

from jingle_hnt.admin.snapshots import CheckFinding
from jingle_hnt.commands.advertised import advertised, free_port, is_private
from jingle_hnt.settings.model import InterfaceOptions, RelayOptions

RETRANSMISSIONS = 3
"""Of a STUN query: an answer that does not come takes 3.5 s."""
HAIRPIN_S = 1.0


async def reach(relay: RelayOptions, servers: Sequence[str]) -> list[CheckFinding]:
    """Ask where each address is seen from, and send oneself a datagram by what parties are told."""
    found = await asyncio.gather(*(_reach(relay, i, servers) for i in relay.interfaces))
    return [finding for findings in found for finding in findings]


async def _reach(
    relay: RelayOptions, interface: InterfaceOptions, servers: Sequence[str]
) -> list[CheckFinding]:
    port = free_port(relay, interface)
    if port is None or advertised(interface).is_loopback:
        return []  # other findings say why
    back = [await _comes_back(interface, port)]
    if interface.networks:
        return [f for f in back if f is not None]  # not what the internet sees
    return [f for f in (await _seen(interface, port, servers), *back) if f is not None]


async def _seen(
    interface: InterfaceOptions, port: int, servers: Sequence[str]
) -> CheckFinding | None:
    """Return whether the first STUN server that answers sees the advertised address and port."""
    ip, subject = advertised(interface), f"advertised address {advertised(interface)}"
    if not servers:
        if interface.advertise is None and not is_private(ip):
            return None
        text = "no STUN server is known that could say whether it is right: see relay.stun_server"
        return CheckFinding(verdict="warn", subject=subject, text=text)
    for server in servers:
        mapped = await seen_from((str(interface.address), port), server)
        if mapped is not None:
            return compared(interface, port, server, mapped)
    text = (
        f"no STUN server answers ({', '.join(servers)}): they are away, have no IPv{ip.version}, or"
        f" UDP from {interface.address} is blocked on its way out or back"
    )
    return CheckFinding(verdict="warn", subject=subject, text=text)


def compared(
    interface: InterfaceOptions, port: int, server: str, mapped: tuple[str, int]
) -> CheckFinding:
    """Compare the address that a STUN server sees with the advertised one."""
    ip, subject = advertised(interface), f"advertised address {advertised(interface)}"
    seen, seen_port = ip_address(mapped[0]), mapped[1]
    wanted_port = port + interface.port_offset
    verdict, text = "ok", f"is where {server} sees {interface.address}"
    if seen != ip and is_private(seen) and not is_private(ip):
        verdict = "warn"
        text = (
            f"{server} is inside of this network and sees {seen}; write one outside of it in"
            " relay.stun_server"
        )
    elif seen != ip:
        verdict = "FAIL"
        text = (
            f"{server} sees {interface.address} as {seen}: nobody reaches us by {ip}; write"
            f' {{ address = "{interface.address}", advertise = "{seen}" }}, and'
            " `jingle-hnt reload` brings it into force"
        )
    elif seen_port != wanted_port:
        verdict = "warn"
        text = (
            f"{server} sees port {port} as {seen_port}: a NAT in front changes ports; forward"
            " relay.ports to this host one to one, or write the difference as port_offset"
        )
    return CheckFinding(verdict=verdict, subject=subject, text=text)


class _Nobody:
    """A socket for STUN transactions alone; other datagrams are ignored."""

    def protocol_lost(self, _: StunProtocol) -> None:
        """Of no interest."""

    def data_received(self, _: bytes, __: int) -> None:
        """Of no interest."""

    def request_received(self, _: stun.Message, __: tuple[str, int], ___: StunProtocol) -> None:
        """Not answered."""


async def seen_from(local: tuple[str, int], server: str) -> tuple[str, int] | None:
    """Return the address and port that a STUN server sees; None if it does not answer."""
    loop = asyncio.get_running_loop()
    host, _, port = server.rpartition(":")
    family = socket.AF_INET6 if ":" in local[0] else socket.AF_INET
    try:
        resolved = await loop.getaddrinfo(
            host.strip("[]"), int(port), family=family, type=socket.SOCK_DGRAM
        )
        _, asker = await loop.create_datagram_endpoint(
            lambda: StunProtocol(cast(aioice.Connection, _Nobody())), local_addr=local
        )
    except (OSError, UnicodeError):
        return None
    asker.local_candidate = aioice.Candidate("1", 1, "udp", 1, *local, "host")
    request = stun.Message(stun.Method.BINDING, stun.Class.REQUEST)
    try:
        where = resolved[0][4][:2]
        answer, _ = await asker.request(
            request, (str(where[0]), int(where[1])), retransmissions=RETRANSMISSIONS
        )
    except (stun.TransactionError, OSError):
        return None
    finally:
        await asker.close()
    mapped = answer.attributes.get("XOR-MAPPED-ADDRESS") or answer.attributes.get("MAPPED-ADDRESS")
    return None if mapped is None else (str(mapped[0]), int(mapped[1]))


async def _comes_back(interface: InterfaceOptions, port: int) -> CheckFinding | None:
    """Return whether a datagram from this host to the advertised address and port arrives here."""
    ip, subject = advertised(interface), f"advertised address {advertised(interface)}"
    if await hairpins(interface, port):
        text = "a datagram that we send to it comes back to us"
        return CheckFinding(verdict="ok", subject=subject, text=text)
    if ip != interface.address:
        return None  # a NAT without hairpin: that is said by what STUN finds, or by nobody
    text = (
        f"what this host sends to {ip} port {port} does not arrive: a rule of its firewall takes it"
        " (`nft list ruleset`); let UDP to relay.ports in"
    )
    return CheckFinding(verdict="FAIL", subject=subject, text=text)


async def hairpins(interface: InterfaceOptions, port: int) -> bool:
    """Whether a datagram that goes to what is told of this address and port comes back to it."""
    loop, token = asyncio.get_running_loop(), secrets.token_bytes(16)
    family = socket.AF_INET6 if interface.address.version == 6 else socket.AF_INET
    with contextlib.ExitStack() as opened:
        one, other = (
            opened.enter_context(socket.socket(family, socket.SOCK_DGRAM)) for _ in range(2)
        )
        for each in (one, other):
            each.setblocking(False)
        try:
            one.bind((str(interface.address), port))
            other.bind((str(interface.address), 0))
            other.sendto(token, (str(advertised(interface)), port + interface.port_offset))
        except OSError:
            return False
        with contextlib.suppress(TimeoutError, OSError):
            async with asyncio.timeout(HAIRPIN_S):
                while await loop.sock_recv(one, 64) != token:
                    pass
                return True
    return False
