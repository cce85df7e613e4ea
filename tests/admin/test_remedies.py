"""What `explain` says is to be done about a call helps: each call is made with its fault, and once
more with what the advice says. The rules are the real ones; see `world.py`."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from jingle_hnt.call.policy import EarlyMedia, IceMode, Times
from jingle_hnt.errors import Condition
from jingle_hnt.jingle.budgets import BudgetPolicy
from jingle_hnt.jingle.effects import Bounce, Gone, Refusal, Replace
from jingle_hnt.model.address import TransportAddress
from jingle_hnt.model.content import Candidate, Crypto, RawUdp, Senders
from jingle_hnt.model.jid import JID
from jingle_hnt.model.jingle import Action, Reason
from jingle_hnt.relay.interfaces import Interface
from jingle_hnt.relay.policing import MediaLimits
from jingle_hnt.relay.policy import PeerPolicy, UnknownSource
from tests.admin.world import World
from tests.jingle.stage import (
    ADDRESSES,
    ALICE,
    BOB,
    CAMERA,
    PUBLIC,
    RELAY,
    RELAY6,
    SIDES,
    candidates,
    content,
)
from tests.jingle.test_ice import OF_ALICE, OF_BOB, ice
from tests.jingle.test_terminate import at
from tests.plane.checks import answer, check
from tests.plane.packets import rtcp, rtp
from tests.plane.sdes import Sender

A, B = (f"{ADDRESSES[party]}:4000" for party in (ALICE, BOB))
ABROAD = JID.of("dora@elsewhere.example/phone")
ELSEWHERE, PRIVATE = "198.51.100.77:4000", "10.1.2.3:4000"


def peers(**changes: Any) -> PeerPolicy:
    return PeerPolicy(**({"own": (RELAY, RELAY6), "allow_networks": PUBLIC} | changes))


def called(**options: Any) -> World:
    world = World(**options)
    world.call()
    return world


def talked(one: str | None, other: str | None, **options: Any) -> World:
    world = called(**options)
    world.talk(one, other)
    return world


def ended(world: World) -> World:
    world.says(ALICE, Action.SESSION_TERMINATE, reason=Reason("success"))
    return world


@contextlib.contextmanager
def connected(party: JID, address: str) -> Iterator[None]:
    """This party's XMPP connection comes from there."""
    before, ADDRESSES[party] = ADDRESSES[party], address
    try:
        yield
    finally:
        ADDRESSES[party] = before


def always(datagram: bytes) -> Callable[[int], bytes]:
    return lambda _: datagram


