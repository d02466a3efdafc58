"""What F&O is sent to create and to update a record."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from d365mcp.d365.bodies import check_body, missing
from d365mcp.d365.models import EntityProperty
from d365mcp.errors import InvalidArgument
from tests.d365.entities import CUSTOMERS, keyed

KEY = {"dataAreaId": "usmf", "CustomerAccount": "US-001"}
NEW = {**KEY, "OrganizationName": "Contoso"}


def complaint(record: dict[str, Any], *, key: dict[str, Any] | None = KEY) -> str:
    with pytest.raises(InvalidArgument) as error:
        check_body(record, CUSTOMERS, key=key)
    return error.value.message


def test_a_body_that_is_right_goes_through_unchanged_and_unremarked() -> None:
    record = {**NEW, "CreditLimit": 12.5, "OnHoldStatus": "No", "ShippingDate": "2026-07-14T12:00:00Z", "Enabled": True}
    assert check_body(record, CUSTOMERS) == (record, [])


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("organizationname", "x", "x"),
        ("OnHoldStatus", "Microsoft.Dynamics.DataEntities.CustVendorBlocked'All'", "All"),
        ("OnHoldStatus", "all", "All"),
        ("OnHoldStatus", 2, "All"),
        ("IsOneTime", True, "Yes"),
        ("Enabled", "Yes", True),
        ("ShippingDate", "2026-07-14", "2026-07-14T12:00:00Z"),
        ("ShippingDate", "2026-07-14T00:00:00", "2026-07-14T12:00:00Z"),
        ("ShippingDate", None, "1900-01-01T12:00:00Z"),
        ("CreatedAt", "2026-07-14", "2026-07-14T00:00:00Z"),
        ("NameAlias", None, ""),
        ("CustomerAccount", 1001, "1001"),
        ("Visits", "5", 5),
        ("CreditLimit", "12.50", 12.5),
        ("CreditLimit", 1e20, 100000000000000000000),
        ("OpensAt", "08:30", 30600),
        ("Reference", "6F9619FF-8B86-D011-B42D-00C04FC964FF", "6f9619ff-8b86-d011-b42d-00c04fc964ff"),
        ("Picture", "AAAA", "AAAA"),
        ("Picture", "AA ==\n", "AA ==\n"),
    ],
)
def test_names_and_values_are_put_right_for_json(name: str, value: Any, expected: Any) -> None:
    body, _ = check_body({name: value}, CUSTOMERS, key=None if name == "CustomerAccount" else KEY)
    (found,) = (sent for sent_name, sent in body.items() if sent_name.casefold() == name.casefold())
    assert (type(found), found) == (type(expected), expected)


def test_what_was_changed_is_reported() -> None:
    record = {"onholdstatus": "all", "@odata.etag": "W/x", "NameAlias": "y"}
    body, notes = check_body(record, CUSTOMERS, key=KEY)
    assert body == {"OnHoldStatus": "All", "NameAlias": "y"}
    assert notes == ['onholdstatus: "all" → OnHoldStatus: "All"', '"@odata.etag" left out']


def test_all_problems_are_reported_at_once() -> None:
    message = complaint(
        {
            "CustomerAccount": "US-002",
            "Balance": 5,
            "Colour": "red",
            "CreditLimits": 1,
            "CreditLimit": True,
            "OnHoldStatus": "Invoce",
            "Visits": 2**31,
            "OrganizationName": "",
            "NameAlias": "a",
            "namealias": "b",
        }
    )
    assert message == (
        'No property "Colour". No property "CreditLimits". Did you mean CreditLimit? '
        "CustomerAccount is part of the key and cannot be changed: leave it out. "
        "Balance cannot be changed once the record exists. "
        "CreditLimit is a number; True is not. "
        'No member of CustVendorBlocked "Invoce". Did you mean Invoice? '
        "Its members are No, Invoice, All, Payment, Requisition or Never. "
        "Visits is a whole number from -2147483648 to 2147483647; 2147483648 is not. "
        "OrganizationName is mandatory and cannot be empty. "
        "NameAlias is given twice."
    )


def test_creating_has_rules_of_its_own() -> None:
    assert complaint({**NEW, "Balance": 1}, key=None) == "Balance cannot be set when a record is created."
    assert check_body({"OrganizationName": "x"}, CUSTOMERS) == ({"OrganizationName": "x"}, [])


@pytest.mark.parametrize(
    ("record", "names"),
    [
        (NEW, []),
        ({"OrganizationName": "x"}, []),  # the user's company, and a number sequence, give the key
        ({"CustomerAccount": "US-001"}, ["OrganizationName"]),
        ({"dataAreaId": "usmf"}, ["OrganizationName"]),
    ],
)
def test_mandatory_is_what_neither_the_caller_nor_fo_gives(record: dict[str, Any], names: list[str]) -> None:
    assert missing(record, CUSTOMERS) == names


def test_a_number_of_another_entity_is_not_given_by_a_sequence() -> None:
    """A line's order is not numbered when the line is created."""
    order = EntityProperty("PurchaseOrderNumber", "Edm.String", is_key=True, is_mandatory=True)
    line = EntityProperty("LineNumber", "Edm.Int64", "Int64", is_key=True, is_mandatory=True)
    assert missing({}, keyed(order, line)) == ["PurchaseOrderNumber"]
    assert missing({}, keyed(order)) == []


