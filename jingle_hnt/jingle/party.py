"""A party of a Jingle session: an endpoint of its call with a full JID."""

from jingle_hnt.call.endpoint import Account, Endpoint
from jingle_hnt.model.address import IPAddress
from jingle_hnt.model.jid import JID


def account_of(jid: JID) -> Account:
    """Return the account that a user's resources are charged to."""
    return Account(str(jid.bare), jid.domain)


class Party(Endpoint):
    """One party: its full JID, and its end of the call."""

    __slots__ = ("jid",)

    def __init__(self, jid: JID, ip: IPAddress | None = None) -> None:
        super().__init__(account_of(jid), ip)
        self.jid = jid
