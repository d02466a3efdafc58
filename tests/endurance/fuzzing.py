"""Sends JSON-RPC of every oddness to a whole running server, and judges each answer and what is left of it.

    python -m tests.endurance.fuzzing                     10,000 requests, other ones each time
    python -m tests.endurance.fuzzing --requests 500
    python -m tests.endurance.fuzzing --seed 7            the same requests again

Every request gets one well-formed answer in time, none of them the server's own failure; memory, tasks, permits and
sockets are as before. The first request that shows otherwise is made as small as it can be, and shown.
"""

from __future__ import annotations

import argparse
import json
import re
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx
import psutil
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from d365mcp.server.messages import ARRAY_VERSION
from d365mcp.tools import ALL_TOOLS
from d365mcp.tools.tool import Tool
from tests.served import Served, serving
from tests.server.mutations import META, METHODS, VERSIONS
from tests.simulated import Simulator

Json = Any
Case = tuple[bytes, dict[str, str]]

# An answer that takes longer hangs. The simulated F&O needs milliseconds.
SECONDS = 20.0
STATUSES = {200, 202, 400, 403, 404, 406, 413, 415, 421}
FAILURES = (-32603, "internal")
# What a fresh server still loads and keeps, and what a busy one rounds up to.
WARM_UP = 300
MEGABYTES = 40.0

ODD_TEXTS = (
    "", " ", "\x00", "\ud800", "\u202e", "\u2028", "'", "''", '"', "%", "%2e%2e", "../..", "$filter=", "a" * 5000, "*",
    "(", ")", "{{7*7}}", "${x}", "<a>", "1e999", "NaN", "null", "usmf'", "'; DROP TABLE x --", "\N{PILE OF POO}",
)  # fmt: skip
TEXTS = st.sampled_from(ODD_TEXTS) | st.text(max_size=20)
NUMBERS = (
    st.sampled_from([0, -1, 1, 2**31, 2**63, -(2**63) - 1, 10**300, 1e308, -0.0, 1.5]) | st.integers() | st.floats()
)
SCALARS = st.none() | st.booleans() | NUMBERS | TEXTS
ANYTHING: SearchStrategy[Json] = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4), max_leaves=8
)

ENTITIES = ("CustomersV3", "customersv3", "CustomerV3", "SalesOrderHeadersV2", "VendorsV2", "LegalEntities", "NoSuch")
PROPERTIES = ("dataAreaId", "CustomerAccount", "OrganizationName", "CreditLimit", "CustomerGroupId", "NoSuch")
FRAGMENTS = (
    "CustomerAccount", "OrganizationName", "CreditLimit", "dataAreaId", "eq", "ne", "gt", "and", "or", "not", "in", "has",
    "(", ")", ",", "'usmf'", "'US-001'", "'*a'", "''", "1", "-1.5e3", "null", "true", "2026-07-14", "2026-07-14T08:30:00Z",
    "contains(OrganizationName,'a')", "startswith(", "NoYes'Yes'", "add", "/", "$it", "any(",
)  # fmt: skip
WORDS = (
    "SELECT", "*", "count(*)", "FROM", "CustomersV3", "CustomersV3 c", "JOIN VendorsV2 v ON", "WHERE", "GROUP BY ALL",
    "ORDER BY 1", "LIMIT 5", "CustomerAccount", "CreditLimit", "=", ">", "'usmf'", "1", "AND", "(", ")", ",", "UNION",
    "read_csv('/etc/passwd')", ";", "WITH x AS", "sum(CreditLimit) OVER ()", "DATE '2026-07-14'", "CASE WHEN", "/*", "--",
)  # fmt: skip
KEYS = st.dictionaries(st.sampled_from(PROPERTIES), SCALARS | st.sampled_from(["usmf", "US-001", "USRT"]), max_size=4)
# What a parameter of this name is mostly given; now and then each gets anything at all.
LIKELY: dict[str, SearchStrategy[Json]] = {
    "entity_name": st.sampled_from(ENTITIES),
    "filter": st.lists(st.sampled_from(FRAGMENTS) | TEXTS, max_size=8).map(" ".join),
    "sql": st.lists(st.sampled_from(WORDS) | TEXTS, max_size=12).map(lambda words: " ".join(["SELECT", *words])),
    "select": st.lists(st.sampled_from(PROPERTIES) | TEXTS, max_size=4),
    "order_by": st.lists(st.sampled_from([*PROPERTIES, "CreditLimit desc"]) | TEXTS, max_size=3),
    "company": st.sampled_from(["usmf", "USRT", "nope", ""]),
    "key": KEYS,
    "data": KEYS,
    "query": st.sampled_from(["customer", "sales order lines", "NoYes"]) | TEXTS,
    "enumeration_name": st.sampled_from(["NoYes", "CustVendorBlocked"]) | TEXTS,
    "action": st.sampled_from(["CustomersV3.Foo", "Foo"]) | TEXTS,
    "language": st.sampled_from(["en-US", "de"]) | TEXTS,
}


