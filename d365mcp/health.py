"""Health as monitoring reads it: alive (constant time, asks nobody), and deep (F&O, token, catalog, telemetry, the last hour, memory).

The shape is that of https://datatracker.ietf.org/doc/html/draft-inadarei-api-health-check
"""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import d365mcp
from d365mcp.errors import D365McpError, Throttled
from d365mcp.events import Caller, Operation, Trace, working_on
from d365mcp.settings import Settings

if TYPE_CHECKING:
    from d365mcp.environments import Environment
    from d365mcp.server.endpoint import Endpoint
    from d365mcp.telemetry.exporter import Telemetry
    from d365mcp.telemetry.instance import InstanceFacts
    from d365mcp.telemetry.statistics import Statistics

Status = Literal["pass", "warn", "fail"]
MEDIA_TYPE = "application/health+json"
DESCRIPTION = "MCP server for Dynamics 365 Finance & Operations"
# A token lasts an hour, a catalog is built every night: older than this, something is stuck.
CATALOG_SECONDS = 3 * 86_400
# How long deep health waits for F&O, and for a permit to ask it: that all are taken says enough.
DEEP_SECONDS = 20.0
PERMIT_SECONDS = 5.0


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


def _report(settings: Settings, checks: Mapping[str, dict[str, Any]]) -> tuple[int, dict[str, Any]]:
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


def check_result(
    status: Status, value: Any = None, unit: str | None = None, output: str | None = None
) -> dict[str, Any]:
    """Return one check; absent facts are left out."""
    facts = {
        "status": status,
        "observedValue": value,
        "observedUnit": unit,
        "output": output,
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    return {name: each for name, each in facts.items() if each is not None}


def failed_check(problem: D365McpError, status: Status = "fail") -> dict[str, Any]:
    """Return a check that failed, in the error's words."""
    detail = " ".join(part for part in (problem.message, problem.hint) if part)
    if not isinstance(problem, Throttled):
        return check_result(status, output=detail)
    wait = math.ceil(problem.retry_after or 0)
    return {**check_result(status, output=f"{detail} (HTTP 429: not before {wait} s)"), "retryAfter": wait}


def _catalog_check(age_seconds: float | None) -> dict[str, Any]:
    """Check the catalog's age: without one metadata is read live, which works and is slower."""
    if age_seconds is None:
        return check_result("warn", output="No catalog snapshot: metadata is read live.")
    return check_result("warn" if age_seconds > CATALOG_SECONDS else "pass", round(age_seconds), "s")


def _performance_check(verdict: str, p95_ms: float, error_rate: float, settings: Settings) -> dict[str, Any]:
    """Compare the last hour's calls with the thresholds. A warning at most: what is slow still works."""
    detail = (
        f"{verdict}: p95 {p95_ms:.0f} ms (MCP_P95_THRESHOLD_MS {settings.p95_threshold_ms:.0f}), "
        f"errors {error_rate:.1%} (MCP_ERROR_RATE_THRESHOLD {settings.error_rate_threshold:.1%})"
    )
    return check_result("warn" if verdict in ("slow", "failing") else "pass", round(p95_ms), "ms at p95", detail)


def _telemetry_check(state: str, waiting: int, problem: str | None) -> dict[str, Any]:
    status: Status = "warn" if state in ("failing", "broken") else "pass"
    return check_result(status, waiting, "events waiting", problem or f"telemetry is {state}")


@dataclass
class DeepHealth:
    """Asks everything the server depends on. `ready` loads the tools; `operator` is the caller who stands for the server."""

    settings: Settings
    environment: "Environment"
    endpoint: "Endpoint"
    telemetry: "Telemetry"
    statistics: "Callable[[], Statistics]"
    instance: "Callable[[], InstanceFacts]"
    ready: Callable[[], Awaitable[Any]]
    operator: Caller

    @property
    def seconds(self) -> float:
        return min(DEEP_SECONDS, self.settings.deadline_seconds)

    async def check(self, caller: Caller) -> tuple[int, dict[str, Any]]:
        """Return how F&O, the token, the catalog, telemetry, the last hour and this process fare."""
        if self.settings.problems:
            return _report(self.settings, {})
        await self.ready()
        session, performance, callers = await asyncio.gather(
            self._session(caller), self._performance(), self._callers()
        )
        await self.environment.snapshots.current()
        facts = self.instance()
        backlog = self.telemetry.backlog()
        checks = {
            "d365:session": session,
            "d365:token": check_result("pass", round(facts.ages.get("token", 0.0)), "s"),
            "catalog:age": _catalog_check(facts.ages.get("catalog")),
            "telemetry:backlog": _telemetry_check(backlog.state, backlog.waiting, backlog.problem),
            "process:memory": check_result("pass", round(facts.memory_mb or 0), "MB"),
            "tools:in_flight": check_result("pass", facts.in_flight, f"of {facts.tool_permits} permits"),
            **performance,
            **callers,
        }
        return _report(self.settings, checks)

    async def _session(self, caller: Caller) -> dict[str, Any]:
        """Ask F&O who we are, with a permit as every request that reaches it."""
        deadline = time.monotonic() + self.seconds
        if not await self.endpoint.take_permit(min(PERMIT_SECONDS, self.seconds / 2)):
            detail = f"F&O was not asked: calls hold all permits this instance has ({self.settings.tool_permits})."
            return check_result("warn", output=detail)
        began = time.monotonic()
        own = caller is self.operator
        try:
            with working_on(Operation(Trace.continued(None), deadline, caller.name, caller.assertion, own)):
                session = await self.environment.client.session(fresh=True)
        except D365McpError as problem:
            return failed_check(problem)
        finally:
            self.endpoint.release_permit()
        took = round((time.monotonic() - began) * 1000)
        return check_result("pass", took, "ms", f"signed in as {session.user_id}, company {session.company}")

    async def _callers(self) -> dict[str, dict[str, Any]]:
        """Check whether callers' tokens can be verified, where the server does that."""
        if self.settings.mcp_auth != "jwt":
            return {}
        tokens = await self.endpoint.callers.tokens.get()
        if tenants := await tokens.without_keys():
            detail = (
                f"Entra's signing keys of {', '.join(tenants)} cannot be had: "
                "check MCP_ALLOWED_TENANTS, AZURE_AUTHORITY_HOST and the network."
            )
            return {"callers:keys": check_result("fail", output=detail)}
        detail = f"tokens of {len(self.settings.tenants)} tenants are checked"
        return {"callers:keys": check_result("pass", output=detail)}

    async def _performance(self) -> dict[str, dict[str, Any]]:
        """Compare the last hour of all instances with the thresholds, where a workspace knows of it."""
        if not self.settings.workspace_id:
            return {}
        try:
            async with asyncio.timeout(self.seconds):
                report = await self.statistics().read("1h")
        except TimeoutError:
            found = check_result("warn", output="Log Analytics did not answer in time: try again later.")
        except D365McpError as problem:
            found = failed_check(problem, "warn")
        else:
            p95, rate = (total.p95_ms, total.error_rate) if (total := report.total) else (0.0, 0.0)
            found = _performance_check(report.verdict(self.settings), p95, rate, self.settings)
        return {"tools:last_hour": found}