@pytest.mark.parametrize(
    "repeated",
    [
        {"dataAreaId": "usmf"},
        {"dataareaid": "USMF"},
        {"CustomerAccount": "us-001", "dataAreaId": "usmf"},
    ],
)
def test_a_key_that_is_repeated_unchanged_is_left_out_with_a_note(repeated: dict[str, Any]) -> None:
    body, notes = check_body({**repeated, "NameAlias": "x"}, CUSTOMERS, key=KEY)
    assert body == {"NameAlias": "x"}
    assert notes == [f"{name} left out: it is part of the key, and stays as it is" for name in repeated]


@pytest.mark.parametrize("changed", [{"dataAreaId": "usrt"}, {"CustomerAccount": ""}, {"CustomerAccount": {}}])
def test_a_key_that_would_change_is_refused(changed: dict[str, Any]) -> None:
    assert "part of the key and cannot be changed" in complaint({**changed, "NameAlias": "x"})


def test_a_key_alone_changes_nothing() -> None:
    assert "at least one property" in complaint(KEY)


def test_keys_of_every_type_are_compared_as_what_they_are() -> None:
    day = EntityProperty("StartDate", "Edm.DateTimeOffset", "Date", is_key=True)
    other = EntityProperty("Rate", "Edm.Decimal", "Real")
    entity = replace(keyed(day), properties={"StartDate": day, "Rate": other})
    body, _ = check_body({"StartDate": "2026-07-14", "Rate": 1}, entity, key={"StartDate": "2026-07-14T12:00:00Z"})
    assert body == {"Rate": 1}


@pytest.mark.parametrize("value", ["no base64!", "AAA", "AA=", "AA==AA==", "-_-_", "A"])
def test_a_binary_is_base64(value: str) -> None:
    """As Microsoft's OData library reads it."""
    assert "Picture is a file or picture in base64" in complaint({"Picture": value})


def test_a_read_only_entity_and_an_empty_body_are_refused() -> None:
    with pytest.raises(InvalidArgument, match="CustomersV3 is read-only"):
        check_body(NEW, replace(CUSTOMERS, is_read_only=True))
    assert "at least one property" in complaint({})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e300, 10**1000, "12345678901234567.89", [], {}])
def test_numbers_that_json_or_fo_cannot_carry_are_refused(value: Any) -> None:
    assert "CreditLimit is a number" in complaint({"CreditLimit": value})


VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=10), st.lists(st.integers(), max_size=2)
)


@given(st.dictionaries(st.sampled_from([*CUSTOMERS.properties, "Unknown", "\ud800"]), VALUES, max_size=4))
def test_any_record_becomes_json_or_is_refused(record: dict[str, Any]) -> None:
    try:
        body, notes = check_body(record, CUSTOMERS, key=KEY)
    except InvalidArgument as error:
        error.message.encode()
    else:
        "".join(notes).encode()
        assert json.loads(json.dumps(body, allow_nan=False)) == body
