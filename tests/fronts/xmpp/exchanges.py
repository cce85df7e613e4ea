"""Exchanges of stanzas to be played through a server: recorded, written down, and generated."""

import random
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape, quoteattr

from tests.fronts.xmpp import habits
from tests.fronts.xmpp.corpus import FILES

Element = ET.Element
PARTIES = (habits.ALICE, habits.BOB)
"""The caller and the callee, who play all exchanges."""
JINGLE = f"{{{habits.JINGLE}}}jingle"
_STREAM = ("", "jabber:client")
_XML = "http://www.w3.org/XML/1998/namespace"


@dataclass(frozen=True, slots=True)
class Step:
    """One stanza. `sender` is 0 for the caller and 1 for the callee.

    `bare` says whether it goes to the account, `own` whether to the sender's. The receiver answers
    with `error` where there is one.
    """

    sender: int
    stanza: Element
    bare: bool = False
    own: bool = False
    error: Element | None = None

    @property
    def is_iq(self) -> bool:
        """Whether it is answered."""
        return self.stanza.tag == "iq"


@dataclass(frozen=True, slots=True)
class Exchange:
    """A session in order; the names are unique."""

    name: str
    steps: tuple[Step, ...]


def known() -> list[Exchange]:
    """What was recorded, what the specifications show, and what clients are known to do.

    Whoever is named as initiator or responder there is so by the name that it has here.
    """
    files = sorted((Path(__file__).parent / "exchanges").glob("*.xml"))
    whole = [(path.stem, list(ET.parse(path).getroot())) for path in files]
    single = [(path.stem, [ET.parse(path).getroot()]) for path in FILES]
    written = [(name, list(map(ET.fromstring, texts))) for name, texts in habits.exchanges()]
    return [_exchange(name, stanzas) for name, stanzas in (*whole, *single, *written)]


def alone(exchanges: Sequence[Exchange]) -> Iterator[Exchange]:
    """Each stanza of theirs that is different from all before, out of the blue."""
    seen: set[str] = set()
    for exchange in exchanges:
        for number, step in enumerate(exchange.steps):
            text = f"{step.sender} {written(step.stanza)}"
            if len(exchange.steps) > 1 and text not in seen:
                seen.add(text)
                yield Exchange(f"{exchange.name}-{number}", (step,))


def _exchange(name: str, stanzas: Sequence[Element]) -> Exchange:
    caller = _account(stanzas[0].get("from", ""))
    parties = {s.get("from", "") for s in stanzas} - {""}
    steps: list[Step] = []
    asked: dict[str, int] = {}
    for stanza in stanzas:
        _without_stream(stanza)
        sender, to, id_ = (stanza.get(key, "") for key in ("from", "to", "id"))
        if stanza.get("type") == "error" and id_ in asked:
            step = steps[asked[id_]]
            steps[asked[id_]] = Step(step.sender, step.stanza, error=stanza)
        elif stanza.get("type") not in ("error", "result"):
            if id_:
                asked[id_] = len(steps)
            own = _account(to) == _account(sender)
            who = int(_account(sender) != caller)
            _introduce(stanza, {jid: PARTIES[_account(jid) != caller] for jid in parties})
            steps.append(Step(who, stanza, bare="/" not in to, own=own))
    return Exchange(name, tuple(steps))


def _introduce(stanza: Element, names: Mapping[str, str]) -> None:
    """Name the parties in <jingle/> as they are called here."""
    jingle = stanza.find(JINGLE)
    if jingle is None:
        return
    for role in ("initiator", "responder"):
        if (here := names.get(jingle.get(role, ""))) is not None:
            jingle.set(role, here)


def _account(jid: str) -> str:
    return jid.partition("@")[0]


def _without_stream(stanza: Element) -> None:
    """A stanza takes the namespace of the stream that it goes over."""
    for element in stanza.iter():
        namespace, _, name = element.tag.rpartition("}")
        if namespace[1:] in _STREAM:
            element.tag = name


# Text as clients write it: default namespaces, no prefixes


def written(element: Element, within: str = "") -> str:
    """The element as text, to be put where this namespace is the default."""
    namespace, _, name = element.tag.removeprefix("{").rpartition("}")
    head = name if namespace == within else f"{name} xmlns={quoteattr(namespace)}"
    for number, (key, value) in enumerate(element.items()):
        of, _, local = key.removeprefix("{").rpartition("}")
        if not of:
            head += f" {local}={quoteattr(value)}"
        elif of == _XML:
            head += f" xml:{local}={quoteattr(value)}"
        else:
            head += f" xmlns:n{number}={quoteattr(of)} n{number}:{local}={quoteattr(value)}"
    inside = escape(element.text or "")
    inside += "".join(written(c, namespace) + escape(c.tail or "") for c in element)
    return f"<{head}>{inside}</{name}>"


# Generated exchanges

_WORDS = ("", "0", "1", "256", "-1", "initiator", "responder", "both", "none", "ä&<'", "x" * 300)
_ADDRESSES = ("192.0.2.33", "2001:db8::33", "fe80::1%eth0", "10.0.0.1", "0.0.0.0", "x.local", "::1")
_ACTIONS = (
    *(f"content-{what}" for what in ("accept", "add", "modify", "reject", "remove")),
    *(f"session-{what}" for what in ("accept", "info", "initiate", "terminate")),
    *(f"transport-{what}" for what in ("accept", "info", "reject", "replace")),
    "description-info",
    "security-info",
)


def mutated(exchanges: Sequence[Exchange], count: int, seed: int) -> Iterator[Exchange]:
    """So many of these at random, with one to three changes each; same seed, same ones."""
    chance = random.Random(seed)
    chosen = [e for e in exchanges if any(s.stanza.find(JINGLE) is not None for s in e.steps)]
    for number in range(count):
        exchange = chance.choice(chosen)
        steps = [Step(s.sender, deepcopy(s.stanza), s.bare, s.own, s.error) for s in exchange.steps]
        for _ in range(chance.randint(1, 3)):
            _change(chance.choice(steps).stanza, chance)
            if chance.random() < 0.2:
                steps.insert(chance.randrange(len(steps)), chance.choice(steps))
            if chance.random() < 0.1 and len(steps) > 1:
                del steps[chance.randrange(len(steps))]
        yield Exchange(f"{exchange.name}-mutated-{number}", tuple(steps))


def _change(stanza: Element, chance: random.Random) -> None:
    """One change somewhere below the stanza; the <jingle/> itself stays a <jingle/>."""
    elements = [e for e in stanza.iter() if e is not stanza]
    if not elements:
        return
    element = chance.choice(elements)
    match chance.randrange(8):
        case 0 if element.attrib:
            del element.attrib[chance.choice(sorted(element.attrib))]
        case 1 | 2 if element.attrib:
            name = chance.choice(sorted(element.attrib))
            element.set(name, chance.choice(_ADDRESSES if name in ("ip", "rel-addr") else _WORDS))
        case 3 if len(element):
            element.append(deepcopy(chance.choice(list(element))))
        case 4 if len(element):
            element.remove(chance.choice(list(element)))
        case 5:
            element.insert(0, Element("{urn:example:other}thing", {"a": chance.choice(_WORDS)}))
        case 6 if element.tag == JINGLE:
            element.set("action", chance.choice(_ACTIONS))
        case 7 if len(element) > 1:
            children = list(element)
            chance.shuffle(children)
            element[:] = children
        case _:
            element.set(chance.choice(("creator", "senders", "id", "extra")), chance.choice(_WORDS))
