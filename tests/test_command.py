"""The operator's command builds the catalog and says which one serves."""

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.dev_host import ROOT
from tests.simulated import Simulator


def command(simulator: Simulator | None, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    given = {"D365FO_BASE_URL": simulator.base_url, **simulator.identity_environment()} if simulator else {}
    environ = {**{name: value for name, value in os.environ.items() if not name.startswith("D365FO_")}, **given}
    return subprocess.run(
        [sys.executable, "-m", "d365mcp", *arguments],
        cwd=ROOT,
        env={**environ, "TMPDIR": str(folder)},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_a_catalog_is_built_and_shown(simulator: Simulator, tmp_path: Path) -> None:
    before = command(simulator, tmp_path, "catalog", "status")
    assert "none yet" in before.stdout
    built = command(simulator, tmp_path, "catalog", "build")
    assert built.returncode == 0, built.stderr
    assert "labels" in built.stderr
    shown = json.loads(command(simulator, tmp_path, "catalog", "status", "--json").stdout)
    assert shown["snapshot"]["entities"] == 91
    assert shown["last_build"]["state"] == "done"


def test_a_failing_build_says_why(simulator: Simulator, tmp_path: Path) -> None:
    simulator.fault("/metadata/", status=403, times=9)
    failed = command(simulator, tmp_path, "catalog", "build")
    assert failed.returncode == 1
    assert "security roles" in failed.stderr


def test_missing_settings_are_all_named(tmp_path: Path) -> None:
    done = command(None, tmp_path, "catalog", "status")
    assert done.returncode == 2
    assert "D365FO_BASE_URL is not set." in done.stderr


def test_help_has_examples(tmp_path: Path) -> None:
    assert "python -m d365mcp catalog build" in command(None, tmp_path, "catalog", "--help").stdout
