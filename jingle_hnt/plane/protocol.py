"""The control protocol between signalling and forwarding plane: JSON lines over AF_UNIX.

The plane speaks first, with a `Hello`. Each request is one line with an id and is answered by a
line with that id, a snapshot by several; events come in between. `bind` is atomic; of the lists of
the other orders each is carried out, whatever becomes of the others. One client at a time may
order something: who asks to `serve` first, or orders first, until its connection ends. Others may
look (`snapshot`, `ping`), and make bindings of `PROBE`. What cannot be understood is
answered with an error, and the connection lives on as long as lines can be told apart.

The orders, snapshots and events are the values of `relay/binding.py` themselves; pydantic reads
and writes them, so that nothing enters either process that these types do not allow.
"""

import re
from collections.abc import Iterable
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from jingle_hnt.errors import ProtocolViolation
from jingle_hnt.model.content import TagKey
from jingle_hnt.relay.binding import EVENTS, Arm, BindingSnapshot, BindingSpec, Event, Gate
from jingle_hnt.relay.ice_agent import TARGETS, Checks

PROTOCOL = 12
"""Raised whenever an older peer could misunderstand a newer one."""

PROBE = "probe."
"""What the names of bindings begin with that any client may make; no call's does."""

MAX_LINE = 1 << 20
"""Longest line in bytes; who sends more is disconnected."""

MAX_NAMES = 20_000
"""Most bindings that one request may name."""

MAX_NETWORKS = 4096
"""Most networks that one latch's evidence may name."""

MAX_KEYS = 4
MAX_USERNAME = 513
MAX_PASSWORD = 256
"""Of the keys of an ICE agent's checks; lengths in bytes (RFC 8445 section 5.3)."""

MAX_TAGS = 16
MAX_MKI = 512
MAX_LAPSE_S = 3600
MAX_EVENTS = 128
"""Of the keys that SRTP tags are made with, and of an MKI in bytes."""

AT_ONCE = 256
"""Most bindings or events in one line of the plane, which keeps it well under MAX_LINE."""

_AUTHENTICATION_KEY = re.compile("[0-9a-f]{40}")

T = TypeVar("T")
RequestId = Annotated[int, Field(ge=0, lt=1 << 53)]
Name = Annotated[str, Field(min_length=1, max_length=64)]
Names = Annotated[tuple[Name, ...], Field(max_length=MAX_NAMES)]


def _within_bounds(arm: Arm) -> Arm:
    """The bounds that `Arm` and `Evidence` state, which their types alone do not hold."""
    if not 0 <= arm.generation < 1 << 31:
        raise ValueError("a generation is between 0 and 2147483647")
    if not 1 <= arm.evidence.probation <= 255:
        raise ValueError("a probation is between 1 and 255 packets")
    if not 1 <= arm.evidence.lapse_s <= MAX_LAPSE_S:
        raise ValueError(f"a party's silence lapses its latch after 1 to {MAX_LAPSE_S} seconds")
    if len(arm.evidence.events) > MAX_EVENTS or not all(0 <= e < 128 for e in arm.evidence.events):
        raise ValueError(f"evidence has at most {MAX_EVENTS} payload types, 0 to 127")
    if arm.stream is not None and not (0 <= arm.stream[0] < 1 << 32 and 0 <= arm.stream[1] < 65536):
        raise ValueError("a stream is an SSRC of 32 bits and a sequence number of 16")
    evidence = arm.evidence
    if len((*evidence.sources, *evidence.refused, *evidence.likely)) > MAX_NETWORKS:
        raise ValueError(f"evidence names at most {MAX_NETWORKS} networks")
    if len(arm.evidence.keys) > MAX_KEYS:
        raise ValueError(f"evidence has at most {MAX_KEYS} keys")
    for key in arm.evidence.keys:
        username, password = key.username.encode(), key.password.encode()
        if not 1 <= len(username) <= MAX_USERNAME or not 1 <= len(password) <= MAX_PASSWORD:
            raise ValueError(
                f"a key's username has 1 to {MAX_USERNAME} bytes, its password 1 to {MAX_PASSWORD}"
            )
    if len(arm.evidence.tags) > MAX_TAGS or (arm.evidence.keys and arm.evidence.tags):
        raise ValueError(f"evidence has at most {MAX_TAGS} tags, and none beside keys")
    for tag in arm.evidence.tags:
        _check_tag(tag)
    if arm.checks is not None:
        _checks_within_bounds(arm, arm.checks)
    return arm


def _check_tag(tag: TagKey) -> None:
    if not _AUTHENTICATION_KEY.fullmatch(tag.rtp) or not _AUTHENTICATION_KEY.fullmatch(tag.rtcp):
        raise ValueError("a tag is made with two keys of 40 hexadecimal digits")
    if tag.tag_bytes not in (4, 10) or not 0 <= tag.mki_bytes <= MAX_MKI:
        raise ValueError(f"a tag has 4 or 10 bytes, an MKI 0 to {MAX_MKI}")


