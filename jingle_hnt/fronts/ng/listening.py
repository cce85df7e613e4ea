"""Where proxies may reach us, and who may: NG has no authentication of its own."""

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path

from jingle_hnt.model.address import IPAddress, IPNetwork, literal

SIP = "sip"
"""The domain of all SIP parties; administrators may block it, and no XMPP user is of it."""

LOOPBACK: tuple[IPNetwork, ...] = (ip_network("127.0.0.0/8"), ip_network("::1/128"))


@dataclass(frozen=True, slots=True)
class Listening:
    """Where to listen. `path` is of a unix socket; else `host` and `port` are of a UDP one."""

    host: IPAddress | None = None
    port: int = 0
    path: Path | None = None

    @classmethod
    def of(cls, text: str) -> "Listening":
        """Of ``127.0.0.1:2223``, ``[::1]:2223`` or ``unix:/run/x.sock``. Raises ValueError."""
        if text.startswith("unix:"):
            path = Path(text.removeprefix("unix:"))
            if not path.is_absolute():
                raise ValueError(f"{text!r}: write unix: and an absolute path")
            return cls(path=path)
        host, colon, port = text.rpartition(":")
        if not colon or not port.isdecimal() or not 1 <= int(port) <= 65535:
            raise ValueError(f"{text!r}: write an address and a port, such as 127.0.0.1:2223")
        return cls(literal(host.removeprefix("[").removesuffix("]")), int(port))

    def __str__(self) -> str:
        if self.host is None:
            return f"unix:{self.path}"
        host = f"[{self.host}]" if self.host.version == 6 else str(self.host)
        return f"{host}:{self.port}"


def demand_safe(listening: Sequence[Listening], networks: Sequence[IPNetwork]) -> None:
    """Raise ValueError where anybody could order calls about."""
    for each in listening:
        if each.host is not None and not each.host.is_loopback and not networks:
            raise ValueError(
                f"{each} is no loopback address and the NG protocol has no authentication: list the"
                " addresses of your SIP proxies in ng.networks, or listen on 127.0.0.1 or unix:"
            )
    for network in networks:
        if network.prefixlen == 0:
            raise ValueError(f"{network} is everybody; list your SIP proxies alone")
