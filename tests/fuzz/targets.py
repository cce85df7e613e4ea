"""What reads bytes of others, each as a function of any bytes that must not raise.

`python -m tests.fuzz [TARGET] [--seconds S] [--cases N]` feeds them with mutations of real input
and of `corpus/`; what breaks one is kept there, and `test_corpus.py` tries it ever after.
"""

import contextlib
import json
import random
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from jingle_hnt.errors import JingleError, ProtocolViolation
from jingle_hnt.fronts.ng import bencode, sdp, words
from jingle_hnt.fronts.ng.rewriting import Place, rewritten
from jingle_hnt.fronts.ng.unsupported import demand_supported
from jingle_hnt.fronts.xmpp import intercept as intercept_protocol
from jingle_hnt.fronts.xmpp.codec import JINGLE, parse
from jingle_hnt.fronts.xmpp.stream_reader import Stanza, StreamReader
from jingle_hnt.jingle.record import dump, load
from jingle_hnt.model.address import TransportAddress
from jingle_hnt.plane import protocol
from jingle_hnt.relay.packet import classify
from jingle_hnt.relay.stun import is_signed
from jingle_hnt.relay.stun import parse as parse_stun
from tests.fronts.ng.samples import ALL, offer, unsorted
from tests.fronts.xmpp.corpus import FILES
from tests.fronts.xmpp.test_stream_reader import HEADER
from tests.jingle.stage import Stage
from tests.plane.test_protocol import EVENTS, REQUESTS
from tests.relay.test_stun import written

CORPUS = Path(__file__).parent / "corpus"
NASTY = (
    b"", b"-1", b"0", b"1e308", b"NaN", b"Infinity", b"null", b"true", b"[]", b"{}", b"9" * 400,
    b"\0", b"\xff\xfe", b"\r\n", b"&#0;", b"]]>", b"<![CDATA[", b"<", b">", b"'", b'"', b"%n%s",
    b"::ffff:127.0.0.1", b"0177.1", b"fe80::1%eth0", b"\x21\x12\xa4\x42", b"\x80\x00", b"\xff" * 64,
)  # fmt: skip
_PLACES = re.compile(rb"""'[^']*'|"[^"]*"|[0-9]+|<[^>]*>""")


def stream(data: bytes) -> None:
    """An XML stream after its header, and all that is made of its stanzas."""
    reader = StreamReader()
    reader.feed(HEADER)
    half = len(data) // 2
    for event in (*reader.feed(data[:half]), *reader.feed(data[half:])):
        if not isinstance(event, Stanza):
            continue
        for read in (intercept_protocol.question, intercept_protocol.notice):
            with contextlib.suppress(ProtocolViolation, JingleError):
                read(event.element, "example.org")
        for jingle in event.element.iter(JINGLE):
            with contextlib.suppress(JingleError):
                parse(jingle)


def control(data: bytes) -> None:
    """A line of the control protocol between the processes."""
    for read in (protocol.read_request, protocol.read_reply):
        with contextlib.suppress(ProtocolViolation):
            read(data)


def datagram(data: bytes) -> None:
    """A datagram of a stranger: RTP, RTCP, STUN, DTLS, ZRTP or nothing of it."""
    classify(data)
    message = parse_stun(data)
    if message is not None:
        is_signed(data, message, b"password")


def journal(data: bytes) -> None:
    """A record of the journal; a refused one claims nothing."""
    try:
        record = json.loads(data)
    except (ValueError, RecursionError):
        return
    if isinstance(record, dict):
        take_up(record)


def ng(data: bytes) -> None:
    """A message of a SIP proxy, and the description in it."""
    with contextlib.suppress(bencode.BadBencode):
        bencode.Framing().end(data)
    try:
        command = words.read(bencode.decode(data))
        demand_supported(command)
    except (bencode.BadBencode, words.Refused):
        return
    description(command.sdp)


def description(data: bytes) -> None:
    """A session description: what is not about addresses stays, whatever it is."""
    try:
        read = sdp.read(data)
    except words.Refused:
        return
    assert read.raw == data
    here = TransportAddress.of("203.0.113.9", 40000)
    places = {media.index: Place(here, here) for media in read.media}
    sdp.read(rewritten(read, places, frozenset({"origin", "session-connection"})))


def take_up(record: dict[str, Any]) -> None:
    """As `app` does: a ValueError is the only thing that a record may cost."""
    stage = Stage()
    before = stage.pool.counts
    try:
        session = load(record, stage.registry, stage.now)
    except ValueError:
        assert stage.pool.counts == before
        return
    stage.registry.restore(session, stage.now)
    stage.registry.calls.effects()
    json.dumps(dump(session, stage.now))


def _stanzas() -> list[bytes]:
    return [path.read_bytes().partition(b"?>")[2] or path.read_bytes() for path in FILES]


def _lines() -> list[bytes]:
    requests = [protocol.encode(request) for request in REQUESTS]
    return [*requests, protocol.encode(protocol.Happened.of(EVENTS))]


def _datagrams() -> list[bytes]:
    return [written(), written(nominates=True), bytes(12), b"\x80\x00" + bytes(10)]


def record_of_a_call() -> bytes:
    """As the journal has it, of a call with a party that was learned."""
    stage = Stage()
    stage.call()
    stage.latch("s1.1.1", 0, "198.51.100.1", 40001)
    (session,) = stage.registry
    return json.dumps(dump(session, stage.now)).encode()


TARGETS: dict[str, tuple[Callable[[bytes], None], Callable[[], list[bytes]]]] = {
    "stream": (stream, _stanzas),
    "control": (control, _lines),
    "datagram": (datagram, _datagrams),
    "journal": (journal, lambda: [record_of_a_call()]),
    "ng": (ng, lambda: [unsorted(offer(sdp)) for sdp in ALL.values()]),
    "description": (description, lambda: list(ALL.values())),
}
"""Each target with what real input looks like."""


def kept(name: str) -> list[Path]:
    """What has once broken a target, or is worth beginning with."""
    return sorted(path for path in (CORPUS / name).iterdir() if path.name != "README.md")


def mutated(data: bytes, others: Sequence[bytes], chance: random.Random) -> bytes:
    """A few small damages; places that mean something are hit more often than others."""
    whole = bytearray(data)
    for _ in range(chance.randint(1, 5)):
        first = chance.randint(0, len(whole))
        last = min(len(whole), first + chance.choice((1, 1, 4, 40)))
        match chance.randrange(6):
            case 0 if whole:
                whole[min(first, len(whole) - 1)] ^= 1 << chance.randrange(8)
            case 1:
                del whole[first:last]
            case 2:
                whole[first:first] = whole[first:last] * chance.choice((1, 2, 50))
            case 3:
                other = chance.choice(others)
                start = chance.randint(0, len(other))
                whole[first:last] = other[start : start + chance.choice((1, 20, 300))]
            case 4:
                whole[first:last] = chance.choice(NASTY)
            case _:
                places = list(_PLACES.finditer(whole))
                if places:
                    place = chance.choice(places)
                    quote = place.group()[:1] if place.group()[:1] in (b"'", b'"') else b""
                    whole[place.start() : place.end()] = quote + chance.choice(NASTY) + quote
    return bytes(whole[:200_000])
