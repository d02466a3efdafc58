"""Mistakes people and models make: each answer names the way out."""

import time
from typing import Any

import httpx
import pytest

from d365mcp.tools import ALL_TOOLS
from tests.served import Served
from tests.simulated import Simulator

pytestmark = pytest.mark.alike

CUSTOMERS = {"entity_name": "CustomersV3"}


def text_of(error: dict[str, Any]) -> str:
    return f"{error['message']} {error.get('hint', '')}"


def test_a_language_there_is_not_is_said(reader: Served) -> None:
    members = reader.call("get_enumeration_fields", enumeration_name="NoYes", language="german")
    assert members["members"] == [{"name": "No", "value": 0}, {"name": "Yes", "value": 1}]
    assert members["notes"][0].startswith("3 of 3 labels are left out: ")
    assert "languages like en-US or de" in members["notes"][0]


@pytest.mark.parametrize(
    ("tool", "arguments", "hint"),
    [
        ("query_entities", {**CUSTOMERS, "select": 5}, 'a valid list, such as ["A", "B"]'),
        ("query_entities", {**CUSTOMERS, "top": "five"}, "a valid integer, such as 5."),
        ("query_entities", {**CUSTOMERS, "count": "yes"}, "a valid boolean, true or false."),
        ("query_entities", {**CUSTOMERS, "select": ["Foo"]}, "d365fo_get_entity_schema"),
        ("query_entities", {**CUSTOMERS, "select": ["*"]}, "d365fo_get_entity_record with include_empty"),
        ("query_entities", {**CUSTOMERS, "filter": "Foo eq 1"}, "d365fo_get_entity_schema"),
        ("query_entities", {**CUSTOMERS, "expand": ["Foo"]}, "CustomersV3 has "),
        ("get_entity_record", {**CUSTOMERS, "key": "US-001"}, 'such as {"dataAreaId": "usmf"}'),
        ("get_server_performance", {"window": "yesterday"}, "such as 30m, 1h or 7d"),
        ("query_sql", {"sql": "SELECT TOP 5 CustomerAccount FROM CustomersV3"}, "LIMIT 5, not TOP 5"),
        ("query_sql", {"sql": "SELECT [CustomerAccount] FROM [CustomersV3]"}, '"Name", not [Name]'),
        ("query_sql", {"sql": "SELECT ISNULL(CustomerAccount, '') FROM CustomersV3"}, "coalesce, not ISNULL"),
        ("query_sql", {"sql": "SELECT Foo FROM CustomersV3"}, "lists the columns of CustomersV3"),
        ("query_entities", {**CUSTOMERS, "filter": "CreditLimit gt 01/31/2026"}, "a date is written 2026-07-14"),
    ],
)
def test_a_mistake_is_answered_with_its_hint(reader: Served, tool: str, arguments: dict[str, Any], hint: str) -> None:
    assert hint in text_of(reader.refuse(tool, **arguments))


WHOLE = [
    pytest.param(tool.name.removeprefix("d365fo_"), name, id=f"{tool.name} {name}")
    for tool in ALL_TOOLS
    for name, schema in tool.input_schema["properties"].items()
    if schema.get("type") == "integer"
]


@pytest.mark.parametrize(("tool", "name"), WHOLE)
def test_a_whole_number_may_be_written_with_a_point(reader: Served, tool: str, name: str) -> None:
    needed = {
        "query_entities": CUSTOMERS,
        "query_sql": {"sql": "SELECT CustomerAccount FROM CustomersV3"},
        **dict.fromkeys(["search_entities", "search_enumerations", "search_actions"], {"query": "customer"}),
    }
    answers = [reader.call(tool, **needed[tool], **{name: number}) for number in (40.0, 40)]
    for answer in answers:
        answer.pop("seconds", None)  # how long a statement took
    assert answers[0] == answers[1]
    assert "a valid integer" in reader.refuse(tool, **needed[tool], **{name: 40.5})["message"]


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [("update_entity_record", {"data": {"NameAlias": "x"}}), ("delete_entity_record", {"confirm": True})],
)
def test_a_record_that_is_not_there_is_said_to_be_missing(writer: Served, tool: str, arguments: dict[str, Any]) -> None:
    error = writer.refuse(tool, **CUSTOMERS, key={"dataAreaId": "usmf", "CustomerAccount": "NONE"}, **arguments)
    assert (error["code"], error["message"]) == ("not_found", "No CustomersV3 record has this key.")


