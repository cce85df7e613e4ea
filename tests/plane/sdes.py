"""SRTP as libsrtp makes it: an oracle that shares no code with ours."""

from base64 import b64encode

from pylibsrtp import Policy, Session

from jingle_hnt.model.content import TagKey
from jingle_hnt.relay.srtp import read_keys
from tests.plane.packets import rtcp, rtp

PROFILES = {
    "AES_CM_128_HMAC_SHA1_80": (Policy.SRTP_PROFILE_AES128_CM_SHA1_80, 30),
    "AES_CM_128_HMAC_SHA1_32": (Policy.SRTP_PROFILE_AES128_CM_SHA1_32, 30),
}
SUITE = "AES_CM_128_HMAC_SHA1_80"


class Sender:
    """Who sends with a master key of this many times the same byte."""

    def __init__(self, byte: int, suite: str = SUITE) -> None:
        profile, length = PROFILES[suite]
        self.suite = suite
        self.master = bytes((byte,)) * length
        policy = Policy(key=self.master, ssrc_type=Policy.SSRC_ANY_OUTBOUND, srtp_profile=profile)
        policy.allow_repeat_tx = True
        policy.window_size = 1024
        self._session = Session(policy)

    @property
    def inline(self) -> str:
        return "inline:" + b64encode(self.master).decode()

    @property
    def keys(self) -> tuple[TagKey, ...]:
        return read_keys(self.suite, self.inline, "")

    def rtp(self, sequence: int, ssrc: int = 1) -> bytes:
        return bytes(self._session.protect(rtp(sequence, ssrc)))

    def rtcp(self, ssrc: int = 1) -> bytes:
        return bytes(self._session.protect_rtcp(rtcp(ssrc)))
