"""How many calls and tokens a user's request costs: forty dialogues, played through a real MCP client.

    python -m tests.benchmarks.agents                     # the table
    python -m tests.benchmarks.agents --show "on hold"    # the answers of one dialogue, as the model reads them
    python -m tests.benchmarks.agents --json now.json     # kept, to be compared

Tokens are characters of the results' texts divided by four. An answer is lost where no call of a step says what it must.
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mcp import Client

from tests.benchmarks.dialogues import DIALOGUES, Dialogue
from tests.dev_host import ROOT
from tests.served import serving
from tests.simulated import Simulator

CHARS_A_TOKEN = 4
# What the dialogues took when they were written, in November 2026.
FIRST = Path(__file__).with_name("agents.json")
SETTINGS = {"MCP_READ_ONLY": "false", "MCP_TOOLSETS": "all", "D365FO_ALLOWED_ACTIONS": "*"}


@dataclass(frozen=True)
class Cost:
    """What a dialogue took, and the first text that no answer had."""

    request: str
    calls: int
    tokens: int
    lost: str = ""


async def played(client: Client, dialogue: Dialogue, *, show: bool) -> Cost:
    """Play a dialogue to its end, or to the step that finds no answer."""
    calls, chars = 0, 0
    for step in dialogue.steps:
        text = ""
        for tool, arguments in step.calls:
            answer: Any = await client.call_tool(f"d365fo_{tool}", arguments)
            text = getattr(answer.content[0], "text", "")
            calls, chars = calls + 1, chars + len(text)
            if show:
                print(f"\n{tool} {json.dumps(arguments)}\n  {text}")
            if not missing(text, step.says):
                break
        if lost := missing(text, step.says):
            return Cost(dialogue.request, calls, chars // CHARS_A_TOKEN, lost)
    return Cost(dialogue.request, calls, chars // CHARS_A_TOKEN)


def missing(text: str, says: tuple[str, ...]) -> str:
    return next((each for each in says if each not in text), "")


def costs(dialogues: tuple[Dialogue, ...], *, show: bool) -> list[Cost]:
    """Play the dialogues, each over a fresh F&O, with a catalog."""
    simulator = Simulator.start()
    try:
        with serving(simulator, **SETTINGS) as served:
            build_catalog(simulator)
            return asyncio.run(played_all(served.url, simulator, dialogues, show=show))
    finally:
        simulator.stop()


def build_catalog(simulator: Simulator) -> None:
    identity = {"D365FO_AUTH": "managed_identity", **simulator.identity_environment()}
    environ = {**os.environ, "D365FO_BASE_URL": simulator.base_url, "MCP_AUTH": "none", **identity}
    command = [sys.executable, "-m", "d365mcp", "catalog", "build"]
    subprocess.run(command, cwd=ROOT, env=environ, check=True, capture_output=True)


async def played_all(url: str, simulator: Simulator, dialogues: tuple[Dialogue, ...], *, show: bool) -> list[Cost]:
    found = []
    for dialogue in dialogues:
        await asyncio.to_thread(simulator.reset)
        async with Client(url) as client:
            found.append(await played(client, dialogue, show=show))
    return found


def table(found: list[Cost]) -> str:
    """Return a line for each dialogue, beside what it took when the dialogues were written."""
    then = {row["request"]: row for row in json.loads(FIRST.read_text())} if FIRST.exists() else {}
    before = [Cost(**then[cost.request]) if cost.request in then else cost for cost in found]
    rows = [
        f"{then.calls:5} {cost.calls:5} {then.tokens:8} {cost.tokens:7}  {cost.request}{' LOST: ' * bool(cost.lost)}{cost.lost}"
        for then, cost in zip(before, found, strict=True)
    ]
    medians = [statistics.median(cost.tokens for cost in each) for each in (before, found)]
    sums = [sum(cost.calls for cost in each) for each in (before, found)]
    return "\n".join(
        [
            "calls   now   tokens     now  request",
            *rows,
            f"{sums[0]:5} {sums[1]:5} {medians[0]:8.0f} {medians[1]:7.0f}  calls in all, tokens in the median: "
            f"{medians[1] / medians[0] - 1:+.0%}; {sum(1 for cost in found if cost.lost)} of {len(found)} lost",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--show", metavar="TEXT", help="play the dialogues with this text, and print every answer")
    parser.add_argument("--json", type=Path, help="keep the figures in this file")
    options = parser.parse_args()
    chosen = tuple(each for each in DIALOGUES if not options.show or options.show.lower() in each.request.lower())
    found = costs(chosen, show=bool(options.show))
    print(table(found))
    if options.json:
        options.json.write_text(json.dumps([asdict(cost) for cost in found], indent=1))


if __name__ == "__main__":
    main()
