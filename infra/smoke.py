"""Asks a deployed endpoint what a client would ask: is it awake, does it reach F&O, does MCP work."""

import asyncio
import sys
import time

import click
import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp_types import CallToolResult

TOOL = "d365fo_get_server_config"
PAUSE_SECONDS = 5
ANSWER_SECONDS = 60


class SmokeError(Exception):
    """The endpoint does not do what it should; the message says where to look."""


def wake(base_url: str, patience: float) -> str:
    """Wait until the app answers and finds no fault with its settings: a new deployment takes a while to show."""
    until = time.monotonic() + patience
    while fault := health_fault(base_url):
        if time.monotonic() > until:
            raise SmokeError(f"{base_url}/health: {fault}")
        time.sleep(PAUSE_SECONDS)
    return "awake, settings complete"


def health_fault(base_url: str) -> str | None:
    """Return what is wrong with the app, as /health tells it."""
    try:
        health = httpx2.get(f"{base_url}/health", timeout=ANSWER_SECONDS).raise_for_status().json()
    except (httpx2.HTTPError, ValueError) as problem:
        return f"{problem}. See whether the app runs and what its deployment's log says."
    if health["status"] == "pass":
        return None
    return f"settings are wrong or missing ({', '.join(health['missing_settings']) or 'the app log names them'})."


def reach(base_url: str, headers: dict[str, str]) -> str:
    """Ask whether F&O, the catalog and telemetry are reached."""
    answer = httpx2.get(f"{base_url}/health/deep", headers=headers, timeout=ANSWER_SECONDS)
    if answer.status_code in (401, 403):
        raise SmokeError(f"{base_url} does not let us in ({answer.status_code}): give its key with --header.")
    if answer.status_code not in (200, 429, 503):
        raise SmokeError(f"{base_url}/health/deep answers {answer.status_code}: see the app's log.")
    checks = {name: found[0] for name, found in answer.json()["checks"].items()}
    lines = [f"{name}: {found['status']} {found.get('output', '')}".rstrip() for name, found in checks.items()]
    if answer.status_code != 200:
        raise SmokeError("\n".join(lines))
    return "\n".join(lines)


def speak(base_url: str, headers: dict[str, str]) -> str:
    """List the tools and call one, as an MCP client does."""
    try:
        names, called = asyncio.run(converse(f"{base_url}/mcp", headers))
    except Exception as problem:
        raise SmokeError(f"MCP fails: {innermost(problem)!r}. See the app's log.") from problem
    if called.is_error:
        raise SmokeError(f"{TOOL} fails: {getattr(called.content[0], 'text', '')}")
    return f"MCP works: {len(names)} tools on offer, {TOOL} answers"


async def converse(url: str, headers: dict[str, str]) -> tuple[list[str], CallToolResult]:
    async with (
        httpx2.AsyncClient(headers=headers, timeout=ANSWER_SECONDS) as http,
        Client(streamable_http_client(url, http_client=http)) as client,
    ):
        listed = await client.list_tools()
        return [tool.name for tool in listed.tools], await client.call_tool(TOOL, {})


def innermost(problem: BaseException) -> BaseException:
    """Return what went wrong first, inside the groups that task groups make of it."""
    return innermost(problem.exceptions[0]) if isinstance(problem, BaseExceptionGroup) else problem


@click.command()
@click.argument("base_url")
@click.option("--header", envvar="SMOKE_HEADER", default="", help='Such as "x-functions-key: KEY"; or SMOKE_HEADER.')
@click.option("--patience", default=180.0, show_default=True, help="Seconds to wait until the app answers.")
def main(base_url: str, header: str, patience: float) -> None:
    """Check the app at BASE_URL, such as https://func-d365mcp.azurewebsites.net, or its MCP endpoint; ends with 1 when something fails."""
    base_url = base_url.rstrip("/").removesuffix("/mcp")
    name, _, value = header.partition(":")
    headers = {name.strip(): value.strip()} if value else {}
    try:
        click.echo(wake(base_url, patience))
        click.echo(reach(base_url, headers))
        click.echo(speak(base_url, headers))
    except (SmokeError, httpx2.HTTPError) as problem:
        click.echo(str(problem), err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
