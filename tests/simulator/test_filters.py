"""`$filter` on /data: what F&O understands, and what it refuses."""

from __future__ import annotations

import httpx
import pytest

pytestmark = pytest.mark.once

ENUM = "Microsoft.Dynamics.DataEntities"


def accounts(
    fo: httpx.Client, condition: str, entity_set: str = "CustomersV3", named: str = "CustomerAccount", company: str = ""
) -> list[str]:
    params = {"$filter": condition, "$select": named, "$orderby": named}
    if company:
        params |= {"$filter": f"dataAreaId eq '{company}' and {condition}", "cross-company": "true"}
    reply = fo.get(f"/data/{entity_set}", params=params)
    assert reply.status_code == 200, reply.text
    return [row[named] for row in reply.json()["value"]]


def refusal(fo: httpx.Client, condition: str, entity_set: str = "CustomersV3") -> str:
    reply = fo.get(f"/data/{entity_set}", params={"$filter": condition})
    assert reply.status_code == 400, reply.text
    return str(reply.json()["error"]["innererror"]["message"])


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("CustomerAccount eq 'US-001'", ["US-001"]),
        ("CustomerAccount eq 'us-001'", ["US-001"]),
        ("'US-001' eq CustomerAccount", ["US-001"]),
        ("OrganizationName eq 'O''Hare Electronics'", ["US-026"]),
        ("OrganizationName eq 'Birch / Pine Partners'", ["US-027"]),
        ("OrganizationName eq 'CAFÉ ZOË – audio'", ["US-029"]),
        ("CreditLimit gt 500000", ["US-009"]),
        ("CreditLimit ge 1000000.0", ["US-009"]),
        ("CreditLimit eq 5e4", ["US-028", "US-029"]),
        ("CreditLimit lt 0", []),
        ("CreditLimit gt -1 and CreditLimit le 0", ["DE-001", "US-017", "US-103"]),
        ("CreditLimit add 1 eq 1000001", ["US-009"]),
        ("CreditLimit sub 1 mul 2 eq 999998", ["US-009"]),
        ("CreditLimit div 3 gt 333333.3", ["US-009"]),
        ("CreditLimit div 4.0 eq 250000", ["US-009"]),
        ("CreditLimit mod 3 eq 1 and CreditLimit gt 999999", ["US-009"]),
        ("-CreditLimit eq -1000000", ["US-009"]),
        ("not (CreditLimit lt 1000000)", ["US-009"]),
        ("(((CreditLimit gt 999999)))", ["US-009"]),
        ("CreditLimit gt 999999 or CustomerAccount eq 'US-001' and CreditLimit lt 5", ["US-009"]),
        ("(CreditLimit gt 999999 or CustomerAccount eq 'US-001') and CreditLimit lt 600000", ["US-001"]),
        ("dataAreaId eq 'USMF' and CustomerAccount eq 'US-001'", ["US-001"]),
    ],
)
def test_comparisons_and_arithmetic(fo: httpx.Client, condition: str, expected: list[str]) -> None:
    assert accounts(fo, condition) == expected


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("CustomerAccount eq ' RFI-001'", [" RFI-001"]),
        ("CustomerAccount eq 'RFI-001'", []),
        ("OrganizationName eq '*100%*'", ["US-028"]),
        ("OrganizationName eq '\"Quality\"*'", ["US-028"]),
    ],
)
def test_blanks_quotes_and_signs_in_values(fo: httpx.Client, condition: str, expected: list[str]) -> None:
    assert accounts(fo, condition, company="us01") == expected


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("OrganizationName eq '*forest*'", ["US-003"]),
        ("OrganizationName eq 'Contoso Retail S*'", ["US-001", "US-005"]),
        ("OrganizationName eq '*zoë*'", ["US-029"]),
        ("OrganizationName eq '*_*'", []),
        ("OrganizationName eq '*\\*'", []),
        (
            "CustomerAccount eq 'US-00*' and OrganizationName ne 'Contoso*'",
            ["US-003", "US-004", "US-007", "US-008", "US-009"],
        ),
    ],
)
def test_a_star_is_a_wildcard_in_eq_and_ne(fo: httpx.Client, condition: str, expected: list[str]) -> None:
    assert accounts(fo, condition) == expected


