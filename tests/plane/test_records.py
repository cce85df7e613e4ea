"""What Python and the C engine hand each other has one definition: the dataclass."""

from dataclasses import dataclass, fields, is_dataclass
from hashlib import sha256
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
from pydantic import BaseModel

from jingle_hnt.model.address import TransportAddress
from jingle_hnt.plane import _engine, native, protocol, records
from jingle_hnt.plane.protocol import Happened, encode, read_reply
from jingle_hnt.relay.binding import EVENTS, Arm, PinholeSnapshot, Quality, Rivalry
from jingle_hnt.relay.evidence import Evidence, IceKey, SourceAuth
from jingle_hnt.relay.ice_agent import Checks
from tests.plane.bound import free_port

pytestmark = pytest.mark.native

PLANE = Path(records.__file__).parent
ADDRESS = TransportAddress(ip_address("192.0.2.1"), 4000)


def test_the_header_is_that_of_the_dataclasses_and_the_engine_was_built_of_it() -> None:
    (header,) = PLANE.rglob("records.h")
    assert header.read_text() == records.header()
    assert records.digest() == _engine.RECORDS


def test_every_field_goes_over_but_those_that_are_pythons() -> None:
    for name, kinds in (
        ("ARM", (Arm, Evidence)),
        ("CHECKS", (Checks,)),
        ("PINHOLE", (PinholeSnapshot,)),
        ("QUALITY", (Quality,)),
        ("EVENT", tuple(EVENTS.values())),
    ):
        own = {field.name for kind in kinds for field in fields(kind)}
        told = {column.name for column in records.RECORDS[name]}
        assert own - told == own & {"name", "source_auth", "evidence"}, name


@dataclass(frozen=True, slots=True)
class Toy:
    name: str
    toy_s: float | None = None
    toys: int = 0


def test_a_new_field_needs_no_other_definition(monkeypatch: pytest.MonkeyPatch) -> None:
    toys = [("toy_s", "maybe_float"), ("toys", "int")]
    assert [(column.name, column.kind) for column in records.columns(Toy)] == toys
    before = records.digest()
    monkeypatch.setitem(records.RECORDS, "PINHOLE", records.columns(PinholeSnapshot, Toy))
    assert "    FIELD(toy_s, maybe_float) \\\n    FIELD(toys, int)\n" in records.header()
    assert records.digest() != before  # an engine that was built before is not loaded
    monkeypatch.setitem(records.RECORDS, "TOY", records.columns(Toy)[1:])
    assert native.packed("TOY", Toy("a", 1.5, 2)) == {"toys": 2}


def test_a_type_that_cannot_go_over_is_an_error() -> None:
    @dataclass(frozen=True, slots=True)
    class Odd:
        odd: complex

    with pytest.raises(KeyError):
        records.columns(Odd)


def _order(**changes: Any) -> dict[str, Any]:
    keys = (IceKey("a:b", "secret"),)
    checks = Checks("b:a", "secret", "seed", (1 << 64) - 1, True, (ADDRESS,))
    evidence = Evidence(SourceAuth.ICE_INTEGRITY, (ip_network("0.0.0.0/0"),), keys=keys)
    order = Arm("a.1", 1, 3, evidence, ADDRESS, ADDRESS, checks, (7, 8))
    return native.packed("ARM", order, evidence) | changes


def test_the_engine_reads_an_order_by_the_names_of_its_fields() -> None:
    engine = _engine.Engine()
    hosts = ("127.0.0.1", "127.0.0.2")
    (handle,) = engine.bind([native.pack(TransportAddress.of(h, free_port(h))) for h in hosts])
    assert engine.arm(handle, dict(reversed(_order().items())))
    view = engine.view(handle)
    assert view is not None
    names = [column.name for column in records.RECORDS["PINHOLE"]]
    second = dict(zip(names, view[0][1], strict=True))
    assert (second["generation"], second["learned"]) == (3, native.pack(ADDRESS))
    engine.close()


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"side": 2}, ValueError, "a side is 0 or 1"),
        ({"generation": -1}, ValueError, "31 bits"),
        ({"probation": 256}, ValueError, "1 to 255"),
        ({"generation": 1 << 70}, OverflowError, ""),
        ({"lapse_s": "3"}, TypeError, ""),
        ({"sources": None}, TypeError, ""),
        ({"keys": []}, ValueError, "checks belong to evidence with keys"),
        ({"resume": b"x"}, ValueError, "6 or 18 bytes"),
        ({"checks": {"username": b"x"}}, KeyError, "no field password"),
    ],
)
def test_what_is_wrong_in_an_order_is_refused(
    changes: dict[str, Any], error: type[Exception], words: str
) -> None:
    engine = _engine.Engine()
    with pytest.raises(error, match=words or None):
        engine.arm(1, _order(**changes))
    engine.close()


@pytest.mark.parametrize("name", [column.name for column in records.RECORDS["ARM"]])
def test_an_order_without_one_of_its_fields_is_refused(name: str) -> None:
    engine, lacking = _engine.Engine(), _order()
    del lacking[name]
    with pytest.raises(KeyError, match=f"no field {name}"):
        engine.arm(1, lacking)
    engine.close()


def test_events_go_over_by_their_words() -> None:
    rivalry = Rivalry("a.1", 1, ADDRESS)
    line = encode(Happened.of([rivalry]))
    assert b'["rivalry",{' in line
    assert read_reply(line) == Happened.of([rivalry])


LAST = (12, "febd0d711344fcbf")
"""The protocol's number, and what its messages are made of."""


def made_of(kind: Any, found: dict[str, list[str]]) -> None:
    """Note the fields of a message, and of the values in it."""
    if isinstance(kind, type) and (is_dataclass(kind) or issubclass(kind, BaseModel)):
        types = get_type_hints(kind)
        own = [f.name for f in fields(kind)] if is_dataclass(kind) else list(kind.model_fields)
        if found.setdefault(kind.__name__, own) is own:
            for name in own:
                made_of(types[name], found)
    for argument in get_args(kind):
        made_of(argument, found)


def test_the_protocol_has_another_number_where_its_messages_have_other_fields() -> None:
    """Else a plane of before would be served until the first message that it cannot read."""
    found: dict[str, list[str]] = {"events": list(EVENTS)}
    for kind in (*get_args(protocol.Request), *get_args(protocol.Reply), *EVENTS.values()):
        made_of(kind, found)
    assert len(found) > 20
    digest = sha256(repr(sorted(found.items())).encode()).hexdigest()[:16]
    assert (protocol.PROTOCOL, digest) == LAST, (
        "raise PROTOCOL, say so in docs/upgrading.md, and write both here"
    )
