"""The native engine behind `api.Engine`: names and values on this side, handles and bytes on that.

Importing this module fails with ImportError where the extension was not built; `open_engine` falls
back to the reference then.
"""

import contextlib
from collections.abc import Iterator, Sequence
from ipaddress import ip_address

from jingle_hnt.errors import DuplicateBinding, UnknownBinding
from jingle_hnt.model.address import IPNetwork, TransportAddress
from jingle_hnt.model.content import TagKey
from jingle_hnt.plane import _engine
from jingle_hnt.plane.api import bind_error
from jingle_hnt.relay.binding import (
    Arm,
    BindingName,
    BindingSnapshot,
    BindingSpec,
    Counters,
    Drained,
    Event,
    Flow,
    Gate,
    Heard,
    Latched,
    PinholeSnapshot,
    Quality,
    Rivalry,
    Side,
    Silent,
    StreamAt,
    StreamChanged,
)
from jingle_hnt.relay.evidence import IceKey, SourceAuth
from jingle_hnt.relay.ice_agent import Checks
from jingle_hnt.relay.latch import State
from jingle_hnt.relay.lingering import LINGER_CAP_S
from jingle_hnt.relay.policing import NO_LIMITS, Limits

_LATCHED, _RIVALRY, _SILENT, _HEARD, _DRAINED, _STREAM = range(6)

RawQuality = tuple[int, int, int, int, int, float, float]
"""ssrc, packets, lost, reordered, duplicates, jitter_ms, round_trip_ms; -1 for not known."""

View = tuple[
    bytes, int, int, bytes | None, float, float, int, tuple[int, ...], RawQuality, StreamAt | None
]
"""bound, state, generation, learned, latched_s, heard_s, flow, counters, quality, stream."""

Views = tuple[View, View]

RawEvent = tuple[int, int, int, int, bytes | None, bool, float, StreamAt | None, Views | None]
"""kind, handle, side, generation, source, relatched, seconds, stream, views of one drained."""

_Auths = list[SourceAuth | None]


class NativeEngine:
    """See `api.Engine`. `workers` is the number of threads that move media (1 to 64)."""

    name = "native"

    def __init__(
        self, workers: int = 1, limits: Limits = NO_LIMITS, linger_cap_s: float = LINGER_CAP_S
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
            armed = self._engine.arm(
                handle,
                order.side,
                order.generation,
                pack_networks(evidence.sources),
                pack_networks(evidence.refused),
                pack_networks(evidence.likely),
                evidence.probation,
                evidence.several,
                evidence.reports,
                evidence.lapse_s,
                bytes(evidence.events),
                pack_keys(evidence.keys),
                pack_tags(evidence.tags),
                None if order.resume is None else pack(order.resume),
                order.stream,
                None if order.early is None else pack(order.early),
                None if order.checks is None else pack_checks(order.checks),
            )
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

    def _seen(self, name: BindingName) -> tuple[View, View, bool] | None:
        """None as well for a binding that has drained and whose event nobody took yet."""
        handle = self._handles.get(name)
        return None if handle is None else self._engine.view(handle)

    def _snapshot(self, name: BindingName) -> BindingSnapshot | None:
        seen = self._seen(name)
        if seen is None:
            return None
        first, second, draining = seen
        pinholes = self._pinholes(self._handles[name], (first, second))
        return BindingSnapshot(name, pinholes, draining)

    def _pinholes(self, handle: int, views: Views) -> tuple[PinholeSnapshot, PinholeSnapshot]:
        source_auths = self._source_auths[handle]
        return (_pinhole(views[0], source_auths[0]), _pinhole(views[1], source_auths[1]))

    def _event(self, raw: RawEvent) -> Event | None:
        kind, handle, number, generation, packed, relatched, seconds, stream, views = raw
        name, side = self._names[handle], _side(number)
        match kind:
            case 0 if packed is not None:
                source = unpack(packed)
                return Latched(name, side, generation, source, relatched, seconds, stream)
            case 1 if packed is not None:
                return Rivalry(name, side, unpack(packed))
            case 2:
                return Silent(name, side, seconds)
            case 3:
                return Heard(name, side)
            case 5 if stream is not None:
                return StreamChanged(name, side, stream)
            case _:
                return self._drained(handle, name, views)

    def _drained(self, handle: int, name: BindingName, views: Views | None) -> Drained | None:
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


def pack_checks(checks: Checks) -> tuple[bytes, bytes, bytes, int, bool, list[bytes]]:
    """The checks of an agent of ours in the form that the C side reads."""
    return (
        checks.username.encode(),
        checks.password.encode(),
        checks.secret.encode(),
        checks.tie_breaker,
        checks.controlling,
        [pack(target) for target in checks.targets],
    )


def read_quality(raw: RawQuality) -> Quality:
    """The quality that the C side has written."""
    ssrc, packets, lost, reordered, duplicates, jitter_ms, round_trip_ms = raw
    return Quality(
        ssrc=None if ssrc < 0 else ssrc,
        packets=packets,
        lost=lost,
        reordered=reordered,
        duplicates=duplicates,
        jitter_ms=jitter_ms,
        round_trip_ms=None if round_trip_ms < 0 else round_trip_ms,
    )


def _pinhole(view: View, source_auth: SourceAuth | None) -> PinholeSnapshot:
    bound, state, generation, learned, latched_s, heard_s, flow, counters, quality, stream = view
    return PinholeSnapshot(
        bound=unpack(bound),
        state=State(state),
        generation=generation,
        source_auth=source_auth,
        learned=None if learned is None else unpack(learned),
        latched_s=None if learned is None else latched_s,
        heard_s=None if learned is None else heard_s,
        flow=Flow(flow),
        counters=Counters(*counters),
        quality=read_quality(quality),
        stream=stream,
    )


def _side(number: int) -> Side:
    return 0 if number == 0 else 1
