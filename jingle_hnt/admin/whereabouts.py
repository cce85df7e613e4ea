"""The addresses of the last few users' XMPP connections, for `check`."""

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from ipaddress import ip_network

from jingle_hnt.admin.snapshots import CheckFinding
from jingle_hnt.model.address import IPAddress, IPNetwork
from jingle_hnt.model.jid import JID

REMEMBERED = 500
"""Users whose last address is remembered."""
ENOUGH = 3
"""So many users behind one private address are no coincidence."""

PRIVATE = tuple(
    map(
        ip_network,
        ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "127.0.0.0/8", "fc00::/7", "::1/128"),
    )
)


class Whereabouts:
    """Told of users and their addresses; keeps the last ones."""

    def __init__(self) -> None:
        self._last: OrderedDict[str, IPAddress] = OrderedDict()

    def seen(self, user: JID, ip: IPAddress | None) -> None:
        """A user's connection comes from this address."""
        if ip is None:
            return
        self._last[str(user.bare)] = ip
        self._last.move_to_end(str(user.bare))
        if len(self._last) > REMEMBERED:
            self._last.popitem(last=False)

    def findings(
        self, bound: Iterable[IPAddress], proxies: Iterable[IPNetwork]
    ) -> Iterator[CheckFinding]:
        """Report what is odd about them, for a relay with these addresses and these proxies."""
        versions = {ip.version for ip in bound}
        for version in (4, 6):
            users = sum(ip.version == version for ip in self._last.values())
            if users and version not in versions:
                text = (
                    f"{users} of the last {len(self._last)} come by IPv{version}, and the relay has"
                    f" no address of it: who has no other is not reached; add one to"
                    " relay.interfaces"
                )
                yield CheckFinding(verdict="warn", subject=f"users of IPv{version}", text=text)
        addresses = set(self._last.values())
        if len(self._last) < ENOUGH or len(addresses) != 1:
            return
        (ip,) = addresses
        is_private = any(ip.version == n.version and ip in n for n in PRIVATE)
        is_known = any(ip.version == n.version and ip in n for n in proxies)
        if is_private and not is_known:
            text = (
                f"all of the last {len(self._last)} come from {ip}: a proxy, or a container's"
                " network, hides where they are. Have the XMPP server see their addresses (host"
                f' networking, PROXY protocol), or write proxies = ["{ip}/{ip.max_prefixlen}"] in'
                " [relay]"
            )
            yield CheckFinding(verdict="warn", subject="where users are", text=text)
