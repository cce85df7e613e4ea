"""A configuration to make mistakes in, with a host for it, an XMPP server, and a running relay."""

import contextlib
import ctypes
import io
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

from jingle_hnt.cli import main
from tests.lab.play import ROOT
from tests.lab.prosody import Prosody
from tests.lab.server import VirtualHost
from tests.lab.world import RELAY, SERVER, Lab, NatKind

PATIENCE_S = 90.0
CLONE_NEWNET = 0x40000000
SECRET = "hush"
COMPONENT, DOMAIN = "hnt.example.org", "example.org"
USERS = ("alice", "bob")
SECOND_S = 20.0
"""After which a second process has certainly said that it is one."""
TALK_S = 7.0
"""Longer than a call is too young to be blamed for media that is still to come."""

Options = dict[str, str | None]
"""Dotted names of options, and their values as TOML has them; None leaves one out."""


@dataclass
class Bench:
    """One well-configured host, on which one mistake is made at a time.

    `close` ends what runs. `limit` is how many files a command may have open, None for what there
    is; `environment` goes over the file. `host_name` is what the next process to run takes for it.
    """

    directory: Path
    lab: Lab
    options: Options = field(default_factory=dict)
    raw: str | None = None
    environment: dict[str, str] = field(default_factory=dict)
    limit: int | None = None
    typed: tuple[str, ...] = ()
    host_name: str = ""
    numbers: Iterator[int] = field(default_factory=itertools.count)
    mute: str = ""
    homes: dict[str, str] = field(default_factory=dict)
    server: Prosody | None = None
    running: list[subprocess.Popen[bytes]] = field(default_factory=list)
    cleanup: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    def __post_init__(self) -> None:
        self.reset()

    @property
    def file(self) -> Path:
        return self.directory / "jingle-hnt.toml"

    @property
    def secret(self) -> Path:
        return self.directory / "secret"

    @property
    def state(self) -> Path:
        return self.directory / "state"

    def reset(self) -> None:
        """All is well."""
        self.close()
        # Who is being killed may still write down what it knows.
        self.directory = self.directory.with_name(f"bench{next(self.numbers)}")
        self.state.mkdir(parents=True)
        self.directory.chmod(0o755)
        self.secret.write_text(SECRET)
        self.secret.chmod(0o600)
        self.raw, self.environment, self.limit, self.mute = None, {}, None, ""
        self.host_name = ""
        self.options = {
            "xmpp.component": f'"{COMPONENT}"',
            "xmpp.domains": f'["{DOMAIN}"]',
            "xmpp.server": f'"{SERVER}:5347"',
            "xmpp.allow_plaintext_to": '["203.0.113.0/24"]',
            "xmpp.secret_file": f'"{self.secret}"',
            "relay.interfaces": f'[{{ address = "{RELAY}" }}]',
            "relay.stun_server": f'"{SERVER}:3478"',
            "relay.allow_networks": '["198.51.100.0/24"]',  # the lab's internet
            "state.directory": f'"{self.state}"',
            "state.runtime_directory": f'"{self.directory}/run"',
        }
        (self.directory / "run").mkdir()

    def close(self) -> None:
        """End what runs, and undo what was done to the host."""
        for process in self.running:
            process.send_signal(signal.SIGTERM)
        for process in self.running:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
            process.kill()
            process.wait()
        self.running.clear()
        self.cleanup.close()
        if self.server is not None:
            self.server.close()
            self.server = None

    def write(self, options: Options) -> None:
        """Change options."""
        self.options |= options

    def save(self) -> None:
        """Write the file as the options are now, or as `raw` has it."""
        self.file.write_text(self.text() if self.raw is None else self.raw)

    def text(self) -> str:
        tables: dict[str, list[str]] = {}
        for name, value in self.options.items():
            section, _, option = name.partition(".")
            if value is not None:
                tables.setdefault(section, []).append(f"{option} = {value}")
        return "".join(f"[{s}]\n" + "\n".join(rows) + "\n" for s, rows in tables.items())

    # The host

    def at(self, node: str, *words: str, text: str | None = None) -> None:
        """Do something on a host."""
        command = self.lab.command(node, words)
        subprocess.run(command, input=text, text=True, check=True, capture_output=True)

    def nft(self, text: str) -> None:
        """Load rules of nftables; they are gone at the end."""
        self.at("relay", "nft", "-f", "-", text=text)
        self.cleanup.callback(lambda: self.at("relay", "nft", "flush", "ruleset"))

    # The server

    def serve(self, **changes: Any) -> None:
        """Have a Prosody that is as it should be, but for these changes; another one ends."""
        if self.server is not None:
            self.server.close()
        given: dict[str, Any] = {
            "module": COMPONENT,
            "component": COMPONENT,
            "secret": SECRET,
            "fail": "closed",
            "timeout_s": 3.0,
        }
        given |= {"hosts": (DOMAIN,), "settings": {}} | changes
        hosts = [
            VirtualHost(
                host,
                dict.fromkeys(USERS, "x"),
                component=given["module"],
                fail=given["fail"],
                timeout_s=given["timeout_s"],
            )
            for host in given["hosts"]
        ]
        components = {given["component"]: given["secret"]} if given["component"] else {}
        self.server = Prosody(
            hosts,
            components,
            listen=[SERVER],
            namespace=self.lab.namespace("server"),
            settings=given["settings"],
        )
        self.server.start()

    # The commands

    def command(self, *words: str) -> list[str]:
        line = [sys.executable, "-m", "jingle_hnt", *words, "--config", str(self.file)]
        if self.limit is not None:
            line = ["prlimit", f"--nofile={self.limit}:{self.limit}", *line]
        if self.host_name:
            named = 'hostname "$0" && exec "$@"'
            line = ["unshare", "--uts", "sh", "-c", named, self.host_name, *line]
        return self.lab.command("relay", line)

    def type(self, *words: str, save: bool = True) -> tuple[int, str]:
        """Type a command; its exit status and all that it printed."""
        if save:
            self.save()
        if words[0] == "check" and self.limit is None:
            return self._inside("check", *words[1:], "--config", str(self.file))
        done = subprocess.run(
            self.command(*words),
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            env={**os.environ, **self.environment},
        )
        return done.returncode, done.stdout + done.stderr

    def _inside(self, *words: str) -> tuple[int, str]:
        """A command in this process, which is on the relay's host meanwhile: most of what one of
        its own costs is loading."""
        said = io.StringIO()
        with (
            on_host(self.lab.namespace("relay")),
            contextlib.redirect_stdout(said),
            contextlib.redirect_stderr(said),
            mock.patch.dict(os.environ, self.environment),
        ):
            status = main(words)
        return status, said.getvalue()

    def run(self, *words: str) -> None:
        """Start a process that stays, and wait until it answers."""
        self.save()
        with (self.directory / "log").open("ab") as log:
            process = subprocess.Popen(
                self.command(*(words or ("run",))),
                cwd=ROOT,
                stdout=log,
                stderr=log,
                env={**os.environ, **self.environment},
            )
        self.running.append(process)
        self.until(self._answers)

    def _answers(self) -> bool:
        """Whether a process runs, and is connected to its server."""
        status, said = self.type("status", "--json", save=False)
        return (
            status == 0
            or '"connected": true' in said
            or (not self.server and '"connected":' in said)
        )

    def until(self, condition: Callable[[], object]) -> None:
        """Wait for something that takes a moment."""
        end = time.monotonic() + PATIENCE_S
        while not condition():
            if time.monotonic() > end:
                raise TimeoutError
            time.sleep(0.1)

    # What is said

    def check(self, *words: str) -> str:
        """What `check` finds to be wrong, a line each, or its word on why it cannot be used."""
        status, said = self.type("check", *words)
        if status == 78:
            return said.strip()
        wrong = [line for line in said.splitlines() if not line.startswith("ok ")]
        return "\n".join(wrong)

    def offline(self) -> str:
        """The same without the server."""
        return self.check("--offline")

    def server_log(self) -> str:
        """What the server's log has of the module, as far as it is an error."""
        assert self.server is not None
        lines = self.server.log_text().splitlines()
        return "\n".join(line for line in lines if "jingle_hnt" in line and "error" in line)

    def ready(self) -> str:
        """Why a running process is not ready; empty where it is."""
        found = json.loads(self.type("status", "--json", save=False)[1])
        return "; ".join(found["not_ready"])

    def explain(self) -> str:
        """Have Alice call Bob, and ask what was wrong with the call.

        Where the relay knows nothing of it, what `history` has instead.
        """
        phones = [self._phone(user) for user in USERS]
        try:
            for phone in phones:
                _heard(phone, "online")
            _tell(phones[0], do="call", to=f"bob@{DOMAIN}/phone")
            time.sleep(TALK_S)
            _tell(phones[0], do="hangup")
            time.sleep(1.0)
        finally:
            for phone in phones:
                _tell(phone, do="quit")
                phone.communicate(timeout=10)
        found = json.loads(self.type("history", "--json", save=False)[1])
        calls, refused = found["calls"], found["refused"]
        name = refused[0]["sids"][0] if refused else calls[0]["call"]["call"]
        if refused and calls and calls[0]["ended"] > refused[0]["last"]:
            name = calls[0]["call"]["call"]
        return self.type("explain", name, save=False)[1]

    def call(self) -> None:
        """Have Alice call Bob, and talk until all is undone."""
        phones = [self._phone(user) for user in USERS]
        for phone in phones:
            self.cleanup.callback(phone.communicate)
            self.cleanup.callback(phone.terminate)
            _heard(phone, "online")
        _tell(phones[0], do="call", to=f"bob@{DOMAIN}/phone")
        _heard(phones[0], "accepted")

    def _phone(self, user: str) -> subprocess.Popen[str]:
        """One that speaks raw UDP, behind a NAT of its own."""
        if user not in self.homes:
            self.homes[user], _ = self.lab.site(user, NatKind.PORT_RESTRICTED)
        words = [sys.executable, "-m", "tests.lab.caller", "--jid", f"{user}@{DOMAIN}/phone"]
        words += ["--password", "x", "--server", f"{SERVER}:5222", "--address", self.homes[user]]
        words += ["--mute"] if user == self.mute else []
        return subprocess.Popen(
            self.lab.command(user, words),
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def start(self) -> str:
        """What `run` says where it does not start; empty where it does."""
        self.save()
        process = subprocess.Popen(
            self.command("run"),
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, **self.environment},
        )
        began = time.monotonic()
        self.until(
            lambda: (
                process.poll() is not None
                or (self._answers() and not self.running)
                or time.monotonic() - began > SECOND_S
            )
        )
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.communicate()
            return ""
        said, _ = process.communicate()
        return "\n".join(line for line in said.splitlines() if " [info" not in line).strip()


