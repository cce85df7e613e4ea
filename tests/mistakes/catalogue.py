"""The mistakes. Each says what was done, who says what about it, and how that is followed."""

import hashlib
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass

from tests.lab.play import ROOT
from tests.lab.world import RELAY, SERVER
from tests.mistakes.bench import COMPONENT, DOMAIN, SECRET, Bench, Options, on_host

Ask = Callable[[Bench], str]
Make = Callable[[Bench], None]
Mend = Callable[[Bench, str], None]


@dataclass(frozen=True)
class Mistake:
    """One mistake. `ask` is the command that an operator turns to; its answer has `says` in it
    before `mend`, which does what the answer says, and no more after it."""

    id: str
    what: str
    make: Make
    ask: str
    says: str
    mend: Mend
    did: str

    @property
    def kind(self) -> str:
        return self.id[0]


def _options(options: Options) -> Make:
    return lambda bench: bench.write(options)


def _writes(options: Options) -> Mend:
    return lambda bench, _: bench.write(options)


def _raw(change: Callable[[str], str]) -> Make:
    def make(bench: Bench) -> None:
        bench.raw = change(bench.text())

    return make


def _no_raw(bench: Bench, _: str) -> None:
    bench.raw = None


def _renamed(bench: Bench, answer: str) -> None:
    """Write the name that the answer asks about."""
    assert bench.raw is not None
    (wrong,) = re.findall(r"([\w.]+): unknown key", answer)
    (right,) = re.findall(r"did you mean '(\w+)'", answer)
    bench.raw = bench.raw.replace(wrong.rpartition(".")[2], right)


def file(number: int, what: str, wrong: Options, says: str, right: Options, did: str) -> Mistake:
    """One in the file, which `check` refuses."""
    return Mistake(
        f"F{number}", what, _options(wrong), "check --offline", says, _writes(right), did
    )


INTERFACES, OWN = "relay.interfaces", f'[{{ address = "{RELAY}" }}]'
EVEN = '"24000-26767"'

