"""The connections to F&O: they survive whatever their callers do, send what is asked and once, and keep to proxies and trust."""

import asyncio
import base64
import random
import re
import socket
import ssl
import string
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import certifi
import httpx
import psutil
import pytest

import d365mcp
from d365mcp.d365 import transport
from d365mcp.d365.auth import TokenSource
from d365mcp.d365.batch import BatchOperation
from d365mcp.d365.client import D365Client
from d365mcp.d365.http import D365Http, Request
from d365mcp.d365.odata import QueryOptions
from d365mcp.d365.outcomes import Write
from d365mcp.errors import D365Error, DeadlineExceeded, InvalidArgument, OutcomeUnknown, Unreachable
from d365mcp.events import Operation, Trace, working_on
from d365mcp.settings import read_settings
from tests.certificates import loopback_certificate
from tests.served import serving
from tests.simulated import Simulator

HOST = "fo.contoso.test"
GROUPS = QueryOptions(select=("CustomerGroupId",), top=3)
TURNS = 41
Work = Callable[[D365Client], Awaitable[Any]]
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@pytest.fixture(autouse=True)
def identity(simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tokens come from the simulator, whatever F&O is."""
    for name, value in simulator.identity_environment().items():
        monkeypatch.setenv(name, value)


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return loopback_certificate(tmp_path_factory.mktemp("tls"), HOST)


@pytest.fixture(scope="session")
def secured_process(certificate: Path) -> Iterator[Simulator]:
    running = Simulator.start(certificate=certificate)
    yield running
    running.stop()


@pytest.fixture
def trusted(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))


@pytest.fixture
def secured(secured_process: Simulator, trusted: None, identity: None, monkeypatch: pytest.MonkeyPatch) -> Simulator:
    """An F&O behind TLS, which issues its own tokens."""
    secured_process.reset()
    for name, value in secured_process.identity_environment().items():
        monkeypatch.setenv(name, value)
    return secured_process


def run(base_url: str, work: Work, *, seconds: float = 60.0, **settings: str) -> Any:
    """Run work on a client of its own. Afterwards no task is left."""

    async def scenario() -> Any:
        given = read_settings({"D365FO_BASE_URL": base_url, **settings})
        client = D365Client(D365Http(given, TokenSource(given), lambda event: None))
        try:
            with working_on(Operation(Trace.continued(None), time.monotonic() + seconds)):
                found = await work(client)
            assert len(asyncio.all_tasks()) == 1
            return found
        finally:
            await client.aclose()

    return asyncio.run(scenario())


async def groups(client: D365Client) -> list[dict[str, Any]]:
    async with asyncio.timeout(10):  # where the way is shut, the failure should come soon
        return (await client.query("CustomerGroups", GROUPS)).records


# What callers do.


@pytest.mark.parametrize("kept", [True, False], ids=["warm", "cold"])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_thousand_cancelled_calls_at_every_turn_of_the_loop_leave_the_way_open(
    scheme: str, kept: bool, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A quarter of them for each case, over one single connection: where it gets lost, the next call says so."""
    fo = request.getfixturevalue("secured" if scheme == "https" else "simulator")
    if not kept:
        monkeypatch.setattr(transport, "_IDLE_SECONDS", 0.0)

    async def cancel_again_and_again(client: D365Client) -> None:
        for number in range(250):
            if kept:
                assert await groups(client)
            call = asyncio.create_task(client.query("CustomerGroups", GROUPS))
            for _ in range(number % TURNS):
                await asyncio.sleep(0)
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)
        for _ in range(50):
            assert await groups(client)
        assert (client.http.pool().active, client.http.pool().idle) == (0, 1)

    run(fo.base_url, cancel_again_and_again, MCP_CONNECTION_POOL_SIZE="1")


