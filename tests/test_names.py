"""One word for each idea, and one idea for each name."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.alike

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "d365mcp"
CODE = sorted([ROOT / "function_app.py", *PACKAGE.rglob("*.py"), *(ROOT / "infra").rglob("*.py")])

# The word that is no name here, and what the field calls it.
RETIRED = {
    "told": "message, detail",
    "mend": "hint",
    "mends": "hints",
    "mended": "corrected",
    "mending": "correcting",
    "shown": "described, rendered, displayed",
    "noted": "recorded, with_notes",
    "moment": "instant, timestamp",
    "moments": "instants",
    "vain": "without result",
    "whom": "caller, identity",
    "such": "the thing itself",
    "keeper": "cache",
    "judge": "score, check",
    "judging": "scoring",
    "canary": "secret marker",
    "canaries": "secret markers",
}
WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")


def names_in(path: Path) -> Iterator[tuple[str, int]]:
    """Yield every name that a file gives to something, public or private, and its line."""
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                yield node.name, node.lineno
            case ast.arg():
                yield node.arg, node.lineno
            case ast.Name(ctx=ast.Store()):
                yield node.id, node.lineno
            case ast.Attribute(ctx=ast.Store()):
                yield node.attr, node.lineno
            case ast.alias(asname=str(asname)):
                yield asname, node.lineno
            case _:
                pass


@pytest.mark.parametrize("path", CODE, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_name_has_a_retired_word(path: Path) -> None:
    words = ((word.lower(), name, line) for name, line in names_in(path) for word in WORD.findall(name))
    assert [f"line {line}: {name} (write: {RETIRED[word]})" for word, name, line in words if word in RETIRED] == []


def test_no_module_has_a_retired_word_for_its_name() -> None:
    assert [path for path in CODE if RETIRED.keys() & set(path.stem.split("_"))] == []


def public(path: Path) -> Iterator[str]:
    """Yield the functions and classes that a module shows to others."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            yield node.name


def test_no_public_name_means_two_things() -> None:
    """The simulator is left out: it is another program, and shares no name with the server on purpose."""
    homes: dict[str, list[str]] = defaultdict(list)
    for path in sorted(PACKAGE.rglob("*.py")):
        if "simulator" not in path.parts:
            for name in public(path):
                homes[name].append(str(path.relative_to(PACKAGE)))
    assert {name: places for name, places in homes.items() if len(places) > 1} == {}