IN_THE_FILE = (
    Mistake(
        "F1",
        "The file is not there",
        lambda bench: setattr(bench, "raw", ""),
        "check --offline",
        "missing; write a table",
        _no_raw,
        "wrote [xmpp] and [relay]",
    ),
    Mistake(
        "F2",
        "A quote is missing",
        _raw(lambda text: text.replace(f'"{COMPONENT}"', f'"{COMPONENT}')),
        "check --offline",
        "not TOML",
        _no_raw,
        "closed the quote on the line that is named",
    ),
    Mistake(
        "F3",
        "`domain` is written for `domains`",
        _raw(lambda text: text.replace("domains", "domain")),
        "check --offline",
        "did you mean 'domains'",
        _renamed,
        "wrote what it asks about",
    ),
    Mistake(
        "F4",
        "`[relais]` is written for `[relay]`",
        _raw(lambda text: text.replace("[relay]", "[relais]")),
        "check --offline",
        "did you mean 'relay'",
        _renamed,
        "wrote what it asks about",
    ),
    Mistake(
        "F5",
        "`adress` is written for `address`",
        _raw(lambda text: text.replace("{ address", "{ adress")),
        "check --offline",
        "did you mean 'address'",
        _renamed,
        "wrote what it asks about",
    ),
    file(
        6,
        "No component is named",
        {"xmpp.component": None},
        "write the component's domain",
        {"xmpp.component": f'"{COMPONENT}"'},
        "wrote it",
    ),
    file(
        7,
        "No domains are named",
        {"xmpp.domains": None},
        "write the domains whose users are served",
        {"xmpp.domains": f'["{DOMAIN}"]'},
        "wrote them",
    ),
    file(
        8,
        "No relay address is named",
        {INTERFACES: None},
        "write the relay's addresses",
        {INTERFACES: OWN},
        "wrote it",
    ),
    file(
        9,
        "No secret is configured",
        {"xmpp.secret_file": None},
        "write the path of a file that holds the component_secret",
        {"xmpp.secret": f'"{SECRET}"'},
        "wrote one",
    ),
    Mistake(
        "F10",
        "The secret file is not there",
        lambda bench: bench.secret.unlink(),
        "check --offline",
        "cannot be read",
        lambda bench, _: _text(bench, SECRET),
        "put it there",
    ),
    Mistake(
        "F11",
        "The secret file is empty",
        lambda bench: _text(bench, ""),
        "check --offline",
        "write the component_secret into it",
        lambda bench, _: _text(bench, SECRET),
        "wrote it into it",
    ),
    file(
        12,
        "The server's name is none",
        {"xmpp.server": '"the server:5347"'},
        "write an IP address or a host name, and a port",
        {"xmpp.server": f'"{SERVER}:5347"'},
        "wrote its address",
    ),
    file(
        13,
        "The server's port is left out",
        {"xmpp.server": f'"{SERVER}"'},
        "write an IP address or a host name, and a port",
        {"xmpp.server": f'"{SERVER}:5347"'},
        "wrote the port",
    ),
    file(
        14,
        "The server is another host, and the stream is not encrypted",
        {"xmpp.allow_plaintext_to": None},
        "list a network you trust in xmpp.allow_plaintext_to",
        {"xmpp.allow_plaintext_to": f'["{SERVER}/32"]'},
        "listed it",
    ),
    file(
        15,
        "The first media port is odd",
        {"relay.ports": '"24001-26767"'},
        "write an even first and a last port",
        {"relay.ports": EVEN},
        "wrote an even one",
    ),
    file(
        16,
        "The media ports are backwards",
        {"relay.ports": '"26766-24000"'},
        "write an even first and a last port",
        {"relay.ports": EVEN},
        "turned them round",
    ),
    file(
        17,
        "The relay address is a name",
        {INTERFACES: '[{ address = "relay.example.org" }]'},
        "is no IP address; write one such as",
        {INTERFACES: OWN},
        "wrote the address",
    ),
    file(
        18,
        "The relay address is 0.0.0.0",
        {INTERFACES: '[{ address = "0.0.0.0" }]'},
        "write the address that parties reach this host by",
        {INTERFACES: OWN},
        "wrote it",
    ),
    file(
        19,
        "The relay address is ::",
        {INTERFACES: '[{ address = "::" }]'},
        "write the address that parties reach this host by",
        {INTERFACES: OWN},
        "wrote it",
    ),
    file(
        20,
        "The relay address is multicast",
        {INTERFACES: '[{ address = "224.0.0.9" }]'},
        "write the address that parties reach this host by",
        {INTERFACES: OWN},
        "wrote it",
    ),
    Mistake(
        "F21",
        "An IPv4 address is written as IPv6",
        _options({INTERFACES: f'[{{ address = "::ffff:{RELAY}" }}]'}),
        "check --offline",
        "write 203.0.113.9",
        lambda bench, answer: bench.write(
            {INTERFACES: f'[{{ address = "{_one(r"write ([0-9.]+[0-9])", answer)}" }}]'}
        ),
        "wrote what it says",
    ),
    file(
        22,
        "What is told is of another IP version",
        {INTERFACES: f'[{{ address = "{RELAY}", advertise = "2001:db8::9" }}]'},
        "must be of the same IP version",
        {INTERFACES: OWN},
        "told one of the same version",
    ),
    file(
        23,
        "An address is listed twice",
        {INTERFACES: f'[{{ address = "{RELAY}" }}, {{ address = "{RELAY}" }}]'},
        "or once more with the `networks`",
        {
            INTERFACES: f'[{{ address = "{RELAY}" }},'
            f' {{ address = "{RELAY}", networks = ["10.0.0.0/8"] }}]'
        },
        "wrote `networks`",
    ),
    file(
        24,
        "`port_offset` leads out of the ports that there are",
        {INTERFACES: f'[{{ address = "{RELAY}", port_offset = 60000 }}]'},
        "must stay between 1024 and 65535",
        {INTERFACES: f'[{{ address = "{RELAY}", port_offset = 10000 }}]'},
        "wrote a smaller one",
    ),
    file(
        25,
        "A network has a host's address",
        {"relay.allow_networks": '["192.168.1.5/24"]'},
        "is no network; write one such as",
        {"relay.allow_networks": '["192.168.1.0/24"]'},
        "wrote the network",
    ),
    file(
        26,
        "An administrator is a full JID",
        {"admin.jids": f'["alice@{DOMAIN}/phone"]'},
        "is no bare JID; write one such as",
        {"admin.jids": f'["alice@{DOMAIN}"]'},
        "left the resource out",
    ),
    file(
        27,
        "The log is to be louder than it can be",
        {"log.level": '"verbose"'},
        "'debug', 'info', 'warning' or 'error'",
        {"log.level": '"debug"'},
        "wrote one of them",
    ),
    file(
        28,
        "An administrator is of another domain",
        {"admin.jids": '["alice@elsewhere.example"]'},
        "admin.other_domains = true",
        {"admin.other_domains": "true"},
        "wrote that",
    ),
    file(
        29,
        "The metrics' port is left out",
        {"metrics.listen": '"127.0.0.1"'},
        "write an IP address and a port",
        {"metrics.listen": '"127.0.0.1:9399"'},
        "wrote it",
    ),
    file(
        30,
        "A pattern of parties is a full JID",
        {"ice.raw_udp": f'["old@{DOMAIN}/phone"]'},
        "write a bare JID or a domain",
        {"ice.raw_udp": f'["old@{DOMAIN}"]'},
        "left the resource out",
    ),
    file(
        31,
        "An option has a value that it does not know",
        {"ice.mode": '"relay"'},
        "'append', 'terminate' or 'pass'",
        {"ice.mode": '"append"'},
        "wrote one of them",
    ),
    file(
        32,
        "A number is out of its range",
        {"relay.widen_v4": "8"},
        "greater than or equal to 16",
        {"relay.widen_v4": "16"},
        "wrote the least that there is",
    ),
    file(
        33,
        "The state directory is relative",
        {"state.directory": '"state"'},
        "write an absolute path",
        {"state.directory": '"/var/lib/jingle-hnt"'},
        "wrote an absolute one",
    ),
    file(
        34,
        "A domain is served twice",
        {"xmpp.domains": f'["{DOMAIN}", "{DOMAIN}"]'},
        "write each component and each domain once",
        {"xmpp.domains": f'["{DOMAIN}"]'},
        "wrote it once",
    ),
    Mistake(
        "F35",
        "A list of the environment is half JSON",
        lambda bench: bench.environment.update(JINGLE_HNT_XMPP__DOMAINS=f'["{DOMAIN}"'),
        "check --offline",
        "write a list with commas, such as",
        lambda bench, answer: bench.environment.update(
            JINGLE_HNT_XMPP__DOMAINS=_one(r"DOMAINS=([^ ]*), ", answer)
        ),
        "wrote it as it shows",
    ),
    file(
        36,
        "A STUN server has no port",
        {"relay.stun_server": '"stun.example.org"'},
        "write a host and a port",
        {"relay.stun_server": f'"{SERVER}:3478"'},
        "wrote it",
    ),
)


