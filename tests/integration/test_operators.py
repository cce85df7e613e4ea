"""What an operator sees of real calls: the commands as they are typed, and what they leave."""

import asyncio
import json
import re
import signal
import sys
from typing import Any

import pytest

from tests.integration.test_explain import callee_of_whom
from tests.integration.test_nat_calls import hang_up
from tests.lab.play import PATIENCE_S, ROOT, Stage, stage
from tests.lab.world import RELAY, NatKind

ELSEWHERE = "203.0.113.77"
LIMITS = "[limits]\nper_user = 3\n"
ENDED = 'jingle_hnt_calls_ended_total{why="terminated"} '

pytestmark = pytest.mark.integration


async def typed(at: Stage, *words: str, status: int = 0) -> str:
    """The output of a command, on the relay's host."""
    configuration = str(at.relay.directory / "jingle-hnt.toml")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "jingle_hnt", *words, "--config", configuration),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin"},
    )
    output, _ = await process.communicate()
    assert process.returncode == status, output.decode()
    return output.decode()


async def told(at: Stage, *words: str) -> Any:
    return json.loads(await typed(at, *words, "--json"))


async def test_an_operator_follows_a_call_from_its_start_to_its_report() -> None:
    async with stage() as at:
        alice = await at.phone("alice", NatKind.PORT_RESTRICTED)
        bob = await at.phone("bob", NatKind.SYMMETRIC)
        alice.tell("call", to=bob.jid)
        await alice.expect("accepted")
        for phone in (alice, bob):
            await phone.hears(1, component="rtcp")
        table = await typed(at, "top", "--once")
        assert "calls: 1, in trouble: 0" in table
        assert "alice@example.org > bob@example.org" in table
        assert "alice@example.org > bob@example.org" in await typed(at, "calls")
        name = (await told(at, "calls"))["calls"][0]["call"]
        in_full = await typed(at, "call", name[:7])
        assert "signalling-address" in in_full
        for text in (in_full, await typed(at, "call", name, "--json")):
            assert re.search(r"198\.51\.100\.x", text)
            assert not re.search(r"198\.51\.100\.\d", text)
        assert "learned 198.51.100." in await typed(at, "call", name, "--addresses")
        assert "Nothing is wrong" in await typed(at, "explain", name)
        assert "calls left: 1" in await typed(at, "drain", "--announce", "Update at <nine>")
        for phone in (alice, bob):
            await phone.expect("stanza", lambda e: "Update at &lt;nine&gt;" in e["xml"])
        assert len((await told(at, "calls"))["calls"]) == 1
        await hang_up(alice, bob)
        (report,) = (await told(at, "history"))["calls"]
        assert report["why"] == "terminated"
        assert report["counted"]
        assert report["diagnosis"] == []
        rtp = report["call"]["contents"][0]["components"][0]["legs"]
        assert all(leg["received_packets"] > 50 for leg in rtp)
        assert all(0 <= leg["latched_after_s"] < 5 for leg in rtp)
        assert at.relay.log_text().count("call ended") == 1
        assert "answered 1, in trouble 0" in await typed(at, "report")
        day = at.relay.directory / "day.html"
        await typed(at, "report", "--html", str(day))
        assert "<b>1</b>" in day.read_text()
        stats = await told(at, "stats")
        assert stats["ended"] == {"terminated": 1}
        assert stats["received_packets"]["rtp"] >= sum(leg["received_packets"] for leg in rtp)


async def test_alice_could_not_call_and_the_operator_can_say_why() -> None:
    """A limit, a block and a drain, each refused with real stanzas and asked about by her name."""
    extra = "[limits]\nper_user = 1\n"
    async with stage(extra=extra, relay_extra='draining = "refuse"') as at:
        alice = await at.phone("alice", NatKind.PORT_RESTRICTED)
        bob = await at.phone("bob", NatKind.SYMMETRIC)
        alice.tell("call", to=bob.jid)
        await alice.expect("accepted")

        async def refused(why: str, condition: str) -> str:
            before = len(alice.events)
            alice.tell("call", to=f"{bob.jid}")
            await alice.expect("stanza", lambda e: condition in e["xml"], after=before)
            found = await at.relay.ask("explain", call="alice@example.org", at="0m")
            assert found["diagnosis"][0]["text"] == why
            return str(found["refused"]["told"])

        told_her = await refused("a limit of calls was reached: limits.per_user", "constraint")
        said = await typed(at, "explain", "alice@example.org", "--at", "0m")
        assert f"{alice.jid} could not call {bob.jid}" in said
        assert f"the caller was told: {told_her}" in said
        assert "jingle-hnt limits" in said
        await at.relay.ask("block", who="bob@example.org")
        await refused("an administrator has blocked bob@example.org", "forbidden")
        await at.relay.ask("unblock", who="bob@example.org")
        await at.relay.ask("drain")
        await refused("the relay was draining", "constraint")
        history = await typed(at, "history", "--party", "alice@example.org")
        for obstacle in ("limit limits.per_user", "block bob@example.org", "drain relay.draining"):
            assert obstacle in history
        found = await at.relay.ask("history")
        assert (len(found["calls"]), len(found["refused"])) == (0, 3)
        assert at.relay.log_text().count("call refused") == 3


