"""`tools` and `call`: what the server offers, and one tool called as the server calls it."""

import asyncio
import json
import sys
import time
from typing import Any

import click

from d365mcp.app import application
from d365mcp.commands import close, print_json
from d365mcp.errors import D365McpError, InvalidArgument, UnknownName, close_names
from d365mcp.events import Operation, Trace, working_on
from d365mcp.server.auth.access import usual_access
from d365mcp.server.auth.callers import OPERATOR
from d365mcp.server.execution import CallOutcome, failed_call
from d365mcp.tools import ALL_TOOLS
from d365mcp.tools.results import compact
from d365mcp.tools.tool import Tool
from d365mcp.wire import read_caller_json, read_json

# Bytes of compact JSON to a token, about: what lists of tools come to.
_BYTES_PER_TOKEN = 4.0


@click.command("tools")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def tools_command(*, as_json: bool) -> None:
    """List all tools: toolset, access, whether the settings offer them, and about how many tokens each costs."""
    rows = [_row(tool) for tool in ALL_TOOLS]
    if as_json:
        click.echo(json.dumps(rows, indent=1))
        return
    for each in rows:
        offered = "" if each["offered"] else "  not offered"
        click.echo(f"{each['name']:32} {each['toolset']:12} {each['access']:6} {each['tokens']:5}{offered}")
    click.echo(f"{sum(each['tokens'] for each in rows if each['offered'])} tokens or so are offered.")


def _row(tool: Tool) -> dict[str, Any]:
    listed = {
        "name": tool.name,
        "title": tool.title,
        "description": tool.description,
        "inputSchema": tool.input_schema,
        "outputSchema": tool.output_schema,
    }
    access = usual_access(application.settings, OPERATOR)
    return {
        "name": tool.name,
        "toolset": tool.toolset,
        "access": "read" if tool.read_only else "write",
        "offered": access.allows(tool.toolset, read_only=tool.read_only),
        "tokens": round(len(compact(listed)) / _BYTES_PER_TOKEN),
    }


@click.command("call")
@click.argument("tool")
@click.argument("arguments", default="{}", metavar="[JSON]")
def call_command(tool: str, arguments: str) -> None:
    """Call TOOL with its arguments as JSON (`-` reads them from stdin) and print what it answers, as JSON.

    The settings decide what may be called, as they do for the server. A failed call ends with exit code 1.

    \b
    Examples:
      python -m d365mcp call d365fo_get_environment_info
      python -m d365mcp call d365fo_query_entities '{"entity_name": "CustomersV3", "top": 5}'
    """
    try:
        given = _read_arguments(sys.stdin.buffer.read() if arguments == "-" else arguments.encode())
        called = asyncio.run(_call_now(tool, given))
    except D365McpError as problem:
        called = failed_call(problem)
    print_json(read_json(called.text))
    if called.files:
        click.echo("The files that come with the answer are not printed.", err=True)
    sys.exit(0 if called.succeeded else 1)


def _read_arguments(text: bytes) -> dict[str, Any]:
    """Return a call's arguments, in UTF-8 whatever the console's. Raises InvalidArgument for what is not a JSON object."""
    try:
        given = read_caller_json(text)
    except ValueError as problem:
        raise InvalidArgument(f"The arguments are not JSON: {problem}.") from None
    if not isinstance(given, dict):
        raise InvalidArgument('The arguments must be one JSON object, such as {"top": 5}.')
    return given


async def _call_now(name: str, arguments: dict[str, Any]) -> CallOutcome:
    """Call a tool within a request's time. Raises UnknownName."""
    executor = application.load_executor()
    if name not in executor.tools:
        raise UnknownName("tool", name, close_names(name, executor.tools), hint="`python -m d365mcp tools` lists them.")
    deadline = time.monotonic() + application.settings.limit_seconds
    try:
        with working_on(Operation(Trace.continued(None), deadline, OPERATOR.name, on_own_behalf=True)):
            return await executor.execute(name, arguments, usual_access(application.settings, OPERATOR), {})
    finally:
        await close()
