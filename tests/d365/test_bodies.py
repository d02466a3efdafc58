"""What F&O is sent to create and to update a record."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from d365mcp.d365.bodies import check_body
from d365mcp.errors import InvalidArgument
from tests.d365.entities import CUSTOMERS

NEW = {"dataAreaId": "usmf", "CustomerAccount": "US-001", "OrganizationName": "Contoso"}


def updated(**values: Any) -> dict[str, Any]:
    return check_body(values, CUSTOMERS, creating=False)[0]


def complaint(record: dict[str, Any], *, creating: bool = False) -> str:
    with pytest.raises(InvalidArgument) as error:
        check_body(record, CUSTOMERS, creating=creating)
    return error.value.message


def test_a_body_that_is_right_goes_through_unchanged_and_unremarked() -> None:
    record = {**NEW, "CreditLimit": 12.5, "OnHoldStatus": "No", "ShippingDate": "2026-07-14T12:00:00Z", "Enabled": True}
    assert check_body(record, CUSTOMERS, creating=True) == (record, [])


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
    ],
)
def test_names_and_values_are_put_right_for_json(name: str, value: Any, expected: Any) -> None:
    body, _ = check_body({name: value}, CUSTOMERS, creating=name == "CustomerAccount")
    (found,) = (sent for sent_name, sent in body.items() if sent_name.casefold() == name.casefold())
    assert (type(found), found) == (type(expected), expected)


def test_what_was_changed_is_told() -> None:
    record = {"onholdstatus": "all", "@odata.etag": "W/x", "NameAlias": "y"}
    body, notes = check_body(record, CUSTOMERS, creating=False)
    assert body == {"OnHoldStatus": "All", "NameAlias": "y"}
    assert notes == ['onholdstatus: "all" → OnHoldStatus: "All"', '"@odata.etag" left out']


def test_all_problems_are_told_at_once() -> None:
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
        "d365fo_get_entity_schema lists the properties of CustomersV3. "
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
    assert complaint({**NEW, "Balance": 1}, creating=True) == "Balance cannot be set when a record is created."
    _, notes = check_body({"OrganizationName": "x"}, CUSTOMERS, creating=True)
    assert notes == [
        "mandatory and not given: dataAreaId, CustomerAccount; F&O refuses the record unless it has defaults"
    ]


def test_a_read_only_entity_and_an_empty_body_are_refused() -> None:
    with pytest.raises(InvalidArgument, match="CustomersV3 is read-only"):
        check_body(NEW, replace(CUSTOMERS, is_read_only=True), creating=True)
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
        body, notes = check_body(record, CUSTOMERS, creating=False)
    except InvalidArgument as error:
        error.message.encode()
    else:
        "".join(notes).encode()
        assert json.loads(json.dumps(body, allow_nan=False)) == body