async def test_a_call_that_was_made_while_we_were_away_is_told_of_when_we_are_back() -> None:
    async with stage() as at:
        alice = await at.phone("alice", NatKind.PORT_RESTRICTED)
        bob = await at.phone("bob", NatKind.SYMMETRIC)
        await at.relay.end("signalling")
        alice.tell("call", to=bob.jid)
        await alice.expect("accepted")
        await at.relay.start("signalling")
        found = await at.relay.until(lambda a: bool(a["refused"]), command="history")
        assert found["calls"] == []
        said = await typed(at, "explain", alice.jid)
        assert f"the call of {alice.jid} to {bob.jid} went on without the relay" in said
        assert "the XMPP server had no connection to jingle-hnt" in said
        await hang_up(alice, bob)


async def test_the_commands_of_the_troubleshooting_page_answer_during_a_call() -> None:
    page = (ROOT / "docs" / "troubleshooting.md").read_text()
    lines = list(dict.fromkeys(re.findall(r"^\$ jingle-hnt (.*)$", page, re.M)))
    assert len(lines) >= 10
    async with stage() as at:
        alice = await at.phone("alice", NatKind.PORT_RESTRICTED)
        bob = await at.phone("bob", NatKind.SYMMETRIC)
        alice.tell("call", to=bob.jid)
        await alice.expect("accepted")
        (call,) = await at.relay.calls()
        for line in lines:
            words = line.replace("NAME", call["sid"]).split()
            words += ["--config", str(at.relay.directory / "jingle-hnt.toml")]
            process = await asyncio.create_subprocess_exec(
                *at.lab.command("relay", [sys.executable, "-m", "jingle_hnt", *words]),
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                cwd=ROOT,
            )
            output, errors = await process.communicate()
            assert (process.returncode, errors) == (0, b""), (line, output, errors)
            assert output.strip(), line
        await hang_up(alice, bob)


