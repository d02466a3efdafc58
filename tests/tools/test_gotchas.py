"""What surprises people about F&O, by the numbers of our list of them, and how it does not surprise a caller here."""

import time

import pytest

from d365mcp import __version__
from tests.served import Served, serving
from tests.simulated import Simulator

pytestmark = pytest.mark.alike

CUSTOMERS = {"entity_name": "CustomersV3", "select": ["CustomerAccount", "OrganizationName"]}


def test_gotcha_2_all_companies_are_read_only_when_asked_and_counted_as_such(reader: Served) -> None:
    own = reader.call("query_entities", **CUSTOMERS, top=1, count=True)["count"]
    everyone = reader.call("query_entities", **CUSTOMERS, top=1, count=True, cross_company=True)["count"]
    assert own < everyone


def test_gotcha_3_a_default_company_without_data_is_named(simulator: Simulator) -> None:
    simulator.control(default_company="dat")
    with serving(simulator) as fresh:
        result = fresh.call("query_entities", **CUSTOMERS, top=1)
        assert (result["records"], result["company"]) == ([], "dat")


@pytest.mark.parametrize(
    "filter", ["contains(OrganizationName,'forest')", "startswith(OrganizationName,'Forest')", "endswith(tolower(OrganizationName),'wholesales') and CustomerAccount eq 'US-003'"]
)  # fmt: skip
def test_gotcha_4_text_functions_become_wildcards(reader: Served, filter: str) -> None:
    result = reader.call("query_entities", **CUSTOMERS, filter=filter)
    assert [record["CustomerAccount"] for record in result["records"]] == ["US-003"]
    assert result["notes"]


def test_gotcha_5_a_star_in_a_value_that_has_it_is_no_pattern(reader: Served) -> None:
    name = """OrganizationName eq '"Quality" Sound 100% *Live*'"""
    real = reader.call("query_entities", **CUSTOMERS, filter=name, company="us01")
    assert len(real["records"]) == 1


def test_gotcha_6_in_becomes_an_or_chain(reader: Served) -> None:
    result = reader.call("query_entities", **CUSTOMERS, filter="CustomerAccount in ('US-001','US-003')")
    assert [record["CustomerAccount"] for record in result["records"]] == ["US-001", "US-003"]


@pytest.mark.parametrize("literal", ["'All'", "All", "'all'", "Microsoft.Dynamics.DataEntities.CustVendorBlocked'All'"])
def test_gotcha_7_enumeration_members_are_qualified(reader: Served, literal: str) -> None:
    result = reader.call("query_entities", **CUSTOMERS, filter=f"OnHoldStatus eq {literal}")
    assert {"US-017", "US-041", "US-103"} >= {record["CustomerAccount"] for record in result["records"]} != set()
    refused = reader.refuse("query_entities", **CUSTOMERS, filter="OnHoldStatus gt 'No'")
    assert refused["code"] == "invalid_argument"


def test_gotcha_8_boolean_enumerations_take_true_and_false(reader: Served) -> None:
    result = reader.call(
        "query_entities", entity_name="SystemUsers", select=["UserID"], filter="Enabled eq 'Yes'", top=3
    )
    assert "Enabled%20eq%20true" in reader.requests()[-1]["query"]
    assert result["records"]


def test_gotcha_9_null_means_empty_where_f_and_o_has_no_null(reader: Served) -> None:
    empty = reader.call("query_entities", **CUSTOMERS, filter="InvoiceAccount eq null", top=1)
    assert empty["notes"]
    assert reader.refuse("query_entities", **CUSTOMERS, filter="CreditLimit eq null")["code"] == "invalid_argument"
    orders = reader.call("query_entities", entity_name="SalesOrderHeadersV2", select=["ConfirmedReceiptDate"], top=1000)
    values = {record["ConfirmedReceiptDate"] for record in orders["records"]}
    assert None in values
    assert not any(str(value).startswith("1900") for value in values)


def test_gotcha_10_a_day_is_found_although_it_is_kept_at_noon(reader: Served) -> None:
    asked = {"entity_name": "SalesOrderHeadersV2", "select": ["SalesOrderNumber", "RequestedShippingDate"]}
    (first,) = reader.call("query_entities", **asked, filter="RequestedShippingDate gt 2000-01-01", top=1)["records"]
    day = first["RequestedShippingDate"]
    on_the_day = reader.call("query_entities", **asked, filter=f"RequestedShippingDate eq {day}", top=1000)["records"]
    in_range = f"RequestedShippingDate ge {day} and RequestedShippingDate le {day}"
    assert on_the_day
    assert reader.call("query_entities", **asked, filter=in_range, top=1000)["records"] == on_the_day


def test_gotcha_12_names_are_put_right_whatever_their_case(reader: Served) -> None:
    result = reader.call(
        "query_entities", entity_name="CUSTOMERSV3", select=["DATAAREAID"], filter="customeraccount eq 'us-001'"
    )
    assert result["records"] == [{"dataAreaId": "usmf"}]


