"""What of a description's <encryption/> is read (XEP-0167 section 7), and that no key leaks."""

import json
import logging
from xml.etree import ElementTree as ET

import pytest

from jingle_hnt.fronts.xmpp import names
from jingle_hnt.fronts.xmpp.codec import UNCHECKABLE, parse
from jingle_hnt.jingle.effects import Replace
from jingle_hnt.jingle.record import dump
from jingle_hnt.model.content import Content, Crypto
from jingle_hnt.model.jingle import Action
from tests.fronts.xmpp.corpus import stanza
from tests.jingle.stage import ALICE, Stage
from tests.plane.sdes import SUITE, Sender

CANDIDATES = "".join(
    f"<candidate component='{c}' generation='0' id='c{c}' ip='192.0.2.1' port='{5000 + c}'/>"
    for c in (1, 2)
)


def described(encryption: str, transport: str = "") -> Content:
    (content,) = parse(offer(encryption, transport)).contents
    return content


def offer(encryption: str, transport: str = "") -> ET.Element:
    return ET.fromstring(
        f"<jingle xmlns='{names.JINGLE}' action='session-initiate' sid='a'>"
        "<content creator='initiator' name='voice'>"
        f"<description xmlns='{names.RTP}' media='audio'>{encryption}</description>"
        f"<transport xmlns='{names.RAW_UDP}'>{CANDIDATES}{transport}</transport>"
        "</content></jingle>"
    )


def crypto(sender: Sender, tag: str = "1", suite: str = SUITE) -> str:
    return f"<crypto tag='{tag}' crypto-suite='{suite}' key-params='{sender.inline}'/>"


def test_every_line_is_read_with_its_tag() -> None:
    short = Sender(2, "AES_CM_128_HMAC_SHA1_32")
    lines = crypto(Sender(1)) + crypto(short, "2", short.suite)
    content = described(f"<encryption required='1'>{lines}</encryption>")
    assert content.crypto == (Crypto("1", Sender(1).keys), Crypto("2", short.keys))


def test_what_only_the_parties_can_check_is_noted() -> None:
    line, keys = crypto(Sender(1)), Crypto("1", Sender(1).keys)
    zrtp = "<zrtp-hash xmlns='urn:xmpp:jingle:apps:rtp:zrtp:1' version='1.10'>ab</zrtp-hash>"
    dtls = f"<fingerprint xmlns='{names.DTLS}' hash='sha-256' setup='actpass'>AB</fingerprint>"
    assert described(f"<encryption>{line}{zrtp}</encryption>").crypto == (keys, UNCHECKABLE)
    assert described(f"<encryption>{line}</encryption>", dtls).crypto == (UNCHECKABLE, keys)
    assert described("<encryption><crypto/></encryption>").crypto == (UNCHECKABLE,)
    assert described("").crypto == ()


def test_dinos_offer_leaves_it_open_for_it_may_speak_dtls() -> None:
    (content,) = parse(stanza("dino-ice-initiate")).contents
    assert [bool(line.keys) for line in content.crypto] == [False, True]


def test_no_key_is_shown_and_no_master_key_is_kept(caplog: pytest.LogCaptureFixture) -> None:
    """The journal has what tags are checked with; who reads it can forge a tag, but not listen."""
    caplog.set_level(logging.DEBUG)
    sender = Sender(0x5A)
    content = described(f"<encryption>{crypto(sender)}</encryption>")
    stage = Stage()
    assert isinstance(stage.says(ALICE, Action.SESSION_INITIATE, content), Replace)
    (session,) = stage.registry
    record = json.dumps(dump(session, stage.now))
    shown = repr((content, stage.plane.armed, caplog.text))
    (key,) = sender.keys
    for secret in (sender.inline, sender.master.hex(), sender.master[:16].hex()):
        assert secret not in record + shown
    assert key.rtp in record
    assert key.rtp not in shown
