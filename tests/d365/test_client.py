"""The way to F&O: one token for many, retries for reads only, limits on what is read, and nothing left behind."""

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import pytest

from d365mcp.d365 import paging, responses
from d365mcp.d365.auth import TokenSource, token_scope
from d365mcp.d365.batch import BatchOperation
from d365mcp.d365.client import D365Client, RecordPage
from d365mcp.d365.http import D365Http, Request
from d365mcp.d365.models import DataEntity
from d365mcp.d365.odata import QueryOptions
from d365mcp.d365.outcomes import Write
from d365mcp.d365.page_set import PageSet
from d365mcp.d365.paging import Position, Query, Reader
from d365mcp.errors import (
    D365Error,
    DeadlineExceeded,
    Forbidden,
    InvalidAnswer,
    InvalidArgument,
    InvalidCursor,
    NotFound,
    OutcomeUnknown,
    SignInFailed,
    Throttled,
    Unauthorized,
    Unavailable,
    Unreachable,
)
from d365mcp.events import D365Exchange, Event, Operation, Trace, working_on
from d365mcp.settings import read_settings
from d365mcp.wire import read_json
from tests.simulated import Simulator

GROUPS = QueryOptions(select=("CustomerGroupId",), top=3)
Work = Callable[[D365Client], Awaitable[Any]]


@pytest.fixture(autouse=True)
def identity(simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in simulator.identity_environment().items():
        monkeypatch.setenv(name, value)


class Runner:
    """Runs work on a fresh client, and keeps the events and the operation."""

    def __init__(self, base_url: str, seconds: float = 20.0) -> None:
        self.base_url = base_url
        self.seconds = seconds
        self.events: list[Event] = []
        self.operation = Operation(Trace.continued(None), 0.0)

    def __call__(self, work: Work, **settings: str) -> Any:
        async def run() -> Any:
            given = read_settings({"D365FO_BASE_URL": self.base_url, **settings})
            client = D365Client(D365Http(given, TokenSource(given), self.events.append))
            self.operation = Operation(Trace.continued(None), time.monotonic() + self.seconds)
            try:
                with working_on(self.operation):
                    return await work(client)
            finally:
                await client.aclose()

        return asyncio.run(run())

    @property
    def exchanges(self) -> list[D365Exchange]:
        return [event for event in self.events if isinstance(event, D365Exchange)]


@pytest.fixture
def run(simulator: Simulator) -> Runner:
    return Runner(simulator.base_url)


GROUP_ENTITY = DataEntity("CustomerGroup", "CustomerGroups", {})


async def every(pages: PageSet) -> AsyncIterator[RecordPage]:
    while page := await pages.next():
        yield page


def groups(client: D365Client) -> Awaitable[Any]:
    return client.query("CustomerGroups", GROUPS)


def sent(simulator: Simulator, path: str = "/data") -> int:
    return len(simulator.log(path))


def test_fifty_calls_at_once_fetch_one_token(run: Runner, simulator: Simulator) -> None:
    async def many(client: D365Client) -> None:
        await asyncio.gather(*(groups(client) for _ in range(50)))

    run(many)
    assert sent(simulator, "/msi") == 1
    assert sent(simulator) == 50


def test_a_refused_token_is_replaced_once(run: Runner, simulator: Simulator) -> None:
    simulator.fault("/data/", status=401)
    assert run(groups).records
    assert (sent(simulator, "/msi"), sent(simulator)) == (2, 2)


def test_a_token_that_ends_soon_serves_all_who_waited_for_it(run: Runner, simulator: Simulator) -> None:
    simulator.control(token_seconds=120)

    async def many(client: D365Client) -> None:
        await asyncio.gather(*(groups(client) for _ in range(20)))

    run(many)
    assert sent(simulator, "/msi") == 1


def test_a_wave_of_refusals_fetches_one_new_token(run: Runner, simulator: Simulator) -> None:
    """They come one after the other, some after the new token has come: it serves them too."""

    async def wave(client: D365Client) -> None:
        await groups(client)
        simulator.control(revoke_tokens=True)

        async def one(number: int) -> None:
            await asyncio.sleep(number * 0.002)
            await groups(client)

        await asyncio.gather(*(one(number) for number in range(50)))

    run(wave, MCP_CONNECTION_POOL_SIZE="8")
    assert sent(simulator, "/msi") == 2


def test_a_wave_of_refusals_asks_once_where_the_same_token_comes_again(run: Runner, simulator: Simulator) -> None:
    """The identity endpoint keeps its tokens for a day, whatever F&O says of them.

    https://learn.microsoft.com/entra/identity/managed-identities-azure-resources/managed-identity-best-practice-recommendations#limitation-of-using-managed-identities-for-authorization
    """
    kept = {"access_token": simulator.token(), "expires_on": str(int(time.time()) + 3599), "token_type": "Bearer"}
    simulator.fault("/msi", status=200, body={**kept, "resource": simulator.base_url}, times=0)

    async def wave(client: D365Client) -> None:
        tokens = client.http.tokens
        first = await tokens.token()
        before = sent(simulator, "/msi")
        assert set(await asyncio.gather(*(tokens.token(refused=first) for _ in range(50)))) == {first}
        assert sent(simulator, "/msi") - before == 1

    run(wave)


def test_a_token_that_stays_refused_names_the_form_to_fill_in(run: Runner, simulator: Simulator) -> None:
    simulator.fault("/data/", status=401, times=5)
    with pytest.raises(Unauthorized) as refused:
        run(groups)
    assert "Microsoft Entra applications" in str(refused.value.hint)
    assert sent(simulator) == 2


@pytest.mark.parametrize(
    ("fault", "error"),
    [({"status": 403}, Forbidden), ({"status": 404}, NotFound), ({"status": 500}, Unavailable), ({"kind": "malformed"}, InvalidAnswer)],
)  # fmt: skip
def test_what_waiting_cannot_change_is_not_tried_again(
    run: Runner, simulator: Simulator, fault: dict[str, Any], error: type[D365Error]
) -> None:
    simulator.fault("/data/", **fault, times=5)
    with pytest.raises(error):
        run(groups)
    assert sent(simulator) == 1


@pytest.mark.parametrize("fault", [{"status": 502}, {"status": 503, "kind": "html"}, {"status": 504}, {"kind": "drop"}])
def test_a_read_is_tried_again_twice(run: Runner, simulator: Simulator, fault: dict[str, Any]) -> None:
    simulator.fault("/data/", **fault, times=2)
    assert run(groups).records
    assert sent(simulator) == 3
    assert run.operation.retries == 2
    assert [exchange.attempt for exchange in run.exchanges] == [1, 2, 3]


def test_a_gateway_that_stays_down_is_reported_without_its_page(run: Runner, simulator: Simulator) -> None:
    simulator.fault("/data/", status=503, kind="html", times=9)
    with pytest.raises((Unavailable, Unreachable)) as raised:
        run(groups)
    assert "<" not in json.dumps(raised.value.describe())
    assert sent(simulator) == 3


def test_retry_after_in_seconds_is_waited_for(run: Runner, simulator: Simulator) -> None:
    simulator.fault("/data/", status=429, headers={"retry-after": "1"})
    began = time.monotonic()
    assert run(groups).records
    assert time.monotonic() - began > 0.9
    assert run.operation.throttles == 1


def test_retry_after_as_a_date_is_reported(run: Runner, simulator: Simulator) -> None:
    date = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 90))
    simulator.fault("/data/", status=429, headers={"retry-after": date})
    with pytest.raises(Throttled) as throttled:
        run(groups)
    assert 80 < (throttled.value.retry_after or 0) <= 90
    assert sent(simulator) == 1


