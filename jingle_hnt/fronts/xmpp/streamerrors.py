"""Stream errors (RFC 6120 section 4.9) in the words of somebody who has to mend something."""

from xml.etree.ElementTree import Element

from jingle_hnt.fronts.xmpp import names
from jingle_hnt.fronts.xmpp.names import local_name, namespace

_TEXT = f"{{{names.STREAM_ERRORS}}}text"


def explain(error: Element, jid: str) -> tuple[str, str]:
    """The condition of a <stream:error/>, and what it means for the operator of component `jid`."""
    own = [c for c in error if namespace(c) == names.STREAM_ERRORS and c.tag != _TEXT]
    condition = local_name(own[0]) if own else "undefined-condition"
    said = " ".join(error.findtext(_TEXT, "").split())[:200]
    meaning = _MEANINGS.get(condition, "").format(jid=jid)
    server = f"the server says {condition}" + (f" ({said})" if said else "")
    return condition, f"{server}: {meaning}" if meaning else server


_MEANINGS = {
    "not-authorized": (
        "the secret is not the one that the server has for {jid}; write the same text as "
        "component_secret (Prosody) or password (ejabberd) and as xmpp.secret here"
    ),
    "conflict": (
        "another connection serves {jid}. If it is no second jingle-hnt, it is a dead one that the "
        'server remembers: write component_conflict_resolve = "kick_old" (Prosody)'
    ),
    "host-unknown": (
        'the server has no component {jid}; write Component "{jid}" with component_secret '
        "(Prosody), or {jid} among the hosts of an ejabberd_service listener (ejabberd)"
    ),
}


def stream_error(condition: str) -> bytes:
    """A <stream:error/> of ours, and the end of our stream."""
    return (
        f'<stream:error><{condition} xmlns="{names.STREAM_ERRORS}"/></stream:error></stream:stream>'
    ).encode()
