"""Creates, updates and deletes with the business logic behind them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from tests.simulated import TODAY, Simulator

pytestmark = pytest.mark.once

CUSTOMER = {
    "dataAreaId": "usmf",
    "OrganizationName": "Tailspin Toys",
    "CustomerGroupId": "10",
    "SalesCurrencyCode": "USD",
}
US_001 = "/data/CustomersV3(dataAreaId='usmf',CustomerAccount='US-001')"
GROUP_20 = "/data/CustomerGroups(dataAreaId='usmf',CustomerGroupId='20')"


def create(fo: httpx.Client, entity_set: str, **body: Any) -> dict[str, Any]:
    reply = fo.post(f"/data/{entity_set}", json=body)
    assert reply.status_code == 201, reply.text
    created: dict[str, Any] = reply.json()
    return created


def infolog(reply: httpx.Response) -> str:
    assert reply.status_code == 400, reply.text
    inner = reply.json()["error"]["innererror"]
    assert inner["type"].endswith("AxODataWriteException")
    assert inner["stacktrace"].startswith("   at ")
    return str(inner["message"])


def refusal(reply: httpx.Response) -> str:
    assert reply.status_code == 400, reply.text
    return str(reply.json()["error"]["innererror"]["message"])


def test_a_create_answers_the_whole_record_with_its_address(fo: httpx.Client) -> None:
    reply = fo.post("/data/CustomersV3", json=CUSTOMER)
    assert reply.status_code == 201
    created = reply.json()
    assert created["CustomerAccount"] == "US-201"
    assert created["PartyType"] == "Organization"
    assert created["AddressTimeZone"] is None
    assert len(created) == 309 + 2
    assert reply.headers["etag"] == created["@odata.etag"]
    assert fo.get(reply.headers["location"]).json() == created


def test_numbers_are_given_in_order_and_start_again_after_a_reset(simulator: Simulator, fo: httpx.Client) -> None:
    order = {"dataAreaId": "usmf", "OrderingCustomerAccountNumber": "US-001"}
    assert create(fo, "SalesOrderHeadersV2", **order)["SalesOrderNumber"] == "000812"
    assert create(fo, "SalesOrderHeadersV4", **order)["SalesOrderNumber"] == "000813"
    simulator.reset()
    assert create(fo, "SalesOrderHeadersV2", **order)["SalesOrderNumber"] == "000812"


@pytest.mark.parametrize(
    ("code", "company", "entity_set", "number", "body"),
    [
        ("Sale_37", "usmf", "SalesOrderHeadersV2", "SalesOrderNumber", {"OrderingCustomerAccountNumber": "US-001"}),
        ("Sale_37", "demf", "SalesOrderHeadersV4", "SalesOrderNumber", {"OrderingCustomerAccountNumber": "DE-013"}),
        ("Purc_25", "usmf", "PurchaseOrderHeadersV2", "PurchaseOrderNumber", {"OrderVendorAccountNumber": "US-101"}),
        ("Cust_9", "usmf", "CustomersV3", "CustomerAccount", CUSTOMER),
        (
            "Vend_9",
            "usmf",
            "VendorsV2",
            "VendorAccountNumber",
            {"VendorOrganizationName": "Tailspin", "VendorGroupId": "10"},
        ),
    ],
)
def test_a_number_sequence_says_the_next_number(
    fo: httpx.Client, code: str, company: str, entity_set: str, number: str, body: dict[str, str]
) -> None:
    def sequence() -> int:
        asked = f"NumberSequenceCode eq '{code}' and ScopeValue eq '{company}'"
        (row,) = fo.get(f"/data/SequenceV2Tables?$filter={asked}").json()["value"]
        return int(row["Next"])

    for expected in (sequence(), sequence() + 1):
        created = create(fo, entity_set, **body | {"dataAreaId": company})
        assert int(created[number].removeprefix("US-")) == expected == sequence() - 1


def test_a_number_that_was_taken_by_hand_is_passed_over(fo: httpx.Client) -> None:
    order = {"dataAreaId": "usmf", "OrderingCustomerAccountNumber": "US-001"}
    create(fo, "SalesOrderHeadersV2", **order, SalesOrderNumber="000812")
    assert fo.post("/data/SalesOrderHeadersV2", json=order).status_code == 400
    assert create(fo, "SalesOrderHeadersV2", **order)["SalesOrderNumber"] == "000813"


def test_a_key_that_is_sent_is_kept(fo: httpx.Client) -> None:
    assert create(fo, "CustomersV3", **CUSTOMER, CustomerAccount="TT/1 ")["CustomerAccount"] == "TT/1 "
    assert fo.get("/data/CustomersV3(dataAreaId='usmf',CustomerAccount='TT%2F1%20')").status_code == 200


def test_values_the_server_fills_in_are_cut_to_their_length(fo: httpx.Client) -> None:
    created = create(fo, "CustomersV3", **CUSTOMER | {"OrganizationName": "Tailspin Toys and Games"})
    assert created["NameAlias"] == "Tailspin Toys and Ga"
    assert create(fo, "CustomersV3", **CUSTOMER, NameAlias="mine")["NameAlias"] == "mine"


def test_an_order_takes_defaults_from_its_customer_and_the_session_date(fo: httpx.Client) -> None:
    order = create(fo, "SalesOrderHeadersV2", dataAreaId="usmf", OrderingCustomerAccountNumber="US-003")
    assert order["SalesOrderName"] == "Forest Wholesales"
    assert order["InvoiceCustomerAccountNumber"] == "US-003"
    assert order["CurrencyCode"] == "USD"
    assert order["SalesOrderStatus"] == "None"
    assert order["RequestedShippingDate"][10:] == "T12:00:00Z"
    created = datetime.fromisoformat(order["OrderCreationDateTime"])
    assert created.date().isoformat() == TODAY == order["RequestedShippingDate"][:10]
    assert created.time() <= datetime.now(UTC).time()


def test_a_first_line_opens_its_order(fo: httpx.Client) -> None:
    order = create(fo, "SalesOrderHeadersV2", dataAreaId="usmf", OrderingCustomerAccountNumber="US-003")
    line = {"dataAreaId": "usmf", "SalesOrderNumber": order["SalesOrderNumber"], "ItemNumber": "D0001"}
    first = create(fo, "SalesOrderLinesV3", **line, OrderedSalesQuantity=3)
    second = create(fo, "SalesOrderLinesV2", **line, OrderedSalesQuantity=1, SalesUnitSymbol="")
    assert (first["LineNumber"], first["SalesPrice"], first["LineAmount"]) == (1, 1450, 4350)
    assert first["SalesUnitSymbol"] == "ea"
    assert second["SalesUnitSymbol"] == ""
    after = fo.get(
        f"/data/SalesOrderHeadersV2(dataAreaId='usmf',SalesOrderNumber='{order['SalesOrderNumber']}')"
    ).json()
    assert after["SalesOrderStatus"] == "Backorder"
    assert after["@odata.etag"] != order["@odata.etag"]


def test_the_total_of_an_order_follows_its_lines(fo: httpx.Client) -> None:
    created = create(fo, "SalesOrderHeadersV2", dataAreaId="usmf", OrderingCustomerAccountNumber="US-003")
    number = {"dataAreaId": "usmf", "SalesOrderNumber": created["SalesOrderNumber"]}

    def total() -> float:
        order = fo.get(f"/data/SalesOrderHeadersV4(dataAreaId='usmf',SalesOrderNumber='{number['SalesOrderNumber']}')")
        return float(order.json()["OrderTotalAmount"])

    line = create(fo, "SalesOrderLinesV3", **number, ItemNumber="D0001", OrderedSalesQuantity=3)
    assert total() == 4350
    other = create(fo, "SalesOrderLinesV2", **number, ItemNumber="D0001", OrderedSalesQuantity=1, SalesPrice=0.1)
    assert total() == 4350.1
    first, second = (
        f"/data/SalesOrderLinesV3(dataAreaId='usmf',InventoryLotId='{each['InventoryLotId']}')"
        for each in (line, other)
    )
    assert fo.patch(first, json={"OrderedSalesQuantity": 2}).status_code == 204
    assert fo.get(first).json()["LineAmount"] == 2900
    assert total() == 2900.1
    assert fo.patch(first, json={"LineAmount": 2800}).status_code == 204
    assert total() == 2800.1
    assert fo.delete(second).status_code == 204
    assert total() == 2800


def test_journal_lines_are_numbered_within_their_journal(fo: httpx.Client) -> None:
    line = {
        "dataAreaId": "usmf",
        "JournalBatchNumber": "00475",
        "AccountDisplayValue": "DAT\\-0000000002",
        "CurrencyCode": "USD",
    }
    created = create(fo, "LedgerJournalLines", **line, AccountType="Vend", DebitAmount=1.5, TransDate="2026-07-23")
    assert created["LineNumber"] == 3
    assert created["TransDate"] == "2026-07-23T12:00:00Z"
    assert created["AccountDisplayValue"] == "DAT\\-0000000002"


@pytest.mark.parametrize(
    ("entity_set", "body"),
    [
        ("VendorsV2", {"VendorOrganizationName": "Tailspin", "VendorGroupId": "10"}),
        ("PurchaseOrderHeadersV2", {"OrderVendorAccountNumber": "US-101"}),
        ("LedgerJournalHeaders", {"JournalName": "GenJrn"}),
        ("FreeTextInvoiceHeaders", {"CustomerAccount": "US-001", "InvoiceDate": "2026-07-23", "CurrencyCode": "USD"}),
        (
            "SalesQuotationHeadersV2",
            {"RequestingCustomerAccountNumber": "US-001", "CurrencyCode": "USD", "LanguageId": "en-us"},
        ),
    ],
)
def test_minimal_bodies_are_enough(fo: httpx.Client, entity_set: str, body: dict[str, Any]) -> None:
    create(fo, entity_set, dataAreaId="usmf", **body)


def test_business_validation_speaks_through_the_infolog(fo: httpx.Client) -> None:
    assert infolog(fo.post("/data/CustomersV3", json=CUSTOMER | {"CustomerGroupId": "99"})) == (
        "Write failed for table row of type 'CustCustomerV3Entity'. Infolog: Warning: Customer group 99 does not exist.; "
        "Error: validateWrite failed on data source 'CustTable (CustTable)'."
    )
    assert "does not exist" in infolog(fo.patch(US_001, json={"PaymentTerms": "Net99"}))


def test_a_main_account_is_one_of_its_chart(fo: httpx.Client) -> None:
    account = {"MainAccountId": "606300", "LegalEntityId": "itco"}
    reply = fo.post("/data/MainAccountLegalEntities", json=account | {"ChartOfAccounts": "Other"})
    assert "Main account 606300, Other does not exist." in reply.text
    assert fo.post("/data/MainAccountLegalEntities", json=account | {"ChartOfAccounts": "Shared"}).status_code == 201
    assert fo.delete("/data/MainAccounts(ChartOfAccounts='Shared',MainAccountId='606300')").status_code == 400


def test_a_mandatory_property_must_be_filled_in(fo: httpx.Client) -> None:
    body = {name: value for name, value in CUSTOMER.items() if name != "CustomerGroupId"}
    assert "Field 'CustomerGroupId' must be filled in." in infolog(fo.post("/data/CustomersV3", json=body))
    assert "must be filled in" in infolog(fo.patch(US_001, json={"OrganizationName": ""}))
    assert "must be filled in" in infolog(fo.post("/data/CustomerGroups", json={"Description": "no key"}))


def test_a_second_record_with_the_same_key_is_refused(fo: httpx.Client) -> None:
    reply = fo.post("/data/CustomersV3", json=CUSTOMER | {"CustomerAccount": "us-001"})
    assert "The record already exists." in infolog(reply)


def test_a_company_that_does_not_exist_is_refused(fo: httpx.Client) -> None:
    assert "company xxxx does not exist" in infolog(
        fo.post("/data/CustomersV3", json=CUSTOMER | {"dataAreaId": "XXXX"})
    )


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"Nme": "x"}, "Could not find a property named 'Nme'"),
        ({"organizationName": "x"}, "Could not find a property named 'organizationName'"),
        ({"OnHoldStatus": "Nein"}, "Cannot convert the literal 'Nein'"),
        ({"OnHoldStatus": 1}, "Cannot convert"),
        ({"OnHoldStatus": "Microsoft.Dynamics.DataEntities.CustVendorBlocked'No'"}, "Cannot convert"),
        ({"CreditLimit": "5"}, "Cannot convert the literal '5' to the expected type 'Edm.Decimal'."),
        ({"CreditLimit": True}, "Cannot convert"),
        ({"OrganizationName": 5}, "Cannot convert"),
        ({"OrganizationNumberOfEmployees": 1.5}, "Cannot convert"),
        ({"OrganizationNumberOfEmployees": 2**31}, "Cannot convert"),
        ({"CredManCustomerSince": "yesterday"}, "Cannot convert"),
        ({"CustomerGroup": {"CustomerGroupId": "10"}}, "no deep insert"),
    ],
)
def test_a_body_is_checked_against_the_schema(fo: httpx.Client, body: dict[str, Any], message: str) -> None:
    assert message in refusal(fo.patch(US_001, json=body))
    assert message in refusal(fo.post("/data/CustomersV3", json=CUSTOMER | body))


@pytest.mark.parametrize("body", ["{", "[]", '"x"', "null", '{"CreditLimit": NaN}', '{"NameAlias": "\\ud800"}'])
def test_a_body_must_be_a_json_object(fo: httpx.Client, body: str) -> None:
    refusal(fo.post("/data/CustomersV3", content=body, headers={"Content-Type": "application/json"}))


def test_annotations_in_a_body_are_passed_over(fo: httpx.Client) -> None:
    body = {"@odata.type": "#Microsoft.Dynamics.DataEntities.CustomerV3", "CreditLimit": 1}
    assert fo.patch(US_001, json=body).status_code == 204


def test_an_update_answers_nothing_and_changes_what_it_names(fo: httpx.Client) -> None:
    before = fo.get(US_001).json()
    reply = fo.patch(US_001, json={"CreditLimit": 600000.25, "dataAreaId": "USMF"})
    assert (reply.status_code, reply.content) == (204, b"")
    after = fo.get(US_001).json()
    changed = {name for name in after if after[name] != before[name]}
    assert changed == {"CreditLimit", "@odata.etag"}
    assert after["CreditLimit"] == 600000.25


def test_a_put_empties_the_rest(fo: httpx.Client) -> None:
    body = {"OrganizationName": "x", "CustomerGroupId": "10", "SalesCurrencyCode": "USD"}
    assert fo.put(US_001, json=body).status_code == 204
    after = fo.get(US_001).json()
    assert (after["OrganizationName"], after["CreditLimit"], after["PaymentTerms"]) == ("x", 0, "")


def test_keys_and_fixed_properties_cannot_be_changed(fo: httpx.Client) -> None:
    assert "does not allow editing" in infolog(fo.patch(US_001, json={"CustomerAccount": "US-002"}))
    assert "does not allow editing" in infolog(fo.patch(US_001, json={"PartyNumber": "1"}))
    unchanged = {"PartyNumber": fo.get(US_001).json()["PartyNumber"]}
    assert fo.patch(US_001, json=unchanged).status_code == 204


def test_a_property_not_editable_on_create_is_ignored(fo: httpx.Client) -> None:
    journal = create(fo, "LedgerJournalHeaders", dataAreaId="usmf", JournalName="GenJrn", IsPosted="Yes")
    assert journal["IsPosted"] == "No"


def test_over_long_input_is_cut(fo: httpx.Client) -> None:
    assert fo.patch(US_001, json={"NameAlias": "x" * 30}).status_code == 204
    assert fo.get(US_001).json()["NameAlias"] == "x" * 20


def test_an_etag_guards_updates_and_deletes(fo: httpx.Client) -> None:
    etag = fo.get(GROUP_20).json()["@odata.etag"]
    assert fo.patch(GROUP_20, json={"Description": "a"}, headers={"If-Match": etag}).status_code == 204
    assert fo.patch(GROUP_20, json={"Description": "b"}, headers={"If-Match": etag}).status_code == 412
    assert fo.delete(GROUP_20, headers={"If-Match": etag}).status_code == 412
    assert fo.patch(GROUP_20, json={"Description": "c"}, headers={"If-Match": "*"}).status_code == 204
    assert fo.patch(GROUP_20, json={"Description": "d"}).status_code == 204


def test_a_delete_answers_nothing_and_is_final(fo: httpx.Client) -> None:
    group = create(fo, "CustomerGroups", dataAreaId="usmf", CustomerGroupId="91", Description="x")
    url = f"/data/CustomerGroups(dataAreaId='usmf',CustomerGroupId='{group['CustomerGroupId']}')"
    reply = fo.delete(url)
    assert (reply.status_code, reply.content) == (204, b"")
    assert fo.delete(url).status_code == 404
    assert fo.patch(url, json={}).status_code == 404


def test_a_referenced_record_cannot_be_deleted(fo: httpx.Client) -> None:
    assert "Customer group 20 cannot be deleted while dependent CustomersV3 exist" in infolog(fo.delete(GROUP_20))
    assert fo.get(GROUP_20).status_code == 200


def test_lines_go_with_their_header(fo: httpx.Client) -> None:
    assert fo.delete("/data/LedgerJournalHeaders(dataAreaId='usmf',JournalBatchNumber='00475')").status_code == 204
    lines = fo.get("/data/LedgerJournalLines?$filter=JournalBatchNumber eq '00475'").json()["value"]
    assert lines == []
    other = fo.get("/data/LedgerJournalLines/$count?cross-company=true&$filter=JournalBatchNumber eq '00475'")
    assert other.text.endswith("1")


def test_a_read_only_entity_refuses_every_write(fo: httpx.Client) -> None:
    assert "read-only" in infolog(fo.post("/data/CustInvoiceJourBiEntities", json={"InvoiceId": "x"}))
    invoice = "/data/CustInvoiceJourBiEntities(dataAreaId='usmf',SourceKey=35637000000)"
    assert "read-only" in infolog(fo.patch(invoice, json={"InvoiceId": "x"}))
    assert "read-only" in infolog(fo.delete(invoice))


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", US_001),
        ("PATCH", "/data/CustomersV3"),
        ("DELETE", "/data/CustomersV3"),
        ("POST", "/data"),
        ("GET", "/data/$batch"),
    ],
)
def test_a_method_that_does_not_fit_is_refused(fo: httpx.Client, method: str, path: str) -> None:
    assert fo.request(method, path, json={} if method != "GET" else None).status_code == 405


def test_a_refused_write_leaves_nothing_behind(fo: httpx.Client) -> None:
    before = fo.get("/data/CustomersV3/$count").text
    fo.post("/data/CustomersV3", json=CUSTOMER | {"CustomerGroupId": "99"})
    assert fo.get("/data/CustomersV3/$count").text == before


def test_a_reset_takes_every_change_back(simulator: Simulator, fo: httpx.Client) -> None:
    before = fo.get("/data/CustomerGroups").json()
    create(fo, "CustomerGroups", dataAreaId="usmf", CustomerGroupId="91", Description="x")
    fo.patch(GROUP_20, json={"Description": "y"})
    fo.delete("/data/LedgerJournalHeaders(dataAreaId='usmf',JournalBatchNumber='00475')")
    simulator.reset()
    assert fo.get("/data/CustomerGroups").json() == before
    assert fo.get("/data/LedgerJournalLines/$count?$filter=JournalBatchNumber eq '00475'").text.endswith("2")
