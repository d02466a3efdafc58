"""The smoke test passes on an endpoint that works, and says what is wrong with one that does not."""

import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.dev_host import ROOT, DevHost
from tests.simulated import Simulator

pytestmark = pytest.mark.once


def smoke(base_url: str, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "infra" / "smoke.py"), base_url, "--patience", "0", *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


@pytest.fixture(scope="module")
def endpoint(simulator_process: Simulator) -> Iterator[str]:
    environ = {"D365FO_BASE_URL": simulator_process.base_url, **simulator_process.identity_environment()}
    with DevHost(ROOT, environ={**environ, "FUNCTIONS_DEV_KEY": "sesame"}) as host:
        yield host.base_url


def test_an_endpoint_that_works_passes(endpoint: str, simulator: Simulator) -> None:
    done = smoke(endpoint, "--header", "x-functions-key: sesame")
    assert done.returncode == 0, done.stderr
    assert "d365:session: pass signed in as" in done.stdout
    assert "MCP works" in done.stdout


def test_a_wrong_key_is_named(endpoint: str, simulator: Simulator) -> None:
    done = smoke(endpoint, "--header", "x-functions-key: open")
    assert done.returncode == 1
    assert "give its key with --header" in done.stderr


def test_an_environment_that_does_not_know_us_is_named(endpoint: str, simulator: Simulator) -> None:
    simulator.fault("/api/services", status=401, times=9)
    done = smoke(endpoint, "--header", "x-functions-key: sesame")
    assert done.returncode == 1
    assert "Microsoft Entra applications" in done.stderr


def test_a_throttled_environment_is_named(endpoint: str, simulator: Simulator) -> None:
    simulator.fault("/api/services", status=429, headers={"Retry-After": "60"}, times=9)
    done = smoke(endpoint, "--header", "x-functions-key: sesame")
    assert done.returncode == 1
    assert "HTTP 429: not before 60 s" in done.stderr


def test_missing_settings_are_named() -> None:
    with DevHost(ROOT, environ={"D365FO_BASE_URL": ""}) as host:
        done = smoke(host.base_url)
    assert done.returncode == 1
    assert "D365FO_BASE_URL" in done.stderr


def test_an_endpoint_that_is_not_there_is_named() -> None:
    done = smoke("http://127.0.0.1:9")
    assert done.returncode == 1
    assert "See whether the app runs" in done.stderr
