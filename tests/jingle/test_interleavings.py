"""Both parties, a third one, the plane's answers and time, in any order: nothing breaks or leaks.

`HYPOTHESIS_PROFILE=nightly` plays ten times as much.
"""

import os
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from jingle_hnt.call.leg import Leg
from jingle_hnt.call.policy import IceMode, Times
from jingle_hnt.call.reconcile import reconcile
from jingle_hnt.jingle.effects import Gone, Moved, Refusal
from jingle_hnt.jingle.record import dump, load
from jingle_hnt.jingle.table import State
from jingle_hnt.model.address import TransportAddress
from jingle_hnt.model.content import (
    ICE,
    ICE_UDP,
    Candidate,
    Content,
    ContentKey,
    Creator,
    Ice,
    Senders,
    Transport,
)
from jingle_hnt.model.jid import JID
from jingle_hnt.model.jingle import Action, Info
from jingle_hnt.plane.protocol import ArmRequest, encode, read_request
from jingle_hnt.relay.binding import Flow
from tests.jingle.model import Model
from tests.jingle.stage import ALICE, BOB, MALLORY, RELAY6, Plane, Stage, candidates

NIGHTLY = os.environ.get("HYPOTHESIS_PROFILE") == "nightly"
PARTIES = st.sampled_from([ALICE, BOB])
SIDS = st.sampled_from(["a", "b"])
KEYS = st.sampled_from(
    [
        ContentKey(Creator.INITIATOR, "voice"),
        ContentKey(Creator.INITIATOR, "camera"),
        ContentKey(Creator.RESPONDER, "screen"),
    ]
)
AGENTS = [
    Candidate(c, 0, TransportAddress.of(ip, 5000))
    for c in (1, 2)
    for ip in ("198.51.100.1", "192.0.2.1", "2001:db8:1::5")
]
CONTENTS = st.builds(
    Content,
    KEYS,
    st.sampled_from([None, *Senders]),
    st.one_of(
        st.none(),
        st.builds(
            candidates,
            st.sampled_from(["192.0.2.10", "198.51.100.5", "2001:db8:1::5"]),
            st.integers(5000, 5010),
            st.integers(0, 3),
            st.sampled_from([(1, 2), (1,), (2,), ()]),
        ),
        st.builds(
            Ice,
            st.sampled_from([ICE, ICE_UDP]),
            st.sampled_from(["ufrag", "other", ""]),
            st.sampled_from(["pwd", "password"]),
            st.lists(st.sampled_from(AGENTS), max_size=3).map(tuple),
            st.sampled_from([frozenset(), frozenset({1}), frozenset({1, 2})]),
            st.sampled_from([None, 0, 1, 2]),
        ),
    ),
    st.sampled_from(["audio", None]),
)
TRANSPORTS: st.SearchStrategy[Transport] = st.sampled_from(
    [candidates("192.0.2.20", 6000), Ice(ICE_UDP, "answer", "pwd-of-it", tuple(AGENTS))]
)
IDS = st.sampled_from(["", "x1", "x2"])
OFFERS = st.lists(CONTENTS, min_size=1, max_size=3, unique_by=lambda c: c.key)


