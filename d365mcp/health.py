"""Health as monitoring reads it: alive (constant time, asks nobody), and deep (F&O, token, catalog, telemetry, the last hour, memory).

The shape is that of https://datatracker.ietf.org/doc/html/draft-inadarei-api-health-check
"""

import math
import time
from collections.abc import Mapping
from typing import Any, Literal

import d365mcp
from d365mcp.errors import D365McpError, Throttled
from d365mcp.settings import Settings

Status = Literal["pass", "warn", "fail"]
MEDIA_TYPE = "application/health+json"
DESCRIPTION = "MCP server for Dynamics 365 Finance & Operations"
# A token lasts an hour, a catalog is built every night: older than this, something is stuck.
CATALOG_SECONDS = 3 * 86_400


def alive(settings: Settings, uptime: float) -> tuple[int, dict[str, Any]]:
    """Return that this process answers, and which settings are missing, by name."""
    status: Status = "fail" if settings.problems else "pass"
    return 200, {
        "status": status,
        "version": d365mcp.__version__,
        "description": DESCRIPTION,
        "uptime_seconds": round(uptime, 1),
        "missing_settings": list(settings.missing),
    }


def deep(settings: Settings, checks: Mapping[str, dict[str, Any]]) -> tuple[int, dict[str, Any]]:
    """Return the checks, and 503 where one of them fails, 429 where nothing is the matter but F&O's throttling."""
    found = {check["status"] for check in checks.values()} | ({"fail"} if settings.problems else set())
    status: Status = "fail" if "fail" in found else "warn" if "warn" in found else "pass"
    failing = [check for check in checks.values() if check["status"] == "fail"]
    throttled = failing and all("retryAfter" in check for check in failing)
    body = {
        "status": status,
        "version": d365mcp.__version__,
        "description": DESCRIPTION,
        "notes": [*settings.problems, *settings.notices],
        "checks": {name: [check] for name, check in checks.items()},
    }
    return (200 if status != "fail" else 429 if throttled else 503), body


def headers_of(body: Mapping[str, Any]) -> dict[str, str]:
    """Return the headers that go with deep health: how long to leave F&O alone, where it asks for that."""
    waits = [check[0]["retryAfter"] for check in body["checks"].values() if "retryAfter" in check[0]]
    return {"content-type": MEDIA_TYPE, **({"retry-after": str(max(waits))} if waits else {})}


def check(status: Status, value: Any = None, unit: str | None = None, output: str | None = None) -> dict[str, Any]:
    """Return one check; absent facts are left out."""
    facts = {
        "status": status,
        "observedValue": value,
        "observedUnit": unit,
        "output": output,
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    return {name: each for name, each in facts.items() if each is not None}


def failed(problem: D365McpError, status: Status = "fail") -> dict[str, Any]:
    """Return a check that failed, in the error's words."""
    detail = " ".join(part for part in (problem.message, problem.hint) if part)
    if not isinstance(problem, Throttled):
        return check(status, output=detail)
    wait = math.ceil(problem.retry_after or 0)
    return {**check(status, output=f"{detail} (HTTP 429: not before {wait} s)"), "retryAfter": wait}


def catalog_check(age_seconds: float | None) -> dict[str, Any]:
    """Judge the catalog's age: without one metadata is read live, which works and is slower."""
    if age_seconds is None:
        return check("warn", output="No catalog snapshot: metadata is read live.")
    return check("warn" if age_seconds > CATALOG_SECONDS else "pass", round(age_seconds), "s")


def performance_check(verdict: str, p95_ms: float, error_rate: float, settings: Settings) -> dict[str, Any]:
    """Tell how the last hour's calls stand to the thresholds. A warning at most: what is slow still works."""
    told = (
        f"{verdict}: p95 {p95_ms:.0f} ms (MCP_P95_THRESHOLD_MS {settings.p95_threshold_ms:.0f}), "
        f"errors {error_rate:.1%} (MCP_ERROR_RATE_THRESHOLD {settings.error_rate_threshold:.1%})"
    )
    return check("warn" if verdict in ("slow", "failing") else "pass", round(p95_ms), "ms at p95", told)


def telemetry_check(state: str, waiting: int, problem: str | None) -> dict[str, Any]:
    status: Status = "warn" if state in ("failing", "broken") else "pass"
    return check(status, waiting, "events waiting", problem or f"telemetry is {state}")