def test_the_first_call_may_be_cancelled_at_any_turn(simulator: Simulator) -> None:
    """While the token comes, and while the connections are being made."""

    async def cancel_the_first(client: D365Client, turns: int) -> None:
        call = asyncio.create_task(client.query("CustomerGroups", GROUPS))
        for _ in range(turns):
            await asyncio.sleep(0.001 if turns > TURNS else 0)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        assert await groups(client)

    for turns in (0, 1, 2, 3, 5, 8, 13, 21, 34, 50, 80, 130):
        run(simulator.base_url, lambda client, turns=turns: cancel_the_first(client, turns))


@pytest.mark.parametrize("number", range(3))
def test_whoever_waits_for_a_connection_gets_it_though_others_give_up_in_that_very_turn(
    simulator: Simulator, number: int
) -> None:
    chance = random.Random(number)  # noqa: S311 - the same every time

    async def storm(client: D365Client) -> None:
        for _ in range(25):
            calls = [asyncio.create_task(client.query("CustomerGroups", GROUPS)) for _ in range(20)]
            for _ in range(60):
                await asyncio.sleep(0 if chance.random() < 0.8 else 0.003)
                chance.choice(calls).cancel()
            _, waiting = await asyncio.wait(calls, timeout=60)
            assert not waiting

    run(simulator.base_url, storm, MCP_CONNECTION_POOL_SIZE="1")


def test_no_more_connections_are_open_than_there_may_be(simulator: Simulator) -> None:
    port = int(simulator.base_url.rpartition(":")[2])

    async def many(client: D365Client) -> int:
        assert await groups(client)
        simulator.control(latency_ms=500)
        others = len(open_to(port)) - client.http.pool().idle  # the test's own, by which it turns the simulator
        calls = [asyncio.create_task(client.query("CustomerGroups", GROUPS)) for _ in range(20)]
        most = 0
        while not all(call.done() for call in calls):
            assert client.http.pool().active <= 7
            most = max(most, len(open_to(port)) - others)
            await asyncio.sleep(0.02)
        await asyncio.gather(*calls)
        assert (client.http.pool().active, client.http.pool().idle) == (0, 7)
        return most

    assert run(simulator.base_url, many, MCP_CONNECTION_POOL_SIZE="7") == 7
    assert simulator.most_in_flight() == 7


def open_to(port: int) -> list[str]:
    """Return the states of this process's connections to a port."""
    return [each.status for each in psutil.Process().net_connections("tcp") if each.raddr and each.raddr.port == port]


def test_a_connection_is_kept_for_a_while_and_no_longer(simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "_IDLE_SECONDS", 0.3)
    port = int(simulator.base_url.rpartition(":")[2])

    async def idle(client: D365Client) -> None:
        others = len(open_to(port))
        assert await groups(client)
        assert (len(open_to(port)) - others, client.http.pool().idle) == (1, 1)
        for _ in range(100):
            await asyncio.sleep(0.05)
            if not client.http.pool().idle:
                break
        await asyncio.sleep(0.05)
        assert (len(open_to(port)) - others, client.http.pool().idle) == (0, 0)

    run(simulator.base_url, idle)


def test_a_stream_that_is_left_midway_gives_its_place_back(simulator: Simulator) -> None:
    async def leave(client: D365Client) -> None:
        simulator.fault("/metadata/", kind="endless", times=0)
        for _ in range(5):
            async with client.http.stream(Request("GET", "/metadata/PublicEntities")) as chunks:
                assert await anext(aiter(chunks))
        simulator.control(end_faults=True)
        assert await groups(client)
        assert (client.http.pool().active, client.http.pool().idle) == (0, 1)

    run(simulator.base_url, leave, MCP_CONNECTION_POOL_SIZE="1")


