"""Reading records: right company, right rows, right size, and a way to go on."""

import csv
import io
from typing import Any

import pytest

from tests.served import Served, serving
from tests.simulated import Simulator

pytestmark = pytest.mark.alike

NAMES = ["CustomerAccount", "OrganizationName"]
CUSTOMERS = {"entity_name": "CustomersV3", "select": NAMES}
LINES = {"entity_name": "SalesOrderLinesV3", "select": ["SalesOrderNumber", "LineNumber"]}


def accounts(result: dict[str, Any]) -> list[str]:
    return [record["CustomerAccount"] for record in result["records"]]


def test_a_query_costs_one_call_once_its_entity_is_known(reader: Served) -> None:
    reader.call("query_entities", entity_name="CustomersV3", select=NAMES, top=2)
    before = len(reader.requests("/"))
    reader.call("query_entities", entity_name="CustomersV3", select=NAMES, top=2)
    (request,) = reader.requests("/")[before:]
    assert request["path"] == "/data/CustomersV3"


@pytest.mark.parametrize("name", ["CustomersV3", "customersv3", "CustomerV3", "CustCustomerV3Entity"])
def test_an_entity_answers_to_any_of_its_names(reader: Served, name: str) -> None:
    result = reader.call("query_entities", entity_name=name, select=NAMES, top=1)
    assert result["entity_set"] == "CustomersV3"


def test_an_unknown_entity_suggests_close_names(reader: Served) -> None:
    error = reader.refuse("query_entities", entity_name="Custommers")
    assert error["code"] == "unknown_name"
    assert "CustomersV3" in error["message"]


def test_an_unknown_argument_suggests_the_right_one(reader: Served) -> None:
    assert reader.refuse("query_entities", entity_name="CustomersV3", fliter="x")["message"] == (
        'No argument "fliter". Did you mean filter?'
    )


def test_noise_is_dropped_and_empty_dates_are_null(reader: Served) -> None:
    result = reader.call("query_entities", entity_name="SalesOrderHeadersV2", top=5)
    assert not any(name.startswith("@odata") for record in result["records"] for name in record)
    assert "1900-01-01" not in str(result["records"])
    with_etag = reader.call("query_entities", entity_name="CustomersV3", select=NAMES, top=1, include_etag=True)
    assert with_etag["records"][0]["@odata.etag"].startswith('W/"')


def test_columns_come_as_asked(reader: Served) -> None:
    asked = ["OrganizationName", "creditlimit"]
    result = reader.call("query_entities", entity_name="CustomersV3", select=asked, top=1)
    assert list(result["records"][0]) == ["OrganizationName", "CreditLimit"]


def test_a_wide_entity_shows_its_key_and_best_known_properties(reader: Served) -> None:
    result = reader.call("query_entities", entity_name="CustomersV3", top=1)
    (record,) = result["records"]
    assert len(record) < 25
    assert {"dataAreaId", "CustomerAccount", "OrganizationName", "CustomerGroupId", "CreditLimit"} <= record.keys()
    assert any("properties shown" in note for note in result["notes"])


def test_the_answer_says_which_company_was_read(reader: Served) -> None:
    assert reader.call("query_entities", entity_name="CustomersV3", select=NAMES, top=1)["company"] == "usmf"
    nothing = reader.call("query_entities", entity_name="CustomersV3", filter="CustomerAccount eq 'none'", top=1)
    assert (nothing["records"], nothing["company"]) == ([], "usmf")


def test_a_company_is_read_across_companies(reader: Served) -> None:
    result = reader.call("query_entities", entity_name="CustomersV3", select=["dataAreaId"], company="USRT")
    assert {record["dataAreaId"] for record in result["records"]} == {"usrt"}
    assert "cross-company=true" in reader.requests()[-1]["query"]


def test_a_filter_on_the_company_reads_that_company(reader: Served) -> None:
    result = reader.call(
        "query_entities", entity_name="CustomersV3", select=["dataAreaId"], filter="dataAreaId eq 'ussi'"
    )
    assert {record["dataAreaId"] for record in result["records"]} == {"ussi"}


