"""The operator's command, one file per subject; each runs the server's own parts, set up by the environment."""

import sys

import click

from d365mcp.app import application
from d365mcp.tools.results import compact
from d365mcp.wire import read_json


def say(line: str) -> None:
    """Print a line, what would steer the terminal as `\\u{1b}`: F&O's own texts may be in it."""
    click.echo(read_json(compact(line)))


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
