"""Key predicates: one record, named in a URL."""

import re
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from d365mcp.d365.keys import key_predicate
from d365mcp.d365.models import NAMESPACE, DataEntity, EntityProperty
from d365mcp.errors import InvalidArgument
from tests.d365.entities import CUSTOMERS, keyed


def part(name: str, type_name: str = "Edm.String", data_type: str = "String") -> EntityProperty:
    return EntityProperty(name, type_name, data_type, is_key=True)


def value_of(value: Any, prop: EntityProperty) -> str:
    """Return how a value stands in the key, percent-decoded."""
    return unquote(key_predicate(keyed(prop), {prop.name: value})).removeprefix(f"({prop.name}=").removesuffix(")")


def complaint(entity: DataEntity, key: dict[str, Any]) -> str:
    with pytest.raises(InvalidArgument) as error:
        key_predicate(entity, key)
    return error.value.message


def test_parts_come_in_the_metadatas_order_by_names_in_any_case() -> None:
    key = {"customeraccount": "US-001", "DATAAREAID": "usmf"}
    assert key_predicate(CUSTOMERS, key) == "(dataAreaId='usmf',CustomerAccount='US-001')"


def test_all_that_is_missing_unknown_or_wrong_is_reported_at_once() -> None:
    entity = keyed(part("dataAreaId"), part("Line", "Edm.Int64", "Int64"), part("Account"))
    assert complaint(entity, {"Line": "x", "line": 2, "Acount": "a"}) == (
        "The key of Things is dataAreaId, Line, Account. "
        '"line" is given twice. "Acount" is no part of it. dataAreaId is missing. Account is missing.'
    )
    assert 'Line is a whole number; "x" is not.' in complaint(entity, {"dataAreaId": "a", "Line": "x", "Account": "b"})


def test_an_entity_without_a_key_is_to_be_filtered() -> None:
    assert "query it with a filter" in complaint(keyed(), {"a": 1})


@pytest.mark.parametrize(
    ("value", "encoded"),
    [
        ("A B", "'A%20B'"),
        (" RFI-TEST-001", "'%20RFI-TEST-001'"),
        ("a/b", "'a%2Fb'"),
        ("a\\b", "'a%5Cb'"),
        ("50%", "'50%25'"),
        ("é", "'%C3%A9'"),
        ("O'Brien", "'O''Brien'"),
        ("a?b#c&d+e", "'a%3Fb%23c%26d%2Be'"),
        ("x),(y", "'x%29%2C%28y'"),
        ("..", "'..'"),
        ("", "''"),
        (1001, "'1001'"),
    ],
)
def test_text_is_quoted_and_encoded_once(value: Any, encoded: str) -> None:
    assert key_predicate(keyed(part("Account")), {"Account": value}) == f"(Account={encoded})"


@pytest.mark.parametrize(
    ("prop", "value", "expected"),
    [
        (part("Id", "Edm.Int64", "Int64"), 5637144589, "5637144589"),
        (part("Id", "Edm.Int64", "Int64"), "5637144589", "5637144589"),
        (part("Id", "Edm.Int32", "Int32"), -1, "-1"),
        (part("Line", "Edm.Decimal", "Real"), 1, "1"),
        (part("Line", "Edm.Decimal", "Real"), 1.5, "1.5"),
        (part("Line", "Edm.Decimal", "Real"), 1e20, "100000000000000000000"),
        (part("Line", "Edm.Decimal", "Real"), 1e-7, "0.0000001"),
        (part("Start", "Edm.DateTimeOffset", "Date"), "2017-01-01", "2017-01-01T12:00:00Z"),
        (part("Start", "Edm.DateTimeOffset", "Date"), "2017-01-01T00:00:00Z", "2017-01-01T12:00:00Z"),
        (part("Start", "Edm.DateTimeOffset", "Date"), "2017-01-01T12:00:00Z", "2017-01-01T12:00:00Z"),
        (part("Start", "Edm.DateTimeOffset", "Date"), None, "1900-01-01T12:00:00Z"),
        (part("From", "Edm.DateTimeOffset", "UtcDateTime"), "2017-01-01", "2017-01-01T00:00:00Z"),
        (part("From", "Edm.DateTimeOffset", "UtcDateTime"), "2017-01-01T08:30:00+02:00", "2017-01-01T06:30:00Z"),
        (part("IsOn", "Edm.Boolean", "Enum"), True, "true"),
        (part("Status", f"{NAMESPACE}CustVendorBlocked", "Enum"), "invoice", f"{NAMESPACE}CustVendorBlocked'Invoice'"),
        (part("Scope", f"{NAMESPACE}Unknown", "Enum"), "DataArea", f"{NAMESPACE}Unknown'DataArea'"),
        (
            part("Ref", "Edm.Guid", "Guid"),
            "6F9619FF-8B86-D011-B42D-00C04FC964FF",
            "6f9619ff-8b86-d011-b42d-00c04fc964ff",
        ),
    ],
)
def test_every_type_is_written_as_fo_takes_it(prop: EntityProperty, value: Any, expected: str) -> None:
    assert value_of(value, prop) == expected


