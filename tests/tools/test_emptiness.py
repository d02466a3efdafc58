"""An empty answer says what was asked where, and what near it there is."""

from typing import Any

import pytest

from tests.served import Served

pytestmark = pytest.mark.alike

CUSTOMERS = {"entity_name": "CustomersV3", "select": ["CustomerAccount", "OrganizationName"]}
ORDERS = {"entity_name": "SalesOrderHeadersV2", "select": ["SalesOrderNumber"]}


def note_of(reader: Served, asked: dict[str, Any], **more: Any) -> str:
    """Return the note of a query that finds nothing."""
    result = reader.call("query_entities", **asked, **more)
    assert result["records"] == []
    assert not any("properties shown" in note for note in result["notes"])
    return str(result["notes"][-1])


@pytest.mark.parametrize(
    ("asked", "more", "note"),
    [
        (CUSTOMERS, {"filter": "CustomerAccount eq 'US-0001'"}, "CustomerAccount 'US-0001': near it is 'US-001'"),
        (CUSTOMERS, {"filter": "CustomerAccount eq 'us001'"}, "CustomerAccount 'us001': near it is 'US-001'"),
        (CUSTOMERS, {"filter": "CustomerAccount eq 'RFI-001'", "company": "us01"}, "near it is ' RFI-001'"),
        (CUSTOMERS, {"filter": "OrganizationName eq 'forest'"}, "near it is 'Forest Wholesales'"),
        (CUSTOMERS, {"filter": "OrganizationName eq 'Contoso Retial Dallas'"}, "near it are 'Contoso Retail Dallas', "),
        (CUSTOMERS, {"filter": "CustomerAccount eq 'DE-001'", "company": "usrt"}, "'DE-001': it is in demf or usmf"),
        (CUSTOMERS, {"filter": "CustomerAccount eq 'FR-001'"}, "no CustomersV3 in usmf with CustomerAccount 'FR-001'"),
        (CUSTOMERS, {"filter": "CustomerAccount in ('nobody','no one')"}, "in usmf with CustomerAccount 'nobody'"),
        (CUSTOMERS, {"filter": "CustomerAccount eq 'US-001' and CreditLimit lt 0"}, "'US-001' is there"),
        (CUSTOMERS, {"filter": "dataAreaId eq 'dat' and CreditLimit gt 0"}, "no CustomersV3 in dat"),
        (CUSTOMERS, {"filter": "CustomerGroup/Description eq 'none'"}, "in usmf with CustomerGroup/Description 'none'"),
        (ORDERS, {"filter": "SalesOrderNumber eq '10'"}, "SalesOrderNumber '10': near it is '000010'"),
        (ORDERS, {"filter": "SalesOrderNumber eq '1'"}, "near it is '000001'"),
        (ORDERS, {"filter": "SalesOrderNumber eq 'SO-00010'"}, "near it is '000010'"),
        (ORDERS, {"filter": "SalesOrderNumber eq '10'", "cross_company": True}, "in any company with SalesOrderNumber"),
        ({"entity_name": "LegalEntities"}, {"filter": "LegalEntityId eq 'usm'"}, "near it is 'usmf'"),
    ],
)
def test_an_equality_that_finds_nothing_is_said_with_what_is_near(
    reader: Served, asked: dict[str, Any], more: dict[str, Any], note: str
) -> None:
    assert note in note_of(reader, asked, **more)


def test_looking_costs_one_call(reader: Served) -> None:
    note_of(reader, CUSTOMERS, filter="CustomerAccount eq 'US-0001'")
    assert len(reader.requests()) == 2


@pytest.mark.parametrize("fault", [{"status": 500}, {"status": 403}, {"kind": "slow", "seconds": 30}])
def test_a_look_that_fails_costs_nothing_but_what_it_would_tell(reader: Served, fault: dict[str, Any]) -> None:
    reader.simulator.fault("/data/CustomersV3", after_n=1, times=5, **fault)
    note = note_of(reader, CUSTOMERS, filter="CustomerAccount eq 'US-0001'")
    assert note == "no CustomersV3 in usmf with CustomerAccount 'US-0001'"


@pytest.mark.parametrize("filter", ["CreditLimit gt 99999999", "CustomerAccount ne 'x' and CreditLimit lt -1"])
def test_what_asks_for_no_text_is_not_explained(reader: Served, filter: str) -> None:
    result = reader.call("query_entities", **CUSTOMERS, filter=filter)
    assert (result["records"], result.get("notes", [])) == ([], [])
    assert len(reader.requests()) == 1


def test_how_many_properties_are_given_is_said_where_some_are(reader: Served) -> None:
    full = reader.call("query_entities", entity_name="CustomersV3", top=1)
    assert any("properties shown" in note for note in full["notes"])
    assert "notes" not in reader.call("query_entities", entity_name="CustomersV3", filter="CreditLimit gt 99999999")


# Patterns


@pytest.mark.parametrize(
    ("filter", "part"),
    [
        ("OrganizationName eq '*retail*'", "retail"),
        ("CustomerGroupId eq '30' and OrganizationName eq '*Retail*'", "retail"),
        ("OrganizationName in ('*retail*','*owl*')", "l"),
        ("OrganizationName eq '*Wholesales'", "wholesales"),
    ],
)
def test_a_pattern_as_f_and_o_documents_it_is_one_where_nothing_has_the_star(
    reader: Served, filter: str, part: str
) -> None:
    result = reader.call("query_entities", **CUSTOMERS, filter=filter, count=True)
    names = [record["OrganizationName"].lower() for record in result["records"]]
    assert names and all(part in name for name in names)
    assert result["count"] == len(names)
    assert sum("read as F&O's pattern" in note for note in result["notes"]) == 1
    assert not any("taken literally" in note for note in result["notes"])


def test_a_star_that_some_record_has_is_taken_literally(reader: Served) -> None:
    asked = """OrganizationName eq '"Quality" Sound 100% *Live*'"""
    result = reader.call("query_entities", **CUSTOMERS, filter=asked, company="us01")
    assert len(result["records"]) == 1
    assert any("taken literally" in note for note in result["notes"])


@pytest.mark.parametrize(
    "filter", ["contains(OrganizationName,'a*l')", "OrganizationName eq 'C*' and OrganizationName ne 'x*'"]
)
def test_a_star_elsewhere_stays_a_star(reader: Served, filter: str) -> None:
    result = reader.call("query_entities", **CUSTOMERS, filter=filter)
    assert result["records"] == []
    assert not any("pattern: *" in note for note in result["notes"])


def test_a_pattern_goes_on_as_one(reader: Served) -> None:
    asked = {"entity_name": "SalesOrderLinesV3", "select": ["InventoryLotId"], "filter": "SalesOrderNumber eq '0*'"}
    first = reader.call("query_entities", **asked)
    second = reader.call("query_entities", entity_name="SalesOrderLinesV3", cursor=first["next_cursor"])
    lots = [record["InventoryLotId"] for record in first["records"] + second["records"]]
    assert len(lots) == len(set(lots)) == 100


def test_a_pattern_that_finds_much_is_not_read_to_its_end_for_a_star(reader: Served) -> None:
    reader.call("query_entities", entity_name="SalesOrderLinesV3", select=["ItemNumber"], filter="ItemNumber eq '*'")
    assert len(reader.requests()) < 8


def test_a_pattern_that_finds_nothing_says_so(reader: Served) -> None:
    assert "with OrganizationName 'zzz*'" in note_of(reader, CUSTOMERS, filter="OrganizationName eq 'zzz*'")
