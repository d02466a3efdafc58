"""What holds for every filter, option and company, whatever is in them."""

import re
import sqlite3
from contextlib import closing
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from hypothesis import given
from hypothesis import strategies as st

from d365mcp.d365.filters.translate import and_filters, company_filter, keyset_filter, translate_filter
from d365mcp.d365.filters.tree import matches_filter
from d365mcp.d365.odata import QueryOptions, check_expand, check_order_by, check_select
from d365mcp.errors import InvalidArgument
from tests.d365.entities import CUSTOMERS, PROPERTIES

ANY_TEXT = st.one_of(
    st.text(max_size=20),
    st.text(st.sampled_from("&#?=%+;'\"/\\*(),$ \n\r\t\x00é\ud800a1"), max_size=20),
    st.sampled_from(
        ["&$top=1", "' or 1 eq 1 or '", "x%27%26", "../../metadata", "#", "a;b", "cross-company=true", "//"]
    ),
)
TEXTS = ANY_TEXT.map(lambda text: "'" + text.replace("'", "''") + "'")
NAMES = st.sampled_from([*CUSTOMERS.properties, "customeraccount", "CustomerGroup/Name", "Unknown", "Addresses/City"])
VALUES = st.one_of(
    TEXTS,
    st.integers(-(2**64), 2**64).map(str),
    st.decimals(allow_nan=False, allow_infinity=False, min_value=-1e9, max_value=1e9, places=3).map(str),
    st.dates().map(str),
    st.datetimes().map(lambda when: when.isoformat(timespec="seconds") + "Z"),
    st.sampled_from(["true", "null", "08:30:00", "'Yes'", "Yes", "NoYes'Yes'", "0001-01-01T00:00:00+14:00", "2026"]),
    st.uuids().map(str),
)
OPERANDS = st.one_of(
    NAMES,
    VALUES,
    st.builds("{}({})".format, st.sampled_from(["tolower", "year", "month", "day", "date", "length", "foo"]), NAMES),
    st.builds("{} {} {}".format, NAMES, st.sampled_from(["add", "sub", "mul", "div", "mod"]), VALUES),
)
OPERATORS = st.sampled_from(["eq", "ne", "gt", "ge", "lt", "le"])
CONDITIONS = st.one_of(
    st.builds("{} {} {}".format, OPERANDS, OPERATORS, OPERANDS),
    st.builds("{} {} {}".format, NAMES, OPERATORS, VALUES),
    st.builds(
        "{}({},{})".format, st.sampled_from(["contains", "startswith", "endswith", "substringof"]), NAMES, VALUES
    ),
    st.builds("{} in ({},{})".format, OPERANDS, VALUES, VALUES),
    NAMES,
)


def combined(conditions: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.recursive(
        conditions,
        lambda inner: st.one_of(
            st.builds("({} {} {})".format, inner, st.sampled_from(["and", "or"]), inner),
            st.builds("not ({})".format, inner),
            st.builds("({}) eq {}".format, inner, st.sampled_from(["true", "false"])),
        ),
        max_leaves=5,
    )


FILTERS = combined(CONDITIONS)
# Filters that can be asked, over what every record below has.
ASKABLE = combined(
    st.one_of(
        st.builds("{} {} '{}'".format, st.just("NameAlias"), OPERATORS, st.sampled_from(["", "a", "B", "a b"])),
        st.builds("{}(NameAlias,'{}')".format, st.sampled_from(["contains", "startswith"]), st.sampled_from("aB*")),
        st.builds("NameAlias {} '{}'".format, st.sampled_from(["eq", "ne"]), st.sampled_from(["a*", "*", "b"])),
        st.builds("NameAlias in ('{}','{}')".format, st.sampled_from("aB*"), st.sampled_from("aB*")),
        st.builds("Visits {} {}".format, OPERATORS, st.integers(0, 3)),
        st.builds("OnHoldStatus {} '{}'".format, st.sampled_from(["eq", "ne"]), st.sampled_from(["No", "all"])),
        st.builds(
            "{} {} {}".format,
            st.sampled_from(["ShippingDate", "CreatedAt"]),
            OPERATORS,
            st.sampled_from(["2026-07-13", "2026-07-14", "2026-07-15"]),
        ),
        st.builds("year(CreatedAt) {} {}".format, OPERATORS, st.integers(2025, 2027)),
    )
)
RECORDS = st.fixed_dictionaries(
    {
        "NameAlias": st.sampled_from(["", "A", "b", "a*", "*", "A B"]),
        "Visits": st.integers(0, 3),
        "OnHoldStatus": st.sampled_from(["No", "All"]),
        "ShippingDate": st.sampled_from(["1900-01-01T12:00:00Z", "2026-07-13T12:00:00Z", "2026-07-14T12:00:00Z"]),
        "CreatedAt": st.sampled_from(["1900-01-01T00:00:00Z", "2026-07-14T00:00:00Z", "2026-07-14T23:59:59Z"]),
    }
)


def options_in(query: str) -> dict[str, str]:
    """Read a query string back, as any server does. Fails when an option comes twice."""
    pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=True) if query else []
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


def requested(options: QueryOptions) -> dict[str, str]:
    url = urlsplit(f"https://contoso.example/data/CustomersV3?{options.query_string()}")
    assert (url.scheme, url.netloc, url.path, url.fragment) == ("https", "contoso.example", "/data/CustomersV3", "")
    return options_in(url.query)