def schema_values(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> SearchStrategy[Json]:
    """Return values a schema describes, as far as its types go."""
    if "$ref" in schema:
        return schema_values(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if schema.get("type") == "array":
        return st.lists(schema_values(schema.get("items", {}), definitions), max_size=4)
    if "properties" in schema:
        return st.fixed_dictionaries({}, optional=parameters(schema, definitions))
    kinds: dict[str, SearchStrategy[Json]] = {
        "string": TEXTS,
        "integer": st.integers(-2, 1000),
        "boolean": st.booleans(),
    }
    return kinds.get(schema.get("type", ""), ANYTHING)


def parameters(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> dict[str, SearchStrategy[Json]]:
    """Return what each property of an object is given: mostly what it wants, now and then anything."""
    return {
        name: mostly(LIKELY[name] if name in LIKELY else schema_values(part, definitions))
        for name, part in schema["properties"].items()
    }


def mostly(likely: SearchStrategy[Json]) -> SearchStrategy[Json]:
    # Not 0, which hypothesis is fond of.
    return st.integers(0, 15).flatmap(lambda chance: ANYTHING if chance == 11 else likely)


def arguments(tool: Tool) -> SearchStrategy[Json]:
    schema = tool.input_schema
    known = parameters(schema, schema.get("$defs", {}))
    needed = {name: known[name] for name in schema.get("required", ())}
    optional = {name: each for name, each in known.items() if name not in needed}
    return st.fixed_dictionaries(needed, optional=optional)


def call(tool: Tool) -> SearchStrategy[dict[str, Json]]:
    return st.fixed_dictionaries({"name": st.just(tool.name), "arguments": mostly(arguments(tool))})


CALLS = st.one_of(*map(call, ALL_TOOLS)).map(lambda params: ("tools/call", params))
OTHERS = st.tuples(
    st.sampled_from([*METHODS, "tools/call", "prompts/get", "resources/read", "completion/complete"]) | TEXTS,
    st.dictionaries(
        st.sampled_from(["name", "arguments", "uri", "cursor", "ref", "argument"]) | TEXTS, ANYTHING, max_size=4
    ),
)
HEADERS = st.dictionaries(
    st.sampled_from(
        ["mcp-protocol-version", "mcp-method", "mcp-name", "x-mcp-toolsets", "x-mcp-readonly", "accept", "origin",
         "content-type", "mcp-session-id", "traceparent", "user-agent", "mcp-param-filter"]
    ),
    st.sampled_from([*VERSIONS, "data", "true", "*/*", "http://[", "null", "tools/list", "=?base64?eA==?="])
    | st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=20),
    max_size=2,
)  # fmt: skip


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Return a request: of either era, in most of its parts as it should be."""
    method, params = draw(OTHERS if draw(st.integers(0, 3)) == 2 else CALLS)
    version = draw(st.sampled_from(VERSIONS))
    headers = {"mcp-protocol-version": version}
    if version == "2026-07-28":
        headers["mcp-method"] = method
        if isinstance(params.get("name"), str):
            headers["mcp-name"] = params["name"]
        meta = {f"{META}protocolVersion": version, f"{META}clientCapabilities": {}}
        params = {**params, "_meta": draw(mostly(st.just(meta)))}
    message = {
        "jsonrpc": "2.0",
        "id": draw(mostly(st.just(7))),
        "method": method,
        "params": draw(mostly(st.just(params))),
    }
    sent = [message, draw(ANYTHING)] if version == ARRAY_VERSION and draw(st.integers(0, 7)) == 5 else message
    body = json.dumps(draw(mostly(st.just(sent)))).encode()
    if draw(st.integers(0, 15)) == 11:
        body = torn(body, draw(st.integers(0, len(body))), draw(st.integers(0, 9)), draw(st.binary(max_size=4)))
    return body, headers | (draw(HEADERS) if draw(st.integers(0, 3)) == 2 else {})


def torn(body: bytes, place: int, length: int, other: bytes) -> bytes:
    return body[:place] + other + body[place + length :]


@dataclass
class Judge:
    """Sends each request, and raises AssertionError for an answer that should not be."""

    http: httpx.Client
    counts: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0

    def __call__(self, case: Case) -> None:
        body, headers = case
        sent = {"content-type": "application/json", "accept": "application/json, text/event-stream", **headers}
        raw = [(name.encode(), sendable(value)) for name, value in sent.items()]
        began = time.monotonic()
        reply = self.http.post("/mcp", content=body, headers=raw)
        self.slowest = max(self.slowest, time.monotonic() - began)
        self.counts[f"{reply.status_code} {kind_of(reply)}"] += 1
        assert reply.status_code in STATUSES, reply.text
        assert reply.status_code == 202 or not failed(reply), reply.text


def sendable(value: str) -> bytes:
    """Return a header's value without what the web server itself refuses."""
    return re.sub(r"[\x00-\x1f\x7f]", "", value).encode("latin-1", "ignore").strip()


def answers(reply: httpx.Response) -> list[dict[str, Json]]:
    """Return the JSON-RPC answer, behind the notifications where it is a stream, or all of those to an array."""
    text = reply.text
    if reply.headers["content-type"].startswith("text/event-stream"):
        text = [line for line in text.split("\n") if line.startswith("data: ")][-1].removeprefix("data: ")
    body = json.loads(text)
    found = body if isinstance(body, list) else [body]
    assert found
    for each in found:
        assert each["jsonrpc"] == "2.0"
        assert ("result" in each) != ("error" in each)
    return found


def code_of(found: Mapping[str, Json]) -> Any:
    """Return the code of a failure: JSON-RPC's or the tool's own."""
    if "error" in found:
        assert found["error"]["message"]
        return found["error"]["code"]
    if not found["result"].get("isError"):
        return None
    return json.loads(found["result"]["content"][0]["text"])["code"]


def kind_of(reply: httpx.Response) -> str:
    return (
        "silence" if reply.status_code == 202 else ", ".join(str(code_of(each) or "result") for each in answers(reply))
    )


def failed(reply: httpx.Response) -> bool:
    return any(code_of(each) in FAILURES for each in answers(reply))


@dataclass(frozen=True)
class Left:
    """What a server holds."""

    megabytes: float
    tasks: int
    in_flight: int
    sockets: int


def left(served: Served) -> Left:
    instance = served.call("get_server_performance")["this_instance"]
    process = psutil.Process(served.host.pid)
    sockets = len(process.net_connections("tcp")) - instance["connection_pool"]["idle"]
    return Left(process.memory_info().rss / 1e6, instance["tasks"], instance["in_flight"], sockets)


def attack(simulator: Simulator, requests: int, number: int) -> tuple[Judge, Left, Left]:
    """Send so many requests to a server with every tool on offer. Raises AssertionError where it does not hold."""
    with (
        tempfile.TemporaryDirectory() as folder,
        serving(
            simulator, MCP_READ_ONLY="false", MCP_TOOLSETS="all", D365FO_ALLOWED_ACTIONS="*", TMPDIR=folder
        ) as served,
        httpx.Client(base_url=served.base_url, timeout=SECONDS, trust_env=False) as http,
    ):
        served.call("query_sql", sql="SELECT count(*) AS n FROM CustomersV3")  # what is imported late is there
        judge = Judge(http)
        warm_up = min(WARM_UP, requests // 2)
        run(judge, warm_up, number)
        before = left(served)
        run(judge, requests - warm_up, number + 1)
        after = left(served)
        assert "Traceback" not in served.host.log, served.host.log
    assert after.in_flight == 1, "a permit was not given back"  # the asking itself has one
    assert after.tasks <= before.tasks, "a task was left behind"
    assert after.sockets <= before.sockets + 2, "a socket was left behind"
    assert after.megabytes - before.megabytes < MEGABYTES, "memory has grown"
    return judge, before, after


def run(judge: Judge, requests: int, number: int) -> None:
    """Let hypothesis think of so many requests; a failing one is made small."""
    checked = settings(
        max_examples=requests,
        deadline=None,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )(seed(number)(given(cases())(lambda case: judge(case))))
    checked()


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.endurance.fuzzing",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 10**6, help="the same number, the same requests")
    options = parser.parse_args()
    print(f"{options.requests} requests, seed {options.seed}", flush=True)
    simulator = Simulator.start()
    began = time.monotonic()
    try:
        judge, before, after = attack(simulator, options.requests, options.seed)
    finally:
        simulator.stop()
    took = time.monotonic() - began
    print(f"{sum(judge.counts.values())} answers in {took:.0f} s, the slowest after {judge.slowest * 1000:.0f} ms")
    for kind, count in judge.counts.most_common():
        print(f"{count:7}  {kind}")
    print(f"before: {before}\nafter:  {after}")


if __name__ == "__main__":
    main()
