"""Prosody for tests, with mod_jingle_hnt as it is in config/prosody."""

import asyncio
import json
import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.lab.server import LocalServer, ServerFailed, VirtualHost

MODULE_DIRECTORY = Path(__file__).resolve().parents[2] / "config" / "prosody"

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


class Prosody(LocalServer):
    """See `LocalServer`."""

    kind = "prosody"
    log_file = "prosody.log"

    async def shell(self, command: str) -> str:
        """Run one command of Prosody's admin shell; raises ServerFailed if it is refused."""
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
            raise ServerFailed(f"{command}: {answer}\n{self._log_end()}")
        return answer

    def _command(self, directory: Path) -> list[str]:
        return ["prosody", "--config", str(directory / "prosody.cfg.lua"), "-F"]

    # Files

    def _write_files(self, directory: Path) -> None:
        (directory / "prosody.cfg.lua").write_text(self._configuration(directory))
        (directory / "certs").mkdir(exist_ok=True)
        plugins = directory / "plugins"
        plugins.mkdir(exist_ok=True)
        (plugins / "mod_lab_routes.lua").write_text(_ROUTES_MODULE)
        for host in self.hosts:
            accounts = directory / "data" / _file_name(host.domain) / "accounts"
            accounts.mkdir(parents=True, exist_ok=True)
            for user, password in host.users.items():
                account = f'return {{ ["password"] = {json.dumps(password)} }};\n'
                (accounts / f"{_file_name(user)}.dat").write_text(account)

    def _configuration(self, directory: Path) -> str:
        options = {**self._options(directory), **self.settings}
        if self.limited_but is not None:
            options |= {"limits": {"c2s": {"rate": "10kb/s"}, "s2sin": {"rate": "30kb/s"}}}
            options |= {"unlimited_jids": [f"{u}@{self.hosts[0].domain}" for u in self.limited_but]}
        lines = [f"{name} = {_lua(value)}" for name, value in options.items()]
        for host in self.hosts:
            lines += _host_lines(host)
        if self.rooms is not None:
            lines += [f'Component {_lua(self.rooms)} "muc"', "muc_room_locking = false"]
        for domain, secret in self.components.items():
            lines += [f"Component {_lua(domain)}", f"component_secret = {_lua(secret)}"]
        return "\n".join(lines) + "\n"

    def _options(self, directory: Path) -> dict[str, object]:
        modules = ["roster", "saslauth", "disco", "ping", "smacks", "blocklist", "admin_shell"]
        if self.routes is not None:
            modules += ["s2s", "dialback", "lab_routes"]
        if self.web is not None:
            modules += ["bosh", "websocket"]
        if "external_services" in self.settings:
            modules.append("external_services")
        if self.limited_but is not None:
            modules.append("limits")
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
            "http_ports": [self.web] if self.web is not None else [],
            "http_interfaces": list(self.listen),
            "http_default_host": self.hosts[0].domain,
            "https_ports": [],
            "cross_domain_bosh": True,
            "cross_domain_websocket": True,
            "consider_bosh_secure": True,
            "consider_websocket_secure": True,
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