@pytest.mark.parametrize(
    ("prop", "value"),
    [
        (part("Id", "Edm.Int64", "Int64"), 2**63),
        (part("Id", "Edm.Int64", "Int64"), 10**1000),
        (part("Id", "Edm.Int64", "Int64"), 1.5),
        (part("Id", "Edm.Int64", "Int64"), True),
        (part("Id", "Edm.Int64", "Int64"), "1 or 1 eq 1"),
        (part("Line", "Edm.Decimal", "Real"), float("nan")),
        (part("Line", "Edm.Decimal", "Real"), float("inf")),
        (part("Line", "Edm.Decimal", "Real"), 1e300),
        (part("Line", "Edm.Decimal", "Real"), None),
        (part("Start", "Edm.DateTimeOffset", "Date"), "2017-02-30"),
        (part("Start", "Edm.DateTimeOffset", "Date"), "2017-01-01T08:00:00Z"),
        (part("Start", "Edm.DateTimeOffset", "Date"), 20170101),
        (part("IsOn", "Edm.Boolean", "Enum"), "perhaps"),
        (part("Status", f"{NAMESPACE}CustVendorBlocked", "Enum"), "Invoce"),
        (part("Scope", f"{NAMESPACE}Unknown", "Enum"), "a'b"),
        (part("Ref", "Edm.Guid", "Guid"), "6F9619FF"),
        (part("Account"), True),
        (part("Account"), 1.5),
        (part("Account"), ["a"]),
        (part("Account"), {"a": 10**1000}),
        (part("Account"), "a\x00b"),
        (part("Account"), "\ud800"),
        (part("Blob", "Edm.Binary", "Container"), "AAAA"),
    ],
)
def test_a_value_of_another_type_is_refused(prop: EntityProperty, value: Any) -> None:
    assert prop.name in complaint(keyed(prop), {prop.name: value})


LITERAL = re.compile(r"\(Account='((?:[^']|'')*)',Line=(-?\d+)\)")


@given(st.text(max_size=30), st.integers(-(2**63), 2**63 - 1))
def test_a_key_names_the_same_record_when_it_is_read_back(account: str, line: int) -> None:
    entity = keyed(part("Account"), part("Line", "Edm.Int64", "Int64"))
    try:
        predicate = key_predicate(entity, {"Account": account, "Line": line})
    except InvalidArgument:
        assert "\x00" in account or any("\ud800" <= letter <= "\udfff" for letter in account)
        return
    url = urlsplit(f"https://contoso.example/data/Things{predicate}?cross-company=true")
    assert (url.netloc, url.query, url.fragment) == ("contoso.example", "cross-company=true", "")
    assert url.path.count("/") == 2
    read = LITERAL.fullmatch(unquote(url.path.rsplit("/", 1)[1].removeprefix("Things")))
    assert read is not None
    assert (read[1].replace("''", "'"), int(read[2])) == (account, line)
