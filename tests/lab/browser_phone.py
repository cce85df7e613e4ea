"""A phone for the lab that is a real browser: stanza.js in headless Chromium or Firefox.

It serves the page of `tests/lab/browser` to the browser at localhost, which browsers trust with a
camera without TLS, and passes commands and events on between the page and whoever drives it: JSON
lines, as `caller.py` has them. Camera and microphone are those that both browsers have for tests.
"""

import argparse
import asyncio
import contextlib
import json
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path

from tests.lab.caller import say

PAGE = Path(__file__).parent / "browser"
BUNDLE = PAGE / "bundle.js"
PROGRAMS = {"chromium": "chromium", "firefox": "firefox-esr"}
PORTS = {"websocket": "ws://{server}:5280/xmpp-websocket", "bosh": "http://{server}:5280/http-bind"}

# What it would fetch, ask or show at a first start is off; the camera is a fake one, and granted.
_FIREFOX = {
    "media.navigator.streams.fake": True,
    "media.navigator.permission.disabled": True,
    "media.autoplay.default": 0,
    "media.gmp-manager.updateEnabled": False,
    "app.normandy.enabled": False,
    "app.update.enabled": False,
    "browser.aboutwelcome.enabled": False,
    "browser.safebrowsing.malware.enabled": False,
    "browser.safebrowsing.phishing.enabled": False,
    "browser.shell.checkDefaultBrowser": False,
    "browser.startup.homepage_override.mstone": "ignore",
    "browser.startup.page": 0,
    "datareporting.policy.dataSubmissionEnabled": False,
    "dom.ipc.processPrelaunch.enabled": False,
    "extensions.update.enabled": False,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "services.settings.server": "http://localhost:1/",
    "toolkit.telemetry.enabled": False,
}
_CHROMIUM = [
    "--headless=new",
    "--no-sandbox",  # root has none
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--mute-audio",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
]


def missing(engines: tuple[str, ...] = tuple(PROGRAMS)) -> str:
    """Why there can be no such phones here; empty where there can."""
    for engine in engines:
        if shutil.which(PROGRAMS[engine]) is None:
            return f"{PROGRAMS[engine]} is not installed; scripts/browsers setup does it on Debian"
    if not BUNDLE.exists():
        return "the page of the browser phone is not built; scripts/browsers setup does it"
    return ""


class BrowserPhone:
    """One browser with one page, one user, one call at a time."""

    def __init__(self, options: argparse.Namespace, home: Path) -> None:
        self.options = options
        self.home = home
        self._commands: asyncio.Queue[str] = asyncio.Queue()
        self._serving: set[asyncio.Task[None] | None] = set()

    async def run(self) -> None:
        """Serve the page, run the browser, obey; until told to quit."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        with (self.home / "output").open("wb") as output:
            browser = await asyncio.create_subprocess_exec(
                *self._command(f"http://localhost:{port}/"),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, "HOME": str(self.home), "XDG_RUNTIME_DIR": str(self.home)},
                start_new_session=True,  # what it starts is ended with it
            )
        obeying = asyncio.create_task(self._obey())
        ending = asyncio.create_task(browser.wait())
        try:
            await asyncio.wait({obeying, ending}, return_when=asyncio.FIRST_COMPLETED)
            if ending.done():
                end = (self.home / "output").read_text(errors="replace")[-2000:]
                say("failed", what="browser", why=f"it ended: {end}")
        finally:
            obeying.cancel()
            with contextlib.suppress(ProcessLookupError):
                os.killpg(browser.pid, signal.SIGKILL)
            await ending
            self._commands.put_nowait("")
            server.close()
            await asyncio.gather(*filter(None, self._serving))

    def _command(self, url: str) -> list[str]:
        # Where we are killed, it ends as well.
        command = ["setpriv", "--pdeathsig", "KILL", PROGRAMS[self.options.engine]]
        if self.options.engine == "chromium":
            return [*command, *_CHROMIUM, f"--user-data-dir={self.home}", url]
        lines = [f"user_pref({json.dumps(k)}, {json.dumps(v)});" for k, v in _FIREFOX.items()]
        (self.home / "user.js").write_text("\n".join(lines) + "\n")
        return [*command, "--headless", "--no-remote", "--profile", str(self.home), url]

    async def _obey(self) -> None:
        reader = asyncio.StreamReader()
        loop = asyncio.get_running_loop()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        while line := await reader.readline():
            if json.loads(line)["do"] == "quit":
                return
            self._commands.put_nowait(line.decode().strip())

    # HTTP: as much of it as our own page needs

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._serving.add(asyncio.current_task())
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                request, *fields = head.lower().splitlines()
                length = next((f for f in fields if f.startswith("content-length:")), ":0")
                body = await reader.readexactly(int(length.partition(":")[2]))
                await self._answer(request.split()[1], body, writer)
        writer.close()

    async def _answer(self, path: str, body: bytes, writer: asyncio.StreamWriter) -> None:
        match path:
            case "/":
                _write(writer, "text/html", (PAGE / "phone.html").read_bytes())
            case "/bundle.js":
                _write(writer, "text/javascript", BUNDLE.read_bytes())
            case "/options":
                told = ("jid", "password", "over")
                options = {name: getattr(self.options, name) for name in told}
                server = self.options.server.rpartition(":")[0]
                options["url"] = PORTS[self.options.over].format(server=server)
                _write(writer, "application/json", json.dumps(options).encode())
            case "/said":
                said = json.loads(body)
                say(said.pop("event"), **said)
                _write(writer, "text/plain", b"")
            case "/commands":
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
                while command := await self._commands.get():
                    writer.write(f"data: {command}\n\n".encode())
                    await writer.drain()
            case _:
                writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")


def _write(writer: asyncio.StreamWriter, kind: str, body: bytes) -> None:
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)


def main() -> None:
    """Run until told to quit, or until standard input ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jid", required=True)
    parser.add_argument("--password", default="secret")
    parser.add_argument("--server", required=True, help="IP:PORT of its clients' port")
    parser.add_argument("--address", help="not needed: the browser knows its own")
    parser.add_argument("--port", help="not needed")
    parser.add_argument("--engine", choices=PROGRAMS, required=True)
    parser.add_argument("--over", choices=PORTS, default="websocket")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hnt-browser-", ignore_cleanup_errors=True) as home:
        asyncio.run(BrowserPhone(options, Path(home)).run())


if __name__ == "__main__":
    main()
