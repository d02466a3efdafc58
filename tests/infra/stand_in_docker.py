"""Stands in for Docker: `run` starts the local host with what the container would be given, `rm` ends it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(os.environ["CHECKOUT"])
HOST = ROOT / "infra" / "local" / "devhost.py"


def run(arguments: list[str]) -> None:
    pairs = list(zip(arguments, arguments[1:], strict=False))
    environ = dict(value.split("=", 1) for name, value in pairs if name == "--env")
    keys = Path(next(value for name, value in pairs if name == "--volume").split(":")[0])
    environ["FUNCTIONS_DEV_KEY"] = os.environ.get("OTHER_KEY", (keys / "host.function.default").read_text())
    port = environ["ASPNETCORE_URLS"].rpartition(":")[2]
    command = [sys.executable, str(HOST), "--app", str(ROOT), "--port", port]
    given = {**os.environ, "PYTHONPATH": str(ROOT), **environ}
    quiet = subprocess.DEVNULL
    host = subprocess.Popen(command, env=given, stdin=quiet, stdout=quiet, stderr=quiet, start_new_session=True)
    print(host.pid)


if sys.argv[1] == "run":
    run(sys.argv[2:])
elif sys.argv[1] == "rm":
    os.kill(int(sys.argv[-1]), signal.SIGKILL)
elif sys.argv[1] == "stats":
    print(os.environ.get("BUSY", "0.35%"))
elif sys.argv[1] == "logs":
    print("log of the container")
