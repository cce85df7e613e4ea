"""Rows X13, X14, X15 and X18 of docs/threats.md: who is believed, on real servers."""

import asyncio
import json
import secrets
import sys
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest

from tests.integration.test_nat_calls import hang_up
from tests.lab.ejabberd import Ejabberd
from tests.lab.federation import ONE, TWO, federation
from tests.lab.play import ROOT, SECRET, Caller, Event, Stage
from tests.lab.prosody import Prosody
from tests.lab.server import LocalServer
from tests.lab.world import NatKind
from tests.lab.xmpp_actors import CLIENT, FORWARD, INTERCEPT, JINGLE
from tests.threats import doses
from tests.threats.doses import Measured

pytestmark = [pytest.mark.integration, pytest.mark.busy, pytest.mark.timeout(600)]

ELSEWHERE = "198.51.100.66"
AT_ONCE = 1000
GROWTH_KB = 4096
"""Far less than what 10^4 answers that nobody waits for would take if they were kept."""


class Scene:
    """Alice and Carol of one.example are in a call; Mallory is on both servers."""

    def __init__(self, one: Stage, two: Stage, alice: Caller, carol: Caller) -> None:
        self.one, self.two, self.alice, self.carol = one, two, alice, carol
        self.sid = ""

    async def call(self) -> Event:
        """The one call, without what passes by itself."""
        (call,) = await self.one.relay.calls()
        legs = [
            {key: leg[key] for key in ("leg", "latch", "learned", "source_auth")}
            for content in call["contents"]
            for component in content["components"]
            for leg in component["legs"]
        ]
        return {"state": call["state"], "initiator": call["initiator"], "legs": legs}

    def lies(self) -> list[str]:
        """What only a server module of one.example may say, each as the inside of a stanza."""
        alice, carol = self.alice.jid, self.carol.jid
        end = f"<jingle xmlns='{JINGLE}' action='session-terminate' sid='{self.sid}'/>"

        def forwarded(attributes: str) -> str:
            iq = f"<iq xmlns='{CLIENT}' id='x' {attributes}>{end}</iq>"
            return f"<forwarded xmlns='{FORWARD}'>{iq}</forwarded>"

        events = [
            f"event='gone' jid='{alice}'>",
            f"event='address' jid='{alice}' ip='{ELSEWHERE}'>",
            f"event='message' action='finish' jid='{alice}' sid='{self.sid}'>",
            f"event='error' action='session-accept' sid='{self.sid}'>"
            + forwarded(f"type='error' from='{carol}' to='{alice}'"),
            "timeout='3'>" + forwarded(f"type='set' from='{alice}' to='{carol}'"),
        ]
        return [f"<intercept xmlns='{INTERCEPT}' {event}</intercept>" for event in events]


@pytest.fixture(params=[Prosody, Ejabberd], ids=lambda kind: kind.kind)
async def scene(request: pytest.FixtureRequest) -> AsyncIterator[Scene]:
    kind: type[LocalServer] = request.param
    async with federation(kinds=(kind, Prosody)) as (one, two):
        alice = await one.phone("alice", NatKind.NONE)
        carol = await one.phone("carol", NatKind.NONE)
        alice.tell("call", to=carol.jid)
        await alice.expect("accepted")
        made = Scene(one, two, alice, carol)
        await one.relay.until(lambda status: status["calls"] == 1)
        made.sid = (await one.relay.calls())[0]["sid"]
        await one.relay.until(all_latched, command="calls")
        yield made


def all_latched(listed: Event) -> bool:
    """Whether the relay has learned where everybody is."""
    contents = [content for call in listed["calls"] for content in call["contents"]]
    legs = [leg for content in contents for c in content["components"] for leg in c["legs"]]
    return all(leg["latch"] == "latched" for leg in legs)


async def heard_out(stage: Stage, liar: Caller, to: str) -> None:
    """Everything that a client has sent to an address until now has arrived there."""
    after = len(liar.events)
    liar.tell("send", xml=f'<iq type="get" to="{to}" id="out"><ping xmlns="urn:xmpp:ping"/></iq>')
    await liar.expect("stanza", lambda e: 'id="out"' in e["xml"], after=after)


def stanzas(lies: list[str], to: str, sender: str = "") -> list[str]:
    """Each lie in a message and in an IQ."""
    named = f"to='{to}'" + (f" from='{sender}'" if sender else "")
    made = []
    for number, lie in enumerate(lies):
        made.append(f"<message {named}>{lie}</message>")
        made.append(f"<iq type='set' id='lie{number}' {named}>{lie}</iq>")
    return made


async def as_component(stage: Stage, domain: str, what: list[str]) -> None:
    """Say all this as another component of the stage's server, each on a stream of its own.

    The server may well close a stream on which somebody speaks in another's name.
    """
    command = [
        sys.executable,
        "-m",
        "tests.lab.imposter",
        stage.server.component[0],
        domain,
        SECRET,
    ]
    process = await asyncio.create_subprocess_exec(
        *stage.lab.command(f"{ONE.label}-relay", command),
        stdin=asyncio.subprocess.PIPE,
        cwd=ROOT,
    )
    await process.communicate(json.dumps(what).encode())
    assert process.returncode == 0


