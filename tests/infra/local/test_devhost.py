"""The dev host answers as the Azure Functions host does; asked over HTTP, with a function app made for it."""

import http.client
import json
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

import httpx
import pytest

from infra.local.devhost import is_due
from tests.dev_host import SCRIPT, DevHost

pytestmark = pytest.mark.once

SAMPLE = Path(__file__).parent / "apps" / "sample"
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Gate:
    """Where functions that hold report that they run; closing a connection lets that one go on."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(10)
        self.port = self._listener.getsockname()[1]

    def arrival(self) -> socket.socket:
        return self._listener.accept()[0]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()


@pytest.fixture
def gate() -> Iterator[Gate]:
    with Gate() as gate:
        yield gate


@pytest.fixture(scope="module")
def host() -> Iterator[DevHost]:
    with DevHost(SAMPLE) as host:
        yield host


@pytest.fixture(scope="module")
def client(host: DevHost) -> Iterator[httpx.Client]:
    with client_of(host) as client:
        yield client


def client_of(host: DevHost) -> httpx.Client:
    return httpx.Client(base_url=f"{host.base_url}/v1", timeout=60)


# --- Requests and answers ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/items/book", {"items": {"kind": "book"}}),
        ("/items/book/7", {"items": {"kind": "book", "number": "7"}}),
        ("/ITEMS/book/", {"items": {"kind": "book"}}),
        ("/items/a%20b", {"items": {"kind": "a b"}}),
        ("/files", {}),
        ("/files/a/b.txt", {"path": "a/b.txt"}),
    ],
)
def test_a_route_template_finds_its_function_and_its_parameters(
    client: httpx.Client, path: str, found: dict[str, object]
) -> None:
    assert client.get(path).json() == found


def test_a_literal_segment_is_tried_before_a_parameter(client: httpx.Client) -> None:
    assert client.get("/items/special").text == "special"


def test_requests_that_no_function_takes_get_404_with_an_empty_body(host: DevHost, client: httpx.Client) -> None:
    answers = [client.get("/unknown"), client.post("/text"), httpx.get(f"{host.base_url}/text")]
    assert [(answer.status_code, answer.content) for answer in answers] == [(404, b"")] * 3


def test_a_refused_body_does_not_disturb_the_next_request(client: httpx.Client) -> None:
    assert client.post("/unknown", content=b"x" * 1_000_000).status_code == 404
    assert client.get("/text").status_code == 200


def test_a_body_above_the_hosts_limit_is_refused_before_the_function_runs() -> None:
    with DevHost(SAMPLE, environ={"FUNCTIONS_REQUEST_BODY_SIZE_LIMIT": "1000"}) as host, client_of(host) as client:
        assert client.post("/echo", content=b"x" * 1000).status_code == 200
        assert client.post("/echo", content=b"x" * 1001).status_code == 413


def test_the_function_sees_the_request_as_the_host_hands_it_over(host: DevHost, client: httpx.Client) -> None:
    answer = client.put("/echo?a=1&b=&a=2&c=x%26y", content=b"hello", headers=[("X-Twice", "1"), ("x-twice", "2")])
    seen = answer.json()
    assert seen["method"] == "PUT"
    assert seen["url"] == f"{host.base_url}/v1/echo?a=1&b=&a=2&c=x%26y"
    assert seen["params"] == {"a": "1,2", "c": "x&y"}
    assert seen["headers"]["x-twice"] == "1,2"
    assert seen["body"] == "hello"


def test_white_space_around_a_header_value_is_no_part_of_it(host: DevHost) -> None:
    connection = http.client.HTTPConnection(host.base_url.removeprefix("http://"))
    connection.request("GET", "/v1/echo", headers={"X-Spaced": "  in between \t"})
    assert json.load(connection.getresponse())["headers"]["x-spaced"] == "in between"
    connection.close()


@pytest.mark.parametrize("chunks", [[b"hello"], [b"he", b"l", b"lo"], [b""], []], ids=["one", "many", "empty", "none"])
def test_a_body_in_chunks_arrives_whole_and_counted(client: httpx.Client, chunks: list[bytes]) -> None:
    whole = client.post("/echo", content=b"".join(chunks)).json()
    in_chunks = client.post("/echo", content=iter(chunks)).json()
    assert in_chunks["body"] == whole["body"] == b"".join(chunks).decode()
    assert in_chunks["headers"] == whole["headers"]


def test_a_body_in_chunks_is_refused_once_it_is_above_the_hosts_limit() -> None:
    with DevHost(SAMPLE, environ={"FUNCTIONS_REQUEST_BODY_SIZE_LIMIT": "1000"}) as host, client_of(host) as client:
        assert client.post("/echo", content=iter([b"x" * 500] * 2)).status_code == 200
        assert client.post("/echo", content=iter([b"x" * 500, b"x" * 501])).status_code == 413


def test_what_a_function_returns_is_sent_unchanged(client: httpx.Client) -> None:
    teapot = client.get("/teapot")
    assert (teapot.status_code, teapot.headers["x-pot"], teapot.content) == (418, "tea", bytes(range(256)))
    assert teapot.headers["content-type"] == "image/x-tea"
    text = client.get("/text")
    assert (text.status_code, text.text, text.headers["content-type"]) == (200, "grüezi", "text/plain; charset=utf-8")
    assert (client.get("/nothing").status_code, client.get("/nothing").content) == (204, b"")


def test_a_function_that_raises_gives_500_with_an_empty_body_and_its_traceback_in_the_log(
    host: DevHost, client: httpx.Client
) -> None:
    for path in ("/broken", "/wrong"):
        answer = client.get(path)
        assert (answer.status_code, answer.content) == (500, b"")
    assert "RuntimeError: the secret reason" in host.log
    assert "returns HttpResponse, str or None, not int" in host.log


def test_the_context_carries_the_invocation_and_the_callers_trace(client: httpx.Client) -> None:
    context = client.get("/context", headers={"traceparent": TRACEPARENT, "tracestate": "a=b"}).json()
    again = client.get("/context").json()
    assert (context["function_name"], context["function_directory"]) == ("context_of", str(SAMPLE))
    assert context["invocation_id"] != again["invocation_id"]
    assert context["trace_parent"][:36] == TRACEPARENT[:36]
    assert context["trace_parent"] != TRACEPARENT
    assert context["trace_state"] == "a=b"
    assert re.fullmatch("00-[0-9a-f]{32}-[0-9a-f]{16}-00", again["trace_parent"])


@pytest.mark.parametrize("path", ["/hold", "/hold-in-thread"])
def test_a_function_that_waits_keeps_no_other_waiting(client: httpx.Client, gate: Gate, path: str) -> None:
    with ThreadPoolExecutor(1) as callers:
        held = callers.submit(client.get, path, params={"port": gate.port})
        with gate.arrival():
            assert client.get("/text").status_code == 200
            assert not held.done()
        assert held.result(10).text == "released"


# --- Keys and origins --------------------------------------------------------------------------------------------------


def test_function_keys_are_checked_once_one_is_set() -> None:
    with DevHost(SAMPLE, environ={"FUNCTIONS_DEV_KEY": "sesame"}) as host, client_of(host) as client:
        refused = [client.get("/locked"), client.get("/locked?code=wrong")]
        assert [(answer.status_code, answer.content) for answer in refused] == [(401, b"")] * 2
        assert client.get("/locked", headers={"X-Functions-Key": "sesame"}).text == "open"
        assert client.get("/locked?code=sesame").text == "open"
        assert client.get("/text").status_code == 200


def test_keys_are_not_checked_when_none_is_set(client: httpx.Client) -> None:
    assert client.get("/locked").text == "open"


def preflight(client: httpx.Client, origin: str) -> httpx.Response:
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type,mcp-method"}
    return client.options("/echo", headers={"Origin": origin, **asked})


def test_preflights_of_allowed_origins_are_answered_before_any_function() -> None:
    origins = ("http://localhost:6274", "https://inspector.example")
    with DevHost(SAMPLE, "--cors", origins[0], "--cors", origins[1]) as host, client_of(host) as client:
        for origin in origins:
            answer = preflight(client, origin)
            assert (answer.status_code, answer.content) == (204, b"")
            assert answer.headers["access-control-allow-origin"] == origin
            assert answer.headers["access-control-allow-methods"] == "POST"
            assert answer.headers["access-control-allow-headers"] == "content-type,mcp-method"
        assert "access-control-allow-origin" not in preflight(client, "https://evil.example").headers
        assert client.get("/text", headers={"Origin": origins[0]}).headers["access-control-allow-origin"] == origins[0]
        assert (
            "access-control-allow-origin" not in client.get("/text", headers={"Origin": "https://evil.example"}).headers
        )


def test_without_cors_an_options_request_is_a_request_like_any_other(client: httpx.Client) -> None:
    answer = preflight(client, "http://localhost:6274")
    assert answer.json()["method"] == "OPTIONS"
    assert "access-control-allow-origin" not in answer.headers


# --- Limits ------------------------------------------------------------------------------------------------------------


def test_requests_above_the_concurrency_limit_wait_and_those_above_the_outstanding_limit_are_refused(
    gate: Gate,
) -> None:
    limits = {
        "AzureFunctionsJobHost__extensions__http__maxConcurrentRequests": "1",
        "AzureFunctionsJobHost__extensions__http__maxOutstandingRequests": "2",
    }
    with DevHost(SAMPLE, environ=limits) as host, client_of(host) as client, ThreadPoolExecutor(3) as callers:
        running = callers.submit(client.get, "/hold", params={"port": gate.port})
        with gate.arrival():
            others: list[Future[httpx.Response]] = [callers.submit(client.get, "/text") for _ in range(2)]
            done, waiting = wait(others, 10, FIRST_COMPLETED)
            refused = done.pop().result()
            assert (refused.status_code, refused.content, refused.headers["x-function-scaleout"]) == (429, b"", "1")
            assert not running.done()
        assert running.result(10).status_code == 200
        assert waiting.pop().result(10).status_code == 200


def test_a_function_that_outlives_its_timeout_gives_500_and_the_log_says_what_the_real_host_would_do(
    gate: Gate,
) -> None:
    limit = {"AzureFunctionsJobHost__functionTimeout": "00:00:00.1"}
    with DevHost(SAMPLE, environ=limit) as host, client_of(host) as client:
        answer = client.get("/hold", params={"port": gate.port})
        assert (answer.status_code, answer.content) == (500, b"")
        assert "hold ran longer than functionTimeout (0.1 s)" in host.log
        assert "restart the worker process" in host.log
        assert client.get("/text").status_code == 200


# --- Timers ------------------------------------------------------------------------------------------------------------


def test_a_timer_runs_on_its_schedule_when_timers_are_asked_for(gate: Gate) -> None:
    timer = {"TICK_SCHEDULE": "* * * * * *", "TICK_PORT": str(gate.port)}
    with DevHost(SAMPLE, "--timers", environ=timer), gate.arrival():
        pass


def test_timers_do_not_run_unasked(host: DevHost) -> None:
    assert "tick: timerTrigger, not run here" in host.log


@pytest.mark.parametrize(
    ("schedule", "due", "not_due"),
    [
        ("0 */5 * * * *", "2026-11-25T10:05:00", "2026-11-25T10:05:01"),
        ("0 30 2 * * *", "2026-11-25T02:30:00", "2026-11-25T03:30:00"),
        ("0 0 8-17/3 * * 1-5", "2026-11-25T11:00:00", "2026-11-22T11:00:00"),
        ("0,30 0 0 1 */2 *", "2026-11-01T00:00:30", "2026-10-01T00:00:30"),
        ("0 0 0 * * 0", "2026-11-22T00:00:00", "2026-11-23T00:00:00"),
    ],
)
def test_a_schedule_says_when_it_is_due(schedule: str, due: str, not_due: str) -> None:
    assert is_due(schedule, datetime.fromisoformat(due).replace(tzinfo=UTC))
    assert not is_due(schedule, datetime.fromisoformat(not_due).replace(tzinfo=UTC))


# --- Starting and stopping ---------------------------------------------------------------------------------------------


@pytest.fixture
def app(tmp_path: Path) -> Path:
    """A copy of the sample app that a test may spoil."""
    return Path(shutil.copytree(SAMPLE, tmp_path / "app", ignore=shutil.ignore_patterns("__pycache__")))


def test_local_settings_stand_where_the_environment_says_nothing_else(app: Path) -> None:
    values = {"FROM_FILE": "file", "FROM_BOTH": "file", "NUMBER": 5}
    (app / "local.settings.json").write_text(json.dumps({"IsEncrypted": False, "Values": values}), "utf-8-sig")
    with DevHost(app, environ={"FROM_BOTH": "environment"}) as host, client_of(host) as client:
        found = [client.get("/setting", params={"name": name}).text for name in values]
    assert found == ["file", "environment", "5"]


def failure(app: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, SCRIPT, "--app", app, *arguments], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1
    return done.stderr


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("function_app.py", None, "There is no function_app.py in "),
        ("function_app.py", "import azure.functions as f\na, b = f.FunctionApp(), f.FunctionApp()\n", "it holds 2."),
        ("host.json", None, "There is no host.json in "),
        ("host.json", "{", "host.json is not a JSON object: "),
        ("host.json", "{}", 'host.json must have "version": "2.0".'),
        ("host.json", '{"version": "2.0", "functionTimeout": "5 min"}', 'functionTimeout "5 min" in host.json'),
        ("local.settings.json", '{"IsEncrypted": true}', "func settings decrypt"),
    ],
)
def test_an_app_that_cannot_be_served_says_why(app: Path, file: str, text: str | None, message: str) -> None:
    (app / file).unlink(missing_ok=True)
    if text is not None:
        (app / file).write_text(text)
    error = failure(app, "--port", "0")
    assert message in error
    assert "Traceback" not in error


def test_a_port_in_use_is_named_together_with_the_option_that_changes_it(gate: Gate) -> None:
    error = failure(SAMPLE, "--port", str(gate.port))
    assert (
        error
        == f"Port {gate.port} on 127.0.0.1 cannot be opened (Address already in use). Choose another with --port.\n"
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_host_cleanly(number: int) -> None:
    with DevHost(SAMPLE) as host:
        assert httpx.get(f"{host.base_url}/v1/text").status_code == 200
        assert host.stop(number) == 0
