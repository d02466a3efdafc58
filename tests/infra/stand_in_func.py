"""Stands in for Core Tools' `func azure functionapp publish --no-build`: packs what would be published, and serves that.

The folder `AZURE` says which app there is, where it answers and with which settings. As on Azure, the app has Python 3.13 and
its own packages, and nothing installs what it does not bring; the dev host alone has a package of its own.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from pathspec import GitIgnoreSpec

HERE = Path(os.environ["AZURE"])
AZURE = json.loads((HERE / "azure.json").read_text())
PUBLISHED = HERE / "published"
READY = "Functions dev host ready on "


def publish(name: str, folder: Path) -> None:
    if name not in AZURE["apps"]:
        sys.exit(f"func: there is no function app {name!r}, but {list(AZURE['apps'])}")
    pack(folder)
    serve()


def pack(folder: Path) -> None:
    """Take what `.funcignore` leaves of a folder, as a zip would: with the time of unpacking."""
    if not (folder / "host.json").exists():
        sys.exit(f"func: {folder} has no host.json")
    ignored = folder / ".funcignore"
    spec = GitIgnoreSpec.from_lines(ignored.read_text().splitlines() if ignored.exists() else [])
    files = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
    stop()
    shutil.rmtree(PUBLISHED, ignore_errors=True)
    for path in files:
        if not spec.match_file(path):
            (PUBLISHED / path).parent.mkdir(parents=True, exist_ok=True)
            take = shutil.copyfile if path.suffix in (".py", ".pyc") else os.link  # the rest is large, and has no time
            take(folder / path, PUBLISHED / path)


def serve() -> None:
    """Start the app as it was published; it goes on when we end."""
    port = AZURE["address"].rpartition(":")[2]
    command = ["python3.13", AZURE["host"], "--app", str(PUBLISHED), "--port", port]
    packages = PUBLISHED / ".python_packages" / "lib" / "site-packages"
    path = os.pathsep.join([str(PUBLISHED), str(packages), AZURE["beside"]])
    environ = {**os.environ, "PYTHONPATH": path, **AZURE["settings"]}
    log = (HERE / "host.log").open("w")
    host = subprocess.Popen(
        command, cwd=PUBLISHED, env=environ, stdout=subprocess.PIPE, stderr=log, text=True, start_new_session=True
    )
    assert host.stdout is not None
    (HERE / "host.pid").write_text(str(host.pid))
    if not host.stdout.readline().startswith(READY):
        sys.exit(f"func: the app does not start: {(HERE / 'host.log').read_text()}")


def stop() -> None:
    pid = HERE / "host.pid"
    if pid.exists():
        os.kill(int(pid.read_text()), signal.SIGKILL)
        pid.unlink()


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["azure", "functionapp", "publish", name, "--python", "--no-build"]:
            publish(name, Path.cwd())
        case ["pack"]:  # for the test
            pack(Path.cwd())
        case ["stop"]:  # for the test
            stop()
        case _:
            sys.exit(f"func: {sys.argv[1:]} is not known here")
