"""The hosts under test, who acts on them, and what is read from stanzas."""

import asyncio
from contextlib import AsyncExitStack

from tests.lab.ejabberd import Ejabberd
from tests.lab.ejabberd_cluster import EjabberdCluster
from tests.lab.prosody import Prosody
from tests.lab.server import LocalServer, VirtualHost
from tests.lab.xmpp_actors import (
    CLIENT,
    INTERCEPT,
    JINGLE,
    Client,
    Component,
    Element,
    as_text,
    bare_name,
    unique,
)

HNT = "hnt.example.org"
OPEN = "open.example.org"
CLOSED = "closed.example.org"
PLAIN = "plain.example.org"  # a host of the same server without the module
HOLD_S = 2.0
"""How long a stanza is held: longer than a busy machine takes to answer."""

USERS = {"alice": "secret", "bob": "secret", "carol": "secret"}
COMPONENTS = {HNT: "secret", "other.example.org": "secret"}


def hosts(hold_s: float = HOLD_S) -> list[VirtualHost]:
    """One host per fail policy, and one without the module."""
    return [
        VirtualHost(OPEN, USERS, component=HNT, fail="open", timeout_s=hold_s),
        VirtualHost(CLOSED, USERS, component=HNT, fail="closed", timeout_s=hold_s),
        VirtualHost(PLAIN, USERS),
    ]


KINDS: dict[str, type[LocalServer]] = {"prosody": Prosody, "ejabberd": Ejabberd}


_former: set[str] = set()
"""Full JIDs of the clients of tests that are over, as they stand in a stanza's text."""


class _Inbox(list[Element]):
    """Without what is still told of earlier tests: a server notices when it comes to it that their
    clients have gone, and tells whoever is connected then."""

    def append(self, element: Element) -> None:
        text = as_text(element)
        if not any(jid in text for jid in _former):
            super().append(element)


class Stage:
    """Logs actors in and out of one server."""

    def __init__(self, server: LocalServer, actors: AsyncExitStack) -> None:
        self.server = server
        self._actors = actors
        self._jids: set[str] = set()
        actors.callback(lambda: _former.update(self._jids))

    async def client(self, bare: str, local: str | None = None) -> Client:
        """A client of this user, online from the address `local`."""
        login = Client.login(self.server, f"{bare}/{unique('r')}", local=local)
        client = await self._actors.enter_async_context(await login)
        self._jids.add(f'"{client.jid}"')
        if isinstance(self.server, EjabberdCluster):
            await self.server.know_session(client.jid)
        return client

    async def available(self, client: Client) -> None:
        """Make it available, for stanzas to its bare JID, wherever they come from."""
        client.send("<presence/>")
        await client.next(lambda e: bare_name(e) == "presence")
        if isinstance(self.server, EjabberdCluster):
            await self.server.know_presence(client.jid)

    async def resumed(self, lost: Client, local: str) -> Client:
        """The session of `lost` on a new connection."""
        resume = Client.resume(self.server, lost, local=local)
        return await self._actors.enter_async_context(await resume)

    async def component(self, domain: str = HNT) -> Component:
        """The component, connected, and told what went on while nobody was (by earlier tests)."""
        connect = Component.connect(self.server, domain)
        component = await self._actors.enter_async_context(await connect)
        component.inbox = _Inbox()
        if isinstance(self.server, EjabberdCluster):
            await self.server.know_component(domain)
        host = self.server.hosts[0].domain
        await asyncio.sleep(0.05)  # what an earlier test left is told by other processes
        await component.request(host, "get", f"<module xmlns='{INTERCEPT}'/>")
        component.inbox.clear()
        return component

    async def pair(self, domain: str = OPEN) -> tuple[Client, Client]:
        """Alice and Bob of one host."""
        return await self.client(f"alice@{domain}"), await self.client(f"bob@{domain}")


def jingle_of(stanza: Element) -> Element:
    """The payload of a Jingle request."""
    jingle = stanza.find(f"{{{JINGLE}}}jingle")
    assert jingle is not None, as_text(stanza)
    return jingle


def envelope(stanza: Element) -> dict[str, str]:
    """The stanza's attributes; xml:lang apart, which a server may copy from the stream."""
    return {name: value for name, value in stanza.attrib.items() if "}" not in name}


def jingle_text(sid: str, inside: str = "", action: str = "session-initiate") -> str:
    """A <jingle/> with this inside."""
    return f"<jingle xmlns='{JINGLE}' action='{action}' sid='{sid}'>{inside}</jingle>"


def order_of(stanzas: list[Element]) -> list[int]:
    """The numbers in the sids of requests that were named ``name#number``."""
    return [int(jingle_of(stanza).get("sid", "").partition("#")[2]) for stanza in stanzas]


def terminate(sender: str, recipient: str, sid: str, action: str = "session-terminate") -> str:
    """An IQ for `Component.inject`."""
    return (
        f"<iq xmlns='{CLIENT}' type='set' from='{sender}' to='{recipient}' id='{unique('inj')}'>"
        f"{jingle_text(sid, action=action)}</iq>"
    )
