"""Data forms (XEP-0004): a command's fields as a form, what was filled in, an answer as a result.

Numbers carry their datatype (XEP-0122), so that clients can sort columns by value.
"""

from collections.abc import Iterator, Mapping, Sequence
from xml.etree.ElementTree import Element, SubElement

from jingle_hnt.fronts.xmpp import names, tables
from jingle_hnt.fronts.xmpp.tables import Layout, Table, Value
from jingle_hnt.model.commands import Field, FieldKind
from jingle_hnt.model.jid import JID

FORM = f"{{{names.DATA_FORMS}}}x"
MOST_LINES = 50
"""Rows of a table that are told in lines of text as well."""
LONGEST_VALUE = 1024
"""Characters of one value that is filled in."""

_FIELD = f"{{{names.DATA_FORMS}}}field"
_VALUE = f"{{{names.DATA_FORMS}}}value"
_TRUE, _FALSE = ("1", "true"), ("0", "false")


class BadForm(ValueError):
    """A form that cannot be accepted; the text says what to fill in."""


def question(title: str, fields: Sequence[Field], form_type: str | None) -> Element:
    """The form that asks for these fields."""
    form = _form("form", title, form_type)
    for field in fields:
        attributes = {"var": field.name, "type": str(field.kind), "label": field.label}
        element = SubElement(form, _FIELD, attributes)
        if field.required:
            SubElement(element, f"{{{names.DATA_FORMS}}}required")
        for option in field.options:
            inside = SubElement(element, f"{{{names.DATA_FORMS}}}option", {"label": option})
            SubElement(inside, _VALUE).text = option
        if field.default is not None:
            SubElement(element, _VALUE).text = field.default
    return form


def filled_in(form: Element | None, fields: Sequence[Field]) -> dict[str, object]:
    """The values of a submitted form, with defaults for those left out. Raises BadForm.

    A boolean is a bool, a field for several values a list, every other a str; an optional field
    that stays empty is left out. Fields that nobody asked for are ignored, as FORM_TYPE is.
    """
    # XEP-0050 section 3.4.1: a cancelled form counts as a submitted one.
    if form is None or form.get("type") not in ("submit", "cancel"):
        raise BadForm("the form is missing: send it filled in, of the type 'submit'")
    given = _given(form)
    values: dict[str, object] = {}
    for field in fields:
        texts = [t for t in given.get(field.name, ()) if t]
        if not texts and field.default is not None:
            texts = [field.default]
        if texts:
            values[field.name] = _value(field, texts)
        elif field.required:
            raise BadForm(f"{field.name} ({field.label}) is missing: fill it in")
    return values


def results(title: str, layout: Layout, form_type: str | None) -> Iterator[Element]:
    """An answer as forms: the first holds the single values and every table in lines of text, and
    then each table has a form of its own, since a form can have one only.

    Gajim 1.7 looks at the first form alone, and fails on one that has a <reported/>. Psi 1.5 looks
    at the last one alone and draws no table, so after tables the first form is there once more.
    """
    first = _form("result", title, form_type)
    shown = tables.labels(list(layout.values))
    for label, (name, value) in zip(shown, layout.values.items(), strict=True):
        attributes = {"var": name, "type": _type_of(value), "label": label}
        _put(SubElement(first, _FIELD, attributes), value, typed=True)
    for table in layout.tables:
        _append_lines(first, table)
    yield first
    filled = [table for table in layout.tables if table.rows]
    for table in filled:
        form = _form("result", f"{title}: {table.name}", form_type)
        _append_table(form, table)
        yield form
    if filled:
        yield first


def form_in(command: Element) -> Element | None:
    """The first data form inside a command; None where there is none."""
    return next((child for child in command if child.tag == FORM), None)


def _form(type_: str, title: str, form_type: str | None) -> Element:
    form = Element(FORM, {"type": type_})
    SubElement(form, f"{{{names.DATA_FORMS}}}title").text = title
    if form_type is not None:
        hidden = SubElement(form, _FIELD, {"var": "FORM_TYPE", "type": "hidden"})
        SubElement(hidden, _VALUE).text = form_type
    return form


