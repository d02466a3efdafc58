"""The pages' tables, links and drawing say what the code says."""

import re
from pathlib import Path

import pytest

from tests.rendered import PAGES, ROOT, stale
from tests.test_layers import ALLOWED

pytestmark = pytest.mark.alike

README = (ROOT / "README.md").read_text()
LINKED = [*PAGES, *sorted((ROOT / ".github").glob("*.md"))]


def test_rendered_pages_and_snapshots_are_up_to_date() -> None:
    outdated = [str(path.relative_to(ROOT)) for path in stale()]
    assert outdated == [], "run: python tests/rendered.py"


def test_the_top_level_is_exactly_the_design() -> None:
    visible = {path.name for path in ROOT.iterdir() if not path.name.startswith((".", "__"))}
    wanted = {"host.json", "function_app.py", "d365mcp", "tests", "infra", "requirements.txt", "README.md"}
    assert visible - {"local.settings.json"} == wanted


def test_each_table_stands_once() -> None:
    for name in ("settings", "tools", "parameters", "clients", "gateways"):
        having = [page.name for page in PAGES if f"<!-- {name} -->" in page.read_text()]
        assert len(having) == 1, (name, having)


def test_each_page_is_linked_from_the_readme() -> None:
    linked = {(ROOT / path).resolve() for path, _ in links(README)}
    assert {page.resolve() for page in PAGES if page.parent != ROOT} <= linked


def test_the_drawing_has_each_room_and_no_other() -> None:
    drawing = README.partition("## How it is built")[2].partition("```\n")[2].partition("```")[0]
    named = set(re.findall(r"\b\w+(?:/|\.py)", drawing)) - {"function_app.py"}
    package = ROOT / "d365mcp"
    there = {path.name for path in package.glob("*.py")} | {
        f"{path.parent.name}/" for path in package.glob("*/__init__.py")
    }
    inner = {f"{path.parent.name}/" for path in package.glob("*/*/__init__.py")}
    assert there - {"__init__.py", "__main__.py"} <= named <= there | inner
    way = re.findall(r"(\w+)(?:/|\.py)", drawing.splitlines()[0])[1:]
    assert [room for place, room in enumerate(way) if ALLOWED[room] & set(way[:place])] == [], (
        "imports go left to right"
    )


def test_the_picture_of_a_request_names_what_exists() -> None:
    picture = README.partition("```mermaid")[2].partition("```")[0]
    named = re.findall(r"(?<![\w/])((?:\w+/)+(?:\w+\.py)?|\w+\.py|\w+\.json)", picture)
    assert len(named) > 8
    assert [name for name in named if not ((ROOT / name).exists() or (ROOT / "d365mcp" / name).exists())] == []


@pytest.mark.parametrize("page", LINKED, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    for path, heading in links(page.read_text()):
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), path
        assert not heading or heading in headings(target), f"{path}#{heading}"


def links(text: str) -> list[tuple[str, str]]:
    """Return the targets of a page's links to files of this repository, each with its heading."""
    return re.findall(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", text)


def headings(page: Path) -> set[str]:
    """Return the anchors GitHub gives to a page's headings."""
    prose = re.sub("^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    lines = re.findall("^#+ (.+)$", prose, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", line).lower().replace(" ", "-") for line in lines}
