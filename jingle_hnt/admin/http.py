"""The HTTP listener for metrics and probes, on threads of its own.

``/metrics`` is for Prometheus, ``/healthz`` tells that the process answers, ``/readyz`` whether a
call that comes now would be relayed. Nothing can be changed through it, and nothing in it names a
user; it listens where the operator says, on the loopback address by preference.
"""

import asyncio
import io
import socket
import sys
import threading
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import Future
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import structlog
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from jingle_hnt.admin.metrics import Metrics, Scrape

log = structlog.get_logger(__name__)

ANSWER_S = 5.0
"""How long the event loop may take before the process counts as not healthy."""

IDLE_S = 10.0
"""A connection that says nothing for this long is closed."""

Environ = dict[str, Any]
Page = tuple[str, str, bytes]
GIVEN_UP = "a client of the metrics is disconnected"
PLAIN = "text/plain; charset=utf-8"


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A reader that goes away or is too slow: one line, as of all that others can provoke."""
        log.warning(GIVEN_UP, why=repr(sys.exception()))


class _Server6(_Server):
    address_family = socket.AF_INET6


class _OneLine(io.StringIO):
    """A stream for wsgiref's tracebacks, of which only the last line is logged."""

    def flush(self) -> None:
        told = self.getvalue().strip().splitlines()
        self.truncate(0)
        if told:
            log.warning(GIVEN_UP, why=told[-1])


class _Handler(WSGIRequestHandler):
    timeout = IDLE_S

    def get_stderr(self) -> io.StringIO:
        """For one request."""
        return _OneLine()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: a scrape every few seconds is no news."""


class MetricsServer:
    """Serves what `scrape`, called in the present event loop, returns. `close` it at the end."""

    def __init__(self, host: str, port: int, scrape: Callable[[], Awaitable[Scrape]]) -> None:
        self._scrape = scrape
        self._loop = asyncio.get_running_loop()
        kind = _Server6 if ":" in host else _Server
        self._server = make_server(host, port, self._answer, kind, _Handler)
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, name="metrics", daemon=True).start()
        log.info("metrics are served", listen=f"{host}:{self.port}")

    async def close(self) -> None:
        """Stop listening."""
        await asyncio.to_thread(self._server.shutdown)
        self._server.server_close()

    def _answer(self, environ: Environ, start: Callable[..., Any]) -> Iterable[bytes]:
        status, kind, body = self._page(environ)
        start(status, [("Content-Type", kind), ("Content-Length", str(len(body)))])
        return [b"" if environ["REQUEST_METHOD"] == "HEAD" else body]

    def _page(self, environ: Environ) -> Page:
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            return "405 Method Not Allowed", PLAIN, b"only GET\n"
        path = environ.get("PATH_INFO")
        if path not in ("/metrics", "/healthz", "/readyz"):
            return "404 Not Found", PLAIN, b"/metrics, /healthz, /readyz\n"
        scrape = self._asked()
        if scrape is None:
            return "503 Service Unavailable", PLAIN, b"the process does not answer\n"
        if path == "/healthz":
            return "200 OK", PLAIN, b"ok\n"
        if path == "/readyz":
            return _readiness(scrape)
        return _exposition(scrape, str(environ.get("HTTP_ACCEPT", "")))

    def _asked(self) -> Scrape | None:
        async def ask() -> Scrape:
            return await self._scrape()

        future: Future[Scrape] = asyncio.run_coroutine_threadsafe(ask(), self._loop)
        try:
            return future.result(ANSWER_S)
        except Exception as error:
            future.cancel()
            log.error("metrics cannot be collected", why=repr(error))
            return None


def _readiness(scrape: Scrape) -> Page:
    status = scrape.status
    if status.ready:
        return "200 OK", PLAIN, b"ready\n"
    return "503 Service Unavailable", PLAIN, ("; ".join(status.not_ready) + "\n").encode()


def _exposition(scrape: Scrape, accept: str) -> Page:
    registry = CollectorRegistry()
    registry.register(Metrics(scrape))
    encode, kind = choose_encoder(accept)
    return "200 OK", kind, encode(registry)
