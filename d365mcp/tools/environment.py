"""Says which environment this server speaks to, as whom, and how the server itself is set up."""

import asyncio
import time
from collections.abc import Awaitable, Iterable, Sequence
from typing import Any

from typing_extensions import TypedDict

import d365mcp
from d365mcp.d365.odata import QueryOptions
from d365mcp.errors import D365McpError, close_names, or_list
from d365mcp.tools.tool import ToolContext

MAX_COMPANIES = 500


class EnvironmentResult(TypedDict, total=False):
    environment_url: str
    default_company: str
    latency_ms: int
    failures: dict[str, dict[str, Any]]
    user: dict[str, Any]
    versions: dict[str, str]
    catalog: dict[str, Any]
    companies: list[dict[str, Any]]


class ServerConfigResult(TypedDict, total=False):
    settings_problems: list[str]
    server: dict[str, Any]
    access: dict[str, Any]
    limits: dict[str, Any]


async def get_environment_info(context: ToolContext) -> EnvironmentResult:
    """Versions, companies (legal entities), default company and who we are in F&O. Each part may fail alone."""
    failures: dict[str, dict[str, Any]] = {}
    started = time.monotonic()
    session, versions, companies = await asyncio.gather(
        part("user", timed_session(context), failures),
        part("versions", context.d365.versions(), failures),
        part("companies", list_companies(context), failures),
    )
    result = EnvironmentResult(environment_url=context.settings.base_url)
    if session:
        user, latency = session
        result["user"] = {"id": user.user_id, "language": user.language, "is_system_administrator": user.is_admin}
        result["default_company"] = user.company.lower()
        result["latency_ms"] = latency
    if versions:
        result["versions"] = {name: value for name, value in versions.known.items() if value}
        failures |= {f"versions.{name}": error.describe() for name, error in versions.failures.items()}
    if companies is not None:
        result["companies"] = companies
    result["catalog"] = context.catalog.source().describe()
    if failures:
        result["failures"] = failures
    if not (session or versions or companies):
        result["latency_ms"] = round((time.monotonic() - started) * 1000)
    return result


async def part(name: str, reading: Awaitable[Any], failures: dict[str, dict[str, Any]]) -> Any:
    """Return what a part reads, or None with its error noted under its name."""
    try:
        return await reading
    except D365McpError as error:
        failures[name] = error.describe()
        return None


async def timed_session(context: ToolContext) -> tuple[Any, int]:
    started = time.monotonic()
    session = await context.d365.session(fresh=True)
    return session, round((time.monotonic() - started) * 1000)


async def list_companies(context: ToolContext) -> list[dict[str, Any]]:
    """Return id and name of the companies this server may touch."""
    options = QueryOptions(select=("LegalEntityId", "Name"), order_by=("LegalEntityId",), top=MAX_COMPANIES)
    page = await context.d365.query("LegalEntities", options)
    allowed = context.settings.companies
    rows = [{"company": str(row.get("LegalEntityId", "")).lower(), "name": row.get("Name", "")} for row in page.records]
    return [row for row in rows if not allowed or row["company"] in allowed]


async def unknown_companies(context: ToolContext, named: Iterable[str]) -> list[str]:
    """Return a note for each company that F&O does not list: it answers for one that is none as for an empty one."""
    try:
        known = [row["company"] for row in await list_companies(context)]
    except D365McpError:  # not every user may read the list
        return []
    missing = [name for name in named if name.lower() not in known] if len(known) < MAX_COMPANIES else []
    return [told_unknown(name, close_names(name, known)) for name in missing]


def told_unknown(company: str, close: Sequence[str]) -> str:
    mend = f"did you mean {or_list(close)}?" if close else "LegalEntities has those there are"
    return f"F&O has no company {company}: {mend}"


async def get_server_config(context: ToolContext) -> ServerConfigResult:
    """How this MCP server is set up: access, limits, toolsets. No secrets."""
    settings = context.settings
    return ServerConfigResult(
        server={
            "name": "d365mcp",
            "version": d365mcp.__version__,
            "instance": settings.instance,
            "stateless": True,
            "json_answers": True,
            "environment_url": settings.base_url,
        },
        access={
            "caller": context.caller.name,
            "roles": sorted(context.caller.roles),
            "mcp_auth": settings.mcp_auth,
            "d365_auth": settings.d365_auth,
            "read_only": context.read_only,
            "toolsets": list(settings.toolsets),
            "companies": list(settings.companies) or "all",
            "writable_entities": list(settings.writable_entities) or ("none" if context.read_only else "all"),
            "allowed_actions": list(settings.allowed_actions),
            "allowed_services": list(settings.allowed_services),
        },
        limits={
            "concurrent_tool_calls": settings.tool_permits,
            "request_seconds": round(settings.deadline_seconds, 1),
            "result_chars": context.result_chars,
            "connection_pool_size": settings.connection_pool_size,
            "host_function_timeout_seconds": settings.host.function_timeout,
            "host_max_concurrent_requests": settings.host.max_concurrent_requests,
            "host_max_outstanding_requests": settings.host.max_outstanding_requests,
        },
        settings_problems=[*settings.problems, *settings.notices],
    )
