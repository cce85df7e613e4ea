"""The kinds of transports of each namespace."""

from jingle_hnt.call.leg import Leg
from jingle_hnt.call.medium import PASSING, TransportKind
from jingle_hnt.call.transports.context import Context, RelayedKind
from jingle_hnt.call.transports.ice_append import IceAppend
from jingle_hnt.call.transports.ice_terminate import IceTerminate
from jingle_hnt.call.transports.raw_udp import RawUdpKind
from jingle_hnt.model.content import ICE, ICE_UDP, RAW_UDP, Content

TRANSPORTS: dict[str, tuple[type[RelayedKind], ...]] = {
    # A kind of transport is a file and one line here; the first that suits a content has it.
    RAW_UDP: (IceTerminate, RawUdpKind),
    ICE_UDP: (IceTerminate, IceAppend),
    ICE: (IceTerminate, IceAppend),
}

_NAMES = {namespace: tuple(kind.name for kind in kinds) for namespace, kinds in TRANSPORTS.items()}
_ALL = tuple(dict.fromkeys(kind for kinds in TRANSPORTS.values() for kind in kinds))


class TransportKinds:
    """The kinds of transports, made for one call; `by_name` has them all."""

    __slots__ = ("by_name",)

    def __init__(self, context: Context) -> None:
        self.by_name: dict[str, TransportKind] = {kind.name: kind(context) for kind in _ALL}

    def of(self, leg: Leg, content: Content, late: bool = False) -> TransportKind:
        """Return the kind of a content that this leg proposes: the first one that suits.

        With `late` set it was not relayed when it was proposed, and can only be an optional one.
        """
        if content.transport is not None:
            for name in _NAMES.get(content.transport.namespace, ()):
                kind = self.by_name[name]
                if (kind.is_optional or not late) and kind.suits(leg, content):
                    return kind
        return PASSING
