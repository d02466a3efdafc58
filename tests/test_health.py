"""Health: alive asks nobody; deep tells how F&O, the catalog and telemetry fare, to those who may call."""

import time
from typing import Any

import httpx
import pytest

from tests.dev_host import ROOT, DevHost
from tests.served import Served, serving
from tests.simulated import Simulator

pytestmark = pytest.mark.once


def get(served: Served, path: str) -> tuple[int, dict[str, Any]]:
    reply = httpx.get(f"{served.base_url}/{path}", timeout=60, trust_env=False)
    assert reply.headers["content-type"].startswith("application/health+json")
    return reply.status_code, reply.json()


def test_alive_asks_nobody(simulator: Simulator) -> None:
    with serving(simulator) as served:
        status, body = get(served, "health")
        assert (status, body["status"], body["missing_settings"]) == (200, "pass", [])
        assert simulator.log("/") == []


def test_missing_settings_are_named_without_their_values() -> None:
    environ = {"D365FO_AUTH": "client_secret", "D365FO_CLIENT_SECRET": "hunter2-hunter2", "D365FO_BASE_URL": ""}
    with DevHost(ROOT, environ=environ) as host:
        body = httpx.get(f"{host.base_url}/health", trust_env=False).json()
        assert body["status"] == "fail"
        assert {"D365FO_BASE_URL", "D365FO_TENANT_ID", "D365FO_CLIENT_ID"} == set(body["missing_settings"])
        assert "hunter2" not in str(body)
        assert httpx.get(f"{host.base_url}/health/deep", trust_env=False).status_code == 503


def test_deep_health_says_who_we_are_and_how_all_fares(simulator: Simulator) -> None:
    with serving(simulator) as served:
        status, body = get(served, "health/deep")
        checks = {name: each[0] for name, each in body["checks"].items()}
        assert status == 200
        assert checks["d365:session"]["status"] == "pass"
        assert "Admin" in checks["d365:session"]["output"]
        assert {"d365:token", "catalog:age", "telemetry:backlog", "process:memory", "tools:in_flight"} <= checks.keys()


def test_deep_health_fails_in_time_when_f_and_o_does(simulator: Simulator) -> None:
    with serving(simulator, MCP_REQUEST_TIMEOUT="2") as served:
        simulator.fault("/api/services", status=403)
        status, body = get(served, "health/deep")
        assert (status, body["status"]) == (503, "fail")
        assert "role" in body["checks"]["d365:session"][0]["output"]
        simulator.fault("/api/services", kind="slow", seconds=30)
        began = time.monotonic()
        assert get(served, "health/deep")[0] == 503
        assert time.monotonic() - began < 20


def test_deep_health_is_for_those_who_may_call(simulator: Simulator) -> None:
    environ = {"D365FO_BASE_URL": simulator.base_url, "MCP_AUTH": "function_key", "FUNCTIONS_DEV_KEY": "k"}
    with DevHost(ROOT, environ={**environ, **simulator.identity_environment()}) as host:
        assert httpx.get(f"{host.base_url}/health", trust_env=False).status_code == 200
        assert httpx.get(f"{host.base_url}/health/deep", trust_env=False).status_code == 401
        keyed = httpx.get(f"{host.base_url}/health/deep", headers={"x-functions-key": "k"}, trust_env=False, timeout=60)
        assert keyed.status_code == 200


def test_deep_health_fails_while_the_way_to_f_and_o_is_shut_and_recovers() -> None:
    simulator = Simulator.start()
    port = simulator.base_url.rpartition(":")[2]
    try:
        with serving(simulator, MCP_REQUEST_TIMEOUT="5") as served:
            assert get(served, "health/deep")[0] == 200
            simulator.stop()
            status, body = get(served, "health/deep")
            assert (status, body["checks"]["d365:session"][0]["status"]) == (503, "fail")
            assert get(served, "health")[1]["status"] == "pass"
            assert "No connection to F&O could be made" in body["checks"]["d365:session"][0]["output"]
            simulator = Simulator.start(None, "--port", port)
            assert get(served, "health/deep")[0] == 200
    finally:
        simulator.stop()
