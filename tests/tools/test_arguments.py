"""Arguments as clients really write them: each is read as what was meant, and none makes a write reach further.

Who writes what is in the tables: https://github.com/anthropics/claude-code/issues/22394 (lists and objects as JSON text),
https://github.com/n8n-io/n8n/issues/17264 (null for what was left out), and so on beside each.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from d365mcp.errors import InvalidArgument
from d365mcp.tools import ALL_TOOLS
from d365mcp.tools.arguments import ADDED, DECISIVE, RENAMED
from d365mcp.tools.tool import Tool
from tests.served import Served

pytestmark = pytest.mark.alike

Arguments = dict[str, Any]
Schema = Mapping[str, Any]

TOOLS = {tool.name.removeprefix("d365fo_"): tool for tool in ALL_TOOLS}
CUSTOMERS = {"entity_name": "CustomersV3"}
KEY = {"dataAreaId": "usmf", "CustomerAccount": "US-001"}
DATA = {"NameAlias": "", "CreditLimit": 5, "OnHoldStatus": "null"}
ETAG = 'W/"1"'
NAMES = ["CustomerAccount", "OrganizationName"]

# Each tool with all it takes, as its schema says.
FULL: dict[str, Arguments] = {
    "search_entities": {
        "query": "customer",
        "category": "Master",
        "read_only": False,
        "include_non_public": True,
        "limit": 3,
    },
    "get_entity_schema": {**CUSTOMERS, "columns": ["credit", "hold"], "detail": "full", "language": "de"},
    "search_enumerations": {"query": "status", "limit": 3},
    "search_actions": {"query": "version", "limit": 3},
    "get_enumeration_fields": {"enumeration_name": "NoYes", "language": "de"},
    "get_labels": {"label_ids": ["@SYS1", "@SYS2"], "language": "de"},
    "query_entities": {
        **CUSTOMERS,
        "select": NAMES,
        "filter": "CreditLimit gt 5",
        "order_by": ["CreditLimit desc", "CustomerAccount"],
        "top": 2,
        "skip": 1,
        "count": True,
        "expand": ["CustomerGroup", "PaymentTermsEntity($select=Name,Description)"],
        "company": "usmf",
        "cross_company": False,
        "cursor": "x",
        "rows_as": "csv",
        "include_etag": True,
    },
    "get_entity_record": {
        **CUSTOMERS,
        "key": KEY,
        "select": NAMES,
        "expand": ["CustomerGroup"],
        "company": "usmf",
        "include_etag": True,
        "include_empty": True,
    },
    "query_sql": {
        "sql": "SELECT 1",
        "company": "usmf",
        "cross_company": False,
        "max_rows_scanned": 9,
        "allow_partial": True,
        "rows_as": "csv",
    },
    "create_entity_record": {
        **CUSTOMERS,
        "data": DATA,
        "company": "usmf",
        "return_record": True,
        "include_empty": True,
        "dry_run": True,
    },
    "update_entity_record": {
        **CUSTOMERS,
        "key": KEY,
        "data": DATA,
        "company": "usmf",
        "if_match": ETAG,
        "return_record": True,
        "include_empty": True,
        "dry_run": True,
    },
    "delete_entity_record": {
        **CUSTOMERS,
        "key": KEY,
        "company": "usmf",
        "confirm": True,
        "if_match": ETAG,
        "dry_run": True,
    },
    "batch": {
        "operations": [
            {"operation": "create", **CUSTOMERS, "data": DATA},
            {"operation": "update", **CUSTOMERS, "key": KEY, "data": DATA, "if_match": ETAG},
        ],
        "atomic": False,
        "confirm": True,
        "dry_run": True,
    },
    "call_action": {"action": "Post", **CUSTOMERS, "key": KEY, "parameters": {"_a": ""}, "dry_run": True},
    "get_environment_info": {"companies": ["usmf", "Germany"]},
    "get_server_config": {},
    "get_server_performance": {"window": "2h", "tool": "d365fo_batch", "series": True},
    "reset_performance_stats": {},
    "call_json_service": {
        "service_group": "A",
        "service_name": "B",
        "operation_name": "C",
        "parameters": {"_a": None},
    },
    "download_document": {
        "document": "custom",
        "number": "1",
        "company": "usmf",
        "controller": "C",
        "table": "T",
        "field": "F",
    },
    "sync_metadata": {},
    "get_sync_progress": {},
}


def disguises(value: Any, schema: Schema) -> Iterator[Any]:
    """Yield other ways in which clients write a value."""
    kind = schema["type"]
    if kind == "array":
        yield from disguised_lists(value, schema["items"])
    elif kind == "object":
        yield from (json.dumps(value), json.dumps(value, indent=1))
        if schema.get("properties"):
            yield from ({**value, name: other} for name, other in members(value, schema))
    elif kind == "boolean":
        yield from (str(value), str(value).lower())  # Python's way, JSON's way
    elif kind == "integer":
        yield from (float(value), str(value), f" {value}.0 ")
    elif "enum" in schema:
        yield from (value.upper(), value.lower(), f" {value} ")


def disguised_lists(value: list[Any], items: Schema) -> Iterator[Any]:
    yield from (json.dumps(value), f" {json.dumps(value, indent=1)} ")
    if items["type"] == "string":
        # Models; and Claude Code's sub-agents write a list of one as its only element.
        yield from (",".join(value), " , ".join(value), [", ".join(value)], [*value, None], ["", *value])
        # Python's way, nobody's way, CSV's way.
        yield from (str(value), f"[{', '.join(value)}]", '"' + '","'.join(value) + '"', "'" + "', '".join(value) + "'")
        return
    yield [json.dumps(each) for each in value]
    yield json.dumps([json.dumps(each) for each in value])
    for place, each in enumerate(value):
        yield from ([*value[:place], other, *value[place + 1 :]] for other in disguises(each, items))


def members(value: Arguments, schema: Schema) -> Iterator[tuple[str, Any]]:
    for name, each in value.items():
        yield from ((name, other) for other in disguises(each, schema["properties"][name]))


def nothings(schema: Schema) -> Iterator[Any]:
    """Yield what clients write for an argument that was left out."""
    yield from (None, "", " ", "null")
    if schema.get("minimum", 0) > 0:
        yield from (0, 0.0, "0", "0.0")


PARAMETERS = [
    pytest.param(tool, name, id=f"{short} {name}")
    for short, tool in TOOLS.items()
    for name in tool.input_schema["properties"]
]
OPTIONAL = [each for each in PARAMETERS if each.values[1] not in each.values[0].input_schema.get("required", ())]


def full(tool: Tool) -> Arguments:
    return FULL[tool.name.removeprefix("d365fo_")]


def test_the_table_has_every_tool_with_all_its_parameters() -> None:
    assert {short: set(tool.input_schema["properties"]) for short, tool in TOOLS.items()} == {
        short: set(arguments) for short, arguments in FULL.items()
    }


@pytest.mark.parametrize(("tool", "name"), PARAMETERS)
def test_a_value_is_read_in_each_way_that_clients_write_it(tool: Tool, name: str) -> None:
    arguments = full(tool)
    meant = tool.check(arguments)
    for other in disguises(arguments[name], tool.input_schema["properties"][name]):
        assert tool.check({**arguments, name: other}) == meant, other


@pytest.mark.parametrize(("tool", "name"), OPTIONAL)
def test_an_empty_value_is_as_if_it_was_left_out_unless_a_write_depends_on_it(tool: Tool, name: str) -> None:
    arguments = {each: value for each, value in full(tool).items() if each != name}
    meant = tool.check(arguments)
    for nothing in nothings(tool.input_schema["properties"][name]):
        if tool.read_only or name not in DECISIVE:
            assert tool.check({**arguments, name: nothing}) == meant, nothing
        else:
            with pytest.raises(InvalidArgument, match=f'"{name}" is empty'):
                tool.check({**arguments, name: nothing})


@pytest.mark.parametrize("tool", ALL_TOOLS, ids=lambda tool: tool.name)
def test_what_clients_add_is_ignored_and_nothing_else(tool: Tool) -> None:
    parameters = tool.input_schema["properties"]
    added = ADDED - parameters.keys()
    assert tool.check({**full(tool), **dict.fromkeys(added, "x")}) == tool.check(full(tool))
    for name in ({"dryrun", "dryRun", "where", "preview", "tool_call_id"} | RENAMED.keys()) - parameters.keys():
        if RENAMED.get(name) not in parameters:
            with pytest.raises(InvalidArgument, match=f'No argument "{name}"'):
                tool.check({**full(tool), name: True})


@st.composite
def mixtures(draw: st.DrawFn) -> tuple[Tool, Arguments]:
    """Return a tool, and its full arguments, each in any of the ways clients write them."""
    tool = draw(st.sampled_from(ALL_TOOLS))
    written = dict(full(tool))
    for name, schema in tool.input_schema["properties"].items():
        written[name] = draw(st.sampled_from([written[name], *disguises(written[name], schema)]))
    return tool, written


@given(mixtures())
def test_any_mixture_of_habits_is_read(mixture: tuple[Tool, Arguments]) -> None:
    tool, written = mixture
    assert tool.check(written) == tool.check(full(tool))


def test_no_writing_tool_takes_a_list_of_names() -> None:
    """A list is split at commas: of a write, that could name more than was meant."""
    for tool in ALL_TOOLS:
        kinds = [each["items"]["type"] for each in tool.input_schema["properties"].values() if "items" in each]
        assert tool.read_only or "string" not in kinds


CUT = '{"dataAreaId": "usmf", "CustomerAccount": "US-'
TWICE = '{"dataAreaId": "usmf", "dataAreaId": "ussi", "CustomerAccount": "US-001"}'
DEEP = '{"a":' * 101 + "1" + "}" * 101
CROWDED = json.dumps({"a": [1] * 60_000})


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (CUT, 'The argument "key" is text, and no JSON: EOF'),
        (TWICE, 'The argument "key" is text, and no JSON: Detected duplicate key'),
        (DEEP, 'The argument "key" is nested more than 100 levels deep.'),
        ('{"a": NaN}', 'The argument "key" is text, and no JSON'),
        ('{"a": "\\ud800"}', 'The argument "key" is text, and no JSON'),
        ("US-001", 'The argument "key" is wrong'),
        ("[1]", 'The argument "key" is wrong'),
        ("{}", 'The argument "key" is empty'),
    ],
)
def test_a_text_that_is_no_object_is_refused_as_a_body_would_be(text: str, complaint: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        TOOLS["update_entity_record"].check({**CUSTOMERS, "key": text, "data": {"NameAlias": "x"}})
    assert complaint in refused.value.message


def test_texts_together_hold_no_more_than_a_body_may() -> None:
    assert TOOLS["create_entity_record"].check({**CUSTOMERS, "data": CROWDED})
    part = {"operation": "create", **CUSTOMERS, "data": CROWDED}
    with pytest.raises(InvalidArgument, match="too many values for one call"):
        TOOLS["batch"].check({"operations": [part, part, part]})


@pytest.mark.parametrize(
    ("tool", "name", "value"),
    [
        ("query_entities", "top", "2.5"),
        ("query_entities", "top", "1e1"),
        ("query_entities", "top", "٢"),
        ("query_entities", "top", "9" * 5000),
        ("query_entities", "top", True),
        ("query_entities", "count", "yes"),
        ("query_entities", "count", 1),
        ("query_entities", "skip", -1),
        ("query_entities", "rows_as", "xml"),
        ("query_entities", "select", 5),
        ("query_entities", "select", '["CustomerAccount"'),
        ("query_entities", "select", "[{CustomerAccount}]"),
        ("query_entities", "top", 2.5),
        ("query_entities", "top", 1e300),
        ("query_entities", "top", float("nan")),
        ("query_entities", "skip", 10**30),
        ("query_entities", "count", "1"),
        ("create_entity_record", "data", None),
        ("create_entity_record", "data", ""),
        ("batch", "operations", "create"),
        ("batch", "operations", [None]),
        ("batch", "operations", {"operation": "upsert", **CUSTOMERS}),
        ("batch", "operations", {"operation": "update", **CUSTOMERS, "key": KEY, "data": "NameAlias=x"}),
        ("batch", "operations", {"operation": "update", **CUSTOMERS, "key": "US-001", "data": DATA}),
        ("update_entity_record", "key", [KEY]),
        ("update_entity_record", "data", [DATA]),
        ("update_entity_record", "dry_run", "yes"),
        ("update_entity_record", "dry_run", 1),
    ],
)
def test_what_may_mean_something_else_is_refused(tool: str, name: str, value: Any) -> None:
    with pytest.raises(InvalidArgument, match=f'The argument "{name}'):
        TOOLS[tool].check({**FULL[tool], name: value})


@pytest.mark.parametrize(("old", "new"), RENAMED.items())
def test_an_earlier_name_is_read_and_not_listed(old: str, new: str) -> None:
    having = [tool for tool in ALL_TOOLS if new in tool.input_schema["properties"]]
    assert having
    for tool in having:
        value = full(tool)[new]
        arguments = {name: each for name, each in full(tool).items() if name != new}
        assert old not in tool.input_schema["properties"]
        assert tool.check({**arguments, old: value}) == tool.check(full(tool))
        with pytest.raises(InvalidArgument, match=f'"{old}" is called {new} now'):
            tool.check({**full(tool), old: value})
        for nothing in nothings(tool.input_schema["properties"][new]):  # a client that fills in all it knows
            assert tool.check({**full(tool), old: nothing}) == tool.check(full(tool))
            assert tool.check({**full(tool), new: nothing, old: value}) == tool.check(full(tool))
            assert tool.check({**arguments, new: nothing, old: nothing}) == tool.check(arguments)


# From here on through a client, against F&O.

SOME = {**CUSTOMERS, "select": NAMES}
READS: list[tuple[str, Arguments, Arguments]] = [
    ("query_entities", {**SOME, "top": 2}, {**CUSTOMERS, "select": json.dumps(NAMES), "top": "2"}),
    ("query_entities", {**SOME, "top": 2}, {**CUSTOMERS, "select": ",".join(NAMES), "top": 2.0}),
    ("query_entities", SOME, {**SOME, "top": 0, "cursor": "", "filter": "", "company": None, "order_by": "null"}),
    ("query_entities", SOME, {**SOME, **dict.fromkeys(["skip", "count", "cross_company", "expand", "rows_as"])}),
    ("query_entities", {**SOME, "count": True}, {**SOME, "count": "true", "rows_as": "RECORDS"}),
    ("query_entities", {**SOME, "order_by": ["CreditLimit desc"]}, {**SOME, "order_by": "CreditLimit desc"}),
    ("query_entities", {**SOME, "rows_as": "csv"}, {**SOME, "format": "csv"}),
    ("search_entities", {"query": "customer", "category": "Master"}, {"query": "customer", "category": "master"}),
    ("get_entity_schema", {**CUSTOMERS, "columns": "credit"}, {**CUSTOMERS, "properties": "credit", "detail": ""}),
    ("get_entity_record", {**SOME, "key": KEY}, {**SOME, "key": json.dumps(KEY), "expand": "", "company": "null"}),
    ("get_labels", {"label_ids": ["@SYS1", "@SYS7149"]}, {"label_ids": '["@SYS1", "@SYS7149"]', "language": "null"}),
    ("get_enumeration_fields", {"enumeration_name": "NoYes"}, {"enumeration_name": "NoYes", "toolCallId": "call_1"}),
    ("get_enumeration_fields", {"enumeration_name": "NoYes"}, {"enumeration_name": "NoYes", "wait_for_previous": True}),
    ("query_entities", {**SOME, "order_by": ["CreditLimit desc"]}, {**SOME, "order_by": '["CreditLimit desc"]'}),
    ("query_entities", SOME, {**SOME, "top": "", "skip": "", "count": "", "order_by": [], "rows_as": "", "format": ""}),
    ("search_entities", {"query": "customer"}, {"query": "customer", "category": "", "read_only": "", "limit": 0}),
    ("get_server_performance", {}, {"window": None, "series": None, "tool": None}),
    ("get_server_performance", {}, {"window": "", "tool": "", "series": "False"}),
    (
        "get_server_config",
        {},
        {"random_string": "dummy", "sessionId": "1", "action": "sendMessage", "chatInput": "hello"},
    ),
]


@pytest.mark.parametrize(("tool", "meant", "written"), READS)
def test_a_client_with_a_habit_gets_the_same_answer(
    reader: Served, tool: str, meant: Arguments, written: Arguments
) -> None:
    plain, other = reader.call(tool, **meant), reader.call(tool, **written)
    assert lasting(other) == lasting(plain)


def lasting(answer: Arguments) -> Arguments:
    """Return an answer without its cursor, which is sealed anew each time, and without figures of an instance or a clock."""
    return {name: value for name, value in answer.items() if name not in ("next_cursor", "this_instance", "seconds")}


def test_a_key_and_data_as_json_text_write_what_they_say(writer: Served) -> None:
    key, data = json.dumps(KEY), '{"NameAlias": "", "CreditLimit": 7}'
    done = writer.call("update_entity_record", **CUSTOMERS, key=key, data=data, dry_run="false", if_match="*")
    assert (done["outcome"], done["key"]) == ("updated", KEY)
    (sent,) = [each for each in writer.requests() if each["method"] == "PATCH"]
    assert "CustomerAccount='US-001'" in sent["path"]
    record = writer.call("get_entity_record", **CUSTOMERS, key=KEY, select="NameAlias,CreditLimit")["record"]
    assert record == {"NameAlias": "", "CreditLimit": 7}


def test_a_rehearsal_asked_for_as_text_sends_nothing(writer: Served) -> None:
    operations = json.dumps([{"operation": "DELETE", **CUSTOMERS, "key": json.dumps(KEY)}])
    checked = writer.call("batch", operations=operations, confirm="true", dry_run="True")
    assert checked["requests"][0]["method"] == "DELETE"
    assert wrote(writer) == []


def wrote(writer: Served) -> list[str]:
    return [each["method"] for each in writer.requests() if each["method"] != "GET"]


RECKLESS: dict[str, Arguments] = {
    "create_entity_record": {**CUSTOMERS, "data": {"CustomerAccount": "X-1", "OrganizationName": "X"}},
    "update_entity_record": {**CUSTOMERS, "key": KEY, "data": {"NameAlias": "x"}},
    "delete_entity_record": {**CUSTOMERS, "key": KEY, "confirm": True},
    "batch": {"operations": [{"operation": "delete", **CUSTOMERS, "key": KEY}], "confirm": True},
    "call_action": {"action": "GetApplicationVersion", "entity_name": "DataManagementEntities"},
}
EMPTIED = [
    pytest.param(short, name, nothing, id=f"{short} {name} {nothing!r}")
    for short in RECKLESS
    for name in sorted(DECISIVE & TOOLS[short].input_schema["properties"].keys())
    for nothing in (None, "", " ", "null", *([{}, "{}"] if name == "key" else []))
]


@pytest.mark.parametrize(("tool", "name", "nothing"), EMPTIED)
def test_an_emptied_limit_of_a_write_is_refused_and_nothing_is_sent(
    writer: Served, tool: str, name: str, nothing: Any
) -> None:
    error = writer.refuse(tool, **{**RECKLESS[tool], name: nothing})
    assert error["code"] == "invalid_argument"
    assert f'The argument "{name}" is empty, and a write depends on it' in error["message"]
    assert wrote(writer) == []


@pytest.mark.parametrize("nothing", [{}, "{}"])
@pytest.mark.parametrize("operation", ["update", "delete"])
def test_a_key_without_parts_is_refused_in_a_batch_too(writer: Served, nothing: Any, operation: str) -> None:
    part = {"operation": operation, **CUSTOMERS, "key": nothing, "data": {"NameAlias": "x"}}
    assert writer.refuse("batch", operations=[part], confirm=True)["message"] == "Operation 1: key is missing."
    assert wrote(writer) == []


def test_a_key_s_empty_company_is_not_taken_for_the_default_one(writer: Served) -> None:
    for nothing in (None, "", "null"):
        key = {**KEY, "dataAreaId": nothing}
        assert writer.refuse("delete_entity_record", **CUSTOMERS, key=key, confirm=True)["code"] == "not_found"


@pytest.mark.parametrize("arguments", [json.dumps({**CUSTOMERS, "top": "1"}), {**CUSTOMERS, "top": 1}])
@pytest.mark.parametrize("version", ["2025-11-25", None])
def test_all_arguments_together_may_be_json_text(reader: Served, arguments: Any, version: str | None) -> None:
    called = {"name": "d365fo_query_entities", "arguments": arguments}
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": called}
    headers = {"mcp-protocol-version": version} if version else {}
    answer = httpx.post(reader.url, json=message, headers=headers, trust_env=False, timeout=60).json()
    assert len(answer["result"]["structuredContent"]["records"]) == 1


@pytest.mark.parametrize("arguments", [None, "", "{}"])
def test_no_arguments_may_be_written_as_anything_empty(reader: Served, arguments: Any) -> None:
    called = {"name": "d365fo_get_server_config", "arguments": arguments}
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": called}
    answer = httpx.post(reader.url, json=message, trust_env=False, timeout=60).json()
    assert not answer["result"].get("isError")


@pytest.mark.parametrize("name", ["key", "if_match"])
@pytest.mark.parametrize("nothing", [None, "", "null"])
@pytest.mark.parametrize("operation", ["create", "update", "delete"])
def test_an_emptied_limit_of_one_operation_is_refused_and_nothing_is_sent(
    writer: Served, name: str, nothing: Any, operation: str
) -> None:
    part = {"operation": operation, **CUSTOMERS, "key": KEY, "data": {"NameAlias": "x"}, name: nothing}
    error = writer.refuse("batch", operations=[part], confirm=True)
    assert f'The argument "operations.0.{name}" is empty' in error["message"]
    assert wrote(writer) == []


def test_a_misspelt_rehearsal_is_said_and_nothing_is_sent(writer: Served) -> None:
    error = writer.refuse("delete_entity_record", **RECKLESS["delete_entity_record"], dryRun=True)
    assert 'No argument "dryRun". Did you mean dry_run?' in error["message"]
    assert wrote(writer) == []