async def fetched(at: Stage, path: str) -> str:
    """A page of the metrics listener, which is on the relay's own loopback address."""
    url = f"http://127.0.0.1:9399{path}"
    code = f"import urllib.request as u; print(u.urlopen('{url}').read().decode())"
    process = await asyncio.create_subprocess_exec(
        *at.lab.command("relay", [sys.executable, "-c", code]), stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    return output.decode()


async def test_metrics_follow_calls_and_never_go_back() -> None:
    async with stage(extra='[metrics]\nlisten = "127.0.0.1:9399"\n') as at:
        assert ENDED + "0.0" in await fetched(at, "/metrics")
        assert await fetched(at, "/readyz") == "ready\n\n"
        alice = await at.phone("alice", NatKind.PORT_RESTRICTED)
        bob = await at.phone("bob", NatKind.SYMMETRIC)
        alice.tell("call", to=bob.jid)
        await alice.expect("accepted")
        seen = [await more_packets(at, than=0.0)]
        seen.append(await more_packets(at, than=seen[-1]))
        await at.relay.end("plane")
        await at.relay.start("plane")
        seen.append(packets_in(await fetched(at, "/metrics")))
        seen.append(await more_packets(at, than=seen[-1]))
        await hang_up(alice, bob)
        await at.relay.until(lambda status: status["plane"]["bindings"] == 0)
        async with asyncio.timeout(PATIENCE_S):
            while ENDED + "1.0" not in (text := await fetched(at, "/metrics")):  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        seen.append(packets_in(text))
        assert seen == sorted(seen)
        assert "jingle_hnt_planes_total 2.0" in text
        assert "alice" not in text
        at.relay.processes["signalling"].send_signal(signal.SIGHUP)
        async with asyncio.timeout(20):
            while "configuration is reloaded" not in at.relay.log_text():  # noqa: ASYNC110
                await asyncio.sleep(0.05)


async def more_packets(at: Stage, than: float) -> float:
    """Wait until the metrics tell of more RTP than that."""
    async with asyncio.timeout(PATIENCE_S):
        while (count := packets_in(await fetched(at, "/metrics"))) <= than:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    return count


def packets_in(text: str) -> float:
    (found,) = re.findall(r'jingle_hnt_packets_total\{component="rtp",direction="in"\} (\S+)', text)
    return float(found)


async def test_a_party_that_sends_nothing_is_named() -> None:
    async with stage() as at:
        alice = await at.phone("alice", NatKind.PORT_RESTRICTED)
        bob = await at.phone("bob", NatKind.PORT_RESTRICTED, "--mute")
        alice.tell("call", to=bob.jid)
        await alice.expect("accepted")
        await asyncio.sleep(6)
        name = (await told(at, "calls"))["calls"][0]["call"]
        live = await typed(at, "explain", name)
        assert "only alice@example.org/phone is heard: no audio of bob@example.org/phone" in live
        assert "one-way" in await typed(at, "top", "--once")
        await hang_up(alice, bob)
        over = await typed(at, "explain", name)
        assert "no audio of bob@example.org/phone" in over
        assert "terminated" in over


async def test_drain_block_reload_and_log_level_on_a_running_process() -> None:
    async with stage() as at:
        alice = await at.phone("alice", NatKind.PORT_RESTRICTED)
        bob = await at.phone("bob", NatKind.PORT_RESTRICTED)
        told_so = await typed(at, "drain", "--announce", "Back in a minute")
        assert "draining; calls left: 0" in told_so
        assert "draining           yes" in await typed(at, "status", status=1)
        await typed(at, "undrain")
        assert "alice@example.org" in await typed(at, "block", "alice@example.org")
        alice.tell("call", to=bob.jid)
        await alice.expect("stanza", lambda e: "forbidden" in e["xml"])
        assert (await told(at, "calls"))["calls"] == []
        assert (await told(at, "stats"))["refused"] == {"forbidden": 1}
        await typed(at, "unblock", "alice@example.org")
        assert "is not blocked" in await typed(at, "unblock", "alice@example.org", status=1)
        file = at.relay.directory / "jingle-hnt.toml"
        good = file.read_text()
        file.write_text(good + "[gate]\npolicy = 'open'\n[limits]\nper_user = 3\n")
        assert "gate.policy, limits.per_user" in await typed(at, "reload")
        assert (await told(at, "limits"))["per_user"] == 3
        file.write_text(good.replace("30000-30999", "31000-31999") + LIMITS)
        assert "needs a restart: relay.ports" in await typed(at, "reload")
        told_else = f'address = "{RELAY}", advertise = "{ELSEWHERE}"'
        file.write_text(good.replace(f'address = "{RELAY}"', told_else) + LIMITS)
        assert "needs a restart" not in await typed(at, "reload")
        alice.tell("call", to=bob.jid)
        await bob.expect("stanza", lambda e: f'ip="{ELSEWHERE}"' in e["xml"])
        assert "the log level is debug" in await typed(at, "loglevel", "debug")
        file.write_text(good + "[limits]\nper_user = -1\n")
        from_socket = await at.relay.ask("reload")
        assert "nothing is changed" in from_socket["error"]
        assert "limits.per_user" in from_socket["error"]
        assert (await at.relay.ask("limits"))["per_user"] == 3


async def test_a_new_call_follows_what_was_set_until_the_next_reload() -> None:
    async with stage() as at:
        alice = await at.phone("alice", NatKind.PORT_RESTRICTED)
        bob = await at.phone("bob", NatKind.SYMMETRIC)
        bob.tell("answer", how="early")

        async def flow_before_the_accept() -> str:
            after = {party: len(party.events) for party in (alice, bob)}
            alice.tell("call", to=bob.jid)
            await bob.expect("ringing", after=after[bob])
            leg = await callee_of_whom(at, lambda leg: leg["received_packets"] > 0)
            alice.tell("hangup")
            await bob.expect("ended", after=after[bob])
            await at.relay.until(lambda status: status["calls"] == 0)
            return str(leg["flow"])

        before = await flow_before_the_accept()
        assert before != "open"
        assert 'gate.policy = "open"' in await typed(at, "set", "gate.policy", "open")
        assert 'gate.policy = "open"' in await typed(at, "policy")
        assert await flow_before_the_accept() == "open"
        assert "gate.policy" in await typed(at, "reload")
        assert await flow_before_the_accept() == before
