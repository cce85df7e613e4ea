"""What a page names exists: the check of `scripts/lint` finds what does not."""

import pytest

from scripts import names


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("`relay.port`", "no option relay.port"),
        ("`times.linger_s = 3`", "no option times.linger_s"),
        ('`gate.policy = "ajar"`', 'gate.policy is never "ajar"'),
        ("`jingle-hnt explode x`", "no command explode"),
        ("    $ jingle-hnt explode", "no command explode"),
        ("`jingle_hnt/app/nowhere.py`", "no file jingle_hnt/app/nowhere.py"),
        ("`scripts/nothing`", "no file scripts/nothing"),
        ("`nowhere.c`", "no file nowhere.c"),
        ("`no-such-cause`", "no string of the code is 'no-such-cause'"),
        ('`dropped_packets_total{reason="bored"}`', "no reason is 'bored'"),
        ('`budget_exceeded_total{budget="cake"}`', "no budget is 'cake'"),
        ("jingle_hnt_nonsense_total", "jingle_hnt_nonsense_total"),
    ],
)
def test_what_does_not_exist_is_found(text: str, part: str) -> None:
    (fault,) = names.faults("docs/page.md", f"Words, {text} and more." if "`" in text else text)
    assert fault.startswith("docs/page.md: ")
    assert part in fault


@pytest.mark.parametrize(
    "text",
    [
        "`relay.ports` and `relay.advertise`",
        '`gate.policy = "open"` and `ice.mode = "pass"`',
        "`jingle-hnt status`, and what jingle-hnt does",
        "`jingle_hnt/cli.py`, `cli.py`, `settings/`, `scripts/lint`, `/etc/nowhere/file.c`",
        "`one-way`, `signalling-address`, `stanzas-user`",
        "jingle_hnt_dropped_packets_total, jingle_hnt_fail",
        '`dropped_packets_total{reason="gate"}`, `budget_exceeded_total{budget="ports-user"}`',
    ],
)
def test_what_exists_is_no_fault(text: str) -> None:
    assert list(names.faults("docs/page.md", text)) == []


def test_every_page_names_what_exists() -> None:
    assert len(names.pages()) > 20
    assert names.main() == 0