def _all(*steps: Make) -> Make:
    """Several things, one after the other."""

    def make(bench: Bench) -> None:
        for step in steps:
            step(bench)

    return make


def _all_mend(*steps: Mend) -> Mend:
    """Several things that an answer says."""

    def mend(bench: Bench, answer: str) -> None:
        for step in steps:
            step(bench, answer)

    return mend


def _limit(files: int) -> Make:
    return lambda bench: setattr(bench, "limit", files)


def _text(bench: Bench, text: str) -> None:
    bench.secret.write_text(text)
    bench.secret.chmod(0o600)


def _one(pattern: str, text: str) -> str:
    """The only match."""
    (found,) = dict.fromkeys(re.findall(pattern, text))
    return str(found)


def _in_the_way_now(bench: Bench) -> None:
    bench.state.write_text("")


def _directory(bench: Bench, _: str) -> None:
    bench.state.unlink()
    bench.state.mkdir()


def _end(bench: Bench, _: str) -> None:
    first = bench.running.pop(0)
    first.terminate()
    first.wait()


def _stop_server(bench: Bench) -> None:
    assert bench.server is not None
    bench.server.close()


def _chmod(bench: Bench, answer: str) -> None:
    """Run the chmod that the answer names."""
    _, mode, path = _one(r"run (chmod \S+ \S+)", answer).split()
    subprocess.run(["chmod", mode, path], check=True)


