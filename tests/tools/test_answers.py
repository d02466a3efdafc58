"""Answers that arrive: what steers comes first, text and structure are one to the byte, and the caller says how much.

Hosts cut long answers and keep the head; two pass on both forms where they differ; all that run on JavaScript round.
"""

import json
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from d365mcp.tools import ALL_TOOLS
from d365mcp.tools.results import compact
from d365mcp.tools.tool import Tool
from tests.served import Served, build_catalog, serving
from tests.simulated import Simulator

pytestmark = pytest.mark.alike

Answer = dict[str, Any]
CUSTOMERS = {"entity_name": "CustomersV3"}
KEY = {"dataAreaId": "usmf", "CustomerAccount": "US-001"}
CHANGE = {"operation": "update", **CUSTOMERS, "key": KEY, "data": {"CreditLimit": 12.5}}

# What a result says of itself, and what it may be long by.
STEERING = {
    "entity_set",
    "company",
    "row_count",
    "count",
    "more",
    "next_cursor",
    "left_out",
    "partial",
    "notes",
    "note",
    "outcome",
    "error",
    "attached",
}
FILLING = {
    "records",
    "csv",
    "record",
    "properties",
    "labels",
    "enumerations",
    "navigation",
    "actions",
    "entities",
    "found",
    "members",
    "parts",
    "requests",
    "request",
    "changes",
    "result",
    "offers",
    "tools",
    "series",
    "this_instance",
    "limits",
    "catalog",
}
# An answer of every tool, and several of those that have several.
CALLS: list[tuple[str, Answer]] = [
    ("search_entities", {"query": "customer"}),
    ("search_entities", {"query": "qqqq"}),
    ("get_entity_schema", CUSTOMERS),
    ("get_entity_schema", {**CUSTOMERS, "detail": "full"}),
    ("get_entity_schema", {**CUSTOMERS, "columns": "qqqq"}),
    ("search_enumerations", {"query": "status"}),
    ("search_actions", {"query": "version"}),
    ("get_enumeration_fields", {"enumeration_name": "NoYes"}),
    ("get_labels", {"label_ids": ["@SYS1"]}),
    ("query_entities", {**CUSTOMERS, "top": 3, "count": True}),
    ("query_entities", {"entity_name": "SalesOrderLinesV3"}),
    ("query_entities", {**CUSTOMERS, "company": "qqqq"}),
    ("query_entities", {**CUSTOMERS, "rows_as": "csv", "filter": "OrganizationName eq 'Contoso*'"}),
    ("get_entity_record", {**CUSTOMERS, "key": KEY}),
    ("get_entity_record", {**CUSTOMERS, "key": {"CustomerAccount": "US-001"}}),
    ("query_sql", {"sql": "SELECT CustomerGroupId, count(*) n, avg(CreditLimit) a FROM CustomersV3 GROUP BY 1"}),
    ("query_sql", {"sql": 'SELECT 1 AS "2", 1.0 AS "1", 1e-7 AS x, 9007199254740993 AS y', "rows_as": "records"}),
    ("create_entity_record", {**CUSTOMERS, "data": {"OrganizationName": "x"}, "company": "usmf", "dry_run": True}),
    ("update_entity_record", {**CUSTOMERS, "key": KEY, "data": {"CreditLimit": 12.5}, "return_record": True}),
    ("delete_entity_record", {**CUSTOMERS, "key": KEY, "dry_run": True}),
    ("batch", {"operations": [CHANGE]}),
    ("batch", {"operations": [CHANGE], "dry_run": True}),
    ("call_action", {"action": "GetApplicationVersion", "entity_name": "DataManagementEntities"}),
    ("get_environment_info", {}),
    ("get_server_config", {}),
    ("get_server_performance", {"series": True}),
    ("call_json_service", {}),
    ("download_document", {"document": "customer_invoice", "number": "CIV-000708", "company": "usmf"}),
    ("sync_metadata", {}),
    ("get_sync_progress", {}),
    ("reset_performance_stats", {}),
]


def test_the_calls_are_of_every_tool() -> None:
    assert {f"d365fo_{name}" for name, _ in CALLS} == {tool.name for tool in ALL_TOOLS}


