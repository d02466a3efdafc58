"""Collections, records, counts, paging and related records of /data."""

from __future__ import annotations

import re
from base64 import b64decode
from typing import Any

import httpx
import pytest

from tests.simulated import Simulator

pytestmark = pytest.mark.once

US_001 = "/data/CustomersV3(dataAreaId='usmf',CustomerAccount='US-001')"


ORDER = "/data/SalesOrderHeadersV2(dataAreaId='usmf',SalesOrderNumber='000810')"


def rows(fo: httpx.Client, url: str) -> list[dict[str, Any]]:
    reply = fo.get(url)
    assert reply.status_code == 200, reply.text
    found: list[dict[str, Any]] = reply.json()["value"]
    return found


def complaint(reply: httpx.Response) -> str:
    error = reply.json()["error"]
    return str(error.get("innererror", error)["message"])


def test_the_service_document_lists_the_entity_sets(fo: httpx.Client) -> None:
    listed = rows(fo, "/data")
    assert {"name": "CustomersV3", "kind": "EntitySet", "url": "CustomersV3"} in listed


def test_a_collection_has_its_context_and_an_etag_per_record(simulator: Simulator, fo: httpx.Client) -> None:
    reply = fo.get("/data/CustomersV3?$select=CustomerAccount,OrganizationName&$top=1")
    assert reply.json()["@odata.context"] == (
        f"{simulator.base_url}/data/$metadata#CustomersV3(CustomerAccount,OrganizationName)"
    )
    (record,) = reply.json()["value"]
    assert list(record) == ["@odata.etag", "CustomerAccount", "OrganizationName"]
    assert reply.headers["content-type"] == "application/json; odata.metadata=minimal"


def test_an_etag_names_version_and_rec_id_of_every_joined_table(fo: httpx.Client) -> None:
    etag = fo.get(US_001).json()["@odata.etag"]
    encoded = re.fullmatch(r'W/"(.+)"', etag)
    assert encoded is not None
    pairs = b64decode(encoded[1]).decode().strip("'").split(";")
    assert pairs[0] == "1,5637144576"
    assert pairs[1:] == ["0,0"] * 9


def test_a_record_shows_numbers_dates_and_enumerations_as_fo_writes_them(fo: httpx.Client) -> None:
    customer = fo.get(US_001).json()
    assert customer["CreditLimit"] == 500000
    assert type(customer["CreditLimit"]) is int
    assert customer["OnHoldStatus"] == "No"
    assert customer["AddressTimeZone"] is None
    assert customer["CredManCustomerSince"] == "1900-01-01T12:00:00Z"
    assert customer["AddressValidFrom"] == "2015-01-01T08:00:00Z"
    assert customer["PrimaryContactFax"] == ""
    assert fo.get("/data/SystemUsers(UserID='Admin')").json()["Enabled"] is True


def test_the_whole_width_of_a_customer_is_returned_without_select(fo: httpx.Client) -> None:
    assert len(fo.get(US_001).json()) == 309 + 2


@pytest.mark.parametrize(
    ("url", "context"),
    [
        (f"{US_001}?$select=OrganizationName, CreditLimit", "CustomersV3(OrganizationName,CreditLimit)/$entity"),
        (f"{US_001}?$expand=CustomerGroup", "CustomersV3/$entity"),
        (
            f"{US_001}?$select=CreditLimit&$expand=CustomerGroup($select=Description)",
            "CustomersV3(CreditLimit,CustomerGroup(Description))/$entity",
        ),
        (f"{US_001}/CustomerGroup?$select=Description", "CustomerGroups(Description)/$entity"),
        (f"{ORDER}/SalesOrderLines?$select=LineNumber&$top=1", "SalesOrderLines(LineNumber)"),
        ("/data/CustomersV3?$select=*&$top=1", "CustomersV3(*)"),
        (
            "/data/CustomersV3?$select=CreditLimit,CreditLimit&$expand=CustomerGroup($select=Description)&$top=1",
            "CustomersV3(CreditLimit,CustomerGroup(Description))",
        ),
    ],
)
def test_a_context_names_what_was_selected(simulator: Simulator, fo: httpx.Client, url: str, context: str) -> None:
    assert fo.get(url).json()["@odata.context"] == f"{simulator.base_url}/data/$metadata#{context}"


def test_a_record_and_its_set_are_named_in_the_context(simulator: Simulator, fo: httpx.Client) -> None:
    reply = fo.get(US_001)
    assert reply.json()["@odata.context"] == f"{simulator.base_url}/data/$metadata#CustomersV3/$entity"


@pytest.mark.parametrize("select", ["CustomerAccount,,CreditLimit", "*,Nme", "CustomerGroup/Description"])
def test_a_selection_is_checked_to_its_end(fo: httpx.Client, select: str) -> None:
    assert fo.get(f"/data/CustomersV3?$top=1&$select={select}").status_code == 400


