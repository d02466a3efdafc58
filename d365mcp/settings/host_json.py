"""What host.json lets the Functions host do: the one place where concurrency and timeouts are set."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple


class HostLimits(NamedTuple):
    """What host.json lets the Functions host do: the one place where concurrency and timeouts are set."""

    function_timeout: float | None = 300.0  # seconds; None where the plan allows an unbounded one
    max_concurrent_requests: int | None = None
    max_outstanding_requests: int | None = None
    worker_processes: int = 1  # of one instance


def read_host_limits(folded: Mapping[str, str], host_json: Path | None, problems: list[str]) -> HostLimits:
    """Read host.json with the platform's own overrides (`AzureFunctionsJobHost__extensions__http__…`).

    The variables' names come in lower case: the host reads them whatever theirs is.
    https://learn.microsoft.com/azure/azure-functions/functions-host-json#override-hostjson-values
    """
    path = host_json or Path(__file__).parents[2] / "host.json"
    try:
        tree = json.loads(path.read_text(encoding="utf-8-sig")) if path.exists() else {}
    except ValueError:
        problems.append(f"{path.name} is not valid JSON.")
        tree = {}

    def value(*keys: str) -> Any:
        override = folded.get("__".join(("azurefunctionsjobhost", *keys)).lower())
        if override:
            return override
        node: Any = tree
        for key in keys:
            node = node.get(key) if isinstance(node, dict) else None
        return node

    try:
        return HostLimits(
            function_timeout=_time_span(value("functionTimeout")),
            max_concurrent_requests=_request_limit(value("extensions", "http", "maxConcurrentRequests")),
            max_outstanding_requests=_request_limit(value("extensions", "http", "maxOutstandingRequests")),
            worker_processes=_worker_processes(folded.get("functions_worker_process_count", "")),
        )
    except ValueError as problem:
        problems.append(f"{path.name}: {problem}.")
        return HostLimits()


def _time_span(value: Any) -> float | None:
    """Read a .NET time span, `[d.]hh:mm:ss`; -1 means no limit, nothing means the plan's default of five minutes."""
    if value is None:
        return 300.0
    if str(value) in ("-1", "-00:00:01"):
        return None
    days, _, clock = str(value).rpartition(".") if str(value).count(".") and ":" in str(value) else ("", "", str(value))
    try:
        hours, minutes, secs = (int(part) for part in clock.split(":"))
        total = float(int(days or 0) * 86_400 + hours * 3600 + minutes * 60 + secs)
    except ValueError:
        raise ValueError(f"functionTimeout {value!r} is not hh:mm:ss") from None
    if total <= 0:
        raise ValueError("functionTimeout must be above zero")
    return total


def _request_limit(value: Any) -> int | None:
    """Read a count of requests; -1 means no limit."""
    if value is None or int(value) == -1:
        return None
    if int(value) < 1:
        raise ValueError("a limit of HTTP requests must be at least 1 (or -1 for none)")
    return int(value)


def _worker_processes(value: str) -> int:
    """Read how many processes the host starts in one instance; what it does not understand means one."""
    return max(1, int(value)) if value.isdecimal() else 1