def ask(served: Served, tool: str, arguments: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> str:
    """Return the body of an answer as it comes over the wire."""
    called = {"name": f"d365fo_{tool}", "arguments": arguments}
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": called}
    reply = httpx.post(served.url, json=message, headers=headers, trust_env=False, timeout=60)
    assert reply.status_code == 200
    return reply.text


def text_of(body: str) -> str:
    return str(json.loads(body)["result"]["content"][0]["text"])


def places(names: list[str], wanted: set[str]) -> list[int]:
    return [place for place, name in enumerate(names) if name in wanted]


@pytest.mark.parametrize("tool", ALL_TOOLS, ids=lambda tool: tool.name)
def test_what_steers_is_declared_before_what_fills(tool: Tool) -> None:
    names = list(tool.members)
    assert max(places(names, STEERING), default=-1) < min(places(names, FILLING), default=99)


@pytest.mark.parametrize(("tool", "arguments"), CALLS)
def test_what_steers_comes_before_what_fills(writer: Served, tool: str, arguments: Answer) -> None:
    body = ask(writer, tool, arguments)
    names = list(json.loads(text_of(body)))
    assert max(places(names, STEERING), default=-1) < min(places(names, FILLING), default=99), names


@pytest.mark.parametrize(("tool", "arguments"), CALLS)
def test_text_and_structure_are_one_to_the_byte(writer: Served, tool: str, arguments: Answer) -> None:
    body = ask(writer, tool, arguments)
    assert f',"structuredContent":{text_of(body)},"isError":false' in body


def test_a_long_answer_says_at_its_beginning_that_it_goes_on(writer: Served) -> None:
    """One host shows a model 350 characters of a long answer, and not a line of its middle."""
    text = text_of(ask(writer, "query_entities", {"entity_name": "SalesOrderLinesV3", "top": 900}))
    assert 15_000 < len(text) <= 20_000
    found = json.loads(text)
    head = text[: text.index('"records"')]
    assert len(head) < 700
    for name in ("row_count", "next_cursor", "left_out"):
        assert f'"{name}":' in head
    assert found["row_count"] + found["left_out"] == 900


# As JavaScript writes it.


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (5.0, "5"),
        (-0.0, "0"),
        (-2.50, "-2.5"),
        (1e16, "10000000000000000"),
        (1e20, "100000000000000000000"),
        (123456789012345680000.0, "123456789012345680000"),
        (1e21, "1e+21"),
        (1.5e300, "1.5e+300"),
        (0.0001, "0.0001"),
        (0.00001, "0.00001"),
        (0.0000015, "0.0000015"),
        (0.000001, "0.000001"),
        (0.00000015, "1.5e-7"),
        (5e-324, "5e-324"),
        (2**53, "9007199254740992"),
        (2**53 + 1, '"9007199254740993"'),
        (-(2**53) - 1, '"-9007199254740993"'),
        (2**63 - 1, '"9223372036854775807"'),
        (True, "true"),
        (["1e5", "a\"1e-7,", {"1e-7": 1e-7}], '["1e5","a\\"1e-7,",{"1e-7":1e-7}]'),
        ({"b": 1, "10": 2, "2": 3, "01": 4, "4294967295": 5}, '{"2":3,"10":2,"b":1,"01":4,"4294967295":5}'),
    ],
)  # fmt: skip
def test_a_value_is_written_as_javascript_does(value: Any, text: str) -> None:
    assert compact(value) == text
    assert compact({"x": [value]}) == f'{{"x":[{text}]}}'


STRINGIFY = """
const lines = require('fs').readFileSync(0, 'utf8').split('\\n').filter(Boolean)
for (const line of lines) {
  const text = JSON.parse(line), again = JSON.stringify(JSON.parse(text))
  if (again !== text) console.log(JSON.stringify([text, again]))
}
"""
TEXTS = st.text(max_size=8) | st.sampled_from(["1e5", "0", "7", "10", "-1", '"', "\\", "\u2028", "\x00", "\x7f", "é"])
NUMBERS = (
    st.floats()
    | st.floats(1e-9, 1e-3)
    | st.floats(1e14, 1e23)
    | st.integers()
    | st.integers(2**53 - 3, 2**53 + 3)
    | st.integers(-1000, 1000).map(float)
)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(TEXTS, inner, max_size=5),
    max_leaves=20,
)


