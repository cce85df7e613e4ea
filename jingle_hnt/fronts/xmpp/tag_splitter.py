"""Cuts a stream into pieces that end where a tag ends, before anybody parses it.

A parser that is given half a tag reads it again from its start with each further piece (expat until
2.6), and whoever puts many ``>`` into an attribute could make us pay for that. So a tag is given on
whole or not at all, and one that is too long loses all but its first attributes. What XMPP forbids
(RFC 6120 section 11.1) is refused at its first bytes: nothing of it reaches the parser.
"""

import re
from enum import Enum, auto

LONGEST_TAG = 64 * 1024
"""Bytes, attributes included. The longest real ones have a few hundred."""

# Without possessive repeats: those of Python 3.11.2, Debian 12's, match too little (gh-106052).
# Where a repeat gives back here, what follows cannot match: the work stays linear in the bytes.
_IN_TAG = rb"""[^"'>]*(?:(?:"[^"]*"|'[^']*')[^"'>]*)*"""
_REST = re.compile(_IN_TAG)
_HEAD = re.compile(rb"""</?[^\s"'<>/]+(?:\s+[^\s="'<>/]+\s*=\s*(?:"[^"<]*"|'[^'<]*')){0,16}""")
_TAGS = re.compile(rb"""(?:[^<]*<[^!?"'>]""" + _IN_TAG + rb""">)+""")
"""As many whole tags as there are."""

Piece = tuple[bytes, bool]
"""Bytes, and whether they are a tag that was cut short because it was too long."""


class Restricted(Exception):
    """Something that has no place in an XMPP stream; its name is the text."""


class _In(Enum):
    TEXT = auto()
    LESS_THAN = auto()
    EXCLAMATION = auto()
    CDATA = auto()
    TAG = auto()
    VALUE = auto()


class TagSplitter:
    """Bytes in, pieces out; what follows the last whole tag is held until the next is whole."""

    def __init__(self) -> None:
        self._held = bytearray()
        self._at = self._tag_at = self._cut = 0
        self._in = _In.TEXT
        self._quote = b""
        self._begun = False
        self._pieces: list[Piece] = []

    def feed(self, data: bytes) -> None:
        """Take these bytes; see `pieces`. Raises Restricted."""
        self._held += data
        while self._at < len(self._held) and self._step():
            pass

    def pieces(self) -> list[Piece]:
        """Take what is complete."""
        self._take()
        taken, self._pieces = self._pieces, []
        return taken

    def _step(self) -> bool:
        """Go on a little; False where more bytes are needed."""
        match self._in:
            case _In.TEXT:
                return self._skip_tags() or self._find(b"<", _In.LESS_THAN)
            case _In.LESS_THAN:
                return self._begin_tag()
            case _In.EXCLAMATION:
                return self._begin_cdata()
            case _In.CDATA:
                return self._find(b"]]>", _In.TEXT)
            case _In.VALUE:
                return self._find(self._quote, _In.TAG)
            case _In.TAG:
                return self._go_through_tag()

    def _skip_tags(self) -> bool:
        """Many tags at once, where none of them can be too long."""
        if len(self._held) - self._at > LONGEST_TAG:
            return False
        tags = _TAGS.match(self._held, self._at)
        if tags is None:
            return False
        self._at = self._cut = tags.end()
        return True

    def _find(self, what: bytes, then: _In) -> bool:
        found = self._held.find(what, self._at)
        if found < 0:
            self._at = max(self._at, len(self._held) - len(what) + 1)
            return False
        if then is _In.LESS_THAN:
            self._tag_at = found
        self._at, self._in = found + len(what), then
        return True

    def _begin_tag(self) -> bool:
        first = self._held[self._at]
        if first == ord("?") and (self._begun or self._tag_at):
            raise Restricted("a processing instruction")
        self._begun = True
        self._in = _In.EXCLAMATION if first == ord("!") else _In.TAG
        self._at += first == ord("!")
        return True

    def _begin_cdata(self) -> bool:
        if self._held[self._at] != ord("["):
            comment = self._held[self._at] == ord("-")
            raise Restricted("a comment" if comment else "a document type declaration")
        self._in = _In.CDATA
        return True

    def _go_through_tag(self) -> bool:
        rest = _REST.match(self._held, self._at)
        assert rest is not None
        self._at = rest.end()
        if self._at == len(self._held):
            return False
        self._at += 1
        if self._held[self._at - 1] == ord(">"):
            self._end_tag()
        else:
            self._quote, self._in = bytes(self._held[self._at - 1 : self._at]), _In.VALUE
        return True

    def _end_tag(self) -> None:
        self._in = _In.TEXT
        if self._at - self._tag_at <= LONGEST_TAG:
            self._cut = self._at
            return
        short = _short(bytes(self._held[self._tag_at : self._at]))
        self._cut = self._tag_at
        self._take()
        self._pieces.append((short, True))
        del self._held[: self._at]
        self._at = 0

    def _take(self) -> None:
        """Let what is before the cut be a piece."""
        if self._cut:
            self._pieces.append((bytes(self._held[: self._cut]), False))
            del self._held[: self._cut]
            self._at -= self._cut
            self._tag_at -= self._cut
            self._cut = 0


def _short(tag: bytes) -> bytes:
    """The tag with no more than its first attributes; no tag at all where it is malformed."""
    head = _HEAD.match(tag, 0, LONGEST_TAG)
    if head is None:
        return b"<>"
    return head.group() + (b"/>" if tag.endswith(b"/>") else b">")
