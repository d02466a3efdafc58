"""Says how fast and how well this server answers: all instances from Application Insights, this one from itself."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field
from typing_extensions import TypedDict

from d365mcp.errors import D365McpError, InvalidArgument
from d365mcp.events import Trace, current_operation
from d365mcp.tools.policy import audited
from d365mcp.tools.tool import ToolContext

if TYPE_CHECKING:
    from d365mcp.telemetry.statistics import Numbers, StatisticsReport

_MOST_SLOW_TOOLS = 3

_Window = Annotated[str, Field(description="How far back, e.g. 30m, 24h, 7d", max_length=100)]
_ToolName = Annotated[str | None, Field(description="One tool only", max_length=100)]


class PerformanceResult(TypedDict, total=False):
    verdict: Literal["healthy", "slow", "failing", "idle", "unknown"]
    window: str
    since: str
    data_through: str
    last_reset: str
    note: str
    statistics_failure: dict[str, Any]
    request_stats: dict[str, Any]
    response_time_percentiles_ms: dict[str, float]
    slowest_tools: list[str]
    tools: list[dict[str, Any]]
    this_instance: dict[str, Any]
    series: list[dict[str, Any]]


class ResetResult(TypedDict):
    performance_stats_reset: bool
    reset_timestamp: str


async def get_server_performance(
    context: ToolContext, window: _Window = "1h", tool: _ToolName = None, series: bool = False
) -> PerformanceResult:
    """Calls, errors and response times of this MCP server, all instances; `series` adds points for a chart."""
    this_instance = _rounded(context.instance().describe())
    try:
        report = await context.statistics().read(window, tool, series=series)
    except InvalidArgument:
        raise
    except D365McpError as problem:
        failure = problem.describe()
        return PerformanceResult(verdict="unknown", statistics_failure=failure, this_instance=this_instance)
    result = PerformanceResult(verdict=report.verdict(context.settings), window=window)
    result.update(fleet(report))
    if report.total:
        result["response_time_percentiles_ms"] = _percentiles(report.total)
    elif tool and report.tools:
        # Calls of no tool of ours stand under the method's name.
        called = ", ".join(name for name in report.tools if name.isidentifier())
        result["note"] = f"No call of {tool} in this window. Called were {called}."
    result["tools"] = [{"tool": name, **_figures(each)} for name, each in report.tools.items()]
    result["slowest_tools"] = _slowest(report.tools)
    if series:
        result["series"] = [{"at": _stamp(at), **_figures(each)} for at, each in report.series]
    result["this_instance"] = this_instance
    return result


async def reset_performance_stats(context: ToolContext) -> ResetResult:
    """Let the statistics of all instances count from now on. Nothing is deleted."""
    operation = current_operation()
    trace = operation.trace if operation else Trace.continued(None)
    async with audited(context, "d365fo_reset_performance_stats", None):
        instant = await context.statistics().reset(context.caller.name, trace)
    return ResetResult(performance_stats_reset=True, reset_timestamp=_stamp(instant))


def fleet(report: "StatisticsReport") -> PerformanceResult:
    """Return what is true of all instances together, with the key names of d365fo-client where it has them."""
    total = report.total
    stats: dict[str, Any] = {"total_requests": 0, "total_errors": 0}
    if total:
        stats = {
            "total_requests": total.calls,
            "total_errors": total.errors,
            "callers_mistakes": total.mistakes,
            "error_rate": round(total.error_rate, 4),
            "avg_response_time_ms": round(total.avg_ms, 1),
            "max_response_time_ms": round(total.max_ms, 1),
            "d365_share": round(total.d365_share, 3),
            "d365_calls": total.d365_calls,
            "retries": total.retries,
            "throttles": total.throttles,
        }
    found = PerformanceResult(
        since=_stamp(report.since),
        request_stats={**stats, "instances": report.instances, "cold_starts": report.cold_starts},
    )
    if report.data_through:
        found["data_through"] = _stamp(report.data_through)
    if report.reset_at:
        found["last_reset"] = _stamp(report.reset_at)
    return found


def _percentiles(each: "Numbers") -> dict[str, float]:
    return _rounded({"p50": each.p50_ms, "p90": each.p90_ms, "p95": each.p95_ms, "p99": each.p99_ms})


def _figures(each: "Numbers") -> dict[str, Any]:
    """Return one row of a table: zeros that say nothing are left out."""
    counted = {name: value for name, value in asdict(each).items() if value and name not in ("total_ms", "d365_ms")}
    return {**_rounded({**counted, "avg_ms": each.avg_ms}), "d365_share": round(each.d365_share, 3)}


def _slowest(tools: "Mapping[str, Numbers]") -> list[str]:
    ordered: Sequence[str] = sorted(tools, key=lambda name: -tools[name].p95_ms)
    return list(ordered[:_MOST_SLOW_TOOLS])


def _rounded(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: round(value, 1) if isinstance(value, float) else value for name, value in values.items()}


def _stamp(instant: datetime) -> str:
    return instant.isoformat(timespec="milliseconds").replace("+00:00", "Z")
