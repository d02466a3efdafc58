"""How an ordinary filter is read, and what a mistake in one is answered with."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from d365mcp.d365.filters.literals import Member
from d365mcp.d365.filters.parse import parse_filter
from d365mcp.d365.filters.tree import (
    And,
    Arithmetic,
    Comparison,
    FunctionCall,
    Literal,
    Membership,
    Not,
    Or,
    Property,
    filter_text,
)
from d365mcp.errors import InvalidArgument

A, B, C = (Comparison("eq", Property(name), Literal(1)) for name in "ABC")


def complaint(text: str) -> str:
    with pytest.raises(InvalidArgument) as error:
        parse_filter(text)
    return error.value.message


def test_and_binds_tighter_than_or_and_not_tighter_than_both() -> None:
    assert parse_filter("A eq 1 or B eq 1 and C eq 1") == Or((A, And((B, C))))
    assert parse_filter("(A eq 1 or B eq 1) and C eq 1") == And((Or((A, B)), C))
    assert parse_filter("not A eq 1 and B eq 1") == And((Not(A), B))


def test_multiplication_binds_tighter_than_addition_and_both_go_from_left_to_right() -> None:
    a, b, c = (Property(name) for name in "ABC")
    one = Literal(1)
    assert parse_filter("A add B mul C eq 1") == Comparison("eq", Arithmetic("add", a, Arithmetic("mul", b, c)), one)
    assert parse_filter("A sub B sub C eq 1") == Comparison("eq", Arithmetic("sub", Arithmetic("sub", a, b), c), one)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("'O''Hare'", "O'Hare"),
        ("''", ""),
        ("'a and (b'", "a and (b"),
        ("-5", -5),
        ("1.50", Decimal("1.50")),
        ("1e3", Decimal(1000)),
        ("TRUE", True),
        ("null", None),
        ("Microsoft.Dynamics.DataEntities.NoYes'Yes'", Member("NoYes", "Yes")),
        ("NoYes'Yes'", Member("NoYes", "Yes")),
    ],
)
def test_literals_of_every_kind_are_read(text: str, value: object) -> None:
    assert parse_filter(f"A eq {text}") == Comparison("eq", Property("A"), Literal(value))


def test_operators_and_functions_may_be_written_in_any_case() -> None:
    assert parse_filter("A EQ 1 AND Contains(B,'x')") == And(
        (A, FunctionCall("contains", (Property("B"), Literal("x"))))
    )


def test_in_takes_a_list_and_paths_are_kept_whole() -> None:
    assert parse_filter("Group/Id in ('a', 'b')") == Membership(Property("Group/Id"), (Literal("a"), Literal("b")))


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ('Name eq "usmf"', "single quotes"),
        ("Name eq 'O'Hare'", "doubled"),
        ("Name = 'a'", "write eq"),
        ("Name == 'a'", "write eq"),
        ("Name != 'a'", "write ne"),
        ("Name <> 'a'", "write ne"),
        ("A >= 1", "write ge"),
        ("A < 1", "write lt"),
        ("A eq 1 && B eq 1", "write and"),
        ("A eq 1 || B eq 1", "write or"),
        ("!A", "write not"),
        ("Name like 'a%'", "contains(Name,'…')"),
        ("Name contains 'a'", "contains(Name,'…')"),
        ("A is null", "eq null"),
        ("A between 1 and 2", "ge … and Name le"),
        ("A in [1,2]", "in ('a','b')"),
        ("A in 1", "in ('a','b')"),
        ("A in ()", "a value"),
        ("A eq 1 eq 2", "with and"),
        ("A eq 10M", "suffix"),
        ("D eq datetime'2026-07-14T00:00:00'", "write 2026-07-14T00:00:00 without"),
        ("D eq 2026-02-30", "no such date"),
        ("D eq 2026-07-14T25:00:00Z", "no such date"),
        ("Name eq'a'", "blank between eq"),
        ("Lines/any(l: l/Qty gt 5)", "no any, all"),
        ("Lines/$count gt 5", "no $count"),
        ("A eq @p1", "parameter aliases"),
        ("Account eq US-001", "single quotes"),
        ("(A eq 1", "not closed"),
        ("A eq 1)", "never opened"),
        ("A eq", "ends too early"),
        ("", "leave it out"),
        ("   ", "leave it out"),
        ("A eq 'a\x00b'", "NUL"),
        ("A eq 'a\ud800b'", "surrogate"),
        (f"A eq {'9' * 60}", "not as large"),
        ("A eq 1e99999", "not as large"),
        ("A eq 1e99999999999999999999", "not as large"),
    ],
)
def test_a_mistake_is_answered_with_its_hint(text: str, hint: str) -> None:
    assert hint in complaint(text)


def test_a_mistake_is_answered_with_its_place() -> None:
    assert complaint("Name eq 'a' und Age gt 5").startswith(
        "The filter cannot be read at character 13, `und Age gt 5`:"
    )


def test_a_filter_may_have_8000_characters_and_50_levels_and_no_more() -> None:
    parse_filter("A eq '" + "x" * 7_993 + "'")
    assert "8000 are the limit" in complaint("A eq '" + "x" * 7_994 + "'")
    parse_filter("(" * 50 + "A eq 1" + ")" * 50)
    assert "deeper than 50" in complaint("(" * 51 + "A eq 1" + ")" * 51)
    assert "deeper than 50" in complaint("not " * 51 + "A")
    assert "deeper than 50" in complaint("A eq " + "- " * 51 + "1")
    assert "operations in a row" in complaint("A" + " add 1" * 51 + " eq 1")
    parse_filter(" or ".join(["A eq 1"] * 800))


NAMES = st.sampled_from(["A", "Name", "Group/Name", "dataAreaId", "Not1"])
VALUES = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=8).map(
        lambda text: "'" + text.replace("'", "''") + "'"
    ),
    st.integers(-(2**63), 2**63).map(str),
    st.decimals(allow_nan=False, allow_infinity=False, min_value=-1e9, max_value=1e9, places=3).map(str),
    st.dates().map(str),
    st.datetimes().map(lambda when: when.isoformat(timespec="seconds") + "Z"),
    st.uuids().map(str),
    st.sampled_from(["true", "null", "08:30:00", "NoYes'Yes'", "2026-07-14T08:30:00+02:00"]),
)
OPERANDS = st.recursive(
    st.one_of(NAMES, VALUES, st.builds("{}({},{})".format, st.sampled_from(["contains", "tolower"]), NAMES, VALUES)),
    lambda inner: st.builds("({} {} {})".format, inner, st.sampled_from(["add", "sub", "mul", "div", "mod"]), inner),
    max_leaves=4,
)
FILTERS = st.recursive(
    st.one_of(
        st.builds("{} {} {}".format, OPERANDS, st.sampled_from(["eq", "ne", "gt", "le", "has"]), OPERANDS),
        st.builds("{} in ({},{})".format, NAMES, VALUES, VALUES),
        NAMES,
    ),
    lambda inner: st.one_of(
        st.builds("({} {} {})".format, inner, st.sampled_from(["and", "or"]), inner),
        st.builds("{} {} {}".format, inner, st.sampled_from(["and", "or"]), inner),
        st.builds("not ({})".format, inner),
    ),
    max_leaves=6,
)


@given(FILTERS)
def test_a_filter_that_was_read_and_written_reads_the_same_again(text: str) -> None:
    tree = parse_filter(text)
    assert parse_filter(filter_text(tree)) == tree


@given(
    st.text(st.sampled_from("AB ()',/-0123456789eqandornot.:TZ\"<>$@[é\x00\ud800"), max_size=60) | st.text(max_size=60)
)
def test_any_text_is_read_or_refused_as_an_invalid_argument(text: str) -> None:
    try:
        parse_filter(text)
    except InvalidArgument as error:
        assert error.message
