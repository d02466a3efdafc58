"""The operator's command, one file per subject; each runs the server's own parts, set up by the environment."""

import json
import sys
from typing import Any

import click

from d365mcp.app import application
from d365mcp.tools.results import compact
from d365mcp.wire import read_json


def say(line: str) -> None:
    """Print a line, what would steer the terminal as `\\u{1b}`: F&O's own texts may be in it."""
    line = read_json(compact(line))
    click.echo(line if _is_printable(line) else line.encode("ascii", "backslashreplace").decode())


def print_json(value: Any) -> None:
    """Print a value as people read it best, escaped where the output has no such characters: on Windows a pipe may not."""
    text = json.dumps(value, indent=1, ensure_ascii=False)
    click.echo(text if _is_printable(text) else json.dumps(value, indent=1))


def _is_printable(text: str) -> bool:
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        return False
    return True


def need_settings() -> None:
    """End here, naming all that is wrong, where the server is not set up."""
    if application.settings.problems:
        click.echo("This server is not fully set up:", err=True)
        for problem in application.settings.problems:
            click.echo(f"  {problem}", err=True)
        sys.exit(2)


async def close() -> None:
    """Let go of F&O's connections, and send the telemetry that waits."""
    await application.environment.client.aclose()
    await application.endpoint.callers.aclose()
    application.telemetry.close()
