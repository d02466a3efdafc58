"""Starts the simulator and a Functions host on this machine and ends them together; knows nothing of what they do."""

import argparse
import asyncio
import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from asyncio.subprocess import DEVNULL, PIPE, STDOUT, Process
from collections import deque
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent.parent
SIMULATOR_READY = "simulator ready on "
# The one it had the last time, where it is free: what was typed for it then is right now.
SIMULATOR_PORT = 7080
# What `python -m d365mcp` needs to know of the simulator.
OPERATOR_VARIABLES = ("D365FO_BASE_URL", "D365FO_AUTH", "IDENTITY_ENDPOINT", "IDENTITY_HEADER", "MCP_AUTH")
START_SECONDS = 120
STOP_SECONDS = 10
# Which of them there are depends on the system: hang-ups are Unix's, Ctrl-Break is Windows'.
STOPPING = [number for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK") if (number := getattr(signal, name, None))]
# Ctrl-C in the terminal reaches this process alone, which ends the others in order.
APART: dict[str, Any] = {
    "start_new_session": True,
    "creationflags": getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),  # Windows' way
}
Environment = dict[str, str]


class StartError(Exception):
    """The server cannot run, or runs no longer; the message says why."""


@contextlib.asynccontextmanager
async def program(*command: str, environ: Environment, output: int | None = None) -> AsyncIterator[Process]:
    """Run a program; when the block is left, by whatever way, it and all that it started are gone."""
    process = await asyncio.create_subprocess_exec(
        *command, cwd=ROOT, env=environ, stdin=DEVNULL, stdout=output, stderr=STDOUT, **APART
    )
    try:
        yield process
    finally:
        await end(process)


async def end(process: Process) -> None:
    """End a program and all that it started: they are one process group, or on Windows what taskkill calls its tree."""
    killpg = getattr(os, "killpg", None)
    if killpg:
        await end_group(process, killpg)
    elif process.returncode is None:
        await (
            await asyncio.create_subprocess_exec("taskkill", "/PID", str(process.pid), "/T", "/F", stdout=DEVNULL)
        ).wait()
        await process.wait()


