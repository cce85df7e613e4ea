"""Plays of SIP calls through the front and the pure core, as a proxy's commands and answers."""

import asyncio
from ipaddress import ip_address, ip_network

import pytest

from jingle_hnt.call.leg import Leg
from jingle_hnt.call.policy import EarlyMedia, IceMode, Times
from jingle_hnt.fronts.ng.calls import NgPolicy
from jingle_hnt.fronts.ng.front import REOFFER_S, SETUP_S
from jingle_hnt.model.address import TransportAddress
from jingle_hnt.relay.binding import Flow
from jingle_hnt.relay.evidence import SourceAuth
from jingle_hnt.relay.interfaces import Interface
from jingle_hnt.relay.policy import PeerPolicy
from tests.fronts.ng.proxy import Proxy, media, place
from tests.fronts.ng.samples import (
    BARESIP,
    CALL_ID,
    CHROME,
    FAX,
    LINPHONE,
    SIPP,
    answer,
    delete,
    offer,
)

OPEN = (Flow.OPEN, Flow.OPEN)
CALLER, CALLEE = Leg.INITIATOR, Leg.RESPONDER
PUBLIC = SIPP.replace(b"c=IN IP4 10.0.0.2", b"c=IN IP4 198.51.100.7")


async def test_a_call_from_offer_to_bye() -> None:
    proxy = Proxy()
    offered, answered = await proxy.connect()
    assert place(offered) == proxy.told(CALLEE)
    assert place(answered) == proxy.told(CALLER)
    assert proxy.flows() == OPEN
    assert proxy.sources(CALLER) == ["198.51.100.1/32"]
    assert proxy.sources(CALLEE) == ["198.51.100.2/32"]
    assert proxy.evidence(CALLER).source_auth is SourceAuth.SIGNALLING_ADDRESS
    ended = await proxy.ask(delete())
    assert ended["result"] == b"ok"
    assert len(proxy.front) == 0
    proxy.assert_nothing_left()


async def test_only_the_address_and_port_of_the_description_change() -> None:
    proxy = Proxy()
    offered, answered = await proxy.connect()
    to = proxy.told(CALLEE)
    expected = SIPP.replace(b"10.0.0.2", str(to.ip).encode()).replace(b"6000", b"%d" % to.port)
    assert offered == expected
    to = proxy.told(CALLER)
    expected = BARESIP.replace(b"192.168.1.20", str(to.ip).encode())
    expected = expected.replace(b"20714", b"%d" % to.port).replace(b"20715", b"%d" % (to.port + 1))
    assert answered == expected


async def test_an_invite_that_comes_again_gets_the_same_ports() -> None:
    proxy = Proxy()
    first = await proxy.sdp(offer())
    assert await proxy.sdp(offer()) == first
    assert await proxy.sdp(offer(**{"via-branch": "z9hG4bK-2"})) == first
    assert len(proxy.allocations) == 1
    answered = await proxy.sdp(answer())
    assert await proxy.sdp(answer()) == answered
    assert await proxy.sdp(answer()) == answered


async def test_two_branches_that_are_offered_at_once_share_the_ports() -> None:
    proxy = Proxy()
    proxy.held = True
    both = [asyncio.create_task(proxy.sdp(offer(**{"via-branch": b}))) for b in ("b1", "b2")]
    await asyncio.sleep(0)
    proxy.held = False
    proxy.bind_all()
    first, second = await asyncio.gather(*both)
    assert first == second
    assert len(proxy.allocations) == 1


# Evidence


