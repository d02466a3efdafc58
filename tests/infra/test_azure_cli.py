"""Every `az` that a page, a workflow or a comment names is one of azure-cli's own, options included.

Whole blocks are run: test_walkthrough.py and test_workflows.py.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.dev_host import ROOT
from tests.infra.azure import Azure

pytestmark = pytest.mark.once

PAGES = [ROOT / "README.md", *ROOT.glob(".github/workflows/*.yml")]
PAGES += [path for path in (ROOT / "infra").rglob("*") if path.suffix in (".md", ".bicep", ".bicepparam", ".yaml")]
# A command with all that follows on its line and on those a backslash adds; inside of prose up to the backtick.
COMMAND = re.compile(r"(?<![\w.-])az (?!and )((?:[a-z][\w-]* ?)+)((?:\\\n|[^\n`])*)")


def commands() -> Iterator[tuple[str, frozenset[str]]]:
    """Yield each command with the options given to it."""
    for page in PAGES:
        for words, rest in COMMAND.findall(page.read_text()):
            given = re.split(r"[|;)(]|&&", rest, maxsplit=1)[0]
            yield words.strip(), frozenset(re.findall(r"(?<!\S)(--?[a-z][\w-]*)", given))


@pytest.fixture
def azure(tmp_path: Path, cli: dict[str, str]) -> Azure:
    return Azure(tmp_path / "azure", cli, {})


@pytest.mark.parametrize(("words", "options"), sorted(set(commands()), key=str), ids=str)
def test_a_command_and_its_options_exist(words: str, options: frozenset[str], azure: Azure) -> None:
    done = azure.paste(ROOT, f"az {words} --help")
    assert done.returncode == 0, done.stderr
    known = set(re.findall(r"(?<![\w-])--?[a-z][\w-]*", done.stdout))
    assert options <= known, options - known


def test_a_misspelt_option_would_be_found(azure: Azure) -> None:
    wrong = "az functionapp show --resource-gruop rg --name func-d365mcp"
    assert "unrecognized arguments: --resource-gruop" in azure.paste(ROOT, wrong).stderr
