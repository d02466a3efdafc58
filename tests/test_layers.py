"""Imports go one way, as the drawing of the design says."""

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.alike

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
    "health": {"errors", "events", "settings", "environments", "server", "telemetry"},
    "environments": LOWEST | {"d365", "metadata", "tools"},
    "d365": LOWEST,
    "metadata": LOWEST | {"d365"},
    "sql": LOWEST | {"d365", "metadata"},
    "telemetry": LOWEST,
    "tools": LOWEST | {"d365", "metadata", "sql", "telemetry"},
    "server": LOWEST | {"tools"},
    "simulator": set(),
    "app": LOWEST | {"d365", "metadata", "sql", "telemetry", "tools", "server", "health", "environments"},
    "commands": LOWEST | {"app", "health", "tools", "server"},
    "__main__": {"commands"},
    "__init__": set(),
}
MODULES = sorted(PACKAGE.rglob("*.py"))


NAMES = {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in MODULES}


def imported(path: Path) -> Iterator[str]:
    """Yield every module a file imports: late ones, those for types only, and those it names in a string."""
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.Import():
                yield from (alias.name for alias in node.names)
            case ast.ImportFrom(module=str(module)):
                yield from (f"{module}.{alias.name}" for alias in node.names)
            case ast.Constant(value=str(text)) if text.partition(":")[0] in NAMES:
                yield text.partition(":")[0]
            case _:
                pass


def room_of(path: Path) -> str:
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_imports_only_what_its_room_may(path: Path) -> None:
    room = room_of(path)
    assert rooms_of(imported(path)) - {room} <= ALLOWED[room]


def rooms_of(names: Iterable[str]) -> set[str]:
    ours = (name.split(".")[1] for name in names if name.startswith("d365mcp."))
    return {room for room in ours if room in ALLOWED}


@pytest.mark.parametrize(
    "source",
    [
        "import d365mcp.server.sdk",
        "from d365mcp import server",
        "from d365mcp.server import sdk",
        "def late():\n    from d365mcp.server.sdk import Engine",
        "import_module('d365mcp.server.sdk')",
        "entry = 'd365mcp.server.sdk:Engine'",
    ],
)
def test_an_import_is_found_however_it_is_written(source: str, tmp_path: Path) -> None:
    path = tmp_path / "module.py"
    path.write_text(source)
    assert rooms_of(imported(path)) == {"server"}


def test_nothing_is_imported_by_a_name_that_is_made() -> None:
    assert [path for path in MODULES if {"importlib", "importlib.import_module"} & set(imported(path))] == []


def test_nobody_imports_the_simulator() -> None:
    importers = {room_of(path) for path in MODULES if "simulator" in rooms_of(imported(path))}
    assert importers <= {"simulator"}


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
