"""Puts `az` and a stand-in for `func` on PATH, and pastes into a shell what people and workflows would; knows no page.

`az` is azure-cli's own code; only the Azure it talks to is stood in for (az/resource_manager.py).
"""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.cached import python_environment
from tests.dev_host import ROOT

HERE = Path(__file__).parent
CLI = "azure-cli==2.91.0"
CONFIGURATION = "[bicep]\nuse_binary_from_path = true\ncheck_version = false\n[core]\ncollect_telemetry = false\n"
# What a shell may not bring along from the one the tests run in.
OURS = ("D365FO_", "MCP_", "AZURE_", "IDENTITY_", "PYTHONPATH", "VIRTUAL_ENV", "HOSTING_PLAN")
KEY = "sesame"


@contextmanager
def azure_cli(folder: Path, bicep: str) -> Iterator[dict[str, str]]:
    """Run azure-cli's own code, signed in; yields what `az` needs to find it."""
    (folder / "config").write_text(CONFIGURATION)
    own = {"AZURE_CONFIG_DIR": str(folder), "AZURE_CORE_ONLY_SHOW_ERRORS": "1", "AZURE_CORE_NO_COLOR": "1"}
    own |= {"IDENTITY_ENDPOINT": "https://identity.example/token", "IDENTITY_HEADER": "any"}
    command = [python_environment(CLI), HERE / "az" / "serve.py", folder]
    process = subprocess.Popen(command, env={**os.environ, **own}, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield {"AZ_PORT": process.stdout.readline().strip(), "BICEP_FOLDER": str(Path(bicep).parent)}
    finally:
        process.terminate()
        process.communicate()


class Azure:
    """The programs, and what Azure remembers."""

    def __init__(self, folder: Path, cli: Mapping[str, str], app: Mapping[str, str]) -> None:
        """Make them; `app` is the environment of what is published."""
        self.folder, self.path, self.cli = folder, "", cli
        self.programs = folder / "bin"
        self.programs.mkdir(parents=True)
        with socket.socket() as opened:
            opened.bind(("127.0.0.1", 0))
            address = f"http://127.0.0.1:{opened.getsockname()[1]}"
        known = {
            "address": address,
            "host": str(ROOT / "infra" / "local" / "devhost.py"),
            "beside": "",
            "settings": {**app, "FUNCTIONS_DEV_KEY": KEY},
            "keys": {"default": KEY},
            **{name: {} for name in ("apps", "deployments", "secrets")},
            **{name: [] for name in ("called", "identities")},
            "groups": ["rg-d365mcp"],
        }
        (folder / "azure.json").write_text(json.dumps(known))
        self.install("az", HERE / "az" / "ask.py")
        self.install("func", HERE / "stand_in_func.py")

    def install(self, name: str, source: Path) -> None:
        path = self.programs / name
        path.write_text(f"#!{sys.executable}\n{source.read_text()}")
        path.chmod(0o755)

    def environment(self) -> dict[str, str]:
        """What a person's shell has, with the stand-ins first on PATH."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
        path = os.pathsep.join((str(self.programs), self.path, os.environ["PATH"], self.cli["BICEP_FOLDER"]))
        return {**kept, "PATH": path, "AZURE": str(self.folder), **self.cli}

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

    def packed(self, where: Path) -> set[str]:
        """Return what would be published of a folder."""
        done = self.paste(where, "func pack\n")
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