@contextlib.contextmanager
def on_host(namespace: str) -> Iterator[None]:
    """Be in another network namespace (setns(2)), and then in one's own again."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open("/proc/thread-self/ns/net") as own, open(f"/run/netns/{namespace}") as other:
        try:
            if libc.setns(other.fileno(), CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), "cannot go to another namespace")
            yield
        finally:
            libc.setns(own.fileno(), CLONE_NEWNET)


def _tell(phone: subprocess.Popen[str], **command: object) -> None:
    assert phone.stdin is not None
    with contextlib.suppress(BrokenPipeError):
        phone.stdin.write(json.dumps(command) + "\n")
        phone.stdin.flush()


def _heard(phone: subprocess.Popen[str], event: str) -> None:
    """Wait until a phone says so."""
    assert phone.stdout is not None
    for line in phone.stdout:
        if json.loads(line)["event"] == event:
            return
    raise AssertionError(f"a phone ended before it said {event}")


@contextlib.contextmanager
def bench(directory: Path) -> Iterator[Bench]:
    """A bench in a lab of its own, with a STUN server."""
    with Lab() as lab:
        lab.public("server", SERVER)
        lab.public("relay", RELAY)
        command = lab.command("server", [sys.executable, "-m", "tests.lab.stun_server", SERVER])
        stun = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)
        assert stun.stdout is not None
        stun.stdout.readline()
        made = Bench(directory / "jingle-hnt", lab)
        try:
            yield made
        finally:
            made.close()
            stun.terminate()
            stun.communicate()