def test_a_wait_for_a_connection_ends_with_the_requests_time_and_says_so(simulator: Simulator) -> None:
    async def queue(client: D365Client) -> None:
        assert await groups(client)
        simulator.fault("/data/", kind="slow", seconds=20)
        holding = asyncio.create_task(client.query("CustomerGroups", GROUPS))
        await asyncio.sleep(0.1)
        with (
            working_on(Operation(Trace.continued(None), time.monotonic() + 0.5)),
            pytest.raises(DeadlineExceeded, match="No connection to F&O became free"),
        ):
            await client.delete("CustomerGroups", "(dataAreaId='usmf',CustomerGroupId='10')")
        holding.cancel()
        await asyncio.gather(holding, return_exceptions=True)
        assert await groups(client)

    run(simulator.base_url, queue, MCP_CONNECTION_POOL_SIZE="1")
    assert {entry["method"] for entry in simulator.log("/data")} == {"GET"}  # a write that never began


@pytest.mark.once
def test_refused_sql_leaves_an_instance_its_way_to_f_and_o(simulator: Simulator) -> None:
    """One table of four is too large, which ends the reading of the others, at whatever turn that is."""
    four = "SELECT count(*) AS n FROM CustomersV3 JOIN CustomerGroups ON 1=1 JOIN VendorsV2 ON 1=1 JOIN VendorGroups ON 1=1"
    with serving(simulator, MCP_REQUEST_TIMEOUT="20") as served:
        assert served.call("query_entities", entity_name="CustomersV3", top=1)["records"]
        for _ in range(24):
            refused = served.refuse("query_sql", sql=four, max_rows_scanned=1)
            assert refused["code"] == "invalid_argument"
        for _ in range(10):
            assert served.call("query_entities", entity_name="CustomersV3", top=1)["records"]
        pool = served.call("get_server_performance")["this_instance"]["connection_pool"]
        assert (pool["active"], pool["idle"] >= 1) == (0, True)


@pytest.mark.once
def test_after_a_burst_no_socket_is_left_half_closed_nor_named_at_the_end() -> None:
    simulator = Simulator.start()
    port = int(simulator.base_url.rpartition(":")[2])

    def states() -> Counter[str]:
        found = psutil.Process(served.host.pid).net_connections("tcp")
        return Counter(each.status for each in found if each.raddr and each.raddr.port == port)

    async def burst() -> None:
        headers = {"accept": "application/json", "mcp-protocol-version": "2025-11-25"}
        arguments = {"entity_name": "CustomersV3", "top": 1}
        params = {"name": "d365fo_query_entities", "arguments": arguments}
        message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
        async with httpx.AsyncClient(headers=headers, timeout=60, trust_env=False) as http:
            replies = await asyncio.gather(*(http.post(served.url, json=message) for _ in range(60)))
        assert [reply.json()["result"]["isError"] for reply in replies] == [False] * 60

    with serving(simulator) as served:
        simulator.control(latency_ms=100)
        asyncio.run(burst())
        assert states()[psutil.CONN_ESTABLISHED] > 1
        simulator.stop()  # which closes its side of them all
        end = time.monotonic() + 60
        while states() and time.monotonic() < end:
            time.sleep(0.05)
        assert states() == {}
        served.host.stop()
        assert "Unclosed" not in served.host.log


# What is sent.


@dataclass
class Listener:
    """A server that keeps what it gets, byte by byte, and answers with whatever it is given."""

    answers: list[bytes]
    heard: list[bytes] = field(default_factory=list)
    connections: int = 0
    port: int = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = re.search(rb"(?i)content-length: (\d+)", head)
                self.heard.append(head + (await reader.readexactly(int(length[1])) if length else b""))
                answer = self.answers.pop(0)
                writer.write(answer)
                if not answer:
                    break
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass


@asynccontextmanager
async def answered_by(handler: Handler, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """Serve connections on a port of this machine, each to its end."""
    tasks = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.current_task())
        try:
            await handler(reader, writer)
        finally:
            writer.close()

    async with await asyncio.start_server(handle, "127.0.0.1", 0, ssl=tls) as server:
        yield server.sockets[0].getsockname()[1]
        if tasks:
            await asyncio.wait(tasks, timeout=60)


@asynccontextmanager
async def listening(*answers: bytes, tls: ssl.SSLContext | None = None) -> AsyncIterator[Listener]:
    listener = Listener(list(answers))
    async with answered_by(listener, tls) as listener.port:
        yield listener