def test_all_companies_are_read_when_asked(reader: Served) -> None:
    result = reader.call(
        "query_entities", entity_name="CustomersV3", select=["dataAreaId"], cross_company=True, top=500
    )
    assert len({record["dataAreaId"] for record in result["records"]}) >= 6


def test_counting_counts_all(reader: Served) -> None:
    result = reader.call("query_entities", entity_name="SalesOrderLinesV3", select=["ItemNumber"], top=1, count=True)
    assert result["count"] == 12165
    assert len(reader.requests()) == 1


def test_top_is_honoured_across_pages_of_f_and_o(reader: Served) -> None:
    reader.simulator.control(page_size=7)
    result = reader.call("query_entities", entity_name="CustomersV3", select=NAMES, top=20)
    assert len(set(accounts(result))) == 20
    assert len(reader.requests()) == 3


def test_without_top_a_cursor_goes_on_after_fifty(reader: Served) -> None:
    first = reader.call("query_entities", **LINES)
    second = reader.call("query_entities", entity_name="SalesOrderLinesV3", cursor=first["next_cursor"])
    rows = [(row["SalesOrderNumber"], row["LineNumber"]) for row in first["records"] + second["records"]]
    assert len(rows) == len(set(rows)) == 100


@pytest.mark.once
def test_a_page_trimmed_to_the_budget_resumes_exactly(simulator: Simulator) -> None:
    with serving(simulator, MCP_MAX_RESULT_CHARS="6000") as small:
        asked = {"entity_name": "SalesOrderLinesV3", "select": ["InventoryLotId"], "top": 900}
        result = small.call("query_entities", **asked)
        assert result["left_out"] == 900 - len(result["records"])
        lots = [record["InventoryLotId"] for record in result["records"]]
        while cursor := result.get("next_cursor"):
            result = small.call("query_entities", entity_name="SalesOrderLinesV3", cursor=cursor)
            assert len(str(result)) < 7000
            lots += [record["InventoryLotId"] for record in result["records"]]
        assert len(lots) == len(set(lots)) == 900


def test_a_deep_walk_skips_no_rows(reader: Served) -> None:
    """Keyset paging: the second page asks for what comes after a key, not for a number of rows to skip."""
    first = reader.call("query_entities", **LINES)
    reader.call("query_entities", entity_name="SalesOrderLinesV3", cursor=first["next_cursor"])
    query = reader.requests()[-1]["query"]
    assert "InventoryLotId%20gt" in query
    assert "$skip" not in query


def test_an_order_is_kept_across_cursors(reader: Served) -> None:
    asked = {
        "entity_name": "CustomersV3",
        "select": ["CreditLimit"],
        "order_by": ["CreditLimit desc"],
        "cross_company": True,
    }
    first = reader.call("query_entities", **asked)
    limits = [record["CreditLimit"] for record in first["records"]]
    while cursor := first.get("next_cursor"):
        first = reader.call("query_entities", entity_name="CustomersV3", cursor=cursor)
        limits += [record["CreditLimit"] for record in first["records"]]
    count = reader.call("query_entities", entity_name="CustomersV3", cross_company=True, top=1, count=True)["count"]
    assert len(limits) == count
    assert limits == sorted(limits, reverse=True)


def test_a_cursor_goes_on_with_its_own_query_only(reader: Served) -> None:
    cursor = reader.call("query_entities", **LINES)["next_cursor"]
    other = reader.refuse("query_entities", entity_name="CustomersV3", cursor=cursor)
    assert other["code"] == "invalid_cursor"
    changed = reader.refuse("query_entities", entity_name="SalesOrderLinesV3", cursor=cursor, filter="LineNumber eq 1")
    assert "nothing else" in changed["message"]


@pytest.mark.once
def test_a_cursor_of_another_process_opens_with_the_same_key(simulator: Simulator) -> None:
    key = {"MCP_CURSOR_KEY": "k" * 32}
    with serving(simulator, **key) as one, serving(simulator, **key) as two:
        cursor = one.call("query_entities", **LINES)["next_cursor"]
        assert len(two.call("query_entities", entity_name="SalesOrderLinesV3", cursor=cursor)["records"]) == 50
    with serving(simulator) as other:
        assert (
            other.refuse("query_entities", entity_name="SalesOrderLinesV3", cursor=cursor)["code"] == "invalid_cursor"
        )


