"""Real XMPP servers for tests: from files of ours, in a directory of its own, on ports of its own.

They never touch the distribution's service, configuration or data. They need no certificate and no
DNS: streams are plain, passwords are stored in the clear, and other servers are found by a table.
None of this belongs outside a lab.
"""

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from tests.ports import free_port

Endpoint = tuple[str, int]
"""IP address and TCP port."""

_START_S = 180.0
_STOP_S = 5.0


class ServerFailed(Exception):
    """The server did not start or a command to it failed; the text holds the end of its log."""


@dataclass(frozen=True, slots=True)
class VirtualHost:
    """A domain with its users (name to password).

    `component` names the external component that mod_jingle_hnt asks; without it the module is not
    loaded. `fail` is ``open`` or ``closed``; `timeout_s` is how long a stanza is held.
    """

    domain: str
    users: Mapping[str, str] = field(default_factory=dict)
    component: str | None = None
    fail: str = "open"
    timeout_s: float = 3.0


class LocalServer(ABC):
    """One server process; `async with Prosody(...) as server` starts and stops it.

    `components` maps component domains to secrets. `listen` holds the addresses for clients and
    servers, `component_listen` the one for components (default: the first of `listen`). Ports left
    out are free ones, or 5222, 5347 and 5269 inside a network `namespace`, where nobody else
    listens. `routes` maps the domains of other servers to their endpoints and allows s2s (also an
    empty table does; it is read at the first start); without it there is none. `limited_but` sets
    the limits of traffic that Debian's package comes with, for all but these users. `web` is a port
    for BOSH and WebSocket (XEP-0124, RFC 7395) on plain HTTP. `rooms` is a domain of rooms
    (XEP-0045). `settings` are further global options.

    Raises ServerFailed if it does not listen within three minutes.
    """

    kind: ClassVar[str]
    log_file: ClassVar[str]

    def __init__(
        self,
        hosts: Sequence[VirtualHost],
        components: Mapping[str, str],
        *,
        listen: Sequence[str] = ("127.0.0.1",),
        component_listen: str | None = None,
        c2s_port: int | None = None,
        component_port: int | None = None,
        s2s_port: int | None = None,
        routes: Mapping[str, Endpoint] | None = None,
        namespace: str | None = None,
        web: int | None = None,
        rooms: str | None = None,
        limited_but: Sequence[str] | None = None,
        settings: Mapping[str, object] | None = None,
    ) -> None:
        self.hosts = tuple(hosts)
        self.components = dict(components)
        self.listen = tuple(listen)
        self.namespace = namespace
        self.routes = routes
        self.web = web
        self.rooms = rooms
        self.limited_but = limited_but
        self.settings = dict(settings or {})
        self.c2s: Endpoint = self._endpoint(self.listen[0], c2s_port, 5222)
        self.component: Endpoint = self._endpoint(
            component_listen or self.listen[0], component_port, 5347
        )
        self.s2s: Endpoint = self._endpoint(self.listen[0], s2s_port, 5269)
        self._directory: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def _endpoint(self, address: str, port: int | None, well_known: int) -> Endpoint:
        if port is None:
            port = well_known if self.namespace else free_port(address, socket.SOCK_STREAM)
        return (address, port)

    # Life

    def start(self) -> None:
        """Start and return once it listens on every port; accounts survive a stop and start."""
        if self._directory is None:
            self._directory = Path(tempfile.mkdtemp(prefix=f"hnt-{self.kind}-"))
            self._write_files(self._directory)
        with (self._directory / "output").open("ab") as output:
            self._process = subprocess.Popen(
                self._in_namespace(self._command(self._directory)),
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                cwd=self._directory,
                env={**os.environ, **self._environment(self._directory)},
            )
        try:
            self._wait_until_listening(self._process)
            self._started(self._process)
        except BaseException:
            self.close()
            raise

    def stop(self) -> None:
        """End it in an orderly way: streams are closed. It can be started again."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it as a power cut would."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Stop and start it: same ports, same accounts."""
        self.stop()
        self.start()

    def change_secret(self, component: str, secret: str) -> None:
        """Stop it, and start it with another secret for a component."""
        self.stop()
        self.components[component] = secret
        assert self._directory is not None
        self._write_files(self._directory)
        self.start()

    def close(self) -> None:
        """End it at once, for nobody reads what it would write (ejabberd takes a second to stop),
        and remove its files."""
        self.kill()
        if self._directory is not None:
            shutil.rmtree(self._directory, ignore_errors=True)
            self._directory = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self.start)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await asyncio.to_thread(self.close)

    # Control

    @property
    def pid(self) -> int:
        """The process id; raises ServerFailed when it does not run."""
        if self._process is None:
            raise ServerFailed(f"{self.kind} does not run")
        return self._process.pid

    def log_text(self) -> str:
        """What it logged so far, debug lines included, for the message of a failing test."""
        if self._directory is None:
            return ""
        texts = []
        for name in ("output", self.log_file):
            path = self._directory / name
            if path.exists():
                texts.append(path.read_text(errors="replace"))
        return "".join(texts)

    @abstractmethod
    async def reload_module(self, on: bool, domain: str | None = None) -> None:
        """Load the module anew from its file, or unload it, while the server runs.

        `domain` defaults to every host that names a component.
        """

    @abstractmethod
    def _write_files(self, directory: Path) -> None:
        """Everything that the server reads, before its first start."""

    @abstractmethod
    def _command(self, directory: Path) -> list[str]:
        """What is run."""

    def _environment(self, directory: Path) -> dict[str, str]:
        """What is added to the environment."""
        return {}

    def _started(self, process: subprocess.Popen[bytes]) -> None:  # noqa: B027 - may be nothing
        """It listens: what is to be done before the first client comes."""

    def _in_namespace(self, command: list[str]) -> list[str]:
        return ["ip", "netns", "exec", self.namespace, *command] if self.namespace else command

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None
        process.stdin.close()
        if process.poll() is None:
            process.send_signal(how)
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _wait_until_listening(self, process: subprocess.Popen[bytes]) -> None:
        wanted = {self.c2s[1], self.component[1]}
        if self.routes is not None:
            wanted.add(self.s2s[1])
        if self.web is not None:
            wanted.add(self.web)
        deadline, pause_s = time.monotonic() + _START_S, 0.02
        while not wanted <= _listening_ports(process.pid):
            if process.poll() is not None or time.monotonic() > deadline:
                raise ServerFailed(f"{self.kind} does not listen on {wanted}:\n{self._log_end()}")
            time.sleep(pause_s)  # looking is work: a busy machine has better to do
            pause_s = min(0.5, 1.5 * pause_s)

    def _log_end(self) -> str:
        return "\n".join(self.log_text().splitlines()[-40:])


def _listening_ports(pid: int) -> set[int]:
    """TCP ports on which this very process listens, in whatever network namespace it is."""
    process = Path(f"/proc/{pid}")
    try:
        own = {link.readlink().name for link in (process / "fd").iterdir()}
        rows = [
            line.split()
            for table in ("tcp", "tcp6")
            for line in (process / "net" / table).read_text().splitlines()[1:]
        ]
    except OSError:
        return set()
    return {
        int(row[1].rpartition(":")[2], 16)
        for row in rows
        if row[3] == "0A" and f"socket:[{row[9]}]" in own
    }
