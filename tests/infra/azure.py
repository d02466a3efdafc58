"""Puts stand-ins for `az` and `func` on PATH, and pastes into a shell what people and workflows would; knows no page."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.cached import python_environment
from tests.dev_host import ROOT
from tests.infra.bicep.finding import NotFoundError, program

HERE = Path(__file__).parent
# What a shell may not bring along from the one the tests run in.
OURS = ("D365FO_", "MCP_", "AZURE_", "IDENTITY_", "PYTHONPATH", "VIRTUAL_ENV", "HOSTING_PLAN")
KEY = "sesame"


class Azure:
    """The stand-ins, and what they remember."""

    def __init__(self, folder: Path, app: Mapping[str, str]) -> None:
        """Make them; `app` is the environment of what is published."""
        self.folder, self.path = folder, ""
        self.programs = folder / "bin"
        self.programs.mkdir(parents=True)
        with socket.socket() as opened:
            opened.bind(("127.0.0.1", 0))
            address = f"http://127.0.0.1:{opened.getsockname()[1]}"
        known = {
            "address": address,
            "host": str(ROOT / "infra" / "local" / "devhost.py"),
            "settings": {**app, "FUNCTIONS_DEV_KEY": KEY},
            "keys": {"default": KEY},
            **{name: {} for name in ("apps", "deployments", "secrets")},
            **{name: [] for name in ("called", "identities")},
            "groups": ["rg-d365mcp"],
        }
        (folder / "azure.json").write_text(json.dumps(known))
        self.install("az", python_environment("jmespath==1.1.0"))
        self.install("func", Path(sys.executable))

    def install(self, name: str, python: Path) -> None:
        path = self.programs / name
        path.write_text(f"#!{python}\n{(HERE / f'stand_in_{name}.py').read_text()}")
        path.chmod(0o755)

    def environment(self) -> dict[str, str]:
        """What a person's shell has, with the stand-ins first on PATH."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
        path = os.pathsep.join((str(self.programs), self.path, os.environ["PATH"]))
        return {**kept, "PATH": path, "AZURE": str(self.folder), **compiler()}

    def paste(self, where: Path, *pasted: str, **environ: str) -> subprocess.CompletedProcess[str]:
        """Paste blocks into one shell; each must leave it in the folder where it was."""
        stay = 'if [ "$PWD" != "$STARTED" ]; then echo "the block above ends in $PWD" >&2; exit 1; fi\n'
        script = "STARTED=$PWD\n" + "".join(f"{block}\n{stay}" for block in pasted)
        return subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=where,
            env={**self.environment(), **environ},
            capture_output=True,
            text=True,
            timeout=600,
        )

    def publish(self, where: Path) -> set[str]:
        """Publish a folder, and return what went."""
        done = self.paste(where, "func azure functionapp publish func-d365mcp --python\n")
        assert done.returncode == 0, done.stderr
        return self.published()

    def published(self) -> set[str]:
        files = (path.relative_to(self.folder / "published") for path in (self.folder / "published").rglob("*"))
        return {str(path) for path in files if path.suffix != ".pyc" and path.name != "__pycache__"}

    @property
    def known(self) -> dict[str, Any]:
        known: dict[str, Any] = json.loads((self.folder / "azure.json").read_text())
        return known

    def remember(self, **known: Any) -> None:
        """Say what is there already."""
        (self.folder / "azure.json").write_text(json.dumps({**self.known, **known}))

    def stop(self) -> None:
        subprocess.run([self.programs / "func", "stop"], env=self.environment(), check=True)


def compiler() -> dict[str, str]:
    try:
        return {"BICEP": program()}
    except NotFoundError:
        return {}
