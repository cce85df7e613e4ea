"""Metrics: every series from the start, no names of users in them, and the two health pages."""

import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from ipaddress import ip_address

import pytest

from jingle_hnt.admin.metrics import Metrics, MetricsServer
from jingle_hnt.relay.evidence import Rung
from jingle_hnt.relay.ports import PortCounts
from jingle_hnt.session.effects import Why
from jingle_hnt.session.table import State


class World:
    """What the gauges are read from."""

    def __init__(self) -> None:
        self.ready = False
        self.metrics = Metrics("1.2.3")
        self.metrics.watch(
            lambda state: 3 if state is State.ACTIVE else 0,
            lambda: PortCounts(free=90, leased=8, quarantined=2, shunned=0),
            lambda: self.ready,
            lambda: True,
            lambda: True,
        )
        self.server = MetricsServer(ip_address("127.0.0.1"), 0, self.metrics, lambda: self.ready)

    def page(self, path: str) -> tuple[int, str]:
        url = f"http://127.0.0.1:{self.server.port}{path}"
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def values(self) -> dict[str, float]:
        _, text = self.page("/metrics")
        lines = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
        return {name: float(value) for name, _, value in lines}


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.server.close()


def test_every_series_is_there_from_the_start(world: World) -> None:
    values = world.values()
    for why in Why:
        assert values[f'jingle_hnt_calls_ended_total{{why="{why}"}}'] == 0
    assert values['jingle_hnt_latches_total{kind="first",rung="R3"}'] == 0
    assert values["jingle_hnt_latch_seconds_count"] == 0
    assert values['jingle_hnt_build_info{version="1.2.3"}'] == 1


def test_what_happens_is_counted_and_what_is_is_read(world: World) -> None:
    metrics = world.metrics
    metrics.ended(Why.SILENCE)
    metrics.refused("resource-constraint")
    metrics.latched(Rung.R3, again=False, after_s=0.07)
    metrics.latched(Rung.R3, again=True, after_s=9.0)
    metrics.rival()
    metrics.link_lost()
    metrics.plane_lost()
    values = world.values()
    assert values['jingle_hnt_calls_ended_total{why="silence"}'] == 1
    assert values['jingle_hnt_requests_refused_total{condition="resource-constraint"}'] == 1
    assert values['jingle_hnt_latches_total{kind="again",rung="R3"}'] == 1
    assert values['jingle_hnt_latch_seconds_bucket{le="0.1"}'] == 1
    assert values["jingle_hnt_latch_seconds_count"] == 1
    for name in ("rivalries", "link_losses", "plane_losses"):
        assert values[f"jingle_hnt_{name}_total"] == 1
    assert values['jingle_hnt_calls{state="active"}'] == 3
    assert values['jingle_hnt_ports{state="free"}'] == 90
    assert (values["jingle_hnt_link_up"], values["jingle_hnt_plane_up"]) == (0, 1)


def test_no_label_could_name_a_user_or_an_address(world: World) -> None:
    _, text = world.page("/metrics")
    labels = set(re.findall(r'(\w+)="', text))
    assert labels <= {"state", "why", "condition", "rung", "kind", "le", "version"}


def test_health_and_readiness(world: World) -> None:
    assert world.page("/healthz") == (200, "yes\n")
    assert world.page("/readyz") == (503, "no\n")
    world.ready = True
    assert world.page("/readyz") == (200, "yes\n")
    assert world.page("/")[0] == 404