def test_an_unknown_property_in_select_fails_the_request(fo: httpx.Client) -> None:
    reply = fo.get("/data/CustomersV3?$select=CustomerAccount,Nme")
    assert reply.status_code == 400
    assert complaint(reply) == (
        "Could not find a property named 'Nme' on type 'Microsoft.Dynamics.DataEntities.CustomerV3'."
    )


def test_property_names_are_case_sensitive(fo: httpx.Client) -> None:
    assert fo.get("/data/CustomersV3?$select=customeraccount").status_code == 400
    assert fo.get("/data/customersv3").status_code == 404


@pytest.mark.parametrize(
    "option",
    ["$apply=aggregate($count as n)", "$search=x", "$compute=1", "$levels=2", "$inlinecount=allpages", "$format=atom"],
)
def test_options_that_fo_does_not_know_are_refused(fo: httpx.Client, option: str) -> None:
    assert fo.get(f"/data/CustomersV3?{option}").status_code == 400


@pytest.mark.parametrize("option", ["$top=-1", "$top=x", "$skip=1.5", "$count=yes", "$top=99999999999999999999"])
def test_malformed_options_are_refused(fo: httpx.Client, option: str) -> None:
    assert fo.get(f"/data/CustomersV3?{option}").status_code == 400


def test_orderby_sorts_by_several_properties(fo: httpx.Client) -> None:
    found = rows(
        fo, "/data/CustomersV3?$select=CreditLimit,CustomerAccount&$orderby=CreditLimit desc,CustomerAccount&$top=3"
    )
    assert [row["CustomerAccount"] for row in found] == ["US-009", "US-001", "US-002"]


def test_orderby_sorts_enumerations_by_their_numbers(fo: httpx.Client) -> None:
    found = rows(fo, "/data/CustomersV3?$select=OnHoldStatus&$orderby=OnHoldStatus desc&$top=4")
    assert [row["OnHoldStatus"] for row in found] == ["All", "All", "All", "No"]


def test_the_count_ignores_top_and_skip(fo: httpx.Client) -> None:
    reply = fo.get("/data/CustomersV3?$count=true&$top=2&$skip=1&$filter=CustomerGroupId eq '30'").json()
    assert reply["@odata.count"] == 12
    assert len(reply["value"]) == 2


def test_the_count_segment_is_plain_text_behind_a_byte_order_mark(fo: httpx.Client) -> None:
    reply = fo.get("/data/CustomersV3/$count?$filter=CustomerGroupId eq '30'")
    assert reply.headers["content-type"].startswith("text/plain")
    assert reply.content == b"\xef\xbb\xbf12"


def test_pages_hold_ten_thousand_rows_and_link_to_the_rest(simulator: Simulator, fo: httpx.Client) -> None:
    url = "/data/SalesOrderLinesV3?$select=InventoryLotId&$filter=LineAmount gt 0&$count=true"
    first = fo.get(url).json()
    assert len(first["value"]) == 10_000
    link = first["@odata.nextLink"]
    assert link.startswith(f"{simulator.base_url}/data/SalesOrderLinesV3?")
    assert "$filter=LineAmount%20gt%200" in link
    second = fo.get(link).json()
    assert "@odata.nextLink" not in second
    assert second["@odata.count"] == first["@odata.count"] == 12_165
    assert len({row["InventoryLotId"] for row in first["value"] + second["value"]}) == 12_165


def test_top_counts_over_all_pages(simulator: Simulator, fo: httpx.Client) -> None:
    simulator.control(page_size=3)
    url: str | None = "/data/CustomersV3?$select=CustomerAccount&$top=7&$skip=1&$orderby=CustomerAccount"
    pages = []
    while url:
        page = fo.get(url).json()
        pages.append([row["CustomerAccount"] for row in page["value"]])
        url = page.get("@odata.nextLink")
    assert [len(page) for page in pages] == [3, 3, 1]
    assert pages[0] == ["US-001", "US-002", "US-003"]  # DE-001 is skipped


def test_a_forged_skip_token_is_refused(fo: httpx.Client) -> None:
    assert fo.get("/data/CustomersV3?$skiptoken=nonsense").status_code == 400


def test_expand_follows_one_level_with_select_inside(fo: httpx.Client) -> None:
    url = "/data/SalesOrderHeaders?$top=1&$select=SalesOrderNumber&$expand=SalesOrderLine($select=LineAmount)"
    (order,) = rows(fo, url)
    assert len(order["SalesOrderLine"]) == 15
    assert list(order["SalesOrderLine"][0]) == ["@odata.etag", "LineAmount"]
    (line,) = rows(fo, "/data/SalesOrderLines?$top=1&$select=LineAmount&$expand=SalesOrderHeader")
    assert line["SalesOrderHeader"]["SalesOrderNumber"] == "000001"