@pytest.mark.parametrize(
    ("sdp", "flags", "auth", "sources"),
    [
        (SIPP, [], SourceAuth.SIGNALLING_ADDRESS, ["198.51.100.1/32"]),
        (SIPP, ["SIP-source-address"], SourceAuth.SIGNALLING_ADDRESS, ["198.51.100.1/32"]),
        (SIPP, ["trust-address"], SourceAuth.SIGNALLING_ADDRESS, ["198.51.100.1/32"]),
        (PUBLIC, [], SourceAuth.CANDIDATE_ADDRESS, ["198.51.100.7/32"]),
        (PUBLIC, ["SIP-source-address"], SourceAuth.SIGNALLING_ADDRESS, ["198.51.100.1/32"]),
        (PUBLIC, ["trust-address"], SourceAuth.CANDIDATE_ADDRESS, ["198.51.100.7/32"]),
        (
            PUBLIC.replace(b"100.7", b"100.1"),
            [],
            SourceAuth.SIGNALLING_ADDRESS,
            ["198.51.100.1/32"],
        ),
        (
            SIPP.replace(b"10.0.0.2", b"phone.example.org"),
            [],
            SourceAuth.SIGNALLING_ADDRESS,
            ["198.51.100.1/32"],
        ),
        (
            SIPP.replace(b"c=IN IP4 10.0.0.2", b"c=IN IP4 0.0.0.0"),
            [],
            SourceAuth.SIGNALLING_ADDRESS,
            ["198.51.100.1/32"],
        ),
    ],
)
async def test_what_a_latch_rests_on(
    sdp: bytes, flags: list[str], auth: SourceAuth, sources: list[str]
) -> None:
    proxy = Proxy()
    await proxy.connect(sdp)
    await proxy.ask(delete())
    await proxy.sdp(offer(sdp, flags=flags, **{"call-id": "other"}))
    await proxy.sdp(answer(**{"call-id": "other"}))
    assert proxy.evidence(CALLER).source_auth is auth
    assert proxy.sources(CALLER) == sources


async def test_a_listed_proxy_says_nothing_of_where_a_phone_is() -> None:
    peers = PeerPolicy(
        own=(ip_address("203.0.113.9"),),
        allow_networks=(ip_network("198.51.100.0/24"),),
        proxies=(ip_network("198.51.100.1/32"),),
    )
    proxy = Proxy(peers=peers)
    await proxy.connect()
    assert proxy.evidence(CALLER).source_auth is SourceAuth.PROBATION
    assert proxy.sources(CALLEE) == ["198.51.100.2/32"]


async def test_keys_in_the_description_are_evidence() -> None:
    proxy = Proxy()
    secure = LINPHONE.replace(
        b"a=crypto:2 AES_CM_128_HMAC_SHA1_32 inline:PS1uQCVeeCFCanVmcjkpPywjNWhcYD0mXXtxaVBR"
        b" UNENCRYPTED_SRTP UNAUTHENTICATED_SRTP\r\n",
        b"",
    )
    await proxy.connect(secure, secure)
    assert proxy.evidence(CALLER).source_auth is SourceAuth.SRTP_AUTH
    assert proxy.evidence(CALLEE).source_auth is SourceAuth.SRTP_AUTH


SECURE = LINPHONE.replace(
    b"a=crypto:2 AES_CM_128_HMAC_SHA1_32 inline:PS1uQCVeeCFCanVmcjkpPywjNWhcYD0mXXtxaVBR"
    b" UNENCRYPTED_SRTP UNAUTHENTICATED_SRTP\r\n",
    b"",
)


async def test_keys_may_change_in_mid_call_and_the_latch_stays() -> None:
    proxy = Proxy()
    await proxy.connect(SECURE, SECURE)
    name = proxy.allocations[0].binding(1)
    proxy.latch(name, 0, "192.0.2.7")
    old = set(proxy.evidence(CALLER).tags)
    renewed = SECURE.replace(b"PS1uQCVeeCFC", b"QS1uQCVeeCFC")
    await proxy.sdp(offer(renewed, **{"to-tag": "callee-1"}))
    both = set(proxy.evidence(CALLER).tags)
    assert (len(old), len(both)) == (1, 2)
    assert old < both
    await proxy.sdp(answer(renewed))
    assert len(proxy.evidence(CALLEE).tags) == 2
    assert proxy.allocations[0].pinholes[1, CALLER].learned is not None


async def test_a_call_may_go_on_in_the_clear() -> None:
    proxy = Proxy()
    await proxy.connect(SECURE, SECURE)
    clear = SECURE.replace(b"SAVP", b"AVP")
    clear = b"".join(x for x in clear.splitlines(True) if not x.startswith(b"a=crypto"))
    await proxy.sdp(offer(clear, **{"to-tag": "callee-1"}))
    answered = await proxy.sdp(answer(clear))
    assert place(answered) == proxy.told(CALLER)
    assert proxy.evidence(CALLER).tags == ()
    assert proxy.flows() == OPEN