def test_a_foreign_next_link_is_not_followed(reader: Served) -> None:
    body = '{"value":[{"CustomerAccount":"x"}],"@odata.nextLink":"https://evil.example/data/CustomersV3"}'
    reader.simulator.fault("/data/CustomersV3", status=200, body=body, headers={"content-type": "application/json"})
    error = reader.refuse("query_entities", entity_name="CustomersV3", select=NAMES, top=5)
    assert "another place" in error["message"]


def test_csv_has_a_header_and_a_line_per_record(reader: Served) -> None:
    result = reader.call(
        "query_entities", entity_name="CustomersV3", select=NAMES, top=40, rows_as="csv", company="us01"
    )
    rows = list(csv.DictReader(io.StringIO(result["csv"])))
    assert rows[0].keys() == set(NAMES)
    assert "Leading Blank Ltd" in {row["OrganizationName"] for row in rows}
    assert " RFI-001" in {row["CustomerAccount"] for row in rows}


def test_a_long_list_of_values_is_asked_in_several_calls(reader: Served) -> None:
    numbers = ",".join(f"'{number:06}'" for number in range(1, 301))
    result = reader.call(
        "query_entities",
        entity_name="SalesOrderHeadersV2",
        select=["SalesOrderNumber"],
        filter=f"SalesOrderNumber in ({numbers})",
        top=1000,
    )
    found = [record["SalesOrderNumber"] for record in result["records"]]
    assert len(found) == len(set(found)) > 200
    assert all(len(request["query"]) < 2600 for request in reader.requests())
    assert len(reader.requests()) > 1


def test_a_split_filter_keeps_the_asked_order(reader: Served) -> None:
    numbers = ",".join(f"'{number:06}'" for number in range(1, 301))
    asked = {
        "entity_name": "SalesOrderHeadersV2",
        "select": ["SalesOrderNumber"],
        "filter": f"SalesOrderNumber in ({numbers})",
        "order_by": ["SalesOrderNumber desc"],
    }
    result = reader.call("query_entities", **asked)
    found = [record["SalesOrderNumber"] for record in result["records"]]
    result = reader.call("query_entities", entity_name="SalesOrderHeadersV2", cursor=result["next_cursor"])
    found += [record["SalesOrderNumber"] for record in result["records"]]
    assert len(found) == len(set(found)) == 100
    assert found == sorted(found, reverse=True)


def test_gotcha_1_a_company_in_the_filter_without_cross_company_is_not_an_empty_answer(reader: Served) -> None:
    result = reader.call("query_entities", entity_name="CustomersV3", filter="dataAreaId eq 'usrt'", top=3)
    assert len(result["records"]) == 3


def test_gotcha_11_int64_keys_come_back_as_numbers(reader: Served) -> None:
    result = reader.call("query_entities", entity_name="FreeTextInvoiceHeaders", top=1)
    assert isinstance(result["records"][0]["InvoiceIdentifier"], int)


def test_gotcha_13_an_unknown_column_is_refused_before_any_call(reader: Served) -> None:
    reader.call("query_entities", entity_name="CustomersV3", select=NAMES, top=1)
    before = len(reader.requests())
    error = reader.refuse("query_entities", entity_name="CustomersV3", select=["OrganisationName"])
    assert "OrganizationName" in error["message"]
    assert len(reader.requests()) == before


@pytest.mark.parametrize("name", ["Oak & Elm Wholesales", "Birch / Pine Partners", "Café Zoë – Audio"])
def test_gotcha_20_signs_in_values_arrive_as_they_are(reader: Served, name: str) -> None:
    result = reader.call("query_entities", **{**CUSTOMERS, "filter": f"OrganizationName eq '{name}'"})
    assert [record["OrganizationName"] for record in result["records"]] == [name]


