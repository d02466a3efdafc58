"""What is deployed is what the function needs, no more and no less, and its bytecode holds.

The whole package is laid once, for the Python of Flex Consumption; most tests do with ours alone and this Python.
"""

import json
import os
import re
import shutil
import struct
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from importlib.util import cache_from_source
from pathlib import Path

import httpx
import pytest

from tests.cached import python_environment
from tests.dev_host import ROOT, DevHost
from tests.infra.programs import python
from tests.simulated import Simulator

CLEAN = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
PACKAGES = Path(".python_packages", "lib", "site-packages")
RUNTIME = "azure-functions-runtime==1.3.0"
QUERY = {"name": "d365fo_query_entities", "arguments": {"entity_name": "CustomersV3", "top": 2}}


def package(
    folder: Path, *options: str, python: str = sys.executable, seconds: float = 60
) -> subprocess.CompletedProcess[str]:
    command = [str(ROOT / "infra" / "package"), str(folder), *options]
    return subprocess.run(command, env={**CLEAN, "PYTHON": python}, capture_output=True, text=True, timeout=seconds)


@pytest.fixture(scope="module")
def packaged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("package")
    done = package(folder, "--without-packages")
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def laid(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("laid")
    done = package(folder, python=python("3.13"), seconds=300)
    assert done.returncode == 0, done.stderr
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def unzipped(laid: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The package after a zip's round trip, which gives every file another time."""
    folder = tmp_path_factory.mktemp("unzipped")
    with zipfile.ZipFile(folder / "package.zip", "w") as archive:
        for path in laid.rglob("*"):
            archive.write(path, path.relative_to(laid))
    with zipfile.ZipFile(folder / "package.zip") as archive:
        archive.extractall(folder / "app")
    yield folder / "app"
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def copied(laid: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The package with bytecode of the usual kind for our own files, which does not hold when their times change."""
    folder = shutil.copytree(laid, tmp_path_factory.mktemp("copied") / "app", copy_function=os.link)
    shutil.rmtree(folder / "d365mcp")
    usual = shutil.copytree(laid / "d365mcp", folder.parent / "d365mcp")
    compiling = ["-m", "compileall", "-q", "-f", "--invalidation-mode", "timestamp", str(usual)]
    subprocess.run([python("3.13"), *compiling], check=True)
    shutil.copytree(usual, folder / "d365mcp", copy_function=shutil.copy)
    yield folder
    shutil.rmtree(folder.parent)


def stale(folder: Path) -> list[Path]:
    """Return the sources whose bytecode Python 3.13 would make anew at every start."""
    return [path for path in folder.rglob("*.py") if not holds(path)]


def holds(source: Path) -> bool:
    bytecode = Path(cache_from_source(str(source)).replace(sys.implementation.cache_tag, "cpython-313"))
    if not bytecode.exists():
        return False
    flags, time, size = struct.unpack("<III", bytecode.read_bytes()[4:16])
    found = source.stat()
    return flags == 1 or (flags == 0 and (time, size) == (int(found.st_mtime), found.st_size))


@pytest.mark.once
def test_no_bytecode_is_stale_after_the_way_to_azure(unzipped: Path, copied: Path) -> None:
    assert len(list(unzipped.rglob("*.py"))) > 2000
    assert stale(unzipped) == []
    assert len(stale(copied)) > 50


@pytest.mark.once
def test_the_package_compiles_nothing_when_it_starts(unzipped: Path, copied: Path, simulator: Simulator) -> None:
    """In Microsoft's own runtime, from its start to the first query's answer."""
    assert compiled(unzipped, simulator) == []
    assert len(compiled(copied, simulator)) > 50


# Runs a module, and at the end says which sources of an app it had to compile.
COMPILED = """
import atexit, json, runpy, sys
sources = []
def hook(event, given):
    if event == "compile" and str(given[1]).startswith(sys.argv[1]):
        sources.append(str(given[1]))
sys.addaudithook(hook)
atexit.register(lambda: print(json.dumps(sources), file=sys.stderr))
runpy.run_module("tests.functions_runtime", run_name="__main__", alter_sys=True)
"""


def compiled(app: Path, simulator: Simulator) -> list[str]:
    """Load the app, ask once, and return the sources that were compiled for it; everything comes from the package."""
    runtime = python_environment(RUNTIME, python=python("3.13"))
    [beside] = runtime.parent.parent.glob("lib/*/site-packages")
    environ = {
        **CLEAN,
        "PYTHONPATH": os.pathsep.join(map(str, (app, app / PACKAGES, beside, ROOT))),
        "PYTHONDONTWRITEBYTECODE": "1",
        "D365FO_BASE_URL": simulator.base_url,
        "MCP_AUTH": "none",
        **simulator.identity_environment(),
    }
    headers = {"host": "localhost", "content-type": "application/json", "mcp-protocol-version": "2025-11-25"}
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": QUERY})
    asked = [{"function": "mcp", "method": "POST", "url": "http://localhost/mcp", "headers": headers, "body": body}]
    done = subprocess.run(
        [python("3.13"), "-c", COMPILED, str(app)],
        input=json.dumps(asked),
        cwd=app,
        env=environ,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert '\\"isError\\":false' in done.stdout, done.stdout + done.stderr
    sources: list[str] = json.loads(done.stderr.splitlines()[-1])
    return sources


@pytest.mark.once
def test_the_list_of_contents_names_every_package(laid: Path, tmp_path: Path) -> None:
    """The tool is the real one; pipx alone, which brings it, is stood in for."""
    pipx = tmp_path / "pipx"
    tools = python_environment("cyclonedx-bom==7.5.0").parent
    pipx.write_text(f'#!/bin/sh\n[ "$2 $3" = "--spec cyclonedx-bom==7.5.0" ] && shift 3 && exec {tools}/"$@"\n')
    pipx.chmod(0o755)
    environ = {**CLEAN, "PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHON": python("3.13")}
    command = [ROOT / "infra" / "contents", laid, tmp_path / "contents.json"]
    subprocess.run(command, env=environ, check=True, timeout=120)
    contents = json.loads((tmp_path / "contents.json").read_text())
    installed = {
        tuple(path.name.removesuffix(".dist-info").split("-")) for path in (laid / PACKAGES).glob("*.dist-info")
    }
    listed = {(re.sub("[-.]", "_", each["name"]), each["version"]) for each in contents["components"]}
    assert contents["bomFormat"] == "CycloneDX"
    assert {(name.lower(), version) for name, version in listed} == {
        (re.sub("[-.]", "_", name).lower(), version) for name, version in installed
    }


@pytest.mark.once
def test_the_package_holds_the_function_and_nothing_else(packaged: Path, laid: Path) -> None:
    ours = {"d365mcp", "function_app.py", "host.json"}
    assert {path.name for path in laid.iterdir()} - {"__pycache__"} == ours | {".python_packages"}
    assert {path.name for path in packaged.iterdir()} - {"__pycache__"} == ours | {"requirements.txt"}
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
    assert package(tmp_path, "--without-packages").returncode == 0
    old = tmp_path / "d365mcp" / "removed_since.py"
    old.touch()
    done = package(tmp_path, "--without-packages")
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
    assert package(app, "--without-packages").returncode == 0
    source = app / "d365mcp" / "__init__.py"
    source.write_text(source.read_text().replace('__version__ = "', '__version__ = "recompiled-'))
    for path in app.rglob("*"):
        os.utime(path, (0, 0))
        path.chmod(0o555 if path.is_dir() else 0o444)
    command = [sys.executable, "-c", "import d365mcp.server.endpoint, d365mcp; print(d365mcp.__version__)"]
    done = subprocess.run(command, cwd=app, env=CLEAN, capture_output=True, text=True, timeout=60, check=True)
    assert "recompiled" not in done.stdout