@dataclass
class Faults:
    """A call of each cause; with `mended`, after what its advice says."""

    mended: bool

    def never_sent(self) -> World:
        """Its client sends."""
        return talked(A, B) if self.mended else talked(None, None)

    def one_way(self) -> World:
        """Its client sends."""
        return talked(A, B if self.mended else None)

    def no_rtp(self) -> World:
        """Its client is not muted any more."""
        world = called()
        for number in range(400):
            world.sends(0, A, 1, first=number)
            world.sends(1, B, 1, rtp if self.mended else lambda _: rtcp(2), first=number)
        return world

    def other_network(self) -> World:
        """The proxy is listed."""
        proxy = (ip_network("198.51.100.1"),)
        return talked(ELSEWHERE, B, peers=peers(proxies=proxy if self.mended else ()))

    def other_network_widened(self) -> World:
        """The network is widened."""
        return talked(ELSEWHERE, B, peers=peers(widen_v4=24 if self.mended else 32))

    def stranger(self) -> World:
        """The private network is listed."""
        private = (*PUBLIC, ip_network("10.0.0.0/8")) if self.mended else PUBLIC
        world = World(peers=peers(allow_networks=private))
        world.call(known=False)
        world.talk(PRIVATE, B)
        return world

    def on_probation(self) -> World:
        """The server says where it is."""
        world = World()
        world.call(known=self.mended)
        world.sends(0, A, 90)
        world.sends(1, B, 3)
        if self.mended:
            world.talk(A, B)
        return world

    def on_probation_for_longer(self) -> World:
        """Its client sends more than four packets."""
        world = World()
        world.call(known=False)
        world.sends(0, A, 10)
        world.sends(1, B, 10 if self.mended else 4)
        world.now += 6.0
        return world

    def changed(self) -> World:
        """Nothing is done: it is followed. A camera sends much until then."""
        world = called()
        for number in range(3000):
            source = A if number < 1500 or self.mended else "198.51.100.1:5555"
            world.sends(0, source, 1, first=number, pace_s=0.002)
            world.sends(1, B, 1, first=number, pace_s=0)
        assert world.case().call.contents[0].components[0].legs[0].learned == source
        return world

    def gated(self) -> World:
        """What comes before the accept may flow."""
        world = World(early_media=EarlyMedia.RESPONDER if self.mended else EarlyMedia.DROP)
        world.says(ALICE, Action.SESSION_INITIATE, content())
        world.sends(0, A, 3)
        world.sends(1, B, 450)
        world.says(BOB, Action.SESSION_ACCEPT, world.bobs())
        for number in range(450, 750):
            world.sends(0, A, 1, first=number)
            world.sends(1, B, 1, first=number, pace_s=0)
        return world

    def gated_by_senders(self) -> World:
        """Its client sends as it has agreed to."""
        world = called()
        if not self.mended:
            world.says(
                ALICE, Action.CONTENT_MODIFY, content(senders=Senders.INITIATOR, transport=None)
            )
        world.talk(A, B)
        return world

    def rival(self) -> World:
        """The server says where it is."""
        world = World()
        world.call(known=self.mended)
        world.sends(0, A, 3)
        for number in range(300):
            world.sends(1, B, 1, lambda n: rtp(n, 2), first=number)
            if number < 90:
                world.sends(1, ELSEWHERE, 1, lambda n: rtp(n, 3), first=number, pace_s=0)
        return world

    def rival_of_itself(self) -> World:
        """A client that changes its port and its stream is followed sooner."""
        world = talked(A, B, peers=peers(follow_after_s=1.0 if self.mended else 3.0))
        for number in range(75):
            world.sends(0, "198.51.100.1:5555", 1, lambda n: rtp(n, 77), first=number)
        seen = world.case().call.contents[0].components[0].legs[0]
        assert (seen.learned == "198.51.100.1:5555") == self.mended
        return world

    def moved_away(self) -> World:
        """The client sends a transport-info from where it is now."""
        world = talked(A, B)
        if self.mended:
            told = replace(content(), media=None, transport=candidates("192.0.2.21", 6000, 1))
            with connected(BOB, "198.51.100.77"):
                world.says(BOB, Action.TRANSPORT_INFO, told)
        for number in range(400):
            world.sends(0, A, 1, first=400 + number)
            world.sends(1, ELSEWHERE, 1, lambda n: rtp(n, 2), first=400 + number, pace_s=0)
        return world

    def strangers_later(self) -> World:
        """The relay takes the neighbouring address for the party's own."""
        world = talked(A, B, peers=peers(widen_v4=24 if self.mended else 32))
        for number in range(400):
            world.sends(0, A, 1, first=400 + number)
            world.sends(1, ELSEWHERE, 1, lambda n: rtp(n, 2), first=400 + number, pace_s=0)
            if not self.mended:  # still heard, of what it sends from both
                world.sends(1, B, 1, lambda n: rtp(n, 2), first=400 + number, pace_s=0)
        return world

    def policed(self) -> World:
        """The limit is raised."""
        return talked(A, B, limits=MediaLimits(max_pps=500 if self.mended else 20))

    def no_family(self) -> World:
        """An address of that version is added."""
        own = (Interface(RELAY, RELAY), Interface(RELAY6, RELAY6))
        world = World(interfaces=own if self.mended else own[:1])
        offer = replace(content(), transport=candidates("2001:db8:1::10", 5000))
        with connected(ALICE, "2001:db8:1::10"):
            world.says(ALICE, Action.SESSION_INITIATE, offer)
            world.says(BOB, Action.SESSION_ACCEPT, world.bobs())
        told = world.case().call.contents[0].components[0].legs[0].advertised
        world.talk("[2001:db8:1::10]:5000" if told.startswith("[") else None, B)
        return world

    def own_address(self) -> World:
        """Only one relay rewrites the call."""
        world = called()
        if not self.mended:  # another has written where its packets are to go
            address, port = _split(world.case().call.contents[0].components[0].legs[0].advertised)
            told = replace(content(), media=None, transport=candidates(address, port, 1))
            world.says(ALICE, Action.TRANSPORT_INFO, told)
        world.talk(A if self.mended else None, B)
        return world

    def own_address_of_its_host(self) -> World:
        """Who is behind the relay's own address is told its inner one."""
        inner = ip_address("10.0.0.9")
        home = (ip_network("10.0.0.0/8"),)
        both = (Interface(inner, RELAY), Interface(inner, inner, networks=home))
        world = World(
            interfaces=both if self.mended else both[:1],
            peers=peers(own=(RELAY, inner), allow_networks=(*PUBLIC, *home)),
        )
        where = (("10.0.0.5", 5000), (str(RELAY), 5000))
        told = tuple(Candidate(1, 0, TransportAddress.of(*a), a[0]) for a in where)
        with connected(ALICE, "10.0.0.5"):
            world.says(ALICE, Action.SESSION_INITIATE, replace(content(), transport=RawUdp(told)))
            world.says(BOB, Action.SESSION_ACCEPT, world.bobs())
        hairpin = world.case().call.contents[0].components[0].legs[0].advertised
        world.talk("10.0.0.5:5000" if hairpin.startswith("10.") else None, B)
        return world

    def asymmetric_ports(self) -> World:
        """Its client sends from the port that it receives on."""
        world = World()
        offer = replace(content(), transport=candidates("198.51.100.1", 5000))
        world.says(ALICE, Action.SESSION_INITIATE, offer)
        world.says(BOB, Action.SESSION_ACCEPT, world.bobs())
        world.talk("198.51.100.1:5000" if self.mended else A, B if self.mended else None)
        return world

    def not_delivered(self) -> World:
        """This host's firewall lets it out."""
        world = called()
        if not self.mended:
            world.media.walls.add(ADDRESSES[BOB])
        world.talk(A, B)
        return world

    def unsigned_media(self) -> World:
        """Its client uses the <crypto/> that was agreed."""
        return self._protected(foreign=0, own=400 if self.mended else 0, unsigned=400)

    def forged_media(self) -> World:
        """Nothing is done: the call goes on."""
        return self._protected(foreign=0 if self.mended else 40, own=400)

    def _protected(self, foreign: int, own: int, unsigned: int = 0) -> World:
        alice, bob, other = Sender(1), Sender(2), Sender(3)
        world = World()
        offer = replace(content(), crypto=(Crypto("1", alice.keys),))
        world.says(ALICE, Action.SESSION_INITIATE, offer)
        reply = replace(world.bobs(), crypto=(Crypto("1", bob.keys),))
        world.says(BOB, Action.SESSION_ACCEPT, reply)
        for number in range(400):
            world.sends(0, A, 1, alice.rtp, first=number)
            if number < own:
                world.sends(1, B, 1, bob.rtp, first=number, pace_s=0)
            elif number < unsigned:
                world.sends(1, B, 1, rtp, first=number, pace_s=0)
            if number < foreign:
                world.sends(1, ELSEWHERE, 1, other.rtp, first=number, pace_s=0)
        return world

    def never_accepted(self) -> World:
        """Nobody declines."""
        world = World()
        world.says(ALICE, Action.SESSION_INITIATE, content())
        if self.mended:
            world.says(BOB, Action.SESSION_ACCEPT, world.bobs())
            world.talk(A, B)
        return ended(world)

    def setup_timeout(self) -> World:
        """There is more time, and somebody takes it."""
        world = World(times=Times(setup_s=300.0 if self.mended else 120.0))
        world.says(ALICE, Action.SESSION_INITIATE, content())
        world.registry.gone(Gone(BOB), world.now)
        world.passes(200.0)
        if self.mended:
            world.says(BOB, Action.SESSION_ACCEPT, world.bobs())
            world.talk(A, B)
        return world

    def refused_by_party(self) -> World:
        """The content that it does not know is left out."""
        world = World()
        contents = [content()] if self.mended else [content(), content(CAMERA)]
        world.says(ALICE, Action.SESSION_INITIATE, *contents, id_="one")
        if not self.mended:
            refusal = Refusal(ALICE, BOB, "a", Action.SESSION_INITIATE, id="one")
            world.registry.refused(refusal, world.now)
            world.settle()
        else:
            world.says(BOB, Action.SESSION_ACCEPT, world.bobs())
            world.talk(A, B)
        return world

    def too_short(self) -> World:
        """The next one is longer, and says more."""
        world = called()
        world.talk(None, None, seconds=8.0 if self.mended else 2.0)
        return ended(world)

    def over_budget(self) -> World:
        """The budget is raised."""
        world = called(budgets=BudgetPolicy(contents=4 if self.mended else 1))
        answered = world.says(ALICE, Action.CONTENT_ADD, content(CAMERA))
        assert isinstance(answered, Replace if self.mended else Bounce)
        if isinstance(answered, Bounce):
            assert answered.error.condition is Condition.RESOURCE_CONSTRAINT
        world.talk(A, B)
        return world

    def unknown_transport(self) -> World:
        """ICE is relayed."""
        return self._agents(IceMode.APPEND if self.mended else IceMode.PASS, reach=True)

    def unused_relay(self) -> World:
        """Both reach the relay's ports."""
        return self._agents(IceMode.APPEND, reach=self.mended)

    def forged_checks(self) -> World:
        """Its client says that it restarts ICE."""
        return self._agents(IceMode.APPEND, reach=True, anew=True)

    def _agents(self, mode: IceMode, reach: bool, anew: bool = False) -> World:
        """Two agents with the relay as one candidate: each is known by the checks that it makes.
        Both may have begun `anew`, with or without saying so."""
        world = World(ice=mode, direct_first_s=0.0)
        alice, bob = OF_ALICE, OF_BOB
        offer = at(ice(alice), ADDRESSES[ALICE])
        world.says(ALICE, Action.SESSION_INITIATE, offer)
        world.says(BOB, Action.SESSION_ACCEPT, at(ice(bob), ADDRESSES[BOB]))
        if anew:
            alice, bob = ("Anewer", "pwd-of-alice-anew"), ("Bnewer", "pwd-of-bob-anew")
        for party, has in ((ALICE, alice), (BOB, bob)) if anew and self.mended else ():
            told = replace(at(ice(has, generation=1), ADDRESSES[party]), media=None)
            world.says(party, Action.TRANSPORT_INFO, told)
        if not reach or mode is IceMode.PASS:
            world.now += 8.0
            return world
        asks = [(SIDES[0], A, bob, alice), (SIDES[1], B, alice, bob)]
        for number, (side, source, asked, asking) in enumerate(asks * 2):
            name, made = f"{asked[0]}:{asking[0]}", bytes([number + 1]) * 12
            datagram = check(name, asked[1], True, made)
            world.sends(side, source, 1, always(datagram))
        heard = self.mended or not anew
        world.talk(A if heard else None, B if heard else None)
        return world

    def unanswered_checks(self) -> World:
        """Its answers arrive."""
        return self._asked("198.51.100.2", PUBLIC, self.mended)

    def no_candidate(self) -> World:
        """The private network is listed."""
        listed = (*PUBLIC, ip_network("10.0.0.0/8")) if self.mended else PUBLIC
        return self._asked("10.1.2.3", listed, self.mended)

    def _asked(self, candidate: str, allowed: Any, answers: bool) -> World:
        """ICE ends at the relay, which asks Bob where he says he is."""
        world = World(ice=IceMode.TERMINATE, peers=peers(allow_networks=allowed))
        offer = at(ice(OF_ALICE), ADDRESSES[ALICE])
        world.says(ALICE, Action.SESSION_INITIATE, offer)
        world.says(BOB, Action.SESSION_ACCEPT, at(ice(OF_BOB), candidate))
        for _ in range(400):
            world.now += 0.02
            world.media.ticks()
            for sent, to in world.media.sent:
                is_alice = to.startswith(f"{ADDRESSES[ALICE]}:")
                if sent[:2] == b"\0\1" and (is_alice or answers):
                    told = answer((OF_ALICE if is_alice else OF_BOB)[1], sent[8:20])
                    world.media.hears("s1.1.1", SIDES[not is_alice], to, told)
            world.media.sent.clear()
            world.apply_events()
        world.talk(f"{ADDRESSES[ALICE]}:5000", f"{candidate}:5000" if answers else None)
        return world


