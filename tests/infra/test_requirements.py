"""The lock pins and hashes what requirements.txt asks for, installs on every Python, and holds all that is imported."""

import ast
import re
import subprocess
import sys
from importlib.metadata import packages_distributions

import pytest

from tests.dev_host import ROOT

PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", re.MULTILINE)
LOCK = (ROOT / "infra" / "requirements.lock").read_text()

once = pytest.mark.once


def pins(text: str) -> set[tuple[str, str]]:
    return {(canonical(name), version) for name, version in PIN.findall(text)}


def canonical(name: str) -> str:
    return re.sub("[-_.]+", "-", name).lower()


@once
def test_the_lock_holds_every_pin() -> None:
    wanted = pins((ROOT / "requirements.txt").read_text())
    assert wanted and wanted <= pins(LOCK), "make infra/requirements.lock anew: its first lines say how"


@once
def test_everything_locked_has_a_hash() -> None:
    blocks = re.split(r"\n(?=[A-Za-z0-9])", LOCK.partition("-o infra/requirements.lock\n")[2])
    assert len(blocks) > len(pins((ROOT / "requirements.txt").read_text()))
    assert [block.splitlines()[0] for block in blocks if "--hash=sha256:" not in block] == []


@once
def test_all_that_is_imported_is_locked() -> None:
    """A package that only the tests bring along would be missing where the function runs."""
    sources = [path for path in (ROOT / "d365mcp").rglob("*.py") if "simulator" not in path.parts]
    trees = [ast.parse(path.read_text()) for path in (*sources, ROOT / "function_app.py")]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    named = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    named |= {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module}
    foreign = {name.split(".")[0] for name in named} - sys.stdlib_module_names - {"d365mcp"}
    locked = {name for name, _ in pins(LOCK)}
    found = packages_distributions()
    missing = [name for name in foreign if not locked & {canonical(each) for each in found.get(name, ())}]
    assert foreign and missing == []


def test_a_clean_install_of_the_lock_resolves() -> None:
    """With the hashes, from nothing: each Python's own marks apply."""
    options = ["--quiet", "--dry-run", "--ignore-installed", "--require-hashes", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "install", *options, "-r", str(ROOT / "infra" / "requirements.lock")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    if "Retrying" in done.stderr and done.returncode:
        pytest.skip("the package index is not reached")
    assert done.returncode == 0, done.stderr
