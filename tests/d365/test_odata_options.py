"""Query options: names put right before a call, and written into a URL once."""

from dataclasses import replace

import pytest

from d365mcp.d365.filters.translate import and_filters, company_filter, keyset_filter
from d365mcp.d365.odata import QueryOptions, check_expand, check_order_by, check_select
from d365mcp.errors import InvalidArgument, UnknownName
from tests.d365.entities import CUSTOMERS

BY_NAME = CUSTOMERS.properties


def test_a_query_string_asks_in_one_order_with_the_company_flag_last() -> None:
    options = QueryOptions(
        select=("Name", "City"),
        filter="Name eq 'A & B' and City ne 'x*'",
        order_by=("Name desc", "City"),
        top=5,
        skip=0,
        count=True,
        expand=("Group($select=Id)",),
        cross_company=True,
    )
    assert options.query_string() == (
        "$select=Name,City&$filter=Name%20eq%20'A%20%26%20B'%20and%20City%20ne%20'x*'&$orderby=Name%20desc,City"
        "&$top=5&$skip=0&$count=true&$expand=Group($select%3DId)&cross-company=true"
    )


def test_a_query_string_is_empty_when_nothing_is_asked() -> None:
    assert QueryOptions().query_string() == ""


def test_filters_are_joined_so_that_all_hold_whatever_is_inside() -> None:
    assert and_filters("", "A eq 1 or B eq 2", "", "C eq 3") == "(A eq 1 or B eq 2) and (C eq 3)"
    assert and_filters("A eq 1 or B eq 2", "") == "A eq 1 or B eq 2"
    assert and_filters("", "") == ""


def test_a_company_filter_names_each_company_once() -> None:
    assert company_filter(["USMF"]) == "dataAreaId eq 'usmf'"
    assert company_filter(["usmf", "DAT", "UsMf"]) == "dataAreaId eq 'usmf' or dataAreaId eq 'dat'"
    assert company_filter([]) == ""


@pytest.mark.parametrize("company", ["us*", "", "us'mf", "usmf or 1 eq 1", "../usmf", "ü", "a" * 11])
def test_what_cannot_be_a_company_is_refused(company: str) -> None:
    with pytest.raises(InvalidArgument, match="is no company"):
        company_filter(["usmf", company])


def test_selected_names_are_put_right_and_repeated_ones_dropped() -> None:
    assert check_select(["customeraccount", " NameAlias", "CustomerAccount"], CUSTOMERS) == (
        "CustomerAccount",
        "NameAlias",
    )


def test_unknown_names_in_select_are_reported_together() -> None:
    with pytest.raises(UnknownName, match='No property "Nme"'):
        check_select(["Nme", "NameAlias"], CUSTOMERS)
    with pytest.raises(InvalidArgument) as error:
        check_select(["CreditLimits", "NameAlias", "Visit"], CUSTOMERS)
    assert error.value.message == (
        'No property "CreditLimits". Did you mean CreditLimit? No property "Visit". Did you mean Visits?'
    )
    assert error.value.hint == "d365fo_get_entity_schema lists the properties of CustomersV3."


def test_a_star_in_select_is_answered_with_what_shows_everything() -> None:
    with pytest.raises(UnknownName) as error:
        check_select(["*"], CUSTOMERS)
    assert "d365fo_get_entity_record with include_empty" in (error.value.hint or "")


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        ("creditlimit", "CreditLimit"),
        ("CreditLimit asc", "CreditLimit"),
        (" creditLimit  DESC ", "CreditLimit desc"),
    ],
)
def test_an_order_is_put_right(item: str, expected: str) -> None:
    assert check_order_by([item], CUSTOMERS) == (expected,)


@pytest.mark.parametrize(
    "item",
    ["", "CreditLimit down", "CreditLimit desc, Visits", "CustomerGroup/Description", "CreditLimit CreditLimit", "a&b"],
)
def test_what_is_no_order_is_refused(item: str) -> None:
    with pytest.raises(InvalidArgument, match="is no order"):
        check_order_by([item], CUSTOMERS)


def test_an_unknown_name_in_an_order_is_refused_with_the_close_ones() -> None:
    with pytest.raises(UnknownName, match="Did you mean CreditLimit"):
        check_order_by(["CreditLimits desc"], CUSTOMERS)


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        ("customergroup", "CustomerGroup"),
        ("Addresses", "Addresses"),
        ("addresses ( $select = City , Street )", "Addresses($select=City,Street)"),
    ],
)
def test_an_expand_is_put_right(item: str, expected: str) -> None:
    assert check_expand([item], CUSTOMERS) == (expected,)


@pytest.mark.parametrize(
    "item",
    [
        "Addresses($filter=City eq 'x')",
        "Addresses($select=City;$top=1)",
        "Addresses($expand=Country)",
        "Addresses/Country",
        "Addresses($levels=2)",
        "Addresses,CustomerGroup",
        "Addresses($select=City,Street&x)",
        "Addresses($select=)",
        "",
    ],
)
def test_an_expand_is_one_level_with_select_only(item: str) -> None:
    with pytest.raises(InvalidArgument):
        check_expand([item], CUSTOMERS)


def test_an_unknown_navigation_property_is_refused_with_the_close_ones() -> None:
    with pytest.raises(UnknownName, match='No navigation property "CustomerGroups". Did you mean CustomerGroup?'):
        check_expand(["CustomerGroups"], CUSTOMERS)


def test_where_no_navigation_property_comes_close_all_are_named() -> None:
    with pytest.raises(UnknownName) as error:
        check_expand(["Orders"], CUSTOMERS)
    assert error.value.hint == f"CustomersV3 has {', '.join(link.name for link in CUSTOMERS.navigation_properties)}."
    with pytest.raises(UnknownName) as error:
        check_expand(["Orders"], replace(CUSTOMERS, navigation_properties=()))
    assert "d365fo_query_sql" in (error.value.hint or "")


def after(*position: tuple[str, object], descending: tuple[str, ...] = ()) -> str | None:
    return keyset_filter(
        [(BY_NAME[name], name in descending) for name, _ in position], [value for _, value in position]
    )


def test_a_keyset_filter_finds_what_comes_after_a_position() -> None:
    assert after(("CreditLimit", 12.5)) == "CreditLimit gt 12.5"
    assert after(("dataAreaId", "usmf"), ("CustomerAccount", "O'Hare")) == (
        "dataAreaId gt 'usmf' or dataAreaId eq 'usmf' and CustomerAccount gt 'O''Hare'"
    )
    assert after(
        ("ShippingDate", "2026-07-14T12:00:00Z"),
        ("RecordId", 5),
        ("CustomerAccount", "a"),
        descending=("ShippingDate",),
    ) == (
        "ShippingDate lt 2026-07-14T12:00:00Z or ShippingDate eq 2026-07-14T12:00:00Z and "
        "(RecordId gt 5 or RecordId eq 5 and CustomerAccount gt 'a')"
    )


@pytest.mark.parametrize(
    "position",
    [
        [("OnHoldStatus", "No")],
        [("Enabled", True)],
        [("Reference", "6f9619ff-8b86-d011-b42d-00c04fc964ff")],
        [("CustomerAccount", None)],
        [("NameAlias", "a*"), ("CustomerAccount", "b")],
        [("NameAlias", "a"), ("IsOneTime", "No")],
        [("ShippingDate", "not a date")],
    ],
)
def test_there_is_no_keyset_filter_where_fo_cannot_compare(position: list[tuple[str, object]]) -> None:
    assert after(*position) is None
