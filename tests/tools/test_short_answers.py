"""Answers say once what is the same, and nothing that is not so."""

from typing import Any

import pytest

from tests.served import Served, each_part
from tests.simulated import Simulator

pytestmark = pytest.mark.alike

US_003 = {"dataAreaId": "usmf", "CustomerAccount": "US-003"}


def update(account: str, **data: Any) -> dict[str, Any]:
    key = {"dataAreaId": "usmf", "CustomerAccount": account}
    return {"operation": "update", "entity_name": "CustomersV3", "key": key, "data": data}


# Notes


@pytest.mark.parametrize(
    ("filter", "notes"),
    [
        (
            "OnHoldStatus ne 'No' and OnHoldStatus ne 'Never' and OnHoldStatus ne 'Payment'",
            ["OnHoldStatus ne 'No' → OnHoldStatus ne CustVendorBlocked'No' (and 2 more like it)"],
        ),
        (
            "contains(OrganizationName,'Forest') or contains(OrganizationName,'Desert')",
            ["contains(OrganizationName,'Forest') → OrganizationName eq '*Forest*' (and 1 more like it)"],
        ),
        ("CustomerAccount eq 'US-003'", []),
    ],
)
def test_one_rewriting_is_said_once(reader: Served, filter: str, notes: list[str]) -> None:
    asked = {"entity_name": "CustomersV3", "select": ["CustomerAccount"], "company": "usmf"}
    assert reader.call("query_entities", **asked, filter=filter).get("notes", []) == notes


def test_different_rewritings_are_said_each(reader: Served) -> None:
    filter = "OnHoldStatus ne 'No' and startswith(OrganizationName,'T')"
    asked = {"entity_name": "CustomersV3", "select": ["CustomerAccount"], "company": "usmf"}
    assert len(reader.call("query_entities", **asked, filter=filter)["notes"]) == 2


def test_empty_dates_are_noted_only_where_there_are_some(reader: Served) -> None:
    asked: dict[str, Any] = {"entity_name": "FixedAssetsV2", "select": ["FixedAssetNumber"], "company": "usmf"}
    note = "GuaranteeDate: no date counts as 1900-01-01"
    some = reader.call("query_entities", **asked, filter="GuaranteeDate lt 2030-01-01")
    assert any(note in each for each in some["notes"])
    assert list(some["records"][0]) == ["FixedAssetNumber"]
    orders = {"entity_name": "SalesOrderHeadersV2", "select": ["SalesOrderNumber"], "company": "usmf", "top": 3}
    assert not any(
        "no date counts" in each
        for each in reader.call("query_entities", **orders, filter="RequestedShippingDate lt 2035-01-01").get(
            "notes", []
        )
    )


# Batches


def test_a_batch_that_went_well_is_a_count_and_the_keys_in_order(writer: Served) -> None:
    accounts = ("US-004", "US-003", "US-005")
    result = writer.call("batch", operations=[update(account, CreditLimit=1) for account in accounts])
    keys = [{"dataAreaId": "usmf", "CustomerAccount": account} for account in accounts]
    assert result == {"outcome": "done", "count": 3, "keys": keys}


def test_keys_that_f_and_o_numbered_are_in_it(writer: Served) -> None:
    data = {"dataAreaId": "usmf", "JournalName": "GenJrn"}
    part = {"operation": "create", "entity_name": "LedgerJournalHeaders", "data": data}
    result = writer.call("batch", operations=[part, part])
    assert len({key["JournalBatchNumber"] for key in result["keys"]}) == 2


SOME = ["US-003", "US-004", "nobody", *[f"US-{number:03}" for number in range(5, 15)]]


@pytest.mark.parametrize(
    ("settings", "atomic", "wanted"),
    [
        ({}, True, [("1-2, 4-13", "not done"), ("3", "failed")]),
        ({"heed_prefer": 1}, False, [("1-2, 4-13", "done"), ("3", "failed")]),
        ({"heed_prefer": 0}, False, [("1-2", "done"), ("3", "failed"), ("4-13", "not run")]),
    ],
)
def test_a_batch_that_did_not_go_well_says_together_what_is_alike(
    writer: Served, settings: dict[str, int], wanted: list[tuple[str, str]], *, atomic: bool
) -> None:
    writer.simulator.control(**settings)
    result = writer.call("batch", operations=[update(account, CreditLimit=1) for account in SOME], atomic=atomic)
    assert [(part["numbers"], part["outcome"]) for part in result["parts"]] == wanted
    for part in each_part(result):
        assert (part["operation"], part["entity_set"]) == ("update", "CustomersV3")
        assert ("keys" in part) == (part["outcome"] == "done")
    done = [each["CustomerAccount"] for part in result["parts"] for each in part.get("keys", ())]
    outcomes = [part["outcome"] for part in each_part(result)]
    assert done == [account for account, outcome in zip(SOME, outcomes, strict=True) if outcome == "done"]
    failed = each_part(result)[2]
    assert failed["key"] == {"dataAreaId": "usmf", "CustomerAccount": "nobody"}
    assert failed["error"]["message"]
    assert "keys" not in result


