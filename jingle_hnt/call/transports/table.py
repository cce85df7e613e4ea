"""Which kinds of transports there are for each namespace."""

from importlib import import_module

from jingle_hnt.call.medium import TransportKind
from jingle_hnt.call.transports.context import Context
from jingle_hnt.model.content import ICE, ICE_UDP, RAW_UDP

_HERE = "jingle_hnt.call.transports"
_ICE = (f"{_HERE}.ice_terminate:IceTerminate", f"{_HERE}.ice_append:IceAppend")

TRANSPORTS: dict[str, tuple[str, ...]] = {
    # A kind of transport is a file and one line here; the first that suits a content has it.
    RAW_UDP: (_ICE[0], f"{_HERE}.raw_udp:RawUdpKind"),
    ICE_UDP: _ICE,
    ICE: _ICE,
}


def _class_of(place: str) -> type[TransportKind]:
    module, _, name = place.partition(":")
    found: type[TransportKind] = getattr(import_module(module), name)
    return found


_CLASSES = {namespace: tuple(map(_class_of, kinds)) for namespace, kinds in TRANSPORTS.items()}
_NAMES = {namespace: tuple(kind.name for kind in kinds) for namespace, kinds in _CLASSES.items()}
_ALL = tuple(dict.fromkeys(kind for kinds in _CLASSES.values() for kind in kinds))


class TransportKinds:
    """The kinds of transports, made for one call; `by_name` has them all."""

    def __init__(self, context: Context) -> None:
        self.by_name = {kind.name: kind(context) for kind in _ALL}

    def of(self, namespace: str) -> list[TransportKind]:
        """Those of a namespace, the first that suits a content first."""
        return [self.by_name[name] for name in _NAMES.get(namespace, ())]
