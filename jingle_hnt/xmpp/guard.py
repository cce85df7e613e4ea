"""Reads an XML stream into stanzas without letting anybody's stanza cost us much.

slixmpp parses with ElementTree's pull parser, which has no limits and builds whatever comes. This
reader drives expat itself and refuses or prunes *before* a tree is built:

* DTDs, processing instructions and comments have no place in a stream (RFC 6120 section 11.1) and
  break it at once, so no entity is ever declared.
* A stanza that is too big, too deep or of too many elements is pruned: what came before the limit
  is handed over and marked, what follows is only counted. The stream survives, since everybody
  who may send us a stanza could break it otherwise.
* Only a stanza above `LARGEST_STANZA` bytes breaks the stream. No server passes so much on: it
  is several times what the server module holds and what Prosody takes from a client.

One limit remains and cannot be set from Python: the server is trusted not to attack expat itself.
"""

from collections.abc import Callable
from dataclasses import dataclass
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat
from xml.sax.saxutils import quoteattr

from jingle_hnt.errors import ProtocolViolation

LARGEST_STANZA = 2 * 1024 * 1024
"""Bytes. A client may send 256 KiB, and a server that escapes makes up to six times as many."""
MOST_CHARACTERS = 512 * 1024
MOST_ELEMENTS = 4200
DEEPEST = 48
"""Levels of elements in a stanza: 32 for <jingle/> itself, the rest for what it is wrapped in."""
MOST_NAMES = 20_000
"""Distinct names after which the parser is replaced: expat never forgets one."""


@dataclass(frozen=True, slots=True)
class Opened:
    """The server's stream header with its attributes."""

    attributes: dict[str, str]


@dataclass(frozen=True, slots=True)
class Stanza:
    """An element on the first level; `pruned` where it passed a limit and lacks its end."""

    element: Element
    pruned: bool = False


@dataclass(frozen=True, slots=True)
class Closed:
    """The server closed its stream."""


@dataclass(frozen=True, slots=True)
class Broken:
    """The stream cannot be read any further; `condition` is a stream error (RFC 6120 4.9.3)."""

    condition: str
    text: str


Event = Opened | Stanza | Closed | Broken


