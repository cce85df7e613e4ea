"""Budgets: what one user, one domain or one session may take, and that nobody else pays for it."""

import json
from dataclasses import fields

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from jingle_hnt.call import budgets as media_budgets
from jingle_hnt.call.leg import Leg
from jingle_hnt.call.policy import IceMode
from jingle_hnt.errors import Condition
from jingle_hnt.jingle import budgets
from jingle_hnt.jingle.budgets import BUDGETS, BURST_S, BudgetPolicy
from jingle_hnt.jingle.effects import Answer, Bounce, Pass, Replace
from jingle_hnt.jingle.policy import Fallback, LimitPolicy
from jingle_hnt.jingle.record import dump, load
from jingle_hnt.model.address import TransportAddress
from jingle_hnt.model.content import (
    ICE_UDP,
    Candidate,
    Content,
    ContentKey,
    Creator,
    Ice,
    RawUdp,
)
from jingle_hnt.model.jid import JID
from jingle_hnt.model.jingle import Action
from jingle_hnt.relay.interfaces import Interface
from jingle_hnt.settings.model import BudgetsOptions as Options
from jingle_hnt.store.journal import MAX_RECORD_BYTES
from tests.jingle.stage import ALICE, BOB, MALLORY, RELAY, VOICE, Stage, candidates, content
from tests.jingle.test_ice import OF_ALICE, ice

DEBIAN = (30000, 32767)
LONE = (Interface(RELAY, RELAY),)
UNCOUNTED = LimitPolicy(per_user=0, per_minute=0)
FULL = 16
"""Contents that one stanza may hold."""


def stage(ports: tuple[int, int] = DEBIAN, **changes: object) -> Stage:
    return Stage(ports=ports, interfaces=LONE, limits=UNCOUNTED, **changes)


def some(count: int, first: int = 0) -> list[Content]:
    return [content(ContentKey(Creator.INITIATOR, f"c{first + n}")) for n in range(count)]


def offers(at: Stage, caller: JID, sid: str, count: int = 1) -> Answer | None:
    return at.says(caller, Action.SESSION_INITIATE, *some(count), to=BOB, sid=sid)


def is_beyond(answer: object, budget: media_budgets.Budget) -> bool:
    """Whether a request was refused for this budget, and its sender was told so."""
    return (
        isinstance(answer, Bounce)
        and answer.error.condition is Condition.RESOURCE_CONSTRAINT
        and answer.error.type == "wait"
        and budget.name in answer.error.text
    )


def test_no_stanzas_of_one_call_take_the_ports_of_others() -> None:
    """Row P1: content-add and transport-replace, each again and again."""
    at = stage(budgets=BudgetPolicy(contents=0, stanzas_per_s=0))
    at.call()
    added = 0
    while not isinstance(answer := at.says(ALICE, Action.CONTENT_ADD, *some(4, added)), Bounce):
        added += 4
    assert is_beyond(answer, media_budgets.PORTS_USER)
    first = some(1)[0]
    while not isinstance(answer := at.says(ALICE, Action.TRANSPORT_REPLACE, first), Bounce):
        pass
    assert is_beyond(answer, media_budgets.PORTS_USER)
    assert at.pool.counts.free == at.free - 160
    assert isinstance(offers(at, MALLORY, "bystander"), Replace)


def test_ports_in_quarantine_are_charged_to_who_caused_it() -> None:
    at = stage(budgets=BudgetPolicy(ports_per_user=8))
    for sid in "ab":
        assert isinstance(offers(at, ALICE, sid), Replace)
        at.says(ALICE, Action.SESSION_TERMINATE, to=BOB, sid=sid)
    assert at.pool.counts.leased == 0
    assert is_beyond(offers(at, ALICE, "c"), media_budgets.PORTS_USER)
    assert isinstance(offers(at, MALLORY, "d"), Replace)
    at.drain()
    assert isinstance(offers(at, ALICE, "e"), Replace)


def test_the_callee_pays_for_what_it_asks_for_itself() -> None:
    at = stage(budgets=BudgetPolicy(ports_per_user=4))
    at.call()
    added = content(ContentKey(Creator.RESPONDER, "screen"))
    assert isinstance(at.says(BOB, Action.CONTENT_ADD, added), Replace)
    assert is_beyond(at.says(ALICE, Action.CONTENT_ADD, *some(1)), media_budgets.PORTS_USER)


