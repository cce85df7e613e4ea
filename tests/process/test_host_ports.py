"""What the next call needs of this host."""

import contextlib
import socket
from ipaddress import ip_address

from jingle_hnt.process import host_ports
from tests.ports import free_port

HERE = ip_address("127.0.0.1")
ELSEWHERE = ip_address("203.0.113.99")


def test_an_address_of_no_interface_is_named() -> None:
    assert host_ports.absent([HERE, ELSEWHERE, ELSEWHERE]) == [str(ELSEWHERE)]


def test_ports_are_held_where_another_has_all_that_are_tried() -> None:
    ports = [free_port("127.0.0.1", socket.SOCK_DGRAM) for _ in range(3)]
    with contextlib.ExitStack() as held:
        for port in ports[:2]:
            other = held.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            other.bind(("127.0.0.1", port))
        assert host_ports.are_held([(HERE, ports[0]), (HERE, ports[1] - 1)])
        assert not host_ports.are_held([(HERE, ports[0]), (HERE, ports[2])])
    assert not host_ports.are_held([(HERE, ports[0])])
    assert not host_ports.are_held([])