def _interface(bench: Bench, answer: str) -> None:
    """Write the interface that the answer names."""
    shown = _one(r"(\{ address = [^}]*\})", answer)
    bench.write({INTERFACES: f"[{shown}]"})


def _held(bench: Bench, first: int, last: int) -> None:
    """Another process takes these ports."""
    ready = "print('ready', flush=True); sys.stdin.read()"
    code = (
        "import socket, sys\nheld = []\n"
        f"for port in range({first}, {last + 1}):\n"
        "    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
        f"    try: s.bind(('{RELAY}', port)); held.append(s)\n"
        f"    except OSError: pass  # the relay's own\n{ready}"
    )
    command = bench.lab.command("relay", [sys.executable, "-c", code])
    other = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert other.stdout is not None
    other.stdout.readline()
    bench.cleanup.callback(other.communicate)
    bench.cleanup.callback(other.terminate)


def _reserved(bench: Bench, answer: str) -> None:
    """Write the sysctl that the answer names."""
    name, _, value = _one(r"sysctl (\S+ = \S+)", answer).split()
    bench.at("relay", "sysctl", "-w", f"{name}={value}")


NODE_PORT = (
    "table ip kube { chain nodeports { type nat hook prerouting priority -100\n"
    "udp dport 25000-25099 dnat to 10.42.0.7:53\n}\n}\n"
)
CLOSED = (
    "table inet closed { chain input { type filter hook input priority 0\n"
    "udp dport 24000-26767 drop\n}\n}\n"
)


def _shut(bench: Bench, _: str) -> None:
    bench.at("relay", "nft", "flush", "ruleset")


def _silence(bench: Bench, answer: str) -> None:
    """Load the file that the answer names."""
    rules = (ROOT / _one(r"load (\S+)", answer)).read_text()
    bench.nft(rules)