async def test_x13_x14_x15_nobody_but_the_module_and_the_parties_is_believed(
    scene: Scene, record_property: Measured
) -> None:
    one, before = scene.one, await scene.call()
    mallory = await one.phone("mallory", NatKind.NONE)
    component = ONE.component

    # X13: a user, another component, and that component in the name of the server itself.
    for stanza in stanzas(scene.lies(), component):
        mallory.tell("send", xml=stanza)
    await heard_out(one, mallory, component)
    refused = [s for s in mallory.stanzas if 'id="lie' in s]
    assert len(refused) == len(scene.lies())
    assert all('type="error"' in s for s in refused)
    other = f"other.{ONE.name}"
    await as_component(one, other, stanzas(scene.lies(), component, sender=other))
    await as_component(one, other, stanzas(scene.lies(), component, sender=ONE.name))

    # X14: answers to what nobody has asked.
    pid = one.relay.processes["signalling"].pid
    size, total = resident_kb(pid), max(10 * AT_ONCE, doses.count(100_000))
    for first in range(0, total, AT_ONCE):
        ids = (secrets.token_hex(12) for _ in range(min(AT_ONCE, total - first)))
        mallory.tell("send", xml="".join(UNASKED.format(id=i, to=component) for i in ids))
        await heard_out(one, mallory, component)
    grew_kb = resident_kb(pid) - size
    record_property("results", total)
    record_property("grew_kb", grew_kb)
    assert grew_kb < GROWTH_KB

    # X15: errors for requests of the parties, their ids known to the liar.
    unknown = "<unknown-session xmlns='urn:xmpp:jingle:errors:1'/>"
    error = f"<error type='cancel'><item-not-found xmlns='{CONDITIONS}'/>{unknown}</error>"
    record_property("errors", 2 * len(scene.alice.stanzas + scene.carol.stanzas))
    for stanza in (*scene.alice.stanzas, *scene.carol.stanzas):
        id_ = stanza.partition(' id="')[2].partition('"')[0]
        for party in (scene.alice, scene.carol):
            mallory.tell("send", xml=f"<iq type='error' id='{id_}' to='{party.jid}'>{error}</iq>")
    await heard_out(one, mallory, component)

    assert await scene.call() == before
    assert ELSEWHERE not in json.dumps(await one.relay.calls())
    await hang_up(scene.alice, scene.carol)
    await one.relay.until(lambda status: status["calls"] == 0)


async def test_x18_a_hostile_server_touches_no_call_of_other_domains(
    scene: Scene, record_property: Measured
) -> None:
    one, two, before = scene.one, scene.two, await scene.call()
    tries = 0
    assert isinstance(two.server, Prosody)
    # Its users, with the sid that they are not to know.
    mallory = await two.phone("mallory", NatKind.NONE)
    for action in ("session-accept", "session-info", "transport-info", "session-terminate"):
        for party in (scene.alice, scene.carol):
            jingle = f"<jingle xmlns='{JINGLE}' action='{action}' sid='{scene.sid}'/>"
            id_ = f"{action}-{party.jid[0]}"
            mallory.tell("send", xml=f"<iq type='set' id='{id_}' to='{party.jid}'>{jingle}</iq>")
            await mallory.expect("stanza", partial(answers, f'id="{id_}"'))
            tries += 1
    # And the server itself, in its own name, in a user's, and in ours.
    for sender in (TWO.name, f"mallory@{TWO.name}", TWO.component, ONE.name):
        for stanza in stanzas(scene.lies(), ONE.component, sender):
            await two.server.shell(f"> {ROUTED.format(xml=json.dumps(stanza), name=TWO.name)}")
            tries += 1
    record_property("tries", tries)
    await heard_out(two, mallory, ONE.component)
    assert await scene.call() == before
    assert ELSEWHERE not in json.dumps(await one.relay.calls())
    await hang_up(scene.alice, scene.carol)
    await one.relay.until(lambda status: status["calls"] == 0)


UNASKED = "<iq type='result' id='{id}' to='{to}'/>"
CONDITIONS = "urn:ietf:params:xml:ns:xmpp-stanzas"
ROUTED = "prosody.core_route_stanza(prosody.hosts['{name}'], require'util.xml'.parse({xml}))"


def answers(id_: str, event: Event) -> bool:
    """Whether a stanza that came has this id."""
    return id_ in event["xml"]


def resident_kb(pid: int) -> int:
    """The memory that a process has now."""
    status = Path(f"/proc/{pid}/status").read_text()
    (line,) = [line for line in status.splitlines() if line.startswith("VmRSS:")]
    return int(line.split()[1])
