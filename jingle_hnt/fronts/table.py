"""The fronts that run beside the one of XMPP, which the composition root makes itself."""

from importlib import import_module

from jingle_hnt.fronts.inputs import Driver, Front

FRONTS: dict[str, str] = {
    # A front is a package of its own and one line here: its module, and its class.
}


def fronts(driver: Driver) -> tuple[Front, ...]:
    """The fronts of the table, made for this driver."""
    return tuple(getattr(import_module(m), name)(driver) for m, name in FRONTS.items())
