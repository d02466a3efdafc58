"""What a translated filter means for a record, where F&O could only be asked for more than was wanted."""

from typing import Any

import pytest

from d365mcp.d365.filters.translate import translate_filter
from d365mcp.d365.filters.tree import matches_filter, restricted_to
from tests.d365.entities import CUSTOMERS

RECORD = {
    "dataAreaId": "usmf",
    "CustomerAccount": "US-001",
    "OrganizationName": "Contoso *Retail* Zürich",
    "NameAlias": "",
    "CreditLimit": 389.45,
    "Balance": 89.45,
    "Visits": 7,
    "RecordId": 5637144576,
    "OnHoldStatus": "Invoice",
    "IsOneTime": "No",
    "Mood": None,
    "Enabled": True,
    "ShippingDate": "2026-07-14T12:00:00Z",
    "CreatedAt": "2026-07-30T08:58:53Z",
    "OpensAt": 30600,
    "Reference": "6f9619ff-8b86-d011-b42d-00c04fc964ff",
}


def holds(text: str, **changes: Any) -> bool:
    return matches_filter(translate_filter(text, CUSTOMERS).expression, {**RECORD, **changes})


TRUE = [
    "CustomerAccount eq 'us-001'",
    "CustomerAccount ne 'US-002'",
    "CustomerAccount gt 'us-000' and CustomerAccount lt 'US-002'",
    "OrganizationName eq 'CONTOSO *RETAIL* ZÜRICH'",
    "OrganizationName ne 'Contoso*'",
    "contains(OrganizationName,'*retail*')",
    "startswith(OrganizationName,'contoso *')",
    "endswith(OrganizationName,'zürich')",
    "not contains(OrganizationName,'o*R')",
    "CustomerAccount in ('US-001','x')",
    "NameAlias eq null",
    "CreditLimit eq 389.45",
    "CreditLimit sub Balance eq 300",
    "CreditLimit add 1 gt 390 and CreditLimit mul 2 lt 778.91 and CreditLimit div 2 gt 194",
    "Visits mod 4 eq 3",
    "RecordId ge 5637144576",
    "OnHoldStatus eq 'invoice'",
    "OnHoldStatus in ('All','Invoice')",
    "Mood ne 'Good'",
    "Enabled and not IsOneTime",
    "ShippingDate eq 2026-07-14",
    "ShippingDate gt 2026-07-13 and ShippingDate le 2026-07-14",
    "year(ShippingDate) eq 2026",
    "CreatedAt eq 2026-07-30",
    "CreatedAt ge 2026-07-30T10:58:53+02:00",
    "OpensAt eq 08:30:00",
    "Reference eq '6F9619FF-8B86-D011-B42D-00C04FC964FF'",
    "dataAreaId eq 'USMF' and (Visits eq 0 or Visits eq 7)",
]


@pytest.mark.parametrize("text", TRUE)
def test_a_record_matches_by_fos_rules(text: str) -> None:
    assert holds(text)
    assert not holds(f"not ({text})")


@pytest.mark.parametrize("empty", ["1900-01-01T12:00:00Z", "1900-01-01T00:00:00Z", None])
def test_an_empty_date_is_empty_in_whatever_form_it_comes(empty: str | None) -> None:
    assert holds("ShippingDate eq null and CreatedAt eq null", ShippingDate=empty, CreatedAt=empty)
    assert not holds("ShippingDate ne null or CreatedAt ne null", ShippingDate=empty, CreatedAt=empty)
    assert holds("ShippingDate lt 2026-07-14", ShippingDate=empty)


def test_a_value_that_is_not_there_is_no_number_and_no_member() -> None:
    assert not holds("CreditLimit gt 0", CreditLimit=None)
    assert holds("CreditLimit ne 0", CreditLimit=None)
    assert not holds("OnHoldStatus eq 'No'", OnHoldStatus=None)
    assert holds("NameAlias eq ''", NameAlias=None)


def test_a_division_by_zero_matches_nothing() -> None:
    assert not holds("CreditLimit div Visits gt 0", Visits=0)


def test_a_column_with_another_name_can_be_seen_to_be_restricted_too() -> None:
    expression = translate_filter("NameAlias in ('USMF','dat') and Visits gt 0", CUSTOMERS).expression
    assert restricted_to(expression, "NameAlias") == {"usmf", "dat"}
    assert restricted_to(expression, "Visits") is None
