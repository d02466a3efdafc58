"""What a newcomer opens first works: the dev container, the editor's settings, the forms for issues, the contributor's page."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from tests.dev_host import ROOT
from tests.infra.linters import complaints, documents

pytestmark = pytest.mark.once

JSON_FILES = [*sorted((ROOT / ".vscode").glob("*.json")), ROOT / ".devcontainer" / "devcontainer.json"]
FORMS = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))
PAGES = [ROOT / ".github" / name for name in ("CONTRIBUTING.md", "SECURITY.md", "pull_request_template.md")]


def content(path: Path) -> dict:
    return dict(json.loads(path.read_text()))


@pytest.mark.parametrize("path", JSON_FILES, ids=lambda path: path.name)
def test_an_editor_can_read_its_files(path: Path) -> None:
    assert content(path)


def test_the_dev_container_has_the_python_that_is_deployed_and_runs_what_exists() -> None:
    container = content(ROOT / ".devcontainer" / "devcontainer.json")
    assert re.search(r"/python:3\.13\b", container["image"])
    assert any("/node:" in feature for feature in container["features"])
    for word in container["postCreateCommand"].split():
        assert not word.startswith(("./", "tests/")) or (ROOT / word).exists(), word


def test_the_editor_finds_the_server_that_the_readme_starts() -> None:
    [server] = content(ROOT / ".vscode" / "mcp.json")["servers"].values()
    assert f"point any MCP client at `{server['url']}`" in (ROOT / "README.md").read_text()
    assert server["url"].endswith(":7071/mcp") and content(JSON_FILES[-1])["forwardPorts"] == [7071]


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.name)
def test_a_form_for_issues_asks_for_something_under_names_of_its_own(path: Path) -> None:
    assert complaints("check-jsonschema", "--builtin-schema", "vendor.github-issue-forms", str(path)) == ""
    [form] = documents(path)
    asked = [part for part in form["body"] if part["type"] != "markdown"]
    assert form["name"] and form["description"] and any(part.get("validations", {}).get("required") for part in asked)
    assert len({part["id"] for part in asked}) == len(asked)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_a_page_for_contributors_names_what_exists(path: Path) -> None:
    named = re.findall(r"(?<![\w/])((?:\./)?(?:infra|tests|d365mcp|\.github|\.vscode)/[\w./]*)", path.read_text())
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_dependencies_are_looked_after_wherever_they_are_pinned() -> None:
    [settings] = documents(ROOT / ".github" / "dependabot.yml")
    watched = {each["package-ecosystem"]: set(each.get("directories", ())) for each in settings["updates"]}
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    files = [Path(name) for name in listed.stdout.splitlines()]

    def folders(name: str) -> set[str]:
        return {f"/{file.parent}".removesuffix(".") for file in files if file.name == name}

    assert folders("requirements.txt") == watched["pip"]
    assert folders("package.json") == watched["npm"]