class StreamReader:
    """Bytes in, events out. After Closed or Broken nothing more comes out."""

    def __init__(self) -> None:
        self._events: list[Event] = []
        self._over = False
        self._pending = bytearray()
        self._level = 0
        self._declared: list[tuple[str | None, str | None]] = []
        self._names: dict[str, str] = {}
        self._parser = self._new_parser()
        self._builder = TreeBuilder()
        self._open: list[str] = []
        self._elements = 0
        self._characters = 0
        self._stanza_bytes = 0

    def feed(self, data: bytes) -> list[Event]:
        """Everything that these bytes complete. Never raises."""
        if self._over:
            return []
        self._pending += data
        self._stanza_bytes += len(data)
        # No token ends without this byte, and expat would read an unfinished one anew each time.
        if b">" in data:
            self._parse()
        if self._stanza_bytes > LARGEST_STANZA and not self._over:
            self._break("policy-violation", f"stanza of more than {LARGEST_STANZA} bytes")
        events, self._events = self._events, []
        return events

    def _parse(self) -> None:
        data = bytes(self._pending)
        self._pending.clear()
        try:
            self._parser.Parse(data, False)
        except ProtocolViolation as error:
            self._break("restricted-xml", str(error))
        except expat.ExpatError as error:
            self._break("not-well-formed", str(error))
        if len(self._names) > MOST_NAMES and not self._over:
            self._renew(data)

    def _break(self, condition: str, text: str) -> None:
        self._over = True
        self._events.append(Broken(condition, text))

    # The parser

    def _new_parser(self) -> expat.XMLParserType:
        parser = expat.ParserCreate(None, "}", intern=self._names)
        parser.buffer_text = True
        parser.StartElementHandler = self._on_start
        parser.EndElementHandler = self._on_end
        parser.CharacterDataHandler = self._on_text
        parser.StartNamespaceDeclHandler = self._on_namespace
        parser.StartDoctypeDeclHandler = _refuse("a document type declaration")
        parser.EntityDeclHandler = _refuse("an entity declaration")
        parser.ProcessingInstructionHandler = _refuse("a processing instruction")
        parser.CommentHandler = _refuse("a comment")
        # From 2.6 on expat puts a finished token off; `feed` does it better, and loses no time.
        defer = getattr(parser, "SetReparseDeferralEnabled", None)
        if defer is not None:
            defer(False)
        return parser

    def _renew(self, last: bytes) -> None:
        """Take a new parser, between two stanzas, with the stream's header put before it."""
        closers = (b"</iq>", b"</message>", b"</presence>")
        if self._level != 1 or not last.endswith(closers):
            return
        declared = "".join(
            f" xmlns{':' + prefix if prefix else ''}={quoteattr(uri or '')}"
            for prefix, uri in self._declared
        )
        self._names.clear()
        self._level = 0
        self._parser = self._new_parser()
        self._parser.Parse(f"<stream{declared}>".encode(), False)
        self._events.pop()  # that was our own header

    # What expat tells

    def _on_namespace(self, prefix: str | None, uri: str | None) -> None:
        if self._level == 0:
            self._declared = [d for d in self._declared if d[0] != prefix] + [(prefix, uri)]

    def _on_start(self, name: str, attributes: dict[str, str]) -> None:
        self._level += 1
        if self._level == 1:
            self._events.append(Opened({_tag(k): v for k, v in attributes.items()}))
            return
        self._characters += len(name) + sum(len(k) + len(v) for k, v in attributes.items())
        if self._is_too_much():
            self._prune()
            return
        tag = _tag(name)
        self._elements += 1
        self._open.append(tag)
        self._builder.start(tag, {_tag(k): v for k, v in attributes.items()})

    def _on_text(self, text: str) -> None:
        self._characters += len(text)
        if self._level == 1:
            self._characters = 0  # keepalives between stanzas
        elif self._is_too_much():
            self._prune()
        else:
            self._builder.data(text)

    def _on_end(self, name: str) -> None:
        self._level -= 1
        if self._level == 0:
            self._over = True
            self._events.append(Closed())
            return
        self._builder.end(self._open.pop())
        if self._level == 1:
            self._end_stanza()

    # The stanza that is being read

    def _start_stanza(self) -> None:
        self._builder = TreeBuilder()
        self._open.clear()
        self._elements = self._characters = self._stanza_bytes = 0

    def _is_too_much(self) -> bool:
        return (
            self._characters > MOST_CHARACTERS
            or self._elements >= MOST_ELEMENTS
            or self._level > DEEPEST + 1
        )

    def _end_stanza(self, pruned: bool = False) -> None:
        if self._elements:
            self._events.append(Stanza(self._builder.close(), pruned))
        self._start_stanza()

    # The rest of a pruned stanza, as cheaply as it can be had

    def _prune(self) -> None:
        for tag in reversed(self._open):
            self._builder.end(tag)
        self._parser.StartElementHandler = self._on_skipped_start
        self._parser.EndElementHandler = self._on_skipped_end
        self._parser.CharacterDataHandler = None

    def _on_skipped_start(self, *_: object) -> None:
        self._level += 1

    def _on_skipped_end(self, *_: object) -> None:
        self._level -= 1
        if self._level == 1:
            self._end_stanza(pruned=True)
            self._parser.StartElementHandler = self._on_start
            self._parser.EndElementHandler = self._on_end
            self._parser.CharacterDataHandler = self._on_text


def _tag(name: str) -> str:
    return "{" + name if "}" in name else name


def _refuse(what: str) -> Callable[..., None]:
    def refuse(*_: object) -> None:
        raise ProtocolViolation(f"{what} has no place in an XMPP stream")

    return refuse