async def test_a_party_that_moves_from_a_phone_to_a_trunk_is_believed_there() -> None:
    """A transfer: the SIP hop is the same, the media comes from elsewhere."""
    proxy = Proxy()
    await proxy.connect()
    before = proxy.told(CALLEE)
    moved = PUBLIC.replace(b"6000", b"7000")
    assert place(await proxy.sdp(offer(moved, **{"to-tag": "callee-1"}))) == before
    await proxy.sdp(answer())
    assert proxy.sources(CALLER) == ["198.51.100.7/32"]


async def test_a_party_that_signals_from_elsewhere_is_believed_there() -> None:
    proxy = Proxy()
    await proxy.connect()
    await proxy.sdp(offer(**{"to-tag": "callee-1", "received-from": ["IP4", "198.51.100.40"]}))
    assert "198.51.100.40/32" in proxy.sources(CALLER)


# Hold, re-INVITE, refused media


def directed(sdp: bytes, direction: str) -> bytes:
    return sdp.replace(b"a=sendrecv\r\n", b"") + f"a={direction}\r\n".encode()


@pytest.mark.parametrize(
    ("held", "agreed", "flows"),
    [
        (directed(SIPP, "sendonly"), directed(BARESIP, "recvonly"), (Flow.HOLDING, Flow.HELD)),
        (directed(SIPP, "inactive"), directed(BARESIP, "inactive"), (Flow.HELD, Flow.HELD)),
        (
            SIPP.replace(b"c=IN IP4 10.0.0.2", b"c=IN IP4 0.0.0.0"),
            BARESIP,
            (Flow.HOLDING, Flow.HELD),
        ),
    ],
)
async def test_hold_and_back(held: bytes, agreed: bytes, flows: tuple[Flow, Flow]) -> None:
    proxy = Proxy()
    await proxy.connect()
    ports = proxy.told(CALLER), proxy.told(CALLEE)
    offered = await proxy.sdp(offer(held, **{"to-tag": "callee-1"}))
    assert media(offered)[0].port == ports[1].port
    assert proxy.flows() == OPEN
    await proxy.sdp(answer(agreed))
    assert proxy.flows() == flows
    assert proxy.is_held()
    await proxy.sdp(offer(**{"to-tag": "callee-1"}))
    await proxy.sdp(answer())
    assert proxy.flows() == OPEN
    assert not proxy.is_held()
    assert (proxy.told(CALLER), proxy.told(CALLEE)) == ports


async def test_one_way_video_is_no_hold() -> None:
    proxy = Proxy()
    video = b"m=video 6002 RTP/AVP 96\r\na=sendonly\r\n"
    back = b"m=video 6012 RTP/AVP 96\r\na=recvonly\r\n"
    await proxy.connect(SIPP + video, BARESIP + back)
    assert proxy.flows(0) == OPEN
    assert proxy.flows(1) == (Flow.OPEN, Flow.HELD)
    assert not proxy.is_held()


async def test_a_reinvite_with_the_same_address_keeps_the_latch() -> None:
    proxy = Proxy()
    await proxy.connect()
    name = proxy.allocations[0].binding(1)
    proxy.latch(name, 0, "198.51.100.1")
    generation = proxy.plane.armed[name, 0].generation
    await proxy.sdp(offer(**{"to-tag": "callee-1"}))
    await proxy.sdp(answer())
    assert proxy.plane.armed[name, 0].generation == generation
    assert proxy.allocations[0].pinholes[1, CALLER].learned is not None


async def test_a_reinvite_with_a_new_port_arms_that_party_anew_and_the_other_not() -> None:
    proxy = Proxy()
    await proxy.connect()
    name = proxy.allocations[0].binding(1)
    before = [proxy.plane.armed[name, side].generation for side in (0, 1)]
    await proxy.sdp(offer(SIPP.replace(b"6000", b"6100"), **{"to-tag": "callee-1"}))
    await proxy.sdp(answer())
    after = [proxy.plane.armed[name, side].generation for side in (0, 1)]
    assert (after[0] > before[0], after[1] == before[1]) == (True, True)


async def test_the_callee_may_offer_too() -> None:
    proxy = Proxy()
    await proxy.connect()
    again = BARESIP.replace(b"20714", b"20800").replace(b"20715", b"20801")
    offered = await proxy.sdp(
        offer(
            again,
            **{
                "from-tag": "callee-1",
                "to-tag": "3021SIPpTag001",
                "received-from": ["IP4", "198.51.100.2"],
            },
        )
    )
    assert place(offered) == proxy.told(CALLER)
    answered = await proxy.sdp(
        answer(
            SIPP,
            **{
                "from-tag": "callee-1",
                "to-tag": "3021SIPpTag001",
                "received-from": ["IP4", "198.51.100.1"],
            },
        )
    )
    assert place(answered) == proxy.told(CALLEE)
    assert proxy.sources(CALLEE) == ["198.51.100.2/32"]
    ended = await proxy.ask(delete(**{"from-tag": "callee-1", "to-tag": "3021SIPpTag001"}))
    assert "warning" not in ended
    proxy.assert_nothing_left()