def reply(body: bytes = b"{}", *headers: bytes) -> bytes:
    lines = [b"HTTP/1.1 200 OK", b"content-type: application/json", b"content-length: %d" % len(body), *headers]
    return b"\r\n".join([*lines, b"", body])


async def with_client(base_url: str, work: Work, **settings: str) -> Any:
    given = read_settings({"D365FO_BASE_URL": base_url, **settings})
    client = D365Client(D365Http(given, TokenSource(given), lambda event: None))
    try:
        with working_on(Operation(Trace.continued(None), time.monotonic() + 20)):
            return await work(client)
    finally:
        await client.aclose()


def test_a_request_has_our_headers_and_no_others() -> None:
    async def scenario() -> None:
        async with listening(reply(), reply(b"{}", b"set-cookie: ApplicationGatewayAffinity=1"), reply()) as listener:

            async def send(client: D365Client) -> None:
                await client.http.send(Request("GET", "/data/Set", "$top=1"))
                await client.http.send(Request("POST", "/data/Set", body=b'{"a":1}', write=Write("create")))
                await client.http.send(
                    Request("DELETE", "/data/Set('a')", headers={"if-match": "*"}, write=Write("delete"))
                )

            # By name: no jar keeps cookies for an address.
            await with_client(f"http://localhost:{listener.port}/namespaces/axsf", send)
        heads = [head.decode().split("\r\n\r\n")[0].split("\r\n") for head in listener.heard]
        lines = [
            "GET /namespaces/axsf/data/Set?$top=1",
            "POST /namespaces/axsf/data/Set",
            "DELETE /namespaces/axsf/data/Set('a')",
        ]
        assert [head[0] for head in heads] == [f"{line} HTTP/1.1" for line in lines]
        common = ["user-agent", "accept", "accept-encoding", "odata-version", "odata-maxversion"]
        ends = ["authorization", "x-ms-client-request-id", "traceparent"]
        names = [[line.partition(":")[0].lower() for line in head[1:]] for head in heads]
        assert names == [
            ["host", *common, *ends],
            ["host", *common, "content-type", *ends, "content-length"],
            ["host", *common, "if-match", *ends, "content-length"],
        ]
        assert f"user-agent: d365mcp/{d365mcp.__version__}" in heads[0]
        assert listener.connections == 1

    asyncio.run(scenario())


ODD = [
    "('a%2Fb')", "('a%2fb')", "('%27%27')", "('%26%3A%2A%3F%25')", "('%C3%A9')", "('..')", "('%2e%2e')", "('a+b')", "('%2B')",
    "/%2e%2e/x", "/%2E%2E%2Fx", "('a;b')", "('~')", "('%7E')", "('%00')",
]  # fmt: skip
QUERIES = [
    "$filter=a%20eq%20%27b%26c%27", "$skiptoken=%2B%2F%3D%7b", "a=b+c&&d", "x=%25%32%35", "$select=a,b&$top=1",
    f"x={string.punctuation.replace('#', '')}",
]  # fmt: skip


def test_path_and_query_are_sent_letter_by_letter() -> None:
    """What stands for itself and what is encoded is a difference: who writes a URL anew may lead a request elsewhere."""

    async def scenario() -> None:
        targets = [(path, QUERIES[number % len(QUERIES)]) for number, path in enumerate(ODD)]
        async with listening(*[reply()] * len(targets)) as listener:

            async def send(client: D365Client) -> None:
                for path, query in targets:
                    await client.http.send(Request("GET", f"/data/Set{path}", query))

            await with_client(f"http://127.0.0.1:{listener.port}", send)
        sent = [head.split(b" ")[1].decode() for head in listener.heard]
        assert sent == [f"/data/Set{path}?{query}" for path, query in targets]

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "text",
    ["a b", "a#b", "a\r\nx-injected: 1", "a\x00b", "é", "a\tb HTTP/1.1", "\ud800".encode("utf-8", "replace").decode()],
)
def test_whatever_is_in_a_link_cannot_end_its_line(text: str) -> None:
    async def scenario() -> None:
        async with listening(reply()) as listener:
            await with_client(
                f"http://127.0.0.1:{listener.port}",
                lambda client: client.http.send(Request("GET", "/data/Set", f"$skiptoken={text}")),
            )
        line, *headers = listener.heard[0].decode("ascii").split("\r\n")
        assert re.fullmatch(r"GET /data/Set\?\$skiptoken=[!-~]+ HTTP/1\.1", line)
        assert unquote(line.split(" ")[1]) == f"/data/Set?$skiptoken={text}"
        assert not [each for each in headers if each.startswith("x-injected")]

    asyncio.run(scenario())