@pytest.mark.parametrize(
    ("domains", "users"), [(1, 100), (100, 1)], ids=["one-server", "many-servers"]
)
def test_other_servers_leave_ports_to_ours(domains: int, users: int) -> None:
    """Row P2: unanswered offers of sixteen contents by users that cost nothing to make."""
    at = stage()
    for domain in range(domains):
        for user in range(users):
            offers(at, JID.of(f"u{user}@d{domain}.example/x"), f"{domain}.{user}", FULL)
    budget = media_budgets.PORTS_REMOTE_DOMAIN if domains == 1 else media_budgets.PORTS_REMOTE
    assert is_beyond(offers(at, JID.of("u@d0.example/x"), "more", FULL), budget)
    assert at.pool.counts.free >= at.free // 2
    assert isinstance(offers(at, MALLORY, "ours"), Replace)


def test_an_agent_without_ports_does_without_us() -> None:
    """ICE agents have other paths: who has used up its ports is not kept from calling."""
    at = stage(budgets=BudgetPolicy(ports_per_user=4), ice=IceMode.APPEND)
    agent = Ice(ICE_UDP, "ufrag", "pwd", (), frozenset({1, 2}), 0)
    offered = [Content(c.key, None, agent, "audio") for c in some(2)]
    answer = at.says(ALICE, Action.SESSION_INITIATE, *offered, to=BOB)
    assert isinstance(answer, Replace)
    assert len(answer.substitution) == 1
    (session,) = at.registry
    assert at.registry.budgets.refused(media_budgets.PORTS_USER) == {"alice@example.org": 1}
    assert session.exceeded == {"ports-user": 1}


def test_where_an_operator_lets_calls_pass_unrelayed_these_do_too() -> None:
    at = stage(budgets=BudgetPolicy(ports_per_user=4), exhausted=Fallback.PASS)
    assert isinstance(offers(at, ALICE, "a"), Replace)
    assert isinstance(offers(at, ALICE, "b"), Pass)


@pytest.mark.parametrize("count", [17, 40])
def test_contents_that_can_do_without_us_pass_beyond_the_budget(count: int) -> None:
    """A meeting may have a content for each of its members; the first ones have their places."""
    at = stage(budgets=BudgetPolicy(contents=16))
    names = [ContentKey(Creator.INITIATOR, f"c{n}") for n in range(count)]
    told = [ice(OF_ALICE, key=key) for key in names]
    answer = at.says(ALICE, Action.SESSION_INITIATE, *told)
    assert isinstance(answer, Replace)
    assert set(answer.substitution) == set(names[:16])
    long = ice(OF_ALICE, key=ContentKey(Creator.INITIATOR, "c" * 257))
    assert isinstance(at.says(ALICE, Action.CONTENT_ADD, long), Pass)
    (session,) = at.registry
    assert len(session.negotiation.media) == 16


def test_a_session_has_so_many_contents() -> None:
    at = stage(budgets=BudgetPolicy(contents=5))
    at.call()
    assert isinstance(at.says(ALICE, Action.CONTENT_ADD, *some(4)), Replace)
    before = at.picture()
    assert is_beyond(at.says(ALICE, Action.CONTENT_ADD, *some(1, 4)), media_budgets.CONTENTS)
    assert at.picture() == before
    at.says(ALICE, Action.CONTENT_REMOVE, *some(1))
    assert isinstance(at.says(ALICE, Action.CONTENT_ADD, *some(1, 4)), Replace)
    assert is_beyond(offers(at, MALLORY, "many", 6), media_budgets.CONTENTS)


def test_names_have_an_end() -> None:
    at = stage()
    named = content(ContentKey(Creator.INITIATOR, "ä" * 129))
    answer = at.says(ALICE, Action.SESSION_INITIATE, named)
    assert is_beyond(answer, media_budgets.NAMES)
    assert is_beyond(offers(at, ALICE, "s" * 257), media_budgets.NAMES)
    assert isinstance(offers(at, ALICE, "s" * 256), Replace)


def fresh(first: int, count: int = 64) -> tuple[Candidate, ...]:
    """Candidates that nobody has named before."""
    return tuple(
        Candidate(
            1 + n % 2,
            0,
            TransportAddress.of(f"198.51.{n >> 8 & 255}.{n & 255}", 1024 + n % 60000),
            f"c{n}",
        )
        for n in range(first, first + count)
    )


