"""Elements to text, for a stream whose header declared `jabber:component:accept`.

slixmpp's own writer is not used: it drops attributes of namespaces it does not know and leaves
line breaks in attribute values bare, and what passes through us must arrive as it came.
"""

import re
from collections.abc import Callable
from xml.etree.ElementTree import Element

from jingle_hnt.fronts.xmpp.names import COMPONENT

_XML = "http://www.w3.org/XML/1998/namespace"
_LEGAL = "\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff"
_ILLEGAL = re.compile(f"[^\t\n\r{_LEGAL}]")
_NOT_PLAIN = re.compile(f"[^{_LEGAL}]|[&<>\"']")
"""What no text has that goes out as it is: most have nothing to escape."""
_TEXT = {ord(c): f"&#{ord(c)};" for c in "\r"} | {
    ord("&"): "&amp;",
    ord("<"): "&lt;",
    ord(">"): "&gt;",
}
_ATTRIBUTE = _TEXT | {ord(c): f"&#{ord(c)};" for c in "\t\n\"'"}

_Write = Callable[[str], None]


def serialise(element: Element, inside: str = COMPONENT) -> str:
    """The element as text that may stand where `inside` is the default namespace.

    Each namespace is declared where it is needed, as a default one: there are XMPP programs that
    know no prefixes. Characters that XML cannot carry become U+FFFD. The tail is not written.
    """
    pieces: list[str] = []
    _element(element, inside, pieces.append)
    return "".join(pieces)


def _element(element: Element, inside: str, write: _Write) -> None:
    own, name = _split(element.tag)
    write(f"<{name}")
    if own != inside:
        write(f' xmlns="{_escaped(own, _ATTRIBUTE)}"')
    if element.attrib:
        _attributes(element, write)
    if not len(element) and not element.text:
        write("/>")
        return
    write(f">{_escaped(element.text, _TEXT)}")
    for child in element:
        _element(child, own, write)
        if child.tail:
            write(_escaped(child.tail, _TEXT))
    write(f"</{name}>")


def _attributes(element: Element, write: _Write) -> None:
    for number, (key, value) in enumerate(element.attrib.items()):
        own, name = _split(key)
        if own == _XML:
            name = f"xml:{name}"
        elif own:
            write(f' xmlns:a{number}="{_escaped(own, _ATTRIBUTE)}"')
            name = f"a{number}:{name}"
        write(f' {name}="{_escaped(value, _ATTRIBUTE)}"')


def _split(name: str) -> tuple[str, str]:
    if not name.startswith("{"):
        return "", name
    own, _, rest = name[1:].partition("}")
    return own, rest


def _escaped(text: str | None, table: dict[int, str]) -> str:
    if not text or _NOT_PLAIN.search(text) is None:
        return text or ""
    return _ILLEGAL.sub("\N{REPLACEMENT CHARACTER}", text).translate(table)
