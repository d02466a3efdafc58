"""Companies: every row says whose it is or the answer does, and none of another one is read or written."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.served import Served, serving
from tests.simulated import Simulator
from tests.tools.conftest import EVERYTHING

pytestmark = pytest.mark.alike

NAMES = ["CustomerAccount", "OrganizationName"]
GERMAN = {"dataAreaId": "demf", "CustomerAccount": "DE-001"}
GROUP = {"CustomerGroupId": "91", "Description": "MCP test"}


def companies(result: dict[str, Any]) -> set[str]:
    return {record["dataAreaId"] for record in result["records"]}


def test_rows_of_several_companies_say_whose_they_are(reader: Served) -> None:
    asked = {"entity_name": "CustomersV3", "select": ["OrganizationName"], "top": 500}
    everyone = reader.call("query_entities", **asked, cross_company=True)
    assert len(companies(everyone)) >= 6
    assert "company" not in everyone
    two = reader.call("query_entities", **asked, filter="dataAreaId in ('usmf','demf')")
    assert companies(two) == {"usmf", "demf"}
    lines = reader.call("query_entities", **asked, cross_company=True, rows_as="csv")["csv"].splitlines()
    assert lines[0] == "dataAreaId,OrganizationName"


@pytest.mark.parametrize("named", [{"company": "DEMF"}, {"filter": "dataAreaId eq 'demf'"}])
def test_an_answer_of_one_company_names_it(reader: Served, named: dict[str, str]) -> None:
    result = reader.call("query_entities", entity_name="CustomersV3", select=["CustomerAccount"], top=3, **named)
    assert result["company"] == "demf"
    assert {frozenset(record) for record in result["records"]} == {frozenset({"CustomerAccount"})}


@pytest.mark.parametrize(
    "filter",
    [
        "dataAreaId eq 'usmf'",
        "dataAreaId in ('usmf','dat') and CreditLimit gt 0",
        "dataAreaId ne 'demf'",
        "not (dataAreaId eq 'demf')",
        "startswith(dataAreaId,'us')",
        "(dataAreaId eq 'usmf' and CreditLimit gt 0) or (CreditLimit eq 0 and dataAreaId eq 'usrt')",
        "dataAreaId gt 'demf'",
    ],
)
def test_a_company_that_the_filter_leaves_out_is_refused(reader: Served, filter: str) -> None:
    error = reader.refuse("query_entities", entity_name="CustomersV3", company="demf", filter=filter)
    assert (error["code"], "the filter leaves it out" in error["message"]) == ("invalid_argument", True)
    assert not reader.requests("/data/customersv3")


def test_a_company_that_the_filter_allows_is_read(reader: Served) -> None:
    asked = {"entity_name": "CustomersV3", "select": ["dataAreaId"], "company": "demf", "top": 500}
    for filter in ("dataAreaId in ('demf','usmf')", "dataAreaId ne 'usmf' or CreditLimit gt 0"):
        assert companies(reader.call("query_entities", **asked, filter=filter)) == {"demf"}


def test_a_key_without_a_company_takes_the_one_given_or_the_default(writer: Served) -> None:
    asked = {"entity_name": "CustomersV3", "key": {"CustomerAccount": "US-001"}}
    result = writer.call("get_entity_record", **asked, select=["OrganizationName"])
    assert result["record"] == {"OrganizationName": "Contoso Retail San Diego"}
    assert result["notes"] == ["the key has no dataAreaId: usmf, the user's default company, was taken"]
    assert "notes" not in writer.call("get_entity_record", **asked, company="usmf", include_empty=True)
    changed = writer.call("update_entity_record", **asked, data={"CreditLimit": 7})
    assert changed["key"] == {"dataAreaId": "usmf", "CustomerAccount": "US-001"}
    assert changed["notes"] == result["notes"]
    parts = [{"operation": "update", **asked, "data": {"CreditLimit": 8}}]
    assert writer.call("batch", operations=parts)["notes"] == [f"1: {result['notes'][0]}"]
    assert "dataAreaId usmf" in writer.refuse("delete_entity_record", **asked)["message"]


def test_a_write_takes_the_default_company_as_it_is_now(writer: Served) -> None:
    asked = {"entity_name": "CustomersV3", "data": {"CreditLimit": 7}}
    writer.call("update_entity_record", **asked, key={"CustomerAccount": "US-001"})
    writer.simulator.control(default_company="demf")
    german = writer.call("update_entity_record", **asked, key={"CustomerAccount": "DE-001"})
    assert german["key"] == GERMAN
    parts = [{"operation": "update", **asked, "key": {"CustomerAccount": "DE-001"}}]
    writer.simulator.control(default_company="usmf")
    assert writer.call("batch", operations=parts, dry_run=True)["requests"][0]["path"].count("usmf")


def test_a_shared_record_has_no_company(reader: Served) -> None:
    asked = {"entity_name": "Currencies", "key": {"CurrencyCode": "USD"}}
    assert "notes" not in reader.call("get_entity_record", **asked)
    assert "shared by all companies" in reader.call("get_entity_record", **asked, company="usmf")["notes"][0]


def test_the_company_of_an_empty_answer_is_the_default_one_of_now(reader: Served) -> None:
    asked = {"entity_name": "CustomersV3", "select": NAMES, "filter": "CreditLimit gt 99999999"}
    assert reader.call("query_entities", **asked)["company"] == "usmf"
    reader.simulator.control(default_company="demf")
    assert reader.call("query_entities", **asked)["company"] == "demf"


def test_a_walk_stays_in_the_company_it_began_in(reader: Served) -> None:
    asked = {"entity_name": "SalesOrderLinesV3", "select": ["dataAreaId", "InventoryLotId"]}
    first = reader.call("query_entities", **asked)
    reader.simulator.control(default_company="demf")
    second = reader.call("query_entities", entity_name="SalesOrderLinesV3", cursor=first["next_cursor"])
    assert (second["company"], companies(second), len(second["records"])) == ("usmf", {"usmf"}, 50)


def test_a_default_company_that_changes_between_pages_is_said(reader: Served) -> None:
    reader.simulator.control(page_size=10)
    page = {"value": [{"dataAreaId": "demf", "CustomerAccount": "DE-001"}]}
    reader.simulator.fault("/data/CustomersV3", after_n=1, status=200, body=page)
    result = reader.call("query_entities", entity_name="CustomersV3", select=NAMES, top=30)
    assert any(
        "default company changed meanwhile, the records are of demf and usmf" in note for note in result["notes"]
    )


# With D365FO_COMPANIES


@pytest.fixture(scope="module")
def bound_process(simulator_process: Simulator) -> Iterator[Served]:
    with serving(simulator_process, **EVERYTHING, D365FO_COMPANIES="usmf,usrt") as served:
        yield served


@pytest.fixture
def bound(bound_process: Served, simulator: Simulator) -> Served:
    """A server that may touch two companies, and knows that usmf is the user's default one."""
    assert bound_process.call("get_environment_info")["default_company"] == "usmf"
    simulator.control(reset=True, default_company="demf")
    return bound_process


