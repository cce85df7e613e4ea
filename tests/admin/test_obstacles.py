"""What is to be done about calls that could not be made, and about commands that were refused, is
done: then the call is relayed, and the command works."""

import re
from dataclasses import replace
from typing import Any

import pytest

from jingle_hnt.admin.service import AdminService
from jingle_hnt.call.policy import GateMode, IceMode
from jingle_hnt.jingle.budgets import BudgetPolicy
from jingle_hnt.jingle.effects import Answer, Bounce, CallRefused, Pass, Passed, Replace, Request
from jingle_hnt.jingle.policy import Fallback, LimitPolicy, SessionPolicy
from jingle_hnt.jingle.refusals import Kind, Obstacle
from jingle_hnt.jingle.rules import CallRule, CallVerdict, RulesPolicy
from jingle_hnt.model.jid import JID
from jingle_hnt.model.jingle import Action, Jingle
from jingle_hnt.model.servers import ComponentServices, ModuleState
from jingle_hnt.relay.policy import UnknownSource
from jingle_hnt.relay.ports import SHUN_S
from jingle_hnt.store.history import History
from tests.admin.backend import Backend, ask
from tests.jingle.stage import ALICE, BOB, MALLORY, RELAY, Stage, candidates, changed, content
from tests.jingle.test_refusals import DORA, ERIC, PROOF


class Front:
    """A admin service whose stage tells it of what is refused."""

    def __init__(self, history: History, **options: Any) -> None:
        self.stage = Stage(**options)
        self.backend = Backend(self.stage)
        self.service = AdminService(self.backend, history)
        self.number = 0

    def offers(self, caller: JID = ALICE, callee: JID = BOB, known: bool = True) -> Answer | None:
        self.number += 1
        return self.says(caller, callee, content(), known=known)

    def says(self, caller: JID, callee: JID, *contents: Any, known: bool = True) -> Answer | None:
        sid, offer = f"call{self.number}", Action.SESSION_INITIATE
        answer = self.stage.says(caller, offer, *contents, to=callee, sid=sid, known=known)
        for refused in self.stage.refused:
            self.service.refused(refused)
        self.stage.refused.clear()
        return answer

    async def advice(self, cause: str) -> str:
        """What `explain` says of the last offer."""
        (found,) = (await ask(self.service, "explain", call=f"call{self.number}")).diagnosis
        assert found.cause == cause
        return str(found.advice)

    def follow(self, **changes: Any) -> None:
        """The file is changed, and read again."""
        policy: SessionPolicy = self.stage.registry.policy
        self.stage.registry.follow(changed(policy, **changes))


def command(text: str) -> str:
    """The command that a text names first."""
    found = re.search(r"`jingle-hnt ([^`]*)`", text)
    assert found is not None
    return found[1]


async def test_who_is_blocked_is_unblocked(history: History) -> None:
    front = Front(history)
    await ask(front.service, "block", who="bob@example.org")
    front.offers()
    advice = await front.advice("refused-block")
    assert "lets it call and be called again" in advice
    name, who = command(advice).split()
    await ask(front.service, name, who=who)
    assert isinstance(front.offers(), Replace)


async def test_a_rule_that_refuses_gets_an_exception(history: History) -> None:
    guests = CallRule(CallVerdict.REFUSE, "guests", callers=("example.org",))
    front = Front(history, calls=RulesPolicy((guests,)))
    front.offers()
    advice = await front.advice("refused-rule")
    assert "docs/policy.md says how rules are written" in advice
    front.follow(calls=RulesPolicy((CallRule(CallVerdict.ALLOW, "", callees=("bob@*",)), guests)))
    assert isinstance(front.offers(), Replace)


async def test_a_limit_is_raised(history: History) -> None:
    front = Front(history, limits=LimitPolicy(per_user=1))
    front.offers()
    front.offers()
    advice = await front.advice("refused-limit")
    assert "says who is near it; raise limits.per_user" in advice
    shown = await ask(front.service, command(advice))
    assert (shown.per_user, shown.users) == (1, {"alice@example.org": 1})
    front.follow(limits=LimitPolicy(per_user=2))
    assert isinstance(front.offers(), Replace)


async def test_a_budget_is_looked_up_and_raised(history: History) -> None:
    front = Front(history, budgets=BudgetPolicy(ports_per_user=4))
    front.offers()
    front.offers()
    advice = await front.advice("refused-budget")
    assert "docs/configuration.md has the option of each budget" in advice
    shown = {b.budget: b.uses for b in (await ask(front.service, command(advice))).budgets}
    assert [(use.who, use.used) for use in shown["ports-user"]] == [("alice@example.org", 4)]
    front.follow(budgets=BudgetPolicy(ports_per_user=8))
    assert isinstance(front.offers(), Replace)


