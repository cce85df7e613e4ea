"""External service discovery (XEP-0215): what a server's list says, and why there is none."""

from xml.etree import ElementTree as ET

import pytest

from jingle_hnt.admin import selfcheck
from jingle_hnt.fronts.xmpp.extdisco import MOST, services
from jingle_hnt.model.servers import Service, Services

NS = "urn:xmpp:extdisco:2"


def answered(*inside: str) -> Services:
    xml = f"<iq type='result'><services xmlns='{NS}'>{''.join(inside)}</services></iq>"
    return services(ET.fromstring(xml), "hnt.example.org")


def test_services_are_read_with_their_usual_ports() -> None:
    found = answered(
        "<service type='stun' host='stun.example.org' port='3479' transport='udp'/>",
        "<service type='turn' host='2001:db8::1'/>",
        "<service type='turns' host='turn.example.org' transport='tcp'/>",
    )
    assert found.offered == (
        Service("stun", "stun.example.org", 3479, "udp"),
        Service("turn", "2001:db8::1", 3478),
        Service("turns", "turn.example.org", 5349, "tcp"),
    )
    assert selfcheck.stun_servers({"a": found, "b": found}) == ("stun.example.org:3479",)
    (well,) = selfcheck.services({"example.org": found})
    assert well.verdict == "ok"


@pytest.mark.parametrize(
    "odd",
    [
        "<service/>",
        "<service type='stun'/>",
        "<service type='stun' host=''/>",
        "<service type='stun' host='a' port='0'/>",
        "<service type='stun' host='a' port='65536'/>",
        "<service type='stun' host='a' port='٣'/>",
        "<service type='stun' host='a' port='99999999999999999999'/>",
        f"<service type='stun' host='{'a' * 256}'/>",
        "<service type='stun' host='a&#10;b'/>",
        "<other/>",
    ],
)
def test_what_cannot_be_used_is_left_out(odd: str) -> None:
    assert answered(odd).offered == ()


def test_a_list_has_an_end() -> None:
    assert len(answered("<service type='stun' host='a'/>" * 100).offered) == MOST


@pytest.mark.parametrize(
    ("answer", "part"),
    [
        (None, "does not answer"),
        ("<forbidden/>", 'external_service_access = { "hnt.example.org" }'),
        ("<service-unavailable/>", "mod_external_services"),
    ],
)
def test_without_a_list_it_says_what_to_write(answer: str | None, part: str) -> None:
    error = f"<iq type='error'><error>{answer}</error></iq>"
    found = services(None if answer is None else ET.fromstring(error), "hnt.example.org")
    assert part in found.fault
    (warned,) = selfcheck.services({"example.org": found})
    assert warned.verdict == "warn"
    assert part in warned.text
    assert "TURN over TLS" in warned.text
