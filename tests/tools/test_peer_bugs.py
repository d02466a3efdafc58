"""Faults known from d365fo-client 0.3.7, one by one: each test shows that they are not here."""

import json
import subprocess
import sys

import pytest

from tests.dev_host import ROOT
from tests.served import Served

pytestmark = pytest.mark.alike

US_001 = {"dataAreaId": "usmf", "CustomerAccount": "US-001"}


def test_1_a_fresh_install_starts(reader: Served) -> None:
    """Its open dependency on the SDK resolves to one it cannot import; ours are pinned exactly."""
    pins = [line.partition("#")[0] for line in (ROOT / "requirements.txt").read_text().splitlines() if line.strip()]
    assert all("==" in pin for pin in pins)
    assert reader.tools()


def test_2_keyed_tools_work_where_set_and_public_name_differ(writer: Served) -> None:
    assert writer.call("get_entity_record", entity_name="CustomersV3", key=US_001)["record"]
    done = writer.call("update_entity_record", entity_name="CustomersV3", key=US_001, data={"CreditLimit": 1})
    assert done["outcome"] == "updated"


def test_2_keys_are_typed_and_encoded_once(reader: Served) -> None:
    invoice = reader.call("query_entities", entity_name="FreeTextInvoiceHeaders", top=1)["records"][0]
    key = {"dataAreaId": "usmf", "InvoiceIdentifier": invoice["InvoiceIdentifier"]}
    assert reader.call("get_entity_record", entity_name="FreeTextInvoiceHeaders", key=key)["record"]
    rate = reader.call("query_entities", entity_name="ExchangeRates", top=1)["records"][0]
    key = {name: rate[name] for name in ("RateTypeName", "FromCurrency", "ToCurrency", "StartDate")}
    assert reader.call("get_entity_record", entity_name="ExchangeRates", key=key)["record"]["Rate"] == rate["Rate"]
    quoted = {"dataAreaId": "us01", "ItemNumber": "JOE'S"}
    assert reader.call("get_entity_record", entity_name="ReleasedProductsV2", key=quoted, select=["ItemNumber"])[
        "record"
    ]


def test_3_a_label_has_its_text_the_first_and_the_second_time(reader: Served) -> None:
    for _ in range(2):
        assert reader.call("get_labels", label_ids=["@SYS1"])["labels"] == {"@SYS1": "Account"}


def test_7_the_schema_honours_its_parameters(reader: Served) -> None:
    some = reader.call("get_entity_schema", entity_name="CustomersV3", columns="credit")
    assert "CreditLimit" in json.dumps(some["properties"])
    assert "OrganizationName" not in json.dumps(some["properties"])
    full = reader.call("get_entity_schema", entity_name="CustomerGroups", detail="full")
    assert full["properties"]["CustomerGroupId"]["key"] is True
    english = reader.call("get_enumeration_fields", enumeration_name="NoYes", language="en-US")
    german = reader.call("get_enumeration_fields", enumeration_name="NoYes", language="de")
    assert english["members"][1]["label"] != german["members"][1].get("label")
    assert "notes" not in english


def test_8_search_filters_are_honoured(reader: Served) -> None:
    read_only = reader.call("search_entities", query="products", read_only=True)["entities"]
    assert read_only
    assert all(entity["read_only"] for entity in read_only)
    masters = reader.call("search_entities", query="customers", category="Master")["entities"]
    assert all(entity["category"] == "Master" for entity in masters)


def test_9_a_name_that_is_accepted_is_also_found(reader: Served) -> None:
    for name in ("CustomerV3", "CustomersV3", "CustCustomerV3Entity"):
        assert reader.call("query_entities", entity_name=name, select=["CustomerAccount"], top=1)["records"]


def test_12_a_failing_connection_is_said_with_its_reason(reader: Served) -> None:
    reader.simulator.fault("/api/services", status=403, times=3)
    facts = reader.call("get_environment_info")
    assert facts["failures"]["user"]["code"] == "forbidden"
    assert facts["versions"]["application"]


def test_14_settings_come_from_the_environment_alone_at_each_start() -> None:
    code = "from d365mcp.settings import read_settings; print(read_settings({'D365FO_BASE_URL': '%s'}).base_url)"
    for address in ("https://one.operations.dynamics.com", "https://two.operations.dynamics.com"):
        done = subprocess.run(
            [sys.executable, "-c", code % address], cwd=ROOT, capture_output=True, text=True, check=True
        )
        assert done.stdout.strip() == address


def test_15_sql_is_judged_by_what_it_is_not_by_words_in_it(reader: Served) -> None:
    created = "SELECT count(*) AS n FROM SalesOrderHeadersV2 WHERE OrderCreationDateTime > '2000-01-01'"
    assert reader.call("query_sql", sql=created)["records"]
    assert reader.call("query_sql", sql="WITH x AS (SELECT CustomerAccount FROM CustomersV3) SELECT count(*) FROM x")[
        "records"
    ]
    both = "SELECT CustomerAccount FROM CustomersV3 UNION ALL SELECT VendorAccountNumber FROM VendorsV2"
    assert reader.call("query_sql", sql=both)["records"]


def test_16_limits_are_kept(reader: Served) -> None:
    assert reader.refuse("query_entities", entity_name="CustomersV3", top=-1)["code"] == "invalid_argument"
    assert reader.refuse("search_entities", query="x", limit=100000)["code"] == "invalid_argument"


def test_18_an_update_returns_the_record_when_asked(writer: Served) -> None:
    asked = {"entity_name": "CustomersV3", "key": US_001, "data": {"CreditLimit": 7}}
    assert writer.call("update_entity_record", **asked, return_record=True)["record"]["CreditLimit"] == 7


def test_failures_are_failures_to_the_protocol_too(reader: Served) -> None:
    assert reader.send("query_entities", {"entity_name": "Nope"}).is_error is True


def test_every_tool_says_what_it_may_do(writer: Served) -> None:
    for tool in writer.tools():
        hints = tool.annotations
        assert hints is not None
        assert None not in (hints.read_only_hint, hints.destructive_hint, hints.idempotent_hint, hints.open_world_hint)
        assert tool.title
