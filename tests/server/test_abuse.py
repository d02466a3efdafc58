"""What an attacker sends to the server itself: each kind by name, and what is left of it afterwards."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psutil
import pytest

from d365mcp.server.messages import MAX_BODY_BYTES
from tests.served import Served, serving
from tests.server.registry import body_of, request, tried
from tests.simulated import Simulator

PING = json.dumps(request("ping")).encode()
ANSWER = b'{"jsonrpc":"2.0","id":7,"result":{}}'
HEAD = b"POST /mcp HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"


# --- At the endpoint: what arrives is whole ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "http://localhost.evil.example",
        "http://evil.example#localhost",
        "http://localhost@evil.example",
        "file://localhost",
        "null",
        "http://[",
        "http://[::1",
        "http://\u2100.example",
        "\x00",
    ],
)
def test_a_page_elsewhere_is_refused_however_its_origin_is_written(origin: str) -> None:
    reply = asyncio.run(tried().post(request("ping"), {"origin": origin}))
    assert reply.status == 403
    assert "MCP_ALLOWED_ORIGINS" in body_of(reply)["error"]["message"]


@pytest.mark.parametrize(
    "host",
    [
        "",
        "evil.example",
        "evil.example:7071",
        "localhost.evil.example",
        "localhost,evil.example",
        "localhost:7071,evil.example",
        "evil@localhost",
        "localhost:evil",
        "[",
        "[::1",
        "[::1]evil.example",
        "localhost/",
    ],
)
def test_a_name_rebound_to_us_is_refused_however_its_host_is_written(host: str) -> None:
    reply = asyncio.run(tried().post(request("ping"), {"host": host}))
    assert reply.status == 421
    assert "MCP_ALLOWED_HOSTS" in body_of(reply)["error"]["message"]


def flood(value: bytes) -> bytes:
    """Return the largest body made of one small value over and over."""
    head, tail = b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"x":[', b"]}}"
    values = b",".join([value] * ((MAX_BODY_BYTES - len(head) - len(tail)) // (len(value) + 1)))
    return head + values + tail


@pytest.mark.parametrize("value", [b"{}", b"[]", b"1", b'""', b'{"a":1}'], ids=bytes.decode)
def test_a_body_full_of_small_values_is_refused_before_they_are_made(value: bytes) -> None:
    reply = asyncio.run(tried().post(flood(value)))
    assert reply.status == 413
    assert "too many values" in body_of(reply)["error"]["message"]


def test_a_large_text_full_of_json_is_no_flood() -> None:
    text = '{"a":[1,"b"]},' * 200_000
    reply = asyncio.run(tried().call("echo", text=text))
    assert body_of(reply)["result"]["structuredContent"] == {"said": text}


@pytest.mark.parametrize(
    "body",
    [
        b'"' * MAX_BODY_BYTES,
        b'"' + b'\\"' * (MAX_BODY_BYTES // 2 - 1),
        b'"\\"' * (MAX_BODY_BYTES // 3),
        b"[" * MAX_BODY_BYTES,
        b'{"a":' * (MAX_BODY_BYTES // 5),
        b"9" * MAX_BODY_BYTES,
        b'{"jsonrpc":"2.0","id":' + b"9" * 4_000_000 + b',"method":"ping"}',
        b"\\" * MAX_BODY_BYTES,
    ],
    ids=["quotes", "escapes", "open texts", "lists", "objects", "digits", "large id", "backslashes"],
)
def test_no_body_takes_long_to_refuse(body: bytes) -> None:
    began = time.process_time()
    reply = asyncio.run(tried().post(body))
    assert reply.status in (400, 413)
    assert time.process_time() - began < 2


# --- At the host: what arrives slowly, or without end ------------------------------------------------------------------


@pytest.fixture(scope="module")
def served(simulator_process: Simulator) -> Iterator[Served]:
    with serving(simulator_process) as served:
        served.call("get_server_config")  # what is imported late is there
        yield served


@contextmanager
def connected(served: Served, sent: bytes) -> Iterator[socket.socket]:
    host, _, port = served.base_url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        with suppress(OSError):  # the server may have had enough before the end
            connection.sendall(sent)
        yield connection


def answer_of(connection: socket.socket) -> bytes:
    """Return all that comes until the connection ends."""
    found = b""
    with suppress(ConnectionError):
        while chunk := connection.recv(65_536):
            found += chunk
    return found


def status_of(served: Served, sent: bytes) -> int:
    with connected(served, sent) as connection:
        return int(answer_of(connection).split(b" ", 2)[1])


def whole(head: bytes = b"") -> bytes:
    return HEAD + head + b"connection: close\r\ncontent-length: %d\r\n\r\n" % len(PING) + PING


def memory(served: Served) -> float:
    return float(psutil.Process(served.host.pid).memory_info().rss) / 1e6


@pytest.mark.once
@pytest.mark.parametrize(
    "head",
    [
        b"x: " + b"a" * 40_000 + b"\r\n",
        b"".join(b"x-%d: a\r\n" % number for number in range(101)),
        b"x: a\r\n" * 50_000,
    ],
    ids=["one large", "many", "very many"],
)
def test_a_flood_of_headers_is_refused(served: Served, head: bytes) -> None:
    with connected(served, whole(head)) as connection, suppress(ConnectionError):
        assert b" 431 " in connection.recv(200)
    assert status_of(served, whole()) == 200


@pytest.mark.once
def test_a_header_without_end_is_cut_off_and_not_kept(served: Served) -> None:
    before = memory(served)
    with connected(served, HEAD + b"x: " + b"a" * 100_000_000) as connection, suppress(ConnectionError):
        assert b" 431 " in connection.recv(200)
    assert memory(served) - before < 40
    assert status_of(served, whole()) == 200


@pytest.mark.once
def test_headers_that_never_end_hold_up_nobody(served: Served) -> None:
    slow = [socket.create_connection(("127.0.0.1", int(served.base_url.rpartition(":")[2]))) for _ in range(300)]
    for each in slow:
        each.sendall(HEAD)
    began = time.monotonic()
    assert status_of(served, whole()) == 200
    assert time.monotonic() - began < 20
    for each in slow:
        each.close()


@pytest.mark.once
@pytest.mark.parametrize("length", [b"104857601", b"99999999999999999999"])
def test_a_body_of_unreasonable_length_is_refused_before_it_comes(served: Served, length: bytes) -> None:
    assert status_of(served, HEAD + b"content-length: " + length + b"\r\n\r\n{") in (400, 413)


@pytest.mark.once
@pytest.mark.parametrize(
    "head",
    [
        b"content-length: 5\r\n",
        b"transfer-encoding: chunked\r\n",
        b"host: evil.example\r\n",
        b"x y: 1\r\n",
        b"accept: \x00\r\n",
        b"content-type: application/json\r\n",
    ],
)
def test_headers_that_contradict_each_other_are_refused(served: Served, head: bytes) -> None:
    assert status_of(served, whole(head)) in (400, 415, 421)


@pytest.mark.once
def test_bodies_that_come_too_slowly_are_ended_and_those_behind_them_served(served: Served) -> None:
    """More slow callers than host.json lets in at once: until they are ended, nobody else gets a turn."""
    head = HEAD + b"content-length: %d\r\n\r\n{" % len(PING)
    slow = [connected(served, head) for _ in range(120)]
    connections = [each.__enter__() for each in slow]
    assert status_of(served, whole()) == 200
    assert all(b" 408 " in answer_of(each) for each in connections[:100])
    for each in slow:
        each.__exit__(None, None, None)
