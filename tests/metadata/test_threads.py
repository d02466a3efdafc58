"""A snapshot that many threads read at once: each gets what it asked for. Python 3.12 and 3.13 share what 3.11 does not."""

from __future__ import annotations

import sqlite3
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from d365mcp.metadata.catalog import indexed
from d365mcp.metadata.search.index import SearchDocument
from d365mcp.metadata.search.questions import Search
from d365mcp.metadata.shared_connection import SharedConnection
from d365mcp.metadata.snapshot import Snapshot
from tests.metadata.place import Place
from tests.served import build_catalog, serving
from tests.simulated import Simulator

THREADS = 6
ROUNDS = 10


@pytest.fixture(autouse=True)
def impatient() -> Iterator[None]:
    """Threads take turns a thousand times as often."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(5e-6)
    yield
    sys.setswitchinterval(usual)


def by_many(work: Callable[[int], Any], numbers: int) -> list[Any]:
    """Return what threads got that did the same work side by side, each beginning at another number."""
    start = threading.Barrier(THREADS)

    def one(thread: int) -> list[Any]:
        start.wait()
        return [work((thread + step) % numbers) for step in range(numbers)]

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(one, range(THREADS)))


def check(work: Callable[[int], Any], numbers: int, rounds: int = ROUNDS) -> None:
    alone = [work(number) for number in range(numbers)]
    for _ in range(rounds):
        for thread, got in enumerate(by_many(work, numbers)):
            assert got == [alone[(thread + step) % numbers] for step in range(numbers)]


@pytest.fixture
def snapshot(place: Place) -> Snapshot:
    assert place.build() == "built"
    return place.snapshot()


def test_each_gets_the_entity_it_asked_for(snapshot: Snapshot) -> None:
    names = [row.entity_set.casefold() for row in snapshot.summaries() if row.data_service_enabled][:40]
    check(lambda number: snapshot.read_entity(names[number]), len(names))


def test_each_gets_the_labels_and_enumerations_it_asked_for(snapshot: Snapshot) -> None:
    ids, enumerations = [row.label_id for row in snapshot.summaries()], snapshot.enumeration_names()
    check(lambda number: snapshot.labels([ids[number % len(ids)]], "en-US"), 40)
    check(lambda number: snapshot.enumeration(enumerations[number % len(enumerations)]), 40)


def test_each_finds_what_it_looked_for() -> None:
    words = [f"{first}{second}" for first in ("bar", "lim", "cor", "gor") for second in ("ket", "olin", "ulas", "even")]
    connection = indexed(SearchDocument("enumeration", (f"{word} status",), ref=word) for word in words)

    def find(number: int) -> list[str]:
        search = Search(connection, "enumeration")  # a new one each time: it has kept nothing
        return [found.ref for found in search.find(f"{words[number]} status")]

    check(find, len(words))
    connection.close()


def test_each_gets_the_row_of_its_own_key(tmp_path: Path) -> None:
    """The least there is of it."""
    raw = sqlite3.connect(tmp_path / "rows", check_same_thread=False)
    raw.execute("CREATE TABLE kept (name TEXT PRIMARY KEY, value TEXT)")
    raw.executemany("INSERT INTO kept VALUES (?, ?)", [(str(number), f"value {number}") for number in range(500)])
    raw.commit()
    shared = SharedConnection(raw)
    check(lambda number: shared.row("SELECT value FROM kept WHERE name = ?", (str(number),)), 500, rounds=3)
    check(lambda number: shared.execute("SELECT value FROM kept WHERE name > ?", (str(number),))[:3], 500, rounds=1)
    shared.close()


def test_a_new_server_answers_many_at_once_as_it_answers_one(simulator_process: Simulator, tmp_path: Path) -> None:
    build_catalog(simulator_process, tmp_path)
    asked = [
        "CustomersV3",
        "VendorsV2",
        "SalesOrderHeadersV2",
        "SalesOrderLinesV3",
        "CustomerGroups",
        "ReleasedProductsV2",
    ]
    with serving(simulator_process, TMPDIR=str(tmp_path)) as served, ThreadPoolExecutor(THREADS) as pool:
        many = list(pool.map(lambda name: served.call("get_entity_schema", entity_name=name), asked))
    with serving(simulator_process, TMPDIR=str(tmp_path)) as served:
        assert many == [served.call("get_entity_schema", entity_name=name) for name in asked]
