"""The performance of all instances, read back from Log Analytics, counted since the last reset. Knows no tool.

Nothing is remembered here: every instance gives the same answer, and a reset by one counts for all at once.
"""

import asyncio
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from d365mcp.errors import InvalidArgument, TelemetryError
from d365mcp.events import Listener, StatisticsReset, Trace
from d365mcp.settings import Settings
from d365mcp.storage import STATE, Storage
from d365mcp.telemetry.envelopes import role
from d365mcp.telemetry.log_analytics import LogAnalytics
from d365mcp.telemetry.queries import statistics_query
from d365mcp.wire import read_json, write_json

MARKER = "statistics-reset.json"
_LONGEST_WINDOW = timedelta(days=30)
Verdict = Literal["healthy", "slow", "failing", "idle"]


@dataclass(frozen=True)
class Numbers:
    """The calls of one tool, of all, or of one step of time."""

    calls: int
    errors: int
    mistakes: int  # those of the errors that are the callers' own
    p50_ms: float
    p90_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float
    total_ms: float
    d365_ms: float
    d365_calls: int
    retries: int
    throttles: int

    @property
    def error_rate(self) -> float:
        """Return the share of calls that failed, callers' own mistakes left aside."""
        return (self.errors - self.mistakes) / self.calls

    @property
    def avg_ms(self) -> float:
        return self.total_ms / self.calls

    @property
    def d365_share(self) -> float:
        """Return which part of the time was spent waiting for F&O."""
        return self.d365_ms / self.total_ms if self.total_ms else 0.0


@dataclass(frozen=True)
class StatisticsReport:
    """What Log Analytics knows. `data_through` is the end of the newest request it has: telemetry arrives late."""

    since: datetime
    reset_at: datetime | None
    data_through: datetime | None
    instances: int
    cold_starts: int
    total: Numbers | None
    tools: Mapping[str, Numbers]
    series: Sequence[tuple[datetime, Numbers]]

    def verdict(self, settings: Settings) -> Verdict:
        """Compare with the operator's thresholds: failing weighs more than slow."""
        if self.total is None:
            return "idle"
        if self.total.error_rate > settings.error_rate_threshold:
            return "failing"
        return "slow" if self.total.p95_ms > settings.p95_threshold_ms else "healthy"


class Statistics:
    """Asks the workspace, counting from the marker of the last reset, which is a shared blob.

    `storage` returns the storage that all instances share; it blocks, and so is called in a thread.
    """

    def __init__(
        self, settings: Settings, workspace: LogAnalytics, storage: Callable[[], Storage], listener: Listener
    ) -> None:
        self.settings = settings
        self.workspace = workspace
        self.storage = storage
        self.listener = listener

    async def read(self, window: str, tool: str | None = None, *, series: bool = False) -> StatisticsReport:
        """Return the statistics of a window such as 1h, ending now. Raises TelemetryError, StorageError."""
        length = parse_window(window)
        reset_at = await self.reset_at()
        since = datetime.now(UTC) - length
        since = max(since, reset_at) if reset_at else since
        query = statistics_query(role(self.settings), since, length, tool, series=series)
        return _report_of(await self.workspace.rows(query), since, reset_at)

    async def reset(self, caller: str, trace: Trace) -> datetime:
        """Let the statistics of all instances count from now on. Raises StorageError."""
        now = datetime.now(UTC)
        marker = write_json({"reset_at": now.isoformat(), "by": caller})
        await asyncio.to_thread(lambda: self.storage().put(STATE, MARKER, marker))
        self.listener(StatisticsReset(caller, now.timestamp(), trace))
        return now

    async def reset_at(self) -> datetime | None:
        blob = await asyncio.to_thread(lambda: self.storage().get(STATE, MARKER))
        if blob is None:
            return None
        try:
            return datetime.fromisoformat(read_json(blob.data)["reset_at"]).astimezone(UTC)
        except (ValueError, LookupError, TypeError) as exc:
            raise TelemetryError(
                f"The marker of the last reset ({MARKER}) is damaged.", hint="Reset the statistics once more."
            ) from exc


def parse_window(window: str) -> timedelta:
    """Read 30m, 1h, 7d."""
    found = re.fullmatch(r"([1-9]\d{0,4})([mhd])", window)
    length = timedelta(**{{"m": "minutes", "h": "hours", "d": "days"}[found[2]]: int(found[1])}) if found else None
    if length is None or length > _LONGEST_WINDOW:
        raise InvalidArgument('The argument "window" is a number with m, h or d, such as 30m, 1h or 7d, at most 30d.')
    return length


def _report_of(rows: Sequence[Mapping[str, Any]], since: datetime, reset_at: datetime | None) -> StatisticsReport:
    """Put the rows of `statistics_query` in their places."""
    parts: dict[str, list[Mapping[str, Any]]] = {"fleet": [], "total": [], "tool": [], "step": []}
    for row in rows:
        parts[row["part"]].append(row)
    fleet = parts["fleet"][0]
    totals = [_numbers(row) for row in parts["total"] if row["calls"]]
    tools = sorted(parts["tool"], key=lambda row: (-row["calls"], row["name"]))
    return StatisticsReport(
        since=since,
        reset_at=reset_at,
        data_through=_instant(fleet["newest"]) if fleet["newest"] else None,
        instances=fleet["instances"],
        cold_starts=fleet["cold_starts"] or 0,
        total=totals[0] if totals else None,
        tools={row["name"]: _numbers(row) for row in tools},
        series=[(_instant(row["at"]), _numbers(row)) for row in sorted(parts["step"], key=lambda row: str(row["at"]))],
    )


def _numbers(row: Mapping[str, Any]) -> Numbers:
    return Numbers(**{name: row[name] or 0 for name in Numbers.__dataclass_fields__})


def _instant(text: str) -> datetime:
    """Return the instant that Log Analytics writes so: seven digits after the second, which Python cuts to six."""
    return datetime.fromisoformat(text).astimezone(UTC)