@given(FILTERS | ANY_TEXT)
def test_any_filter_is_translated_or_refused_and_stays_one_query_option(text: str) -> None:
    try:
        translation = translate_filter(text, CUSTOMERS)
    except InvalidArgument as error:
        assert error.message
        return
    for part in translation.filters:
        expected = {"$filter": part, "cross-company": "true"} if part else {"cross-company": "true"}
        assert requested(QueryOptions(filter=part, cross_company=True)) == expected


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=30))
def test_any_text_reaches_fo_as_it_is(text: str) -> None:
    quoted = text.replace("'", "''")
    (part,) = translate_filter(f"CustomerAccount gt '{quoted}'", CUSTOMERS).filters
    assert requested(QueryOptions(filter=part)) == {"$filter": f"CustomerAccount gt '{quoted}'"}


@given(st.lists(ANY_TEXT, max_size=3), st.lists(ANY_TEXT, max_size=3), st.lists(ANY_TEXT, max_size=3), ANY_TEXT)
def test_no_name_gets_out_of_its_query_option(
    select: list[str], order_by: list[str], expand: list[str], company: str
) -> None:
    for check, items in ((check_select, select), (check_order_by, order_by), (check_expand, expand)):
        try:
            checked = check([*items], CUSTOMERS)
        except InvalidArgument as error:
            error.message.encode()
        else:
            assert checked == ()
    try:
        restriction = company_filter([company])
    except InvalidArgument as error:
        error.message.encode()
    else:
        assert requested(QueryOptions(filter=restriction)) == {"$filter": f"dataAreaId eq '{company.lower()}'"}


@given(st.lists(st.sampled_from("ABC"), max_size=3), st.text("ab or()", max_size=9))
def test_expanded_columns_are_identifiers_or_nothing_is_expanded(columns: list[str], more: str) -> None:
    try:
        (expanded,) = check_expand([f"Addresses($select={','.join([*columns, more])})"], CUSTOMERS)
    except InvalidArgument:
        return
    assert set(options_in(QueryOptions(expand=(expanded,)).query_string())) == {"$expand"}
    assert expanded == f"Addresses($select={','.join([*columns, more.strip()])})"


@given(ASKABLE)
def test_what_was_translated_translates_to_itself(text: str) -> None:
    translation = translate_filter(text, CUSTOMERS)
    if "*" in "".join(translation.filters) or translation.needs_exact_check:
        return
    again = translate_filter(translation.filters[0], CUSTOMERS)
    assert again.filters == translation.filters
    assert [note for note in again.notes if "→" in note] == []


@given(ASKABLE, RECORDS)
def test_a_record_matches_either_a_filter_or_its_opposite(text: str, record: dict[str, Any]) -> None:
    found, other = (translate_filter(asked, CUSTOMERS).expression for asked in (text, f"not ({text})"))
    assert matches_filter(found, record) != matches_filter(other, record)


@given(ASKABLE, RECORDS)
def test_fo_is_never_asked_for_less_than_what_matches(text: str, record: dict[str, Any]) -> None:
    translation = translate_filter(text, CUSTOMERS)
    sent = [found_by_fo(part, record) for part in translation.filters]
    if matches_filter(translation.expression, record):
        assert sent == [True]
    elif not translation.needs_exact_check:
        assert sent == [False]


COMPARISON = re.compile(r"(\w+) (eq|ne|gt|ge|lt|le) (?:[\w.]*'((?:[^']|'')*)'|([^\s)]+))")
SIGNS = {"eq": "=", "ne": "<>", "gt": ">", "ge": ">=", "lt": "<", "le": "<="}


def found_by_fo(text: str, record: dict[str, Any]) -> bool:
    """Apply an F&O filter as its database does, with wildcards and without case: SQLite answers."""
    columns = ",".join(f"? AS {name}" for name in record)
    query = f"SELECT {COMPARISON.sub(sql, text) or 1} FROM (SELECT {columns})"  # noqa: S608  # nothing of a user's
    with closing(sqlite3.connect(":memory:")) as database:
        (answer,) = database.execute(query, tuple(record.values())).fetchone()
    return bool(answer)


def sql(comparison: re.Match[str]) -> str:
    column, operator, text, bare = comparison.groups()
    if text is not None and "*" in text:
        pattern = text.replace("*", "%")
        return f"{column} {'LIKE' if operator == 'eq' else 'NOT LIKE'} '{pattern}'"
    value = bare if bare and bare.isdigit() else f"'{bare if text is None else text}' COLLATE NOCASE"
    return f"{column} {SIGNS[operator]} {value}"


@given(st.lists(st.tuples(st.sampled_from(PROPERTIES), st.booleans()), min_size=1, max_size=4), st.data())
def test_a_keyset_filter_stays_one_query_option(order: list[Any], data: st.DataObject) -> None:
    values = [data.draw(st.one_of(ANY_TEXT, st.integers(), st.floats(), st.none())) for _ in order]
    filters = keyset_filter(order, values)
    if filters:
        asked = and_filters("dataAreaId eq 'usmf'", filters)
        assert requested(QueryOptions(filter=asked)) == {"$filter": asked}
