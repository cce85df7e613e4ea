"""The table of commands: one entry for each thing that an administrator may ask or do.

The command line with its manual page and shell completions, the local socket, the ad-hoc commands
of XMPP clients (XEP-0050) and docs/commands.md are made from it. An entry only describes. Its
functions are found by name: on the command line `function` of `jingle_hnt.commands`, in the process
that answers the method of the command's name (`admin/service.py`, `rehearsal.py`).
"""

from dataclasses import dataclass
from enum import StrEnum

PROSODY_MODULES = "/usr/local/lib/prosody/modules"
"""In the plugin path of Prosody as Debian has it."""

EJABBERD_SOURCES = "/var/lib/ejabberd/.ejabberd-modules/sources"
"""Where ejabberd's module installer looks; the directory is CONTRIB_MODULES_PATH elsewhere."""

LOG_LEVELS = ("debug", "info", "warning", "error")
ORDERS = ("trouble", "score", "loss", "age", "caller")
"""What calls may be sorted by."""
SHOWN = 20
"""Calls of the history that are shown unless another number is asked for."""

SHUTDOWN = "http://jabber.org/protocol/admin#shutdown"
"""Where XEP-0133 section 4.31 has the end of a service; a drain is how ours begins."""


class FieldKind(StrEnum):
    """The type of a value: those of XEP-0004 forms, and two of the command line."""

    TEXT = "text-single"
    LINES = "text-multi"
    CHOICE = "list-single"
    FLAG = "boolean"
    JID = "jid-single"
    PATH = "path"
    NUMBER = "number"


@dataclass(frozen=True, slots=True)
class Field:
    """One value that a command takes.

    `label` is what a form says of it; without one only the command line has it. `help` is what
    ``--help`` says, where that is something else. `flag` is how the command line names it; without
    one it stands in its place, and is needed. `options` are the values of a CHOICE.
    """

    name: str
    label: str = ""
    kind: FieldKind = FieldKind.TEXT
    required: bool = False
    default: str | None = None
    options: tuple[str, ...] = ()
    flag: str = ""
    metavar: str = ""
    help: str = ""


@dataclass(frozen=True, slots=True)
class Command:
    """One thing to ask or to do.

    `title` is its name in clients; without one no running process is asked. `help` is its line of
    ``--help``; without one the command line does not have it. `function` is ``module:function`` of
    `jingle_hnt.commands`. `changes` tells that it changes something; `node` is its XEP-0133 node,
    where that standard has one for it. `has_config`, `has_json` and `has_addresses` give it
    ``--config``, ``--json`` and ``--addresses``. `is_local` keeps it to the socket of this host.
    """

    name: str
    title: str = ""
    help: str = ""
    function: str = ""
    fields: tuple[Field, ...] = ()
    changes: bool = False
    node: str | None = None
    has_config: bool = True
    has_json: bool = False
    has_addresses: bool = False
    is_local: bool = False

    @property
    def asked(self) -> tuple[Field, ...]:
        """The fields that a running process is sent."""
        return tuple(field for field in self.fields if field.label)


def _shown(
    name: str,
    title: str,
    help: str,
    function: str,
    *fields: Field,
    addresses: bool = False,
) -> Command:
    """A command that shows what a running process says."""
    return Command(name, title, help, function, fields, has_json=True, has_addresses=addresses)


def _ordered(
    name: str,
    title: str,
    help: str,
    function: str,
    *fields: Field,
    node: str | None = None,
) -> Command:
    """A command that changes something in a running process."""
    return Command(name, title, help, function, fields, changes=True, node=node, has_json=True)


_CALL = "the call's name, or its Jingle sid"
_SORT = Field(
    "sort",
    kind=FieldKind.CHOICE,
    default=ORDERS[0],
    options=ORDERS,
    flag="--sort",
    help="the order of the calls (default: trouble)",
)
_FILTER = Field(
    "filter",
    default="",
    flag="--filter",
    metavar="TEXT",
    help="show only calls that contain this text",
)
_WHO = Field(
    "who",
    "A bare JID or a domain",
    required=True,
    metavar="JID|DOMAIN",
    help="a bare JID or a domain",
)
_TIMES = "14:05, 2026-11-30, '2026-11-30 14:05', yesterday, 24h (ago)"


