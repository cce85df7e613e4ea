"""Draws the pictures of README and docs from the code itself.

The call flow is a call that is really played through the session core, the state diagram is read
from its table, the rooms from their contract and their imports, and `top` is the command's own
view of two made-up calls. `python -m scripts.draw` writes them, `--check` says whether they are up
to date.
"""

import ast
import io
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from html import escape
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from jingle_hnt.admin.snapshots import (
    CallSnapshot,
    ComponentSnapshot,
    ContentSnapshot,
    LegSnapshot,
)
from jingle_hnt.call.calls import Calls
from jingle_hnt.call.effects import Bind, Release
from jingle_hnt.call.ice import DRAWN
from jingle_hnt.call.leg import Leg
from jingle_hnt.commands import inspect, lines, top
from jingle_hnt.jingle.effects import Replace, Request
from jingle_hnt.jingle.policy import SessionPolicy
from jingle_hnt.jingle.registry import Registry
from jingle_hnt.jingle.table import TABLE, State
from jingle_hnt.model.address import TransportAddress
from jingle_hnt.model.content import Candidate, Content, ContentKey, Creator, RawUdp, Senders
from jingle_hnt.model.jid import JID
from jingle_hnt.model.jingle import Action, Jingle
from jingle_hnt.relay.binding import Arm, Flow, Gate, Latched
from jingle_hnt.relay.planes import Planes
from jingle_hnt.relay.policy import PeerPolicy, ip_network
from jingle_hnt.relay.ports import Interface, PortPool
from scripts.generated import run
from scripts.rooms import contracts, layers

ROOT = Path(__file__).parent.parent
PICTURES = ROOT / "docs" / "pictures"
ALICE, SERVER, SIGNALLING, PLANE, BOB = range(5)
HEADS = (
    ("Alice", "192.0.2.10 behind a NAT"),
    ("XMPP server", "with the filter module"),
    ("jingle-hnt", "signalling"),
    ("jingle-hnt", "plane, 203.0.113.9"),
    ("Bob", "192.0.2.10 behind a NAT"),
)
STYLE = (
    "text{font:13px system-ui,sans-serif;fill:#1f2933}.s{font-size:11px;fill:#52606d}"
    ".l{stroke:#9aa5b1;stroke-dasharray:4 4}.x{stroke:#2563eb;stroke-width:1.5;fill:none}"
    ".c{stroke:#7c3aed;stroke-width:1.5;fill:none}.m{stroke:#059669;stroke-width:2.5;fill:none}"
    "rect{fill:#f5f7fa;stroke:#9aa5b1;rx:6}.bg{fill:#fff;stroke:none}"
)


@dataclass(frozen=True)
class Step:
    """One arrow: from lane to lane, what it says, and the kind of line (x, c or m)."""

    source: int
    target: int
    text: str
    kind: str


def call_flow() -> str:
    """A raw-udp call from offer to hang-up, as the session core answers it."""
    return sequence(list(_play()), HEADS)


def _play() -> Iterator[Step]:
    stage = _Stage()
    yield from stage.says(ALICE, Action.SESSION_INITIATE, "192.0.2.10", 5000)
    yield from stage.says(BOB, Action.SESSION_ACCEPT, "192.0.2.10", 6000)
    yield from stage.sends(ALICE, Leg.INITIATOR, "198.51.100.1", 40112)
    yield from stage.sends(BOB, Leg.RESPONDER, "198.51.100.2", 61034)
    first, second = "198.51.100.1:40112", "198.51.100.2:61034"
    yield Step(PLANE, BOB, f"Alice's RTP, sent to {second}", "m")
    yield Step(PLANE, ALICE, f"Bob's RTP, sent to {first}", "m")
    yield from stage.says(ALICE, Action.SESSION_TERMINATE, None, 0)