async def test_media_that_is_added_refused_and_removed() -> None:
    proxy = Proxy()
    await proxy.connect()
    video = b"m=video 6002 RTP/AVP 96\r\n"
    await proxy.sdp(offer(SIPP + video, **{"to-tag": "callee-1"}))
    assert len(proxy.allocations) == 2
    refused = await proxy.sdp(answer(BARESIP + b"m=video 0 RTP/AVP 96\r\n"))
    assert media(refused)[1].port == 0
    assert len(proxy.allocations) == 1
    await proxy.sdp(offer(SIPP + video, **{"to-tag": "callee-1"}))
    answered = await proxy.sdp(answer(BARESIP + b"m=video 6012 RTP/AVP 96\r\n"))
    assert place(answered, 1) == proxy.told(CALLER, 1)
    assert proxy.flows(1) == OPEN
    await proxy.sdp(offer(SIPP + b"m=video 0 RTP/AVP 96\r\n", **{"to-tag": "callee-1"}))
    await proxy.sdp(answer(BARESIP + b"m=video 0 RTP/AVP 96\r\n"))
    assert len(proxy.allocations) == 1
    assert proxy.flows() == OPEN


async def test_a_reinvite_that_is_turned_down_leaves_the_call_as_it_was() -> None:
    """Kamailio sends a delete for any failed INVITE (`rtpengine_manage` in a failure route)."""
    proxy = Proxy()
    await proxy.connect()
    await proxy.sdp(offer(SIPP + b"m=video 6002 RTP/AVP 96\r\n", **{"to-tag": "callee-1"}))
    assert (await proxy.ask(delete()))["result"] == b"ok"
    assert len(proxy.allocations) == 1
    assert proxy.flows() == OPEN
    await proxy.ask(delete())
    proxy.assert_nothing_left()


async def test_a_bye_long_after_an_offer_without_answer_ends_the_call() -> None:
    proxy = Proxy()
    await proxy.connect()
    name = proxy.allocations[0].binding(1)
    for side, ip in ((0, "198.51.100.1"), (1, "198.51.100.2")):
        proxy.latch(name, side, ip)  # type: ignore[arg-type]
    await proxy.sdp(offer(**{"to-tag": "callee-1"}))
    proxy.passes(REOFFER_S + 1)
    await proxy.ask(delete())
    proxy.assert_nothing_left()


# Ringing


async def test_cancel_frees_the_ports() -> None:
    proxy = Proxy()
    await proxy.sdp(offer())
    assert (await proxy.ask(delete()))["result"] == b"ok"
    proxy.assert_nothing_left()


async def test_early_media_flows() -> None:
    proxy = Proxy()
    await proxy.sdp(offer())
    await proxy.sdp(answer(**{"SIP code": 183}))
    assert proxy.flows() == OPEN


@pytest.mark.parametrize(
    ("early", "flows"),
    [
        (EarlyMedia.RESPONDER, (Flow.HELD, Flow.OPEN)),
        (EarlyMedia.DROP, (Flow.HELD, Flow.HELD)),
    ],
)
async def test_early_media_may_be_stopped_where_the_proxy_tells_it_is(
    early: EarlyMedia, flows: tuple[Flow, Flow]
) -> None:
    proxy = Proxy(NgPolicy(early_media=early))
    await proxy.sdp(offer())
    await proxy.sdp(answer(**{"SIP code": 183}))
    assert proxy.flows() == flows
    await proxy.sdp(answer(**{"SIP code": 200}))
    assert proxy.flows() == OPEN


