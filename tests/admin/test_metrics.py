"""Metrics: complete from the start, never going back, accepted by promtool, naming nobody."""

import asyncio
import json
import re
import subprocess
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.exposition import generate_latest as openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from prometheus_client.parser import text_string_to_metric_families as read_text

from jingle_hnt.admin.call_counters import CallCounters, Histogram, Traffic
from jingle_hnt.admin.http import MetricsServer
from jingle_hnt.admin.metrics import Metrics, Scrape
from jingle_hnt.admin.snapshots import PlaneSnapshot, PortsSnapshot, StatusSnapshot
from jingle_hnt.call.life import Why
from jingle_hnt.model.address import TransportAddress
from jingle_hnt.relay.binding import (
    BindingName,
    BindingSnapshot,
    Counters,
    Drained,
    Flow,
    PinholeSnapshot,
)
from jingle_hnt.relay.evidence import SourceAuth
from jingle_hnt.relay.latch import LatchState
from tests.jingle.stage import RELAY

ROOT = Path(__file__).parent.parent.parent
PLANE = PlaneSnapshot(up=True, engine="native", bindings=2, draining=0)
STATUS = StatusSnapshot(
    version="1.2.3",
    ready=True,
    uptime_s=5.0,
    connected=True,
    draining=False,
    journal_healthy=True,
    history_healthy=True,
    calls=1,
    tasks=4,
    plane=PLANE,
    ports=PortsSnapshot(free=996, leased=4, quarantined=0, shunned=0),
)


def scrape(call_counters: CallCounters | None = None, **status: Any) -> Scrape:
    changed = STATUS.model_copy(update=status)
    call_counters = CallCounters() if call_counters is None else call_counters
    return Scrape(changed, {"active": 1}, call_counters, {"a.example": True, "b.example": False})


def samples(shown: Scrape) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in Metrics(shown).collect()
        for sample in family.samples
    }


def pinhole(packets: int, **dropped: int) -> PinholeSnapshot:
    counters = Counters(received_packets=packets, **dropped)
    bound = TransportAddress(RELAY, 2000)
    return PinholeSnapshot(
        bound, LatchState.LATCHED, 0, None, None, None, None, Flow.OPEN, counters
    )


def binding(name: BindingName, packets: int, **dropped: int) -> BindingSnapshot:
    return BindingSnapshot(name, (pinhole(packets), pinhole(0, **dropped)), draining=False)


def test_every_series_is_there_from_the_start_and_no_other_comes() -> None:
    call_counters = CallCounters()
    before = samples(scrape(call_counters))
    call_counters.ended.update(why.value for why in Why)
    call_counters.refused.update(["resource-constraint", "bad-request"])
    call_counters.latches.update([(source_auth.value, "again") for source_auth in SourceAuth])
    call_counters.setup.observe(3.0)
    call_counters.latch.observe(99.0)
    call_counters.traffic.seen([binding("s1.1.1", 10, dropped_rival=3)])
    after = samples(scrape(call_counters))
    assert before.keys() == after.keys()
    assert sum(before.values()) < sum(after.values())
    assert after["jingle_hnt_calls_ended_total", frozenset({("why", "silence")})] == 1
    rival = frozenset({("component", "rtp"), ("reason", "rival")})
    assert after["jingle_hnt_dropped_packets_total", rival] == 3


def test_no_label_can_hold_a_user_or_an_address() -> None:
    labels = {label for _, pairs in samples(scrape()) for label, _ in pairs}
    assert labels == {
        *("version", "engine", "state", "why", "condition", "source_auth", "kind"),
        *("component", "direction", "reason", "le", "mode", "path", "outcome", "budget"),
        "domain",  # of ours, as the configuration names them
    }


def test_the_module_of_each_domain_is_told() -> None:
    shown = samples(scrape())
    up = {d: shown["jingle_hnt_module_up", frozenset({("domain", f"{d}.example")})] for d in "ab"}
    assert up == {"a": 1, "b": 0}


def test_both_formats_can_be_read_back() -> None:
    registry = CollectorRegistry()
    registry.register(Metrics(scrape()))
    text = openmetrics(registry).decode()  # type: ignore[no-untyped-call]
    read = list(text_string_to_metric_families(text))  # type: ignore[no-untyped-call]
    assert len(read) == len(list(Metrics(scrape()).collect()))


