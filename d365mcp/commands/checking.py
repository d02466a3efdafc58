"""`check`: whether the server can do its work with these settings, one line for each part."""

import asyncio
import json
import sys
from typing import Any

import click

from d365mcp import health
from d365mcp.app import application
from d365mcp.commands import close, say
from d365mcp.errors import D365McpError
from d365mcp.server.callers import OPERATOR
from d365mcp.storage import STATE

SHOWN = {
    "d365:session": "F&O",
    "callers:keys": "callers",
    "storage": "storage",
    "catalog:age": "catalog",
    "telemetry:backlog": "telemetry",
    "tools:last_hour": "last hour",
}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def check(*, as_json: bool) -> None:
    """Check settings, sign-in and user mapping in F&O, callers' keys, storage, catalog and telemetry; exit code 1 when one fails.

    \b
    Examples:
      python -m d365mcp check
      python -m d365mcp check --json
    """
    found = asyncio.run(check_now())
    if as_json:
        click.echo(json.dumps(found, indent=1))
    else:
        for name, each in found.items():
            say(f"{each['status']:5} {name:10} {told(each)}")
    sys.exit(1 if any(each["status"] == "fail" for each in found.values()) else 0)


async def check_now() -> dict[str, dict[str, Any]]:
    """Return the checks by name. Without valid settings there is nothing more to check."""
    if problems := application.settings.problems:
        return {"settings": health.check("fail", output=" ".join(problems))}
    try:
        _, body = await application.deep_health(OPERATOR)
        checks = {name: found[0] for name, found in body["checks"].items()}
        checks["storage"] = await asyncio.to_thread(storage_check)
    finally:
        await close()
    shown = {title: checks[name] for name, title in SHOWN.items() if name in checks}
    notices = application.settings.notices
    detail = " ".join((application.settings.base_url, *notices))
    return {"settings": health.check("warn" if notices else "pass", output=detail), **shown}


def storage_check() -> dict[str, Any]:
    """Look into the shared storage, where there is one."""
    if not application.settings.has_shared_storage:
        told = "No shared storage: set AzureWebJobsStorage__blobServiceUri before more than one instance runs."
        return health.check("warn", output=told)
    try:
        application.storage.names(STATE, "")
    except D365McpError as problem:
        return health.failed(problem)
    return health.check("pass", output="the blobs can be listed")


def told(each: dict[str, Any]) -> str:
    """Return a check's words, or its figure where it has none."""
    return str(each.get("output") or f"{each.get('observedValue', '')} {each.get('observedUnit', '')}").strip()
