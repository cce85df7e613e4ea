"""What must never be in a log: the component's secret, SDES keys, passwords of ICE agents."""

import pytest

from tests.integration.test_abuse import ask
from tests.integration.test_nat_calls import talk
from tests.lab.play import SECRET, Caller, Stage, stage
from tests.lab.world import NatKind

KEY = "WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz"
PASSWORD = "asd88fgpdd777uzjYhagZg"
"""The examples of RFC 4568 and RFC 8839: long enough to be found by nothing else."""

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("each_server")]


def offer(sid: str, port: str) -> str:
    """An offer with everything that is secret in it; a port that is none makes it malformed."""
    return (
        f'<jingle xmlns="urn:xmpp:jingle:1" action="session-initiate" sid="{sid}">'
        '<content creator="initiator" name="voice">'
        '<description xmlns="urn:xmpp:jingle:apps:rtp:1" media="audio">'
        '<encryption required="1"><crypto crypto-suite="AES_CM_128_HMAC_SHA1_80"'
        f' key-params="inline:{KEY}|2^20|1:32" tag="1"/></encryption></description>'
        '<transport xmlns="urn:xmpp:jingle:transports:ice-udp:1"'
        f' pwd="{PASSWORD}" ufrag="8hhy">'
        '<candidate component="1" foundation="1" generation="0" id="a" ip="192.0.2.10"'
        f' network="0" port="{port}" priority="1" protocol="udp" type="host"/></transport>'
        '</content><content creator="initiator" name="other">'
        '<description xmlns="urn:xmpp:jingle:apps:rtp:1" media="audio"/>'
        '<transport xmlns="urn:xmpp:jingle:transports:raw-udp:1">'
        f'<candidate component="1" generation="0" id="b" ip="192.0.2.10" port="{port}"/>'
        "</transport></content></jingle>"
    )


async def offers(at: Stage, alice: Caller, bob: Caller) -> None:
    """One that is taken, one that is malformed, one that is out of order."""
    bob.tell("answer", how="ring")
    good = f'<iq type="set" to="{bob.jid}" id="good">{offer("good", "7078")}</iq>'
    alice.tell("send", xml=good)
    await alice.expect("stanza", lambda e: 'id="good"' in e["xml"])
    assert "bad-request" in await ask(alice, bob, offer("bad", "0"), "bad")
    assert "unexpected-request" in await ask(alice, bob, offer("good", "7078"), "again")


async def test_no_key_and_no_password_is_ever_logged() -> None:
    async with stage(extra='level = "debug"\n') as at:
        alice = await at.phone("alice", NatKind.PORT_RESTRICTED)
        bob = await at.phone("bob", NatKind.SYMMETRIC)
        await talk(alice, bob, seconds=0.5)
        await offers(at, alice, bob)
        await at.relay.end("signalling")
        await at.relay.start("signalling")
        said = at.relay.log_text()
    assert "latched" in said
    assert "bad" in said
    for secret in (SECRET, KEY, PASSWORD):
        assert secret not in said
