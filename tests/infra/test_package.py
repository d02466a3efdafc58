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
    listed = subprocess.run(["git", "ls-files", "d365mcp"], cwd=ROOT, capture_output=True, text=True, check=True)
    kept = {path for path in listed.stdout.splitlines() if not path.startswith("d365mcp/simulator/")}
    found = (path for path in (packaged / "d365mcp").rglob("*") if path.is_file() and path.suffix != ".pyc")
    assert {str(path.relative_to(packaged)) for path in found} == kept


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
def test_an_earlier_package_is_replaced(tmp_path: Path) -> None:
    assert package(tmp_path).returncode == 0
    old = tmp_path / "d365mcp" / "removed_since.py"
    old.touch()
    done = package(tmp_path)
    assert done.returncode == 0, done.stderr
    assert not old.exists() and (tmp_path / "d365mcp" / "app.py").exists()


@pytest.mark.once
@pytest.mark.parametrize(
    "held",
    [
        ["notes.txt"],
        ["d365mcp/__init__.py", "host.json", ".git/config"],
        ["d365mcp/__init__.py", "function_app.py", "host.json", "infra/package"],
        ["function_app.py", "host.json", "requirements.txt"],
    ],
    ids=str,
)
def test_a_folder_of_something_else_is_left_alone(held: list[str], tmp_path: Path) -> None:
    for name in held:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    done = package(tmp_path)
    assert done.returncode == 1
    assert "name another folder" in done.stderr
    assert {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()} == set(held)


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