async def test_the_phone_that_answers_is_the_callee_whoever_rang_first() -> None:
    """Parallel forking: 183 of two phones, then 200 of the first again."""
    proxy = Proxy()
    await proxy.sdp(offer())
    other = BARESIP.replace(b"192.168.1.20", b"192.168.7.7")
    first = await proxy.sdp(answer(**{"SIP code": 183}))
    second = await proxy.sdp(
        answer(other, **{"to-tag": "b", "received-from": ["IP4", "198.51.100.3"], "SIP code": 183})
    )
    assert place(first) == place(second)
    assert proxy.sources(CALLEE) == ["198.51.100.3/32"]
    await proxy.sdp(answer(**{"SIP code": 200}))
    assert proxy.sources(CALLEE) == ["198.51.100.2/32"]
    gone = await proxy.ask(delete(**{"to-tag": "b", "flags": ["to-tag"]}))
    assert gone == {"result": b"ok"}
    assert proxy.flows() == OPEN
    await proxy.ask(delete(**{"to-tag": "callee-1", "flags": ["to-tag"]}))
    proxy.assert_nothing_left()


async def test_a_call_that_nobody_answers_is_given_up() -> None:
    proxy = Proxy()
    await proxy.sdp(offer())
    proxy.passes(SETUP_S - 1)
    await proxy.front.sweep()
    assert len(proxy.front) == 1
    proxy.passes(2)
    await proxy.front.sweep()
    assert len(proxy.front) == 0
    proxy.assert_nothing_left()


# ICE, BUNDLE, rtcp-mux, T.38


async def test_ice_is_taken_out_unless_the_operator_says_otherwise() -> None:
    proxy = Proxy()
    offered, answered = await proxy.connect(LINPHONE, LINPHONE)
    assert b"candidate" not in offered + answered
    assert b"a=ice" not in offered + answered
    assert not any(m.kind.has_agents for m in proxy.session.negotiation.media.values())


async def test_ice_that_is_appended() -> None:
    proxy = Proxy(NgPolicy(ice=IceMode.APPEND))
    offered, answered = await proxy.connect(LINPHONE, LINPHONE)
    for sdp in (offered, answered):
        assert b"a=ice-ufrag:1e5\r\n" in sdp
        assert b"10.1.1.7 7078 typ host" in sdp
        assert b"a=candidate:ngrelay 1 udp 255 203.0.113.9" in sdp
        assert b"a=candidate:ngrelay 2 udp 254 203.0.113.9" in sdp
    assert proxy.evidence(CALLER).source_auth is SourceAuth.ICE_INTEGRITY
    again = await proxy.sdp(offer(LINPHONE, **{"to-tag": "callee-1"}))
    assert again == offered


async def test_ice_that_ends_at_the_relay() -> None:
    proxy = Proxy(NgPolicy(ice=IceMode.TERMINATE))
    offered, answered = await proxy.connect(LINPHONE, LINPHONE)
    for sdp in (offered, answered):
        assert b"1e5" not in sdp
        assert b"10.1.1.7" not in sdp
        assert sdp.count(b"a=candidate:") == 2
        assert b"a=ice-ufrag:" in sdp
    assert await proxy.sdp(offer(LINPHONE, **{"to-tag": "callee-1"})) == offered


async def test_a_bundle_of_the_answer_has_one_pair_of_ports() -> None:
    proxy = Proxy()
    sdp = CHROME.replace(b"m=video 9", b"m=video 11").replace(b"m=audio 9", b"m=audio 10")
    sdp = sdp.replace(b"0.0.0.0", b"192.168.34.75")
    offered = await proxy.sdp(offer(sdp))
    assert place(offered, 0) != place(offered, 1)
    assert len(proxy.allocations) == 2
    answered = await proxy.sdp(answer(sdp.replace(b"m=video 11", b"m=video 10")))
    assert place(answered, 0) == place(answered, 1)
    assert len(proxy.allocations) == 1
    offered = await proxy.sdp(offer(sdp.replace(b"m=video 11", b"m=video 10")))
    assert place(offered, 0) == place(offered, 1)
    assert b"a=rtcp-mux" in offered


async def test_rtcp_mux_may_be_taken_out() -> None:
    proxy = Proxy()
    sdp = BARESIP + b"a=rtcp-mux\r\n"
    assert b"rtcp-mux" in await proxy.sdp(offer(sdp))
    assert b"rtcp-mux" not in await proxy.sdp(offer(sdp, **{"rtcp-mux": ["demux"]}))


