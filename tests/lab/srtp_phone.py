"""The raw-udp phone with SDES (XEP-0167 section 7, RFC 4568): libsrtp protects what it sends.

It offers two lines, of which the second is the one that it means, and answers that one.
"""

import argparse
import asyncio
import os
import time
from base64 import b64decode, b64encode
from collections.abc import Callable
from typing import Any
from xml.etree import ElementTree as ET

from pylibsrtp import Error, Policy, Session

from tests.lab.caller import Phone, add_options, say
from tests.lab.rtp import Component
from tests.lab.xmpp_actors import JINGLE

RTP = "urn:xmpp:jingle:apps:rtp:1"
SUITE, PROFILE = "AES_CM_128_HMAC_SHA1_80", Policy.SRTP_PROFILE_AES128_CM_SHA1_80
MEANT = "2"


class SrtpPhone(Phone):
    """One user, one call at a time; each content has keys of its own."""

    def __init__(self, options: argparse.Namespace) -> None:
        super().__init__(options)
        self.masters: dict[str, bytes] = {}
        self.theirs: dict[str, bytes] = {}

    async def _carry_out(self, command: dict[str, Any]) -> None:
        if command["do"] == "renew":
            self._renew()
        else:
            await super()._carry_out(command)

    def _renew(self) -> None:
        """Make the SRTP state anew with the same keys and SSRCs: all counters are 0 again."""
        for name, components in self.media.items():
            own = Policy(self.masters[name], Policy.SSRC_ANY_OUTBOUND, srtp_profile=PROFILE)
            theirs = Policy(self.theirs[name], Policy.SSRC_ANY_INBOUND, srtp_profile=PROFILE)
            for component in components:
                _protect(component, Session(own), self.options.first)
                _unprotect(component, Session(theirs))
        say("renewed", at=time.monotonic())

    async def _open(self, name: str, creator: str, moving: bool = False) -> None:
        await super()._open(name, creator, moving)
        master = self.masters.setdefault(name, os.urandom(30))
        used = os.urandom(30) if self.options.wrong_key else master
        policy = Policy(used, Policy.SSRC_ANY_OUTBOUND, srtp_profile=PROFILE)
        for component in self.media[name]:
            _protect(component, Session(policy), self.options.first)

    def _content(self, name: str, described: bool = True, answers: bool = False) -> str:
        content = super()._content(name, described, answers)
        lines = _line(MEANT, self.masters[name])
        if self.role == "initiator":
            lines = _line("1", os.urandom(30)) + lines
        encryption = f'<encryption required="1">{lines}</encryption></description>'
        return content.replace("</description>", encryption)

    def _send_media(self, jingle: ET.Element) -> None:
        for content in jingle.iter(f"{{{JINGLE}}}content"):
            for crypto in content.iter(f"{{{RTP}}}crypto"):
                if crypto.get("tag") == MEANT:
                    master = b64decode(crypto.attrib["key-params"].removeprefix("inline:"))
                    self.theirs[content.get("name", "")] = master
                    policy = Policy(master, Policy.SSRC_ANY_INBOUND, srtp_profile=PROFILE)
                    for component in self.media[content.get("name", "")]:
                        _unprotect(component, Session(policy))
        super()._send_media(jingle)


def _protect(component: Component, session: Session, first: int) -> None:
    """`first` is the sequence number that RTP begins with."""

    def protect(datagram: bytes) -> bytes:
        number = (int.from_bytes(datagram[2:4]) + first) % 65536
        return bytes(session.protect(datagram[:2] + number.to_bytes(2) + datagram[4:]))

    component.protect = session.protect_rtcp if component.control else protect


def _unprotect(component: Component, session: Session) -> None:
    component.unprotect = believed(
        session.unprotect_rtcp if component.control else session.unprotect
    )


def believed(unprotect: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
    """What is behind the protection; nothing where that is not what it should be."""

    def opened(datagram: bytes) -> bytes:
        try:
            return bytes(unprotect(datagram))
        except Error:
            return b""

    return opened


def _line(tag: str, master: bytes) -> str:
    key = b64encode(master).decode()
    return f'<crypto tag="{tag}" crypto-suite="{SUITE}" key-params="inline:{key}"/>'


def main() -> None:
    """Run until told to quit, or until standard input ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_options(parser)
    parser.add_argument("--first", type=int, default=0, help="RTP's first sequence number")
    parser.add_argument("--wrong-key", action="store_true", help="send with another than signalled")
    asyncio.run(SrtpPhone(parser.parse_args()).run())


if __name__ == "__main__":
    main()