@pytest.mark.parametrize(
    ("tool", "arguments", "hint"),
    [
        ("call_action", {"action": "GetApplicationVersion"}, "give entity_name"),
        ("call_json_service", {"service_group": "UserSessionServices"}, "Leave names out from the right"),
        (
            "call_json_service",
            {"service_group": "ContosoServices", "service_name": "None", "operation_name": "Such"},
            "Leave names out from the right",
        ),
    ],
)
def test_an_operation_that_is_none_is_answered_with_where_to_look(
    writer: Served, tool: str, arguments: dict[str, Any], hint: str
) -> None:
    error = writer.refuse(tool, **arguments)
    assert error["code"] == "not_found"
    assert hint in error["hint"]


def test_where_fo_refuses_the_reader_is_led_to_its_own_words(writer: Served) -> None:
    error = writer.refuse("create_entity_record", **CUSTOMERS, data={"OrganizationName": "Acme"})
    assert error["code"] == "bad_request"
    assert "d365_messages" in error["hint"] and error["d365_messages"]


def test_a_tool_that_is_none_is_answered_with_the_close_one(reader: Served) -> None:
    call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "d365fo_query_entity"}}
    error = httpx.post(reader.url, json=call, trust_env=False).json()["error"]
    assert error["code"] == -32602
    assert error["message"].startswith('No tool "d365fo_query_entity". Did you mean d365fo_query_entities')


def test_a_label_that_is_none_is_said_with_how_ids_look(reader: Served) -> None:
    found = reader.call("get_labels", label_ids=["SYS1", "@SYS1"])
    assert list(found["labels"]) == ["@SYS1"]
    assert "ids are like @SYS1" in found["failures"]["SYS1"]


def test_a_search_that_finds_nothing_says_what_else_to_try(reader: Served) -> None:
    assert any("try other" in note for note in reader.call("search_enumerations", query="qqqqzzzz")["notes"])
    assert any("d365fo_get_entity_schema" in note for note in reader.call("search_actions", query="version")["notes"])


@pytest.mark.parametrize("named", [{"company": "usfm"}, {"filter": "dataAreaId eq 'usfm'"}])
def test_a_company_that_is_none_is_said_where_nothing_was_found(reader: Served, named: dict[str, str]) -> None:
    result = reader.call("query_entities", **CUSTOMERS, select=["CustomerAccount"], **named)
    assert result["records"] == []
    assert any("F&O has no company usfm: did you mean usmf" in note for note in result["notes"])


def test_a_company_that_is_none_is_said_by_a_statement(reader: Served) -> None:
    result = reader.call("query_sql", sql="SELECT count(*) n FROM CustomersV3", company="usfm")
    assert any("F&O has no company usfm" in note for note in result["notes"])


def test_an_empty_company_is_no_mistake(reader: Served) -> None:
    result = reader.call("query_entities", **CUSTOMERS, select=["CustomerAccount"], company="dat")
    assert (result["records"], result.get("notes", [])) == ([], [])


def test_who_may_not_list_companies_still_gets_the_empty_answer(reader: Served, simulator: Simulator) -> None:
    simulator.fault("/data/LegalEntities", status=403, times=9)
    result = reader.call("query_entities", **CUSTOMERS, select=["CustomerAccount"], company="usfm")
    assert (result["records"], result.get("notes", [])) == ([], [])


def test_an_unknown_part_of_an_operation_is_named(writer: Served) -> None:
    message = writer.refuse("batch", operations=[{"kind": "create", **CUSTOMERS}])["message"]
    assert 'The argument "operations.0.operation" is required. No argument "operations.0.kind".' in message


def test_a_statement_that_cannot_be_read_is_said_where_and_without_the_parsers_insides(reader: Served) -> None:
    message = reader.refuse("query_sql", sql="SELEC * FROM CustomersV3")["message"]
    assert "at FROM in line 1, column 12" in message
    assert "<" not in message


MANY = [f"Organization{'x' * (number % 7)}Name{number}" for number in range(400)]


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("query_entities", {"select": MANY}),
        ("get_entity_record", {"key": {"dataAreaId": "usmf", "CustomerAccount": "US-001"}, "select": MANY}),
        ("create_entity_record", {"data": dict.fromkeys(MANY, "x")}),
        ("batch", {"operations": [{"operation": "create", **CUSTOMERS, "data": dict.fromkeys(MANY, "x")}]}),
    ],
)
def test_many_unknown_names_are_answered_at_once(writer: Served, tool: str, arguments: dict[str, Any]) -> None:
    """Looking for close names among 309 takes milliseconds for each."""
    named = {} if tool == "batch" else CUSTOMERS
    writer.call("query_entities", **CUSTOMERS, top=1)
    began = time.monotonic()
    message = writer.refuse(tool, **named, **arguments)["message"]
    assert time.monotonic() - began < 2.5
    assert message.count("Did you mean OrganizationName") == 5
    assert "395 other names" in message
    assert len(message) < 1_500
