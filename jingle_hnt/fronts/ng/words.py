"""What a proxy asks in the NG protocol, as values; and what it is answered, in rtpengine's words.

The names are those of rtpengine's documentation. In flags and keys a space, a hyphen, an underscore
and the case of a letter make no difference, as there. Newer proxies send the flags of their scripts
as one raw text (``rtpp-flags``), older ones sort them into keys; both are read to the same value.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from jingle_hnt.fronts.ng.bencode import Encodable, Value
from jingle_hnt.model.address import IPAddress, literal

LONGEST_NAME = 255
"""Bytes of a call-id, tag or branch that are taken; SIP stacks make 20 to 80."""

LONGEST_SDP = 32_768
"""Bytes of a description; a browser's offer with video has 8 to 10 thousand."""

MOST_FLAGS = 128

COMMANDS = frozenset({"ping", "offer", "answer", "delete", "query", "list"})

SESSION_LIMIT = "Parallel session limit reached"
OUT_OF_PORTS = "Ran out of ports"
"""The two texts by which Kamailio and OpenSIPS know that another node should be asked."""

UNKNOWN_CALL = "Unknown call-id"
NO_MATCH = "Call-ID not found or tags didn't match"
BAD_SDP = "Failed to parse SDP"


class Refused(Exception):
    """A command cannot be carried out; the text is the proxy's ``error-reason``.

    With `is_load` another node should be asked, and a proxy that knows ``load limit`` is told so.
    """

    def __init__(self, text: str, *, is_load: bool = False) -> None:
        super().__init__(text)
        self.is_load = is_load


@dataclass(frozen=True, slots=True)
class NgCommand:
    """One message of a proxy.

    `name` is one of `COMMANDS`. `call_id`, `from_tag`, `to_tag` and `branch` name the call, all may
    be empty. `flags` and the `replace` list are in small letters with hyphens; `options` are all
    other keys that have a text or texts, each as a tuple of words. `received_from` is where the SIP
    message came from, `code` the status of a SIP response, 0 where none is told.
    """

    name: str
    call_id: str = ""
    from_tag: str = ""
    to_tag: str = ""
    branch: str = ""
    sdp: bytes = field(default=b"", repr=False)
    flags: frozenset[str] = frozenset()
    replace: frozenset[str] = frozenset()
    options: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    received_from: IPAddress | None = None
    code: int = 0
    limit: int = 32

    def option(self, name: str) -> str:
        """The word of an option, the first where it has several; empty where it is not there."""
        return next(iter(self.options.get(name, ())), "")

    @property
    def knows_load_limit(self) -> bool:
        """Whether the proxy can be told that this node is full, and another should be asked."""
        return "load-limit" in self.options.get("supports", ())

    @property
    def is_provisional(self) -> bool:
        """Whether the answer came with a response that does not end the ringing (RFC 3262)."""
        return 100 <= self.code < 200


def read(body: Value) -> NgCommand:
    """The command of a decoded message. Raises Refused with the text that rtpengine has for it."""
    if not isinstance(body, dict):
        raise Refused("Could not decode bencode dictionary")
    if "command" not in body:
        raise Refused('Dictionary contains no key "command"')
    name = _name(body["command"], "command")
    if name not in COMMANDS:
        raise Refused("Unrecognized command")
    return _Reading(body).command(name)


