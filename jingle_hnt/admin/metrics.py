"""Metrics for Prometheus, and whether we live and are ready, over HTTP.

Every series exists from the start, at 0; none is labelled with a user, a session or an address.
Counters move when things happen; gauges are read when somebody asks, and cost nothing otherwise.
"""

import threading
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info
from prometheus_client import make_wsgi_app as metrics_app

from jingle_hnt.model.address import IPAddress
from jingle_hnt.relay.evidence import Rung
from jingle_hnt.relay.ports import PortCounts
from jingle_hnt.session.effects import Why
from jingle_hnt.session.table import State

LATCH_BUCKETS = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class Metrics:
    """All series. The methods and attributes are for the event loop; a scrape is in a thread."""

    def __init__(self, version: str) -> None:
        self.registry = CollectorRegistry()
        Info("jingle_hnt_build", "What runs.", registry=self.registry).info({"version": version})
        self.calls = self._gauge("calls", "Calls by state.", ["state"])
        self.ports = self._gauge("ports", "Media ports by state.", ["state"])
        self.link_up = self._gauge("link_up", "Whether the XMPP server has accepted us.")
        self.plane_up = self._gauge("plane_up", "Whether the forwarding plane is connected.")
        self.journal_healthy = self._gauge("journal_healthy", "Whether the journal can be written.")
        self._ended = self._counter("calls_ended", "Ended calls by reason.", ["why"])
        self._refused = self._counter("requests_refused", "Refused requests.", ["condition"])
        self._latched = self._counter("latches", "Latches by rung and kind.", ["rung", "kind"])
        self._rivals = self._counter("rivalries", "Rival sources that were told of.")
        self._links = self._counter("link_losses", "Times that the XMPP stream was lost.")
        self._planes = self._counter("plane_losses", "Times that the plane was lost.")
        self._latch_s = Histogram(
            "jingle_hnt_latch_seconds",
            "From arming a latch to its first packet.",
            buckets=LATCH_BUCKETS,
            registry=self.registry,
        )
        for why in Why:
            self._ended.labels(why.value)
        for rung in Rung:
            for kind in ("first", "again"):
                self._latched.labels(rung.value, kind)
        for condition in ("bad-request", "forbidden", "resource-constraint", "unexpected-request"):
            self._refused.labels(condition)

    def watch(
        self,
        states: Callable[[State], int],
        ports: Callable[[], PortCounts],
        link_up: Callable[[], bool],
        plane_up: Callable[[], bool],
        journal_healthy: Callable[[], bool],
    ) -> None:
        """Say where the gauges are read, each from any thread."""
        for state in (State.PENDING, State.ACTIVE):
            self.calls.labels(state.value).set_function(partial(states, state))
        for name in ("free", "leased", "quarantined", "shunned"):
            self.ports.labels(name).set_function(partial(_ports_in, ports, name))
        self.link_up.set_function(link_up)
        self.plane_up.set_function(plane_up)
        self.journal_healthy.set_function(journal_healthy)

    def ended(self, why: Why) -> None:
        """A call is over."""
        self._ended.labels(why.value).inc()

    def refused(self, condition: str) -> None:
        """A request was answered with this error condition."""
        self._refused.labels(condition).inc()

    def latched(self, rung: Rung, again: bool, after_s: float) -> None:
        """A source was learned."""
        self._latched.labels(rung.value, "again" if again else "first").inc()
        if not again:
            self._latch_s.observe(after_s)

    def rival(self) -> None:
        """A rival source was told of."""
        self._rivals.inc()

    def link_lost(self) -> None:
        """The XMPP stream is gone."""
        self._links.inc()

    def plane_lost(self) -> None:
        """The plane is gone."""
        self._planes.inc()

    def _gauge(self, name: str, text: str, labels: Iterable[str] = ()) -> Gauge:
        return Gauge(f"jingle_hnt_{name}", text, labels, registry=self.registry)

    def _counter(self, name: str, text: str, labels: Iterable[str] = ()) -> Counter:
        return Counter(f"jingle_hnt_{name}", text, labels, registry=self.registry)


class MetricsServer:
    """Serves ``/metrics``, ``/healthz`` and ``/readyz`` from a thread of its own.

    `ready` says whether a call that comes now would be relayed. Raises OSError where the address
    cannot be had.
    """

    def __init__(
        self, address: IPAddress, port: int, metrics: Metrics, ready: Callable[[], bool]
    ) -> None:
        self._server = make_server(
            str(address), port, application(metrics, ready), handler_class=_Quiet
        )
        self._thread = threading.Thread(
            target=self._server.serve_forever, name="metrics", daemon=True
        )
        self._thread.start()

    @property
    def port(self) -> int:
        """The port that is served; chosen by the system where 0 was asked for."""
        return int(self._server.server_address[1])

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def application(metrics: Metrics, ready: Callable[[], bool]) -> Application:
    """The three pages."""
    exposition = metrics_app(metrics.registry)

    def answer(environment: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        path = environment.get("PATH_INFO", "")
        if path == "/metrics":
            page: Iterable[bytes] = exposition(environment, start)
            return page
        known = {"/healthz": True, "/readyz": ready()} if path in ("/healthz", "/readyz") else {}
        if path not in known:
            start("404 Not Found", [("Content-Type", "text/plain")])
            return [b"there is /metrics, /healthz and /readyz\n"]
        start(
            "200 OK" if known[path] else "503 Service Unavailable", [("Content-Type", "text/plain")]
        )
        return [b"yes\n" if known[path] else b"no\n"]

    return answer


def _ports_in(ports: Callable[[], PortCounts], state: str) -> int:
    count: int = getattr(ports(), state)
    return count


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *arguments: object) -> None:
        """Scrapes are no news."""
