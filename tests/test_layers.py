"""Imports go one way, as the drawing of the design says."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "d365mcp"

# What each room may import of ours, beside itself.
LOWEST = {"errors", "events", "lazy", "settings", "singleflight", "storage", "wire"}
ALLOWED = {
    "errors": set(),
    "lazy": {"errors", "singleflight"},
    "events": set(),
    "settings": set(),
    "singleflight": set(),
    "storage": {"errors", "settings"},
    "wire": set(),
    "health": {"errors", "settings"},
    "d365": LOWEST,
    "metadata": LOWEST | {"d365"},
    "sql": LOWEST | {"d365", "metadata"},
    "telemetry": LOWEST,
    "tools": LOWEST | {"d365", "metadata", "sql", "telemetry"},
    "server": LOWEST | {"tools"},
    "simulator": set(),
    "app": LOWEST | {"d365", "metadata", "sql", "telemetry", "tools", "server", "health"},
    "commands": LOWEST | {"app", "health", "tools", "server"},
    "__main__": {"commands"},
    "__init__": set(),
}
MODULES = sorted(PACKAGE.rglob("*.py"))


def imported(path: Path) -> Iterator[str]:
    """Yield every module a file imports, also late and for types only."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def room_of(path: Path) -> str:
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_imports_only_what_its_room_may(path: Path) -> None:
    room = room_of(path)
    ours = {name.split(".")[1] for name in imported(path) if name.startswith("d365mcp.")}
    assert ours - {room} <= ALLOWED[room]


def test_only_one_module_imports_the_sdk() -> None:
    importers = {path for path in MODULES if any(name.split(".")[0] in ("mcp", "mcp_types") for name in imported(path))}
    assert {str(path.relative_to(PACKAGE)) for path in importers} == {"server/sdk.py"}


def test_only_telemetry_imports_opencensus() -> None:
    importers = {room_of(path) for path in MODULES if any(name.startswith("opencensus") for name in imported(path))}
    assert importers <= {"telemetry"}


def test_only_settings_read_the_environment() -> None:
    readers = {
        str(path.relative_to(PACKAGE))
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv")
    }
    assert readers <= {"settings/__init__.py"}