def test_no_row_of_a_forbidden_company_is_read_after_the_default_one_changed(bound: Served) -> None:
    result = bound.call("query_entities", entity_name="CustomersV3", select=["OrganizationName"], top=500)
    assert result["company"] == "usmf"
    names = {record["OrganizationName"] for record in result["records"]}
    bound.simulator.control(default_company="usmf")
    expected = bound.call("query_entities", entity_name="CustomersV3", select=["OrganizationName"], top=500)
    assert names == {record["OrganizationName"] for record in expected["records"]}
    assert all("cross-company=true" in request["query"] for request in bound.requests("/data/customersv3"))


def test_a_bounded_walk_stays_in_the_company_it_began_in(bound: Served) -> None:
    asked = {"entity_name": "SalesOrderLinesV3", "select": ["dataAreaId", "InventoryLotId"]}
    first = bound.call("query_entities", **asked)
    bound.simulator.control(default_company="usrt")
    assert bound.call("get_environment_info")["default_company"] == "usrt"
    second = bound.call("query_entities", entity_name="SalesOrderLinesV3", cursor=first["next_cursor"])
    assert (first["company"], second["company"], companies(second)) == ("usmf", "usmf", {"usmf"})


def test_no_statement_reads_a_forbidden_company_after_the_default_one_changed(bound: Served) -> None:
    result = bound.call("query_sql", sql="SELECT DISTINCT dataAreaId FROM CustomersV3")
    assert (result["records"], result["company"]) == ([{"dataAreaId": "usmf"}], "usmf")


