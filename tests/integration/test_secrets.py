"""What must never be in a log: the component's secret, SDES keys, passwords of ICE agents."""

import asyncio
import hashlib
import json
import os
import random
import re
import socket
import sys
from base64 import b64decode

import pytest

from jingle_hnt.relay.srtp import read_keys
from tests.integration.test_abuse import ask
from tests.integration.test_explain import callee_of_whom, explained
from tests.integration.test_nat_calls import hang_up, talk
from tests.lab.play import COMPONENT, ROOT, SECRET, Caller, Stage, in_a_call, stage
from tests.lab.world import NatKind
from tests.threats import doses
from tests.threats.doses import Measured

KEY = "WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz"
PASSWORD = "asd88fgpdd777uzjYhagZg"
"""The examples of RFC 4568 and RFC 8839: long enough to be found by nothing else."""

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("either_server")]


def offer(sid: str, port: str) -> str:
    """An offer with everything that is secret in it; a port that is none makes it malformed."""
    return (
        f'<jingle xmlns="urn:xmpp:jingle:1" action="session-initiate" sid="{sid}">'
        '<content creator="initiator" name="voice">'
        '<description xmlns="urn:xmpp:jingle:apps:rtp:1" media="audio">'
        '<encryption required="1"><crypto crypto-suite="AES_CM_128_HMAC_SHA1_80"'
        f' key-params="inline:{KEY}|2^20|1:32" tag="1"/></encryption></description>'
        '<transport xmlns="urn:xmpp:jingle:transports:ice-udp:1"'
        f' pwd="{PASSWORD}" ufrag="8hhy">'
        '<candidate component="1" foundation="1" generation="0" id="a" ip="192.0.2.10"'
        f' network="0" port="{port}" priority="1" protocol="udp" type="host"/></transport>'
        '</content><content creator="initiator" name="other">'
        '<description xmlns="urn:xmpp:jingle:apps:rtp:1" media="audio"/>'
        '<transport xmlns="urn:xmpp:jingle:transports:raw-udp:1">'
        f'<candidate component="1" generation="0" id="b" ip="192.0.2.10" port="{port}"/>'
        "</transport></content></jingle>"
    )


async def offers(at: Stage, alice: Caller, bob: Caller) -> None:
    """One that is taken, one that is malformed, one that is out of order."""
    bob.tell("answer", how="ring")
    good = f'<iq type="set" to="{bob.jid}" id="good">{offer("good", "7078")}</iq>'
    alice.tell("send", xml=good)
    await alice.expect("stanza", lambda e: 'id="good"' in e["xml"])
    await ask(alice, bob, offer("bad", "0"), "bad")
    await ask(alice, bob, offer("good", "7078"), "again")


async def test_no_key_and_no_password_is_ever_logged(record_property: Measured) -> None:
    async with stage(extra='level = "debug"\n') as at:
        alice = await at.phone("alice", NatKind.PORT_RESTRICTED)
        bob = await at.phone("bob", NatKind.SYMMETRIC)
        await talk(alice, bob, seconds=0.5)
        await offers(at, alice, bob)
        await at.relay.end("signalling")
        await at.relay.start("signalling")
        said = at.relay.log_text()
    assert "latched" in said
    hits = sum(said.count(secret) for secret in (SECRET, KEY, PASSWORD))
    record_property("log_lines", said.count("\n"))
    record_property("hits", hits)
    assert hits == 0


@pytest.mark.timeout(180)
async def test_another_secret_on_the_server_ends_no_call() -> None:
    """The server restarts with a secret that we do not have; its operator writes it down later."""
    async with stage(processes=("run",)) as at:
        alice, bob = await in_a_call(at)
        await asyncio.to_thread(at.server.change_secret, COMPONENT, "another")
        status = await at.relay.until(
            lambda s: "component_secret" in s["disconnected"].get(COMPONENT, ""), patience_s=60
        )
        assert not status["ready"]
        for phone in (alice, bob):
            await phone.hears(20)
        (at.relay.directory / "secret").write_text("another")
        status = await at.relay.until(lambda s: bool(s["ready"]), patience_s=60)
        assert status["calls"] == 1
        for phone in (alice, bob):
            await phone.hears(20)


@pytest.mark.timeout(60)
async def test_a_secret_that_never_held_ends_the_start() -> None:
    async with stage(relayed=False) as at:
        (at.relay.directory / "secret").write_text("another")
        with pytest.raises(TimeoutError):
            await at.relay.start("run", patience_s=1)
        async with asyncio.timeout(30):
            assert await at.relay.processes.pop("run").wait() == os.EX_CONFIG
        assert "component_secret" in at.relay.log_text()


