"""The README's tables and the tools' snapshots say what the code says."""

from tests.rendered import ROOT, stale


def test_rendered_pages_and_snapshots_are_up_to_date() -> None:
    outdated = [str(path.relative_to(ROOT)) for path in stale()]
    assert outdated == [], "run: python tests/rendered.py"


def test_the_top_level_is_exactly_the_design() -> None:
    visible = {path.name for path in ROOT.iterdir() if not path.name.startswith((".", "__"))}
    wanted = {"host.json", "function_app.py", "d365mcp", "tests", "infra", "requirements.txt", "README.md"}
    assert visible - {"local.settings.json"} == wanted