def test_traffic_never_goes_back() -> None:
    traffic = Traffic()
    rtp = "received_packets", 1
    traffic.seen([binding("s1.1.1", 10), binding("s1.1.2", 1)], every=True)
    assert traffic.total()[rtp] == 10
    last = binding("s1.1.1", 12)
    traffic.drained(Drained("s1.1.1", last.pinholes))
    assert traffic.total()[rtp] == 12
    traffic.seen([binding("s1.1.1", 12)])  # asked before the end, read after it
    assert traffic.total()[rtp] == 12
    traffic.seen([binding("s2.1.1", 5)], every=True)
    assert traffic.total()[rtp] == 17
    assert traffic.total()["received_packets", 2] == 1
    traffic.plane_is_new()
    traffic.seen([binding("s2.1.1", 2)], every=True)
    assert traffic.total()[rtp] == 19


def test_an_observation_on_a_bound_belongs_to_it() -> None:
    histogram = Histogram((1.0, 2.0))
    for value in (0.5, 1.0, 1.5, 7.0):
        histogram.observe(value)
    assert histogram.buckets() == [("1.0", 2.0), ("2.0", 3.0), ("+Inf", 4.0)]
    assert histogram.sum == 10.0


shown = {"now": scrape()}


@pytest.fixture
async def server() -> AsyncIterator[MetricsServer]:
    async def ask() -> Scrape:
        found = shown["now"]
        if found.status.version == "broken":
            raise RuntimeError("broken")
        return found

    server = MetricsServer("127.0.0.1", 0, ask)
    yield server
    await server.close()
    shown["now"] = scrape()


async def page(server: MetricsServer, path: str, method: str = "GET") -> tuple[int, str, str]:
    def fetched() -> tuple[int, str, str]:
        url = f"http://127.0.0.1:{server.port}{path}"
        try:
            with urllib.request.urlopen(urllib.request.Request(url, method=method)) as answer:
                return answer.status, answer.headers["Content-Type"], answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.headers["Content-Type"], error.read().decode()

    return await asyncio.to_thread(fetched)


async def test_metrics_are_served(server: MetricsServer) -> None:
    status, kind, text = await page(server, "/metrics")
    assert status == 200
    assert kind.startswith("text/plain")
    families = {family.name: family for family in read_text(text)}
    (built,) = families["jingle_hnt_build_info"].samples
    assert built.labels == {"version": "1.2.3", "engine": "native"}


NOT_CONNECTED = "the XMPP server is not connected as hnt.b: no secret"
DOWN = {"ready": False, "not_ready": ("draining", NOT_CONNECTED)}


@pytest.mark.parametrize(
    ("changes", "path", "status", "part"),
    [
        ({}, "/healthz", 200, "ok"),
        ({}, "/readyz", 200, "ready"),
        (DOWN, "/readyz", 503, f"draining; {NOT_CONNECTED}"),
        (DOWN, "/healthz", 200, "ok"),
        ({"version": "broken"}, "/healthz", 503, "does not answer"),
        ({}, "/", 404, "/metrics"),
    ],
)
async def test_probes(
    server: MetricsServer, changes: dict[str, Any], path: str, status: int, part: str
) -> None:
    shown["now"] = scrape(**changes)
    found, _, text = await page(server, path)
    assert found == status
    assert part in text


async def test_nothing_can_be_sent_to_it(server: MetricsServer) -> None:
    status, _, _ = await page(server, "/metrics", "POST")
    assert status == 405


def promtool(*arguments: str, text: str | None = None) -> None:
    done = subprocess.run(
        ["promtool", *arguments], input=text, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


async def test_promtool_finds_nothing_to_say_of_the_metrics(server: MetricsServer) -> None:
    _, _, text = await page(server, "/metrics")
    promtool("check", "metrics", text=text)


def test_the_alert_rules_fire_when_they_should() -> None:
    promtool("check", "rules", str(ROOT / "config/prometheus/alerts.yml"))
    promtool("test", "rules", str(ROOT / "config/prometheus/alerts_test.yml"))


def test_each_alert_is_seen_to_fire_and_to_stay_silent() -> None:
    rules = (ROOT / "config/prometheus/alerts.yml").read_text()
    text = (ROOT / "config/prometheus/alerts_test.yml").read_text()
    fired = re.findall(r"alertname: (\w+)\n +exp_alerts:\n", text)
    silent = re.findall(r"alertname: (\w+)\n +exp_alerts: \[\]", text)
    assert sorted(fired) == sorted(silent) == sorted(re.findall(r"alert: (\w+)", rules))


def test_board_and_rules_name_series_that_exist() -> None:
    known = {name for name, _ in samples(scrape())}
    board = json.loads((ROOT / "config/grafana/jingle-hnt.json").read_text())
    queries = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    rules = (ROOT / "config/prometheus/alerts.yml").read_text()
    named = set(re.findall(r"jingle_hnt_\w+", " ".join([*queries, rules])))
    assert named
    assert named <= known
