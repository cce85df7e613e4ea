"""The known state of an XMPP server: its module, our component there, its other services."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ModuleState:
    """One domain's server module.

    `fault` is what keeps it from working and what to write, `caution` what will one day; both are
    empty where all is well. `server` is what the module says that it runs in. `silent` is whether
    nothing at all came back, which may pass. `fails` is how the module decides without us
    (``open`` or ``closed``). `other` is the host of the process that asked as our component before,
    `other_age_s` seconds ago; empty where none did. `hosts` are all hosts of that server whose
    module asks our component. `asks_about_rings` is whether it holds what makes a phone ring.
    """

    fault: str = ""
    caution: str = ""
    server: str = ""
    silent: bool = False
    fails: str = ""
    other: str = ""
    other_age_s: float = 0.0
    hosts: tuple[str, ...] = ()
    asks_about_rings: bool = False


@dataclass(frozen=True, slots=True)
class ComponentServices:
    """Services of a component: addresses for users of `callers`, relay channels if `channels`."""

    component: str
    domains: tuple[str, ...]
    callers: frozenset[str] = frozenset()
    channels: bool = False


@dataclass(frozen=True, slots=True)
class Service:
    """A server that an XMPP server names to its users (XEP-0215), such as one for STUN.

    `type` is ``stun``, ``stuns``, ``turn``, ``turns`` or any other; `transport` is empty where it
    is not told.
    """

    type: str
    host: str
    port: int
    transport: str = ""


@dataclass(frozen=True, slots=True)
class Services:
    """The services of one domain; `fault` says why they are not known, and what to write."""

    offered: tuple[Service, ...] = ()
    fault: str = ""
