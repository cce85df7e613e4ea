"""The client of `xmpp_actors` with slixmpp underneath: its stream is not our code."""

import asyncio
import logging
from typing import Any, Self
from xml.etree.ElementTree import Element

import slixmpp
from slixmpp.xmlstream import ET, StanzaBase
from slixmpp.xmlstream.handler import Callback
from slixmpp.xmlstream.matcher import MatchXPath

from tests.lab.xmpp_actors import JINGLE, Disconnected, Refused, XMPPServer, unique

LOGIN_S = 15.0
logging.getLogger("slixmpp").setLevel(logging.ERROR)


class SlixmppClient:
    """See `xmpp_actors.Client`; only what a phone needs."""

    def __init__(self, jid: str, password: str) -> None:
        self.jid = jid
        self._inbox: asyncio.Queue[Element | None] = asyncio.Queue()
        self._stream: Any = slixmpp.ClientXMPP(jid, password)
        self._stream.plugin["feature_mechanisms"].unencrypted_plain = True
        self._stream.enable_starttls = False
        self._stream.enable_direct_tls = False
        self._stream.enable_plaintext = True
        self._stream.register_plugin("xep_0030")
        self._stream.add_filter("in", self._took)
        # Without a handler slixmpp would answer Jingle requests by itself.
        matcher = MatchXPath(f"{{jabber:client}}iq/{{{JINGLE}}}jingle")
        self._stream.register_handler(Callback("jingle", matcher, lambda _: None))

    @classmethod
    async def login(cls, server: XMPPServer, jid: str, password: str = "secret") -> Self:
        """Connect, authenticate and bind; raises Refused where that fails."""
        client = cls(jid, password)
        started: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        stream = client._stream
        stream.add_event_handler("session_start", lambda _: started.set_result(None))
        stream.add_event_handler(
            "failed_all_auth", lambda _: started.set_exception(Refused("authentication"))
        )
        stream.add_event_handler("disconnected", lambda _: client._inbox.put_nowait(None))
        stream.connect(*server.c2s)
        async with asyncio.timeout(LOGIN_S):
            await started
        return client

    async def next(self) -> Element:
        """The next stanza; raises Disconnected after the last."""
        stanza = await self._inbox.get()
        if stanza is None:
            raise Disconnected
        return stanza

    def send(self, text: str) -> None:
        """Send XML as it is."""
        self._stream.send_raw(text)

    def request(self, to: str, action: str, sid: str, payload: str = "") -> str:
        """Send a Jingle request; returns its id."""
        iq = self._stream.make_iq_set(ito=to)
        iq["id"] = unique(action)
        iq.append(
            ET.fromstring(
                f"<jingle xmlns='{JINGLE}' action='{action}' sid='{sid}'>{payload}</jingle>"
            )
        )
        iq.send(callback=lambda _: None)
        return str(iq["id"])

    def acknowledge(self, stanza: Element) -> None:
        """Answer with an empty result."""
        self._stream.make_iq_result(id=stanza.get("id"), ito=stanza.get("from")).send()

    def reject(self, stanza: Element, extra: str = "") -> None:
        """Answer with item-not-found."""
        condition = "<item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>"
        self.send(
            f"<iq type='error' id='{stanza.get('id')}' to='{stanza.get('from')}'>"
            f"<error type='cancel'>{condition}{extra}</error></iq>"
        )

    async def close(self) -> None:
        """Close the stream in an orderly way."""
        await self._stream.disconnect(wait=1.0)

    def _took(self, stanza: StanzaBase) -> StanzaBase:
        self._inbox.put_nowait(stanza.xml)
        return stanza