def test_a_wait_beyond_the_deadline_is_not_begun(simulator: Simulator) -> None:
    simulator.fault("/data/", status=429, headers={"retry-after": "5"})
    began = time.monotonic()
    with pytest.raises(Throttled):
        Runner(simulator.base_url, seconds=2.0)(groups)
    assert time.monotonic() - began < 5


def test_a_slow_answer_ends_at_the_deadline(simulator: Simulator) -> None:
    simulator.fault("/data/", kind="slow", seconds=20)
    began = time.monotonic()
    with pytest.raises(DeadlineExceeded):
        Runner(simulator.base_url, seconds=1.0)(groups)
    assert time.monotonic() - began < 10


def test_an_environment_that_is_not_there_is_unreachable(simulator: Simulator) -> None:
    with pytest.raises((Unreachable, SignInFailed)) as raised:
        Runner("http://127.0.0.1:9")(groups)
    assert raised.value.hint


def test_a_failing_sign_in_says_what_to_look_at_and_is_not_kept(
    run: Runner, simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IDENTITY_HEADER", "wrong")
    with pytest.raises(SignInFailed) as failed:
        run(groups)
    assert "managed identity" in str(failed.value.hint)


@pytest.mark.parametrize(
    "link",
    [
        "https://evil.example/data/CustomersV3",
        "{base}.evil.example/data/CustomersV3",
        "http://user@{host}/data/CustomersV3",
        "//evil.example/data",
        "/data/../api/services",
        "{base}/data/../../x",
        "{base}/data/%2e%2e/api/services",
        "{base}/data/%2E%2e%2Fapi/services",
        "{base}/data/%252e%252e/api/services",
        "{base}/data/.%2e/api/services",
        "{base}/data/x/..%5capi",
        "../api/services",
        "%2e%2e/api/services",
        "ftp://{host}/data/CustomersV3",
        "{base}/datax/CustomersV3",
        "CustomersV3\\..\\x",
        "{base}/api/services/UserSessionService",
        "http://[",
    ],
)
def test_a_link_elsewhere_is_not_followed(run: Runner, simulator: Simulator, link: str) -> None:
    host = simulator.base_url.removeprefix("http://")
    leading = link.replace("{base}", simulator.base_url).replace("{host}", host)
    with pytest.raises(InvalidCursor):
        run(lambda client: client.next_page(leading))
    assert sent(simulator) == 0


@pytest.mark.parametrize(
    "link",
    [
        "{base}/data/CustomerGroups?$top=1",
        "{upper}/data/CustomerGroups?$top=1",
        "{base}/Data/CustomerGroups?$top=1",
        "https://{name}:443/data/CustomerGroups?$top=1",
        "https://{name}/data/CustomerGroups?$top=1",
        "//{host}/data/CustomerGroups?$top=1",
        "/data/CustomerGroups?$top=1",
        "CustomerGroups?$top=1",
        "?$top=1",
    ],
)
def test_a_link_into_our_own_data_is_followed_on_our_own_base(run: Runner, simulator: Simulator, link: str) -> None:
    host = simulator.base_url.removeprefix("http://")
    replaced = {
        "base": simulator.base_url,
        "upper": simulator.base_url.upper(),
        "host": host,
        "name": host.split(":")[0],
    }
    leading = re.sub(r"\{(\w+)\}", lambda found: replaced[found[1]], link)
    page = run(lambda client: client.next_page(leading, "/data/CustomerGroups"))
    assert len(page.records) == 1
    (request,) = simulator.log("/data")
    assert (request["path"], request["query"]) == ("/data/CustomerGroups", "$top=1")


def test_a_relative_link_is_followed_where_it_was_given(run: Runner, simulator: Simulator) -> None:
    for entity_set, link in (("CustomerGroups", "?$top=1"), ("CustomerGroups", "VendorGroups?$top=1")):
        first = {"value": [{"dataAreaId": "usmf"}], "@odata.nextLink": link}
        simulator.fault(f"/data/{entity_set}", status=200, body=first)

        async def read(client: D365Client) -> int:
            pages = PageSet(client, GROUP_ENTITY, GROUPS)
            return len([page async for page in every(pages)])

        assert run(read) == 2
    assert [request["path"] for request in simulator.log("/data/")] == [
        "/data/CustomerGroups",
        "/data/CustomerGroups",
        "/data/CustomerGroups",
        "/data/VendorGroups",
    ]


@pytest.mark.parametrize("name", ["../api", "Customers V3", "CustomersV3?x=1", "CustomersV3/x", "", "Ä"])
def test_only_a_name_becomes_part_of_a_path(run: Runner, simulator: Simulator, name: str) -> None:
    with pytest.raises(InvalidArgument):
        run(lambda client: client.query(name, GROUPS))
    assert sent(simulator) == 0


def test_an_exchange_is_reported_without_key_or_query_values(run: Runner, simulator: Simulator) -> None:
    run(lambda client: client.get_record("CustomersV3", "(dataAreaId='usmf',CustomerAccount='US-001')", QueryOptions()))
    (exchange,) = run.exchanges
    assert (exchange.path, exchange.status) == ("/data/CustomersV3()", 200)
    assert exchange.activity_id
    assert exchange.trace.parent_id == run.operation.trace.span_id
    (request,) = simulator.log("/data")
    assert request["headers"]["x-ms-client-request-id"] == exchange.request_id
    assert run.operation.d365_calls == 1


def test_no_cookie_is_kept(run: Runner, simulator: Simulator) -> None:
    simulator.fault("/data/", status=200, body='{"value":[]}', headers={"set-cookie": "ApplicationGatewayAffinity=1"})

    async def twice(client: D365Client) -> None:
        await groups(client)
        await groups(client)

    run(twice)
    assert all("cookie" not in request["headers"] for request in simulator.log("/data"))


def test_an_abandoned_call_gives_its_connection_back(run: Runner, simulator: Simulator) -> None:
    async def abandon(client: D365Client) -> None:
        await groups(client)
        simulator.control(latency_ms=200)
        calls = [asyncio.create_task(client.query("CustomerGroups", GROUPS)) for _ in range(200)]
        await asyncio.sleep(0.1)
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        simulator.control(latency_ms=0)
        await asyncio.gather(*(client.query("CustomerGroups", GROUPS) for _ in range(150)))
        pool = client.http.pool()
        assert (pool.active, pool.idle <= pool.limit, pool.acquired >= 300) == (0, True, True)
        assert len(asyncio.all_tasks()) == 1

    run(abandon)


def test_a_write_that_got_no_answer_is_of_unknown_outcome(run: Runner, simulator: Simulator) -> None:
    simulator.fault("/data/", method="POST", kind="drop", times=3)
    with pytest.raises(OutcomeUnknown):
        run(lambda client: client.create("CustomerGroups", {"dataAreaId": "usmf", "CustomerGroupId": "77"}))
    assert sent(simulator) == 1


def test_who_we_are_is_asked_once_by_many(run: Runner, simulator: Simulator) -> None:
    async def many(client: D365Client) -> None:
        sessions = await asyncio.gather(*(client.session() for _ in range(20)))
        assert {session.company for session in sessions} == {"usmf"}

    run(many)
    assert sent(simulator, "/api") == 1


def test_the_token_is_for_the_exact_root() -> None:
    assert token_scope("https://contoso.operations.dynamics.com") == "https://contoso.operations.dynamics.com/.default"
    assert token_scope("https://host.contoso.com/namespaces/axsf") == "https://host.contoso.com/.default"


def test_a_split_filter_sorts_no_more_than_can_be_held(run: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    async def read(client: D365Client) -> int:
        halves = ("CustomerGroupId lt '20'", "CustomerGroupId ge '20'")
        entity = await client.public_entity("CustomerGroup")
        query = Query(entity, halves, order_by=("CustomerGroupId",), cross_company=True)
        return len([record async for record, _ in Reader(client, query).records(Position(), 100)])

    assert (found := run(read)) > 10
    monkeypatch.setattr(paging, "_MAX_SORTED", found - 1)
    with pytest.raises(InvalidArgument, match="too many to be sorted"):
        run(read)


def test_a_stream_gives_what_a_request_would(run: Runner, simulator: Simulator) -> None:
    async def read(client: D365Client) -> Mapping[str, Any]:
        async with client.http.stream(Request("GET", "/metadata/PublicEnumerations('NoYes')")) as chunks:
            return dict(json.loads(b"".join([chunk async for chunk in chunks])))

    assert run(read)["Name"] == "NoYes"


@pytest.mark.parametrize("write", ["create", "batch"])
def test_the_wait_that_the_answer_to_a_write_asks_for_is_heeded(run: Runner, simulator: Simulator, write: str) -> None:
    """Its outcome is unknown, so it is not sent again. What comes after it waits all the same."""
    simulator.fault("/data/", method="POST", status=503, headers={"retry-after": "1"}, times=1)

    async def write_and_read(client: D365Client) -> tuple[OutcomeUnknown, float]:
        with pytest.raises(OutcomeUnknown) as raised:
            if write == "create":
                await client.create("CustomerGroups", {"CustomerGroupId": "W1"})
            else:
                await client.batch(
                    [BatchOperation("POST", "CustomerGroups", Write("create"), {"CustomerGroupId": "W1"})], atomic=True
                )
        began = time.monotonic()
        await client.query("CustomerGroups", GROUPS)
        return raised.value, time.monotonic() - began

    error, waited = run(write_and_read)
    assert waited >= 0.9
    assert "retry_after" not in error.describe()  # waiting does not make it known


LONG = {
    "value": [{"dataAreaId": "usmf", "CustomerGroupId": f"{number}", "Text": "x" * 600} for number in range(40_000)]
}


def test_others_go_on_while_a_long_page_is_read(
    run: Runner, simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulator.fault("/data/CustomerGroups", status=200, body=LONG)
    is_reading = False
    others_ran = 0

    def watched(body: bytes) -> Any:
        nonlocal is_reading
        is_reading = True
        try:
            return read_json(body)
        finally:
            is_reading = False

    monkeypatch.setattr(responses, "read_json", watched)

    async def read(client: D365Client) -> int:
        async def others() -> None:
            nonlocal others_ran
            while True:
                await asyncio.sleep(0.001)
                others_ran += is_reading

        waiting = asyncio.create_task(others())
        page = await client.query("CustomerGroups", GROUPS)
        waiting.cancel()
        return len(page.records)

    assert run(read) == 40_000
    assert others_ran >= 5  # a parser that keeps the interpreter lets nobody in
