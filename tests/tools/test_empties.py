"""Empties cost nothing: a single record comes without them, and what says something stays."""

from pathlib import Path
from typing import Any

import pytest

from d365mcp.d365.models import NAMESPACE, DataEntity, EntityProperty
from d365mcp.tools.empties import Emptying
from tests.served import Served, build_catalog, serving
from tests.simulated import Simulator

US_003 = {"entity_name": "CustomersV3", "key": {"dataAreaId": "usmf", "CustomerAccount": "US-003"}}
BOTH = pytest.mark.parametrize("served", ["reader", "catalogued"])


@pytest.fixture
def server(served: str, request: pytest.FixtureRequest) -> Served:
    found: Served = request.getfixturevalue(served)
    return found


@BOTH
def test_a_single_record_comes_without_what_is_empty(server: Served) -> None:
    result = server.call("get_entity_record", **US_003)
    whole = server.call("get_entity_record", **US_003, include_empty=True)
    assert len(whole["record"]) == 309
    left_out = {name: value for name, value in whole["record"].items() if name not in result["record"]}
    assert result["notes"] == [f"{len(left_out)} empty properties left out: include_empty adds them"]
    assert "notes" not in whole
    assert {"", None, "None"} <= set(left_out.values()) <= {"", None, "None", "Unknown", "NotSpecified", "Blank"}
    assert len(str(result)) < len(str(whole)) / 2


@BOTH
def test_no_zero_and_false_say_something(server: Served) -> None:
    record = server.call("get_entity_record", **US_003)["record"]
    assert (record["OnHoldStatus"], record["IsOneTimeCustomer"], record["PaymentTermsBaseDays"]) == ("No", "No", 0)
    user = server.call("get_entity_record", entity_name="SystemUsers", key={"UserID": "Julia"})["record"]
    assert False in user.values()


@BOTH
def test_a_column_named_is_there_even_when_it_is_empty(server: Served) -> None:
    columns = ["InvoiceAccount", "GiroType", "AddressTimeZone", "CreditLimit"]
    result = server.call("get_entity_record", **US_003, select=columns)
    empty = {"InvoiceAccount": "", "GiroType": "None", "AddressTimeZone": None}
    assert result == {"entity_set": "CustomersV3", "record": {**empty, "CreditLimit": 350000}}


@BOTH
def test_blank_parts_of_a_key_stay(server: Served) -> None:
    row = server.call("query_entities", entity_name="WarehousesOnHandV2", company="usmf", top=1)["records"][0]
    schema = server.call("get_entity_schema", entity_name="WarehousesOnHandV2")
    key = {name: row[name] for name in schema["key"]}
    record = server.call("get_entity_record", entity_name="WarehousesOnHandV2", key=key)["record"]
    assert {name: record[name] for name in key} == key
    assert "" in key.values()


@BOTH
def test_the_etag_stays(server: Served) -> None:
    assert server.call("get_entity_record", **US_003, include_etag=True)["record"]["@odata.etag"]


@BOTH
def test_a_record_returned_by_a_write_has_what_was_written_and_no_other_empties(
    served: str, server: Served, writer: Served
) -> None:
    server = writer if served == "reader" else server
    data: dict[str, Any] = {"InvoiceAccount": "", "CreditLimit": 0}
    update = server.call("update_entity_record", **US_003, data=data, return_record=True)
    assert (update["record"]["InvoiceAccount"], update["record"]["CreditLimit"]) == ("", 0)
    assert "KnownAs" not in update["record"]
    assert update["notes"][-1].endswith("empty properties left out: include_empty adds them")
    whole = server.call("update_entity_record", **US_003, data=data, return_record=True, include_empty=True)
    assert len(whole["record"]) == 309
    group = {"dataAreaId": "usmf", "CustomerGroupId": "97", "TaxGroupId": ""}
    create = server.call("create_entity_record", entity_name="CustomerGroups", data=group, return_record=True)
    assert create["etag"]
    assert create["record"]["TaxGroupId"] == ""
    assert "WriteOffReason" not in create["record"]


# Members that say nothing


@pytest.mark.parametrize(
    ("member", "label", "is_empty"),
    [
        ("None", "None", True),
        ("None", "", True),
        ("None", "Manual", False),
        ("Nil", "Not specified", True),
        ("Nil", "", False),
        ("No", "None", False),
    ],
)
def test_a_member_says_nothing_by_its_english_label_or_else_its_name(member: str, label: str, is_empty: bool) -> None:
    entity = DataEntity("Thing", "Things", {"Kind": EntityProperty("Kind", f"{NAMESPACE}Kinds")})
    labels = {("Kinds", member): label} if label else {}
    record, left_out = Emptying(entity, labels).without_empties({"Kind": member})
    assert (record == {}, left_out) == (is_empty, int(is_empty))


def test_none_is_left_out_whatever_language_labels_are_in(simulator: Simulator, tmp_path: Path, reader: Served) -> None:
    english = reader.call("get_entity_record", **US_003)
    build_catalog(simulator, tmp_path, D365FO_LANGUAGES="de")
    with serving(simulator, D365FO_LANGUAGES="de", TMPDIR=str(tmp_path)) as german:
        assert german.call("get_entity_record", **US_003) == english


# Expanded records

ORDER = {"entity_name": "PurchaseOrderHeadersV2", "key": {"dataAreaId": "usmf", "PurchaseOrderNumber": "00000022"}}
LINES = "PurchaseOrderLinesV2"


@BOTH
def test_expanded_records_come_without_what_is_empty(server: Served) -> None:
    whole = server.call("get_entity_record", **ORDER, expand=[LINES], include_empty=True)["record"]
    result = server.call("get_entity_record", **ORDER, expand=[LINES])
    pairs = [(whole, result["record"]), *zip(whole[LINES], result["record"][LINES], strict=True)]
    left_out = [value for more, less in pairs for name, value in more.items() if name not in less]
    assert len(pairs) > 1
    assert {"", None, "None"} <= set(left_out) <= {"", None, "None", "Unknown", "NotSpecified", "Blank"}
    assert result["notes"] == [f"{len(left_out)} empty properties left out: include_empty adds them"]
    assert all({"PurchaseOrderNumber", "LineNumber"} <= line.keys() for line in result["record"][LINES])
    asked = {"entity_name": ORDER["entity_name"], "filter": "PurchaseOrderNumber eq '00000022'", "company": "usmf"}
    queried = server.call("query_entities", **asked, expand=[LINES])
    assert queried["records"][0][LINES] == result["record"][LINES]
    count = sum(len(more) - len(less) for more, less in pairs[1:])
    assert f"{count} empty properties of expanded records left out" in queried["notes"][-1]


@BOTH
def test_columns_named_of_expanded_records_are_there_even_when_they_are_empty(server: Served) -> None:
    lines = f"{LINES}($select=ItemNumber,ItemBatchNumber)"
    result = server.call("get_entity_record", **ORDER, select=["PurchaseOrderNumber"], expand=[lines])
    assert all(line["ItemBatchNumber"] == "" and len(line) == 2 for line in result["record"][LINES])
    assert "notes" not in result