def differing(texts: list[str]) -> list[tuple[str, str]]:
    """Return the texts that JavaScript writes otherwise once it has read them, and how."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not on PATH")
    lines = "\n".join(json.dumps(text) for text in texts)
    done = subprocess.run([node, "-e", STRINGIFY], input=lines, capture_output=True, text=True, timeout=60, check=True)
    return [(text, again) for text, again in map(json.loads, done.stdout.splitlines())]


@pytest.mark.once
def test_javascript_writes_any_answer_as_it_reads_it() -> None:
    written: list[str] = []

    @given(st.lists(VALUES, min_size=10, max_size=20))
    def collect(values: list[Any]) -> None:
        written.extend(map(compact, values))

    collect()
    assert len(written) > 500
    assert differing(written) == []
    assert differing(["5.0", '{"a":1,"1":2}', "9007199254740993"])  # it would tell


def test_javascript_writes_every_tool_s_answer_as_it_reads_it(writer: Served) -> None:
    assert differing([text_of(ask(writer, tool, arguments)) for tool, arguments in CALLS]) == []


BIG = 2**53 + 1


@pytest.mark.parametrize("given_as", [BIG, str(BIG)])
def test_a_whole_number_that_javascript_rounds_is_text_and_is_taken_as_text(writer: Served, given_as: Any) -> None:
    changed = writer.call(
        "update_entity_record", **CUSTOMERS, key=KEY, data={"AddressRecordId": given_as}, return_record=True
    )
    assert changed["record"]["AddressRecordId"] == str(BIG)
    for value in (str(BIG), f"'{BIG}'"):
        asked = {**CUSTOMERS, "select": ["AddressRecordId"], "filter": f"AddressRecordId eq {value}"}
        assert writer.call("query_entities", **asked)["records"] == [{"AddressRecordId": str(BIG)}]
    sent = [each for each in writer.requests() if each["method"] == "PATCH"]
    assert len(sent) == 1


# How much, and in which form.


def lines(served: Served, **headers: str) -> str:
    asked = {"entity_name": "SalesOrderLinesV3", "top": 900}
    return text_of(
        ask(served, "query_entities", asked, {name.replace("_", "-"): value for name, value in headers.items()})
    )


@pytest.mark.parametrize(
    ("asked", "least", "most"),
    [
        ("", 15_000, 20_000),
        ("4000", 2_000, 4_000),
        ("60000", 50_000, 60_000),
        ("1", 1, 2_000),
        ("999999999999", 100_000, 1_000_000),
    ],
)
def test_a_request_says_how_long_its_answers_may_be(writer: Served, asked: str, least: int, most: int) -> None:
    assert least <= len(lines(writer, x_mcp_max_result_chars=asked)) <= most


LONG: list[tuple[str, Answer]] = [
    ("search_entities", {"query": "customer sales order invoice vendor purchase product", "limit": 100}),
    ("get_entity_schema", CUSTOMERS),
    ("get_entity_schema", {**CUSTOMERS, "detail": "full"}),
    ("get_entity_schema", {**CUSTOMERS, "columns": "a"}),
    ("search_enumerations", {"query": "status type", "limit": 50}),
    ("get_labels", {"label_ids": [f"@SYS{number}" for number in range(200)]}),
    ("query_entities", {**CUSTOMERS, "top": 90}),
    ("query_sql", {"sql": "SELECT CustomerAccount, OrganizationName FROM CustomersV3"}),
    ("get_environment_info", {}),
    ("get_server_performance", {"series": True}),
]


@pytest.mark.parametrize(("tool", "arguments"), LONG)
def test_what_reads_keeps_to_the_length_and_says_what_is_left_out(writer: Served, tool: str, arguments: Answer) -> None:
    whole, cut = (text_of(ask(writer, tool, arguments, {"x-mcp-max-result-chars": most})) for most in ("90000", "2000"))
    assert len(cut) <= 2000
    if len(whole) > 2000:
        assert "left out" in cut or "left_out" in cut
    assert json.loads(cut).keys() >= json.loads(whole).keys() - {"notes", "next_cursor", "left_out"}


@pytest.mark.parametrize(
    ("header", "value", "complaint"),
    [
        ("x-mcp-max-result-chars", "many", "x-mcp-max-result-chars must be a whole number."),
        ("x-mcp-max-result-chars", "-5", "x-mcp-max-result-chars must be a whole number."),
        ("x-mcp-max-result-chars", "2e4", "x-mcp-max-result-chars must be a whole number."),
        ("x-mcp-result-form", "xml", "x-mcp-result-form must be both or text."),
        ("x-mcp-timeout", "soon", "x-mcp-timeout must be a number of seconds."),
        ("x-mcp-timeout", "-1", "x-mcp-timeout must be a number of seconds."),
        ("x-mcp-timeout", "inf", "x-mcp-timeout must be a number of seconds."),
    ],
)
def test_a_header_that_says_nothing_is_refused(writer: Served, header: str, value: str, complaint: str) -> None:
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    reply = httpx.post(writer.url, json=message, headers={header: value}, trust_env=False)
    assert reply.json()["error"]["message"] == complaint


PLAIN: list[dict[str, Any]] = [{}, {"_meta": {"progressToken": 1}}]  # the second is answered with the SDK


def tools(served: Served, headers: Mapping[str, str], params: Mapping[str, Any]) -> list[dict[str, Any]]:
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": params}
    reply = httpx.post(served.url, json=message, headers=headers, trust_env=False, timeout=60)
    return list(reply.json()["result"]["tools"])


def structured(served: Served, headers: Mapping[str, str], params: Mapping[str, Any]) -> bool:
    called = {"name": "d365fo_query_entities", "arguments": {**CUSTOMERS, "top": 1}, **params}
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": called}
    headers = {**headers, "accept": "application/json"}
    result = httpx.post(served.url, json=message, headers=headers, trust_env=False, timeout=60).json()["result"]
    assert json.loads(result["content"][0]["text"])["records"]
    return "structuredContent" in result


@pytest.mark.parametrize("params", PLAIN, ids=str)
def test_results_are_text_alone_where_that_is_asked_for(writer: Served, params: dict[str, Any]) -> None:
    """Hosts that show a model both forms show it everything twice."""
    for form in ("text", "Text"):
        assert not any("outputSchema" in tool for tool in tools(writer, {"x-mcp-result-form": form}, params))
        assert not structured(writer, {"x-mcp-result-form": form}, params)
    assert any("outputSchema" in tool for tool in tools(writer, {}, params))
    assert structured(writer, {"x-mcp-result-form": ""}, params)


@pytest.mark.parametrize("params", PLAIN, ids=str)
def test_the_operator_chooses_the_form_and_a_request_another(simulator: Simulator, params: dict[str, Any]) -> None:
    with serving(simulator, MCP_RESULT_FORM="text") as served:
        assert not any("outputSchema" in tool for tool in tools(served, {}, params))
        assert not structured(served, {}, params)
        assert structured(served, {"x-mcp-result-form": "both"}, params)
        assert any("outputSchema" in tool for tool in tools(served, {"x-mcp-result-form": "both"}, params))


def test_the_text_of_a_document_says_what_is_attached(writer: Served) -> None:
    asked = {"document": "customer_invoice", "number": "CIV-000708", "company": "usmf"}
    answer = writer.send("download_document", asked)
    said = json.loads(getattr(answer.content[0], "text", ""))
    size = said["bytes"]
    assert said["attached"] == (
        f"customer_invoice-CIV-000708.pdf, application/pdf, {size:,} bytes, as an embedded resource: "
        "some hosts do not show it"
    )
    assert next(iter(said)) == "attached"
    assert answer.structured_content == said


# Asked beside them: answers that are put together from many parts.
MORE: list[tuple[str, Answer]] = [
    *(
        ("get_entity_schema", {"entity_name": name, "detail": detail})
        for name in (
            "VendorsV2",
            "SalesOrderHeadersV2",
            "SalesOrderLinesV3",
            "PurchaseOrderHeadersV2",
            "ReleasedProductsV2",
        )
        for detail in ("compact", "full")
    ),
    *(
        ("search_entities", {"query": words})
        for words in ("who owes us money", "zebra customers", "bank account", "unpaid")
    ),
    ("get_entity_schema", {**CUSTOMERS, "columns": ["group", "status", "name", "zebra"]}),
    ("query_entities", {**CUSTOMERS, "select": ["CustomerName", "Telephone", "Zebra", "OrganizationName"]}),
    ("query_entities", {**CUSTOMERS, "filter": "Custgroup eq '1' and Zebra eq 2"}),
    ("query_entities", {**CUSTOMERS, "company": "qqqq", "expand": ["Zebra"]}),
    ("create_entity_record", {**CUSTOMERS, "data": {"Zebra": 1, "CustName": "x", "OnHoldStatus": "Perhaps"}}),
    ("batch", {"operations": [CHANGE, {**CHANGE, "data": {"Zebra": 1}}], "atomic": False}),
    ("query_sql", {"sql": "SELECT c.Zebra, g.Name FROM CustomersV3 c JOIN CustomerGroups g USING (dataAreaId)"}),
    (
        "query_sql",
        {"sql": "SELECT count(*) n FROM CustomersV3 c JOIN CustomerGroups g USING (dataAreaId, CustomerGroupId)"},
    ),
]
# These say when, how long or which process.
UNSTEADY = {
    "get_server_performance",
    "get_server_config",
    "sync_metadata",
    "get_sync_progress",
    "reset_performance_stats",
}
UNSTEADY_PARTS = re.compile(
    r'"(?:seconds|rows_scanned)":\{[^}]*\}|"next_cursor":"[^"]*"|"(?:latency_ms|age_seconds)":\d+'
)


@pytest.mark.once
def test_another_process_answers_in_the_same_words(simulator_process: Simulator, tmp_path: Path) -> None:
    """Python orders a set of texts anew in each process."""
    build_catalog(simulator_process, tmp_path)
    calls = [(tool, arguments) for tool, arguments in [*CALLS, *MORE] if tool not in UNSTEADY]

    def answers(seed: str) -> list[str]:
        settings = {"MCP_TOOLSETS": "all", "MCP_READ_ONLY": "false", "TMPDIR": str(tmp_path), "PYTHONHASHSEED": seed}
        simulator_process.reset()
        with serving(simulator_process, **settings) as served:
            return [UNSTEADY_PARTS.sub("", text_of(ask(served, tool, arguments))) for tool, arguments in calls]

    changed = [
        (call, one, other) for call, one, other in zip(calls, answers("1"), answers("2"), strict=True) if one != other
    ]
    assert changed == []