def _checks_within_bounds(arm: Arm, checks: Checks) -> None:
    if not arm.evidence.keys:
        raise ValueError("checks belong to evidence with keys")
    if len(checks.targets) > TARGETS:
        raise ValueError(f"checks have at most {TARGETS} targets")
    if not 0 <= checks.tie_breaker < 1 << 64:
        raise ValueError("a tie-breaker has 64 bits")
    username = checks.username.encode()
    secrets = (checks.password.encode(), checks.secret.encode())
    lengths_fit = all(1 <= len(secret) <= MAX_PASSWORD for secret in secrets)
    if not 1 <= len(username) <= MAX_USERNAME or not lengths_fit:
        raise ValueError(
            f"the username of checks has 1 to {MAX_USERNAME} bytes, "
            f"their password and secret 1 to {MAX_PASSWORD}"
        )


def _named(spec: BindingSpec) -> BindingSpec:
    if not 1 <= len(spec.name) <= 64:
        raise ValueError("the name of a binding has 1 to 64 characters")
    return spec


BoundedArm = Annotated[Arm, AfterValidator(_within_bounds)]
NamedSpec = Annotated[BindingSpec, AfterValidator(_named)]


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Hello(_Message):
    """The plane's first line. `instance` is another one in each life of the plane."""

    kind: Literal["hello"] = "hello"
    protocol: int
    version: str
    engine: str
    instance: str
    pid: int


class BindRequest(_Message):
    """Make all bindings or none; then carry these orders out before the answer."""

    op: Literal["bind"] = "bind"
    id: RequestId
    specs: tuple[NamedSpec, ...]
    arms: tuple[BoundedArm, ...] = ()
    gates: tuple[Gate, ...] = ()


class ArmRequest(_Message):
    op: Literal["arm"] = "arm"
    id: RequestId
    orders: tuple[BoundedArm, ...]


class GateRequest(_Message):
    op: Literal["gate"] = "gate"
    id: RequestId
    orders: tuple[Gate, ...]


class ReleaseRequest(_Message):
    op: Literal["release"] = "release"
    id: RequestId
    names: Names
    linger_s: Annotated[float, Field(ge=0, le=3600)]


class SnapshotRequest(_Message):
    """The bindings of these names, or all of them where `names` is None."""

    op: Literal["snapshot"] = "snapshot"
    id: RequestId
    names: Names | None = None


class PingRequest(_Message):
    op: Literal["ping"] = "ping"
    id: RequestId


class ServeRequest(_Message):
    """Be this plane's only client that orders something, until its connection ends."""

    op: Literal["serve"] = "serve"
    id: RequestId


Request = (
    BindRequest
    | ArmRequest
    | GateRequest
    | ReleaseRequest
    | SnapshotRequest
    | PingRequest
    | ServeRequest
)


class Done(_Message):
    """The request was carried out."""

    kind: Literal["done"] = "done"
    id: RequestId


class Part(_Message):
    """Some of the bindings that a snapshot asked for; as many parts as it takes, then Done."""

    kind: Literal["part"] = "part"
    id: RequestId
    bindings: tuple[BindingSnapshot, ...]


class Failed(_Message):
    """The request was not carried out, or not wholly; `code` is that of an error in `errors.py`.

    `id` is None where the request could not even be read; `address` is what could not be bound.
    """

    kind: Literal["failed"] = "failed"
    id: RequestId | None
    code: str
    text: str
    address: str | None = None


if TYPE_CHECKING:
    TaggedEvent = tuple[str, Event]
else:
    TaggedEvent = reduce(or_, (tuple[Literal[word], kind] for word, kind in EVENTS.items()))

_WORDS = {kind: word for word, kind in EVENTS.items()}


class Happened(_Message):
    """Events since the last such line, oldest first, each behind its name."""

    kind: Literal["events"] = "events"
    tagged: tuple[TaggedEvent, ...]

    @classmethod
    def of(cls, events: Iterable[Event]) -> "Happened":
        return cls(tagged=tuple((_WORDS[type(event)], event) for event in events))

    @property
    def events(self) -> tuple[Event, ...]:
        return tuple(event for _, event in self.tagged)


Reply = Hello | Done | Part | Failed | Happened

# Names of bindings never come back: a cache of them would only fill, with the first 16,000.
_CONFIG = ConfigDict(cache_strings="keys")
_REQUEST: TypeAdapter[Request] = TypeAdapter(
    Annotated[Request, Field(discriminator="op")], config=_CONFIG
)
_REPLY: TypeAdapter[Reply] = TypeAdapter(
    Annotated[Reply, Field(discriminator="kind")], config=_CONFIG
)


def encode(message: Request | Reply) -> bytes:
    """The line of a message, with its newline."""
    return message.model_dump_json().encode() + b"\n"


def read_request(line: bytes) -> Request:
    """The request of a line. Raises ProtocolViolation, and nothing else, for any other bytes."""
    return _read(_REQUEST, line)


def read_reply(line: bytes) -> Reply:
    """The plane's message of a line. Raises ProtocolViolation, and nothing else."""
    return _read(_REPLY, line)


def _read(adapter: TypeAdapter[T], line: bytes) -> T:
    try:
        return adapter.validate_json(line)
    except (ValidationError, ValueError, RecursionError) as error:
        text = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        raise ProtocolViolation(f"not a message of this protocol: {text}") from None
