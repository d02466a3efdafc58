"""Says which environment this server speaks to, its user, and how the server itself is set up."""

import asyncio
import time
from collections.abc import Awaitable, Iterable, Mapping
from typing import Annotated, Any

from pydantic import Field
from typing_extensions import TypedDict

import d365mcp
from d365mcp.d365.odata import QueryOptions
from d365mcp.errors import D365McpError
from d365mcp.tools.common import MAX_COMPANIES, list_companies
from d365mcp.tools.tool import ToolContext

# More than these are listed on demand.
_MANY_COMPANIES = 30


class EnvironmentResult(TypedDict, total=False):
    environment_url: str
    default_company: str
    latency_ms: int
    company_count: int
    failures: dict[str, dict[str, Any]]
    notes: list[str]
    user: dict[str, Any]
    versions: dict[str, str]
    catalog: dict[str, Any]
    companies: list[dict[str, Any]]


class ServerConfigResult(TypedDict, total=False):
    settings_problems: list[str]
    server: dict[str, Any]
    access: dict[str, Any]
    limits: dict[str, Any]


async def get_environment_info(
    context: ToolContext,
    companies: Annotated[
        list[str] | None, Field(description="Only these: ids or words of names", max_length=50)
    ] = None,
) -> EnvironmentResult:
    """Versions, companies (legal entities) with currency, default company and who we are in F&O. Each part may fail alone."""
    failures: dict[str, dict[str, Any]] = {}
    started = time.monotonic()
    session, versions, known = await asyncio.gather(
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
    if known is not None:
        await _add_companies(context, result, known, companies or (), failures)
    result["catalog"] = context.catalog.source().describe()
    if failures:
        result["failures"] = failures
    if not (session or versions or known):
        result["latency_ms"] = round((time.monotonic() - started) * 1000)
    return result


async def _add_companies(
    context: ToolContext,
    result: EnvironmentResult,
    known: list[dict[str, Any]],
    asked: Iterable[str],
    failures: dict[str, dict[str, Any]],
) -> None:
    """Add the companies asked for, or all where they are few, with the currency of their books."""
    words = list(dict.fromkeys(word.strip() for word in asked if word.strip()))
    rows = [row for row in known if any(_is_meant(row, word) for word in words)] if words else known
    result["company_count"] = len(known)
    if unknown := [word for word in words if not any(_is_meant(row, word) for row in known)]:
        result["notes"] = [f"no company has this id or name: {', '.join(unknown)}"]
    if not words and len(known) > _MANY_COMPANIES:
        rows = [row for row in known if row["company"] == result.get("default_company")]
        result["notes"] = [f"{len(known)} companies: name those you want in companies, by id or by a word of the name"]
    currencies = await _part("currencies", _currencies(context), failures) if rows else {}
    result["companies"] = [
        row | ({"currency": currency} if (currency := (currencies or {}).get(row["company"])) else {}) for row in rows
    ]


def _is_meant(row: Mapping[str, str], word: str) -> bool:
    word = word.casefold()
    return word == row["company"] or (len(word) > 1 and word in row["name"].casefold())


async def _currencies(context: ToolContext) -> dict[str, str]:
    """Return the accounting currency by company, as the ledgers have it."""
    options = QueryOptions(select=("LegalEntityId", "AccountingCurrency"), top=MAX_COMPANIES)
    page = await context.d365.query("Ledgers", options)
    return {str(row.get("LegalEntityId", "")).lower(): str(row.get("AccountingCurrency", "")) for row in page.records}


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
