"""F&O's throttling as several instances heed it: dev hosts in processes of their own that share Azurite, or a dead storage."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.azurite import Azurite
from tests.served import Served, serving
from tests.simulated import Simulator

pytestmark = pytest.mark.once

GROUPS = {"entity_name": "CustomerGroups", "top": 1}
WAIT = 17
HEARD = 13  # within five seconds, and some more on a busy machine


@pytest.fixture(scope="module")
def azurite() -> Iterator[Azurite]:
    running = Azurite()
    yield running
    running.stop()


def asked(simulator: Simulator) -> list[tuple[float, int]]:
    """Return when F&O was asked for groups since the last reset, and with which status it answered."""
    return [(entry["time"], entry["status"]) for entry in simulator.log("/data/customergroups")]


def calling(served: Served, until: Callable[[], bool]) -> None:
    """Call one after another, as one busy caller does."""
    while not until():
        served.call("query_entities", **GROUPS)
        time.sleep(0.2)


def test_what_one_instance_meets_another_waits_for_too(simulator: Simulator, azurite: Azurite) -> None:
    with (
        serving(simulator, AzureWebJobsStorage=azurite.connection) as first,
        serving(simulator, AzureWebJobsStorage=azurite.connection) as second,
        ThreadPoolExecutor(2) as threads,
    ):
        for served in (first, second):
            served.call("query_entities", **GROUPS)
        simulator.reset()
        simulator.fault("/data/CustomerGroups", status=429, headers={"Retry-After": str(WAIT)})
        met = threads.submit(first.call, "query_entities", **GROUPS)
        while not asked(simulator):
            time.sleep(0.05)
        threads.submit(calling, second, met.done).result()
        times = asked(simulator)
    refused = next(at for at, status in times if status == 429)
    later = [at - refused for at, status in times if at > refused]
    gap = max(after - before for before, after in zip([0.0, *later], later, strict=False))
    assert gap > WAIT - HEARD
    assert not [at for at in later if HEARD < at < WAIT]
    assert [status for _, status in times].count(429) == 1


def test_another_environment_is_not_held_back(simulator: Simulator, azurite: Azurite) -> None:
    other = Simulator.start()
    try:
        with (
            serving(simulator, AzureWebJobsStorage=azurite.connection) as first,
            serving(other, AzureWebJobsStorage=azurite.connection) as second,
        ):
            second.call("query_entities", **GROUPS)
            simulator.fault("/data/CustomerGroups", status=429, headers={"Retry-After": "8"})
            done = threading.Event()
            met = threading.Thread(target=lambda: (first.call("query_entities", **GROUPS), done.set()))
            met.start()
            calling(second, done.is_set)
            met.join()
            times = [at for at, _ in asked(other)]
    finally:
        other.stop()
    assert max(after - before for before, after in zip(times, times[1:], strict=False)) < 5


@pytest.mark.parametrize("trouble", ["hangs", "is gone"])
def test_without_an_answering_storage_each_goes_by_itself(simulator: Simulator, trouble: str) -> None:
    storage = Azurite()
    with serving(simulator, AzureWebJobsStorage=storage.connection) as served:
        try:
            served.call("query_entities", **GROUPS)
            (storage.hang if trouble == "hangs" else storage.stop)()
            simulator.fault("/data/CustomerGroups", status=429, headers={"Retry-After": "1"})
            took = []
            for _ in range(40):
                began = time.monotonic()
                served.call("query_entities", **GROUPS)
                took.append(time.monotonic() - began)
                time.sleep(0.1)
        finally:
            if trouble == "hangs":
                storage.stop()
    assert took[0] >= 1
    assert max(took[1:]) < 8  # the storage is waited for at least ten


def test_a_write_waits_with_the_others_and_goes_out_once(simulator: Simulator) -> None:
    group = {"CustomerGroupId": "97", "Description": "MCP test"}
    with serving(simulator, MCP_READ_ONLY="false") as served, ThreadPoolExecutor(1) as threads:
        served.call("query_entities", **GROUPS)
        simulator.reset()
        simulator.fault("/data/VendorsV2", status=429, headers={"Retry-After": "3"})
        met = threads.submit(served.call, "query_entities", entity_name="VendorsV2", top=1)
        while not simulator.log("/data/vendorsv2"):
            time.sleep(0.05)
        served.call("create_entity_record", entity_name="CustomerGroups", data=group)
        met.result()
    refused = simulator.log("/data/vendorsv2")[0]["time"]
    [written] = [entry for entry in simulator.log("/data/customergroups") if entry["method"] == "POST"]
    assert 3 <= written["time"] - refused < 10


def test_a_throttled_part_of_a_batch_is_heeded(simulator: Simulator) -> None:
    group = {"CustomerGroupId": "98", "Description": "MCP test"}
    operation = {"operation": "create", "entity_name": "CustomerGroups", "data": group}
    with serving(simulator, MCP_READ_ONLY="false") as served:
        served.call("query_entities", **GROUPS)
        simulator.fault("/data/CustomerGroups", method="POST", status=429, headers={"Retry-After": "3"})
        served.call("batch", operations=[operation], atomic=False)
        began = time.monotonic()
        served.call("query_entities", **GROUPS)
    assert time.monotonic() - began > 2
