"""XMPP addresses (RFC 7622), as the server hands them over: already normalised."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class JID:
    """local@domain/resource; `local` and `resource` may be empty."""

    local: str
    domain: str
    resource: str

    @classmethod
    def of(cls, text: str) -> "JID":
        """Split an address. Raises ValueError where it has no domain."""
        bare, _, resource = text.partition("/")
        local, at, domain = bare.partition("@")
        if not at:
            local, domain = "", bare
        if not domain or (at and not local):
            raise ValueError(f"{text!r} is no XMPP address")
        return cls(local, domain, resource)

    @property
    def bare(self) -> "JID":
        return JID(self.local, self.domain, "")

    @property
    def is_full(self) -> bool:
        return bool(self.resource)

    def __str__(self) -> str:
        text = f"{self.local}@{self.domain}" if self.local else self.domain
        return f"{text}/{self.resource}" if self.resource else text
