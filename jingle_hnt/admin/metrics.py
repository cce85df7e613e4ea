"""Metrics for Prometheus: counted live, read at the scrape.

Every series is there at 0 from the start, in base units; no user, sid or address is a label.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from jingle_hnt.admin.call_counters import FIELDS, KINDS, CallCounters, Histogram
from jingle_hnt.admin.paths import CheckFailure, Path
from jingle_hnt.admin.snapshots import StatusSnapshot
from jingle_hnt.call.life import Why
from jingle_hnt.call.policy import IceMode
from jingle_hnt.errors import Condition
from jingle_hnt.jingle.budgets import COUNTED
from jingle_hnt.jingle.table import State
from jingle_hnt.relay.evidence import SourceAuth

PREFIX = "jingle_hnt_"
LIVE = (State.PENDING, State.ACTIVE)
DROPS = tuple(name.removeprefix("dropped_") for name in FIELDS if name.startswith("dropped_"))
CHECKS = tuple(name.removeprefix("checks_") for name in FIELDS if name.startswith("checks_"))
DIRECTIONS = {"in": "received", "out": "sent"}


@dataclass(frozen=True, slots=True)
class Scrape:
    """All that one scrape shows, taken at one moment.

    `calls` counts the live ones by state, `modules` tells of each domain whether its server module
    answers.
    """

    status: StatusSnapshot
    calls: Mapping[str, int]
    call_counters: CallCounters
    modules: Mapping[str, bool]


class Metrics(Collector):
    """Collects one scrape; made anew for each."""

    def __init__(self, scrape: Scrape) -> None:
        self._scrape = scrape

    def collect(self) -> Iterable[Metric]:
        """Every family, always with all of its series."""
        yield from self._state()
        yield from self._calls()
        yield from self._latches()
        yield from self._traffic()

    def _state(self) -> Iterator[Metric]:
        status = self._scrape.status
        built = GaugeMetricFamily(
            PREFIX + "build_info",
            "Always 1; the labels are version and engine.",
            labels=["version", "engine"],
        )
        built.add_metric([status.version, status.plane.engine or "none"], 1)
        yield built
        for name, text, value in (
            ("ready", "Whether a call that comes now would be relayed.", status.ready),
            ("connected", "Whether the XMPP server is connected.", status.connected),
            ("plane_up", "Whether the forwarding plane is connected.", status.plane.up),
            ("draining", "Whether the relay drains: new calls are not relayed.", status.draining),
            ("journal_healthy", "Whether live calls are recorded.", status.journal_healthy),
            ("history_healthy", "Whether ended calls are recorded.", status.history_healthy),
            ("uptime_seconds", "Age of the signalling process.", status.uptime_s),
        ):
            yield GaugeMetricFamily(PREFIX + name, text, value=float(value))
        modules = self._scrape.modules
        text = "Whether the domain's server module answers, or its users call by addresses."
        yield _gauge("module_up", text, "domain", modules, modules)
        ports = status.ports.model_dump()
        yield _gauge("ports", "Media ports by state.", "state", ports, ports)
        bindings = {"live": status.plane.bindings, "draining": status.plane.draining}
        yield _gauge("bindings", "The plane's bindings by state.", "state", bindings, bindings)
        call_counters = self._scrape.call_counters
        yield _total(
            "connections", "Connections to XMPP servers since the start.", call_counters.connections
        )
        text = "Times that another process of the same component took the connection."
        yield _total("component_replacements", text, status.replacements)
        yield _total(
            "planes", "Connections to a forwarding plane since the start.", call_counters.planes
        )

    def _calls(self) -> Iterator[Metric]:
        call_counters = self._scrape.call_counters
        yield _gauge("calls", "Live calls, by state.", "state", LIVE, self._scrape.calls)
        text = "Calls that were accepted, counted at their end."
        yield _total("calls_accepted", text, call_counters.accepted)
        yield _totals(
            "calls_ended", "Calls that ended, by reason.", "why", Why, call_counters.ended
        )
        text = "Requests that were refused, by the XMPP error condition."
        yield _totals("refused", text, "condition", Condition, call_counters.refused)
        text = "Requests that exceeded a budget, by the budget's name."
        names = [budget.name for budget in COUNTED]
        yield _totals("budget_exceeded", text, "budget", names, call_counters.exceeded)
        text = "Accepted calls in which RTP of one party only was heard."
        yield _total("calls_one_way", text, call_counters.one_way)
        text = "Relayed calls of 5 s or more in which no party was heard."
        yield _total("calls_unheard", text, call_counters.unheard)
        yield _histogram(
            "setup_seconds", "Seconds from the offer of a call to its accept.", call_counters.setup
        )

    def _latches(self) -> Iterator[Metric]:
        call_counters = self._scrape.call_counters
        family = CounterMetricFamily(
            PREFIX + "latches",
            "Sources that latches learned, by source authentication; first or again.",
            labels=["source_auth", "kind"],
        )
        for source_auth in SourceAuth:
            for kind in ("first", "again"):
                family.add_metric(
                    [source_auth, kind], call_counters.latches[source_auth.value, kind]
                )
        yield family
        family = CounterMetricFamily(
            PREFIX + "ice_paths",
            "ICE contents by mode and selected pair, counted at the end of the call.",
            labels=["mode", "path"],
        )
        for ice in (IceMode.APPEND, IceMode.TERMINATE):
            for path in Path:
                family.add_metric([ice, path], call_counters.paths[ice.value, path.value])
        yield family
        text = "ICE agents without a pair with the relay, by reason, counted at the call's end."
        failures = call_counters.check_failures
        yield _totals("ice_check_failures", text, "why", CheckFailure, failures)
        total = call_counters.traffic.total()
        text = "Connectivity checks of the relay, where it terminates ICE, by outcome."
        checks = {each: float(sum(total[f"checks_{each}", n] for n in KINDS)) for each in CHECKS}
        yield _totals("ice_checks", text, "outcome", CHECKS, checks)
        yield _total(
            "rivalries", "Times that two sources competed for a latch.", call_counters.rivalries
        )
        text = "Sources barred for sending to ports that were not advertised to anybody."
        yield _total("barred_sources", text, call_counters.barred)
        yield _histogram(
            "latch_seconds",
            "Seconds from arming a latch to its first accepted source.",
            call_counters.latch,
        )

    def _traffic(self) -> Iterator[Metric]:
        total = self._scrape.call_counters.traffic.total()
        for unit in ("packets", "bytes"):
            family = CounterMetricFamily(
                PREFIX + unit,
                f"{unit.capitalize()} by port and direction; RTP ports count STUN and DTLS too.",
                labels=["component", "direction"],
            )
            for number, kind in KINDS.items():
                for direction, field in DIRECTIONS.items():
                    family.add_metric([kind, direction], total[f"{field}_{unit}", number])
            yield family
        family = CounterMetricFamily(
            PREFIX + "dropped_packets",
            "Packets that were dropped, by reason.",
            labels=["component", "reason"],
        )
        for number, kind in KINDS.items():
            for reason in DROPS:
                family.add_metric([kind, reason], total[f"dropped_{reason}", number])
        yield family


def _total(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(PREFIX + name, text, value=value)


def _totals(
    name: str, text: str, label: str, known: Iterable[str], counts: Mapping[str, float]
) -> Metric:
    family = CounterMetricFamily(PREFIX + name, text, labels=[label])
    for value in known:
        family.add_metric([value], counts.get(value, 0))
    return family


def _gauge(
    name: str, text: str, label: str, known: Iterable[str], counts: Mapping[str, int]
) -> Metric:
    family = GaugeMetricFamily(PREFIX + name, text, labels=[label])
    for value in known:
        family.add_metric([value], counts.get(value, 0))
    return family


def _histogram(name: str, text: str, histogram: Histogram) -> Metric:
    family = HistogramMetricFamily(PREFIX + name, text)
    family.add_metric([], buckets=histogram.buckets(), sum_value=histogram.sum)
    return family