ON_THE_HOST = (
    Mistake(
        "H1",
        "The relay address is another host's",
        _options({INTERFACES: '[{ address = "203.0.113.99" }]'}),
        "check --offline",
        "is on no interface of this host; write this host's address",
        _writes({INTERFACES: OWN}),
        "wrote this host's",
    ),
    Mistake(
        "H2",
        "Parties are told a loopback address",
        _options({INTERFACES: '[{ address = "127.0.0.1" }]'}),
        "check --offline",
        "is a loopback address, and no party can send to it; write this host's own address",
        _writes({INTERFACES: OWN}),
        "wrote it",
    ),
    Mistake(
        "H3",
        "Parties are told a private address",
        _options({INTERFACES: f'[{{ address = "{RELAY}", advertise = "192.168.1.5" }}]'}),
        "check --offline",
        "is private: users outside of its network cannot send to it; write the public one",
        _writes({INTERFACES: OWN}),
        "wrote the public one",
    ),
    Mistake(
        "H4",
        "The public address has changed, the file has not",
        _options({INTERFACES: f'[{{ address = "{RELAY}", advertise = "203.0.113.200" }}]'}),
        "check",
        "nobody reaches us by 203.0.113.200",
        _interface,
        "wrote the interface that it shows",
    ),
    Mistake(
        "H5",
        "The media ports are those that the host gives to programs",
        _options({"relay.ports": '"40000-42767"'}),
        "check --offline",
        "write sysctl net.ipv4.ip_local_reserved_ports = 40000-42767",
        _reserved,
        "wrote that",
    ),
    Mistake(
        "H6",
        "Too few files may be open",
        lambda bench: setattr(bench, "limit", 1024),
        "check --offline",
        "write LimitNOFILE=",
        lambda bench, answer: setattr(bench, "limit", int(_one(r"LimitNOFILE=(\d+)", answer))),
        "allowed as many as it says",
    ),
    Mistake(
        "H7",
        "A Kubernetes NodePort takes ports of the range",
        lambda bench: bench.nft(NODE_PORT),
        "check --offline",
        "write a range outside of them in relay.ports",
        _writes({"relay.ports": '"20000-22767"'}),
        "wrote another range",
    ),
    Mistake(
        "H8",
        "The firewall takes UDP to the media ports",
        lambda bench: bench.nft(CLOSED),
        "check",
        "let UDP to relay.ports in",
        _shut,
        "let it in",
    ),
    Mistake(
        "H9",
        "Everybody may write the secret",
        lambda bench: bench.secret.chmod(0o666),
        "check --offline",
        "every user of this machine may write it; run chmod o-w",
        _chmod,
        "ran that",
    ),
    Mistake(
        "H10",
        "Everybody may read the secret",
        lambda bench: bench.secret.chmod(0o644),
        "check --offline",
        "every user of this machine may read it; run chmod o-r",
        _chmod,
        "ran that",
    ),
    Mistake(
        "H11",
        "Everybody may write the state directory",
        lambda bench: bench.state.chmod(0o777),
        "check --offline",
        "every user of this machine may write it; run chmod o-w",
        _chmod,
        "ran that",
    ),
    Mistake(
        "H12",
        "Free ports tell a scan which ports have a call",
        lambda _: None,
        "check --offline",
        "the kernel answers for ports that have no call",
        _silence,
        "loaded that file",
    ),
    Mistake(
        "H13",
        "One user may hold all ports",
        _options({"relay.ports": '"24000-24099"'}),
        "check --offline",
        "write ports_per_user = 6 in [budgets]",
        lambda bench, answer: bench.write(
            {"budgets.ports_per_user": _one(r"ports_per_user = (\d+)", answer)}
        ),
        "wrote that",
    ),
    Mistake(
        "H14",
        "Each address of a user's IPv6 network is a stranger",
        lambda bench: _ipv6(bench),
        "check --offline",
        "write widen_v6 = 64",
        lambda bench, answer: bench.write(
            {"relay.widen_v6": _one(r"write widen_v6 = (\d+)", answer)}
        ),
        "wrote that",
    ),
    Mistake(
        "H15",
        "No STUN server answers",
        _options({"relay.stun_server": f'"{SERVER}:9"'}),
        "check",
        "no STUN server answers",
        _writes({"relay.stun_server": f'"{SERVER}:3478"'}),
        "named one that does",
    ),
    Mistake(
        "H16",
        "The state directory is a file",
        _all(lambda bench: bench.state.rmdir(), _in_the_way_now),
        "run",
        "state",
        _directory,
        "made a directory of it",
    ),
    Mistake(
        "H17",
        "It runs already",
        _all(lambda bench: bench.serve(), lambda bench: bench.run()),
        "run",
        "another jingle-hnt",
        _end,
        "ended the first one",
    ),
    Mistake(
        "H18",
        "Parties are told another address, and no STUN server is named",
        _options(
            {
                INTERFACES: f'[{{ address = "{RELAY}", advertise = "{RELAY}" }}]',
                "relay.stun_server": None,
            }
        ),
        "check",
        "no STUN server is known that could say whether it is right: see relay.stun_server",
        _writes({"relay.stun_server": f'"{SERVER}:3478"'}),
        "named one there",
    ),
)


def _ipv6(bench: Bench) -> None:
    bench.at("relay", "ip", "addr", "replace", "2001:db8::9/128", "dev", "lo")
    interfaces = f'[{{ address = "{RELAY}" }}, {{ address = "2001:db8::9" }}]'
    bench.write({INTERFACES: interfaces, "relay.widen_v6": "128"})


TURNS = {"type": "turns", "host": "turn.example.org", "port": 443, "transport": "tcp"}


def server(
    number: int,
    what: str,
    says: str,
    did: str,
    mended: dict[str, object] | None = None,
    **wrong: object,
) -> Mistake:
    """One at the XMPP server, which `check` finds; it is started as it is, then as it should be."""
    return Mistake(
        f"S{number}",
        what,
        lambda bench: bench.serve(**wrong),
        "check",
        says,
        lambda bench, _: bench.serve(**(mended or {})),
        did,
    )


def in_the_log(number: int, what: str, says: str, **wrong: object) -> Mistake:
    """One that the server's own log tells of: its module cannot be loaded."""
    return Mistake(
        f"S{number}",
        what,
        lambda bench: bench.serve(**wrong),
        "server log",
        says,
        lambda bench, _: bench.serve(),
        "wrote it",
    )


