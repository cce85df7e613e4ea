"""Reports of ended calls: found by name and sid, bounded, and never in the way of a call."""

from pathlib import Path

from jingle_hnt.store.history import TRIM_EVERY, History


def test_the_newest_report_of_a_name_or_sid_is_found(tmp_path: Path) -> None:
    history = History(tmp_path / "state" / "history.sqlite", 10)
    for number in range(3):
        history.put(f"s{number}", "same", str(number))
    assert history.find("s1") == "1"
    assert history.find("same") == "2"
    assert history.find("other") is None
    assert history.recent(2) == ["2", "1"]
    history.close()
    history.close()
    again = History(tmp_path / "state" / "history.sqlite", 10)
    assert again.find("s0") == "0"
    again.close()
    assert (tmp_path / "state" / "history.sqlite").stat().st_mode & 0o777 == 0o600


def test_the_oldest_go(tmp_path: Path) -> None:
    history = History(tmp_path / "h.sqlite", 5)
    for number in range(3 * TRIM_EVERY):
        history.put(f"s{number}", f"sid{number}", str(number))
    assert history.recent(1000) == [str(3 * TRIM_EVERY - n) for n in range(1, 6)]
    history.close()


def test_a_file_that_cannot_be_used_costs_the_reports_only(tmp_path: Path) -> None:
    (tmp_path / "h.sqlite").write_bytes(b"garbage" * 1000)
    history = History(tmp_path / "h.sqlite", 5)
    history.put("s", "sid", "{}")
    assert history.find("s") is None
    assert history.recent(5) == []
    history.close()
