"""A cluster of ejabberd nodes for tests: real ones, each with its own database.

Each node has an address of its own and all listen for one another on the same port, so that no epmd
is needed: none is started, and none of the machine's is asked.
"""

import asyncio
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
_AGREE_S = 20.0
LOOPBACK = ("127.0.77.1", "127.0.77.2")


def _parts(jid: str) -> tuple[str, str, str]:
    """User, host and resource."""
    bare, _, resource = jid.partition("/")
    user, _, host = bare.partition("@")
    return user, host, resource


def _binary(text: str) -> str:
    """As a binary of Erlang."""
    return f'<<"{text}">>'


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

    # A node tells the others of what is connected to it a while after it has said so to its client.

    async def know_session(self, jid: str, at: EjabberdNode | None = None) -> None:
        """Wait until each node knows of a session of this full JID (the newest is `at` this node).

        Raises TimeoutError.
        """
        user, host, resource = map(_binary, _parts(jid))
        where = "Node" if at is None else f"'{at.name}'"
        sessions = (
            f"[node(P) || {{_, P}} <- [ejabberd_sm:get_session_sid({user}, {host}, {resource})]]"
        )
        await self._until(f"case {sessions} of [{where}] -> true; _ -> false end.")

    async def know_presence(self, jid: str) -> None:
        """Wait until each node knows that this full JID is available, or raise TimeoutError."""
        user, host, resource = map(_binary, _parts(jid))
        present = f"[R || {{_, R}} <- ejabberd_sm:get_user_present_resources({user}, {host})]"
        await self._until(f"lists:member({resource}, {present}).")

    async def know_component(self, domain: str) -> None:
        """Wait until each node knows of one connection of this component, or raise TimeoutError."""
        await self._until(f"length(mnesia:dirty_read(route, {_binary(domain)})) == 1.")

    async def _until(self, condition: str) -> None:
        async with asyncio.timeout(_AGREE_S):
            for node in self.nodes:
                while await node.evaluate(condition) != "true":  # noqa: ASYNC110
                    await asyncio.sleep(0.01)

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