AT_THE_SERVER = (
    server(
        1,
        "The secret is another one",
        "write the same text as component_secret",
        "wrote it",
        secret="other",
    ),
    server(
        2,
        "The server does not know the component",
        f'write Component "{COMPONENT}" with component_secret',
        "wrote it",
        component="other.example.org",
    ),
    server(
        3,
        "The module is not loaded",
        'write modules_enabled = { "jingle_hnt" }',
        "wrote it",
        module=None,
    ),
    server(
        4,
        "The module asks another component",
        f'write jingle_hnt_component = "{COMPONENT}"',
        "wrote it",
        module="relay.example.org",
    ),
    Mistake(
        "S5",
        "A virtual host has the module and is not served",
        lambda bench: bench.serve(hosts=(DOMAIN, "second.example")),
        "check",
        "write it into xmpp.domains",
        _writes({"xmpp.domains": f'["{DOMAIN}", "second.example"]'}),
        "wrote it there",
    ),
    Mistake(
        "S6",
        "A domain is none of the server's",
        _all(
            lambda bench: bench.serve(),
            _options({"xmpp.domains": f'["{DOMAIN}", "nowhere.example"]'}),
        ),
        "check",
        "is it a virtual host of the server we are connected to",
        _writes({"xmpp.domains": f'["{DOMAIN}"]'}),
        "took it out",
    ),
    server(
        7,
        "Prosody keeps a dead connection and refuses ours",
        'write component_conflict_resolve = "kick_old"',
        "wrote it",
        settings={"component_conflict_resolve": "kick_new"},
    ),
    server(
        8,
        "The server does not show us its list of STUN and TURN servers",
        "write external_service_access",
        "wrote it",
        settings={"external_services": [TURNS]},
        mended={"settings": {"external_services": [TURNS], "external_service_access": [COMPONENT]}},
    ),
    server(
        9,
        "Users without UDP have no TURN over TLS",
        "load mod_external_services",
        "loaded it, with such a server",
        mended={"settings": {"external_services": [TURNS], "external_service_access": [COMPONENT]}},
    ),
    Mistake(
        "S10",
        "Addresses are to be hidden, and the module fails open",
        _all(
            lambda bench: bench.serve(fail="open"),
            _options({"ice.mode": '"terminate"'}),
        ),
        "check",
        'write jingle_hnt_fail = "closed"',
        lambda bench, _: bench.serve(fail="closed"),
        "wrote it",
    ),
    Mistake(
        "S11",
        "The server is not up",
        lambda _: None,
        "check",
        "is the server up, and its component port there",
        lambda bench, _: bench.serve(),
        "started it",
    ),
    Mistake(
        "S12",
        "The secret of a start is wrong",
        lambda bench: bench.serve(secret="other"),
        "run",
        "write the same text as component_secret",
        lambda bench, _: bench.serve(),
        "wrote it",
    ),
    in_the_log(
        13,
        "The module is told a JID for its component",
        "set jingle_hnt_component to the domain of the component",
        module=f"hnt@{DOMAIN}",
    ),
    in_the_log(
        14,
        "The module is told to fail half open",
        'write "open" or "closed"',
        fail="ajar",
    ),
    in_the_log(
        15,
        "The module is told to wait for no time",
        "write a number of seconds above 0",
        timeout_s=0,
    ),
    Mistake(
        "S16",
        "The server remembers a connection that is dead, and refuses ours",
        _all(
            lambda bench: bench.serve(settings={"component_conflict_resolve": "kick_new"}),
            lambda bench: _occupied(bench),
        ),
        "check",
        'it is a dead one that the server remembers: write component_conflict_resolve = "kick_old"',
        _all_mend(lambda bench, _: bench.serve(), lambda bench, _: _occupied(bench)),
        "wrote it",
    ),
    Mistake(
        "S17",
        "Another host runs jingle-hnt for the same component",
        lambda bench: _elsewhere(bench),
        "check",
        "end one of the two, or give it a component of its own",
        _end,
        "ended the other one",
    ),
)


def _elsewhere(bench: Bench) -> None:
    """A process runs that calls its host by another name, with a state of its own."""
    bench.serve()
    bench.host_name = "relay2"
    bench.run()
    bench.host_name = ""
    other = bench.directory / "other"
    other.mkdir()
    names = {"directory": other / "state", "runtime_directory": other / "run"}
    bench.write({f"state.{name}": f'"{path}"' for name, path in names.items()})
    for path in names.values():
        path.mkdir()


