"""Bencode (BEP 3), as far as the NG protocol uses it, with a limit on what one message may cost.

The libraries were looked at. bencode2 refuses dictionaries whose keys are not sorted, and Kamailio
sends them in the order in which it made them. bencode.py takes ``i1_0e`` for ten, lets a key that
comes twice stand for whichever was last, and spends 15 ms on 60 kB of small numbers. Here the work
is bounded by ``MAX_ITEMS``, whatever the length.
"""

from collections.abc import Mapping, Sequence

MAX_ITEMS = 1024
"""Most values, keys included, in one message; Kamailio's largest offers have about fifty."""

MAX_DEPTH = 10
"""Most lists and dictionaries around one value; an answer to a query has eight."""

MAX_DIGITS = 19
"""Most digits of a number: 64 bits."""

Value = bytes | int | list["Value"] | dict[str, "Value"]
Encodable = bytes | str | int | Sequence["Encodable"] | Mapping[str, "Encodable"]


class BadBencode(ValueError):
    """The bytes are no bencode, or more of it than a message may have."""


def decode(data: bytes) -> Value:
    """The value of a message. Raises BadBencode, and nothing else, for any other bytes.

    Keys may come in any order, and each once. A key that is no UTF-8 is told apart from all others.
    """
    reader = _Reader(data)
    value = reader.value(0)
    if reader.at != len(data):
        raise BadBencode(f"{len(data) - reader.at} bytes follow the value")
    return value


def encode(value: Encodable) -> bytes:
    """The bencode of a value; keys are sorted. Raises TypeError for a value of another kind."""
    parts: list[bytes] = []
    _encode(value, parts)
    return b"".join(parts)


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0
        self._left = MAX_ITEMS

    def value(self, depth: int) -> Value:
        self._left -= 1
        if self._left < 0:
            raise BadBencode(f"more than {MAX_ITEMS} values in one message")
        if depth > MAX_DEPTH:
            raise BadBencode(f"more than {MAX_DEPTH} lists and dictionaries around a value")
        first = self.data[self.at : self.at + 1]
        if first.isdigit():
            return self.string()
        self.at += 1
        match first:
            case b"i":
                return self._number(b"e")
            case b"l":
                return list(self._items(depth))
            case b"d":
                return self._dictionary(depth)
        raise BadBencode(f"no value begins at byte {self.at - 1}")

    def string(self) -> bytes:
        length = self._number(b":")
        text = self.data[self.at : self.at + length]
        if length < 0 or len(text) != length:
            raise BadBencode("a string is longer than the message")
        self.at += length
        return text

    def _number(self, end: bytes) -> int:
        until = self.data.find(end, self.at, self.at + MAX_DIGITS + 2)
        digits = self.data[self.at : until] if until >= 0 else b""
        unsigned = digits.removeprefix(b"-")
        is_padded = unsigned.startswith(b"0") and digits != b"0"
        if not unsigned.isdigit() or is_padded or len(unsigned) > MAX_DIGITS:
            raise BadBencode(f"no number begins at byte {self.at}")
        self.at = until + 1
        return int(digits)

    def _ends(self) -> bool:
        if self.data[self.at : self.at + 1] == b"e":
            self.at += 1
            return True
        return False

    def _items(self, depth: int) -> list[Value]:
        items = []
        while not self._ends():
            items.append(self.value(depth + 1))
        return items

    def _dictionary(self, depth: int) -> dict[str, Value]:
        found: dict[str, Value] = {}
        while not self._ends():
            if not self.data[self.at : self.at + 1].isdigit():
                raise BadBencode("a key of a dictionary is no string")
            self._left -= 1
            key = self.string().decode(errors="surrogateescape")
            if key in found:
                raise BadBencode(f"the key {key!a} comes twice")
            found[key] = self.value(depth + 1)
        return found


class Framing:
    """Finds where the first value of a growing stream ends; looks at no byte twice."""

    def __init__(self) -> None:
        self._at = self._depth = self._items = 0

    def end(self, data: bytes, begin: int = 0) -> int:
        """Where the value that begins at `begin` ends; 0 while it is not all there.

        `data` is what was given before and what has come since. Raises BadBencode where no value
        can begin so.
        """
        self._at = max(self._at, begin)
        while self._at < len(data):
            after = self._token(data)
            if after == 0:
                return 0
            self._at, self._items = after, self._items + 1
            if self._items > 2 * MAX_ITEMS:
                raise BadBencode(f"more than {MAX_ITEMS} values in one message")
            if self._depth <= 0:
                return self._at
        return 0

    def _token(self, data: bytes) -> int:
        """Where the next token ends; 0 where it is not all there."""
        first = data[self._at : self._at + 1]
        if first in (b"l", b"d"):
            self._depth += 1
            return self._at + 1
        if first == b"e":
            self._depth -= 1
            return self._at + 1
        if first != b"i" and not first.isdigit():
            raise BadBencode(f"no value begins at byte {self._at}")
        until = data.find(b"e" if first == b"i" else b":", self._at, self._at + MAX_DIGITS + 3)
        if until < 0:
            if len(data) - self._at > MAX_DIGITS + 2:
                raise BadBencode(f"no number begins at byte {self._at}")
            return 0
        if first == b"i":
            return until + 1
        digits = data[self._at : until]
        if not digits.isdigit():
            raise BadBencode(f"no number begins at byte {self._at}")
        after = until + 1 + int(digits)
        return after if after <= len(data) else 0


def _encode(value: Encodable, parts: list[bytes]) -> None:
    match value:
        case bytes():
            parts.append(b"%d:%b" % (len(value), value))
        case str():
            _encode(value.encode(errors="surrogateescape"), parts)
        case int():
            parts.append(b"i%de" % value)
        case Mapping():
            parts.append(b"d")
            keyed = {key.encode(errors="surrogateescape"): each for key, each in value.items()}
            for key in sorted(keyed):
                _encode(key, parts)
                _encode(keyed[key], parts)
            parts.append(b"e")
        case Sequence():
            parts.append(b"l")
            for each in value:
                _encode(each, parts)
            parts.append(b"e")
        case _:
            raise TypeError(f"{type(value).__name__} has no bencode")
