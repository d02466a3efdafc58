"""Renders from code what people and clients read: the pages' tables, each tool's snapshot, the prepared answers.

`python tests/rendered.py` rewrites them all.
"""

import asyncio
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from d365mcp.app import Application  # noqa: E402 - the checkout is on the path only now
from d365mcp.server.ordinary import FRAGMENTS  # noqa: E402
from d365mcp.settings import declared, read_settings  # noqa: E402
from d365mcp.tools import ALL_TOOLS  # noqa: E402
from d365mcp.tools.tool import Tool  # noqa: E402
from tests import prepared_answers  # noqa: E402
from tests.clients import matrix  # noqa: E402

SNAPSHOTS = ROOT / "tests" / "snapshots"
PAGES = (ROOT / "README.md", *sorted((ROOT / "infra").glob("*.md")))
BICEP = ROOT / "infra" / "main.bicep"
PARAMETER = re.compile(r"@description\('(.*)'\)\n(?:@.*\n)*param (\w+) \w+(?: = (.+))?\n")


def settings_table() -> str:
    rows = [f"| `{each.metadata['name']}` | {default(each)} | {each.metadata['text']} |" for each in declared()]
    return "\n".join(["| setting | default | what it does |", "|---|---|---|", *rows])


def default(each: Any) -> str:
    value = each.default
    if not value and value is not False:
        return ""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, float):
        return f"`{value:g}`"
    return f"`{','.join(value)}`" if isinstance(value, tuple) else f"`{value}`"


def tools_table() -> str:
    rows = [
        f"| `{tool.name}` | {tool.toolset} | {'read' if tool.read_only else 'write'} | {tool.description} |"
        for tool in ALL_TOOLS
    ]
    return "\n".join(["| tool | toolset | access | what it does |", "|---|---|---|---|", *rows])


def parameters_table() -> str:
    rows = [
        f"| `{name}` | {parameter_default(given)} | {text.replace(chr(92), '')} |"
        for text, name, given in PARAMETER.findall(BICEP.read_text())
    ]
    return "\n".join(["| parameter | default | what it does |", "|---|---|---|", *rows])


def parameter_default(given: str) -> str:
    """Return a default as the table has it: nothing where it is empty."""
    if not given:
        return "required"
    return "" if given in ("''", "[]", "{}") else f"`{given}`"


def with_tables(page: str) -> str:
    """Return a page with the tables between its markers (`<!-- tools -->` … `<!-- /tools -->`) made anew."""
    for name, table in (
        ("settings", settings_table()),
        ("tools", tools_table()),
        ("parameters", parameters_table()),
        ("clients", matrix.clients_table()),
        ("gateways", matrix.gateways_table()),
    ):
        start, end = f"<!-- {name} -->", f"<!-- /{name} -->"
        if start in page:
            before, rest = page.split(start, 1)
            page = f"{before}{start}\n{table}\n{end}{rest.split(end, 1)[1]}"
    return page


def snapshot(tool: Tool) -> str:
    """Return what a client sees of a tool, as reviewable JSON."""
    described = {
        "name": tool.name,
        "title": tool.title,
        "description": tool.description,
        "toolset": tool.toolset,
        "annotations": {
            "readOnlyHint": tool.read_only,
            "destructiveHint": tool.destructive,
            "idempotentHint": tool.idempotent,
            "openWorldHint": tool.open_world,
        },
        "inputSchema": tool.input_schema,
        "outputSchema": tool.output_schema,
    }
    return json.dumps(described, indent=2, ensure_ascii=False, sort_keys=True) + "\n"


def rendered() -> Iterator[tuple[Path, str]]:
    """Yield every rendered file with the text it should have."""
    for page in PAGES:
        yield page, with_tables(page.read_text())
    engine = Application(read_settings({})).load_engine()
    yield FRAGMENTS, prepared_answers.text(asyncio.run(prepared_answers.prepare(engine)))
    for tool in ALL_TOOLS:
        yield SNAPSHOTS / f"{tool.name}.json", snapshot(tool)


def stale() -> list[Path]:
    """Return the rendered files that differ from the code, and snapshots of tools that are gone."""
    wanted = dict(rendered())
    gone = [path for path in SNAPSHOTS.glob("*.json") if path not in wanted]
    return [path for path, text in wanted.items() if not path.exists() or path.read_text() != text] + gone


def write() -> None:
    SNAPSHOTS.mkdir(exist_ok=True)
    for path in SNAPSHOTS.glob("*.json"):
        path.unlink()
    for path, text in rendered():
        path.write_text(text)


if __name__ == "__main__":
    write()