def _flag(name: str, help: str) -> Field:
    return Field(name, kind=FieldKind.FLAG, flag=f"--{name}", help=help)


COMMANDS = (
    Command(
        "init",
        help="write a configuration file",
        function="init:initialise",
        fields=(
            Field(
                "domain",
                flag="--domain",
                help="the XMPP domain whose users call, such as example.org",
            ),
            Field(
                "component",
                flag="--component",
                help="the component's domain (default: hnt.DOMAIN)",
            ),
            Field("relay_address", flag="--relay-address", help="this host's IP address for media"),
            Field(
                "advertise",
                flag="--advertise",
                help="the address that clients send to, if a NAT is in front of this host",
            ),
            Field(
                "stun",
                flag="--stun",
                metavar="HOST:PORT",
                help="a STUN server that tells the address that clients send to",
            ),
            Field(
                "secret_file",
                kind=FieldKind.PATH,
                flag="--secret-file",
                help="the file with the component's secret",
            ),
            _flag("yes", "ask no questions"),
            _flag("force", "overwrite files that exist; the old ones are kept as .old"),
        ),
    ),
    Command(
        "module",
        help="install the server module for Prosody or ejabberd",
        function="provide:put_module",
        has_config=False,
        fields=(
            Field(
                "server",
                kind=FieldKind.CHOICE,
                options=("ejabberd", "prosody"),
                help="the server that loads it",
            ),
            Field(
                "into",
                kind=FieldKind.PATH,
                flag="--into",
                metavar="DIR",
                help=f"the directory (default: {PROSODY_MODULES}, or {EJABBERD_SOURCES})",
            ),
        ),
    ),
    Command(
        "unit",
        help="install the systemd unit",
        function="provide:put_unit",
        has_config=False,
        fields=(
            Field(
                "into",
                kind=FieldKind.PATH,
                default="/etc/systemd/system",
                flag="--into",
                metavar="DIR",
                help="the directory (default: /etc/systemd/system)",
            ),
            _flag("force", "overwrite a unit that was changed"),
        ),
    ),
    Command(
        "check",
        "Self-check",
        "test the configuration, this host, the XMPP server and the relay's addresses",
        "check:check",
        fields=(
            _flag("offline", "do not connect to the server"),
            _flag("media", "make test calls through the running relay as well"),
        ),
        has_json=True,
    ),
    Command(
        "run",
        help="run both processes, and start them again if they fail",
        function="processes:run",
    ),
    Command("signalling", help="run the signalling process alone", function="processes:signalling"),
    Command(
        "plane",
        help="run the forwarding plane alone",
        function="plane:plane",
        fields=(_flag("standby", "wait for a line on standard input, then start"),),
    ),
    _shown(
        "status",
        "Status",
        "show whether new calls are relayed, and what is in use",
        "inspect:show_status",
    ),
    _shown(
        "stats",
        "Counts since the start",
        "show the counters since the start",
        "inspect:show_stats",
    ),
    _shown(
        "limits",
        "Limits and who is near them",
        "show limits and budgets, the users near them, and who is blocked",
        "inspect:show_limits",
    ),
    _shown(
        "policy",
        "What new calls follow",
        "show the options in force for new calls",
        "inspect:show_policy",
    ),
    _shown(
        "calls",
        "Calls",
        "show live calls",
        "inspect:show_calls",
        _SORT,
        _FILTER,
        addresses=True,
    ),
    _shown(
        "call",
        "One call in full",
        "show one live call in full",
        "inspect:show_call",
        Field("call", "The call's name or sid", required=True, metavar="NAME|SID", help=_CALL),
        addresses=True,
    ),
    _shown(
        "explain",
        "What is wrong with a call",
        "say what is wrong with a call, live or over, and what to do",
        "inspect:show_explanation",
        Field(
            "call",
            "The call's name or sid, or a user's JID",
            required=True,
            metavar="NAME|SID|JID",
            help=f"{_CALL}, or a user's JID for that user's latest call",
        ),
        Field(
            "at",
            "At what time, of a user's calls",
            flag="--at",
            metavar="TIME",
            help="the time of the user's call, refused or not: 14:05,"
            " 2026-11-30, '2026-11-30 14:05', 2h (ago)",
        ),
        addresses=True,
    ),
    _shown(
        "history",
        "Calls that are over",
        "show calls that are over",
        "inspect:show_history",
        Field(
            "count",
            "How many",
            default=str(SHOWN),
            flag="--count",
            metavar="N",
            help=f"number of calls (default: {SHOWN})",
        ),
        Field("party", "Only calls of this JID", flag="--party", metavar="JID"),
        addresses=True,
    ),
    Command(
        "top",
        help="watch live calls",
        function="top:watch",
        fields=(
            _flag("once", "show one interval, then exit"),
            Field(
                "interval",
                kind=FieldKind.NUMBER,
                default="1.0",
                flag="--interval",
                metavar="S",
                help="seconds between two updates",
            ),
            _SORT,
            _FILTER,
        ),
        has_json=True,
        has_addresses=True,
    ),
    Command(
        "report",
        help="summarise the calls of a day: number, set-up, ends, quality, and the worst calls",
        function="report:show",
        fields=(
            Field(
                "since",
                default="24h",
                flag="--since",
                metavar="TIME",
                help=f"{_TIMES} (default: 24h ago)",
            ),
            Field(
                "until",
                default="0m",
                flag="--until",
                metavar="TIME",
                help="like --since; a day counts to its end (default: now)",
            ),
            Field(
                "html",
                kind=FieldKind.PATH,
                flag="--html",
                metavar="FILE",
                help="write the report into this file, as one HTML page",
            ),
        ),
    ),
    _ordered(
        "terminate",
        "End calls",
        "end a call, or all calls of a user, for both parties",
        "operate:terminate",
        Field(
            "call",
            "The call's name or sid, or a user's JID",
            required=True,
            metavar="NAME|SID|JID",
            help="the call's name or sid, or a user's JID",
        ),
    ),
    _ordered(
        "drain",
        "Take no new calls",
        "take no new calls; live calls go on",
        "operate:drain",
        Field(
            "announcement",
            "Announcement to users in a call",
            FieldKind.LINES,
            flag="--announce",
            metavar="TEXT",
            help="send this text to users in a call",
        ),
        node=SHUTDOWN,
    ),
    _ordered("undrain", "Take new calls again", "take new calls again", "operate:undrain"),
    _ordered(
        "reload",
        "Read the configuration again",
        "read the configuration again; new calls follow it",
        "operate:reload",
    ),
    _ordered(
        "set",
        "Set an option for new calls",
        "change an option for new calls, until the next reload or start",
        "operate:set_option",
        Field(
            "option",
            "Option",
            FieldKind.CHOICE,
            required=True,
            metavar="OPTION",
            help="the option, such as gate.policy; `policy` lists them",
        ),
        Field(
            "value",
            "Value, until the next reload or start",
            required=True,
            metavar="VALUE",
            help="the value, written as in the configuration file",
        ),
    ),
    _ordered(
        "block",
        "Block a user or domain",
        "refuse all calls of a user or domain, also after a restart",
        "operate:block",
        _WHO,
    ),
    _ordered(
        "unblock",
        "Unblock a user or domain",
        "accept calls of a blocked user or domain again",
        "operate:block",
        _WHO,
    ),
    _ordered(
        "loglevel",
        "Set the log level",
        "change the log level, until the next reload or start",
        "operate:loglevel",
        Field(
            "level",
            "Log level",
            FieldKind.CHOICE,
            required=True,
            options=LOG_LEVELS,
            help="log level",
        ),
    ),
    Command(
        "config show",
        help="show every option as file and environment set it, secrets hidden",
        function="operate:show_config",
        has_json=True,
    ),
    Command("rehearse", "Play a party of a call of nobody", is_local=True),
)

GROUPS = {"config": "show the configuration in force"}
"""What ``--help`` says of the first word of commands that have two."""


def named(name: str) -> Command:
    """The entry of this name. Raises KeyError."""
    return _BY_NAME[name]


_BY_NAME = {command.name: command for command in COMMANDS}
