"""What is deployed is what the function needs, no more and no less, and its bytecode holds."""

import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.dev_host import ROOT, DevHost

CLEAN = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


def package(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [str(ROOT / "infra" / "package"), str(folder), *options]
    return subprocess.run(command, env={**CLEAN, "PYTHON": sys.executable}, capture_output=True, text=True, timeout=60)


@pytest.fixture(scope="module")
def packaged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("package")
    done = package(folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.once
def test_the_package_holds_the_function_and_nothing_else(packaged: Path) -> None:
    assert {path.name for path in packaged.iterdir()} - {"__pycache__"} == {
        "d365mcp",
        "function_app.py",
        "host.json",
        "requirements.txt",
    }
    ours = {path.relative_to(ROOT) for path in (ROOT / "d365mcp").rglob("*.py") if "simulator" not in path.parts}
    assert {path.relative_to(packaged) for path in packaged.rglob("d365mcp/**/*.py")} == ours


@pytest.mark.once
def test_every_module_loads_from_the_package_alone(packaged: Path) -> None:
    modules = [".".join(path.relative_to(packaged).with_suffix("").parts) for path in packaged.rglob("*.py")]
    names = [name.removesuffix(".__init__") for name in modules]
    command = [sys.executable, "-c", "import importlib, sys; [importlib.import_module(name) for name in sys.argv[1:]]"]
    done = subprocess.run([*command, *names], cwd=packaged, env=CLEAN, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


@pytest.mark.once
def test_the_package_answers(packaged: Path) -> None:
    with DevHost(packaged, environ={"PYTHONPATH": str(packaged), "D365FO_BASE_URL": "https://x.example"}) as host:
        asked = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
        answer = httpx.post(f"{host.base_url}/mcp", json=asked, headers={"accept": "application/json"})
    assert len(answer.json()["result"]["tools"]) > 9


@pytest.mark.once
def test_a_folder_that_holds_something_is_left_alone(packaged: Path) -> None:
    done = package(packaged)
    assert done.returncode == 1
    assert "name a new folder" in done.stderr


def test_bytecode_is_used_whatever_the_sources_times_are(tmp_path: Path) -> None:
    """Recompiling costs every cold start seconds."""
    app = tmp_path / "app"
    assert package(app).returncode == 0
    source = app / "d365mcp" / "__init__.py"
    source.write_text(source.read_text().replace('__version__ = "', '__version__ = "recompiled-'))
    for path in app.rglob("*"):
        os.utime(path, (0, 0))
        path.chmod(0o555 if path.is_dir() else 0o444)
    command = [sys.executable, "-c", "import d365mcp.server.endpoint, d365mcp; print(d365mcp.__version__)"]
    done = subprocess.run(command, cwd=app, env=CLEAN, capture_output=True, text=True, timeout=60, check=True)
    assert "recompiled" not in done.stdout
