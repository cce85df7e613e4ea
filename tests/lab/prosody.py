"""A real Prosody for tests: from files of ours, in a directory of its own, on ports of its own.

It never touches the distribution's service, configuration or data. It needs no certificate and no
DNS: streams are plain, passwords are stored in the clear, and other servers are found by a table.
None of this belongs outside a lab.
"""

import asyncio
import json
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

MODULE_DIRECTORY = Path(__file__).resolve().parents[2] / "config" / "prosody"

Endpoint = tuple[str, int]
"""IP address and TCP port."""

_START_S = 15.0
_STOP_S = 5.0

# Without DNS: the addresses of other servers come from the configuration.
_ROUTES_MODULE = """
module:set_global();
local service = require "net.resolvers.service";
local manual = require "net.resolvers.manual";
local routes, resolve = module:get_option("lab_routes", {}), service.new;
function service.new(hostname, ...)
	local route = routes[hostname];
	if route then return manual.new({ { "tcp", route.address, route.port } }); end
	return resolve(hostname, ...);
end
function module.unload() service.new = resolve; end
"""


class ProsodyFailed(Exception):
    """Prosody did not start or a command to it failed; the text holds the end of its log."""


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


def free_port(address: str) -> int:
    """A TCP port that nobody listens on at `address` of this namespace right now."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as probe:
        probe.bind((address, 0))
        return int(probe.getsockname()[1])


class Prosody:
    """One Prosody process; `async with Prosody(...) as server` starts and stops it.

    `components` maps component domains to secrets. `listen` holds the addresses for clients and
    servers, `component_listen` the one for components (default: the first of `listen`). Ports left
    out are free ones, or 5222, 5347 and 5269 inside a network `namespace`, where nobody else
    listens. `routes` maps the domains of other servers to their endpoints and allows s2s (also an
    empty table does; it is read at the first start); without it there is none. `settings` are
    further global options.

    Raises ProsodyFailed if it does not listen within 15 s.
    """

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
        settings: Mapping[str, object] | None = None,
    ) -> None:
        self.hosts = tuple(hosts)
        self.components = dict(components)
        self.listen = tuple(listen)
        self.namespace = namespace
        self.routes = routes
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
            port = well_known if self.namespace else free_port(address)
        return (address, port)

    # Life

    def start(self) -> None:
        """Start and return once it listens on every port; accounts survive a stop and start."""
        if self._directory is None:
            self._directory = Path(tempfile.mkdtemp(prefix="hnt-prosody-"))
            self._write_files(self._directory)
        configuration = self._directory / "prosody.cfg.lua"
        command = ["prosody", "--config", str(configuration), "-F"]
        with (self._directory / "output").open("ab") as output:
            self._process = subprocess.Popen(
                self._in_namespace(command),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=self._directory,
            )
        try:
            self._wait_until_listening(self._process)
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

    def close(self) -> None:
        """Stop it and remove its files."""
        self.stop()
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
        """The process id; raises ProsodyFailed when it does not run."""
        if self._process is None:
            raise ProsodyFailed("Prosody does not run")
        return self._process.pid

    def log_text(self) -> str:
        """What it logged so far, debug lines included, for the message of a failing test."""
        if self._directory is None:
            return ""
        texts = []
        for name in ("output", "prosody.log"):
            path = self._directory / name
            if path.exists():
                texts.append(path.read_text(errors="replace"))
        return "".join(texts)

    async def shell(self, command: str) -> str:
        """Run one command of Prosody's admin shell; raises ProsodyFailed if it is refused."""
        return await asyncio.to_thread(self._shell, command)

    async def reload_module(self, on: bool, domain: str | None = None) -> None:
        """Load the module anew from its file, or unload it, while the server runs.

        `domain` defaults to every host that names a component.
        """
        domains = [domain] if domain else [h.domain for h in self.hosts if h.component]
        for each in domains:
            name = json.dumps(each)
            if not on:
                await self.shell(f"module:unload('jingle_hnt', {name})")
            elif "jingle_hnt" in (await self.shell(f"module:list({name})")).split():
                await self.shell(f"module:reload('jingle_hnt', {name})")
            else:
                await self.shell(f"module:load('jingle_hnt', {name})")

    def _shell(self, command: str) -> str:
        assert self._directory is not None, "start the server first"
        done = subprocess.run(
            ["prosodyctl", "--config", str(self._directory / "prosody.cfg.lua"), "shell", command],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
        answer = done.stdout + done.stderr
        if done.returncode != 0 or "! " in answer:
            raise ProsodyFailed(f"{command}: {answer}\n{self._log_end()}")
        return answer

    def _in_namespace(self, command: list[str]) -> list[str]:
        return ["ip", "netns", "exec", self.namespace, *command] if self.namespace else command

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
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
        deadline = time.monotonic() + _START_S
        while not wanted <= _listening_ports(process.pid):
            if process.poll() is not None or time.monotonic() > deadline:
                raise ProsodyFailed(f"Prosody does not listen on {wanted}:\n{self._log_end()}")
            time.sleep(0.02)

    def _log_end(self) -> str:
        return "\n".join(self.log_text().splitlines()[-40:])

    # Files

    def _write_files(self, directory: Path) -> None:
        (directory / "prosody.cfg.lua").write_text(self._configuration(directory))
        (directory / "certs").mkdir()
        plugins = directory / "plugins"
        plugins.mkdir()
        (plugins / "mod_lab_routes.lua").write_text(_ROUTES_MODULE)
        for host in self.hosts:
            accounts = directory / "data" / _file_name(host.domain) / "accounts"
            accounts.mkdir(parents=True)
            for user, password in host.users.items():
                account = f'return {{ ["password"] = {json.dumps(password)} }};\n'
                (accounts / f"{_file_name(user)}.dat").write_text(account)

    def _configuration(self, directory: Path) -> str:
        options = {**self._options(directory), **self.settings}
        lines = [f"{name} = {_lua(value)}" for name, value in options.items()]
        for host in self.hosts:
            lines += _host_lines(host)
        for domain, secret in self.components.items():
            lines += [f"Component {_lua(domain)}", f"component_secret = {_lua(secret)}"]
        return "\n".join(lines) + "\n"

    def _options(self, directory: Path) -> dict[str, object]:
        modules = ["roster", "saslauth", "disco", "ping", "smacks", "admin_shell"]
        if self.routes is not None:
            modules += ["s2s", "dialback", "lab_routes"]
        routes = self.routes or {}
        return {
            "run_as_root": True,
            "prosody_user": "root",
            "data_path": str(directory / "data"),
            "pidfile": str(directory / "prosody.pid"),
            "admin_socket": str(directory / "admin.sock"),
            "plugin_paths": [str(MODULE_DIRECTORY), str(directory / "plugins")],
            "log": {"debug": str(directory / "prosody.log")},
            "modules_enabled": modules,
            "modules_disabled": ["tls", *(() if self.routes is not None else ("s2s",))],
            "authentication": "internal_plain",
            "c2s_require_encryption": False,
            "s2s_require_encryption": False,
            "s2s_secure_auth": False,
            "allow_unencrypted_plain_auth": True,
            "c2s_ports": [self.c2s[1]],
            "c2s_interfaces": list(self.listen),
            "c2s_direct_tls_ports": [],
            "s2s_ports": [self.s2s[1]],
            "s2s_interfaces": list(self.listen),
            "s2s_direct_tls_ports": [],
            "component_ports": [self.component[1]],
            "component_interfaces": [self.component[0]],
            "component_conflict_resolve": "kick_old",
            "lab_routes": {d: {"address": a, "port": p} for d, (a, p) in routes.items()},
        }


def _host_lines(host: VirtualHost) -> list[str]:
    lines = [f"VirtualHost {_lua(host.domain)}"]
    if host.component:
        lines += [
            'modules_enabled = { "jingle_hnt" }',
            f"jingle_hnt_component = {_lua(host.component)}",
            f"jingle_hnt_fail = {_lua(host.fail)}",
            f"jingle_hnt_timeout = {host.timeout_s:g}",
        ]
    return lines


def _lua(value: object) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"[{_lua(k)}] = {_lua(v)}" for k, v in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "{ " + ", ".join(_lua(item) for item in value) + " }"
    return json.dumps(value)


def _file_name(text: str) -> str:
    """Prosody's storage writes every other character as %xx."""
    return "".join(c if c.isalnum() and c.isascii() else f"%{ord(c):02x}" for c in text)


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