class Interleavings(RuleBasedStateMachine):
    """The registry among everybody who can talk to it."""

    def __init__(self) -> None:
        super().__init__()
        self.ice = IceMode.APPEND
        self.raw_udp: tuple[str, ...] = ()
        self.stage = self.fresh()
        self.model = Model()

    def fresh(self) -> Stage:
        times = Times(setup_s=20, first_media_s=10)
        stage = Stage(ports=(2000, 2039), times=times, ice=self.ice, raw_udp=self.raw_udp)
        stage.held = True
        return stage

    @initialize(
        ice=st.sampled_from(IceMode), raw_udp=st.sampled_from([(), ("alice@*",), ("bob@*",)])
    )
    def policy(self, ice: IceMode, raw_udp: tuple[str, ...]) -> None:
        self.ice, self.raw_udp = ice, raw_udp
        self.stage = self.fresh()

    def says(self, sender: JID, action: Action, *contents: Content, **options: Any) -> None:
        """A party's request, whose answer and effect the model foresees."""
        self.stage.says(sender, action, *contents, **options)
        self.model.request(self.stage, sender, self.other(sender), action, options["sid"])

    @staticmethod
    def other(party: JID) -> JID:
        return BOB if party == ALICE else ALICE

    @rule(sender=PARTIES, action=st.sampled_from(Action), sid=SIDS, contents=OFFERS, id_=IDS)
    def request(
        self, sender: JID, action: Action, sid: str, contents: list[Content], id_: str
    ) -> None:
        self.says(sender, action, *contents, sid=sid, id_=id_)

    @rule(sender=PARTIES, sid=SIDS, offer=CONTENTS, known=st.booleans())
    def offer(self, sender: JID, sid: str, offer: Content, known: bool) -> None:
        self.says(sender, Action.SESSION_INITIATE, offer, sid=sid, known=known)

    @precondition(lambda self: len(self.stage.registry) > 0)
    @rule(data=st.data())
    def accept(self, data: st.DataObject) -> None:
        session = data.draw(st.sampled_from(list(self.stage.registry)))
        _, responder = session.parties
        contents = [
            Content(key, None, data.draw(TRANSPORTS))
            for key in session.negotiation.media.unagreed(Leg.INITIATOR)
        ]
        self.says(responder.jid, Action.SESSION_ACCEPT, *contents, sid=session.sid)

    @rule(sender=PARTIES, sid=SIDS, info=st.sampled_from(Info))
    def inform(self, sender: JID, sid: str, info: Info) -> None:
        self.says(sender, Action.SESSION_INFO, sid=sid, info=info)

    @rule(
        stranger=st.sampled_from([MALLORY, JID.of("alice@example.org/other")]),
        action=st.sampled_from(sorted(set(Action) - {Action.SESSION_INITIATE})),
        to=PARTIES,
        sid=SIDS,
        contents=OFFERS,
    )
    def stranger(
        self, stranger: JID, action: Action, to: JID, sid: str, contents: list[Content]
    ) -> None:
        is_device = action is Action.SESSION_ACCEPT and stranger.bare == ALICE.bare
        assume(not is_device)  # another device of who was called may answer
        before = self.stage.picture()
        self.stage.says(stranger, action, *contents, to=to, sid=sid)
        assert self.stage.picture() == before

    @rule()
    def plane_binds(self) -> None:
        self.stage.bind_all()

    @rule(port_taken=st.booleans())
    def plane_refuses(self, port_taken: bool) -> None:
        self.stage.fail_all(port_taken)

    @rule()
    def plane_drains(self) -> None:
        self.stage.drain()

    @precondition(lambda self: self.stage.plane.armed)
    @rule(data=st.data(), ip=st.sampled_from(["198.51.100.1", "198.51.100.77"]))
    def plane_latches(self, data: st.DataObject, ip: str) -> None:
        name, side = data.draw(st.sampled_from(sorted(self.stage.plane.armed)))
        self.stage.latch(name, side, ip)

    @precondition(lambda self: self.stage.plane.armed)
    @rule(data=st.data(), silent=st.booleans())
    def plane_hears(self, data: st.DataObject, silent: bool) -> None:
        name, side = data.draw(st.sampled_from(sorted(self.stage.plane.armed)))
        (self.stage.silent if silent else self.stage.heard)(name, side)

    @rule()
    def plane_tells_of_bindings_that_are_no_more(self) -> None:
        self.stage.silent("s999.1.1", 0)
        self.stage.heard("nonsense", 1)

    @precondition(lambda self: not self.stage.binds)
    @rule()
    def plane_is_new(self) -> None:
        self.stage.plane = Plane()
        reconcile(self.stage.registry.calls, [], self.stage.now)
        self.stage.settle()

    @rule(made=st.booleans())
    def signalling_is_new(self, made: bool) -> None:
        """Killed at any moment, and started again with what is written down."""
        self.stage.reborn(made)
        assert {s.name for s in self.stage.registry} == set(self.stage.written)
        self.model.lost(self.stage)

    @rule(seconds=st.sampled_from([0.1, 5.0, 30.0, 200.0]))
    def time_passes(self, seconds: float) -> None:
        self.stage.passes(seconds)

    @rule(sender=PARTIES, action=st.sampled_from(Action), sid=SIDS, unknown=st.booleans(), id_=IDS)
    def refusal(self, sender: JID, action: Action, sid: str, unknown: bool, id_: str) -> None:
        refusal = Refusal(sender, self.other(sender), sid, action, unknown, id_)
        self.stage.registry.refused(refusal, self.stage.now)
        self.stage.settle()

    @rule(party=PARTIES, gone=st.booleans())
    def presence(self, party: JID, gone: bool) -> None:
        if gone:
            self.stage.registry.gone(Gone(party), self.stage.now)
        else:
            self.stage.registry.moved(Moved(party, RELAY6), self.stage.now)
        self.stage.settle()

    @invariant()
    def model_and_system_agree(self) -> None:
        self.model.agrees_with(self.stage)

    @invariant()
    def ports_and_bindings_agree(self) -> None:
        self.stage.assert_ports_and_bindings_agree()

    @invariant()
    def no_media_flows_before_the_accept(self) -> None:
        for session in self.stage.registry:
            if session.state is State.PENDING:
                for allocation in session.negotiation.allocations:
                    agreed = any(
                        m.agreed and m.allocation is allocation
                        for m in session.negotiation.media.values()
                    )
                    assert agreed or Flow.OPEN not in allocation.flows

    @invariant()
    def a_record_reads_back_as_it_was_written(self) -> None:
        for session in self.stage.registry:
            if session.state is State.ENDED or self.stage.binds:
                continue
            record = dump(session, self.stage.now)
            fresh = self.fresh()
            again = load(record, fresh.registry, self.stage.now)
            assert dump(again, self.stage.now) == record

    @invariant()
    def what_is_written_down_is_what_is(self) -> None:
        """All but how long ago who was heard, which the plane tells anew."""
        for session in self.stage.registry:
            if session.name in self.stage.written:
                written = self.stage.written[session.name]
                assert lasting(dump(session, self.stage.now)) == lasting(written)

    @invariant()
    def the_plane_can_read_every_order(self) -> None:
        for order in self.stage.plane.armed.values():
            request = ArmRequest(id=1, orders=(order,))
            assert read_request(encode(request)) == request

    def teardown(self) -> None:
        self.stage.run_out()


HEARING = {
    "clock_s",
    "age_s",
    "accepted_s",
    "agreed_s",
    "ended_s",
    "quiet_s",
    "latched_s",
    "waits_s",
    "lively",
}


def lasting(record: Any) -> Any:
    """What of a record does not change by itself."""
    match record:
        case dict():
            return {key: lasting(value) for key, value in record.items() if key not in HEARING}
        case list():
            return [lasting(value) for value in record]
    return record


TestInterleavings = pytest.mark.timeout(600)(Interleavings.TestCase)
TestInterleavings.settings = settings(
    max_examples=2000 if NIGHTLY else 200,
    stateful_step_count=60,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
