"""The KQL the statistics are asked with. Performs no I/O.

Every number is weighted with ItemCount, so that it stays true when the component samples. A row's TimeGenerated is the
call's start: what counts is its end, or a call that ran across a reset would be lost.
"""

from datetime import UTC, datetime, timedelta

from d365mcp.wire import json_text

_STEPS = {
    "1m": timedelta(minutes=1),
    "5m": timedelta(minutes=5),
    "15m": timedelta(minutes=15),
    "1h": timedelta(hours=1),
    "6h": timedelta(hours=6),
    "1d": timedelta(days=1),
}
_MOST_POINTS = 30

# No call lasts longer than the ten minutes: the platform answers for us after 230 s. They let Log Analytics find the rows
# by their start, which is indexed.
_ROWS = """
let requests = AppDependencies
| where TimeGenerated > since - 10m and DependencyType == "MCP" and AppRoleName == role
| extend ended = TimeGenerated + DurationMs * 1ms
| where ended >= since;
let every_call = requests
| where tostring(Properties.method) == "tools/call"
| extend d365_ms = todouble(Measurements.d365_ms), d365_calls = tolong(Measurements.d365_calls)
| extend retries = tolong(Measurements.retries), throttles = tolong(Measurements.throttles)
| extend mistaken = tostring(Properties.callers_mistake) == "true";
let calls = every_call
| where tool == "" or Name == tool;
"""

_NUMBERS = """calls = sum(ItemCount), errors = sumif(ItemCount, Success == false),
  mistakes = sumif(ItemCount, mistaken),
  p50_ms = percentilew(DurationMs, ItemCount, 50), p90_ms = percentilew(DurationMs, ItemCount, 90),
  p95_ms = percentilew(DurationMs, ItemCount, 95), p99_ms = percentilew(DurationMs, ItemCount, 99),
  max_ms = max(DurationMs), total_ms = sum(DurationMs * ItemCount), d365_ms = sum(d365_ms * ItemCount),
  d365_calls = sum(d365_calls * ItemCount), retries = sum(retries * ItemCount), throttles = sum(throttles * ItemCount)"""

_PARTS = f"""union
(requests
| summarize instances = dcount(AppRoleInstance), newest = max(ended),
  cold_starts = sumif(ItemCount, tostring(Properties.cold_start) == "true")
| extend part = "fleet"),
(calls
| summarize {_NUMBERS}
| extend part = "total"),
(every_call
| summarize {_NUMBERS} by name = Name
| extend part = "tool")"""

_SERIES = f""",
(calls
| summarize {_NUMBERS} by at = bin(ended, step)
| extend part = "step")"""


def statistics_query(role: str, since: datetime, window: timedelta, tool: str | None, *, series: bool) -> str:
    """Return the query whose rows `part` distinguishes: the fleet, the total, each tool, each step of time."""
    given = [
        f"let since = datetime({since.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%fZ});",
        f"let role = {_literal(role)};",
        f"let tool = {_literal(tool or '')};",
    ]
    if series:
        given.append(f"let step = {_step(window)};")
    return "\n".join(given) + _ROWS + _PARTS + (_SERIES if series else "")


def _literal(text: str) -> str:
    """Return a KQL string literal: JSON's escapes of quotes, backslashes and line ends are KQL's too.

    https://learn.microsoft.com/kusto/query/scalar-data-types/string
    """
    return json_text(text)


def _step(window: timedelta) -> str:
    """Return how far apart the points of a chart are, as a KQL time span."""
    return next((name for name, length in _STEPS.items() if window / length <= _MOST_POINTS), "1d")
