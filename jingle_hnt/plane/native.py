"""The native engine behind `api.Engine`: names and values on this side, handles and bytes on that.

Importing this module fails with ImportError where the extension was not built; `open_engine` falls
back to the reference then.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields
from ipaddress import ip_address
from typing import Any

from jingle_hnt.errors import DuplicateBinding, UnknownBinding
from jingle_hnt.model.address import IPNetwork, TransportAddress
from jingle_hnt.model.content import TagKey
from jingle_hnt.plane import _engine, records
from jingle_hnt.plane.api import bind_error
from jingle_hnt.relay.binding import (
    EVENTS,
    Arm,
    BindingName,
    BindingSnapshot,
    BindingSpec,
    Counters,
    Drained,
    Event,
    Flow,
    Gate,
    PinholeSnapshot,
    Quality,
)
from jingle_hnt.relay.evidence import IceKey, SourceAuth
from jingle_hnt.relay.ice_agent import Checks
from jingle_hnt.relay.latch import LatchState
from jingle_hnt.relay.lingering import LINGER_CAP_S
from jingle_hnt.relay.policing import NO_LIMITS, MediaLimits

if records.digest() != _engine.RECORDS:
    raise ImportError("the native engine was built of other records; run scripts/setup")

Raw = tuple[Any, ...]
"""A record as the C side writes it: its fields in the order of `records.RECORDS`."""

_PINHOLE, _EVENT = records.RECORDS["PINHOLE"], records.RECORDS["EVENT"]
_EVENT_KINDS = tuple(EVENTS.values())
_EVENT_FIELDS = {
    kind: [
        (column.name, at)
        for at, column in enumerate(_EVENT)
        if column.name in {field.name for field in fields(kind)}
    ]
    for kind in _EVENT_KINDS
}
"""The fields of each event, and where they stand in the record."""

_Auths = list[SourceAuth | None]


class NativeEngine:
    """See `api.Engine`. `workers` is the number of threads that move media (1 to 64)."""

    name = "native"

    def __init__(
        self, workers: int = 1, limits: MediaLimits = NO_LIMITS, linger_cap_s: float = LINGER_CAP_S
    ) -> None:
        self._engine = _engine.Engine(
            workers=workers,
            max_kbps=limits.max_kbps,
            max_pps=limits.max_pps,
            dscp=limits.dscp,
            linger_cap_s=linger_cap_s,
        )
        self._handles: dict[BindingName, int] = {}
        self._names: dict[int, BindingName] = {}
        # The C side needs the evidence only, not the name of its kind.
        self._source_auths: dict[int, _Auths] = {}

    def bind(self, specs: Sequence[BindingSpec]) -> None:
        names = [spec.name for spec in specs]
        if len(set(names)) < len(names) or any(self._seen(name) for name in names):
            raise DuplicateBinding(f"a binding of these names exists already: {names}")
        addresses = [address for spec in specs for address in spec.pinholes]
        try:
            handles = self._engine.bind([pack(address) for address in addresses])
        except OSError as error:
            failed = addresses[int(error.filename or 0)]
            raise bind_error(failed, error) from None
        for name, handle in zip(names, handles, strict=True):
            self._handles[name] = handle
            self._names[handle] = name
            self._source_auths[handle] = [None, None]

    def arm(self, order: Arm) -> bool:
        evidence = order.evidence
        with self._live(order.name) as handle:
            armed = self._engine.arm(handle, packed("ARM", order, order.evidence))
        if armed:
            self._source_auths[handle][order.side] = evidence.source_auth
        return armed

    def gate(self, order: Gate) -> None:
        with self._live(order.name) as handle:
            self._engine.gate(handle, *order.flows)

    def release(self, name: BindingName, linger_s: float) -> None:
        with self._live(name) as handle:
            self._engine.release(handle, linger_s)

    def snapshot(self, names: Sequence[BindingName] | None = None) -> list[BindingSnapshot]:
        found = []
        for name in list(self._handles) if names is None else names:
            snapshot = self._snapshot(name)
            if snapshot is not None:
                found.append(snapshot)
        return found

    def sockets(self, name: BindingName) -> list[int]:
        handle = self._handles.get(name)
        return [] if handle is None else self._engine.sockets(handle)

    def inherit(self, descriptor: int) -> None:
        self._engine.inherit(descriptor)

    def disown(self) -> None:
        self._engine.disown()

    def events(self) -> list[Event]:
        return [event for raw in self._engine.events() if (event := self._event(raw)) is not None]

    def fileno(self) -> int:
        return self._engine.fileno()

    def close(self) -> None:
        self._engine.close()

    @contextlib.contextmanager
    def _live(self, name: BindingName) -> Iterator[int]:
        """The handle of a binding that was not released; the C side knows which those are."""
        try:
            yield self._handles[name]
        except (KeyError, FileNotFoundError):
            message = f"no binding {name!r}; it was released or never made"
            raise UnknownBinding(message) from None

    def _seen(self, name: BindingName) -> tuple[tuple[Raw, Raw], bool] | None:
        """None as well for a binding that has drained and whose event nobody took yet."""
        handle = self._handles.get(name)
        return None if handle is None else self._engine.view(handle)

    def _snapshot(self, name: BindingName) -> BindingSnapshot | None:
        seen = self._seen(name)
        if seen is None:
            return None
        views, draining = seen
        return BindingSnapshot(name, self._pinholes(self._handles[name], views), draining)

    def _pinholes(
        self, handle: int, views: tuple[Raw, Raw]
    ) -> tuple[PinholeSnapshot, PinholeSnapshot]:
        source_auths = self._source_auths[handle]
        return (_pinhole(views[0], source_auths[0]), _pinhole(views[1], source_auths[1]))

    def _event(self, raw: tuple[int, int, Raw]) -> Event | None:
        number, handle, record = raw
        kind, name = _EVENT_KINDS[number], self._names[handle]
        values = {own: _READ[_EVENT[at].kind](record[at]) for own, at in _EVENT_FIELDS[kind]}
        if kind is Drained:
            return self._drained(handle, name, values["pinholes"])
        return kind(name=name, **values)

    def _drained(
        self, handle: int, name: BindingName, views: tuple[Raw, Raw] | None
    ) -> Drained | None:
        drained = None if views is None else Drained(name, self._pinholes(handle, views))
        if self._handles.get(name) == handle:  # the name may be another binding's by now
            del self._handles[name]
        del self._names[handle], self._source_auths[handle]
        return drained


def pack(address: TransportAddress) -> bytes:
    """The address in the form that the C side reads."""
    return address.ip.packed + address.port.to_bytes(2)


def unpack(packed: bytes) -> TransportAddress:
    """The address that the C side has written."""
    return TransportAddress(ip_address(packed[:-2]), int.from_bytes(packed[-2:]))


def pack_networks(networks: Sequence[IPNetwork]) -> bytes:
    """Networks in the form that the C side reads."""
    return b"".join(
        bytes((n.version, n.prefixlen)) + n.network_address.packed.ljust(16, b"\0")
        for n in networks
    )


def pack_keys(keys: Sequence[IceKey]) -> list[tuple[bytes, bytes]]:
    """Keys in the form that the C side reads."""
    return [(key.username.encode(), key.password.encode()) for key in keys]


def pack_tags(tags: Sequence[TagKey]) -> bytes:
    """Keys of SRTP tags in the form that the C side reads."""
    return b"".join(
        bytes.fromhex(tag.rtp + tag.rtcp) + bytes((tag.tag_bytes,)) + tag.mki_bytes.to_bytes(2)
        for tag in tags
    )


def pack_checks(checks: Checks) -> dict[str, Any]:
    """The checks of an agent of ours in the form that the C side reads."""
    return packed("CHECKS", checks)


def packed(record: str, *of: object) -> dict[str, Any]:
    """A record by the names of its fields, each from the first of these values that has it."""
    found = {}
    for column in records.RECORDS[record]:
        value = next(getattr(one, column.name) for one in of if hasattr(one, column.name))
        found[column.name] = None if value is None else _PACK[column.kind](value)
    return found


def _as_it_is(value: Any) -> Any:
    return value


_PACK: dict[str, Callable[[Any], Any]] = {
    "int": int,
    "bits": int,
    "float": float,
    "bool": bool,
    "text": str.encode,
    "bytes": bytes,
    "address": pack,
    "addresses": lambda addresses: [pack(address) for address in addresses],
    "networks": pack_networks,
    "keys": pack_keys,
    "tags": pack_tags,
    "checks": pack_checks,
    "stream": _as_it_is,
}
"""What the C side reads of each kind of field; None stays None."""


def read_quality(raw: Raw) -> Quality:
    """The quality that the C side has written."""
    return Quality(*raw)


_READ: dict[str, Callable[[Any], Any]] = {
    "int": _as_it_is,
    "maybe_int": _as_it_is,
    "float": _as_it_is,
    "maybe_float": _as_it_is,
    "bool": _as_it_is,
    "stream": _as_it_is,
    "pinholes": _as_it_is,
    "address": lambda address: None if address is None else unpack(address),
    "counters": lambda counters: Counters(*counters),
    "quality": read_quality,
}
"""What becomes of each kind of field that the C side has written."""

_PINHOLE_READ = [
    column.type if column.type in (LatchState, Flow) else _READ[column.kind] for column in _PINHOLE
]
_SOURCE_AUTH_AT = [field.name for field in fields(PinholeSnapshot)].index("source_auth")


def _pinhole(view: Raw, source_auth: SourceAuth | None) -> PinholeSnapshot:
    """By position, which is faster than by name: a snapshot has thousands of them."""
    values = [
        raw if read is _as_it_is else read(raw)
        for read, raw in zip(_PINHOLE_READ, view, strict=True)
    ]
    values.insert(_SOURCE_AUTH_AT, source_auth)
    return PinholeSnapshot(*values)