@pytest.mark.parametrize("etag", ['W/"é"', 'W/"a"\r\nx-injected: 1', "\x00"])
def test_an_etag_that_fits_into_no_header_is_not_sent(simulator: Simulator, etag: str) -> None:
    key = "(dataAreaId='usmf',CustomerGroupId='10')"
    with pytest.raises(InvalidArgument, match="fits into no header"):
        run(simulator.base_url, lambda client: client.delete("CustomerGroups", key, if_match=etag))
    assert simulator.log("/data") == []


def test_what_is_too_long_for_a_url_is_an_argument_to_shorten_and_not_sent(simulator: Simulator) -> None:
    with pytest.raises(InvalidArgument, match="does not fit into a URL"):
        run(simulator.base_url, lambda client: client.delete("CustomerGroups", f"('{'a' * 70_000}')"))
    assert simulator.log("/data") == []


WRITES: dict[str, Work] = {
    "POST": lambda client: client.create("CustomerGroups", {"dataAreaId": "usmf", "CustomerGroupId": "77"}),
    "PATCH": lambda client: client.update(
        "CustomerGroups", "(dataAreaId='usmf',CustomerGroupId='10')", {"Description": "x"}
    ),
    "DELETE": lambda client: client.delete("CustomerGroups", "(dataAreaId='usmf',CustomerGroupId='10')"),
}


@pytest.mark.parametrize("warm", [True, False], ids=["warm", "cold"])
@pytest.mark.parametrize("kind", ["drop", "cut"])
@pytest.mark.parametrize("method", WRITES)
def test_a_write_whose_answer_got_lost_is_sent_once_and_of_unknown_outcome(
    simulator: Simulator, method: str, kind: str, warm: bool
) -> None:
    """aiohttp would send a DELETE again over another connection, and F&O would say that there is no such record."""

    async def write(client: D365Client) -> None:
        if warm:
            await groups(client)
        simulator.fault("/data/", method=method, kind=kind, times=0)
        with pytest.raises(OutcomeUnknown):
            await WRITES[method](client)

    run(simulator.base_url, write)
    assert [entry["method"] for entry in simulator.log("/data")].count(method) == 1


def test_every_attempt_of_a_read_is_one_of_ours(simulator: Simulator) -> None:
    async def read(client: D365Client) -> int:
        await groups(client)
        simulator.fault("/data/", kind="drop", times=2)
        await groups(client)
        return client.http.pool().acquired

    assert run(simulator.base_url, read) == len(simulator.log("/data")) == 4


def test_a_redirect_with_the_whole_state_of_a_sign_in_is_read() -> None:
    async def scenario() -> None:
        location = b"location: https://login.example/?state=" + b"x" * 20_000
        answer = reply(b"", location).replace(b"200 OK", b"302 Found")
        async with listening(answer) as listener:
            with pytest.raises(Exception, match="HTTP 302"):
                await with_client(
                    f"http://127.0.0.1:{listener.port}", lambda client: client.http.send(Request("GET", "/data/Set"))
                )

    asyncio.run(scenario())


