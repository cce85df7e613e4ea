"""ejabberd for tests, with mod_jingle_hnt compiled from config/ejabberd.

It runs without distribution and without epmd. Erlang expressions on its standard input are
evaluated, one a line, which is how accounts are made and modules loaded and unloaded.
"""

import asyncio
import atexit
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from tests.lab.server import LocalServer, ServerFailed, VirtualHost

PACKAGE = Path(__file__).resolve().parents[2] / "config" / "ejabberd" / "mod_jingle_hnt"
_ANSWER_S = 60.0
# Other servers are found by the system's resolver: the process has an /etc/hosts of its own.
_SEEING = ["unshare", "--mount", "sh", "-c", 'mount --bind "$0" /etc/hosts && exec "$@"']
# The root directory of who runs `erl`: another one than ours with scripts/newer-servers.
_ROOT = Path(os.environ.get("LAB_SERVERS_ROOT", "/"))


def _inside(path: Path) -> Path:
    """A path as `erl` sees it."""
    return Path("/") / path.relative_to(_ROOT)


# Debian keeps ejabberd in the directory of its architecture, Erlang's libraries in one of theirs.
_FOUND = next((p.parent for p in (_ROOT / "usr/lib").glob("*/ejabberd-*")), _ROOT / "usr/lib")
LIBRARIES = _inside(_FOUND)

# Evaluates lines of standard input for as long as there are any.
_CONTROL = """
Loop = fun Loop() ->
    case io:get_line("") of
        Line when is_list(Line) ->
            Answer = try
                {ok, Tokens, _} = erl_scan:string(Line),
                {ok, Expressions} = erl_parse:parse_exprs(Tokens),
                {value, Value, _} = erl_eval:exprs(Expressions, []),
                {ok, Value}
            catch Class:Reason -> {Class, Reason} end,
            file:write_file("answers", io_lib:format("~0p~n", [Answer]), [append]),
            Loop();
        _ -> ok
    end
end,
spawn(Loop).
"""


