"""The deployed package's bytecode is used even where files are read-only and their times have changed."""

import compileall
import os
import py_compile
import shutil
import subprocess
import sys
from pathlib import Path

from tests.dev_host import ROOT


def test_unchecked_bytecode_is_used_whatever_the_sources_times_are(tmp_path: Path) -> None:
    """As the workflow packages it; recompiling costs every cold start seconds."""
    package = tmp_path / "d365mcp"
    shutil.copytree(ROOT / "d365mcp", package, ignore=shutil.ignore_patterns("__pycache__", "simulator"))
    unchecked = py_compile.PycInvalidationMode.UNCHECKED_HASH
    assert compileall.compile_dir(str(package), quiet=1, invalidation_mode=unchecked)
    source = package / "__init__.py"
    source.write_text(source.read_text().replace('__version__ = "', '__version__ = "recompiled-'))
    for path in tmp_path.rglob("*"):
        os.utime(path, (0, 0))
        path.chmod(0o555 if path.is_dir() else 0o444)
    command = [sys.executable, "-c", "import d365mcp.server.endpoint, d365mcp; print(d365mcp.__version__)"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True)
    assert "recompiled" not in done.stdout
