"""Elements to text, for a stream whose header declared `jabber:component:accept`.

slixmpp's own writer is not used: it drops attributes of namespaces it does not know and leaves
line breaks in attribute values bare, and what passes through us must arrive as it came.
"""

import re
from collections.abc import Iterator
from xml.etree.ElementTree import Element

from jingle_hnt.xmpp.names import COMPONENT

_XML = "http://www.w3.org/XML/1998/namespace"
_ILLEGAL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_TEXT = {ord(c): f"&#{ord(c)};" for c in "\r"} | {
    ord("&"): "&amp;",
    ord("<"): "&lt;",
    ord(">"): "&gt;",
}
_ATTRIBUTE = _TEXT | {ord(c): f"&#{ord(c)};" for c in "\t\n\"'"}


def serialise(element: Element, inside: str = COMPONENT) -> str:
    """The element as text that may stand where `inside` is the default namespace.

    Each namespace is declared where it is needed, as a default one: there are XMPP programs that
    know no prefixes. Characters that XML cannot carry become U+FFFD. The tail is not written.
    """
    return "".join(_pieces(element, inside))


def _pieces(element: Element, inside: str) -> Iterator[str]:
    own, name = _split(element.tag)
    yield f"<{name}"
    if own != inside:
        yield f' xmlns="{_escaped(own, _ATTRIBUTE)}"'
    yield from _attributes(element)
    if not len(element) and not element.text:
        yield "/>"
        return
    yield f">{_escaped(element.text, _TEXT)}"
    for child in element:
        yield from _pieces(child, own)
        yield _escaped(child.tail, _TEXT)
    yield f"</{name}>"


def _attributes(element: Element) -> Iterator[str]:
    for number, (key, value) in enumerate(element.attrib.items()):
        own, name = _split(key)
        if own == _XML:
            name = f"xml:{name}"
        elif own:
            yield f' xmlns:a{number}="{_escaped(own, _ATTRIBUTE)}"'
            name = f"a{number}:{name}"
        yield f' {name}="{_escaped(value, _ATTRIBUTE)}"'


def _split(name: str) -> tuple[str, str]:
    if not name.startswith("{"):
        return "", name
    own, _, rest = name[1:].partition("}")
    return own, rest


def _escaped(text: str | None, table: dict[int, str]) -> str:
    return _ILLEGAL.sub("�", text).translate(table) if text else ""