def test_a_star_in_an_exact_value_cannot_be_matched_exactly(fo: httpx.Client) -> None:
    assert accounts(fo, "ItemNumber eq 'SET*1'", "ReleasedProductsV2", "ItemNumber", "us01") == ["SET*1"]
    assert len(accounts(fo, "ItemNumber eq 'D*1'", "ReleasedProductsV2", "ItemNumber")) == 1
    assert len(accounts(fo, "ItemNumber eq '*1'", "ReleasedProductsV2", "ItemNumber")) > 10


def test_a_star_means_itself_in_other_comparisons(fo: httpx.Client) -> None:
    assert accounts(fo, "CustomerAccount gt 'US-04*'") == ["US-040", "US-041", "US-103"]


def test_enumerations_are_compared_by_qualified_members(fo: httpx.Client) -> None:
    assert accounts(fo, f"OnHoldStatus ne {ENUM}.CustVendorBlocked'No'") == ["US-017", "US-041", "US-103"]
    assert accounts(fo, f"OnHoldStatus eq {ENUM}.CustVendorBlocked'All'") == ["US-017", "US-041", "US-103"]


@pytest.mark.parametrize(
    "condition",
    [
        "OnHoldStatus eq 'No'",
        "OnHoldStatus eq 0",
        "OnHoldStatus eq No",
        f"OnHoldStatus eq {ENUM}.CustVendorBlocked'Nein'",
        f"OnHoldStatus eq {ENUM}.NoYes'No'",
        f"OnHoldStatus gt {ENUM}.CustVendorBlocked'No'",
        "OnHoldStatus eq CustVendorBlocked'No'",
    ],
)
def test_other_ways_to_name_a_member_are_refused(fo: httpx.Client, condition: str) -> None:
    refusal(fo, condition)


@pytest.mark.parametrize(
    "function", ["contains(OrganizationName,'x')", "startswith(OrganizationName,'x')", "endswith(OrganizationName,'x')"]
)
def test_text_functions_are_not_queryable(fo: httpx.Client, function: str) -> None:
    assert refusal(fo, function) == "The type System.String for the query operator is not Queryable!"


@pytest.mark.parametrize(
    "condition",
    [
        "tolower(OrganizationName) eq 'x'",
        "geo.distance(OrganizationName,'x') gt 5",
        "CustomerAccount in ('US-001','US-002')",
        "OnHoldStatus has Microsoft.Dynamics.DataEntities.CustVendorBlocked'No'",
        "CustomerAccount eq",
        "CustomerAccount eq 'US-001",
        "CustomerAccount eq 'US-001' and",
        "CustomerAccount 'US-001'",
        "(CustomerAccount eq 'US-001'",
        "CustomerAccount eq 'US-001')",
        "CustomerAccount",
        "CustomerAccount eq 5",
        "CreditLimit eq '5'",
        "CreditLimit eq 99999999999999999999",
        "not CreditLimit",
        "CustomerAccount and CreditLimit gt 5",
        "CustomerAccount add 1 eq 2",
        "Nme eq 'x'",
        "customeraccount eq 'x'",
        "CustomerAccount/Length eq 5",
        'OrganizationName eq "x"',
        "",
    ],
)
def test_what_is_not_in_the_subset_is_refused(fo: httpx.Client, condition: str) -> None:
    refusal(fo, condition)


def test_incompatible_types_are_named(fo: httpx.Client) -> None:
    assert refusal(fo, "CreditLimit eq '5'") == (
        "A binary operator with incompatible types was detected. "
        "Found operand types 'Edm.Decimal' and 'Edm.String' for operator kind 'Equal'."
    )


