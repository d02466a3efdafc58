"""Finds the real Bicep compiler on this machine, and lets a copy of infra/ do without a registry."""

import json
import os
import shutil
import subprocess
from pathlib import Path

# Microsoft Graph's types as a file, so that no registry is asked: `bicep publish-extension` made it of
# https://github.com/microsoft/msgraph-bicep-types (MIT).
GRAPH, VERSION = Path(__file__).with_name("microsoftgraph-v1.0-1.0.0.tgz"), "microsoftgraph/v1.0:1.0.0"


class NotFoundError(Exception):
    """There is no compiler here, or it does not start; the message says where it was looked for."""


def program() -> str:
    """Return the compiler: that of `BICEP`, of `PATH`, or where `az bicep install` puts it."""
    installed = Path.home() / ".azure" / "bin" / "bicep"
    places = (os.environ.get("BICEP"), shutil.which("bicep"), str(installed) if installed.exists() else None)
    found = next((each for each in places if each), None)
    if found is None:
        raise NotFoundError("there is no bicep in BICEP, on PATH or in ~/.azure/bin: `az bicep install` brings it")
    try:
        subprocess.run([found, "--version"], capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError) as exc:
        raise NotFoundError(f"{found} does not start: {getattr(exc, 'stderr', '') or exc}") from exc
    return found


def bring_graph(infra: Path) -> Path:
    """Let a copy of infra/ find Microsoft Graph's types beside it."""
    settings = infra / "entra" / "bicepconfig.json"
    wanted = json.loads(settings.read_text())["extensions"]["microsoftGraphV1"]
    assert wanted.endswith(VERSION), f"make {GRAPH.name} anew"
    settings.write_text(settings.read_text().replace(wanted, f"./{GRAPH.name}"))
    shutil.copy(GRAPH, infra / "entra")
    return infra
