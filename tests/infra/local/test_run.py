"""`infra/local/run` makes its environment, starts what is needed, and leaves nothing running."""

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from mcp import Client

pytestmark = pytest.mark.once

HERE = Path(__file__).parent
ROOT = HERE.parent.parent.parent
LAST_LINE = "Ctrl-C stops it."


@dataclass
class Run:
    """infra/local/start.py at work, and what it has printed."""

    process: subprocess.Popen[str]
    output: str = ""

    def read_until(self, text: str) -> str:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.output += line
            if text in line:
                return self.output
        raise AssertionError(f'"{text}" was not printed:\n{self.output}')

    def programs(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def finish(self) -> int:
        """Read to the end and return the exit status."""
        assert self.process.stdout is not None
        self.output += self.process.stdout.read()
        return self.process.wait(60)


@contextmanager
def run(*arguments: str, path: Path | None = None, environ: Mapping[str, str] | None = None) -> Iterator[Run]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("D365FO_", "IDENTITY_"))}
    search = {"PATH": os.pathsep.join(filter(None, [str(path or ""), os.environ["PATH"]]))}
    with subprocess.Popen(
        [sys.executable, "-m", "infra.local.start", *arguments],
        cwd=ROOT,
        env={**inherited, **search, **(environ or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        watchdog = threading.Timer(120, process.terminate)
        watchdog.start()
        try:
            yield Run(process)
        finally:
            watchdog.cancel()
            process.terminate()


@pytest.fixture
def func(tmp_path: Path) -> Path:
    """A folder for PATH with a stand-in for Core Tools."""
    script = tmp_path / "func"
    script.write_text(f"#!{sys.executable}\n{(HERE / 'stand_in_func.py').read_text()}")
    script.chmod(0o755)
    return tmp_path


def given_to_func(output: str) -> dict[str, Any]:
    line = next(line for line in output.splitlines() if line.startswith("func "))
    return dict(json.loads(line.removeprefix("func ")))


def assert_all_gone(programs: list[psutil.Process]) -> None:
    _, alive = psutil.wait_procs(programs, timeout=60)
    assert alive == []


def test_the_host_is_pointed_at_the_simulator_and_the_user_learns_where_to_connect(func: Path) -> None:
    with run("--port", "0", path=func) as started:
        output = started.read_until(LAST_LINE)
    given = given_to_func(output)
    port = given["arguments"][2]
    assert given["arguments"] == ["start", "--port", port]
    assert given["environ"]["D365FO_BASE_URL"].startswith("http://127.0.0.1:")
    assert given["environ"] == {
        "D365FO_BASE_URL": given["environ"]["D365FO_BASE_URL"],
        "D365FO_AUTH": "managed_identity",
        "MCP_AUTH": "none",
        "IDENTITY_ENDPOINT": given["environ"]["D365FO_BASE_URL"] + "/msi/token",
        "IDENTITY_HEADER": "simulated-identity-secret",
        "VIRTUAL_ENV": sys.prefix,
    }
    configuration = output[output.index("{\n") : output.index("\n}\n") + 2]
    url = f"http://localhost:{port}/mcp"
    assert f"MCP endpoint: {url}\n" in output
    assert json.loads(configuration) == {"servers": {"d365fo": {"type": "http", "url": url}}}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_every_program(func: Path, number: int) -> None:
    with run("--port", "0", path=func) as started:
        started.read_until(LAST_LINE)
        programs = started.programs()
        lasting = [each for each in programs if "catalog" not in each.cmdline()]  # a build ends by itself
        assert len(lasting) == 3  # the simulator, func, and the worker that func started
        started.process.send_signal(number)
        assert started.finish() == 0
        assert_all_gone(programs)
    assert started.output.endswith("Stopped.\n")


@pytest.mark.parametrize(
    ("victim", "message"),
    [
        ("d365mcp.simulator", "The simulator ended with exit status -9."),
        ("func", "The Functions host ended with exit status -9."),
    ],
)
def test_when_one_program_dies_the_others_end_and_the_user_learns_it(func: Path, victim: str, message: str) -> None:
    with run("--port", "0", path=func) as started:
        started.read_until(LAST_LINE)
        programs = started.programs()
        next(each for each in programs if any(part.endswith(victim) for part in each.cmdline())).kill()
        assert started.finish() == 1
        assert_all_gone(programs)
    assert message in started.output


def test_with_an_environment_of_the_users_own_there_is_no_simulator_and_the_identity_is_left_alone(func: Path) -> None:
    own = {"D365FO_BASE_URL": "https://contoso.operations.dynamics.com", "IDENTITY_HEADER": "mine"}
    with run("--port", "0", path=func, environ=own) as started:
        given = given_to_func(started.read_until(LAST_LINE))
        assert len(started.programs()) == 2
    assert given["environ"] == {
        **dict.fromkeys(["D365FO_AUTH", "MCP_AUTH", "IDENTITY_ENDPOINT"]),
        **own,
        "VIRTUAL_ENV": sys.prefix,
    }


def test_a_port_in_use_is_reported_at_once(func: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with run("--port", str(port), path=func) as started:
            assert started.finish() == 1
    assert started.output == f"Port {port} is in use. Choose another one: --port {port + 1}\n"


# --- The environment -----------------------------------------------------------------------------------------------------


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with the real `run`, nothing to install, and a start.py that says how it was called."""
    local = tmp_path / "infra" / "local"
    local.mkdir(parents=True)
    shutil.copy(ROOT / "infra" / "local" / "run", local)
    for requirements in (tmp_path, local):
        (requirements / "requirements.txt").write_text("")
    (local / "start.py").write_text("import sys; print('started', sys.prefix != sys.base_prefix, *sys.argv[1:])")
    return tmp_path


def run_script(checkout: Path, *arguments: str, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    search = os.pathsep.join(filter(None, [str(path or ""), os.environ["PATH"]]))
    command = [checkout / "infra" / "local" / "run", *arguments]
    return subprocess.run(
        command, cwd="/", env={**os.environ, "PATH": search}, capture_output=True, text=True, timeout=120
    )


def test_the_environment_is_made_once_and_filled_again_only_when_requirements_change(checkout: Path) -> None:
    first = run_script(checkout, "--port", "0").stdout.splitlines()
    assert [line.split()[0] for line in first] == ["Creating", "Installing", "started"]
    assert first[-1] == "started True --port 0"
    assert run_script(checkout).stdout == "started True\n"
    (checkout / "requirements.txt").write_text("# one more\n")
    assert run_script(checkout).stdout.splitlines()[0].startswith("Installing")


def test_help_needs_no_environment(checkout: Path) -> None:
    assert run_script(checkout, "--help").stdout == "started False --help\n"
    assert not (checkout / ".venv").exists()


def test_an_old_python_is_refused_by_name(checkout: Path, tmp_path: Path) -> None:
    old = tmp_path / "old"
    old.mkdir()
    for name in ("python3", "python3.11", "python3.12", "python3.13"):
        (old / name).write_text("#!/bin/sh\nexit 1\n")
        (old / name).chmod(0o755)
    refused = run_script(checkout, path=old)
    assert refused.returncode == 1
    assert refused.stderr == "infra/local/run needs Python 3.11 or newer on PATH.\n"


# --- The whole -----------------------------------------------------------------------------------------------------------


def test_the_endpoint_it_prints_answers_questions_about_the_simulated_environment() -> None:
    with run("--port", "0", "--devhost") as started:
        endpoint = next(
            line for line in started.read_until(LAST_LINE).splitlines() if line.startswith("MCP endpoint: ")
        )
        query = {"entity_name": "CustomersV3", "top": 1}
        url = endpoint.removeprefix("MCP endpoint: ")
        result = asyncio.run(ask(url, "d365fo_query_entities", query))
        assert len(result["records"]) == 1
        asyncio.run(until_search_knows_labels(url))
        checked = operators_command(started.output)
        assert checked.returncode == 0, checked.stdout + checked.stderr
        assert "F&O" in checked.stdout


async def until_search_knows_labels(url: str) -> None:
    """Wait until the catalog that is built in the background is served."""
    async with asyncio.timeout(120):
        while (await ask(url, "d365fo_get_environment_info", {}))["catalog"]["source"] != "snapshot":  # noqa: ASYNC110
            await asyncio.sleep(0.5)  # the server sets no event of ours


def operators_command(output: str) -> subprocess.CompletedProcess[str]:
    """Type what the start has printed for the operator, in a terminal without any settings."""
    lines = output.splitlines()
    first = lines.index("The operator's command, in another terminal:") + 1
    bare = {"PATH": os.environ["PATH"], "HOME": os.environ["HOME"]}
    return subprocess.run(
        ["/bin/sh", "-c", "\n".join(lines[first : first + 2])],
        cwd=ROOT, env=bare, capture_output=True, text=True, timeout=120,
    )  # fmt: skip


async def ask(url: str, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
    async with Client(url) as client:
        result = await client.call_tool(tool, arguments)
        assert not result.is_error, result
        return dict(result.structured_content or {})