class _Stage:
    """Plays a call through the real registry and turns what it does into steps."""

    def __init__(self) -> None:
        relay = ip_address("203.0.113.9")
        peers = PeerPolicy(own=(relay,), allow_networks=(ip_network("198.51.100.0/24"),))
        policy = SessionPolicy(frozenset({"example.org"}), peers)
        picks = iter((100, 550, 0, 0))
        pool = PortPool([Interface(relay, relay)], 2000, 3998, lambda n: next(picks) % n)
        self.registry = Registry(
            policy, Calls(Planes.of(pool), lambda: "call", lambda: "0" * DRAWN)
        )
        self.alice, self.bob = JID.of("alice@example.org/phone"), JID.of("bob@example.org/desk")
        self.token = 0

    def says(self, who: int, action: Action, ip: str | None, port: int) -> Iterator[Step]:
        """A party's request, up to its delivery to the other party."""
        self.token += 1
        sender, recipient = (self.alice, self.bob) if who == ALICE else (self.bob, self.alice)
        other = BOB if who == ALICE else ALICE
        contents = () if ip is None else (_content(ip, port),)
        detail = "" if ip is None else f", RTP to {ip}:{port}"
        yield Step(who, SERVER, f"{action}{detail}", "x")
        yield Step(SERVER, SIGNALLING, "intercept: held", "x")
        ips = (ip_address("198.51.100.1"), ip_address("198.51.100.2"))
        sender_ip, recipient_ip = ips if who == ALICE else ips[::-1]
        jingle = Jingle(action, "a73sjjvkla37jfea", contents=contents)
        request = Request(self.token, sender, recipient, jingle, sender_ip, recipient_ip)
        self.registry.receive(request, 0.0)
        told = ""
        for effect in self._effects():
            match effect:
                case Bind():
                    yield Step(SIGNALLING, PLANE, "bind RTP and RTCP, both sides, and at once", "c")
                case Arm(side=side):
                    yield Step(SIGNALLING, PLANE, f"arm side {side}: {_sources(effect)}", "c")
                case Gate(flows=(flow, _)) if flow is Flow.OPEN:
                    yield Step(SIGNALLING, PLANE, "open the gate", "c")
                case Release():
                    yield Step(SIGNALLING, PLANE, "release; ports drain, then are free", "c")
                case Replace(substitution=substitution):
                    candidate = next(iter(substitution.values()))[0]
                    told = f", RTP to {candidate.address}"
        verdict = "replace" if told else "pass"
        yield Step(SIGNALLING, SERVER, verdict, "x")
        yield Step(SERVER, other, f"{action}{told}", "x")

    def sends(self, who: int, leg: Leg, ip: str, port: int) -> Iterator[Step]:
        """A party's first packet."""
        session = next(iter(self.registry))
        (allocation,) = session.negotiation.allocations
        bound = allocation.leases[leg].bound(1)
        yield Step(who, PLANE, f"first RTP to {bound}", "m")
        source = TransportAddress.of(ip, port)
        side = 0 if leg is Leg.INITIATOR else 1
        event = Latched(allocation.binding(1), side, 0, source, relatched=False, after_s=0.1)
        self.registry.calls.on_event(event, 1.0)
        yield Step(PLANE, SIGNALLING, f"latched onto {source}", "c")

    def _effects(self) -> Iterator[object]:
        seen: set[object] = set()
        while effects := self.registry.calls.effects():
            for effect in _each_order(effects):
                key = (type(effect), getattr(effect, "side", None))
                if isinstance(effect, Bind):
                    self.registry.calls.bound(effect.session, effect.number, 0.0)
                if not isinstance(effect, (Arm, Gate)) or key not in seen:
                    yield effect
                seen.add(key)


def _content(ip: str, port: int) -> Content:
    candidates = tuple(
        Candidate(c, 0, TransportAddress.of(ip, port + c - 1), f"c{c}") for c in (1, 2)
    )
    key = ContentKey(Creator.INITIATOR, "voice")
    return Content(key, Senders.BOTH, RawUdp(candidates), "audio")


def _each_order(effects: Iterable[object]) -> Iterator[object]:
    """Effects one by one, and the orders that go with a bind behind it."""
    for effect in effects:
        yield effect
        if isinstance(effect, Bind):
            yield from effect.orders


def _sources(arm: Arm) -> str:
    networks = ", ".join(str(n).removesuffix("/32") for n in arm.evidence.sources)
    return f"only {networks} ({arm.evidence.source_auth})"