class Ejabberd(LocalServer):
    """See `LocalServer`; `settings` are members of ejabberd.yml.

    All its `routes` have the port of the last: ejabberd knows but one for all servers.

    With `module_on_path` False the module is not to be found until it is installed.
    """

    kind = "ejabberd"
    log_file = "ejabberd.log"

    def __init__(self, *arguments: Any, module_on_path: bool = True, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._module_on_path = module_on_path
        self.listeners: list[dict[str, object]] = []
        """Further ones, as in ejabberd.yml; read at the first start."""

    @property
    def directory(self) -> Path:
        """Where its files are, while it runs."""
        assert self._directory is not None, "start the server first"
        return self._directory

    async def evaluate(self, expressions: str) -> str:
        """The value of Erlang expressions, as text; raises ServerFailed where they fail."""
        return await asyncio.to_thread(self._evaluate, expressions)

    async def reload_module(self, on: bool, domain: str | None = None) -> None:
        domains = [domain] if domain else [h.domain for h in self.hosts if h.component]
        for each in domains:
            host = f'<<"{each}">>'
            await self.evaluate(
                f"gen_mod:is_loaded({host}, mod_jingle_hnt)"
                f" andalso gen_mod:stop_module({host}, mod_jingle_hnt)."
            )
            if on:
                await self.evaluate("code:purge(mod_jingle_hnt), code:load_file(mod_jingle_hnt).")
                await self.evaluate(f"gen_mod:start_module({host}, mod_jingle_hnt).")

    def _evaluate(self, expressions: str, patience_s: float = _ANSWER_S) -> str:
        assert self._process is not None, "start the server first"
        assert self._process.stdin is not None
        before = len(self._answers())
        self._process.stdin.write(expressions.encode() + b"\n")
        self._process.stdin.flush()
        deadline = time.monotonic() + patience_s
        while len(answers := self._answers()) == before and time.monotonic() < deadline:
            time.sleep(0.005)
        answer = answers[-1] if len(answers) > before else "no answer"
        if not answer.startswith("{ok,"):
            raise ServerFailed(f"{expressions}: {answer}\n{self._log_end()}")
        return answer.strip().removeprefix("{ok,").removesuffix("}")

    def _answers(self) -> list[str]:
        """What was evaluated so far, whole lines only: its log is on standard output."""
        assert self._directory is not None
        path = self._directory / "answers"
        text = path.read_text() if path.exists() else ""
        return text[: text.rfind("\n") + 1].splitlines()

    def _started(self, process: subprocess.Popen[bytes]) -> None:
        users = ", ".join(
            "{" + ", ".join(f'<<"{text}">>' for text in (user, host.domain, password)) + "}"
            for host in self.hosts
            for user, password in host.users.items()
        )
        self._evaluate(f"[ejabberd_auth:try_register(U, D, P) || {{U, D, P}} <- [{users}]].")

    # Files

    def _command(self, directory: Path) -> list[str]:
        arguments = ["-noshell", "-boot", "start_clean"]
        if self._module_on_path:
            arguments += ["-pa", str(compiled())]
        arguments += ["-mnesia", "dir", f'"{directory}/database"']
        arguments += self._distribution()
        arguments += ["-s", "ejabberd", "-eval", _CONTROL]
        return [*_SEEING, str(directory / "hosts"), "erl", "+S", "2", "+sbwt", "none", *arguments]

    def _distribution(self) -> list[str]:
        """What makes it a node that others may talk to: nothing."""
        return []

    def _environment(self, directory: Path) -> dict[str, str]:
        return {
            "ERL_LIBS": str(LIBRARIES),
            "EJABBERD_CONFIG_PATH": str(directory / "ejabberd.yml"),
            "EJABBERD_LOG_PATH": str(directory / self.log_file),
            "CONTRIB_MODULES_PATH": str(directory / "modules"),
            "HOME": str(directory),
        }

    def _write_files(self, directory: Path) -> None:
        (directory / "ejabberd.yml").write_text(json.dumps(self._configuration(), indent=1))
        routes = (self.routes or {}).items()
        lines = ["127.0.0.1 localhost", *(f"{address} {name}" for name, (address, _) in routes)]
        (directory / "hosts").write_text("\n".join(lines) + "\n")

    def _configuration(self) -> dict[str, object]:
        """ejabberd.yml; JSON is YAML."""
        secrets = {d: {"password": secret} for d, secret in self.components.items()}
        address, port = self.component
        listen: list[dict[str, object]] = [
            {
                "port": port,
                "ip": address,
                "module": "ejabberd_service",
                "hosts": secrets,
                "global_routes": False,
            },
            *self.listeners,
        ]
        for each in self.listen:
            common = {
                "ip": each,
                "shaper": "c2s_shaper" if self.limited_but is not None else "none",
            }
            limits = {"max_stanza_size": 262144}
            listen.append(
                {
                    "port": self.c2s[1],
                    "module": "ejabberd_c2s",
                    "starttls": False,
                    **common,
                    **limits,
                }
            )
            if self.routes is not None:
                listen.append({"port": self.s2s[1], "module": "ejabberd_s2s_in", **common})
            if self.web is not None:
                handlers = {"/http-bind": "mod_bosh", "/xmpp-websocket": "ejabberd_http_ws"}
                listen.append(
                    {
                        "port": self.web,
                        "ip": each,
                        "module": "ejabberd_http",
                        "request_handlers": handlers,
                    }
                )
        modules = ["mod_disco", "mod_ping", "mod_roster", "mod_carboncopy", "mod_s2s_dialback"]
        modules += ["mod_privacy", "mod_blocking"]
        if self.web is not None:
            modules.append("mod_bosh")
        own = {host.domain for host in self.hosts}
        ports = [port for name, (_, port) in (self.routes or {}).items() if name not in own]
        return {
            "hosts": [host.domain for host in self.hosts],
            "loglevel": "info",
            "listen": listen,
            "auth_method": "internal",
            "auth_password_format": "plain",
            **(_limits(self.limited_but) if self.limited_but is not None else {}),
            "s2s_use_starttls": False,
            "s2s_dns_timeout": "1 second",
            "s2s_dns_retries": 1,
            "outgoing_s2s_port": ports[-1] if ports else 5269,
            "modules": {
                **{module: {} for module in modules},
                **({"mod_muc": {"hosts": [self.rooms]}} if self.rooms is not None else {}),
                "mod_stream_mgmt": {"resend_on_timeout": "if_offline", "max_ack_queue": 5000},
            },
            "append_host_config": {
                host.domain: {"modules": {"mod_jingle_hnt": options_of(host)}}
                for host in self.hosts
                if host.component
            },
            **self.settings,
        }


def _limits(but: Sequence[str]) -> dict[str, object]:
    """Those of Debian's ejabberd.yml, for all but these users."""
    return {
        "shaper": {"normal": {"rate": 3000, "burst_size": 20000}},
        "acl": {"unlimited": {"user": list(but)}},
        "shaper_rules": {"c2s_shaper": [{"none": "unlimited"}, {"normal": "all"}]},
    }


def options_of(host: VirtualHost) -> dict[str, object]:
    return {"component": host.component, "fail": host.fail, "timeout": host.timeout_s}


@cache
def compiled() -> Path:
    """The directory of the compiled module; made once per test run, from stock packages."""
    directory = Path(tempfile.mkdtemp(prefix="hnt-ejabberd-module-"))
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    command = ["erlc", "+debug_info", "-Wall", "-Werror", "-o", str(directory)]
    roots = (_FOUND, _ROOT / "usr/lib/erlang/lib")
    for name in ("ejabberd-*", "p1_xmpp-*", "xmpp-*"):
        for library in (path for root in roots for path in root.glob(name)):
            inside = _inside(library)
            command += ["-I", str(inside / "include"), "-pa", str(inside / "ebin")]
    done = subprocess.run(
        [*command, str(PACKAGE / "src" / "mod_jingle_hnt.erl")],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise ServerFailed(f"mod_jingle_hnt does not compile:\n{done.stdout}{done.stderr}")
    return directory
