"""A cluster of ejabberd nodes for tests: real ones, each with its own database.

Each node has an address of its own and all listen for one another on the same port, so that no epmd
is needed: none is started, and none of the machine's is asked.
"""

import secrets
import socket
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle
from typing import Any

from tests.lab.ejabberd import Ejabberd
from tests.lab.server import Endpoint
from tests.ports import free_port

_JOIN_S = 120.0
LOOPBACK = ("127.0.77.1", "127.0.77.2")


class EjabberdNode(Ejabberd):
    """One node, at an address of its own; `port` and `cookie` are those of its cluster."""

    def __init__(
        self, address: str, port: int, cookie: str, *arguments: Any, **options: Any
    ) -> None:
        self.address = address
        self.name = f"ejabberd@{self.address}"
        self._port, self._cookie = port, cookie
        super().__init__(*arguments, listen=(self.address,), **options)

    def join(self, other: "EjabberdNode") -> None:
        """Leave its own cluster for that of `other`; it is restarted inside."""
        self._evaluate(f"ok = ejabberd_cluster:join('{other.name}').", _JOIN_S)

    def _distribution(self) -> list[str]:
        interface = "{" + self.address.replace(".", ",") + "}"
        return [
            *("-name", self.name, "-setcookie", self._cookie),
            *("-start_epmd", "false", "-erl_epmd_port", str(self._port)),
            *("-kernel", "inet_dist_use_interface", interface),
        ]


class EjabberdCluster(EjabberdNode):
    """Nodes at these addresses, of which this is the first."""

    def __init__(self, *arguments: Any, listen: Sequence[str] = LOOPBACK, **options: Any) -> None:
        port = free_port("127.0.0.1", socket.SOCK_STREAM)
        common = (port, secrets.token_hex(8), *arguments)
        super().__init__(listen[0], *common, **options)
        self.others = [EjabberdNode(address, *common, **options) for address in listen[1:]]
        self._joined = False

    @property
    def nodes(self) -> list[EjabberdNode]:
        """All, this one first."""
        return [self, *self.others]

    async def forget_parties(self) -> None:
        """Before they go: their end would be told a moment later, to whoever is there then."""
        for node in self.nodes:
            await node.evaluate("ets:delete_all_objects(mod_jingle_hnt_parties).")

    def start(self) -> None:
        with ThreadPoolExecutor() as pool:
            starts = [super().start, *(node.start for node in self.others)]
            for started in [pool.submit(start) for start in starts]:
                started.result()
        if not self._joined:
            for node in self.others:
                node.join(self)
        self._joined = True

    def stop(self) -> None:
        for node in self.others:
            node.stop()
        super().stop()

    def kill(self) -> None:
        for node in self.others:
            node.kill()
        super().kill()

    def close(self) -> None:
        for node in self.others:
            node.close()
        super().close()

    def log_text(self) -> str:
        return "".join([super().log_text(), *(node.log_text() for node in self.others)])


class AlternatingCluster(EjabberdCluster):
    """One to which clients connect at each node in turn, and components at the first.

    The rest is as of one server, so that what holds for one is tried on a cluster as it stands.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._turns: Iterator[Endpoint] = iter(())
        if "namespace" not in options:
            options.setdefault("c2s_port", free_port(LOOPBACK[0], socket.SOCK_STREAM))
        super().__init__(*arguments, **options)

    @property
    def c2s(self) -> Endpoint:
        """Where the next client connects: the last node first."""
        return next(self._turns, self._own)

    @c2s.setter
    def c2s(self, endpoint: Endpoint) -> None:
        self._own = endpoint

    def start(self) -> None:
        self._turns = iter(())
        super().start()
        self._turns = cycle([node.c2s for node in reversed(self.nodes)])

    async def reload_module(self, on: bool, domain: str | None = None) -> None:
        """On every node."""
        await super().reload_module(on, domain)
        for node in self.others:
            await node.reload_module(on, domain)
