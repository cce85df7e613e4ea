"""The fronts that run beside the one of XMPP, which the composition root makes itself."""

from collections.abc import Callable

from jingle_hnt.fronts.inputs import Driver, Front
from jingle_hnt.fronts.ng.service import NgService

FRONTS: list[Callable[[Driver], Front]] = [
    # A front is a package of its own and one line here.
    NgService,
]


def fronts(driver: Driver) -> tuple[Front, ...]:
    """The fronts of the table, made for this driver."""
    return tuple(made(driver) for made in FRONTS)
