"""Finds the programs that tests of what is deployed start."""

import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest


@cache
def python(version: str) -> str:
    """Return a Python of this version: pyenv's counts although another one is chosen there."""
    name = f"python{version}"
    installed = (Path.home() / ".pyenv" / "versions").glob(f"{version}.*/bin/{name}")
    for each in filter(None, [shutil.which(name), *map(str, installed)]):
        if subprocess.run([each, "-V"], capture_output=True).returncode == 0:
            return each
    pytest.skip(f"{name} is not on PATH")
