"""What a test may set in a running simulator: faults, delays, throttling, the log and reset."""

from __future__ import annotations

import contextlib
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.simulated import Simulator

pytestmark = pytest.mark.once

URL = "/data/Currencies?$top=1&$select=CurrencyCode"


def status(fo: httpx.Client) -> int:
    return fo.get(URL).status_code


@pytest.mark.parametrize("code", [400, 401, 403, 404, 412, 429, 500, 502, 503, 504])
def test_a_status_befalls_the_next_request_alone(simulator: Simulator, fo: httpx.Client, code: int) -> None:
    simulator.fault(status=code, headers={"Retry-After": "7"})
    failed = fo.get(URL)
    assert failed.status_code == code
    assert failed.headers["retry-after"] == "7"
    assert status(fo) == 200


def test_a_fault_chooses_its_requests(simulator: Simulator, fo: httpx.Client) -> None:
    simulator.fault("^/data/Currencies$", method="GET", after_n=1, times=2, status=500)
    assert fo.get("/data/Warehouses?$top=1").status_code == 200
    assert [status(fo) for _ in range(4)] == [200, 500, 500, 200]


def test_a_fault_may_last_until_the_reset(simulator: Simulator, fo: httpx.Client) -> None:
    simulator.fault(times=0, status=503)
    assert [status(fo) for _ in range(3)] == [503, 503, 503]
    simulator.reset()
    assert status(fo) == 200


def test_a_fault_may_meet_a_share_of_the_requests(simulator: Simulator) -> None:
    simulator.fault("^/data/Currencies$", times=0, chance=0.25, status=503)
    with simulator.client() as client:
        failed = sum(client.get("/data/Currencies").status_code == 503 for _ in range(200))
        assert 25 <= failed <= 75
        simulator.control(end_faults=True)
        assert all(client.get("/data/Currencies").status_code == 200 for _ in range(20))
    assert simulator.http.get("/__control").json()["faults"] == {"reply 503": failed}


def test_the_token_endpoint_can_fail_too(simulator: Simulator) -> None:
    simulator.fault("/msi/token", status=500)
    with pytest.raises(httpx.HTTPStatusError):
        simulator.token()


def test_a_fault_may_bring_its_own_body(simulator: Simulator, fo: httpx.Client) -> None:
    simulator.fault(status=400, body={"error": {"code": "", "message": "m"}})
    assert fo.get(URL).json() == {"error": {"code": "", "message": "m"}}
    simulator.fault(status=400, body="plain")
    assert fo.get(URL).text == "plain"


def test_odd_answers(simulator: Simulator, fo: httpx.Client) -> None:
    simulator.fault(kind="html")
    assert fo.get(URL).headers["content-type"].startswith("text/html")
    simulator.fault(kind="empty")
    empty = fo.get(URL)
    assert (empty.status_code, empty.content) == (200, b"")
    simulator.fault(kind="malformed")
    malformed = fo.get(URL)
    assert malformed.status_code == 200
    with pytest.raises(ValueError, match="Unterminated|Expecting|Invalid"):
        malformed.json()
    simulator.fault(kind="huge", bytes=1_000_000)
    assert len(fo.get(URL).content) > 900_000


@pytest.mark.parametrize("kind", ["drop", "cut"])
def test_broken_connections(simulator: Simulator, fo: httpx.Client, kind: str) -> None:
    simulator.fault(kind=kind)
    with pytest.raises(httpx.RemoteProtocolError):
        fo.get(URL)
    assert status(fo) == 200
    assert [entry["status"] for entry in simulator.log("/data")] == [0 if kind == "drop" else 200, 200]


@pytest.mark.parametrize("fault", [{"status": 502}, {"status": 504, "kind": "html"}, {"kind": "drop"}])
def test_a_reply_can_get_lost_after_the_work(simulator: Simulator, fo: httpx.Client, fault: dict[str, object]) -> None:
    simulator.fault("/data/CustomerGroups", method="POST", **fault)
    simulator.fault("/data/CustomerGroups", method="POST", **fault, after=True)
    for _ in range(2):
        with contextlib.suppress(httpx.RemoteProtocolError):
            assert fo.post("/data/CustomerGroups", json={"CustomerGroupId": "91"}).status_code == fault["status"]
    assert [entry["done"] for entry in simulator.log("/data")] == [None, True]
    assert fo.get("/data/CustomerGroups(dataAreaId='usmf',CustomerGroupId='91')").status_code == 200


def test_the_log_says_what_was_refused(simulator: Simulator, fo: httpx.Client) -> None:
    fo.post("/data/CustomerGroups", json={"CustomerGroupId": "20"})
    (entry,) = simulator.log("/data")
    assert (entry["status"], entry["done"]) == (400, False)


def test_an_endless_answer_ends_when_the_caller_hangs_up(simulator: Simulator, fo: httpx.Client) -> None:
    simulator.fault(kind="endless")
    with fo.stream("GET", URL) as reply:
        chunks = reply.iter_raw()
        assert all(next(chunks) for _ in range(3))
    assert status(fo) == 200


