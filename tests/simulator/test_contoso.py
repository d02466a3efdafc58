"""The shipped world holds what Contoso's demo data is known for."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

pytestmark = pytest.mark.once

ENUM = "Microsoft.Dynamics.DataEntities"
CATALOGUE = [
    "CustomersV3",
    "CustomerGroups",
    "CustomerPostalAddressesV2",
    "VendorsV2",
    "VendorsV3",
    "VendorGroups",
    "ReleasedProductsV2",
    "ProductsV2",
    "SalesOrderHeadersV2",
    "SalesOrderHeadersV4",
    "SalesOrderLines",
    "SalesOrderLinesV2",
    "SalesOrderLinesV3",
    "PurchaseOrderHeadersV2",
    "PurchaseOrderLinesV2",
    "LegalEntities",
    "Companies",
    "MainAccounts",
    "Ledgers",
    "ChartOfAccounts",
    "GeneralJournalAccountEntries",
    "LedgerJournalHeaders",
    "LedgerJournalLines",
    "JournalNames",
    "CustomerPaymentJournalHeaders",
    "CustomerPaymentJournalLines",
    "VendorPaymentJournalHeaders",
    "VendorPaymentJournalLines",
    "FreeTextInvoiceHeaders",
    "FreeTextInvoiceLines",
    "SalesQuotationHeadersV2",
    "SalesQuotationLines",
    "Warehouses",
    "WarehousesOnHandV2",
    "WarehouseInventoryStatusesOnHandV2",
    "TransferOrderHeaders",
    "TransferOrderLines",
    "ProductionOrderHeaders",
    "Currencies",
    "ExchangeRates",
    "UnitsOfMeasure",
    "PaymentTerms",
    "TaxGroups",
    "FinancialDimensionValues",
    "DimensionAttributes",
    "FiscalCalendars",
    "FiscalPeriods",
    "BankAccounts",
    "FixedAssetsV2",
    "ProjectsV2",
    "Workers",
    "EmployeesV2",
    "People",
    "Employments",
    "PersonUsers",
    "SystemUsers",
    "SecurityRoles",
    "SysAADClients",
    "BatchJobs",
    "Workflows",
    "ApprovalUsers",
    "DataManagementDefinitionGroups",
    "DataManagementEntities",
]


def rows(fo: httpx.Client, url: str) -> list[dict[str, Any]]:
    reply = fo.get(f"/data/{url}")
    assert reply.status_code == 200, reply.text
    found: list[dict[str, Any]] = reply.json()["value"]
    return found


def one(fo: httpx.Client, url: str) -> dict[str, Any]:
    (found,) = rows(fo, url)
    return found


def test_every_entity_set_of_the_catalogue_has_data(fo: httpx.Client) -> None:
    empty = [name for name in CATALOGUE if not rows(fo, f"{name}?$top=1&cross-company=true")]
    assert empty == []


def test_customers_are_known_by_name_limit_and_hold(fo: httpx.Client) -> None:
    limits = {row["CustomerAccount"]: row["CreditLimit"] for row in rows(fo, "CustomersV3")}
    assert limits["US-001"] == limits["US-002"] == limits["US-013"] == limits["US-040"] == 500_000
    assert (limits["US-009"], limits["US-018"], limits["US-017"], limits["US-103"], limits["DE-001"]) == (
        1_000_000,
        350_000,
        0,
        0,
        0,
    )
    held = rows(fo, f"CustomersV3?$filter=OnHoldStatus ne {ENUM}.CustVendorBlocked'No'")
    assert [row["CustomerAccount"] for row in held] == ["US-017", "US-041", "US-103"]
    assert one(fo, "CustomersV3?$filter=OrganizationName eq '*forest*'")["CustomerAccount"] == "US-003"
    assert one(fo, "CustomersV3?$filter=CustomerAccount eq 'US-025'")["PrimaryContactPhone"] == "123-555-0157"
    assert one(fo, "CustomersV3?$filter=CustomerAccount eq 'US-007'")["PaymentCashDiscount"] == "0.5%D10"


def test_vendors_items_and_warehouses(fo: httpx.Client) -> None:
    assert one(fo, "VendorsV2?$filter=VendorAccountNumber eq 'US-101'")["AddressStateId"] == "JAL"
    taxing = rows(fo, "VendorsV2?$filter=VendorGroupId eq '30'")
    assert taxing[0]["VendorOrganizationName"] == "California State Tax Authority"
    assert len(rows(fo, "ReleasedProductsV2?$select=ItemNumber")) == 201
    laptop = "ReleasedProductsV2?cross-company=true&$filter=dataAreaId eq 'ussi' and ItemNumber eq 'S0012'"
    assert one(fo, laptop)["SearchName"] == "Hardware: Laptop"
    kinds = {row["WarehouseId"]: row["WarehouseType"] for row in rows(fo, "Warehouses")}
    assert {"11", "12", "13", "22"} <= set(kinds)
    assert kinds["18"] == "Quarantine"


NULL_ENUMERATIONS = {
    "CustomerPaymentMethods": ["SATPaymentType"],
    "LegalEntities": ["AddressTimeZone", "LegalNature", "TimeZone"],
    "VendorsV2": ["Tax1099Type", "AddressTimeZone"],
    "PurchaseOrderLinesV2": ["Tax1099Type", "DeliveryAddressTimeZone"],
    "SalesQuotationLines": ["DeliveryAddressTimeZone"],
    "VendorPaymentJournalLines": ["RemittanceAddressTimeZone"],
    "Warehouses": ["PrimaryAddressTimeZone", "IdentificationGroup"],
}


@pytest.mark.parametrize(("entity_set", "names"), NULL_ENUMERATIONS.items())
def test_enumerations_without_a_member_for_their_number_are_null(
    fo: httpx.Client, entity_set: str, names: list[str]
) -> None:
    found = rows(fo, f"{entity_set}?cross-company=true")
    for name in names:
        nothing = rows(fo, f"{entity_set}?cross-company=true&$filter={name} eq null&$select={name}")
        assert len(nothing) == len([row for row in found if row[name] is None]) > 0
        assert {row[name] for row in nothing} == {None}


def test_a_fixed_exchange_rate_is_a_number(fo: httpx.Client) -> None:
    quotation = rows(fo, "SalesQuotationHeadersV2?$top=1&$filter=FixedExchangeRate eq 0")
    assert quotation[0]["FixedExchangeRate"] == 0
    assert rows(fo, "VendorsV2?$top=1")[0]["FixedExchangeRate"] == "No"


def test_documents_and_finance(fo: httpx.Client) -> None:
    assert len(rows(fo, "SalesOrderHeadersV2?$filter=SalesOrderNumber eq '00081*'&$select=SalesOrderNumber")) == 2
    invoices = [row["InvoiceId"] for row in rows(fo, "CustInvoiceJourBiEntities")]
    assert {"CIV-000205", "CIV-000234", "CIV-000708"} <= set(invoices)
    texts = [row["FreeTextNumber"] for row in rows(fo, "FreeTextInvoiceHeaders")]
    assert (texts[0], texts[-1]) == ("FTI-00000002", "FTI-00000022")
    assert {row["Name"] for row in rows(fo, "JournalNames")} >= {"CustPay", "VendPay", "APInvoice"}
    assert {row["MainAccountId"] for row in rows(fo, "MainAccounts")} >= {"110120", "110160", "606300"}
    assert {row["BankAccountId"] for row in rows(fo, "BankAccounts")} >= {"USMF OPER", "USMF PAYRL"}
    names = [row["Name"] for row in rows(fo, "Currencies?$orderby=CurrencyCode&$top=5")]
    assert names == ["UAE Dirham", "Afghani", "Lek", "Armenian Dram", "Netherlands Antillian Guilder"]
    purchase = "PurchaseOrderHeadersV2?cross-company=true&$filter=PurchaseOrderNumber eq '00000227'"
    assert one(fo, purchase)["dataAreaId"] == "ussi"


def test_workers(fo: httpx.Client) -> None:
    names = {row["PersonnelNumber"]: row["Name"] for row in rows(fo, "Workers?$select=PersonnelNumber,Name")}
    assert len(names) == 97
    assert (names["000017"], names["000020"]) == ("June Low", "Julia Funderburk")
    assert "Jodi Christiansen" in names.values()


def test_order_totals_are_the_sums_of_their_lines(fo: httpx.Client) -> None:
    for order in rows(fo, "SalesOrderHeadersV2?$top=20&$select=SalesOrderNumber,OrderTotalAmount"):
        lines = rows(
            fo, f"SalesOrderLinesV3?$filter=SalesOrderNumber eq '{order['SalesOrderNumber']}'&$select=LineAmount"
        )
        assert round(sum(line["LineAmount"] for line in lines), 2) == order["OrderTotalAmount"]


def test_the_company_dat_is_empty(fo: httpx.Client) -> None:
    for name in ("CustomersV3", "VendorsV2", "SalesOrderHeadersV2", "JournalNames"):
        assert rows(fo, f"{name}?cross-company=true&$filter=dataAreaId eq 'dat'") == []