@pytest.mark.parametrize("mode", [None, IceMode.APPEND, IceMode.TERMINATE])
def test_a_session_grows_to_a_bound_and_goes_on(mode: IceMode | None) -> None:
    """Row P3: transport-info without end; every one of them goes on to the other party."""
    at = stage(ice=mode or IceMode.PASS)
    keys = [c.key for c in some(FULL)]

    def told(key: ContentKey, number: int) -> Content:
        named = fresh(64 * number)
        if mode is None:
            return content(key, RawUdp(named))
        return Content(key, None, Ice(ICE_UDP, "u", "p", named, frozenset({1, 2}), 0), "audio")

    at.says(ALICE, Action.SESSION_INITIATE, *(told(key, 0) for key in keys))
    at.says(BOB, Action.SESSION_ACCEPT, *(told(key, 1) for key in keys))
    for number in range(2, 40):
        at.passes(0.5)
        for sender in (ALICE, BOB):
            some_of_it = [told(key, number) for key in keys]
            answer = at.says(sender, Action.TRANSPORT_INFO, *some_of_it)
            assert not isinstance(answer, Bounce)
    (session,) = at.registry
    media = session.negotiation.media.values()
    assert sum(medium.remembered for medium in media) <= 256 + 4 * len(keys)
    assert len(json.dumps(dump(session, at.now))) < MAX_RECORD_BYTES


def test_the_newest_candidates_are_those_that_count() -> None:
    at = stage()
    at.call()
    for number in range(9):
        at.says(ALICE, Action.TRANSPORT_INFO, content(VOICE, RawUdp(fresh(64 * number))))
    (session,) = at.registry
    (medium,) = session.negotiation.media.values()
    assert fresh(64 * 8)[-1] in medium.signalled[Leg.INITIATOR]


def test_who_talks_too_fast_waits_and_may_always_hang_up() -> None:
    at = stage(budgets=BudgetPolicy(stanzas_per_s=2))
    at.call()
    (session,) = at.registry

    def hurried(sender: JID) -> Answer | None:
        return at.says(sender, Action.TRANSPORT_INFO, content(VOICE, candidates("192.0.2.1", 1)))

    while not isinstance(answer := hurried(ALICE), Bounce):
        pass
    assert is_beyond(answer, budgets.STANZAS_SESSION)
    assert session.exceeded == {"stanzas-session": 1}
    assert isinstance(hurried(BOB), Replace)
    at.passes(0.6)
    assert isinstance(hurried(ALICE), Replace)
    assert is_beyond(hurried(ALICE), budgets.STANZAS_SESSION)
    assert isinstance(at.says(ALICE, Action.SESSION_TERMINATE), Pass)


def test_many_sessions_do_not_make_a_user_faster() -> None:
    at = stage(budgets=BudgetPolicy(stanzas_per_s=0, user_stanzas_per_s=1))
    for sid in ("a", "b"):
        at.call(sid=sid)
    named = content(VOICE, candidates("192.0.2.1", 1))
    answers = [
        at.says(ALICE, Action.TRANSPORT_INFO, named, sid="ab"[number % 2]) for number in range(20)
    ]
    assert [isinstance(answer, Bounce) for answer in answers] == [n >= BURST_S for n in range(20)]
    assert is_beyond(answers[-1], budgets.STANZAS_USER)


def test_what_a_call_holds_is_charged_again_after_a_restart() -> None:
    at, after = stage(), stage()
    at.call()
    at.says(BOB, Action.CONTENT_ADD, content(ContentKey(Creator.RESPONDER, "screen")))
    (session,) = at.registry
    again = load(dump(session, at.now), after.registry, after.now)
    after.registry.restore(again, after.now)
    assert after.pool.used == at.pool.used
    assert at.pool.used["user", "bob@example.org"] == 4


def test_the_options_are_the_policy() -> None:
    """The defaults stand twice, for the pure rooms know no settings."""
    told = {option: getattr(Options(), option) for option in Options.model_fields}
    policy = BudgetPolicy()
    assert {f.name: getattr(policy, f.name) for f in fields(policy)} == told
    assert {budget.option for budget in BUDGETS} == set(told)
    assert len({budget.name for budget in BUDGETS}) == len(BUDGETS)


USERS = (ALICE, MALLORY, JID.of("eve@evil.example/x"), JID.of("evan@evil.example/y"))
ODD = st.just(0) | st.integers(0, 40)