def test_bytes_in_an_answers_headers_that_are_no_text_do_no_harm() -> None:
    """An exception from there would be an internal error, and hide what became of a write."""

    async def scenario() -> None:
        odd = [name + b": a\xff" for name in (b"content-type", b"location", b"ms-dyn-aid", b"retry-after", b"etag")]
        multipart = b"content-type: multipart/mixed; boundary=\xff"
        answers = [reply(b"", *odd).replace(b"content-type: application/json\r\n", b"") for _ in range(2)]
        answers[1] = answers[1].replace(b"200 OK", b"404 Not Found")
        answers.append(reply(b"", multipart).replace(b"content-type: application/json\r\n", b""))
        async with listening(*answers) as listener:

            async def send(client: D365Client) -> None:
                for work in (WRITES["POST"], WRITES["PATCH"]):
                    with pytest.raises(D365Error):
                        await work(client)
                with pytest.raises(OutcomeUnknown):
                    await client.batch([BatchOperation("DELETE", "CustomerGroups('10')", Write("delete"))], atomic=True)

            await with_client(f"http://127.0.0.1:{listener.port}", send)
        assert len(listener.heard) == 3

    asyncio.run(scenario())


# What it connects to.


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


@pytest.mark.parametrize("where", ["name", "handshake", "proxy"])
def test_a_way_on_which_nothing_comes_back_is_given_up_before_anything_is_sent(
    trusted: None, no_proxies: None, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """While the name is looked up, while the server should greet, while a proxy should open its tunnel."""
    monkeypatch.setattr(transport, "_CONNECT_SECONDS", 0.2)
    monkeypatch.setattr("d365mcp.d365.http._ATTEMPTS", 1)
    real, given_up = socket.getaddrinfo, threading.Event()

    def slow(host: Any, *given: Any, **named: Any) -> Any:
        if host == HOST:
            given_up.wait(30)
        return real(host, *given, **named)

    async def scenario() -> None:
        async with answered_by(silent) as port:
            if where == "name":
                monkeypatch.setattr(socket, "getaddrinfo", slow)
            if where == "proxy":
                monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{port}")

            async def write(client: D365Client) -> None:
                began = time.monotonic()
                with pytest.raises(Unreachable, match="No connection to F&O could be made"):
                    await WRITES["DELETE"](client)
                assert time.monotonic() - began < 15
                given_up.set()

            await with_client(f"https://127.0.0.1:{port}" if where == "handshake" else f"https://{HOST}", write)

    asyncio.run(scenario())


def test_only_a_trusted_server_is_spoken_to(
    secured: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(secured.base_url, groups)
    before = len(secured.log("/data"))
    monkeypatch.setenv("SSL_CERT_FILE", str(loopback_certificate(tmp_path)))
    with pytest.raises(Unreachable, match="No connection to F&O could be made"):
        run(secured.base_url, groups)
    assert len(secured.log("/data")) == before


def test_the_trusted_authorities_are_those_that_are_set_or_else_certifis(
    certificate: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.delenv("SSL_CERT_DIR", raising=False)
    usual = ssl.create_default_context(cafile=certifi.where()).cert_store_stats()
    assert transport._trusted().cert_store_stats() == usual
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    assert transport._trusted().cert_store_stats()["x509"] == 1
    monkeypatch.delenv("SSL_CERT_FILE")
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))  # read as it is needed
    assert transport._trusted().cert_store_stats() != usual
    assert transport._trusted().verify_mode is ssl.CERT_REQUIRED


def test_a_client_that_could_not_be_built_is_built_by_the_next_call(
    secured: Simulator, certificate: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The certificates may lie on a share that is mounted a little later."""
    monkeypatch.setattr("d365mcp.d365.http._ATTEMPTS", 1)
    real = transport.Connections

    def fail(base_url: str) -> Any:
        raise FileNotFoundError("no such file")

    async def twice(client: D365Client) -> None:
        monkeypatch.setattr(transport, "Connections", fail)
        with pytest.raises(Unreachable, match="No connection to F&O can be made"):
            await groups(client)
        monkeypatch.setattr(transport, "Connections", real)
        assert await groups(client)

    run(secured.base_url, twice)


@asynccontextmanager
async def proxying(to: int, *, status: bytes = b"200 Connection established") -> AsyncIterator[tuple[str, list[bytes]]]:
    """Be an HTTP proxy whose every tunnel leads to one port; yields its address and what it was asked."""
    asked: list[bytes] = []

    async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 " + status + b"\r\n\r\n")
        if status.startswith(b"200"):
            there, back = await asyncio.open_connection("127.0.0.1", to)
            await asyncio.gather(pipe(reader, back), pipe(there, writer), return_exceptions=True)

    async with answered_by(serve) as port:
        yield f"127.0.0.1:{port}", asked


@pytest.fixture
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")  # the token's endpoint


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"])
@pytest.mark.parametrize("address", ["http://{}", "{}", "http://user:p%40ss@{}"])
def test_the_way_leads_through_the_proxy_that_is_set(
    trusted: None, certificate: Path, no_proxies: None, monkeypatch: pytest.MonkeyPatch, name: str, address: str
) -> None:
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate)

    async def scenario() -> None:
        async with listening(reply(b'{"value":[]}'), tls=tls) as listener, proxying(listener.port) as (proxy, asked):
            monkeypatch.setenv(name, address.format(proxy))
            await with_client(f"https://{HOST}", lambda client: client.query("CustomerGroups", GROUPS))
        [connect] = asked
        assert connect.startswith(f"CONNECT {HOST}:443 HTTP/1.1\r\n".encode())
        assert b"bearer" not in connect.lower()  # our token is for F&O alone
        credentials = re.findall(rb"(?i)proxy-authorization: basic (\S+)", connect)
        assert [base64.b64decode(each) for each in credentials] == ([b"user:p@ss"] if "user" in address else [])
        assert listener.heard[0].startswith(b"GET /data/CustomerGroups")
        assert b"proxy-" not in listener.heard[0].lower()

    asyncio.run(scenario())


@pytest.mark.parametrize("names", [f"127.0.0.1,{HOST}", "127.0.0.1,.contoso.test", f"127.0.0.1,{HOST}:443", "*"])
def test_no_proxy_leaves_an_environment_out(
    trusted: None, no_proxies: None, monkeypatch: pytest.MonkeyPatch, names: str
) -> None:
    async def scenario() -> None:
        async with proxying(9) as (proxy, asked):
            monkeypatch.setenv("HTTPS_PROXY", f"http://{proxy}")
            monkeypatch.setenv("NO_PROXY", names)
            with pytest.raises(Unreachable):  # there is no such host
                await with_client(f"https://{HOST}", groups)
            assert asked == []

    asyncio.run(scenario())


def test_a_proxy_that_refuses_is_named_and_nothing_was_sent(
    trusted: None, no_proxies: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        async with proxying(9, status=b"407 Proxy Authentication Required") as (proxy, asked):
            monkeypatch.setenv("HTTPS_PROXY", f"http://{proxy}")
            with pytest.raises(Unreachable, match="No connection to F&O could be made") as refused:
                await with_client(f"https://{HOST}", WRITES["DELETE"])
            assert "HTTPS_PROXY" in str(refused.value.hint)
            assert asked

    asyncio.run(scenario())


@pytest.mark.parametrize("address", ["socks5://127.0.0.1:1080", "http://", "ftp://x", "http://user:hunter2-hunter2@"])
def test_a_proxy_that_is_none_is_named_without_its_password(
    trusted: None, no_proxies: None, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", address)
    monkeypatch.setattr("d365mcp.d365.http._ATTEMPTS", 1)
    with pytest.raises(Unreachable, match="HTTPS_PROXY or ALL_PROXY is no address of an HTTP proxy") as refused:
        asyncio.run(with_client(f"https://{HOST}", groups))
    assert "hunter2" not in f"{refused.value.message} {refused.value.hint}"