@pytest.mark.parametrize("draining", list(Fallback))
async def test_a_drain_is_ended(history: History, draining: Fallback) -> None:
    front = Front(history, draining=draining)
    await ask(front.service, "drain")
    front.offers()
    advice = await front.advice("refused-drain")
    assert "takes new calls again; relay.draining says what becomes of them" in advice
    drains = [f for f in (await ask(front.service, "check")).findings if f.subject == "new calls"]
    assert drains[0].text == "draining: no new calls are relayed; `jingle-hnt undrain` ends it"
    await ask(front.service, command(advice))
    assert isinstance(front.offers(), Replace)


async def test_ports_are_widened_or_calls_pass_without(history: History) -> None:
    front = Front(history, ports=(2000, 2003))
    front.offers()
    front.offers()
    advice = await front.advice("refused-ports")
    assert "widen relay.ports, or let such calls pass with relay.exhausted" in advice
    assert (await ask(front.service, command(advice))).ports.leased == 4
    (room,) = [
        f for f in (await ask(front.service, "check")).findings if f.subject == "media ports"
    ]
    assert room.text == f"none of {RELAY} free for another call; widen `relay.ports`"
    front.follow(exhausted=Fallback.PASS)
    assert isinstance(front.offers(), Pass)
    assert not (await ask(front.service, "status")).ready
    wide = Front(history, ports=(2000, 2011))
    wide.offers()
    assert isinstance(wide.offers(), Replace)
    assert (await ask(wide.service, "status")).ready


async def test_status_tells_whether_the_plane_is_back(history: History) -> None:
    front = Front(history)
    obstacle = Obstacle(Kind.PLANE)
    front.backend.engine, front.backend.plane_fault = None, "see the log of `jingle-hnt plane`"
    front.service.refused(CallRefused(ALICE, BOB, "call0", obstacle, "alice"))
    advice = await front.advice("refused-plane")
    assert "`jingle-hnt status` tells whether it is back" in advice
    assert not (await ask(front.service, "status")).plane.up
    front.backend.engine = "reference"
    assert (await ask(front.service, "status")).plane.up
    assert isinstance(front.offers(), Replace)


async def test_a_domain_is_added(history: History) -> None:
    front = Front(history)
    front.offers(DORA, ERIC)
    advice = await front.advice("refused-not-local")
    assert advice.startswith("add the domain to xmpp.domains and restart")
    front.follow(domains=frozenset({"example.org", DORA.domain}))
    assert isinstance(front.offers(DORA, ERIC), Replace)


async def test_callers_of_whom_nothing_is_known_are_accepted_on_probation(
    history: History,
) -> None:
    front = Front(history, peers=PROOF)
    front.offers(known=False)
    advice = await front.advice("refused-unproven")
    assert advice.startswith('relay.unknown_source = "probation" accepts them')
    front.follow(peers=replace(PROOF, unknown_source=UnknownSource.PROBATION))
    assert isinstance(front.offers(known=False), Replace)


async def test_what_is_told_the_caller_helps_it_as_well(history: History) -> None:
    """It offers a public candidate, or calls from where its XMPP connection comes from."""
    front = Front(history, peers=PROOF)
    front.offers(known=False)
    told = (await ask(front.service, "explain", call="call1")).refused.told
    assert "offer a public candidate, or call from the network that your XMPP" in told
    public = content(transport=candidates("198.51.100.1", 5000))
    front.number += 1
    assert isinstance(front.says(ALICE, BOB, public, known=False), Replace)
    assert isinstance(front.offers(known=True), Replace)


async def test_status_says_whether_the_connection_is_back(history: History) -> None:
    front = Front(history)
    front.backend.links = {"hnt.example.org": "the server closed the connection"}
    jingle = Jingle(Action.SESSION_INITIATE, "call0", contents=(content(),))
    front.stage.registry.passed(Passed(ALICE, BOB, "call0", Action.SESSION_INITIATE, jingle), 0.0)
    front.stage.settle()
    front.service.refused(front.stage.refused.pop())
    advice = await front.advice("refused-away")
    assert "look at the log for why; `jingle-hnt status` says whether it is back" in advice
    assert (await ask(front.service, command(advice))).disconnected == front.backend.links
    front.backend.links = {"hnt.example.org": ""}
    assert (await ask(front.service, command(advice))).disconnected == {}


async def test_a_client_writes_each_content_once_where_addresses_are_hidden(
    history: History,
) -> None:
    front = Front(history, ice=IceMode.TERMINATE, gate=GateMode.TWO_STAGE)
    twice = Jingle(Action.SESSION_INITIATE, "call0", contents=(content(),), is_whole=False)
    for hidden in (True, False):
        if not hidden:
            front.follow(ice=IceMode.APPEND, gate=GateMode.ONE_STAGE)
        front.stage.tokens += 1
        front.stage.registry.receive(Request(front.stage.tokens, ALICE, BOB, twice), 0.0)
        front.stage.settle()
        answer = front.stage.answers[front.stage.tokens]
        assert isinstance(answer, Bounce if hidden else Replace)
        if hidden:
            front.service.refused(front.stage.refused[0])
            advice = await front.advice("refused-hidden")
    assert advice.startswith("the client writes several transports in one content, or one content")
    assert "ice.mode and gate.policy say whose addresses are hidden" in advice


