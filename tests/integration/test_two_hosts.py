"""Two whole hosts that connect as one component: each names the other, calls that go on do not
notice, and when one ends the other relays as before."""

import asyncio
import socket
from collections.abc import Sequence

import pytest

from tests.lab.play import COMPONENT, Commands, Relay, Stage, in_a_call, stage
from tests.lab.world import RELAY

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

OTHER, OTHERS_NAME = "203.0.113.10", "relay2"


class Named:
    """Runs commands on a host that has a name of its own."""

    def __init__(self, lab: Commands) -> None:
        self._lab = lab

    def command(self, node: str, arguments: Sequence[str]) -> list[str]:
        named = ["unshare", "--uts", "sh", "-c", 'hostname "$0" && exec "$@"', OTHERS_NAME]
        return self._lab.command(node, [*named, *arguments])


def second(at: Stage) -> Relay:
    """Another host with a copy of the configuration, as who moves a service makes one."""
    at.lab.public(OTHERS_NAME, OTHER)
    directory = at.relay.directory / "other"
    directory.mkdir()
    text = (at.relay.directory / "jingle-hnt.toml").read_text()
    text = text.replace(RELAY, OTHER).replace(str(at.relay.directory), str(directory))
    (directory / "jingle-hnt.toml").write_text(text)
    (directory / "secret").write_text((at.relay.directory / "secret").read_text())
    return Relay(Named(at.lab), directory, OTHERS_NAME)


async def said_of_another(relay: Relay) -> str:
    """What `check` says of a second instance; empty where it says nothing."""
    found = (await relay.ask("check"))["findings"]
    named = [f["text"] for f in found if f["subject"] == f"second instance of {COMPONENT}"]
    return named[0] if named else ""


async def test_each_of_two_hosts_names_the_other_until_one_is_ended() -> None:
    async with stage() as at:
        alice, bob = await in_a_call(at)
        other = second(at)
        try:
            await other.start(until=lambda status: True)
            texts = ["", ""]
            for _ in range(200):
                texts = [await said_of_another(relay) for relay in (at.relay, other)]
                if all("on host" in text for text in texts):
                    break
                await asyncio.sleep(0.2)
            assert f"another jingle-hnt on host {OTHERS_NAME} connects as {COMPONENT}" in texts[0]
            assert f"another jingle-hnt on host {socket.gethostname()[:64]} connects" in texts[1]
            for text in texts:
                assert "end one of the two, or give it a component of its own" in text
            for party in (alice, bob):
                await party.hears(50)
        finally:
            await other.stop()
        await at.relay.until(lambda status: status["ready"])
        assert (await at.relay.status())["replacements"] >= 2
        alice.tell("hangup")
        await at.relay.until(lambda answer: len(answer["calls"]) == 1, command="history")
        after = len(alice.events)
        alice.tell("call", to=bob.jid)
        await alice.expect("accepted", after=after)
        (call,) = await at.relay.calls()
        assert call["contents"][0]["relayed"]