def sequence(steps: list[Step], heads: tuple[tuple[str, str], ...]) -> str:
    """A sequence diagram as SVG."""
    gap, top, row = 220, 78, 34
    width, height = gap * len(heads), top + row * (len(steps) + 1)
    x = [gap // 2 + gap * lane for lane in range(len(heads))]
    parts = [f'<rect class="bg" width="{width}" height="{height}"/>']
    for lane, (name, detail) in enumerate(heads):
        parts.append(f'<rect x="{x[lane] - 95}" y="12" width="190" height="44"/>')
        parts.append(_text(x[lane], 31, name) + _text(x[lane], 48, detail, "s"))
        parts.append(f'<path class="l" d="M{x[lane]} 56V{height - 12}"/>')
    for number, step in enumerate(steps, start=1):
        y = top + row * number - 12
        start, end = x[step.source], x[step.target]
        tip = -6 if end > start else 6
        arrow = f"M{start} {y}H{end}m{tip} -4l{-tip} 4l{tip} 4"
        parts.append(f'<path class="{step.kind}" d="{arrow}"/>')
        parts.append(_text((start + end) // 2, y - 6, step.text, "s"))
    return _svg(width, height, parts)


def session_states() -> str:
    """The states of a session and what leads from one to another, read from the table."""
    y, x = 90, {State.PENDING: 150, State.ACTIVE: 480, State.ENDED: 810}
    moves: dict[tuple[State, State], list[str]] = {}
    for (state, action), transition in TABLE.items():
        who = "" if len(transition.by) == 2 else f" ({next(iter(transition.by)).name.lower()})"
        moves.setdefault((state, transition.to), []).append(f"{action}{who}")
    parts = ['<rect class="bg" width="960" height="360"/>']
    parts.append(f'<path class="x" d="M20 {y}H80m-6 -4l6 4l-6 4"/>')
    parts.append(_text(45, y - 10, "offer", "s"))
    for state, centre in x.items():
        parts.append(f'<rect x="{centre - 70}" y="{y - 24}" width="140" height="48"/>')
        parts.append(_text(centre, y + 5, state.value.upper()))
    for (state, to), names in moves.items():
        start, end = x[state], x[to]
        if state is to:
            parts.append(f'<path class="c" d="M{start - 30} {y + 24}q30 50 60 0m-1 8l1 -8l-7 4"/>')
            parts += [_text(start, y + 72 + 16 * i, n, "s") for i, n in enumerate(sorted(names))]
        elif end - start < 400:
            parts.append(f'<path class="x" d="M{start + 70} {y}H{end - 70}m-6 -4l6 4l-6 4"/>')
            parts += [_text((start + end) // 2, y - 8, n, "s") for n in names]
        else:
            arrow = f"M{start} {y - 24}V30H{end}V{y - 24}m-4 -6l4 6l4 -6"
            parts.append(f'<path class="x" d="{arrow}"/>')
            parts += [_text((start + end) // 2, 24, n, "s") for n in names]
    notes = (
        "What is not drawn is answered out-of-order;",
        "an error that comes back for the offer",
        "or the accept ends the session.",
    )
    parts += [_text(x[State.ENDED], 220 + 16 * i, note, "s") for i, note in enumerate(notes)]
    return _svg(960, 360, parts)


def _text(x: int, y: int, text: str, style: str = "") -> str:
    return f'<text class="{style}" x="{x}" y="{y}" text-anchor="middle">{escape(text)}</text>'


def _svg(width: int, height: int, parts: list[str]) -> str:
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}"><style>{STYLE}</style>\n{body}\n</svg>\n'
    )


def rooms() -> str:
    """The rooms in the layers of their contract, each with what it imports in fact."""
    rows = [row for row in layers(contracts()) if row != ["__main__"]]
    known = [name for row in rows for name in row]
    width, step, height = 960, 66, 46
    parts = [f'<rect class="bg" width="{width}" height="{step * len(rows) + 24}"/>']
    for number, row in enumerate(rows):
        y, share = 16 + step * number, width // len(row)
        for place, name in enumerate(row):
            box, middle = share - 24, share * place + share // 2
            used = _imported(name)
            parts.append(f'<rect x="{middle - box // 2}" y="{y}" width="{box}" height="{height}"/>')
            parts.append(_text(middle, y + 19, name + ("/" if _is_package(name) else ".py")))
            parts.append(_text(middle, y + 36, " ".join(n for n in known if n in used), "s"))
        if number:
            parts.append(f'<path class="x" d="M{width // 2} {y - 20}v18m-4 -6l4 6l4 -6"/>')
    return _svg(width, step * len(rows) + 24, parts)


def _is_package(room: str) -> bool:
    return (ROOT / "jingle_hnt" / room).is_dir()


def _imported(room: str) -> set[str]:
    """The other rooms and modules that the modules of a room import."""
    files = [ROOT / "jingle_hnt" / f"{room}.py"]
    if _is_package(room):
        files = sorted((ROOT / "jingle_hnt" / room).rglob("*.py"))
    found = set()
    for node in (n for file in files for n in ast.walk(ast.parse(file.read_text()))):
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        found |= {n.split(".")[1] for n in names if n.startswith("jingle_hnt.")}
    return found - {room}


def live_view() -> str:
    """What `jingle-hnt top` shows: a good call, and one whose callee is not heard."""
    trails = lines.Trails()
    for second in range(0, 61, 2):
        trails.look(_look(second), float(second))
    pen = lines.pen(80, "utf-8", trails=True)
    found = lines.lines(_look(60), inspect.causes, trails, 60.0)
    console = Console(record=True, width=80, file=io.StringIO(), force_terminal=True)
    for line, style in top.View().frame(found, pen, len(found) + 4):
        console.print(Text(line, style=style))
    svg = console.export_svg(title="jingle-hnt top", unique_id="top")
    return re.sub(r"\s*@font-face \{.*?\}", "", svg, flags=re.DOTALL)  # they are fetched from afar


def _look(second: int) -> dict[str, Any]:
    """The answer to `calls` after so many seconds at 50 packets a second."""
    heard = 1000 + 50 * second
    calls = [
        ("s5e1b07", "alice", "bob", (heard, 0, 1.2, 4.4), (heard, 40, 3.8, 4.1)),
        ("s91c4d2", "carol", "dave", (heard, 11, 7.5, 4.3), (0, 0, 0.0, None)),
        ("s0f77a9", "erin", "frank", (heard, 300, 35.0, 2.7), (max(0, 50 * (second - 30)),)),
    ]
    return {
        "calls": [
            _on_view(name, caller, callee, _seen("initiator", *one), _seen("responder", *other))
            for name, caller, callee, one, other in calls
        ]
    }


def _on_view(name: str, caller: str, callee: str, *legs: LegSnapshot) -> dict[str, Any]:
    content = ContentSnapshot(
        creator="initiator",
        name="voice",
        transport="raw-udp",
        senders="both",
        agreed=True,
        relayed=True,
        components=(ComponentSnapshot(component=1, legs=legs),),
        media="audio",
    )
    call = CallSnapshot(
        call=name,
        sid=name,
        initiator=f"{caller}@example.org/phone",
        responder=f"{callee}@example.org/desk",
        state="active",
        age_s=754.0 + len(name + caller) * 60,
        setup_s=4.0,
        held=False,
        contents=(content,),
    )
    return call.model_dump(mode="json")


def _seen(
    leg: str, came: int, lost: int = 0, jitter_ms: float = 2.0, mos: float | None = 4.4
) -> LegSnapshot:
    return LegSnapshot(
        leg=leg,
        signalled=(),
        advertised="203.0.113.9:24100",
        learned="198.51.100.1:40112" if came else None,
        source_auth="signalling-address",
        latch="latched" if came else "armed",
        latched_after_s=0.1 if came else None,
        flow="open",
        heard_s=0.01 if came else None,
        received_packets=came,
        received_bytes=172 * came,
        sent_packets=came,
        sent_bytes=172 * came,
        dropped={},
        rtp_packets=came,
        lost_packets=lost,
        jitter_ms=jitter_ms,
        mos=mos,
    )


DRAWINGS: dict[str, Callable[[], str]] = {
    "call-flow.svg": call_flow,
    "session-states.svg": session_states,
    "rooms.svg": rooms,
    "top.svg": live_view,
}


def pictures() -> dict[Path, str]:
    """All pictures."""
    return {PICTURES / name: draw() for name, draw in DRAWINGS.items()}


def main() -> int:
    """Write the pictures, or with --check tell which are out of date."""
    return run(__doc__, "python -m scripts.draw", pictures)


if __name__ == "__main__":
    sys.exit(main())
