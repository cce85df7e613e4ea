"""Any answer becomes complete rows."""

import pytest
from pydantic import BaseModel

from jingle_hnt.fronts.xmpp import tables
from jingle_hnt.fronts.xmpp.tables import MOST_CHARACTERS, MOST_ROWS, labels, lay_out, text


class Leg(BaseModel):
    name: str
    dropped: dict[str, int] = {}
    told: tuple[str, ...] = ()


class Call(BaseModel):
    name: str
    legs: tuple[Leg, ...] = ()
    notes: tuple[Leg, ...] = ()


class Plane(BaseModel):
    up: bool
    engine: str | None = None


class Answer(BaseModel):
    plane: Plane
    calls: tuple[Call, ...] = ()


def test_members_of_members_are_single_values_by_dotted_name() -> None:
    layout = lay_out(Plane(up=True))
    assert layout.values == {"up": True, "engine": None}
    layout = lay_out(Answer(plane=Plane(up=False, engine="native")))
    assert layout.values == {"plane.up": False, "plane.engine": "native"}
    assert layout.summary == "plane.up: no, plane.engine: native, calls: 0"


def test_a_list_in_a_row_makes_rows_and_each_is_complete() -> None:
    legs = (Leg(name="a", dropped={"rival": 2}, told=("x", "y")), Leg(name="b"))
    calls = (Call(name="one", legs=legs), Call(name="two"))
    layout = lay_out(Answer(plane=Plane(up=True), calls=calls))
    assert layout.summary == "plane.up: yes, plane.engine: -, calls: 2"
    [table] = layout.tables
    assert table.columns == ("name", "legs.name", "legs.dropped.rival", "legs.told")
    assert table.rows == (
        ("one", "a", 2, "x, y"),
        ("one", "b", None, None),
        ("two", None, None, None),
    )
    assert table.total == 3


def test_a_second_list_in_a_row_is_counted() -> None:
    call = Call(name="one", legs=(Leg(name="a"),), notes=(Leg(name="n"), Leg(name="m")))
    [table] = lay_out(Answer(plane=Plane(up=True), calls=(call,))).tables
    assert dict(zip(table.columns, table.rows[0], strict=True))["notes"] == 2
    assert table.total == 1


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        (("call", "legs.name", "contents.name"), ("call", "legs name", "contents name")),
        (("name", "legs.name"), ("name", "legs name")),
        (("a.age_s", "state"), ("age s", "state")),
        (("legs.told",), ("told",)),
    ],
)
def test_labels_are_short_and_unique(names: tuple[str, ...], wanted: tuple[str, ...]) -> None:
    assert labels(names) == wanted


def test_a_table_has_an_end() -> None:
    calls = tuple(Call(name=str(n)) for n in range(MOST_ROWS + 5))
    [table] = lay_out(Answer(plane=Plane(up=True), calls=calls)).tables
    assert (len(table.rows), table.total) == (MOST_ROWS, MOST_ROWS + 5)
    long = tuple(Call(name="x" * (MOST_CHARACTERS // 4)) for _ in range(9))
    [table] = lay_out(Answer(plane=Plane(up=True), calls=long)).tables
    assert (len(table.rows), table.total) == (4, 9)


@pytest.mark.parametrize(
    ("value", "shown"), [(None, ""), (True, "yes"), (False, "no"), (1.5, "1.5"), (10.0, "10")]
)
def test_values_are_shown_as_people_read_them(value: tables.Value, shown: str) -> None:
    assert text(value) == shown