HEADERS_AND_LINES = {
    "SalesOrderHeaders": "SalesOrderLine",
    "SalesOrderHeadersV2": "SalesOrderLines",
    "SalesQuotationHeadersV2": "SalesQuotationLines",
    "PurchaseOrderHeadersV2": "PurchaseOrderLinesV2",
    "LedgerJournalHeaders": "LedgerJournalLine",
    "CustomerPaymentJournalHeaders": "CustomerPaymentJournalLineHeaderEntity",
    "VendorPaymentJournalHeaders": "VendorPaymentJournalLine",
    "FreeTextInvoiceHeaders": "CustFreeTextInvoiceHeader",
    "TransferOrderHeaders": "TransferOrderLine",
}


@pytest.mark.parametrize(("headers", "lines"), HEADERS_AND_LINES.items())
def test_headers_expand_to_their_lines(fo: httpx.Client, headers: str, lines: str) -> None:
    found = rows(fo, f"/data/{headers}?$expand={lines}&$top=20")
    assert any(row[lines] for row in found)
    of_one_company = {(row["dataAreaId"], line["dataAreaId"]) for row in found for line in row[lines]}
    assert all(ours == theirs for ours, theirs in of_one_company)


def test_an_order_leads_to_all_that_live_tenants_were_seen_to_expand(fo: httpx.Client) -> None:
    expanded = fo.get(
        f"{ORDER}?$select=SalesOrderNumber&$expand=SalesOrderLines($select=LineAmount),SalesOrderOrigin"
        ",Project($select=ProjectName),DimensionSet,QualityOrderHeaders($select=QualityOrderNumber)"
    ).json()
    assert len(expanded["SalesOrderLines"]) == 15
    assert expanded["SalesOrderOrigin"] is None
    assert expanded["Project"] is None
    assert [row["QualityOrderNumber"] for row in expanded["QualityOrderHeaders"]] == ["QO-000001", "QO-000002"]
    (other,) = rows(fo, "/data/SalesOrderHeadersV2?$top=1&$expand=SalesOrderOrigin,DimensionSet")
    assert other["SalesOrderOrigin"]["OriginDescription"] == "Web order"
    assert other["DimensionSet"]["DisplayValue"] == other["DefaultLedgerDimensionDisplayValue"] == "001-022--"
    ussi = "/data/SalesOrderHeadersV2?cross-company=true&$filter=dataAreaId eq 'ussi'&$top=1&$expand=Project"
    assert rows(fo, ussi)[0]["Project"]["ProjectName"] == "Consulting & training"
    (group,) = rows(fo, "/data/CustomerGroups?$filter=CustomerGroupId eq '30'&$expand=Prospects($select=ProspectId)")
    assert [row["ProspectId"] for row in group["Prospects"]] == ["P-000001", "P-000002"]


def test_a_path_leads_from_a_line_to_its_header(fo: httpx.Client) -> None:
    url = "/data/SalesOrderLines?$filter=SalesOrderHeaderV2/SalesOrderOriginCode eq 'Phone'&$top=1&$select=SalesOrderNumber"
    assert rows(fo, url)[0]["SalesOrderNumber"] == "000002"


@pytest.mark.parametrize(
    "expand",
    [
        "SalesOrderLine($filter=LineAmount gt 5)",
        "SalesOrderLine($top=1)",
        "SalesOrderLine($expand=SalesOrderHeader)",
        "SalesOrderLine/SalesOrderHeader",
        "SalesOrderLine()",
        "SalesOrderNumber",
        "Lines",
    ],
)
def test_expand_takes_nothing_else(fo: httpx.Client, expand: str) -> None:
    assert fo.get(f"/data/SalesOrderHeaders?$top=1&$expand={expand}").status_code == 400


def test_related_records_are_reached_through_the_record(fo: httpx.Client) -> None:
    order = "/data/SalesOrderHeaders(dataAreaId='usmf',SalesOrderNumber='000810')"
    assert len(rows(fo, f"{order}/SalesOrderLine?$select=LineNumber")) == 15
    group = fo.get(f"{US_001}/CustomerGroup")
    assert group.json()["Description"] == "Retail customers"
    assert fo.get(f"{order}/Nothing").status_code == 404


def test_views_of_the_same_records_agree(fo: httpx.Client) -> None:
    key = "(dataAreaId='usmf',SalesOrderNumber='000810')"
    assert fo.patch(f"/data/SalesOrderHeadersV2{key}", json={"CustomersOrderReference": "A&B"}).status_code == 204
    assert fo.get(f"/data/SalesOrderHeadersV4{key}").json()["CustomersOrderReference"] == "A&B"


@pytest.mark.parametrize(
    "path", ["/data/Customers", "/data/CustomersV3/a/b", "/data/CustomersV3/$value", "/nothing", "/"]
)
def test_unknown_resources_are_not_found(fo: httpx.Client, path: str) -> None:
    assert fo.get(path).status_code == 404


def test_every_answer_can_be_traced(fo: httpx.Client) -> None:
    reply = fo.get("/data/CustomersV3?$top=1", headers={"x-ms-client-request-id": "abc"})
    assert reply.headers["x-ms-client-request-id"] == "abc"
    assert len(reply.headers["ms-dyn-aid"]) == 36
    assert "dur=" in reply.headers["server-timing"]