def test_nothing_that_fo_stores_is_null_but_a_number_without_a_member(fo: httpx.Client) -> None:
    assert accounts(fo, "OrganizationName eq null") == []
    assert len(accounts(fo, "OrganizationName ne null")) == 34
    assert len(accounts(fo, "AddressTimeZone eq null")) == 34


def test_dates_sit_at_noon(fo: httpx.Client) -> None:
    def orders(condition: str) -> list[str]:
        return accounts(fo, condition, "SalesOrderHeadersV2", "SalesOrderNumber")

    assert orders("RequestedShippingDate eq 2021-09-02T12:00:00Z") == ["000001"]
    assert orders("RequestedShippingDate eq 2021-09-02T14:00:00%2B02:00".replace("%2B", "+")) == ["000001"]
    assert orders("RequestedShippingDate eq 2021-09-02") == []
    assert orders("RequestedShippingDate ge 2021-09-02T00:00:00Z and RequestedShippingDate lt 2021-09-04") == [
        "000001",
        "000002",
    ]
    assert orders("OrderCreationDateTime eq 2021-08-12T08:58:53Z") == ["000001"]


@pytest.mark.parametrize("literal", ["'2021-09-02'", "2021-13-02", "2021-09-02T25:00:00Z", "datetime'2021-09-02'"])
def test_other_date_literals_are_refused(fo: httpx.Client, literal: str) -> None:
    refusal(fo, f"RequestedShippingDate eq {literal}", "SalesOrderHeadersV2")


def test_int64_guid_and_boolean_literals(fo: httpx.Client) -> None:
    assert accounts(fo, "InvoiceIdentifier eq 5637144576", "FreeTextInvoiceHeaders", "FreeTextNumber") == [
        "FTI-00000002"
    ]
    project = "ProjectId eq 8D5A1D3C-52A5-4E2E-A0CF-7A3D1D1F0001"
    assert len(accounts(fo, project, "DualWriteProjectConfigurations", "ProjectName")) == 1
    assert accounts(fo, "ExternalUser eq true", "SystemUsers", "UserID") == ["ErinH"]
    assert accounts(fo, "ExternalUser and Enabled", "SystemUsers", "UserID") == ["ErinH"]
    assert "ProjectId" in refusal(fo, "UserID eq ProjectId", "SystemUsers")


def test_a_path_leads_through_a_single_related_record(fo: httpx.Client) -> None:
    condition = f"SalesOrderHeader/SalesOrderStatus eq {ENUM}.SalesStatus'Backorder' and SalesOrderHeader/SalesOrderNumber eq '000811'"
    assert len(accounts(fo, condition, "SalesOrderLines", "InventoryLotId")) == 15
    named = "SalesOrderHeader/SalesOrderName eq 'CAFÉ*' and SalesOrderHeader/SalesOrderNumber eq '00002*'"
    assert len(accounts(fo, named, "SalesOrderLines", "InventoryLotId")) == 15
    refusal(fo, "SalesOrderLine/LineAmount gt 5", "SalesOrderHeaders")


def test_long_chains_are_taken_and_deep_nesting_is_refused(fo: httpx.Client) -> None:
    chain = " or ".join(f"CustomerAccount eq 'X{number}'" for number in range(1_500))
    assert accounts(fo, f"{chain} or CustomerAccount eq 'US-001'") == ["US-001"]
    deep = "not (" * 20 + "CreditLimit gt 999999 or CreditLimit lt 0" + ")" * 20
    assert accounts(fo, deep) == ["US-009"]
    assert refusal(fo, "(" * 41 + "CreditLimit gt 5" + ")" * 41) == "Recursion depth exceeded allowed limit."


def test_an_unencoded_ampersand_cuts_the_filter(fo: httpx.Client) -> None:
    assert fo.get("/data/CustomersV3?$filter=OrganizationName eq 'Oak & Elm Wholesales'").status_code == 400
    assert fo.get("/data/CustomersV3?$filter=OrganizationName eq 'Oak %26 Elm Wholesales'").status_code == 200
