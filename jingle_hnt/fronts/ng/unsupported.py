"""What a proxy may ask of rtpengine that this relay does not do, and says so.

The relay carries media as it is. To bridge DTLS-SRTP or SDES to clear RTP, to transcode, to record
or to play it would have to open the media; a call that needs that is better refused in words than
set up and mute. What only tunes rtpengine is let pass.
"""

from collections.abc import Iterable, Mapping

from jingle_hnt.fronts.ng.words import NgCommand, Refused

_TRANSCODING = (
    "codec-transcode",
    "codec-mask",
    "codec-set",
    "codec-strip",
    "codec-except",
    "codec-accept",
    "codec-consume",
    "codec-offer",
    "codec-ignore",
)

_FLAGS: Mapping[str, str] = {
    "always-transcode": "it does not transcode",
    "force-transcoding": "it does not transcode",
    "inject-dtmf": "it does not make media",
    "asymmetric": "it sends media to where it hears the party from, and nowhere else",
    "unidirectional": "it sends media to where it hears the party from, and nowhere else",
    "record-call": "it does not record",
    "pad-crypto": "it does not write keys",
    "media-echo": "it does not make media",
    "t.38-decode": "it does not turn fax into audio; leave the flag out, and T.38 passes as it is",
    "t.38-force": "it does not turn audio into fax; leave the flag out, and T.38 passes as it is",
}

_OPTIONS: Mapping[str, str] = {
    "ptime": "it does not repacketise",
    "ptime-reverse": "it does not repacketise",
    "media-address": "it tells the addresses of relay.interfaces",
    "xmlrpc-callback": "it calls nobody back",
    "dtmf-security": "it does not change media",
}

_ENCRYPTION = {
    "RTP/AVP": "none",
    "RTP/AVPF": "none",
    "RTP/SAVP": "sdes",
    "RTP/SAVPF": "sdes",
    "UDP/TLS/RTP/SAVP": "dtls",
    "UDP/TLS/RTP/SAVPF": "dtls",
}


def demand_supported(command: NgCommand) -> None:
    """Raise Refused for a flag or option that asks for what this relay does not do."""
    for flag in command.flags:
        if flag.startswith(_TRANSCODING):
            raise _refused(flag, "it does not change codecs")
        if (why := _FLAGS.get(flag)) is not None:
            raise _refused(flag, why)
    for option, values in command.options.items():
        if (why := _OPTIONS.get(option)) is not None:
            raise _refused(f"{option}={','.join(values)}", why)
    if command.option("record-call") in ("on", "yes"):
        raise _refused("record-call", _FLAGS["record-call"])
    for action in command.options.get("t.38", ()):
        if action in ("decode", "force"):
            raise _refused(f"T.38={action}", _FLAGS[f"t.38-{action}"])
    if command.option("ice") in ("force", "force-relay"):
        raise _refused(
            f"ICE={command.option('ice')}",
            "ICE is removed, appended or terminated as ng.ice says; leave the flag out",
        )


def demand_same_encryption(command: NgCommand, protocols: Iterable[str]) -> str:
    """The transport protocol that is to be written, empty where each keeps its own.

    Raises Refused where media would have to be encrypted or decrypted on the way.
    """
    wanted = command.option("transport-protocol").upper()
    if not wanted:
        return ""
    if wanted not in _ENCRYPTION:
        raise _refused(wanted, "it knows RTP/AVP, RTP/SAVP, UDP/TLS/RTP/SAVP and those with an F")
    for protocol in protocols:
        own = _ENCRYPTION.get(protocol.upper())
        if own is not None and own != _ENCRYPTION[wanted]:
            does = "DTLS-SRTP" if "dtls" in (own, _ENCRYPTION[wanted]) else "SRTP"
            raise _refused(
                f"transport-protocol={wanted} for {protocol}",
                f"{does} goes on end to end and cannot end here;"
                f" leave the flag out, or let this call use a relay that terminates {does}",
            )
    return wanted


def _refused(what: str, why: str) -> Refused:
    return Refused(f"{what}: this relay passes media on as it is: {why}")
