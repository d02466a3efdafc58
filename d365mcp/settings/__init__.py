"""The server's settings, read once from the environment and host.json; every problem is reported together."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from d365mcp.settings.host_json import HostLimits, read_host_limits
from d365mcp.settings.model import (
    LEAST_RESULT_CHARS,
    METADATA_PATH,
    MOST_RESULT_CHARS,
    RESULT_FORMS,
    TOOLSETS,
    Settings,
    declared,
    margin,
)
from d365mcp.settings.parsing import LOOPBACK, followed
from d365mcp.settings.rules import SIGNING_IN, contradictions, missing_settings, without_effect
from d365mcp.settings.spelling import misspelt

__all__ = [
    "LEAST_RESULT_CHARS",
    "LOOPBACK",
    "METADATA_PATH",
    "MOST_RESULT_CHARS",
    "RESULT_FORMS",
    "SIGNING_IN",
    "TOOLSETS",
    "HostLimits",
    "Settings",
    "declared",
    "interpreter_environment",
    "leave_out_plugins",
    "margin",
    "read_settings",
]

# The host reads these whatever their case: https://learn.microsoft.com/dotnet/core/extensions/configuration
OF_THE_HOST = "AzureWebJobsStorage"
# Where libpython may be, and Windows' source of chance.
NEEDED_BY_PYTHON = ("LD_LIBRARY_PATH", "SYSTEMROOT")


def read_settings(environ: Mapping[str, str] | None = None, host_json: Path | None = None) -> Settings:
    """Read all settings. Nothing raises: what is wrong is in `problems`, one sentence each."""
    variables = os.environ if environ is None else environ  # noqa: TID251 - this module alone reads it
    folded = {name.lower(): value for name, value in variables.items()}
    values: dict[str, Any] = {}
    wrong: dict[str, str] = {}
    for each in declared():
        name = each.metadata["name"]
        raw = (folded.get(name.lower(), "") if name.startswith(OF_THE_HOST) else variables.get(name, "")).strip()
        if not raw:
            continue
        try:
            values[each.name] = each.metadata["parse"](followed(raw))
        except ValueError as problem:
            wrong[name] = str(problem)
    problems = [f"{name} {problem}." for name, problem in wrong.items()]
    host = read_host_limits(folded, host_json, problems)
    draft = Settings(**values, host=host)
    missing = missing_settings(draft)
    unread, unknown = misspelt(variables, [each.metadata["name"] for each in declared()])
    problems += unread
    problems += [f"{name} is not set." for name in missing if name not in wrong]
    problems += contradictions(draft)
    notices = (*unknown, *without_effect(draft))
    return Settings(**values, host=host, problems=tuple(problems), missing=tuple(missing), notices=notices)


def interpreter_environment() -> dict[str, str]:
    """Return the variables that a Python of this server's own needs to start, and none of the server's secrets."""
    return {name: os.environ[name] for name in NEEDED_BY_PYTHON if name in os.environ}  # noqa: TID251 - this module alone reads it


def leave_out_plugins() -> None:
    """Let pydantic look for no plugins, unless the operator does: it would read a file of each installed package."""
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")  # noqa: TID251 - this module alone reads it
