"""Asks the judge, a program around two libraries of others, what it makes of what we say; skips where there is none.

`judge odata|requests|responses METADATA.xml`, with Microsoft's own OData library, reads URLs, requests or answers as JSON
lines and writes one `{"ok", "error" or what it read}` for each. `judge mcp URL [HEADER:VALUE]`, with the official C# SDK,
says what a server offers, then answers calls.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest


def judged(mode: str, metadata: str, lines: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return a verdict per line."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "metadata.xml")
        path.write_text(metadata, encoding="utf-8")
        given = list(lines)
        verdicts = said(given, mode, str(path))
    assert len(verdicts) == len(given)
    return verdicts


def conversed(url: str, lines: Iterable[Mapping[str, Any]], *headers: str) -> list[dict[str, Any]]:
    """Return what the C# SDK is offered, then what it gets for each {"tool", "arguments"} or {"resource"}."""
    return said(lines, "mcp", url, *headers)


def said(lines: Iterable[Mapping[str, Any]], *arguments: str) -> list[dict[str, Any]]:
    program = os.environ.get("JUDGE") or shutil.which("judge")
    if program is None:
        pytest.skip("the judge is neither in JUDGE nor on PATH")
    given = "".join(f"{json.dumps(line)}\n" for line in lines)
    done = subprocess.run([program, *arguments], input=given, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]
