"""Who sprays bars himself: the rules one by one."""

from ipaddress import ip_address

from jingle_hnt.relay.barring import BARRED_S, MOST, SUSPECT_PACKETS, SUSPECT_S, Bars

SPRAYER, OTHER = ip_address("203.0.113.66"), ip_address("203.0.113.67")
SIX, NEIGHBOUR, ELSEWHERE = (ip_address(f"2001:db8:{text}") for text in ("1::1", "1::2", "1:1::1"))


def sprays(bars: Bars, now: float, packets: int = SUSPECT_PACKETS) -> list[bool]:
    return [bars.note(SPRAYER, now) for _ in range(packets)]


def test_a_few_packets_bar_their_source_and_nobody_else_for_a_while() -> None:
    bars = Bars()
    assert sprays(bars, 0.0) == [False, False, True]
    assert bars.has(SPRAYER, BARRED_S - 0.1)
    assert not bars.has(OTHER, 0.0)
    assert not bars.has(SPRAYER, BARRED_S)


def test_who_was_barred_before_is_so_again_by_one_packet() -> None:
    bars = Bars()
    sprays(bars, 0.0)
    assert sprays(bars, BARRED_S + 1.0, 2) == [True, False]
    assert bars.has(SPRAYER, 2 * BARRED_S)


def test_a_stray_packet_now_and_then_bars_nobody() -> None:
    bars = Bars()
    for n in range(20):
        assert not bars.note(SPRAYER, n * (SUSPECT_S / 2 + 0.1))
        assert not bars.has(SPRAYER, n * (SUSPECT_S / 2 + 0.1))


def test_a_host_of_ipv6_has_all_addresses_of_its_network() -> None:
    bars = Bars()
    for ip in (SIX, NEIGHBOUR, SIX):
        bars.note(ip, 0.0)
    assert bars.has(NEIGHBOUR, 0.0)
    assert not bars.has(ELSEWHERE, 0.0)


def test_forged_sources_fill_no_memory_and_who_goes_on_is_barred_all_the_same() -> None:
    bars = Bars()
    for n in range(4 * MOST):
        bars.note(ip_address(0x0A000000 + n), n * 0.001)
        if n % 100 == 0:
            bars.note(SPRAYER, n * 0.001)
    assert bars.has(SPRAYER, 2.0)
    assert sum(bars.has(ip_address(0x0A000000 + n), 2.0) for n in range(4 * MOST)) == 0