def _occupied(bench: Bench) -> None:
    """A connection of nobody's serves the component (XEP-0114)."""
    with on_host(bench.lab.namespace("relay")):
        dead = socket.create_connection((SERVER, 5347), 10)
    bench.cleanup.callback(dead.close)
    dead.sendall(
        b"<stream:stream xmlns='jabber:component:accept' to='%s'"
        b" xmlns:stream='http://etherx.jabber.org/streams'>" % COMPONENT.encode()
    )
    header = ""
    while "id=" not in header:
        header += dead.recv(4096).decode()
    name = _one(r"\bid='([^']*)'", header.replace('"', "'"))
    digest = hashlib.sha1((name + SECRET).encode()).hexdigest()
    dead.sendall(f"<handshake>{digest}</handshake>".encode())
    assert b"handshake" in dead.recv(4096)


def _running(bench: Bench) -> None:
    bench.serve()
    bench.run()
    bench.until(lambda: not bench.ready())


def running(
    number: int, what: str, make: Make, says: str, mend: Mend, did: str, ask: str = "ready"
) -> Mistake:
    """One that is made while calls can be made."""

    def made(bench: Bench) -> None:
        _running(bench)
        make(bench)

    return Mistake(f"R{number}", what, made, ask, says, mend, did)


def _types(*words: str) -> Mend:
    def mend(bench: Bench, answer: str) -> None:
        status, said = bench.type(*words, save=False)
        assert status == 0, said

    return mend


WHILE_IT_RUNS = (
    running(
        1,
        "A drain was not ended",
        lambda bench: _types("drain")(bench, ""),
        "draining; `jingle-hnt undrain` ends it",
        _types("undrain"),
        "typed that",
    ),
    running(
        2,
        "The relay's address is taken from the host",
        lambda bench: bench.lab.unplug("relay", RELAY),
        "is on no interface of this host; give it back to one",
        lambda bench, _: bench.lab.plug("relay", RELAY),
        "gave it back",
    ),
    running(
        3,
        "Another process holds the media ports",
        lambda bench: _held(bench, 24000, 26767),
        "another process holds the ports",
        lambda bench, _: bench.cleanup.close(),
        "ended it",
    ),
    running(
        4,
        "The module is not loaded any more",
        lambda bench: bench.serve(module=None),
        'write modules_enabled = { "jingle_hnt" }',
        lambda bench, _: bench.serve(),
        "wrote it",
    ),
    running(
        5,
        "The server has another secret now",
        lambda bench: bench.serve(secret="other"),
        "the secret is not the one that the server has",
        lambda bench, _: _text(bench, "other"),
        "wrote the same here",
    ),
    running(
        6,
        "The state directory cannot be there any more",
        lambda bench: _in_the_way(bench),
        "see to the disk and to `state.directory`",
        lambda bench, _: bench.state.unlink(),
        "took away what is in its place",
    ),
    running(
        7,
        "The server is away",
        _stop_server,
        "the XMPP server is not connected",
        lambda bench, _: bench.serve(),
        "started it",
    ),
    Mistake(
        "R8",
        "The range of media ports is that of one call",
        _all(_options({"relay.ports": '"24000-24003"'}), _running, lambda bench: bench.call()),
        "ready",
        "free for another call; widen `relay.ports`",
        _all_mend(_writes({"relay.ports": '"24000-26767"'}), _end, lambda bench, _: bench.run()),
        "wrote a wider one, and restarted",
    ),
)


def _in_the_way(bench: Bench) -> None:
    bench.state.rename(bench.directory / "moved")
    bench.state.write_text("")


def _typed(words: tuple[str, ...]) -> Make:
    return lambda bench: setattr(bench, "typed", words)


def command(
    number: int, what: str, words: tuple[str, ...], says: str, right: tuple[str, ...], did: str
) -> Mistake:
    """One on the command line of a process that runs."""
    return Mistake(
        f"C{number}",
        what,
        _all(_running, _typed(words)),
        "command",
        says,
        lambda bench, _: _typed(right)(bench),
        did,
    )


def _ports_in_the_file(bench: Bench, _: str) -> None:
    bench.write({"relay.ports": '"20000-22767"'})
    _end(bench, "")
    bench.run()
    bench.typed = ("config", "show")
    assert 'relay.ports = "20000-22767"' in bench.type(*bench.typed)[1]