@pytest.mark.timeout(300)
async def test_nobody_comes_in_with_a_wrong_secret(record_property: Measured) -> None:
    """Neither in our place, nor so that we lose it."""
    async with stage() as at:
        alice = await at.phone("alice", NatKind.NONE)
        bob = await at.phone("bob", NatKind.NONE)
        tries = doses.count(1000)
        code = "import sys; from tests.integration.test_secrets import guess; guess(*sys.argv[1:])"
        words = [sys.executable, "-c", code, at.server.component[0], str(tries)]
        process = await asyncio.create_subprocess_exec(
            *at.lab.command("relay", words), stdout=asyncio.subprocess.PIPE, cwd=ROOT
        )
        output, _ = await process.communicate()
        refused, let_in = json.loads(output)
        status = await at.relay.status()
        assert status["ready"]
        await talk(alice, bob, seconds=0.5)
        said = at.relay.log_text()
    record_property("tries", tries)
    record_property("let_in", let_in)
    assert (refused, let_in) == (tries, 0)
    assert said.count("connected to the XMPP server") == 1
    assert SECRET not in said


def guess(host: str, tries: str) -> None:
    """Be the component with so many wrong secrets; writes how many are refused and how many not."""
    chance, refused, let_in = random.Random(17), 0, 0
    header = (
        "<stream:stream xmlns='jabber:component:accept' to='hnt.example.org'"
        " xmlns:stream='http://etherx.jabber.org/streams'>"
    )
    for _ in range(int(tries)):
        with socket.create_connection((host, 5347), timeout=30) as stream:
            stream.sendall(header.encode())
            said = stream.recv(4096)
            wrong = hashlib.sha1(said + chance.randbytes(8)).hexdigest()
            stream.sendall(f"<handshake>{wrong}</handshake>".encode())
            answer = b""
            while b"</stream:stream>" not in answer and (more := stream.recv(4096)):
                answer += more
                if b"<handshake" in answer:
                    break
            refused += b"not-authorized" in answer
            let_in += b"<handshake" in answer
    sys.stdout.write(json.dumps([refused, let_in]))


def kept(at: Stage) -> list[tuple[str, bytes]]:
    """Every file that jingle-hnt has written, with its mode in its name."""
    files = (p for p in at.relay.directory.rglob("*") if p.is_file() and p.name != "secret")
    return [(f"{p.name} {p.stat().st_mode & 0o777:o}", p.read_bytes()) for p in files]


async def told(at: Stage) -> bytes:
    """Everything that an administrator is told, and what Prometheus reads."""
    answers = [await at.relay.ask(name) for name in ("status", "calls", "history", "limits")]
    answers += [await at.relay.ask("explain", call=c["call"]) for c in await at.relay.calls()]
    code = "import urllib.request as r; print(r.urlopen('http://127.0.0.1:9399/metrics').read())"
    process = await asyncio.create_subprocess_exec(
        *at.lab.command("relay", ["python3", "-c", code]), stdout=asyncio.subprocess.PIPE
    )
    page, _ = await process.communicate()
    assert b"# HELP" in page
    return json.dumps(answers).encode() + page


async def test_no_sdes_key_is_kept_and_what_checks_tags_is_in_the_journal_alone() -> None:
    extra = 'level = "debug"\n[metrics]\nlisten = "127.0.0.1:9399"'
    async with stage(extra=extra) as at:
        program = "tests.lab.srtp_phone"
        alice = await at.ice_phone("alice", NatKind.PORT_RESTRICTED, program=program)
        bob = await at.ice_phone("bob", NatKind.SYMMETRIC, program=program)
        alice.tell("call", to=bob.jid)
        await alice.expect("accepted")
        await callee_of_whom(at, lambda leg: leg["latch"] == "latched")
        during, said = kept(at), await told(at)
        await hang_up(alice, bob)
        await explained(at)
        after, said = kept(at), said + await told(at)
    heard = "".join(alice.stanzas + bob.stanzas)
    keys = set(re.findall(r"inline:([A-Za-z0-9+/]{40})", heard))
    assert len(keys) == 3  # two lines that Alice offered, and Bob's answer
    for key in keys:
        master = b64decode(key)
        (derived,) = read_keys("AES_CM_128_HMAC_SHA1_80", f"inline:{key}", "")
        for secret in (key.encode(), master, master.hex().encode()):
            assert secret not in said
            assert not [name for name, text in during + after if secret in text]
        tag = derived.rtp.encode()
        assert tag not in said
        where = {name for name, text in during + after if tag in text}
        assert {re.sub("-(wal|shm)", "", name) for name in where} <= {"journal.sqlite 600"}, where
