"""The lock pins and hashes what requirements.txt asks for, installs on every Python, and holds all that is imported."""

import ast
import re
import sys
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

import pytest

from tests.dev_host import ROOT
from tests.infra.linters import complaints

PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", re.MULTILINE)
LOCKED = ROOT / "infra" / "requirements.lock"
LOCK = LOCKED.read_text()

pytestmark = pytest.mark.once


def pins(text: str) -> set[tuple[str, str]]:
    return {(canonical(name), version) for name, version in PIN.findall(text)}


def canonical(name: str) -> str:
    return re.sub("[-_.]+", "-", name).lower()


def test_the_lock_holds_every_pin() -> None:
    wanted = pins((ROOT / "requirements.txt").read_text())
    assert wanted and wanted <= pins(LOCK), "make infra/requirements.lock anew: its first lines say how"


def modules_of(package: str) -> set[str]:
    """Return what an installed package adds to import: its folders, and its files without `.py` or `.cpython-313….so`."""
    try:
        return {path.parts[0].partition(".")[0] for path in files(package) or ()}
    except PackageNotFoundError:  # it is locked for other systems
        return set()


def test_everything_locked_has_a_hash() -> None:
    blocks = re.split(r"\n(?=[A-Za-z0-9])", LOCK.partition("-o infra/requirements.lock\n")[2])
    assert len(blocks) > len(pins((ROOT / "requirements.txt").read_text()))
    assert [block.splitlines()[0] for block in blocks if "--hash=sha256:" not in block] == []


def test_all_that_is_imported_is_locked() -> None:
    """A package that only the tests bring along would be missing where the function runs."""
    sources = [path for path in (ROOT / "d365mcp").rglob("*.py") if "simulator" not in path.parts]
    trees = [ast.parse(path.read_text()) for path in (*sources, ROOT / "function_app.py")]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    named = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    named |= {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module}
    foreign = {name.split(".")[0] for name in named} - sys.stdlib_module_names - {"d365mcp"}
    locked = {module for name, _ in pins(LOCK) for module in modules_of(name)}
    assert foreign and foreign - locked == set()


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13"])
def test_a_clean_install_of_the_lock_resolves(python: str, tmp_path: Path) -> None:
    """From wheels alone, as each Python's own marks have it."""
    options = ["--dry-run", "--require-hashes", "--only-binary", ":all:", "--target", str(tmp_path)]
    assert uv("install", *options, "--python-version", python, "--requirements", str(LOCKED)) == ""


def test_the_lock_is_what_the_requirements_come_to(tmp_path: Path) -> None:
    """Nothing is missing or left over, and the index knows every hash."""
    made = tmp_path / "made.lock"
    options = [
        "--universal",
        "--generate-hashes",
        "--no-annotate",
        "--python-version",
        "3.11",
        "--output-file",
        str(made),
    ]
    assert uv("compile", *options, "--constraints", str(LOCKED), str(ROOT / "requirements.txt")) == ""
    locked, known = hashes(LOCK), hashes(made.read_text())
    assert locked.keys() == known.keys()
    assert [name for name in locked if not locked[name] <= known[name]] == []


def uv(*arguments: str) -> str:
    """Return what uv finds wrong."""
    told = complaints("uv", "pip", *arguments, "--quiet")
    if "error sending request" in told:
        pytest.skip("the package index is not reached")
    return told


def hashes(lock: str) -> dict[str, set[str]]:
    """Return the hashes of each pin."""
    blocks = re.findall(r"^([\w.-]+==\S+)(.*(?:\n    --hash=.*)+)", lock, re.MULTILINE)
    return {pin: set(re.findall(r"sha256:(\w+)", rest)) for pin, rest in blocks}
