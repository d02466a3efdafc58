"""Asks the judge, a program around Microsoft's own OData library, what it makes of URLs, requests and answers.

`judge odata|requests|responses METADATA.xml` reads JSON lines and writes one `{"ok", "error" or what it read}` for each.
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
    """Return a verdict per line; the test is skipped where there is no judge."""
    program = os.environ.get("JUDGE") or shutil.which("judge")
    if program is None:
        pytest.skip("the judge of OData is neither in JUDGE nor on PATH")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "metadata.xml")
        path.write_text(metadata, encoding="utf-8")
        given = "".join(f"{json.dumps(line)}\n" for line in lines)
        done = subprocess.run([program, mode, str(path)], input=given, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    verdicts = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(verdicts) == given.count("\n")
    return verdicts