def _split(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)


@pytest.mark.parametrize(
    ("fault", "cause", "advice"),
    [
        ("never_sent", "never-sent", "its client does not send, or cannot reach relay.ports"),
        ("one_way", "one-way", "client does not send, is muted, or its firewall stops UDP"),
        ("no_rtp", "no-rtp", "its microphone or camera gives nothing, or its client has muted it"),
        ("other_network", "other-network", "list the XMPP server's proxies in relay.proxies"),
        ("other_network_widened", "other-network", "or widen the network with relay.widen_v4"),
        ("stranger", "stranger", "relay.allow_networks lists private networks that may hold"),
        ("on_probation", "on-probation", "if the XMPP server sees its users' addresses"),
        ("on_probation_for_longer", "on-probation", "five packets in sequence are accepted"),
        ("changed", "changed", "nothing is to be done: another stream is followed"),
        ("gated", "gated", "gate.policy and gate.early_media say what may flow when"),
        ("gated_by_senders", "gated", "or against the content's senders"),
        ("rival", "rival", "have the XMPP server see its users' addresses"),
        ("moved_away", "moved-away", "the relay follows when the client is online again or sends"),
        ("strangers_later", "strangers-later", "see relay.widen_v4, relay.widen_v6"),
        ("policed", "policed", "raise relay.max_kbps or relay.max_pps"),
        ("no_family", "no-family", "add an address of that version to relay.interfaces"),
        ("own_address", "own-address", "another relay rewrites the call: let only one do it"),
        ("own_address_of_its_host", "own-address", "with `networks` in relay.interfaces"),
        ("asymmetric_ports", "asymmetric-ports", "must send from the port that it receives on"),
        ("not_delivered", "not-delivered", "look at this host's firewall and routes"),
        ("unsigned_media", "unsigned-media", "its client does not use the <crypto/>"),
        ("forged_media", "forged-media", "somebody else sends to that port"),
        ("never_accepted", "never-accepted", "nothing is wrong where somebody declined"),
        ("setup_timeout", "setup-timeout", "after times.setup_s a party had left"),
        ("refused_by_party", "refused-by-party", "it may not know one of the call's contents"),
        ("over_budget", "over-budget", "docs/configuration.md has the option of each budget"),
        (
            "unknown_transport",
            "unknown-transport",
            "ice.mode and relay.already_relayed decide what",
        ),
        ("unused_relay", "unused-relay", "test whether both clients can reach relay.ports"),
        ("forged_checks", "forged-checks", "or its client restarts ICE without saying so"),
        ("unanswered_checks", "unanswered-checks", "or a firewall stops UDP to relay.ports"),
        ("no_candidate", "no-candidate", "private addresses (relay.allow_networks lists those"),
    ],
)
def test_what_is_to_be_done_helps(fault: str, cause: str, advice: str) -> None:
    made = Faults(mended=False), Faults(mended=True)
    sick, well = (getattr(each, fault)().causes() for each in made)
    assert advice in sick[cause]
    assert well == {}


