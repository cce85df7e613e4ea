"""The kinds of transports of each namespace."""

from jingle_hnt.call.medium import TransportKind
from jingle_hnt.call.transports.context import Context
from jingle_hnt.call.transports.ice_append import IceAppend
from jingle_hnt.call.transports.ice_terminate import IceTerminate
from jingle_hnt.call.transports.raw_udp import RawUdpKind
from jingle_hnt.model.content import ICE, ICE_UDP, RAW_UDP

TRANSPORTS: dict[str, tuple[type[TransportKind], ...]] = {
    # A kind of transport is a file and one line here; the first that suits a content has it.
    RAW_UDP: (IceTerminate, RawUdpKind),
    ICE_UDP: (IceTerminate, IceAppend),
    ICE: (IceTerminate, IceAppend),
}

_NAMES = {namespace: tuple(kind.name for kind in kinds) for namespace, kinds in TRANSPORTS.items()}
_ALL = tuple(dict.fromkeys(kind for kinds in TRANSPORTS.values() for kind in kinds))


class TransportKinds:
    """The kinds of transports, made for one call; `by_name` has them all."""

    def __init__(self, context: Context) -> None:
        self.by_name = {kind.name: kind(context) for kind in _ALL}

    def of(self, namespace: str) -> list[TransportKind]:
        """Return the kinds of a namespace, in the order in which they are tried."""
        return [self.by_name[name] for name in _NAMES.get(namespace, ())]