def test_no_record_is_created_in_a_forbidden_company_after_the_default_one_changed(bound: Served) -> None:
    created = bound.call("create_entity_record", entity_name="CustomerGroups", data=GROUP)
    assert created["key"] == {"dataAreaId": "usmf", "CustomerGroupId": "91"}
    assert created["notes"] == ["dataAreaId usmf, the user's default company, was added"]
    part = {"operation": "create", "entity_name": "CustomerGroups", "data": {**GROUP, "CustomerGroupId": "92"}}
    assert bound.call("batch", operations=[part])["keys"][0]["dataAreaId"] == "usmf"
    bodies = [request["body"] for request in bound.requests() if request["method"] == "POST"]
    assert len(bodies) == 2 and all('"dataAreaId"' in body and "usmf" in body for body in bodies)


def test_a_key_without_a_company_is_not_completed_with_a_forbidden_one(bound: Served) -> None:
    asked = {"entity_name": "CustomersV3", "key": {"CustomerAccount": "DE-001"}}
    assert bound.refuse("update_entity_record", **asked, data={"CreditLimit": 7})["code"] == "not_allowed"
    assert bound.refuse("delete_entity_record", **asked, confirm=True)["code"] == "not_allowed"
    assert not [request for request in bound.requests() if request["method"] != "GET"]


ROW = {"dataAreaId": "demf", "CustomerAccount": "DE-001", "OrganizationName": "Elektronik"}


@pytest.mark.parametrize(
    ("tool", "arguments", "body"),
    [
        ("query_entities", {"entity_name": "CustomersV3", "select": NAMES, "company": "usmf"}, {"value": [ROW]}),
        ("query_entities", {"entity_name": "CustomersV3", "select": NAMES, "cross_company": True}, {"value": [ROW]}),
        ("query_entities", {"entity_name": "CustomersV3", "select": NAMES}, {"value": [{"CustomerAccount": "DE-001"}]}),
        ("get_entity_record", {"entity_name": "CustomersV3", "key": {**GERMAN, "dataAreaId": "usmf"}}, ROW),
        ("query_sql", {"sql": "SELECT OrganizationName FROM CustomersV3"}, {"value": [ROW]}),
        ("query_sql", {"sql": "SELECT OrganizationName FROM CustomersV3", "cross_company": True}, {"value": [ROW]}),
    ],
)
def test_a_forbidden_row_is_not_given_whatever_f_and_o_answers(
    bound: Served, tool: str, arguments: dict[str, Any], body: dict[str, Any]
) -> None:
    bound.simulator.fault("/data/CustomersV3", status=200, body=body)
    error = bound.refuse(tool, **arguments)
    assert error["code"] == "not_allowed"
    assert "Elektronik" not in str(error)


def test_a_forbidden_row_of_a_later_page_is_not_given(bound: Served) -> None:
    bound.simulator.control(page_size=5)
    bound.simulator.fault("/data/CustomersV3", after_n=1, status=200, body={"value": [ROW]})
    error = bound.refuse("query_entities", entity_name="CustomersV3", select=NAMES, top=20)
    assert error["code"] == "not_allowed"


def test_what_is_near_is_looked_for_where_this_server_may_look(bound: Served) -> None:
    asked = {"entity_name": "CustomersV3", "select": NAMES, "filter": "CustomerAccount eq 'DE-001'"}
    (note,) = bound.call("query_entities", **asked, company="usrt")["notes"]
    assert note == "no CustomersV3 in usrt with CustomerAccount 'DE-001': it is in usmf"  # and in demf