class _Reading:
    """One message, read key by key."""

    def __init__(self, body: Mapping[str, Value]) -> None:
        self._body = {_plain(key): value for key, value in body.items()}
        self._flags: set[str] = set()
        self._replace: set[str] = set()
        self._options: dict[str, tuple[str, ...]] = {}

    def command(self, name: str) -> NgCommand:
        body = self._body
        for word in _words(body.get("flags")):
            self._take(word)
        for word in _words(body.get("rtpp-flags")):
            self._take(word)
        self._replace.update(_plain(word) for word in _words(body.get("replace")))
        for key, value in body.items():
            if key not in _OWN and isinstance(value, bytes | list | int):
                self._options[key] = tuple(map(_plain_value, _words(value)))
            elif isinstance(value, dict):
                self._take_group(key, value)
        sdp = body.get("sdp", b"")
        if not isinstance(sdp, bytes) or len(sdp) > LONGEST_SDP:
            raise Refused(f"{BAD_SDP}: it has more than {LONGEST_SDP} bytes")
        if len(self._flags) + len(self._options) > MOST_FLAGS:
            raise Refused(f"a command has at most {MOST_FLAGS} flags and options")
        return NgCommand(
            name,
            _name(body.get("call-id"), "call-id"),
            _name(body.get("from-tag"), "from-tag"),
            _name(body.get("to-tag"), "to-tag"),
            _name(body.get("via-branch"), "via-branch"),
            sdp,
            frozenset(self._flags),
            frozenset(self._replace),
            self._options,
            _received_from(body.get("received-from")),
            _number(body.get("sip-code")),
            _number(body.get("limit")) or 32,
        )

    def _take(self, word: str) -> None:
        """A flag, or what would be a key of its own if the proxy had sorted it."""
        name, equals, value = word.partition("=")
        plain = _plain(name)
        if equals:
            values = tuple(_plain_value(part) for part in value.split(",") if part)
            self._options[plain] = (*self._options.get(plain, ()), *values)
        elif plain.startswith("replace-"):
            self._replace.add(plain.removeprefix("replace-"))
        elif word.upper().startswith(("RTP/", "UDP/")):
            self._options["transport-protocol"] = (word,)
        else:
            self._flags.add(plain)

    def _take_group(self, key: str, group: Mapping[str, Value]) -> None:
        """A dictionary such as ``codec``: its keys as flags with the group's name before them."""
        for sub in group:
            self._flags.add(f"{key}-{_plain(sub)}")


_OWN = frozenset(
    {
        "command",
        "call-id",
        "from-tag",
        "to-tag",
        "via-branch",
        "sdp",
        "flags",
        "rtpp-flags",
        "replace",
        "received-from",
        "sip-code",
        "limit",
    }
)


def _plain(text: str) -> str:
    return text.strip().lower().replace(" ", "-").replace("_", "-")


def _plain_value(text: str) -> str:
    """Names of protocols and addresses keep their letters."""
    return text if "/" in text else _plain(text)


def _text(value: bytes) -> str:
    return value.decode(errors="backslashreplace")


def _name(value: Value | None, key: str) -> str:
    if value is None:
        return ""
    if not isinstance(value, bytes):
        raise Refused(f"{key} is no text")
    if len(value) > LONGEST_NAME:
        raise Refused(f"{key} has more than {LONGEST_NAME} bytes")
    return _text(value)


def _words(value: Value | None) -> Iterator[str]:
    """The words of a text, or the texts of a list; of anything else none."""
    match value:
        case bytes():
            yield from _text(value).split()
        case int():
            yield str(value)
        case list():
            yield from (_text(each) for each in value if isinstance(each, bytes))


def _number(value: Value | None) -> int:
    if isinstance(value, bytes) and value.isdigit() and len(value) < 10:
        return int(value)
    return value if isinstance(value, int) and value >= 0 else 0


def _received_from(value: Value | None) -> IPAddress | None:
    """The address of ``[IP4, 198.51.100.1]``; None where it is none, which proves nothing then."""
    words = list(_words(value))
    try:
        return literal(words[-1].strip("[]")) if words else None
    except ValueError:
        return None


# Answers

Answer = dict[str, Encodable]


def pong() -> Answer:
    return {"result": "pong"}


def ok(**more: Encodable) -> Answer:
    return {"result": "ok", **more}


def error(text: str) -> Answer:
    return {"result": "error", "error-reason": text}


def refusal(refused: Refused, command: NgCommand | None) -> Answer:
    """What the proxy is answered where a command is refused."""
    if refused.is_load and command is not None and command.knows_load_limit:
        return {"result": "load limit", "message": str(refused)}
    return error(str(refused))


def texts(words: Iterable[str]) -> list[Encodable]:
    """A list of texts, for an answer."""
    return list(words)