def test_slow_answers_and_latency_do_not_hold_others_up(simulator: Simulator, fo: httpx.Client) -> None:
    simulator.fault(kind="slow", seconds=0.3, times=4)
    callers = [threading.Thread(target=status, args=(fo,)) for _ in range(4)]
    started = time.perf_counter()
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert time.perf_counter() - started >= 0.3
    assert simulator.most_in_flight() == 4
    simulator.control(latency_ms=50)
    started = time.perf_counter()
    assert status(fo) == 200
    assert time.perf_counter() - started >= 0.05


def test_only_requests_to_fo_count_as_in_flight(simulator: Simulator, fo: httpx.Client) -> None:
    simulator.token()
    assert simulator.most_in_flight() == 0
    status(fo)
    assert simulator.most_in_flight() == 1


def test_throttling_allows_so_many_requests_in_a_window(simulator: Simulator, fo: httpx.Client) -> None:
    simulator.control(throttle={"requests": 2, "seconds": 60, "retry_after": 9})
    assert [status(fo) for _ in range(2)] == [200, 200]
    refused = fo.get(URL)
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "9")
    assert "high resource utilization" in refused.json()["error"]["message"]
    simulator.control(throttle=None)
    assert status(fo) == 200


def test_throttling_allows_so_many_requests_at_once(simulator: Simulator, fo: httpx.Client) -> None:
    simulator.control(throttle={"at_once": 2, "retry_after": 1}, latency_ms=1000)
    with ThreadPoolExecutor(3) as threads:
        assert sorted(threads.map(lambda _: status(fo), range(3))) == [200, 200, 429]
    assert (simulator.most_in_flight(), [entry["done"] for entry in simulator.log("/data")].count(True)) == (2, 2)
    assert status(fo) == 200  # one after another, any number


def test_the_log_shows_every_request_as_it_was_sent(simulator: Simulator, fo: httpx.Client) -> None:
    fo.get("/data/Currencies?$filter=Name%20eq%20'Euro'", headers={"x-ms-client-request-id": "7"})
    fo.post("/data/CustomerGroups", json={"CustomerGroupId": "91"})
    tokens, read, write = simulator.log()
    assert tokens["path"] == "/msi/token"
    assert (read["method"], read["path"], read["query"]) == ("GET", "/data/Currencies", "$filter=Name%20eq%20'Euro'")
    assert read["headers"]["x-ms-client-request-id"] == "7"
    assert read["client"] == "00000000-0000-4000-8000-000000000001"
    assert (write["body"], write["status"], write["sequence"]) == (
        '{"CustomerGroupId":"91"}',
        201,
        read["sequence"] + 1,
    )
    assert "Bearer" not in str(simulator.log())
    simulator.reset()
    assert simulator.log() == []


@pytest.mark.parametrize(
    "command",
    [
        {"explode": True},
        {"page_size": "many"},
        {"fault": {"fault": {"kind": "earthquake"}}},
        {"fault": {"match": {"path": "("}}},
        {"client": {"company": "usmf"}},
    ],
)
def test_a_wrong_command_is_named(simulator: Simulator, command: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="control|fault|explode"):
        simulator.control(**command)


def test_the_process_ends_although_a_request_is_at_work() -> None:
    running = Simulator.start()
    running.fault("/data/", kind="slow", seconds=60)
    caller = threading.Thread(target=_ignoring_the_end, args=(running,))
    caller.start()
    while caller.is_alive() and running.most_in_flight() == 0:
        time.sleep(0.01)
    running.stop()
    caller.join(timeout=60)
    assert not caller.is_alive()


def _ignoring_the_end(running: Simulator) -> None:
    with running.client() as fo, contextlib.suppress(httpx.TransportError):
        fo.get(URL)


def test_a_reset_is_quick(simulator: Simulator, fo: httpx.Client) -> None:
    fo.get("/data/SalesOrderLinesV3?$top=1")
    for number in range(50):
        fo.patch("/data/CustomersV3(dataAreaId='usmf',CustomerAccount='US-001')", json={"CreditLimit": number})
    started = time.perf_counter()
    simulator.reset()
    assert time.perf_counter() - started < 2


def walked(fo: httpx.Client, path: str) -> list[str]:
    """Read a collection over all its pages; return the accounts in the order they came."""
    found, link = [], path
    while link:
        page = fo.get(link).raise_for_status().json()
        found += [record["CustomerAccount"] for record in page["value"]]
        link = page.get("@odata.nextLink", "")
    return found


def test_shuffled_pages_repeat_and_lose_rows_unless_an_order_is_asked_for(
    simulator: Simulator, fo: httpx.Client
) -> None:
    simulator.control(shuffle=True, page_size=7)
    shuffled = walked(fo, "/data/CustomersV3?$select=CustomerAccount")
    ordered = walked(fo, "/data/CustomersV3?$select=CustomerAccount&$orderby=CustomerAccount")
    assert len(shuffled) == len(ordered) == len(set(ordered)) > len(set(shuffled))
    simulator.reset()
    assert len(set(walked(fo, "/data/CustomersV3?$select=CustomerAccount"))) == len(ordered)


def test_a_set_refuses_to_be_ordered(simulator: Simulator, fo: httpx.Client) -> None:
    simulator.control(refuse_order=["CustomerGroups"])
    assert fo.get("/data/CustomerGroups?$orderby=CustomerGroupId").status_code == 400
    assert fo.get("/data/CustomerGroups").status_code == 200
    assert fo.get("/data/CustomersV3?$orderby=CustomerAccount").status_code == 200
