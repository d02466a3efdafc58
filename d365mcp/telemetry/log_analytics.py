"""One Log Analytics workspace: a KQL query in, rows out, and what the operator has to correct when there are none."""

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from uuid import UUID

from d365mcp.errors import TelemetryError
from d365mcp.settings import LOOPBACK, Settings
from d365mcp.singleflight import SingleFlight
from d365mcp.wire import read_bounded, read_json

if TYPE_CHECKING:
    import httpx

log = logging.getLogger(__name__)

_WAIT_SECONDS = 20.0
_BUILD_SECONDS = 60.0
_TOKEN_SECONDS = 120.0
# An answer to our queries has a few hundred rows at most.
_MAX_BYTES = 4 * 1024 * 1024
# Uncompressed: nothing that unfolds.
_HEADERS = {"Prefer": f"wait={_WAIT_SECONDS:.0f}", "Accept-Encoding": "identity"}
_READER = "Log Analytics Data Reader"

TokenFunction = Callable[[], Awaitable[str]]


class LogAnalytics:
    """Asks with a token that `token` gives. Whatever goes wrong is a TelemetryError."""

    def __init__(self, settings: Settings, token: TokenFunction) -> None:
        self.settings = settings
        self.token = token
        self._http: SingleFlight[httpx.AsyncClient] = SingleFlight(_BUILD_SECONDS, keep=math.inf)

    async def rows(self, query: str) -> list[dict[str, Any]]:
        """Return the rows of a query by column name."""
        import httpx  # not before it is needed: a cold start should not pay for it

        url = f"{self.settings.log_analytics_url}/v1/workspaces/{self.workspace()}/query"
        headers = {**_HEADERS, "Authorization": f"Bearer {await self.token()}"}
        try:
            client = await self.client()
            async with client.stream("POST", url, json={"query": query}, headers=headers) as answer:
                body = read_json(await read_bounded(answer.aiter_raw(), _MAX_BYTES))
            if answer.status_code != 200 or "error" in body:
                raise _refusal(answer.status_code, body, answer.headers.get("retry-after", ""))
            return _named_rows(body)
        except (httpx.HTTPError, LookupError, ValueError, TypeError, AttributeError) as exc:
            raise TelemetryError(
                f"Log Analytics did not answer as it should ({type(exc).__name__}).",
                hint="Is MCP_LOG_ANALYTICS_URL right, and may this app reach it? Else try again later.",
            ) from exc

    def workspace(self) -> str:
        given = self.settings.workspace_id
        if not given:
            raise TelemetryError(
                "The statistics of all instances are not available: MCP_LOG_ANALYTICS_WORKSPACE_ID is not set.",
                hint="Set it to the workspace id (a GUID) of this server's Application Insights.",
            )
        try:
            return str(UUID(given))
        except ValueError as exc:
            raise TelemetryError(
                "MCP_LOG_ANALYTICS_WORKSPACE_ID is no workspace id.",
                hint="It is the GUID on the workspace's overview page, not its name or resource id.",
            ) from exc

    async def client(self) -> "httpx.AsyncClient":
        """Return the one client; it is made in a thread, because reading the certificates takes its time."""
        import httpx

        async def made() -> httpx.AsyncClient:
            local = urlsplit(self.settings.log_analytics_url).hostname in LOOPBACK
            return await asyncio.to_thread(httpx.AsyncClient, timeout=_WAIT_SECONDS + 5, trust_env=not local)

        return await self._http.get("", made)

    async def close(self) -> None:
        if client := self._http.kept(""):
            await client.aclose()


def _named_rows(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    table = body["tables"][0]
    names = [column["name"] for column in table["columns"]]
    return [dict(zip(names, row, strict=True)) for row in table["rows"]]


def _refusal(status: int, body: Mapping[str, Any], retry_after: str) -> TelemetryError:
    """Return the error that says what the operator has to correct.

    https://learn.microsoft.com/azure/azure-monitor/logs/api/errors
    """
    error = body.get("error") or {}
    code, message = str(error.get("code", "")), _innermost(error)[:300]
    log.warning("Log Analytics refused a query (HTTP %d, %r): %r", status, code, message)
    if status in (401, 403):
        hint = f'Give this app\'s identity the role "{_READER}" on the workspace; it takes some minutes to count.'
    elif status == 404:
        hint = "Check MCP_LOG_ANALYTICS_WORKSPACE_ID: no workspace has this id."
    elif "AppDependencies" in message:
        hint = "Does this server's Application Insights store in this workspace (MCP_LOG_ANALYTICS_WORKSPACE_ID)?"
    else:
        hint = "Try again later, or with a shorter window."
    return TelemetryError(
        f"Log Analytics refused the query (HTTP {status}{', ' + code if code.isidentifier() else ''}).",
        hint=hint,
        retry_after=float(retry_after) if retry_after.isdecimal() else None,
    )


def _innermost(error: Mapping[str, Any]) -> str:
    while isinstance(error.get("innererror"), Mapping):
        error = error["innererror"]
    return str(error.get("message", ""))


def identity_token(settings: Settings) -> TokenFunction:
    """Return how a token for Log Analytics is had: as this app's managed identity, off the event loop."""
    flights: SingleFlight[str] = SingleFlight(_TOKEN_SECONDS)
    credential: Any = None

    def fetch() -> str:
        from azure.core.exceptions import AzureError
        from azure.identity import ManagedIdentityCredential

        nonlocal credential  # it keeps its token
        credential = credential or ManagedIdentityCredential(client_id=settings.identity_client_id or None)
        try:
            return str(credential.get_token(f"{settings.log_analytics_url}/.default").token)
        except AzureError as exc:
            raise TelemetryError(
                "No token for Log Analytics could be had.",
                hint="Is a managed identity assigned to this app, and AZURE_CLIENT_ID that of a user-assigned one?",
            ) from exc

    async def off_the_loop() -> str:
        return await asyncio.to_thread(fetch)

    async def token() -> str:
        return await flights.get("", off_the_loop)

    return token