def test_gotcha_20_a_quote_is_doubled_once(reader: Served) -> None:
    asked = {
        "entity_name": "ReleasedProductsV2",
        "select": ["ItemNumber"],
        "filter": "ItemNumber eq 'JOE''S'",
        "company": "us01",
    }
    assert reader.call("query_entities", **asked)["records"] == [{"ItemNumber": "JOE'S"}]


def test_a_record_is_read_by_its_key(reader: Served) -> None:
    result = reader.call(
        "get_entity_record",
        entity_name="CustomersV3",
        key={"dataAreaId": "usmf", "CustomerAccount": "US-001"},
        select=["OrganizationName", "CreditLimit"],
    )
    assert result["record"] == {"OrganizationName": "Contoso Retail San Diego", "CreditLimit": 500000}


def test_a_record_of_another_company_is_found(reader: Served) -> None:
    """By key without cross-company F&O answers 404."""
    (known,) = reader.call("query_entities", entity_name="CustomersV3", company="usrt", select=NAMES, top=1)["records"]
    account = known["CustomerAccount"]
    result = reader.call(
        "get_entity_record", entity_name="CustomersV3", company="usrt", key={"CustomerAccount": account}
    )
    assert result["record"]["dataAreaId"] == "usrt"


def test_all_missing_and_extra_key_parts_are_named(reader: Served) -> None:
    error = reader.refuse("get_entity_record", entity_name="CustomersV3", key={"Account": "US-001"})
    assert all(name in error["message"] for name in ("dataAreaId", "CustomerAccount", "Account"))


def test_a_record_that_is_not_there_says_so(reader: Served) -> None:
    key = {"dataAreaId": "usmf", "CustomerAccount": "none"}
    error = reader.refuse("get_entity_record", entity_name="CustomersV3", key=key)
    assert (error["code"], error["http_status"]) == ("not_found", 404)
    assert error["activity_id"]


def test_a_key_with_a_leading_blank_or_a_slash_is_found(reader: Served) -> None:
    for account in (" RFI-001",):
        key = {"dataAreaId": "us01", "CustomerAccount": account}
        assert (
            reader.call("get_entity_record", entity_name="CustomersV3", key=key)["record"]["CustomerAccount"] == account
        )


LINES_OF_ORDERS = {"entity_name": "SalesOrderLines", "select": ["SalesOrderNumber"], "top": 1000}


def orders_with(reader: Served, rule: str) -> set[str]:
    asked = {"entity_name": "SalesOrderHeaders", "select": ["SalesOrderNumber"], "top": 1000}
    return {row["SalesOrderNumber"] for row in reader.call("query_entities", **asked, filter=rule)["records"]}


@pytest.mark.parametrize(
    "rule",
    [
        "SalesOrderStatus eq 'Backorder'",
        "SalesOrderStatus in (Backorder,Delivered)",
        "RequestedShippingDate eq 2021-09-14",
        "RequestedShippingDate le 2021-09-14T23:59:59+13:00",
        "RequestedShippingDate gt 2021-09-14T00:00:00Z",
        "OrderTotalAmount divby 2 gt 10000",
    ],
)
def test_what_lies_behind_a_navigation_is_compared_as_its_type_is(reader: Served, rule: str) -> None:
    """A header's property, asked of its lines, finds the lines of the headers it finds."""
    name = rule.split()[0]
    path = rule.replace(name, f"salesorderheader/{name.lower()}")
    found = reader.call("query_entities", **LINES_OF_ORDERS, filter=path, count=True)
    others = reader.call("query_entities", **LINES_OF_ORDERS, filter=f"not ({path})", count=True)
    assert {row["SalesOrderNumber"] for row in found["records"]} <= orders_with(reader, rule)
    assert not {row["SalesOrderNumber"] for row in others["records"]} & orders_with(reader, rule)
    assert min(found["count"], others["count"]) > 0
    assert found["count"] + others["count"] == 12165


def test_an_unknown_name_behind_a_navigation_is_refused_before_any_call(reader: Served) -> None:
    error = reader.refuse(
        "query_entities", **LINES_OF_ORDERS, filter="SalesOrderHeader/SalesOrderStatos eq 'Backorder'"
    )
    assert (error["code"], "SalesOrderStatus" in error["message"]) == ("unknown_name", True)
    assert not reader.requests()
