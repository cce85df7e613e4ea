"""Plays a call of the toy transport from stanza to stanza, beside an obedient plane."""

import json
import sys
from ipaddress import ip_address
from typing import Any
from xml.etree.ElementTree import fromstring

from jingle_hnt.call.calls import Calls
from jingle_hnt.call.effects import Bind
from jingle_hnt.fronts.xmpp.codec import parse
from jingle_hnt.fronts.xmpp.substitution import substitute
from jingle_hnt.jingle.effects import Replace, Request
from jingle_hnt.jingle.policy import SessionPolicy
from jingle_hnt.jingle.record import dump, load
from jingle_hnt.jingle.registry import Registry
from jingle_hnt.model.jid import JID
from jingle_hnt.relay.binding import Arm
from jingle_hnt.relay.interfaces import Interface
from jingle_hnt.relay.planes import Planes
from jingle_hnt.relay.ports import PortPool

RELAY = ip_address("203.0.113.9")
SAID = """<jingle xmlns="urn:xmpp:jingle:1" action="{action}" sid="a">
<content creator="initiator" name="voice">
<description xmlns="urn:xmpp:jingle:apps:rtp:1" media="audio"/>
<transport xmlns="urn:toy:1" ip="198.51.100.{host}" port="5000"/>
</content></jingle>"""


def registry() -> Registry:
    pool = PortPool([Interface(RELAY, RELAY)], 2000, 2999, lambda n: n // 2)
    calls = Calls(Planes.of(pool), lambda: "s1", lambda: "0" * 88)
    return Registry(SessionPolicy(frozenset({"example.org"})), calls)


def main() -> None:
    alice, bob = JID.of("alice@example.org/phone"), JID.of("bob@example.org/desk")
    own, told, arms = registry(), [], 0
    for token, action, parties in (
        (1, "session-initiate", (alice, bob)),
        (2, "session-accept", (bob, alice)),
    ):
        element = fromstring(SAID.format(action=action, host=token))
        own.receive(Request(token, *parties, parse(element)), 100.0)
        while effects := own.calls.effects():
            for effect in effects:
                match effect:
                    case Bind(session=name, number=number):
                        own.calls.bound(name, number, 100.0)
                    case Arm():
                        arms += 1
                    case Replace(substitution=substitution):
                        (transport,) = substitute(element, substitution).iterfind(".//*[@port]")
                        told.append(f"{transport.get('ip')}:{transport.get('port')}")
    (session,) = own
    fresh = registry()
    restored = load(json.loads(json.dumps(dump(session, 100.0))), fresh, 100.0)
    (medium,) = restored.negotiation.media.values()
    seen: dict[str, Any] = {"told": told, "arms": arms, "restored": medium.kind.name}
    json.dump(seen, sys.stdout)


if __name__ == "__main__":
    main()