def test_only_operations_of_one_kind_on_one_entity_set_are_alike(writer: Served) -> None:
    group = {"operation": "create", "entity_name": "CustomerGroups", "data": {"CustomerGroupId": "91"}}
    journal = {"operation": "create", "entity_name": "LedgerJournalHeaders", "data": {"JournalName": "GenJrn"}}
    operations = [journal, group, journal, update("US-003", CreditLimit=1), update("nobody", CreditLimit=1)]
    result = writer.call("batch", operations=operations, atomic=False)
    assert [(part["numbers"], part["entity_set"]) for part in result["parts"]] == [
        ("1, 3", "LedgerJournalHeaders"),
        ("2", "CustomerGroups"),
        ("4", "CustomersV3"),
        ("5", "CustomersV3"),
    ]
    first, second = result["parts"][0]["keys"]
    assert int(second["JournalBatchNumber"]) == int(first["JournalBatchNumber"]) + 1


def test_operations_that_fail_stand_alone_each_with_its_error(writer: Served) -> None:
    operations = [update(account, CreditLimit=1) for account in ("nobody", "US-003", "no one")]
    result = writer.call("batch", operations=operations, atomic=False)
    assert [part["numbers"] for part in result["parts"] if "error" in part] == ["1", "3"]


def test_a_note_on_several_operations_is_said_once(writer: Served) -> None:
    parts = [
        update("US-003", OnHoldStatus="all"),
        update("US-004", OnHoldStatus="all"),
        update("US-005", CreditLimit=1),
    ]
    parts.append(update("US-006", OnHoldStatus="all"))
    result = writer.call("batch", operations=parts)
    assert result["notes"] == ['1-2, 4: OnHoldStatus: "all" → OnHoldStatus: "All"']


def test_requests_come_without_what_is_the_same_in_all(writer: Served) -> None:
    parts = [update("US-003", CreditLimit=1), update("US-004", CreditLimit=2)]
    result = writer.call("batch", operations=parts, dry_run=True)
    assert result["in_all"] == {"method": "PATCH", "exists": True}
    assert [sorted(request) for request in result["requests"]] == [["body", "changes", "path"]] * 2
    one = writer.call("batch", operations=parts[:1], dry_run=True)
    assert one["requests"][0]["method"] == "PATCH"


# CSV


@pytest.mark.parametrize("entity_set", ["CustomersV3", "CustomerGroups", "Companies"])
def test_an_empty_csv_has_its_heading(reader: Served, entity_set: str) -> None:
    key = reader.call("get_entity_schema", entity_name=entity_set)["key"]
    asked = {"entity_name": entity_set, "filter": f"{key[-1]} eq 'nothing'", "rows_as": "csv"}
    heading = reader.call("query_entities", **asked)["csv"].strip().split(",")
    assert set(key) <= set(heading)
    assert reader.call("query_entities", **asked, select=key)["csv"] == f"{','.join(key)}\n"


# The environment


def test_companies_come_with_name_and_currency(reader: Served) -> None:
    result = reader.call("get_environment_info")
    assert {"company": "jpmf", "name": "Contoso Entertainment Japan", "currency": "JPY"} in result["companies"]
    assert result["company_count"] == len(result["companies"])
    assert set(result["versions"]) == {"application", "platform_build", "application_build"}


def test_those_asked_for_come_alone(reader: Served) -> None:
    for companies in (["demf"], ["DEMF"], ["Germany"]):
        result = reader.call("get_environment_info", companies=companies)
        assert [row["company"] for row in result["companies"]] == ["demf"]


@pytest.mark.parametrize(
    ("asked", "found", "unknown"),
    [
        (["zz"], [], "zz"),
        (["USMF ", "zz"], ["usmf"], "zz"),
        (["Nowhere", "germany", "q", " "], ["demf"], "Nowhere, q"),
        (["zz", "zz"], [], "zz"),
        (["usmf", "demf"], ["demf", "usmf"], ""),
    ],
)
def test_each_company_that_there_is_not_is_named(
    reader: Served, asked: list[str], found: list[str], unknown: str
) -> None:
    result = reader.call("get_environment_info", companies=asked)
    assert [row["company"] for row in result["companies"]] == found
    assert result.get("notes", []) == ([f"no company has this id or name: {unknown}"] if unknown else [])


def test_currencies_may_fail_alone(reader: Served) -> None:
    reader.simulator.fault("/data/Ledgers", status=403)
    result = reader.call("get_environment_info")
    assert result["failures"]["currencies"]["code"] == "forbidden"
    assert {"company": "jpmf", "name": "Contoso Entertainment Japan"} in result["companies"]


def test_many_companies_are_listed_on_demand(writer: Served, simulator: Simulator) -> None:
    for number in range(10):
        data = {"LegalEntityId": f"z{number}", "Name": f"Contoso number {number}"}
        writer.call("create_entity_record", entity_name="LegalEntities", data=data)
    result = writer.call("get_environment_info")
    assert (result["company_count"], [row["company"] for row in result["companies"]]) == (35, ["usmf"])
    assert "35 companies: name those you want in companies" in result["notes"][0]
    asked = writer.call("get_environment_info", companies=["number 7"])
    assert [row["company"] for row in asked["companies"]] == ["z7"]
