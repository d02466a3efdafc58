"""`check`: whether the server can do its work with these settings, one line for each part."""

import asyncio
import json
import sys
import threading
from typing import Any, NoReturn

import click

from d365mcp import health
from d365mcp.app import application
from d365mcp.commands import close, say
from d365mcp.errors import D365McpError, StorageError
from d365mcp.server.auth.callers import OPERATOR
from d365mcp.settings import Settings
from d365mcp.settings.parsing import is_guid
from d365mcp.storage import STATE, Storage, open_storage

# What answers at all answers sooner; the first answer takes a token, and Azure's SDK has to be imported.
_STORAGE_SECONDS = 4.0
_TELEMETRY_SECONDS = 15.0
_TITLES = {
    "d365:session": "F&O",
    "callers:keys": "callers",
    "storage": "storage",
    "catalog:age": "catalog",
    "telemetry:backlog": "telemetry",
    "tools:last_hour": "last hour",
}


@click.command("check")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def check_command(*, as_json: bool) -> None:
    """Check settings, sign-in and user mapping in F&O, callers' keys, storage, catalog and telemetry; exit code 1 when one fails.

    \b
    Examples:
      python -m d365mcp check
      python -m d365mcp check --json
    """
    found = asyncio.run(_check_now())
    if as_json:
        click.echo(json.dumps(found, indent=1))
    else:
        for name, each in found.items():
            say(f"{each['status']:5} {name:10} {_detail_of(each)}")
    sys.exit(1 if any(each["status"] == "fail" for each in found.values()) else 0)


async def _check_now() -> dict[str, dict[str, Any]]:
    """Return the checks by name. Without valid settings there is nothing more to check."""
    if problems := application.settings.problems:
        return {"settings": health.check_result("fail", output=" ".join(problems))}
    try:
        storage = _storage_check()  # before the catalog, which is looked for there
        _, body = await application.deep_health.check(OPERATOR)
        checks = {name: found[0] for name, found in body["checks"].items()}
        checks |= {"storage": storage, "telemetry:backlog": await asyncio.to_thread(_telemetry_check)}
    finally:
        await close()
    found = {title: checks[name] for name, title in _TITLES.items() if name in checks}
    notices = application.settings.notices
    detail = " ".join((application.settings.base_url, *notices))
    return {"settings": health.check_result("warn" if notices else "pass", output=detail), **found}


def _storage_check() -> dict[str, Any]:
    """Look into the shared storage, where there is one; what is not reached is not asked again."""
    if not application.settings.has_shared_storage:
        detail = "No shared storage: set AzureWebJobsStorage__blobServiceUri before more than one instance runs."
        return health.check_result("warn", output=detail)
    try:
        _list_blobs()
    except D365McpError as problem:
        application.storage = _UnreachedStorage(problem)
        return health.failed_check(problem if problem.hint else StorageError(problem.message, hint=_storage_hint()))
    return health.check_result("pass", output="the blobs can be listed")


def _list_blobs() -> None:
    """List what is in the storage, within its time. Raises StorageError."""
    problems: list[D365McpError] = [StorageError(f"The storage did not answer within {_STORAGE_SECONDS:g} s.")]

    def look() -> None:
        try:
            open_storage(application.settings, retries=0).names(STATE, "")
            problems.clear()
        except D365McpError as problem:
            problems[:] = [problem]

    # A thread that nobody waits for: looking for an identity where there is none takes minutes.
    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    thread.join(_STORAGE_SECONDS)
    if problems:
        raise problems[0]


def _storage_hint() -> str:
    settings = application.settings
    name = "AzureWebJobsStorage__blobServiceUri" if settings.storage_uri else "AzureWebJobsStorage"
    name = "AzureWebJobsStorage__accountName" if settings.storage_account and not settings.storage_uri else name
    inside = "an account with a private endpoint answers only inside its network"
    return f"Compare {name} with the account's endpoints or access keys, and check the network: {inside}."


class _UnreachedStorage(Storage):
    """The storage that did not answer: refuses at once."""

    def __init__(self, problem: D365McpError) -> None:
        self.problem = problem

    def get(self, *_: Any, **__: Any) -> NoReturn:
        raise self.problem

    put = upload = download = names = delete = get


def _telemetry_check() -> dict[str, Any]:
    """Send what the checks before have left, and say whether it was taken."""
    settings, telemetry = application.settings, application.telemetry
    if not (settings.application_insights and settings.performance_monitoring):
        return health.check_result("pass", output="telemetry is off")
    if problem := wrong_authentication(settings):
        return health.check_result("fail", output=problem)
    answered = telemetry.flush(_TELEMETRY_SECONDS)
    problem = telemetry.backlog().problem or ("" if answered else f"No answer within {_TELEMETRY_SECONDS:g} s.")
    if problem:
        detail = f"Application Insights takes nothing: {problem.rstrip('.')}. {_telemetry_hint(problem)}"
        return health.check_result("fail", output=detail)
    return health.check_result("pass", output="Application Insights takes what is sent")


def wrong_authentication(settings: Settings) -> str:
    """Say what is misspelt; with it telemetry would be sent without an identity, and refused where one is needed."""
    right = "write Authorization=AAD, or Authorization=AAD;ClientId=… with the identity's client id"
    parts = [part.strip().partition("=")[::2] for part in settings.application_insights_auth.split(";") if part.strip()]
    given = {name.strip().lower(): value.strip() for name, value in parts}
    unknown = [name for name, _ in parts if name.strip().lower() not in ("authorization", "clientid")]
    if not parts:
        return ""
    if unknown or given.get("authorization", "").lower() != "aad":
        what = f"has no {unknown[0]!r}" if unknown else "does not say Authorization=AAD"
        return f"APPLICATIONINSIGHTS_AUTHENTICATION_STRING {what}: {right}."
    if "clientid" in given and not is_guid(given["clientid"].lower()):
        return f"ClientId in APPLICATIONINSIGHTS_AUTHENTICATION_STRING is no id: {right}."
    return ""


def _telemetry_hint(problem: str) -> str:
    if "HTTP 401" in problem or "HTTP 403" in problem:
        return "Give the identity the role Monitoring Metrics Publisher on the component."
    if "Credential" in problem or "Authentication" in problem:
        return "It signs in as the app's managed identity, which only the app has: ask its /health/deep."
    return "Compare APPLICATIONINSIGHTS_CONNECTION_STRING with the component's overview page, and check the network."


def _detail_of(each: dict[str, Any]) -> str:
    """Return a check's text, or its figure where it has none."""
    return str(each.get("output") or f"{each.get('observedValue', '')} {each.get('observedUnit', '')}").strip()
