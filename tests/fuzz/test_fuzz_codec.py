"""Any element gives a value or our error, never another; and so does any mutation of a real one."""

import contextlib
import random
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jingle_hnt.errors import JingleError, ProtocolViolation
from jingle_hnt.fronts.xmpp import intercept as intercept_protocol
from jingle_hnt.fronts.xmpp.codec import JINGLE, parse
from jingle_hnt.fronts.xmpp.serialise import serialise
from jingle_hnt.fronts.xmpp.substitution import substitute
from jingle_hnt.jingle.effects import Bounce, Replace
from jingle_hnt.model.address import TransportAddress
from jingle_hnt.model.content import Candidate, RawUdp
from jingle_hnt.model.jingle import Jingle
from tests.fronts.xmpp.corpus import NAMES, UNHURRIED, elements, stanza

OURS = (Candidate(1, 0, TransportAddress.of("203.0.113.9", 30000), "r1"),)
NASTY = [
    "",
    " 5",
    "-1",
    "0",
    "1e9",
    "99999",
    "٣",
    "9" * 5000,
    "fe80::1%eth0",
    "0177.0.0.1",
    "::ffff:192.0.2.1",
    "a\r\nb",
    "\x7f",
    "@",
    "@/",
    "x@/y",
    "😀" * 300,
    "initiator",
    "session-terminate",
]


def outcome(element: ET.Element) -> Jingle | JingleError:
    try:
        return parse(element)
    except JingleError as error:
        return error


def check(element: ET.Element) -> None:
    """Parse; what was parsed can be answered by a substitution of all its raw-udp contents."""
    result = outcome(element)
    if isinstance(result, JingleError):
        assert result.answer.text.isprintable()
        assert len(result.answer.text) < 600
        answer = intercept_protocol.answer_element(Bounce(1, result.answer), element)
        ET.fromstring(serialise(answer))
        return
    keys = [c.key for c in result.contents if isinstance(c.transport, RawUdp)]
    changed = substitute(element, dict.fromkeys(keys, OURS))
    again = parse(changed)
    assert [c.key for c in again.contents] == [c.key for c in result.contents]
    answer = intercept_protocol.answer_element(Replace(1, dict.fromkeys(keys, OURS)), element)
    ET.fromstring(serialise(answer))


@given(elements() | elements(JINGLE))
@settings(UNHURRIED, max_examples=300)
def test_any_element(element: ET.Element) -> None:
    check(element)


@given(st.sampled_from(NAMES), st.integers(0, 2**32), st.integers(1, 6))
@settings(UNHURRIED, max_examples=400)
def test_mutated_stanzas(name: str, seed: int, mutations: int) -> None:
    element = stanza(name)
    chance = random.Random(seed)
    for _ in range(mutations):
        mutate(element, chance)
    check(element)


@pytest.mark.parametrize("name", NAMES)
def test_each_attribute_missing_or_nasty(name: str) -> None:
    places = [(n, key) for n, e in enumerate(stanza(name).iter()) for key in e.attrib]
    assert places
    for number, key in places:
        for value in [None, *NASTY]:
            element = stanza(name)
            target = list(element.iter())[number]
            if value is None:
                del target.attrib[key]
            else:
                target.set(key, value)
            check(element)


@given(elements())
@settings(UNHURRIED, max_examples=200)
def test_the_filter_protocol_refuses_what_it_cannot_read(element: ET.Element) -> None:
    for read in (intercept_protocol.question, intercept_protocol.notice):
        with contextlib.suppress(ProtocolViolation):
            read(element, "example.org")


def mutate(element: ET.Element, chance: random.Random) -> None:
    """One small damage somewhere in the tree."""
    every = list(element.iter())
    target = chance.choice(every)
    match chance.randrange(6):
        case 0 if target.attrib:
            del target.attrib[chance.choice(list(target.attrib))]
        case 1 if target.attrib:
            target.set(chance.choice(list(target.attrib)), chance.choice(NASTY))
        case 2 if len(target):
            target.remove(chance.choice(list(target)))
        case 3 if len(target):
            target.append(chance.choice(list(target)))
        case 4:
            target.tag = chance.choice(every).tag
        case _:
            target.text = chance.choice(NASTY)