def test_gotcha_14_the_set_is_used_in_urls_whichever_name_was_given(reader: Served) -> None:
    reader.call("query_entities", entity_name="FixedAssetV2Entity", select=["FixedAssetNumber"], top=1)
    assert reader.requests()[-1]["path"] == "/data/FixedAssetsV2"


def test_gotcha_15_expand_goes_one_level_with_select_only(reader: Served) -> None:
    asked = {"entity_name": "PurchaseOrderHeadersV2", "select": ["PurchaseOrderNumber"], "top": 1}
    result = reader.call("query_entities", **asked, expand=["purchaseorderlinesv2($select=ItemNumber)"])
    assert result["records"][0]["PurchaseOrderLinesV2"]
    for expand in ("PurchaseOrderLinesV2($filter=LineNumber eq 1)", "PurchaseOrderLinesV2/Item", "Nope"):
        assert reader.refuse("query_entities", **asked, expand=[expand])["code"] in ("invalid_argument", "unknown_name")


def test_headers_expand_to_their_lines(reader: Served) -> None:
    order = {"dataAreaId": "usmf", "SalesOrderNumber": "000810"}
    lines = [
        "SalesOrderLines($select=LineAmount)",
        "QualityOrderHeaders($select=QualityOrderNumber)",
        "SalesOrderOrigin",
    ]
    read = reader.call("get_entity_record", entity_name="SalesOrderHeadersV2", key=order, expand=lines)["record"]
    assert len(read["SalesOrderLines"]) == 15
    assert [row["QualityOrderNumber"] for row in read["QualityOrderHeaders"]] == ["QO-000001", "QO-000002"]
    assert read["SalesOrderOrigin"] is None
    (group,) = reader.call(
        "query_entities",
        entity_name="CustomerGroups",
        filter="CustomerGroupId eq '30'",
        select=["Description"],
        expand=["Prospects($select=ProspectName)"],
    )["records"]
    assert [row["ProspectName"] for row in group["Prospects"]] == ["Litware, Inc.", "Proseware Café"]


def test_gotcha_16_ten_thousand_rows_are_a_page_and_no_end(reader: Served) -> None:
    (count,) = reader.call("query_sql", sql="SELECT count(*) AS n FROM SalesOrderLinesV3 WHERE InventoryLotId <> ''")[
        "records"
    ]
    assert count["n"] == 12165
    orders = reader.call("query_entities", entity_name="SalesOrderHeadersV2", select=["SalesOrderNumber"], skip=5)
    assert "orderby" in reader.requests()[-1]["query"]
    assert orders["records"]


def test_gotcha_17_aggregation_is_bounded_and_says_so(reader: Served) -> None:
    asked = {"sql": "SELECT ItemNumber, sum(LineAmount) FROM SalesOrderLinesV3 GROUP BY 1", "max_rows_scanned": 500}
    assert reader.refuse("query_sql", **asked)["hint"]
    assert any(
        "only the first 500 rows" in note for note in reader.call("query_sql", **asked, allow_partial=True)["notes"]
    )


def test_gotcha_18_wide_rows_are_never_fetched_whole_unasked(reader: Served) -> None:
    reader.call("query_entities", entity_name="CustomersV3", top=1)
    assert "$select=" in reader.requests()[-1]["query"]


def test_gotcha_19_the_large_metadata_documents_are_never_asked_for(reader: Served) -> None:
    reader.call("search_entities", query="customers")
    reader.call("get_entity_schema", entity_name="CustomersV3")
    reader.call("query_entities", **CUSTOMERS, top=1)
    asked = [(request["path"].lower(), request["query"]) for request in reader.requests("/")]
    assert not any("$metadata" in path for path, _ in asked)
    assert not any(path == "/metadata/publicentities" and "$filter" not in query for path, query in asked)


def test_gotcha_22_who_may_not_read_is_said_so(reader: Served) -> None:
    reader.simulator.fault("/data/CustomersV3", status=403)
    error = reader.refuse("query_entities", **CUSTOMERS, top=1)
    assert (error["code"], "role" in error["hint"]) == ("forbidden", True)


def test_gotcha_28_a_value_f_and_o_stored_otherwise_is_pointed_out(writer: Served) -> None:
    stored = {"dataAreaId": "usmf", "CustomerGroupId": "91", "Description": "Cut off"}
    headers = {"content-type": "application/json"}
    writer.simulator.fault("/data/CustomerGroups", method="POST", status=201, body=stored, headers=headers)
    data = {"dataAreaId": "usmf", "CustomerGroupId": "91", "Description": "Cut off by its length"}
    created = writer.call("create_entity_record", entity_name="CustomerGroups", data=data)
    assert created["notes"] == ["F&O stored another Description than was sent: read it back"]