ON_THE_COMMAND_LINE = (
    command(
        1,
        "`set` with a typo",
        ("set", "gate.polcy", "open"),
        "did you mean 'gate.policy'",
        ("set", "gate.policy", "open"),
        "wrote what it asks about",
    ),
    Mistake(
        "C2",
        "`set` of an option that needs a restart",
        _all(_running, _typed(("set", "relay.ports", "20000-22767"))),
        "command",
        "needs a restart: write it into the file, and restart jingle-hnt",
        _ports_in_the_file,
        "did both, and asked `config show`",
    ),
    command(
        3,
        "`set` with a value that it does not know",
        ("set", "gate.policy", "half-open"),
        "'open', 'one-stage' or 'two-stage'",
        ("set", "gate.policy", "open"),
        "wrote one of them",
    ),
    command(
        4,
        "`block` of a full JID",
        ("block", f"eve@{DOMAIN}/phone"),
        "write a bare JID or a domain",
        ("block", f"eve@{DOMAIN}"),
        "left the resource out",
    ),
    command(
        5,
        "`explain` of a call that is not there",
        ("explain", "nonsense"),
        "`jingle-hnt history` list",
        ("history",),
        "looked there",
    ),
    command(
        6,
        "`unblock` of who is not blocked",
        ("unblock", f"eve@{DOMAIN}"),
        "`jingle-hnt limits` lists who is",
        ("limits",),
        "looked there",
    ),
    command(
        7,
        "`terminate` of a call that is not there",
        ("terminate", "nonsense"),
        "`jingle-hnt calls` lists them",
        ("calls",),
        "looked there",
    ),
    Mistake(
        "C8",
        "`status` while nothing runs",
        lambda bench: _asked_too_early(bench),
        "command",
        "is `jingle-hnt run` running?",
        lambda bench, _: bench.run(),
        "ran it",
    ),
)


def _asked_too_early(bench: Bench) -> None:
    bench.serve()
    bench.save()
    bench.typed = ("status",)


def in_a_call(number: int, what: str, make: Make, says: str, mend: Mend, did: str) -> Mistake:
    """One that is heard in calls, and that `explain` tells of."""
    return Mistake(f"E{number}", what, _all(_running, make), "explain", says, mend, did)


def _reloads(options: Options) -> Make:
    """Change the file of a running process."""

    def make(bench: Bench) -> None:
        bench.write(options)
        status, said = bench.type("reload")
        assert status == 0, said

    return make


def _tell_the_right_one(bench: Bench, _: str) -> None:
    """Do what the finding of `check` says, to which `explain` points."""
    _interface(bench, "\n".join(li for li in bench.check().splitlines() if "nobody reaches" in li))
    _reloads({})(bench)


IN_CALLS = (
    in_a_call(
        1,
        "A microphone is off",
        lambda bench: setattr(bench, "mute", "bob"),
        "is heard: no audio of bob@example.org/phone reached the relay",
        lambda bench, _: setattr(bench, "mute", ""),
        "unmuted it",
    ),
    in_a_call(
        2,
        "Parties are told an address that is nobody's",
        _reloads({INTERFACES: f'[{{ address = "{RELAY}", advertise = "203.0.113.200" }}]'}),
        "jingle-hnt check",
        _tell_the_right_one,
        "asked `check`, wrote the interface that it shows, and reloaded",
    ),
    in_a_call(
        3,
        "The firewall takes UDP to the media ports",
        lambda bench: bench.nft(CLOSED),
        "relay.ports",
        _shut,
        "let UDP to relay.ports in",
    ),
    in_a_call(
        4,
        "The caller is blocked",
        lambda bench: _types("block", f"alice@{DOMAIN}")(bench, ""),
        "block",
        _types("unblock", f"alice@{DOMAIN}"),
        "typed `unblock`",
    ),
)

CATALOGUE: tuple[Mistake, ...] = (
    *IN_THE_FILE,
    *ON_THE_HOST,
    *AT_THE_SERVER,
    *WHILE_IT_RUNS,
    *ON_THE_COMMAND_LINE,
    *IN_CALLS,
)
