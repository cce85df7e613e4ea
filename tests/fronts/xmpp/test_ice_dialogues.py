"""Offers, trickled candidates and accepts as clients write them, through the session in every mode:
what is no transport stays, and where ICE ends at us nothing of an agent reaches the other."""

import re
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from xml.etree import ElementTree as ET

import pytest

from jingle_hnt.call.policy import IceMode
from jingle_hnt.fronts.xmpp.codec import parse
from jingle_hnt.fronts.xmpp.substitution import substitute
from jingle_hnt.fronts.xmpp.transports.ice import ICE_TRANSPORTS
from jingle_hnt.jingle.effects import Pass, Replace
from jingle_hnt.model.jid import JID
from tests.fronts.xmpp.corpus import canonical, stanza
from tests.fronts.xmpp.test_terminating import without_agents
from tests.jingle.stage import ALICE, BOB, RELAY, Stage

CLIENTS = {
    "conversations": ("conversations-ice-initiate", "conversations-ice-info"),
    "conversations, verified": ("conversations-omemo-initiate", "conversations-ice-info"),
    "dino": ("dino-ice-initiate",),
    "gajim": ("gajim-ice-initiate", "gajim-ice-info"),
    "gajim, recorded": ("gajim-ice-offer",),
    "monal": ("monal-ice-initiate", "monal-ice-info"),
    "movim": ("movim-ice-initiate", "movim-ice-info"),
    "psi": ("psi-ice0-initiate", "psi-ice0-info"),
}
"""Offers, and what follows one; the callee's client is of the same kind."""

OF_AGENTS = ("ip", "rel-addr", "ufrag", "pwd")
BOBS = {
    "192.0.2.5": "192.0.2.77",
    "uF1g": "bOb1",
    "pwpwpwpwpwpwpwpwpwpwpw": "bobsbobsbobsbobsbobsbo",
}


@dataclass(frozen=True, slots=True)
class Said:
    """A stanza as its sender wrote it, as the other party gets it, and our answer."""

    before: ET.Element
    after: ET.Element
    answer: object


def replies(name: str, action: str) -> ET.Element:
    """The same from Bob, of his own agent."""
    text = ET.tostring(stanza(name), encoding="unicode")
    for alices, bobs in BOBS.items():
        text = text.replace(alices, bobs)
    element = ET.fromstring(text)
    element.set("action", action)
    for fingerprint in element.iter("{urn:xmpp:jingle:apps:dtls:0}fingerprint"):
        fingerprint.set("setup", "active")
    return element


def play(mode: IceMode, names: tuple[str, ...]) -> Iterator[Said]:
    """Alice offers and informs; Bob accepts and informs."""
    stage = Stage(ice=mode)
    offer, *infos = names
    yield say(stage, ALICE, stanza(offer))
    yield from (say(stage, ALICE, stanza(name)) for name in infos)
    yield say(stage, BOB, replies(offer, "session-accept"))
    yield from (say(stage, BOB, replies(name, "transport-info")) for name in infos)


def say(stage: Stage, sender: JID, jingle: ET.Element) -> Said:
    read = parse(jingle)
    answer = stage.says(sender, read.action, *read.contents, sid="a", info=read.info)
    before = deepcopy(jingle)
    if isinstance(answer, Replace):
        jingle = substitute(jingle, answer.substitution, answer.transports)
    return Said(before, jingle, answer)


def agents_words(said: Said) -> set[str]:
    """What a stanza says of its sender's agents."""
    inside = (child for t in said.before.iter() if t.tag in ICE_TRANSPORTS for child in t.iter())
    return {child.get(name, "") for child in inside for name in OF_AGENTS} - {""}


def words(element: ET.Element) -> set[str]:
    return set(re.findall(r"[^\s\"'<>=]+", ET.tostring(element, encoding="unicode")))


def without_ours(element: ET.Element) -> ET.Element:
    copy = deepcopy(element)
    for transport in copy.iter():
        for child in list(transport):
            if child.get("ip") == str(RELAY):
                transport.remove(child)
    return copy


@pytest.mark.rule("I1", "I2", "I3", "J11")
@pytest.mark.parametrize("mode", IceMode)
@pytest.mark.parametrize("client", CLIENTS)
def test_a_clients_dialogue_goes_through(client: str, mode: IceMode) -> None:
    spoken = list(play(mode, CLIENTS[client]))
    for said in spoken:
        assert isinstance(said.answer, Pass | Replace)
        assert canonical(without_agents(said.after)) == canonical(without_agents(said.before))
        match mode:
            case IceMode.PASS:
                assert canonical(said.after) == canonical(said.before)
            case IceMode.APPEND:
                assert canonical(without_ours(said.after)) == canonical(said.before)
            case IceMode.TERMINATE:
                assert agents_words(said)
                assert not agents_words(said) & words(said.after)
    told = [str(RELAY) in words(said.after) for said in spoken]
    assert (told[0] and told[len(spoken) // 2]) is (mode is not IceMode.PASS)
