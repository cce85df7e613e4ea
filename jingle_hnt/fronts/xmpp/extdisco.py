"""External service discovery (XEP-0215): which STUN and TURN servers an XMPP server offers."""

from xml.etree.ElementTree import Element

from jingle_hnt.fronts.xmpp import names
from jingle_hnt.fronts.xmpp.names import local_name
from jingle_hnt.model.servers import Service, Services

SERVICES = f"{{{names.EXTDISCO}}}services"
_SERVICE = f"{{{names.EXTDISCO}}}service"
MOST = 32
LONGEST_HOST = 255
USUAL_PORT, USUAL_TLS_PORT = 3478, 5349
"""RFC 8489 section 18.6 (stun, turn) and section 18.5 (stuns, turns)."""


def services(answer: Element | None, component: str) -> Services:
    """What the answer to a <services/> query says. `answer` is the IQ, or None where none came."""
    if answer is None:
        return Services(fault="it does not answer the question for its list (XEP-0215)")
    found = answer.find(SERVICES)
    if answer.get("type") == "result" and found is not None:
        read = (_service(each) for each in found.findall(_SERVICE)[:MOST])
        return Services(tuple(service for service in read if service is not None))
    if "forbidden" in {local_name(each) for each in answer.iter()}:
        return Services(
            fault=f"it does not show its list to components: write external_service_access ="
            f' {{ "{component}" }} for that host (Prosody), or allow {component} in the `access`'
            " of mod_stun_disco (ejabberd)"
        )
    return Services(
        fault="it has no list of STUN and TURN servers (XEP-0215): load mod_external_services"
        " (Prosody) or mod_stun_disco (ejabberd)"
    )


def _service(element: Element) -> Service | None:
    kind, host = element.get("type", ""), element.get("host", "")
    usual = USUAL_TLS_PORT if kind in ("stuns", "turns") else USUAL_PORT
    text = element.get("port") or str(usual)
    fits = text.isascii() and text.isdecimal() and 0 < int(text[:6]) < 65536
    if not kind.isalpha() or not 0 < len(host) <= LONGEST_HOST or not host.isprintable():
        return None
    return Service(kind, host, int(text), element.get("transport", "")) if fits else None