async def test_fax_takes_the_place_of_voice() -> None:
    proxy = Proxy()
    await proxy.connect()
    before = proxy.told(CALLEE)
    fax = FAX.replace(b"\n", b"\r\n")
    offered = await proxy.sdp(offer(fax, **{"to-tag": "callee-1"}))
    assert place(offered) == before
    assert b"a=T38FaxVersion:0" in offered
    await proxy.sdp(answer(fax))
    assert proxy.flows() == OPEN


async def test_fax_that_nobody_could_be_latched_by_is_refused() -> None:
    proxy = Proxy()
    assert "begin with m=audio" in await proxy.refuses(offer(FAX))
    proxy.assert_nothing_left()


# Refusals


async def test_what_cannot_be_done_is_said_and_leaves_nothing() -> None:
    proxy = Proxy()
    assert "end to end" in await proxy.refuses(offer(CHROME, **{"transport-protocol": "RTP/AVP"}))
    assert "codecs" in await proxy.refuses(offer(codec={"transcode": ["PCMA"]}))
    assert "pairs of ports" in await proxy.refuses(offer(SIPP.replace(b"6000", b"6000/2")))
    assert await proxy.refuses(offer(b"")) == "No SDP body in message"
    assert "Failed to parse SDP" in await proxy.refuses(offer(b"nonsense"))
    assert await proxy.refuses(offer(**{"call-id": ""})) == "No call-id in message"
    assert await proxy.refuses(offer(**{"from-tag": ""})) == "No from-tag in message"
    assert await proxy.refuses(answer()) == "Unknown call-id"
    assert len(proxy.front) == 0
    proxy.assert_nothing_left()


async def test_a_refused_reinvite_leaves_the_call() -> None:
    proxy = Proxy()
    await proxy.connect()
    assert "codecs" in await proxy.refuses(offer(codec={"transcode": ["PCMA"]}))
    assert proxy.flows() == OPEN


async def test_the_proxy_is_sent_to_another_node_when_this_one_is_full() -> None:
    proxy = Proxy(NgPolicy(calls=1))
    await proxy.connect()
    full = await proxy.ask(offer(**{"call-id": "2"}))
    assert full == {"result": b"load limit", "message": b"Parallel session limit reached"}
    assert await proxy.refuses(offer(supports=[], **{"call-id": "3"})) == (
        "Parallel session limit reached"
    )
    assert await proxy.sdp(offer(**{"to-tag": "callee-1"}))


async def test_calls_of_one_tag_share_no_budget_of_a_user() -> None:
    """A trunk or a load generator may write the same tag in all its calls."""
    proxy = Proxy()
    for number in range(120):
        await proxy.sdp(offer(**{"call-id": f"call-{number}"}))
    assert len(proxy.front) == 120
    assert not proxy.registry.budgets.refusals


async def test_a_call_of_too_many_lines_is_refused_everywhere() -> None:
    proxy = Proxy()
    lines = b"".join(b"m=audio %d RTP/AVP 0\r\n" % port for port in range(7000, 7040, 2))
    assert "budget contents" in await proxy.refuses(offer(SIPP + lines))
    assert len(proxy.front) == 0


async def test_the_proxy_is_sent_to_another_node_when_no_ports_are_left() -> None:
    proxy = Proxy(ports=(2000, 2003))
    await proxy.connect()
    full = await proxy.ask(offer(**{"call-id": "2"}))
    assert full == {"result": b"load limit", "message": b"Ran out of ports"}
    assert len(proxy.front) == 1


async def test_the_proxy_is_sent_to_another_node_while_this_one_drains() -> None:
    proxy = Proxy()
    await proxy.connect()
    proxy.registry.draining = True
    assert (await proxy.ask(offer(**{"call-id": "2"})))["result"] == b"load limit"
    assert await proxy.sdp(offer(**{"to-tag": "callee-1"}))


async def test_a_description_that_is_ours_already_goes_on_as_it_is() -> None:
    proxy = Proxy()
    offered, _ = await proxy.connect()
    assert await proxy.sdp(offer(offered, **{"call-id": "looped"})) == offered
    assert len(proxy.front) == 1


# What is told


async def test_ping_list_and_query() -> None:
    proxy = Proxy()
    assert await proxy.ask({"command": "ping"}) == {"result": b"pong"}
    await proxy.connect()
    assert (await proxy.ask({"command": "list"}))["calls"] == [CALL_ID.encode()]
    told = await proxy.ask({"command": "query", "call-id": CALL_ID})
    assert told["totals"] == {
        kind: {"packets": 0, "bytes": 0, "errors": 0} for kind in ("RTP", "RTCP")
    }
    tags = told["tags"]
    assert isinstance(tags, dict)
    assert set(tags) == {"3021SIPpTag001", "callee-1"}
    assert await proxy.refuses({"command": "query", "call-id": "no"}) == "Unknown call-id"


