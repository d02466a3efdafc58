"""infra/container/try says whether the image works, and leaves nothing behind. Docker is stood in for, all else is real."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.dev_host import ROOT

pytestmark = pytest.mark.once


def free_port() -> str:
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        return str(opened.getsockname()[1])


def try_it(folder: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run it with this Python and a stand-in for Docker; all that it starts must be gone afterwards."""
    docker = folder / "docker"
    docker.write_text(f"#!{sys.executable}\n{(Path(__file__).parent / 'stand_in_docker.py').read_text()}")
    docker.chmod(0o755)
    path = f"{folder}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    given = {**os.environ, "PATH": path, "PORT": free_port(), "CHECKOUT": str(ROOT), "TRIED": str(folder), **environ}
    command = [str(ROOT / "infra" / "container" / "try")]
    done = subprocess.run(command, env=given, capture_output=True, text=True, timeout=120)
    _, alive = psutil.wait_procs(started(folder), timeout=60)
    assert alive == []
    return done


def started(folder: Path) -> list[psutil.Process]:
    ours = psutil.Process().username()
    everything = [each for each in psutil.process_iter(["username"]) if each.info["username"] == ours]
    return [each for each in everything if variable(each, "TRIED") == str(folder)]


def variable(process: psutil.Process, name: str) -> str | None:
    try:
        return process.environ().get(name)
    except psutil.Error:
        return None


def test_an_image_that_works_is_said_to_work(tmp_path: Path) -> None:
    done = try_it(tmp_path)
    assert done.returncode == 0, done.stderr
    assert "lets in nobody without its key, and rests" in done.stdout


def test_an_image_that_lets_everybody_in_is_found(tmp_path: Path) -> None:
    done = try_it(tmp_path, OTHER_KEY="")
    assert done.returncode == 1
    assert "a wrong key is let in" in done.stderr


@pytest.mark.parametrize("busy", ["99.87%", "100%", "201.40%"])
def test_an_image_that_never_rests_is_found(busy: str, tmp_path: Path) -> None:
    done = try_it(tmp_path, BUSY=busy)
    assert done.returncode == 1
    assert f"a processor is busy ({busy})" in done.stderr


def test_an_image_that_does_not_work_shows_its_log(tmp_path: Path) -> None:
    done = try_it(tmp_path, OTHER_KEY="another")
    assert done.returncode == 1
    assert "give its key" in done.stderr and "log of the container" in done.stdout
