"""The desk over the pure core: what a call leaves behind, and what commands answer and change."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import structlog

from jingle_hnt.admin.desk import Desk
from jingle_hnt.admin.snapshots import ReloadSnapshot
from jingle_hnt.model.jid import JID
from jingle_hnt.model.jingle import Action, Reason
from jingle_hnt.relay.binding import (
    BindingName,
    BindingSnapshot,
    Counters,
    Drained,
    Flow,
    PinholeSnapshot,
)
from jingle_hnt.relay.latch import State
from jingle_hnt.session.registry import Registry
from jingle_hnt.store.history import History
from tests.session.stage import ALICE, BOB, Stage, content


@dataclass
class Office:
    """A process around a stage; `heard` are the packets that each side is said to have sent."""

    stage: Stage
    heard: tuple[int, int] = (500, 500)
    away: bool = False
    level: str = "info"
    link_is_up: bool = True
    journal_healthy: bool = True
    engine: str | None = "reference"
    announced: list[tuple[JID, str]] = field(default_factory=list)
    asked: list[Sequence[BindingName] | None] = field(default_factory=list)

    @property
    def registry(self) -> Registry:
        return self.stage.registry

    def now(self) -> float:
        return self.stage.now

    def settle(self) -> None:
        self.stage.settle()

    def reload(self) -> ReloadSnapshot:
        raise ValueError("nothing is changed: no")

    def set_log_level(self, level: str) -> None:
        self.level = level

    def announce(self, to: Iterable[JID], text: str) -> None:
        self.announced += [(jid, text) for jid in to]

    async def bindings(
        self, names: Sequence[BindingName] | None = None
    ) -> list[BindingSnapshot] | None:
        self.asked.append(names)
        if self.away:
            return None
        held = self.stage.plane.bindings | self.stage.plane.draining
        return [self.binding(name) for name in held if names is None or name in names]

    def binding(self, name: BindingName) -> BindingSnapshot:
        first, second = (self._pinhole(count) for count in self.heard)
        return BindingSnapshot(name, (first, second), draining=False)

    def _pinhole(self, count: int) -> PinholeSnapshot:
        bound = next(iter(self.stage.pool.interfaces)).told(2000)
        counters = Counters(received_packets=count, received_bytes=160 * count)
        return PinholeSnapshot(bound, State.LATCHED, 0, None, None, None, None, Flow.OPEN, counters)


@pytest.fixture
def history(tmp_path: Path) -> Iterator[History]:
    history = History(tmp_path / "history.sqlite", 100)
    yield history
    history.close()


@pytest.fixture
def office() -> Office:
    return Office(Stage())


@pytest.fixture
def desk(office: Office, history: History) -> Desk:
    return Desk(office, history)


async def ask(desk: Desk, command: str, **fields: object) -> Any:
    (found,) = [c for c in desk.commands if c.name == command]
    return await found.run(fields)


async def hang_up(office: Office, desk: Desk) -> None:
    office.stage.passes(8.0)
    office.stage.says(ALICE, Action.SESSION_TERMINATE, sid="x", reason=Reason("success"))
    (ended,) = office.stage.ended
    await desk.close_case(ended)


async def test_a_call_leaves_one_line_and_one_row(office: Office, desk: Desk) -> None:
    office.stage.call(sid="x")
    with structlog.testing.capture_logs() as lines:
        await hang_up(office, desk)
    (line,) = [line for line in lines if line["event"] == "call ended"]
    assert line["why"] == "terminated"
    assert line["reason"] == "success"
    assert line["duration_s"] == 8.0
    assert len(line["legs"]) == 4
    assert "voice/1 initiator: signalled 192.0.2.10:5000" in line["legs"][0]
    assert "in 500/80000" in line["legs"][0]
    (report,) = (await ask(desk, "history")).calls
    assert report.counted
    assert report.call.initiator == str(ALICE)
    assert report.call.contents[0].components[0].legs[0].received_packets == 500
    assert report.diagnosis == ()


async def test_what_was_wrong_is_explained_live_and_afterwards(office: Office, desk: Desk) -> None:
    office.heard = (500, 0)
    office.stage.call(sid="x")
    office.stage.passes(20.0)
    live = await ask(desk, "explain", call="x")
    assert live.report is None
    await hang_up(office, desk)
    over = await ask(desk, "explain", call=live.call.call)
    assert over.report.why == "terminated"
    for explained in (live, over):
        assert [(f.cause, f.party) for f in explained.diagnosis] == [("one-way", str(BOB))]
    assert desk.tally.one_way == 1


async def test_without_a_plane_the_report_says_that_it_counts_nothing(
    office: Office, desk: Desk
) -> None:
    office.stage.call(sid="x")
    office.away = True
    await hang_up(office, desk)
    (report,) = (await ask(desk, "history")).calls
    assert not report.counted
    assert [finding.cause for finding in report.diagnosis] == ["plane-away"]


async def test_the_last_counters_of_a_binding_that_is_gone_are_in_the_report(
    office: Office, desk: Desk
) -> None:
    office.stage.call(sid="x")
    for name in list(office.stage.plane.bindings):
        desk.told(Drained(name, office.binding(name).pinholes))
    office.away = True
    await hang_up(office, desk)
    (report,) = (await ask(desk, "history")).calls
    assert report.counted
    assert report.call.contents[0].components[0].legs[0].received_packets == 500


async def test_drain_and_undrain(office: Office, desk: Desk) -> None:
    status = await ask(desk, "drain")
    assert status.draining
    assert not status.ready
    assert office.registry.draining
    status = await ask(desk, "undrain")
    assert status.ready
    assert not office.registry.draining


async def test_a_drain_is_announced_to_users_of_ours_who_are_in_a_call(
    office: Office, desk: Desk
) -> None:
    stranger = JID.of("dora@elsewhere.example/phone")
    office.stage.call(sid="x")
    office.stage.says(ALICE, Action.SESSION_INITIATE, content(), to=stranger, sid="y")
    assert len(office.registry) == 2
    await ask(desk, "drain")
    assert office.announced == []
    await ask(desk, "drain", announcement=["Update at nine.", "Sorry!"])
    assert office.announced == [(jid, "Update at nine.\nSorry!") for jid in (ALICE, BOB)]
    with pytest.raises(ValueError, match="control character"):
        await ask(desk, "drain", announcement="\x1b[31m")


def test_a_drain_is_where_the_standard_has_the_end_of_a_service(desk: Desk) -> None:
    (drain,) = [c for c in desk.commands if c.name == "drain"]
    assert drain.node == "http://jabber.org/protocol/admin#shutdown"
    assert [(f.name, f.kind.value) for f in drain.fields] == [("announcement", "text-multi")]


async def test_blocking_holds_in_the_next_life(
    office: Office, desk: Desk, history: History
) -> None:
    await ask(desk, "block", who="Eve@example.org")
    assert (await ask(desk, "limits")).blocked == ("eve@example.org",)
    later = Office(Stage())
    Desk(later, history)
    assert later.registry.limits.blocked == {"eve@example.org"}
    await ask(desk, "unblock", who="eve@example.org")
    assert history.blocked() == set()


@pytest.mark.parametrize(
    ("command", "fields", "part"),
    [
        ("call", {"call": "nobody"}, "jingle-hnt calls"),
        ("call", {}, "call: missing"),
        ("explain", {"call": "nobody"}, "jingle-hnt history"),
        ("terminate", {"call": "nobody"}, "no such call"),
        ("history", {"count": "many"}, "from 1 to 1000"),
        ("history", {"count": 0.5}, "from 1 to 1000"),
        ("block", {"who": "alice@example.org/phone"}, "bare JID"),
        ("block", {"who": "@"}, "bare JID"),
        ("unblock", {"who": "eve@example.org"}, "is not blocked"),
        ("loglevel", {"level": "loud"}, "debug, info"),
        ("reload", {}, "nothing is changed"),
    ],
)
async def test_what_cannot_be_done_is_said_in_words(
    desk: Desk, command: str, fields: dict[str, object], part: str
) -> None:
    with pytest.raises(ValueError, match=part):
        await ask(desk, command, **fields)


async def test_the_log_level_is_set(office: Office, desk: Desk) -> None:
    assert (await ask(desk, "loglevel", level="debug")).level == "debug"
    assert office.level == "debug"