async def test_what_is_deleted_twice_is_a_warning_unless_it_is_to_be_fatal() -> None:
    proxy = Proxy()
    await proxy.connect()
    assert "totals" in await proxy.ask(delete())
    assert "warning" in await proxy.ask(delete())
    assert "tags didn't match" in await proxy.refuses(delete(flags=["fatal"]))


# Restarts and other ends


async def test_a_call_goes_on_when_the_process_is_started_again() -> None:
    proxy = Proxy()
    offered, _ = await proxy.connect()
    ports = proxy.told(CALLER), proxy.told(CALLEE)
    proxy.reborn()
    assert (proxy.told(CALLER), proxy.told(CALLEE)) == ports
    assert await proxy.sdp(offer(**{"to-tag": "callee-1"})) == offered
    await proxy.sdp(answer())
    assert proxy.flows() == OPEN
    await proxy.ask(delete(**{"from-tag": "callee-1", "to-tag": "3021SIPpTag001"}))
    proxy.assert_nothing_left()


async def test_a_call_of_before_a_restart_may_ring_as_long_as_any() -> None:
    """Its policy is that of SIP calls again, whatever the operator says of others."""
    proxy = Proxy(times=Times(first_media_s=10))
    await proxy.connect()
    proxy.reborn()
    proxy.passes(100)
    assert len(proxy.front) == 1
    proxy.passes(100)
    assert len(proxy.front) == 0


async def test_a_call_that_the_core_ends_is_forgotten() -> None:
    proxy = Proxy()
    await proxy.connect()
    proxy.registry.terminate(proxy.session.name, proxy.now)
    proxy.settle()
    assert len(proxy.front) == 0
    assert all(proxy.core.take(inject) for inject in proxy.injected)
    assert "warning" in await proxy.ask(delete())


async def test_silence_of_a_held_call_is_no_end() -> None:
    proxy = Proxy()
    await proxy.connect()
    name = proxy.allocations[0].binding(1)
    proxy.latch(name, 0, "198.51.100.1")
    proxy.latch(name, 1, "198.51.100.2")
    await proxy.sdp(offer(directed(SIPP, "sendonly"), **{"to-tag": "callee-1"}))
    await proxy.sdp(answer(directed(BARESIP, "recvonly")))
    for side in (0, 1):
        proxy.silent(name, side)
    proxy.passes(600)
    assert len(proxy.front) == 1


async def test_another_ringing_call_of_the_same_tag_is_another_call() -> None:
    proxy = Proxy()
    first = await proxy.sdp(offer())
    second = await proxy.sdp(offer(**{"call-id": "another"}))
    assert place(first) != place(second)
    assert isinstance(place(first), TransportAddress)


async def test_the_figure_of_rfc_7362() -> None:
    """Section 4.1: a relay in two networks, the caller behind a NAT, with the figure's addresses.

    The callee's side is the interface that faces everybody: nothing is known of a callee yet.
    """
    towards_alice, towards_bob = ip_address("203.0.113.4"), ip_address("198.51.100.2")
    peers = PeerPolicy(
        own=(towards_alice, towards_bob),
        allow_networks=(ip_network("203.0.113.0/24"), ip_network("198.51.100.0/24")),
    )
    proxy = Proxy(
        peers=peers,
        interfaces=(
            Interface(towards_alice, towards_alice, networks=(ip_network("203.0.113.0/24"),)),
            Interface(towards_bob, towards_bob),
        ),
    )
    alices = SIPP.replace(b"10.0.0.2", b"192.0.2.1")
    bobs = BARESIP.replace(b"192.168.1.20", b"198.51.100.33")
    offered = await proxy.sdp(offer(alices, **{"received-from": ["IP4", "203.0.113.77"]}))
    assert place(offered).ip == towards_bob
    answered = await proxy.sdp(answer(bobs, **{"received-from": ["IP4", "198.51.100.33"]}))
    assert place(answered).ip == towards_alice
    assert proxy.sources(CALLER) == ["203.0.113.77/32"]
    assert proxy.sources(CALLEE) == ["198.51.100.33/32"]