# Entities whose key does not say the company, and actions on records

LEDGERS: dict[str, Any] = {
    "include": ["contoso"],
    "entities": [
        {
            "entitySet": "Notes",
            "publicEntityName": "Note",
            "keys": ["NoteRecId"],
            "properties": [
                {"name": "dataAreaId", "edmType": "Edm.String", "allowEdit": True},
                {"name": "NoteRecId", "edmType": "Edm.Int64"},
                {"name": "Text", "edmType": "Edm.String"},
            ],
            "records": [
                {"dataAreaId": "usmf", "NoteRecId": 1, "Text": "ours"},
                {"dataAreaId": "demf", "NoteRecId": 2, "Text": "theirs"},
            ],
        },
        {
            "entitySet": "Orders",
            "publicEntityName": "Order",
            "keys": ["dataAreaId", "Number"],
            "properties": [
                {"name": "dataAreaId", "edmType": "Edm.String"},
                {"name": "Number", "edmType": "Edm.String"},
                {"name": "Status", "edmType": "Edm.String"},
            ],
            "records": [{"dataAreaId": "demf", "Number": "1"}, {"dataAreaId": "usmf", "Number": "2"}],
        },
    ],
    "actions": [
        {
            "entitySet": "Orders",
            "name": "confirm",
            "bindingKind": "BoundToEntityInstance",
            "changes": {"Status": "Confirmed"},
        }
    ],
}


@pytest.fixture(scope="module")
def ledgers() -> Iterator[Simulator]:
    running = Simulator.start(LEDGERS)
    yield running
    running.stop()


@pytest.mark.once
def test_a_key_that_does_not_say_the_company_is_looked_up_before_anything_is_written(ledgers: Simulator) -> None:
    ledgers.reset()
    with serving(ledgers, **EVERYTHING, D365FO_COMPANIES="usmf") as bound:
        theirs, ours = (
            {"entity_name": "Notes", "key": {"NoteRecId": 2}},
            {"entity_name": "Notes", "key": {"NoteRecId": 1}},
        )
        for tool, arguments in (
            ("get_entity_record", {}),
            ("get_entity_record", {"select": ["Text"]}),
            ("update_entity_record", {"data": {"Text": "x"}}),
            ("delete_entity_record", {"confirm": True}),
        ):
            error = bound.refuse(tool, **theirs, **arguments)
            assert (error["code"], "theirs" in str(error)) == ("not_allowed", False)
        moved = bound.refuse("update_entity_record", **ours, data={"dataAreaId": "demf"})
        assert moved["code"] == "not_allowed"
        assert bound.call("get_entity_record", **ours, select=["Text"])["record"] == {"Text": "ours"}
        bound.call("update_entity_record", **ours, data={"Text": "x"})
        bound.call("delete_entity_record", **ours, confirm=True)
        assert [request["path"] for request in ledgers.log("/data") if request["method"] != "GET"] == [
            "/data/Notes(NoteRecId=1)"
        ] * 2


@pytest.mark.once
def test_an_action_on_a_record_of_another_company_finds_it(ledgers: Simulator) -> None:
    ledgers.reset()
    with serving(ledgers, **EVERYTHING) as served:
        german = {"action": "confirm", "entity_name": "Orders", "key": {"dataAreaId": "demf", "Number": "1"}}
        place = "/data/Orders(dataAreaId='demf',Number='1')/Microsoft.Dynamics.DataEntities.confirm?cross-company=true"
        assert served.call("call_action", **german, dry_run=True)["request"]["path"] == place
        served.call("call_action", **german)
        record = served.call("get_entity_record", entity_name="Orders", key=german["key"])["record"]
        assert record["Status"] == "Confirmed"
        own = served.call("call_action", action="confirm", entity_name="Orders", key={"Number": "2"})
        assert own["notes"] == ["the key has no dataAreaId: usmf, the user's default company, was taken"]