def test_gotcha_29_blanks_in_keys_are_kept(reader: Served) -> None:
    key = {"dataAreaId": "us01", "ItemNumber": " RFI-TEST-001"}
    found = reader.call("get_entity_record", entity_name="ReleasedProductsV2", key=key, select=["ItemNumber"])
    assert found["record"]["ItemNumber"] == " RFI-TEST-001"


def warm(hasty: Served) -> None:
    """Wait until a server whose requests have little time has loaded what they need."""
    asked = {**CUSTOMERS, "top": 1}
    assert any(not hasty.send("query_entities", asked).is_error for _ in range(20))


@pytest.mark.once
def test_gotcha_30_a_slow_environment_is_waited_for_within_the_requests_time(simulator: Simulator) -> None:
    with serving(simulator, MCP_REQUEST_TIMEOUT="3") as hasty:
        warm(hasty)
        simulator.fault("/data/CustomersV3", kind="slow", seconds=60)
        began = time.monotonic()
        error = hasty.refuse("query_entities", **CUSTOMERS, top=1)
        assert error["code"] == "deadline_exceeded"
        assert time.monotonic() - began < 10


@pytest.mark.once
def test_gotcha_30_a_query_out_of_time_gives_the_rows_it_has_and_a_cursor(simulator: Simulator) -> None:
    with serving(simulator, MCP_REQUEST_TIMEOUT="3") as hasty:
        warm(hasty)
        simulator.control(page_size=5, latency_ms=300)
        result = hasty.call("query_entities", **CUSTOMERS, top=34)
        assert 0 < len(result["records"]) < 34
        simulator.control(latency_ms=0)
        rest = hasty.call("query_entities", entity_name="CustomersV3", cursor=result["next_cursor"])
        accounts = [record["CustomerAccount"] for record in result["records"] + rest["records"]]
        assert len(accounts) == len(set(accounts)) == 34


def test_gotcha_31_an_environment_without_an_entity_is_no_failure_of_the_server(reader: Served) -> None:
    assert reader.refuse("query_entities", entity_name="CustomersV9")["code"] == "unknown_name"
    assert reader.call("query_entities", **CUSTOMERS, top=1)["records"]


def test_gotcha_32_the_token_is_for_the_root_without_a_slash(simulator: Simulator) -> None:
    address = f"{simulator.base_url}/"
    with serving(simulator, D365FO_BASE_URL=address) as served:
        assert served.call("query_entities", **CUSTOMERS, top=1)["records"]


def test_gotcha_33_a_services_company_is_its_own_parameter(writer: Served) -> None:
    path = {"service_group": "UserSessionService", "service_name": "AifUserSessionService"}
    writer.call("call_json_service", **path, operation_name="GetUserSessionInfo")
    assert "cross-company" not in writer.requests("/api")[-1]["query"]


def test_gotcha_34_service_users_are_users_like_others(reader: Served) -> None:
    users = reader.call("query_entities", entity_name="SystemUsers", select=["UserID"], top=50)["records"]
    assert len(users) == 8


def test_gotcha_35_a_single_request_may_be_throttled_and_is_tried_again(reader: Served) -> None:
    reader.simulator.fault("/data/CustomersV3", status=429, headers={"retry-after": "1"})
    assert reader.call("query_entities", **CUSTOMERS, top=1)["records"]
    reader.simulator.fault("/data/CustomersV3", status=429, headers={"retry-after": "600"})
    error = reader.refuse("query_entities", **CUSTOMERS, top=1)
    assert (error["code"], error["retryable"], error["retry_after"]) == ("throttled", True, 600.0)


def test_gotcha_36_an_action_f_and_o_does_not_expose_says_so(writer: Served) -> None:
    error = writer.refuse("call_action", action="DoesNotExist")
    assert error["http_status"] in (400, 404)


def test_a_key_with_an_enumeration_is_found_by_a_filter(reader: Served) -> None:
    """10.0.47 answers a GET by such a key with 404 although the record exists."""
    asked = {"entity_name": "SequenceV2Tables", "top": 1}
    (known,) = reader.call("query_entities", **asked)["records"]
    key = {name: known[name] for name in ("NumberSequenceCode", "ScopeType", "ScopeValue")}
    result = reader.call("get_entity_record", entity_name="SequenceV2Tables", key=key)
    assert result["record"]["NumberSequenceCode"] == key["NumberSequenceCode"]
    assert "$filter" in reader.requests()[-1]["query"]


def test_f_and_o_can_tell_our_requests_from_everybody_elses(writer: Served) -> None:
    group = {"CustomerGroupId": "UA1", "Description": "x"}
    writer.call("get_environment_info")
    writer.call("query_entities", entity_name="CustomersV3", top=1)
    writer.call("batch", operations=[{"operation": "create", "entity_name": "CustomerGroups", "data": group}])
    sent = [entry for path in ("/data", "/metadata", "/api") for entry in writer.requests(path)]
    assert len(sent) > 5
    assert {entry["headers"]["user-agent"] for entry in sent} == {f"d365mcp/{__version__}"}