async def end_group(process: Process, killpg: Callable[[int, int], None]) -> None:
    def send(number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            killpg(process.pid, number)

    send(signal.SIGTERM)
    try:
        async with asyncio.timeout(STOP_SECONDS):
            await process.wait()
    except TimeoutError:
        print(f"Process {process.pid} does not end; killing it.", flush=True)
    finally:
        send(9)  # SIGKILL, which Windows has not


async def watch_simulator(process: Process, url: asyncio.Future[str]) -> None:
    """Learn from the simulator's output where it is; raise when it ends."""
    assert process.stdout is not None  # noqa: S101 - it was started with PIPE
    last_lines: deque[str] = deque(maxlen=20)
    async for line in process.stdout:
        last_lines.append(line.decode(errors="replace"))
        if last_lines[-1].startswith(SIMULATOR_READY):
            url.set_result(last_lines[-1].removeprefix(SIMULATOR_READY).strip())
    status = await process.wait()
    raise StartError(f"The simulator ended with exit status {status}. Its last output:\n{''.join(last_lines)}")


async def watch_host(process: Process) -> None:
    status = await process.wait()
    raise StartError(f"The Functions host ended with exit status {status}. Its last output is above.")


async def serving(port: int) -> None:
    """Wait until the host answers: Core Tools gives no other sign of it."""
    while await asyncio.to_thread(health, port) in (None, 503):  # noqa: ASYNC110 - the host sets no event of ours
        await asyncio.sleep(0.1)


def health(port: int) -> int | None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def configured_base_url(environ: Environment) -> str:
    # Imported late: the rest of this file needs nothing installed, so that --help answers at once.
    try:
        from infra.local.devhost import AppError, local_settings
    except ImportError as exc:
        install = "python -m pip install -r infra/local/requirements.txt"
        raise StartError(f"The package {exc.name} is missing: {install}") from exc
    try:
        settings = local_settings(ROOT) | environ
    except AppError as exc:
        raise StartError(str(exc)) from exc
    return settings.get("D365FO_BASE_URL", "").strip()


def with_simulator(environ: Environment, url: str) -> Environment:
    """Point the server at the simulator: its F&O, its managed-identity endpoint for tokens, its Application Insights."""
    # Late, as above.
    from d365mcp.simulator.insights import KEY
    from d365mcp.simulator.log_analytics import WORKSPACE

    return {
        **environ,
        "D365FO_BASE_URL": url,
        "D365FO_AUTH": "managed_identity",
        "IDENTITY_ENDPOINT": f"{url}/msi/token",
        "IDENTITY_HEADER": "simulated-identity-secret",
        "MCP_AUTH": "none",
        "APPLICATIONINSIGHTS_CONNECTION_STRING": f"InstrumentationKey={KEY};IngestionEndpoint={url}",
        "MCP_LOG_ANALYTICS_WORKSPACE_ID": WORKSPACE,
        "MCP_LOG_ANALYTICS_URL": url,
        "MCP_CATALOG_REVALIDATE_SECONDS": "2",  # the one that is being built is soon served
    }


async def build_catalog(environ: Environment) -> None:
    """Let search know the simulation's labels and fields; until then, and without, it goes by names."""
    command = [*filter(None, [shutil.which("nice")]), sys.executable, "-m", "d365mcp", "catalog", "build"]
    async with program(*command, environ=environ, output=DEVNULL) as building:
        if await building.wait():
            print("The catalog was not built, so search goes by names: python -m d365mcp catalog build", flush=True)


def host_command(port: int, devhost: bool) -> list[str]:
    core_tools = None if devhost else shutil.which("func")
    if core_tools:
        return [core_tools, "start", "--port", str(port)]
    return [sys.executable, str(ROOT / "infra" / "local" / "devhost.py"), "--app", str(ROOT), "--port", str(port)]


def host_environment(environ: Environment) -> Environment:
    """Let Core Tools find this Python and know that the app is Python, without a local.settings.json."""
    path = os.pathsep.join([str(Path(sys.executable).parent), environ.get("PATH", os.defpath)])
    return {"FUNCTIONS_WORKER_RUNTIME": "python", **environ, "VIRTUAL_ENV": sys.prefix, "PATH": path}


def claim(port: int) -> int:
    """Return the port, or a free one for 0. Raises StartError for a taken one, not after a minute of starting."""
    try:
        with socket.create_server(("127.0.0.1", port)) as claimed:
            return int(claimed.getsockname()[1])
    except OSError as exc:
        raise StartError(f"Port {port} is in use. Choose another one: --port {port + 1}") from exc


def free_port(wanted: int) -> int:
    """Return this port if it is free, else 0: any."""
    try:
        return claim(wanted)
    except StartError:
        return 0


def operators_command(environ: Environment) -> str:
    """Return what to type in another terminal for the operator's command."""
    values = {name: environ[name] for name in OPERATOR_VARIABLES}
    posix = "export " + " ".join(f"{name}={value}" for name, value in values.items())
    windows = "; ".join(f"$env:{name}='{value}'" for name, value in values.items())
    return f"""
The operator's command, in another terminal:
{windows if os.name == "nt" else posix}
{sys.executable} -m d365mcp check
"""


def welcome(port: int, base_url: str, environ: Environment, *, simulated: bool) -> str:
    environment = f"simulated ({base_url}); set D365FO_BASE_URL for your own" if simulated else base_url
    url = f"http://localhost:{port}/mcp"
    configuration = json.dumps({"servers": {"d365fo": {"type": "http", "url": url}}}, indent=2)
    return f"""
MCP endpoint: {url}
F&O environment: {environment}

.vscode/mcp.json:
{configuration}

Claude Code:
claude mcp add --transport http d365fo {url}
{operators_command(environ) if simulated else ""}
Ctrl-C stops it.
"""


async def run_until_stopped(options: argparse.Namespace) -> None:
    loop, running = asyncio.get_running_loop(), asyncio.create_task(run(options))
    for number in STOPPING:  # not the loop's own handlers, which Windows has not
        signal.signal(number, lambda *_: loop.call_soon_threadsafe(running.cancel))
    await running


async def run(options: argparse.Namespace) -> None:
    """Start what is needed, say how to reach it, and run until a program ends or this task is cancelled."""
    port, environ = claim(options.port), dict(os.environ)
    base_url = configured_base_url(environ)
    simulated = not base_url
    # Left in this order: first nobody watches any more, then the programs end.
    async with contextlib.AsyncExitStack() as programs, asyncio.TaskGroup() as watchers:
        async with asyncio.timeout(START_SECONDS):
            if simulated:
                chosen = str(free_port(SIMULATOR_PORT))
                command = [sys.executable, "-m", "d365mcp.simulator", "--port", chosen, "--quiet"]
                simulator = await programs.enter_async_context(program(*command, environ=environ, output=PIPE))
                found: asyncio.Future[str] = asyncio.Future()
                watchers.create_task(watch_simulator(simulator, found))
                base_url = await found
                environ = with_simulator(environ, base_url)
            command = host_command(port, options.devhost)
            host = await programs.enter_async_context(program(*command, environ=host_environment(environ)))
            watchers.create_task(watch_host(host))
            if simulated:
                watchers.create_task(build_catalog(environ))
            await serving(port)
        print(welcome(port, base_url, environ, simulated=simulated), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="infra/local/run",
        description="Serve MCP on this machine, over D365FO_BASE_URL or, when that is not set, over a simulated F&O.",
    )
    parser.add_argument("--port", type=int, default=7071, help="where to serve (default: 7071)")
    parser.add_argument("--devhost", action="store_true", help="do without Core Tools even if `func` is on PATH")
    options = parser.parse_args()
    problem: str | None = None
    try:
        asyncio.run(run_until_stopped(options))
    except* asyncio.CancelledError:
        print("Stopped.")
    except* TimeoutError:
        problem = f"The server did not start within {START_SECONDS} s. What it has printed is above."
    except* StartError as failures:
        problem = "\n".join(map(str, failures.exceptions))
    sys.exit(problem)


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))  # for `python infra/local/start.py`
    main()
