"""A front of a line-based kind: `call` with an address, `answer` with one, `end`."""

from collections.abc import Sequence
from dataclasses import dataclass

from jingle_hnt.call.allocation import Allocation
from jingle_hnt.call.budgets import MediaBudgetPolicy, MediaBudgets
from jingle_hnt.call.call import Call
from jingle_hnt.call.effects import FrontEffect
from jingle_hnt.call.endpoint import Account, Endpoint
from jingle_hnt.call.leg import Leg
from jingle_hnt.call.policy import CallPolicy
from jingle_hnt.call.reply import Reply
from jingle_hnt.fronts.inputs import Driver
from jingle_hnt.model.address import TransportAddress
from jingle_hnt.model.content import Candidate, Content, ContentKey, Creator, RawUdp

VOICE = ContentKey(Creator.INITIATOR, "0")


@dataclass(frozen=True)
class Say(FrontEffect):
    """Tell the other side where to send."""

    call: str
    where: TransportAddress


class Line:
    """One call, and what its next answer waits for."""

    def __init__(self, front: "ToyFront", call: Call) -> None:
        self.front, self.call, self.over, self.reply = front, call, False, Reply()

    @property
    def is_over(self) -> bool:
        return self.over and not self.call.anchor.is_waiting

    @property
    def wake_at(self) -> float | None:
        return None if self.over else self.call.wake_at

    def on_bound(self, number: int) -> None:
        (candidates,) = self.reply.substitution.values()
        self.call.anchor.out.append(Say(self.call.name, candidates[0].address))

    def on_unbound(self, number: int, lost: Sequence[Allocation], plane_is_gone: bool) -> None:
        self.on_emptied()

    def on_emptied(self) -> None:
        self.over = True
        self.call.release()

    def on_time(self, now: float) -> None:
        self.call.pass_time(now)
        if now >= self.call.deadline[0]:
            self.on_emptied()

    def on_settled(self, now: float) -> None:
        if self.is_over:
            self.front.lines.pop(self.call.name, None)

    def remember(self) -> None:
        """Nothing is written down."""


class ToyFront:
    """See the module's text."""

    def __init__(self, driver: Driver) -> None:
        self.driver, self.lines, self.said = driver, dict[str, Line](), list[Say]()
        self.budgets = MediaBudgets(
            MediaBudgetPolicy(), driver.calls.planes, frozenset({"toys"}), driver.calls.out
        )

    async def run(self) -> None:
        """Nobody speaks to a toy but its play."""

    def carry_out(self, effect: FrontEffect) -> bool:
        if isinstance(effect, Say):
            self.said.append(effect)
        return isinstance(effect, Say)

    def follow(self) -> None:
        """A toy has no options."""

    def calls(self, one: TransportAddress, other: TransportAddress) -> str:
        """A call of two parties who were seen at these addresses."""
        name, now = self.driver.calls.names(), self.driver.now()
        ends = Endpoint(Account("a", "toys"), one.ip), Endpoint(Account("b", "toys"), other.ip)
        line = Line(self, self.driver.calls.open(name, ends, CallPolicy(), self.budgets, now))
        self.lines[name] = line
        self.driver.calls.enter(line)
        line.reply = line.call.negotiation.propose(Leg.INITIATOR, [_content(one)], now)
        line.call.anchor.bind(line.reply.allocations)
        self._done(line)
        return name

    def answers(self, name: str, where: TransportAddress) -> None:
        """The called party takes its media here."""
        line, now = self.lines[name], self.driver.now()
        line.reply = line.call.negotiation.accept(Leg.RESPONDER, [_content(where)], now)
        line.call.life.accepted_at = now
        line.on_bound(0)
        self._done(line)

    def ends(self, name: str) -> None:
        """Either party hangs up."""
        line = self.lines[name]
        line.on_emptied()
        self._done(line)

    def _done(self, line: Line) -> None:
        self.driver.calls.settle(line, self.driver.now())
        self.driver.carry_out()


def _content(address: TransportAddress) -> Content:
    return Content(VOICE, None, RawUdp((Candidate(1, 0, address),)), "audio")
