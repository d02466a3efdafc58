"""What the operator's pages name exists."""

import re

import pytest

from d365mcp.__main__ import main
from d365mcp.d365.auth import ENTRA_HINTS
from d365mcp.errors import D365McpError
from d365mcp.settings import declared
from d365mcp.tools import ALL_TOOLS
from tests.dev_host import ROOT

GUIDE = (ROOT / "infra" / "README.md").read_text()
PAGES = "\n".join(path.read_text() for path in sorted((ROOT / "infra").glob("*.md")))
# The table's left column is d365fo-client's; what stands to the right of it is ours.
OURS = re.sub(r"^\| [^|]*d365fo_[^|]*\|", "|", PAGES, flags=re.MULTILINE)
DEPLOYMENTS = (ROOT / "infra" / "main.bicep", ROOT / "infra" / "entra" / "entra.bicep")
OUTPUTS = {name for path in DEPLOYMENTS for name in re.findall(r"^output (\w+)", path.read_text(), re.MULTILINE)}

pytestmark = pytest.mark.once


def test_every_tool_is_offered() -> None:
    named = set(re.findall(r"\bd365fo_\w+", OURS))
    assert named and named <= {tool.name for tool in ALL_TOOLS}


def test_every_setting_is_read() -> None:
    named = set(re.findall(r"`((?:MCP|D365FO)_[A-Z_0-9]+)", PAGES))
    assert named <= {each.metadata["name"] for each in declared()}


def test_every_command_is_known() -> None:
    named = set(re.findall(r"python -m d365mcp (\w+)", PAGES))
    assert named and named <= main.commands.keys()


def test_every_file_exists() -> None:
    named = set(re.findall(r"(?<![\w/.])((?:\./)?(?:infra|tests|\.github)/[\w./-]*\w)", PAGES))
    assert named and [name for name in named if not (ROOT / name).exists()] == []


def test_every_alert_is_explained() -> None:
    rules = set(re.findall(r"^    name: '(\w+)'$", (ROOT / "infra" / "app" / "alerts.bicep").read_text(), re.MULTILINE))
    explained = GUIDE.partition("## When an alert fires")[2].partition("\n## ")[0]
    assert rules == set(re.findall(r"^\| `(\w+)` \|", explained, re.MULTILINE))


def test_every_code_of_entra_that_we_know_is_explained() -> None:
    explained = GUIDE.partition("## When something is wrong")[2].partition("\n## ")[0]
    assert ENTRA_HINTS.keys() <= set(re.findall(r"AADSTS\d+", explained))


def test_every_output_is_given() -> None:
    named = set(re.findall(r"[Oo]utput `(\w+)`", PAGES))
    assert "mcpEndpoint" in named and named <= OUTPUTS


def test_the_names_of_outputs_stay_as_they_are() -> None:
    """Azure Resource Manager gives FUNCTION_APP_NAME back as functioN_APP_NAME, and every query for it finds nothing.

    https://github.com/Azure/bicep/issues/9360
    """
    assert OUTPUTS and [name for name in OUTPUTS if not re.fullmatch("[a-z][A-Za-z]*", name)] == []


def codes(kind: type[D365McpError]) -> set[str]:
    return {kind.code}.union(*(codes(each) for each in kind.__subclasses__()))


def test_every_code_of_an_error_is_one_of_ours() -> None:
    named = set(re.findall(r"(?:says|code) `([a-z_]+)`", PAGES))
    assert {"throttled", "busy"} <= named and named <= codes(D365McpError)
