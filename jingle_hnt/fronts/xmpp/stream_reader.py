"""Reads an XML stream into stanzas without letting anybody's stanza cost us much.

slixmpp parses with ElementTree's pull parser, which has no limits and builds whatever comes. This
reader drives expat itself and refuses or prunes *before* a tree is built:

* DTDs, processing instructions and comments have no place in a stream (RFC 6120 section 11.1) and
  break it at their first bytes (`tag_splitter.py`), so no entity is ever declared.
* A stanza that is too big, too deep or of too many elements is pruned: what came before the limit
  is handed over and marked, what follows is only counted. The stream survives, since everybody
  who may send us a stanza could break it otherwise.
* Only a stanza above `LARGEST_STANZA` bytes breaks the stream. No server passes so much on: it
  is several times what the server module holds and what Prosody takes from a client.

Namespaces are resolved here and not by expat, which would write a namespace of 200 kB out for each
of the ten thousand elements inside it. A tag is given to expat whole, and not if it is too long.
"""

from collections.abc import Callable
from dataclasses import dataclass
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from jingle_hnt.fronts.xmpp.tag_splitter import Restricted, TagSplitter

LARGEST_STANZA = 2 * 1024 * 1024
"""Bytes. A client may send 256 KiB, and a server that escapes makes up to six times as many."""
MOST_CHARACTERS = 512 * 1024
"""Of text, names written out in full, and attributes, each of which counts `ATTRIBUTE` more."""
ATTRIBUTE = 32
MOST_ELEMENTS = 4200
DEEPEST = 48
"""Levels of elements in a stanza: 32 for <jingle/> itself, the rest for what it is wrapped in."""
MOST_NAMES = 20_000
"""Distinct names after which the parser is replaced: expat never forgets one."""


@dataclass(frozen=True, slots=True)
class StreamOpened:
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


Event = StreamOpened | Stanza | Closed | Broken

_XML = "http://www.w3.org/XML/1998/namespace"


class _Unreadable(Exception):
    """Raised inside a handler to end the parsing; `condition` is a stream error."""

    def __init__(self, condition: str, text: str) -> None:
        super().__init__(text)
        self.condition = condition


