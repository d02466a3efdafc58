"""Says which environment this server speaks to, its user, and how the server itself is set up."""

import asyncio
import time
from collections.abc import Awaitable
from typing import Any

from typing_extensions import TypedDict

import d365mcp
from d365mcp.errors import D365McpError
from d365mcp.tools.common import list_companies
from d365mcp.tools.tool import ToolContext


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
        _part("user", _timed_session(context), failures),
        _part("versions", context.d365.versions(), failures),
        _part("companies", list_companies(context), failures),
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


async def _part(name: str, reading: Awaitable[Any], failures: dict[str, dict[str, Any]]) -> Any:
    """Return what a part reads, or None with its error among the failures."""
    try:
        return await reading
    except D365McpError as error:
        failures[name] = error.describe()
        return None


async def _timed_session(context: ToolContext) -> tuple[Any, int]:
    started = time.monotonic()
    session = await context.d365.session(fresh=True)
    return session, round((time.monotonic() - started) * 1000)


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
