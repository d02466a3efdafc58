"""Callers' own mistakes: the error tree says which they are, and whoever counts failures leaves the same ones aside."""

from __future__ import annotations

import asyncio
import importlib
import pkgutil
from collections.abc import Iterator

import pytest

import d365mcp
from d365mcp.errors import D365McpError
from d365mcp.events import McpRequest
from d365mcp.settings import Settings
from d365mcp.storage import open_storage
from d365mcp.telemetry.exporter import Telemetry
from d365mcp.telemetry.log_analytics import LogAnalytics, identity_token
from d365mcp.telemetry.statistics import Numbers, Statistics
from tests.kusto.language import problems
from tests.simulated import ROOT
from tests.telemetry.conftest import Workspace, call

KQL = ROOT / "infra" / "app"
COUNTING = ("alerts/failing", "workbook/summary", "workbook/tools")
MISTAKES = {
    "InvalidArgument",
    "UnknownName",
    "UnknownColumn",
    "InvalidCursor",
    "NotAllowed",
    "BadRequest",
    "NotFound",
    "Conflict",
}
FAILURES = {
    "D365McpError",
    "SettingsError",
    "DeadlineExceeded",
    "Busy",
    "NotReady",
    "StorageError",
    "ChangedError",
    "ClaimLost",
    "TelemetryError",
    "D365Error",
    "SignInFailed",
    "Unreachable",
    "OutcomeUnknown",
    "InvalidAnswer",
    "Unauthorized",
    "Forbidden",
    "Throttled",
    "Unavailable",
}


def known_errors(kind: type[D365McpError] = D365McpError) -> Iterator[type[D365McpError]]:
    yield kind
    for each in kind.__subclasses__():
        yield from known_errors(each)


@pytest.fixture(scope="module")
def errors() -> dict[str, type[D365McpError]]:
    """All errors there are, in whichever module."""
    for module in pkgutil.walk_packages(d365mcp.__path__, "d365mcp."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    return {kind.__name__: kind for kind in known_errors() if kind.__module__.startswith("d365mcp.")}


def test_every_error_says_whether_its_caller_can_correct_it(errors: dict[str, type[D365McpError]]) -> None:
    of_streams = {name for name in errors if errors[name].__module__ == "d365mcp.metadata.streaming"}
    assert {name for name, kind in errors.items() if kind.callers_mistake} == MISTAKES
    assert errors.keys() - of_streams == MISTAKES | FAILURES, "say of a new error which of the two it is"


def test_errors_of_one_code_are_counted_alike(errors: dict[str, type[D365McpError]]) -> None:
    said: dict[str, set[bool]] = {}
    for kind in errors.values():
        said.setdefault(kind.code, set()).add(kind.callers_mistake)
    assert {code: flags for code, flags in said.items() if len(flags) > 1} == {}


def test_statistics_alert_and_workbook_come_to_the_same_rate(
    identity: None,
    settings: Settings,
    telemetry: Telemetry,
    workspace: Workspace,
    errors: dict[str, type[D365McpError]],
) -> None:
    for kind in errors.values():
        telemetry(failed_call(kind.code, kind.callers_mistake))
    for _ in range(10):
        telemetry(call())
    assert telemetry.flush()

    counted = len(errors) + 10
    failures = len(errors) - len(MISTAKES)
    total = asyncio.run(statistics(settings))
    assert (total.calls, total.errors, total.mistakes) == (counted, len(errors), len(MISTAKES))
    assert total.error_rate == pytest.approx(failures / counted)
    [alert], [summary], [tool] = (workspace.rows(query(name)) for name in COUNTING)
    assert alert["error_percent"] == pytest.approx(100 * total.error_rate)
    assert summary["error_percent"] == round(100 * total.error_rate, 1)
    assert summary["mistakes_percent"] == round(100 * len(MISTAKES) / counted, 1)
    assert (tool["errors"], tool["mistakes"]) == (failures, len(MISTAKES))


def test_no_query_has_a_list_of_codes_of_its_own(errors: dict[str, type[D365McpError]]) -> None:
    texts = {path: path.read_text(encoding="utf-8") for path in [*KQL.glob("*/*.kql"), *ROOT.glob("infra/**/*.md")]}
    codes = {errors[name].code for name in MISTAKES}
    assert {path.name for path, text in texts.items() for code in codes if f'"{code}"' in text} == set()


@pytest.mark.once
def test_microsofts_language_service_finds_nothing_wrong_with_the_queries() -> None:
    assert problems({name: query(name) for name in COUNTING}) == {name: [] for name in COUNTING}


def failed_call(code: str, callers_mistake: bool) -> McpRequest:
    return call(outcome="tool_error", error_code=code, callers_mistake=callers_mistake)


async def statistics(settings: Settings) -> Numbers:
    workspace = LogAnalytics(settings, identity_token(settings))
    try:
        found = await Statistics(settings, workspace, lambda: open_storage(settings), print).read("1h")
    finally:
        await workspace.close()
    assert found.total
    return found.total


def query(name: str) -> str:
    """Return a query with the choices a reader of the workbook makes."""
    text = (KQL / f"{name}.kql").read_text(encoding="utf-8")
    return text.replace("{Server}", "'func-contoso'").replace("{TimeRange:grain}", "5m")
