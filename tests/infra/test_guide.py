"""What the operations guide names exists."""

import re

import pytest

from d365mcp.__main__ import main
from d365mcp.settings import declared
from d365mcp.tools import ALL_TOOLS
from tests.dev_host import ROOT

GUIDE = (ROOT / "infra" / "README.md").read_text()
# The table's left column is d365fo-client's; what stands to the right of it is ours.
OURS = re.sub(r"^\| [^|]*d365fo_[^|]*\|", "|", GUIDE, flags=re.MULTILINE)

pytestmark = pytest.mark.once


def test_every_tool_is_offered() -> None:
    named = set(re.findall(r"\bd365fo_\w+", OURS))
    assert named and named <= {tool.name for tool in ALL_TOOLS}


def test_every_setting_is_read() -> None:
    named = set(re.findall(r"`((?:MCP|D365FO)_[A-Z_0-9]+)", GUIDE))
    assert named <= {each.metadata["name"] for each in declared()}


def test_every_command_is_known() -> None:
    named = set(re.findall(r"python -m d365mcp (\w+)", GUIDE))
    assert named and named <= main.commands.keys()
