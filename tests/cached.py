"""Installs once what tests need beside this environment, and keeps it in the user's cache; knows no test.

A test that needs what cannot be installed, for want of npm or of a registry, is skipped with the reason.
"""

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "d365mcp"
INSTALL_SECONDS = 300
NODE_VERSIONS = json.loads(Path(__file__).with_name("package.json").read_text())["devDependencies"]
VERSION = "import sys; print('%d.%d' % sys.version_info[:2])"


def node_packages(*names: str) -> Path:
    """Return a node_modules folder with these packages, in the versions of tests/package.json; their scripts have run."""
    packages = tuple(f"{name}@{NODE_VERSIONS[name]}" for name in names)
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not on PATH")
    options = ["--no-audit", "--no-fund", "--no-save", "--loglevel=error"]
    command = [npm, "install", *options, "--prefix"]
    return _installed("node", packages, lambda folder: _run(*command, str(folder), *packages)) / "node_modules"


def python_environment(*requirements: str, python: str = sys.executable) -> Path:
    """Return the Python of an environment of its own with these requirements, such as "mcp==1.30.0"."""

    def install(folder: Path) -> None:
        _run(python, "-m", "venv", str(folder))
        _run(str(folder / "bin" / "python"), "-m", "pip", "install", "-qq", "--no-compile", *requirements)

    version = subprocess.run([python, "-c", VERSION], capture_output=True, text=True, check=True).stdout.strip()
    return _installed(f"python-{version}", requirements, install) / "bin/python"


def _installed(kind: str, contents: tuple[str, ...], install: Callable[[Path], None]) -> Path:
    folder = ROOT / f"{kind}-{hashlib.sha256(' '.join(contents).encode()).hexdigest()[:12]}"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the other Pythons' tests may want the same at the same time
        if not (folder / "complete").exists():
            install(folder)
            (folder / "complete").touch()
    os.utime(folder)  # tests/run removes what has not been used for a month
    return folder


def _run(*command: str) -> None:
    try:
        subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=True)
    except subprocess.CalledProcessError as exc:
        pytest.skip(f"`{' '.join(command[:4])} …` failed, perhaps for want of a network: {exc.stderr.strip()[-300:]}")
    except subprocess.TimeoutExpired:
        pytest.skip(f"`{' '.join(command[:4])} …` did not finish within {INSTALL_SECONDS} s")
