"""Snapshots of calls as tests want them: an accepted audio call, heard from both, with changes."""

from typing import Any

from jingle_hnt.admin.snapshots import (
    CallSnapshot,
    ComponentSnapshot,
    ContentSnapshot,
    LegSnapshot,
)

ALICE, BOB = "alice@example.org/phone", "bob@example.org/desk"


def leg(name: str, **changes: Any) -> LegSnapshot:
    values: dict[str, Any] = {
        "leg": name,
        "signalled": ("192.0.2.10:5000",),
        "advertised": "203.0.113.9:30000",
        "learned": "198.51.100.1:4000",
        "source_auth": "signalling-address",
        "latch": "latched",
        "latched_after_s": 0.12,
        "flow": "open",
        "heard_s": 0.02,
        "received_packets": 500,
        "received_bytes": 80_000,
        "rtp_packets": 490,
        "sent_packets": 490,
        "sent_bytes": 78_400,
        "dropped": {},
    }
    return LegSnapshot(**(values | changes))


def silent(name: str, **changes: Any) -> LegSnapshot:
    """A leg of which nothing was heard."""
    nothing = {"learned": None, "latched_after_s": None, "heard_s": None, "latch": "armed"}
    none = {"received_packets": 0, "received_bytes": 0, "rtp_packets": 0}
    return leg(name, **(none | nothing | changes))


def mute(name: str, **changes: Any) -> LegSnapshot:
    """A leg that sends checks, keep-alives or RTCP, and no RTP: a dead microphone."""
    return leg(name, **({"received_packets": 12, "rtp_packets": 0} | changes))


def call(*legs: LegSnapshot, transport: str = "raw-udp", **changes: Any) -> CallSnapshot:
    first, second = legs or (leg("initiator"), leg("responder"))
    components = (ComponentSnapshot(component=1, legs=(first, second)),)
    content = ContentSnapshot(
        creator="initiator",
        name="voice",
        transport=transport,
        senders=changes.pop("senders", "both"),
        agreed=True,
        relayed=transport != "other",
        components=() if transport == "other" else components,
        ice="append" if transport == "ice" else None,
    )
    values: dict[str, Any] = {
        "call": "s1",
        "sid": "sid1",
        "initiator": ALICE,
        "responder": BOB,
        "state": "active",
        "age_s": 60.0,
        "setup_s": 4.0,
        "held": False,
        "contents": (content,),
    }
    return CallSnapshot(**(values | changes))