class StreamReader:
    """Bytes in, events out. After Closed or Broken nothing more comes out."""

    def __init__(self) -> None:
        self._events: list[Event] = []
        self._over = False
        self._splitter = TagSplitter()
        self._level = 0
        self._root = ""
        self._names: dict[str, str] = {}
        self._parser = self._new_parser()
        self._scopes: list[tuple[int, dict[str, str]]] = []
        self._builder = TreeBuilder()
        self._open: list[str] = []
        self._elements = 0
        self._characters = 0
        self._stanza_bytes = 0

    def feed(self, data: bytes) -> list[Event]:
        """Everything that these bytes complete. Never raises."""
        if self._over:
            return []
        self._stanza_bytes += len(data)
        restricted = ""
        try:
            self._splitter.feed(data)
        except Restricted as error:
            restricted = str(error)
        for piece, too_long in self._splitter.pieces():
            self._parse(piece, too_long)
        if restricted and not self._over:
            self._break("restricted-xml", f"{restricted} has no place in an XMPP stream")
        if self._stanza_bytes > LARGEST_STANZA and not self._over:
            self._break("policy-violation", f"stanza of more than {LARGEST_STANZA} bytes")
        events, self._events = self._events, []
        return events

    def _parse(self, data: bytes, too_long: bool) -> None:
        if self._over:
            return
        if too_long and self._level == 0:
            self._break("policy-violation", "the stream's header is too long")
            return
        if too_long:
            self._characters = MOST_CHARACTERS + 1
        try:
            self._parser.Parse(data, False)
        except _Unreadable as error:
            self._break(error.condition, str(error))
        except expat.ExpatError as error:
            self._break("not-well-formed", str(error))
        if len(self._names) > MOST_NAMES and not self._over:
            self._renew(data)

    def _break(self, condition: str, text: str) -> None:
        self._over = True
        self._events.append(Broken(condition, text))

    # The parser

    def _new_parser(self) -> expat.XMLParserType:
        parser = expat.ParserCreate(intern=self._names)
        parser.buffer_text = True
        parser.StartDoctypeDeclHandler = _refuse("a document type declaration")
        parser.EntityDeclHandler = _refuse("an entity declaration")
        parser.ProcessingInstructionHandler = _refuse("a processing instruction")
        parser.CommentHandler = _refuse("a comment")
        _listen(parser, self._on_start, self._on_end, self._on_text)
        # From 2.6 on expat puts a finished token off; `feed` does it better, and loses no time.
        defer = getattr(parser, "SetReparseDeferralEnabled", None)
        if defer is not None:
            defer(False)
        return parser

    def _renew(self, last: bytes) -> None:
        """Take a new parser, between two stanzas, that believes to be inside the same stream."""
        if self._level != 1 or not last.endswith((b"</iq>", b"</message>", b"</presence>")):
            return
        self._names.clear()
        self._parser = self._new_parser()
        _listen(self._parser, None, None, None)
        self._parser.Parse(f"<{self._root}>".encode(), False)
        _listen(self._parser, self._on_start, self._on_end, self._on_text)

    # What expat tells

    def _on_start(self, name: str, attributes: dict[str, str]) -> None:
        self._level += 1
        self._characters += sum(len(k) + len(v) + ATTRIBUTE for k, v in attributes.items())
        if self._is_too_much():
            self._prune()
            return
        self._open_scope(attributes)
        tag = self._resolved(name, self._namespace_of(""))
        attributes = {
            self._resolved(key, ""): value
            for key, value in attributes.items()
            if key.partition(":")[0] != "xmlns"
        }
        if self._level == 1:
            self._root = name
            self._events.append(StreamOpened(attributes))
        elif self._is_too_much():
            self._prune()
        else:
            self._elements += 1
            self._open.append(tag)
            self._builder.start(tag, attributes)

    def _on_text(self, text: str) -> None:
        self._characters += len(text)
        if self._level == 1:
            self._characters = 0  # keepalives between stanzas
        elif self._is_too_much():
            self._prune()
        else:
            self._builder.data(text)

    def _on_end(self, name: str) -> None:
        self._close_scope()
        self._level -= 1
        if self._level == 0:
            self._over = True
            self._events.append(Closed())
            return
        self._builder.end(self._open.pop())
        if self._level == 1:
            self._end_stanza()

    # Namespaces

    def _open_scope(self, attributes: dict[str, str]) -> None:
        declared = {
            key[6:]: uri for key, uri in attributes.items() if key.partition(":")[0] == "xmlns"
        }
        if declared:
            self._scopes.append((self._level, declared))

    def _close_scope(self) -> None:
        if self._scopes and self._scopes[-1][0] == self._level:
            self._scopes.pop()

    def _namespace_of(self, prefix: str) -> str:
        """The namespace that the innermost declaration gives this prefix; empty for none."""
        if prefix == "xml":
            return _XML
        return next((d[prefix] for _, d in reversed(self._scopes) if prefix in d), "")

    def _resolved(self, name: str, default: str) -> str:
        """A name in ElementTree's notation; without a prefix it is of the namespace `default`."""
        prefix, colon, local = name.rpartition(":")
        uri = self._namespace_of(prefix) if colon else default
        if colon and not uri:
            raise _Unreadable("not-well-formed", "a prefix has no namespace")
        self._characters += len(uri) + len(local)
        return f"{{{uri}}}{local}" if uri else local

    # The stanza that is being read

    def _is_too_much(self) -> bool:
        return (
            self._characters > MOST_CHARACTERS
            or self._elements >= MOST_ELEMENTS
            or self._level > DEEPEST + 1
        )

    def _end_stanza(self, pruned: bool = False) -> None:
        if self._elements:
            self._events.append(Stanza(self._builder.close(), pruned))
        self._builder = TreeBuilder()
        self._open.clear()
        self._elements = self._characters = self._stanza_bytes = 0

    # The rest of a pruned stanza, as cheaply as it can be had

    def _prune(self) -> None:
        for tag in reversed(self._open):
            self._builder.end(tag)
        while self._scopes and self._scopes[-1][0] > 1:
            self._scopes.pop()
        _listen(self._parser, self._on_skipped_start, self._on_skipped_end, None)

    def _on_skipped_start(self, *_: object) -> None:
        self._level += 1

    def _on_skipped_end(self, *_: object) -> None:
        self._level -= 1
        if self._level == 1:
            self._end_stanza(pruned=True)
            _listen(self._parser, self._on_start, self._on_end, self._on_text)


def _listen(
    parser: expat.XMLParserType,
    start: Callable[[str, dict[str, str]], None] | None,
    end: Callable[[str], None] | None,
    text: Callable[[str], None] | None,
) -> None:
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = text


def _refuse(what: str) -> Callable[..., None]:
    def refuse(*_: object) -> None:
        raise _Unreadable("restricted-xml", f"{what} has no place in an XMPP stream")

    return refuse
