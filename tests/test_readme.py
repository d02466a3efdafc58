"""The README's tables and the tools' snapshots say what the code says."""

import re
from pathlib import Path

import pytest

from tests.rendered import ROOT, stale

PAGES = [ROOT / "README.md", ROOT / "infra" / "README.md"]


def test_rendered_pages_and_snapshots_are_up_to_date() -> None:
    outdated = [str(path.relative_to(ROOT)) for path in stale()]
    assert outdated == [], "run: python tests/rendered.py"


def test_the_top_level_is_exactly_the_design() -> None:
    visible = {path.name for path in ROOT.iterdir() if not path.name.startswith((".", "__"))}
    wanted = {"host.json", "function_app.py", "d365mcp", "tests", "infra", "requirements.txt", "README.md"}
    assert visible - {"local.settings.json"} == wanted


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", page.read_text())
    assert links
    for path, heading in links:
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), path
        assert not heading or heading in headings(target), f"{path}#{heading}"


def headings(page: Path) -> set[str]:
    """Return the anchors GitHub gives to a page's headings."""
    prose = re.sub("^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    lines = re.findall("^#+ (.+)$", prose, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", line).lower().replace(" ", "-") for line in lines}