def test_who_changes_port_and_stream_is_followed_after_the_time_that_is_set() -> None:
    for mended in (False, True):
        told = Faults(mended).rival_of_itself().causes()["rival"]
        assert "both its port and its stream is followed after relay.follow_after_s" in told


def test_the_next_call_says_more_than_one_that_was_too_short() -> None:
    assert "otherwise watch the next call" in Faults(mended=False).too_short().causes()["too-short"]
    assert set(Faults(mended=True).too_short().causes()) == {"never-sent"}


def test_media_that_somebody_forges_does_not_end_the_owners() -> None:
    """The advice says that the call goes on."""
    world = Faults(mended=False).forged_media()
    assert "; the call goes on" in world.causes()["forged-media"]
    assert world.case().call.contents[0].components[0].legs[1].rtp_packets == 400


def test_parties_that_are_told_a_wrong_address_are_heard_when_it_is_right() -> None:
    """Nobody of any call is heard: what `calls` shows as told is the first thing to look at."""
    wrong = ip_address("203.0.113.200")
    for told in (wrong, RELAY):
        world = World(interfaces=(Interface(RELAY, told),))
        world.call()
        leg = world.case().call.contents[0].components[0].legs[0]
        assert leg.advertised.startswith(f"{told}:")
        arrives = told == RELAY
        world.talk(A if arrives else None, B if arrives else None)
        found = world.causes(nobody_lately=not arrives)
        assert set(found) == (set() if arrives else {"nobody-heard"})
        if not arrives:
            advice = (
                "see `advertised` of `jingle-hnt calls --addresses`, and run `jingle-hnt check`"
            )
            assert advice in found["nobody-heard"]


def test_who_is_unproven_may_be_accepted_on_probation() -> None:
    advice = 'relay.unknown_source = "probation" accepts them after five packets in sequence'
    refusing = World(peers=peers(unknown_source=UnknownSource.REFUSE))
    refusing.says(ALICE, Action.SESSION_INITIATE, content(), to=ABROAD)
    refusing.says(ABROAD, Action.SESSION_ACCEPT, refusing.bobs(), to=ALICE)
    assert refusing.causes()["unproven"] == advice
    world = World()
    world.call(known=False)
    world.talk(A, B)
    assert world.causes() == {}
    assert world.case().call.contents[0].components[0].legs[0].dropped["probation"] == 4
