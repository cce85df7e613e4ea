"""What the SIP front tells people to do: the mistake is made, and what the text says is done."""

import asyncio
import socket
from ipaddress import ip_address, ip_network

import pytest
import structlog
from pydantic import ValidationError

from jingle_hnt.fronts.ng import server
from jingle_hnt.fronts.ng.bencode import Encodable
from jingle_hnt.fronts.ng.front import MOST_WAITING
from jingle_hnt.fronts.ng.listening import Listening, demand_safe
from jingle_hnt.fronts.ng.server import NgServer
from jingle_hnt.settings.model import Settings
from tests.fronts.ng.proxy import Proxy, media
from tests.fronts.ng.samples import CHROME, FAX, SIPP, answer, offer

XMPP = {"component": "hnt.example.org", "domains": ["example.org"], "secret": "x"}
RELAY = {"interfaces": [{"address": "203.0.113.9"}]}


@pytest.mark.parametrize(
    ("asked", "why", "instead"),
    [
        (
            {"sdp": SIPP.replace(b"6000", b"6000/2")},
            "pairs of ports: write one line each",
            {"sdp": SIPP + b"m=audio 6002 RTP/AVP 0\r\n"},
        ),
        ({"T.38": ["force"]}, "does not turn audio into fax; leave the flag out", {}),
        ({"T.38": ["decode"]}, "does not turn fax into audio; leave the flag out", {}),
        ({"media-address": "192.0.2.1"}, "it tells the addresses of relay.interfaces", {}),
        ({"ICE": "force"}, "appended or terminated as ng.ice says; leave the flag out", {}),
        (
            {"sdp": CHROME, "transport-protocol": "RTP/AVP"},
            "goes on end to end and cannot end here",
            {"sdp": CHROME},
        ),
    ],
)
async def test_an_offer_without_what_is_refused_is_taken(
    asked: dict[str, Encodable], why: str, instead: dict[str, Encodable]
) -> None:
    proxy = Proxy()
    assert why in await proxy.refuses(offer(**asked))
    assert await proxy.sdp(offer(**instead))


async def test_fax_comes_after_audio() -> None:
    proxy = Proxy()
    why = await proxy.refuses(offer(FAX))
    assert "begin with m=audio, then send a re-INVITE" in why
    await proxy.connect()
    assert media(await proxy.sdp(offer(FAX, **{"to-tag": "callee-1"})))[0].kind == "image"


async def test_commands_that_are_sent_one_by_one_are_all_taken() -> None:
    proxy = Proxy()
    await proxy.connect()
    call = next(iter(proxy.front._calls.values()))
    call.busy = True
    waiting = [
        asyncio.create_task(proxy.ask(offer(**{"to-tag": "callee-1"}))) for _ in range(MOST_WAITING)
    ]
    await asyncio.sleep(0)
    assert "at once; send them one by one" in await proxy.refuses(answer())
    proxy.front._next(call)
    assert [(await each)["result"] for each in waiting] == [b"ok"] * MOST_WAITING
    assert await proxy.sdp(answer())


@pytest.mark.parametrize(
    ("text", "why", "instead"),
    [
        ("2223", "write an address and a port, such as", "127.0.0.1:2223"),
        ("unix:ng.sock", "write unix: and an absolute path", "unix:/run/jingle-hnt/ng.sock"),
    ],
)
def test_a_place_to_listen_at_is_written_as_it_says(text: str, why: str, instead: str) -> None:
    with pytest.raises(ValueError, match=why):
        Listening.of(text)
    assert str(Listening.of(instead)) == instead


def test_whoever_may_order_calls_is_listed() -> None:
    open_to_all = [Listening.of("203.0.113.9:2223")]
    with pytest.raises(ValueError, match=r"list the addresses of your SIP proxies in ng\.networks"):
        demand_safe(open_to_all, [])
    with pytest.raises(ValueError, match="is everybody; list your SIP proxies alone"):
        demand_safe(open_to_all, [ip_network("0.0.0.0/0")])
    demand_safe(open_to_all, [ip_network("203.0.113.2/32")])
    demand_safe([Listening.of("127.0.0.1:2223"), Listening.of("unix:/run/ng.sock")], [])


async def test_a_proxy_that_is_listed_is_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "LOOPBACK", ())
    own = ip_address("127.0.0.1")

    async def nothing(message: bytes) -> bytes:
        return message

    place = [Listening.of("127.0.0.1:2223")]
    with structlog.testing.capture_logs() as logs:
        stranger = NgServer(place, [ip_network("192.0.2.0/24")], nothing)
        assert not stranger.admits(own)
        stranger._tell_of_stranger(own)
    assert logs[0]["do"] == "list it in ng.networks if it is a SIP proxy of yours"
    assert NgServer(place, [ip_network("127.0.0.1/32")], nothing).admits(own)


async def test_another_place_is_listened_at_where_one_is_taken() -> None:
    """What has the port goes on, and so do our other calls; ng.listen may name another one."""
    proxy = Proxy()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        with structlog.testing.capture_logs() as logs:
            serving = asyncio.create_task(proxy.service(f"127.0.0.1:{port}").run())
            async with asyncio.timeout(30):
                while not logs:  # noqa: ASYNC110 - nothing else tells of it
                    await asyncio.sleep(0.01)
            serving.cancel()
        assert logs[0]["do"] == "see ng.listen"
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
            free.bind(("127.0.0.1", 0))
            other = free.getsockname()[1]
        with structlog.testing.capture_logs() as logs:
            serving = asyncio.create_task(proxy.service(f"127.0.0.1:{other}").run())
            async with asyncio.timeout(30):
                while not logs:  # noqa: ASYNC110 - nothing else tells of it
                    await asyncio.sleep(0.01)
            serving.cancel()
        assert logs[0]["event"] == "listening for SIP proxies"


def test_users_of_a_domain_sip_have_a_relay_without_sip_calls() -> None:
    xmpp = XMPP | {"domains": ["sip"]}
    with pytest.raises(ValidationError, match="stands for the parties of SIP calls; serve its"):
        Settings(xmpp=xmpp, relay=RELAY, ng={"enabled": True})  # type: ignore[arg-type]
    assert not Settings(xmpp=xmpp, relay=RELAY, ng={"enabled": False}).ng.enabled  # type: ignore[arg-type]
    assert Settings(xmpp=XMPP, relay=RELAY, ng={"enabled": True}).ng.enabled  # type: ignore[arg-type]