# What was filled in


def _given(form: Element) -> Mapping[str, list[str]]:
    given: dict[str, list[str]] = {}
    for element in form.iterfind(_FIELD):
        name = element.get("var", "")
        if name in given:
            raise BadForm(f"{name[:40]} is there twice: send each field once")
        given[name] = [value.text or "" for value in element.iterfind(_VALUE)]
    return given


def _value(field: Field, texts: list[str]) -> object:
    if any(len(text) > LONGEST_VALUE for text in texts):
        raise BadForm(f"{field.name} is longer than {LONGEST_VALUE} characters")
    if field.options and not set(texts) <= set(field.options):
        raise BadForm(f"{field.name} must be one of: {', '.join(field.options)}")
    if field.kind.endswith("-multi"):
        return texts
    if len(texts) > 1:
        raise BadForm(f"{field.name} takes one value, and {len(texts)} were sent")
    return _single(field, texts[0])


def _single(field: Field, text: str) -> object:
    if "\n" in text or "\r" in text:
        raise BadForm(f"{field.name} is one line: send it without line breaks")
    match field.kind:
        case FieldKind.FLAG:
            if text not in _TRUE + _FALSE:
                raise BadForm(f"{field.name} is a boolean: send true or false")
            return text in _TRUE
        case FieldKind.JID:
            try:
                return str(JID.of(text))
            except ValueError:
                raise BadForm(
                    f"{field.name} must be an XMPP address, such as user@example.org"
                ) from None
    return text


# Answers


def _append_lines(form: Element, table: Table) -> None:
    """A table for who shows none: in the words that there are for it, else a line for each row,
    without the cells that are empty."""
    kind = "text-multi" if table.rows else "text-single"
    field = SubElement(form, _FIELD, {"var": table.name, "type": kind, "label": table.name})
    for line in table.lines[:MOST_LINES]:
        SubElement(field, _VALUE).text = line
    if len(table.lines) > MOST_LINES:
        SubElement(field, _VALUE).text = f"and {len(table.lines) - MOST_LINES} more"
    if table.lines:
        return
    for row in table.rows[:MOST_LINES]:
        cells = zip(table.labels, map(tables.text, row), strict=True)
        line = ", ".join(f"{label} {text}" for label, text in cells if text)
        SubElement(field, _VALUE).text = line
    if table.total > MOST_LINES:
        SubElement(field, _VALUE).text = f"and {table.total - MOST_LINES} more"
    if not table.rows:
        SubElement(field, _VALUE).text = "none"


def _append_table(form: Element, table: Table) -> None:
    reported = SubElement(form, f"{{{names.DATA_FORMS}}}reported")
    for number, (name, label) in enumerate(zip(table.columns, table.labels, strict=True)):
        column = [row[number] for row in table.rows]
        attributes = {"var": name, "type": _type_of(*column), "label": label}
        _mark(SubElement(reported, _FIELD, attributes), column)
    for row in table.rows:
        item = SubElement(form, f"{{{names.DATA_FORMS}}}item")
        for name, value in zip(table.columns, row, strict=True):
            _put(SubElement(item, _FIELD, {"var": name}), value)


def _put(field: Element, value: Value, typed: bool = False) -> None:
    """Append a value; an empty one is there too, for clients that go by position."""
    if typed:
        _mark(field, [value])
    boolean = isinstance(value, bool)
    shown = ("true" if value else "false") if boolean else tables.text(value)
    SubElement(field, _VALUE).text = shown


def _type_of(*values: Value) -> str:
    """The field type that fits all of these."""
    return "boolean" if all(isinstance(value, bool) for value in values) else "text-single"


def _mark(field: Element, values: Sequence[Value]) -> None:
    """Name the datatype where all the values are numbers."""
    if any(isinstance(value, bool) or not isinstance(value, int | float) for value in values):
        return
    whole = all(isinstance(value, int) for value in values)
    datatype = "xs:integer" if whole else "xs:decimal"
    SubElement(field, f"{{{names.VALIDATE}}}validate", {"datatype": datatype})