class Abuse(RuleBasedStateMachine):
    """Users of ours and of another server take what they can, under budgets of any size."""

    @initialize(
        policy=st.builds(
            BudgetPolicy,
            ports_per_user=ODD,
            ports_per_domain=ODD,
            ports_per_remote_domain=ODD,
            remote_ports_percent=st.sampled_from((0, 10, 25)) | st.integers(0, 100),
            contents=st.integers(0, 5),
            candidates=ODD,
            name_bytes=st.sampled_from((0, 2, 8, 8, 1)),
            stanzas_per_s=st.just(0) | st.integers(0, 3),
            user_stanzas_per_s=st.just(0) | st.integers(0, 3),
        )
    )
    def begin(self, policy: BudgetPolicy) -> None:
        self.policy = policy
        self.at = stage(ports=(2000, 2099), budgets=policy)
        self.calls: list[tuple[JID, str]] = []

    @rule(who=st.sampled_from(USERS), sid=st.sampled_from("abc"), count=st.integers(1, 4))
    def offer(self, who: JID, sid: str, count: int) -> None:
        self.say(who, Action.SESSION_INITIATE, *some(count), sid=sid)
        self.calls.append((who, sid))

    @precondition(lambda self: bool(getattr(self, "calls", None)))
    @rule(
        call=st.integers(0, 99),
        callee=st.booleans(),
        action=st.sampled_from(
            (
                Action.SESSION_ACCEPT,
                Action.CONTENT_ADD,
                Action.CONTENT_REMOVE,
                Action.TRANSPORT_INFO,
                Action.TRANSPORT_REPLACE,
                Action.TRANSPORT_ACCEPT,
                Action.SESSION_TERMINATE,
            )
        ),
        first=st.integers(0, 6),
        count=st.integers(1, 4),
        named=st.integers(0, 500),
    )
    def steer(
        self, call: int, callee: bool, action: Action, first: int, count: int, named: int
    ) -> None:
        """Mostly in calls that are there."""
        peer, sid = self.calls[call % len(self.calls)]
        who = BOB if callee else peer
        creator = Creator.RESPONDER if who == BOB else Creator.INITIATOR
        if action is not Action.CONTENT_ADD:
            creator = Creator.INITIATOR
        contents = [
            content(ContentKey(creator, f"c{n}"), RawUdp(fresh(named, 8)))
            for n in range(first, first + count)
        ]
        self.say(who, action, *contents, to=peer if who == BOB else BOB, sid=sid)

    @rule()
    def ports_drain(self) -> None:
        self.at.drain()

    @rule(taken=st.booleans())
    def a_bind_fails(self, taken: bool) -> None:
        self.at.held = True
        offers(self.at, ALICE, "fails")
        self.at.fail_all(taken)
        self.at.held = False
        self.at.bind_all()

    @rule(seconds=st.sampled_from((0.1, 1.0, 130.0)))
    def time_passes(self, seconds: float) -> None:
        self.at.passes(seconds)

    @invariant()
    def no_port_is_lost_and_no_budget_exceeded(self) -> None:
        if not hasattr(self, "at"):
            return
        at, policy, used = self.at, self.policy, self.at.pool.used
        counts = at.pool.counts
        held = counts.leased + counts.quarantined
        assert counts.free == at.free - held - counts.shunned
        assert sum(n for (kind, _), n in used.items() if kind == "user") == held
        assert sum(n for (kind, _), n in used.items() if kind == "domain") == held
        for (kind, name), ports in used.items():
            limits = {
                "user": [policy.ports_per_user],
                "domain": [
                    policy.ports_per_domain,
                    policy.ports_per_remote_domain if name != "example.org" else 0,
                ],
                "other servers": [at.pool.size * policy.remote_ports_percent // 100],
            }[kind]
            assert all(not limit or ports <= limit for limit in limits), (kind, name, ports)
        for session in at.registry:
            media = session.negotiation.media.values()
            assert not policy.contents or len(media) <= policy.contents
            names = [session.sid, *(key.name for key in session.negotiation.media)]
            assert not policy.name_bytes or all(len(n) <= policy.name_bytes for n in names)
            remembered = sum(medium.remembered for medium in media)
            spare = 2 * 2 * len(media) + 8 * sum(len(m.replacements) for m in media)
            assert not policy.candidates or remembered <= policy.candidates + spare

    def say(self, who: JID, action: Action, *told: Content, sid: str, to: JID = BOB) -> None:
        before = self.at.picture(), dict(self.at.pool.used), self.at.pool.counts
        answer = self.at.says(who, action, *told, to=to, sid=sid)
        if isinstance(answer, Bounce):
            after = self.at.picture(), dict(self.at.pool.used), self.at.pool.counts
            assert after == before, "a refused request has changed something"

    def teardown(self) -> None:
        if hasattr(self, "at"):
            self.at.run_out()
            assert not self.at.pool.used


TestAbuse = pytest.mark.timeout(300)(Abuse.TestCase)
TestAbuse.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