async def test_limits_show_who_has_sent_very_many_requests(history: History) -> None:
    front = Front(history, budgets=BudgetPolicy(user_stanzas_per_s=1))
    for number in range(30):
        front.number = number
        front.says(MALLORY, BOB, content())
        front.stage.says(MALLORY, Action.SESSION_INFO, to=BOB, sid=f"call{number}")
    jingle = Jingle(Action.SESSION_INITIATE, "call0", contents=(content(),))
    front.stage.registry.late(Request(99, ALICE, BOB, jingle), 0.0)
    front.stage.settle()
    front.service.refused(front.stage.refused.pop())
    front.number = 0
    found = (await ask(front.service, "explain", call=str(ALICE))).diagnosis
    assert found[0].cause == "refused-late"
    assert "has sent very many requests: see `jingle-hnt limits`" in found[0].advice
    shown = {b.budget: b.uses for b in (await ask(front.service, "limits")).budgets}
    assert [use.who for use in shown["stanzas-user"] if use.exceeded] == ["mallory@example.org"]
    assert isinstance(front.offers(), Replace)


# Commands


@pytest.mark.parametrize(
    ("command", "wrong", "says", "right"),
    [
        ("history", {"count": "0"}, "count: write a number from 1 to 1000", {"count": "1000"}),
        ("loglevel", {"level": "loud"}, "level: write one of debug, info", {"level": "debug"}),
        (
            "drain",
            {"announcement": "x" * 1001},
            "announcement: write at most 1000 characters, no control characters",
            {"announcement": "x" * 1000},
        ),
        (
            "explain",
            {"call": str(ALICE), "at": "noon"},
            "'noon' is no time: write \"14:05\"",
            {"call": str(ALICE), "at": "2h"},
        ),
    ],
)
async def test_a_command_works_when_it_is_written_as_it_says(
    backend: Backend, service: AdminService, command: str, wrong: Any, says: str, right: Any
) -> None:
    backend.stage.call(sid="x")
    with pytest.raises(ValueError, match=says):
        await ask(service, command, **wrong)
    await ask(service, command, **right)


async def test_of_calls_with_one_sid_each_has_a_name(
    backend: Backend, service: AdminService
) -> None:
    backend.stage.call(sid="x")
    backend.stage.says(MALLORY, Action.SESSION_INITIATE, content(), to=ALICE, sid="x")
    with pytest.raises(ValueError, match="2 calls have this sid: write a call's name") as refused:
        await ask(service, "call", call="x")
    name = str(refused.value).rpartition("such as ")[2].split(", ")[0]
    assert (await ask(service, "call", call=name)).sid == "x"


async def test_who_made_no_call_may_have_a_server_that_does_not_ask(
    backend: Backend, service: AdminService
) -> None:
    backend.faults = {"example.org": ModuleState("the server module is not loaded on example.org")}
    with pytest.raises(ValueError, match="or its server did not ask us") as said:
        await ask(service, "explain", call="alice@example.org")
    findings = (await ask(service, "check")).findings
    assert "(`jingle-hnt check`)" in str(said.value)
    assert any(f.verdict == "FAIL" and "not loaded" in f.text for f in findings)
    backend.faults = {"example.org": ModuleState()}
    backend.stage.call(sid="x")
    assert (await ask(service, "explain", call="alice@example.org")).call.sid == "x"


async def test_services_that_are_off_are_turned_on_by_their_option(
    backend: Backend, service: AdminService
) -> None:
    async def texts() -> str:
        return " ".join(f.text for f in (await ask(service, "check")).findings)

    shut = await texts()
    assert "where a server module cannot be, write enabled = true in [addresses]" in shut
    assert "that ask for a relay (XEP-0278), write enabled = true in [relay_nodes]" in shut
    callers = frozenset({"example.org"})
    backend.offers = ComponentServices("hnt.x", ("example.org",), callers, channels=True)
    assert "shut" not in await texts()


async def test_ports_that_others_hold_are_free_when_they_end(history: History) -> None:
    front = Front(history, ports=(2000, 2005))
    front.stage.held = True
    front.offers()
    front.stage.fail_all(port_taken=True)
    front.stage.fail_all(port_taken=True)
    front.stage.fail_all(port_taken=True)
    (room,) = [
        f for f in (await ask(front.service, "check")).findings if f.subject == "media ports"
    ]
    assert "end them (`ss -unlp` names them), or write another range in `relay.ports`" in room.text
    assert not (await ask(front.service, "status")).ready
    front.stage.passes(SHUN_S)
    (room,) = [
        f for f in (await ask(front.service, "check")).findings if f.subject == "media ports"
    ]
    assert room.verdict == "ok"
    assert (await ask(front.service, "status")).ready
