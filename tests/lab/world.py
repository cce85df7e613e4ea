"""A small internet in network namespaces: a routed core, public hosts, and sites behind NATs.

    stranger ─┐              ┌─ server   203.0.113.2
              ├─── core ─────┼─ relay    203.0.113.9
    site 1 ───┤              └─ ...
       nat 198.51.100.1      every link is point to point; the core blackholes 192.0.2.0/24,
       host 192.0.2.10       the range that the sites use inside, each for itself

Everything is named after the lab and removed by `close`. Only documentation ranges are used
(RFC 5737, RFC 3849), and nothing leaves the namespaces.
"""

import itertools
import os
import secrets
import subprocess
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Self

SERVER = "203.0.113.2"
SERVER_TOO = "203.0.113.3"
"""Of the second node, where the server is a cluster."""
SERVER_ABROAD = "203.0.113.4"
"""Of another domain, whose users call ours over s2s."""
RELAY = "203.0.113.9"
STRANGER = "198.51.100.66"
GATEWAY = "198.51.100.254"
SERVER6 = "2001:db8::2"
RELAY6 = "2001:db8::9"
GATEWAY6 = "fe80::1"
INSIDE = "192.0.2.0/24"
INSIDE_GATEWAY = "192.0.2.1"
BETWEEN, BETWEEN_GATEWAY = "192.0.2.130", "192.0.2.129"
"""Between two NATs in a row; the inner one has the lower half of INSIDE then."""


class NatKind(StrEnum):
    """How a site reaches the core; the terms are those of RFC 4787 and RFC 5780."""

    NONE = "none"
    FULL_CONE = "full-cone"  # who knows a mapped port may send to it
    ADDRESS_RESTRICTED = "address-restricted"  # so may every port of a host that was sent to
    PORT_RESTRICTED = "port-restricted"  # endpoint-independent mapping, port-dependent filtering
    SYMMETRIC = "symmetric"  # another random port for every destination
    TWO_IN_A_ROW = "two-in-a-row"  # port-restricted at home, and the carrier's is symmetric


_SYMMETRIC = "masquerade fully-random"

# A site has one host, so masquerading keeps its ports: the public port says which one is meant.
_CONES = {
    NatKind.FULL_CONE: ("inet_service", "udp sport", "udp dport"),
    NatKind.ADDRESS_RESTRICTED: (
        "inet_service . ipv4_addr",
        "udp sport . ip daddr",
        "udp dport . ip saddr",
    ),
}
_CONE_RULES = """
table ip cone {{
    set opened {{
        type {type}
        flags dynamic, timeout
        timeout 2m
    }}
    chain post {{
        type filter hook postrouting priority 150
        oifname "wan" meta l4proto udp update @opened {{ {leaving} }}
    }}
    chain pre {{
        type nat hook prerouting priority dstnat
        iifname "wan" {arriving} @opened dnat to {inside}
    }}
}}
"""

# Unsolicited packets are dropped without an answer: an answer, or an entry in conntrack, would take
# the port that the site's own packets need.
_RULES = """
table ip nat {{
    chain post {{
        type nat hook postrouting priority srcnat
        oifname "wan" {masquerade}
    }}
}}
table ip filter {{
    chain input {{
        type filter hook input priority filter
        iifname "wan" ct state != {{ established, related }} drop
    }}
    chain forward {{
        type filter hook forward priority filter
        iifname "wan" ct state new ct status & dnat == 0 drop
    }}
}}
"""


class Lab:
    """Builds on demand; `with Lab() as lab` removes everything at the end, also after errors.

    Needs root, iproute2 and nftables; raises PermissionError or FileNotFoundError without.
    """

    def __init__(self) -> None:
        if os.geteuid() != 0:
            raise PermissionError("the lab makes network namespaces; run it as root")
        # A killed run leaves its namespaces behind: names long enough never to meet them.
        self._prefix = f"hnt{secrets.token_hex(6)}"
        self._namespaces: list[str] = []
        self._uplinks: dict[str, str] = {}
        self._numbers = itertools.count(1)
        try:
            self._core()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Remove every namespace of this lab. Processes in them are their starters' to end."""
        while self._namespaces:
            subprocess.run(["ip", "netns", "del", self._namespaces.pop()], check=False)

    def namespace(self, node: str) -> str:
        """The namespace of a node, as `ip netns` knows it."""
        return f"{self._prefix}-{node}"

    def command(self, node: str, arguments: Sequence[str]) -> list[str]:
        """The command line that runs something on a node."""
        return ["ip", "netns", "exec", self.namespace(node), *arguments]

    def public(self, node: str, address: str) -> str:
        """Add a host with a public address; returns the address."""
        self._namespace(node)
        self._uplink(node, "eth0", address)
        return address

    def also(self, node: str, address: str) -> str:
        """Give a public host an IPv6 address as well; returns the address."""
        far = self._uplinks[node]
        self._ip("core", f"addr replace {GATEWAY6}/64 dev {far}", f"route add {address} dev {far}")
        self._ip(
            node,
            f"addr add {address}/128 dev eth0 nodad",
            f"route add default via {GATEWAY6} dev eth0",
        )
        return address

    def add_address(self, node: str, address: str) -> None:
        """Give a public host a second address of a version that it has."""
        six = ":" in address
        self._ip(node, f"addr add {address}/{'128 dev eth0 nodad' if six else '32 dev eth0'}")
        self._ip("core", f"route add {address} dev {self._uplinks[node]}")

    def unplug(self, node: str, address: str) -> None:
        """Take a public host's wire away, and with it its address and its routes."""
        self._ip(node, f"addr del {address}/32 dev eth0", "link set eth0 down")

    def plug(self, node: str, address: str) -> None:
        """Undo `unplug`."""
        self._ip(
            node,
            "link set eth0 up",
            f"addr add {address}/32 dev eth0",
            f"route add default via {GATEWAY} dev eth0 onlink",
        )

    def six_only(self, node: str, address: str) -> str:
        """Add a public host that has IPv6 only; returns the address."""
        self._namespace(node)
        self._link(node, "eth0")
        return self.also(node, address)

    def site(self, node: str, kind: NatKind) -> tuple[str, str]:
        """Add a host behind a NAT of this kind; returns its own address and its public one."""
        number = next(self._numbers)
        public = f"198.51.100.{number}"
        if kind is NatKind.NONE:
            return self.public(node, public), public
        inside = f"192.0.2.{9 + number}"
        nat, prefix = f"{node}-nat", 24
        if kind is NatKind.TWO_IN_A_ROW:
            outer, prefix = f"{node}-outer", 25
            self._namespace(outer)
            self._uplink(outer, "wan", public)
            self._namespace(nat)
            self._lan(outer, BETWEEN_GATEWAY, nat, "wan", BETWEEN, prefix)
            self._translate(outer, _SYMMETRIC)
        else:
            self._namespace(nat)
            self._uplink(nat, "wan", public)
        self._namespace(node)
        self._lan(nat, INSIDE_GATEWAY, node, "eth0", inside, prefix)
        self._translate(nat, _SYMMETRIC if kind is NatKind.SYMMETRIC else "masquerade")
        if kind in _CONES:
            type_, leaving, arriving = _CONES[kind]
            rules = _CONE_RULES.format(
                type=type_, leaving=leaving, arriving=arriving, inside=inside
            )
            self._nft(nat, rules)
        return inside, public

    def neighbour(self, node: str, of: str) -> str:
        """Add a host beside another one, behind its NAT; returns its own address."""
        nat, inside = f"{of}-nat", f"192.0.2.{9 + next(self._numbers)}"
        self._ip(
            nat,
            "link add bridge type bridge",
            "link set lan master bridge",
            f"addr del {INSIDE_GATEWAY}/24 dev lan",
            f"addr add {INSIDE_GATEWAY}/24 dev bridge",
            "link set bridge up",
        )
        self._namespace(node)
        _ip(
            f"link add lan2 netns {self.namespace(nat)} type veth"
            f" peer name eth0 netns {self.namespace(node)}"
        )
        self._ip(nat, "link set lan2 master bridge", "link set lan2 up")
        self._ip(
            node,
            f"addr add {inside}/24 dev eth0",
            "link set eth0 up",
            f"route add default via {INSIDE_GATEWAY}",
        )
        return inside

    def _lan(
        self, nat: str, gateway: str, node: str, device: str, address: str, prefix: int
    ) -> None:
        """A wire from a NAT to a node behind it."""
        _ip(
            f"link add lan netns {self.namespace(nat)} type veth"
            f" peer name {device} netns {self.namespace(node)}"
        )
        self._ip(nat, f"addr add {gateway}/{prefix} dev lan", "link set lan up")
        self._ip(
            node,
            f"addr add {address}/{prefix} dev {device}",
            f"link set {device} up",
            f"route add default via {gateway}",
        )

    def _translate(self, nat: str, masquerade: str) -> None:
        self._run(nat, "sysctl", "-qw", "net.ipv4.ip_forward=1")
        self._nft(nat, _RULES.format(masquerade=masquerade))

    def _nft(self, nat: str, rules: str) -> None:
        subprocess.run(self.command(nat, ["nft", "-f", "-"]), input=rules, text=True, check=True)

    def filter(self, node: str, file: Path) -> None:
        """Load a file of nftables rules at a node."""
        self._nft(node, file.read_text())

    def cut(self, node: str, port: int, reset: bool = False) -> None:
        """Let nothing pass to or from this TCP port of a node; with `reset` both ends are told."""
        fate = "reject with tcp reset" if reset else "drop"
        rules = "".join(
            f"chain {hook} {{ type filter hook {hook} priority 0; tcp {end} {port} {fate}; }}\n"
            for hook, end in (("input", "dport"), ("output", "sport"))
        )
        self._nft(node, f"table inet cut {{\n{rules}}}\n")

    def bury(self, node: str, port: int) -> None:
        """Let nothing pass any more on the connections that this TCP port of a node has now.

        It is as if the host at their other ends had gone without a word: not even a reset comes
        from there, ever. New connections are possible.
        """
        command = self.command(node, ["ss", "-Htn", "state", "established", f"( sport = :{port} )"])
        told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        peers = ", ".join(line.split()[-1].rpartition(":")[2] for line in told.splitlines())
        rules = "".join(
            f"chain {hook} {{ type filter hook {hook} priority 0;"
            f" tcp {own} {port} tcp {other} {{ {peers} }} drop; }}\n"
            for hook, own, other in (("input", "dport", "sport"), ("output", "sport", "dport"))
        )
        self._nft(node, f"table inet buried {{\n{rules}}}\n")

    def mend(self, node: str) -> None:
        """Undo `cut`."""
        self._run(node, "nft", "delete", "table", "inet", "cut")

    def remap(self, node: str) -> None:
        """Let the site's NAT forget its mappings; the next packets leave from other ports."""
        nat = f"{node}-nat"
        rules = (
            "flush chain ip nat post\n"
            'add rule ip nat post oifname "wan" meta l4proto udp'
            " masquerade to :50000-60000 fully-random\n"
            'add rule ip nat post oifname "wan" masquerade\n'
        )
        self._nft(nat, rules)
        self._forget(nat)

    def _forget(self, nat: str) -> None:
        subprocess.run(
            self.command(nat, ["conntrack", "-D", "-p", "udp"]), capture_output=True, check=False
        )

    def move(self, node: str) -> str:
        """Let the site's UDP come from another public address at once; returns that.

        The mappings before are gone, as where a phone changes from one network to another.
        """
        nat = f"{node}-nat"
        public = f"198.51.100.{100 + next(self._numbers)}"
        self._ip(nat, f"addr add {public}/32 dev wan")
        self._ip("core", f"route add {public}/32 dev {self._uplinks[nat]}")
        rules = (
            "flush chain ip nat post\n"
            f'add rule ip nat post oifname "wan" meta l4proto udp snat to {public}'
            ":20000-40000 fully-random\n"
            'add rule ip nat post oifname "wan" masquerade\n'
        )
        self._nft(nat, rules)
        self._forget(nat)
        return public

    def _core(self) -> None:
        self._namespace("core")
        self._run("core", "sysctl", "-qw", "net.ipv4.ip_forward=1")
        self._run("core", "sysctl", "-qw", "net.ipv6.conf.all.forwarding=1")
        self._ip("core", f"addr add {GATEWAY}/32 dev lo", f"route add blackhole {INSIDE}")

    def _namespace(self, node: str) -> str:
        name = self.namespace(node)
        _ip(f"netns add {name}")
        self._namespaces.append(name)
        self._ip(node, "link set lo up")
        return name

    def _uplink(self, node: str, device: str, address: str) -> None:
        far = self._link(node, device)
        self._ip("core", f"route add {address}/32 dev {far}")
        self._ip(
            node,
            f"addr add {address}/32 dev {device}",
            f"route add default via {GATEWAY} dev {device} onlink",
        )

    def _link(self, node: str, device: str) -> str:
        """A wire to the core; returns its name there."""
        far = self._uplinks[node] = f"v{len(self._namespaces)}"
        _ip(
            f"link add {device} netns {self.namespace(node)} type veth"
            f" peer name {far} netns {self.namespace('core')}"
        )
        self._ip("core", f"link set {far} up")
        self._ip(node, f"link set {device} up")
        return far

    def _ip(self, node: str, *commands: str) -> None:
        batch = "\n".join(commands)
        arguments = ["ip", "-n", self.namespace(node), "-batch", "-"]
        subprocess.run(arguments, input=batch, text=True, check=True)

    def _run(self, node: str, *arguments: str) -> None:
        subprocess.run(self.command(node, arguments), check=True)


def _ip(command: str) -> None:
    subprocess.run(["ip", *command.split()], check=True)
