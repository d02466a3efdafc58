"""Labels never cost the catalog: what fails is left out and counted, what is there stays, and search does not wait."""

import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from typing import Any
from urllib.parse import unquote

import pytest

from d365mcp.metadata import fan_out
from d365mcp.metadata.catalog import MetadataCatalog
from d365mcp.metadata.loader import Loader
from tests.dev_host import ROOT
from tests.large_fo import Running
from tests.metadata.conftest import LABELS
from tests.metadata.place import Place
from tests.simulated import Simulator

pytestmark = pytest.mark.alike

CREDIT_LIMIT = r"^/metadata/Labels\(Id='@CAT4',"
FAILURES: dict[str, dict[str, Any]] = {
    "forbidden": {"status": 403},
    "not there": {"status": 404},
    "failed": {"status": 500},
    "away": {"status": 503},
    "throttled": {"status": 429, "headers": {"retry-after": "60"}},
    "redirect": {"status": 302, "headers": {"location": "https://login.example/"}},
    "a page": {"kind": "html", "status": 200},
    "a page that fails": {"kind": "html", "status": 502},
    "nothing": {"kind": "empty"},
    "no content": {"kind": "empty", "status": 204},
    "broken off": {"kind": "cut"},
    "dropped": {"kind": "drop"},
    "no JSON": {"kind": "malformed"},
    "too late": {"kind": "slow", "seconds": 30},
    "endless": {"kind": "endless"},
    "a list": {"status": 200, "body": '["Credit limit"]'},
    "a number": {"status": 200, "body": '{"Value": 5}'},
    "an object": {"status": 200, "body": '{"Value": {"text": "Credit limit"}}'},
    "half a character": {"status": 200, "body": '{"Value": "\\ud800"}'},
    "deep": {"status": 200, "body": '{"Value":' + "[" * 2_000},
}
LASTING = ("too late", "endless")
# F&O has no such label, or hardly a text for it: nothing is left out.
HAS_NONE = ("not there", "half a character")


@pytest.mark.parametrize(
    "failure", [pytest.param(each, marks=[pytest.mark.once] if each in LASTING else []) for each in FAILURES]
)
def test_a_label_that_fails_is_left_out_and_counted(
    place: Place, small: Simulator, monkeypatch: pytest.MonkeyPatch, failure: str
) -> None:
    monkeypatch.setattr(fan_out, "EACH_SECONDS", 3.0)
    small.fault(CREDIT_LIMIT, times=0, **FAILURES[failure])
    assert place.build() == "built"
    found = place.snapshot().labels(["@CAT4", "@CAT1"], "en-US")
    assert found.pop("@CAT1") == "Customers"
    assert found == ({"@CAT4": ""} if failure in HAS_NONE else {})
    assert place.progress().left_out == (None if failure in HAS_NONE else "labels: 1")
    assert place.pointer().is_whole is (failure in HAS_NONE)


def test_a_label_that_failed_is_asked_for_by_the_next_build(place: Place, small: Simulator) -> None:
    small.fault(CREDIT_LIMIT, times=0, status=500)
    assert place.build() == "built"
    small.reset()
    place.set_back(2 * 86_400)
    assert place.build() == "built"
    assert len(small.log("/metadata/labels")) == 1
    assert place.snapshot().labels(["@CAT4"], "en-US") == {"@CAT4": "Credit limit"}
    assert place.pointer().is_whole


@pytest.mark.once
def test_many_labels_that_fail_cost_themselves_alone(slow_place: Place, fo: Running) -> None:
    fo.set(failing_labels=40)
    assert slow_place.build() == "built"
    assert slow_place.progress().left_out == "labels: 80"  # 40 of the first hundred, 40 of the other fifty
    fo.set(failing_labels=100)
    assert slow_place.rebuild() == "built"
    assert slow_place.progress().left_out == "labels: 80"  # those of the last snapshot are kept


@pytest.mark.once
@pytest.mark.parametrize("status", [429, 503])
def test_labels_wait_while_f_and_o_is_away_and_the_catalog_serves(slow_place: Place, fo: Running, status: int) -> None:
    fo.set(failing_labels=100, failing_status=status)
    assert slow_place.build() == "waiting"
    assert len(set(fo.asked_labels())) < LABELS  # it was not asked for each of them
    assert slow_place.progress().left_out == f"labels: {LABELS}"

    async def searched(_: object, catalog: MetadataCatalog) -> None:
        [name] = [row.entity_set for row in (await catalog.summaries()) if row.label_id == "@LAR5"]
        assert (await catalog.search_entities(name)).hits[0].summary.entity_set == name
        assert catalog.source().kind == "snapshot"

    slow_place.work(searched)
    fo.set(failing_labels=0)
    assert slow_place.build() == "built"
    assert fo.asked().keys() == {"Labels(…)"}
    assert slow_place.pointer().is_whole
    assert slow_place.progress().left_out is None


@pytest.mark.once
@pytest.mark.parametrize("status", [429, 503])
def test_labels_that_fail_as_if_f_and_o_were_away_do_not_keep_the_others_waiting(
    slow_place: Place, fo: Running, status: int
) -> None:
    """Those of one file fail, and stand together; they are asked for first, and for ever."""
    fo.set(failing_labels=40, failing_status=status)
    outcomes = [slow_place.build()]
    while outcomes[-1] == "waiting" and len(outcomes) < 5:
        outcomes.append(slow_place.build())
    assert outcomes[-1] == "built"
    assert slow_place.progress().left_out == "labels: 80"


@pytest.mark.once
def test_labels_that_never_come_do_not_keep_the_others_waiting(
    slow_place: Place, fo: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run's time is used up by those that take their time; the next one begins with others."""
    monkeypatch.setattr(fan_out, "EACH_SECONDS", 1.0)
    fo.set(hanging_labels=40)
    outcomes = [slow_place.build(seconds=2.5)]
    while outcomes[-1] == "waiting" and len(outcomes) < 20:
        outcomes.append(slow_place.build(seconds=2.5))
    assert len(slow_place.snapshot().labels([f"@LAR{number}" for number in range(LABELS)], "en-US")) == LABELS - 80
    assert outcomes[-1] == "built"


@pytest.mark.once
def test_a_run_that_adds_nothing_says_what_is_missing_too(slow_place: Place, fo: Running) -> None:
    fo.set(failing_labels=100, failing_status=503)
    for _ in range(2):
        assert slow_place.build() == "waiting"
        assert slow_place.progress().left_out == f"labels: {LABELS}"


@pytest.mark.once
def test_a_disk_that_is_full_ends_a_build_and_not_the_timer(
    place: Place, small: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(*_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(Loader, "load_label", full)
        assert place.build() == "failed"
    assert place.progress().error == "The catalog's file cannot be written: database or disk is full."
    place.set_back(3_601)
    assert place.build() == "built"


def test_a_second_build_asks_for_new_labels_alone(slow_place: Place, fo: Running) -> None:
    assert slow_place.build() == "built"
    assert sorted(fo.asked_labels()) == sorted(set(fo.asked_labels()))
    fo.set()
    assert slow_place.rebuild() == "built"
    assert fo.asked_labels() == []
    slow_place.languages = ("en-US", "de")
    fo.set()
    assert slow_place.rebuild() == "built"
    assert len(fo.asked_labels()) == LABELS
    assert len(slow_place.snapshot().labels([f"@LAR{number}" for number in range(LABELS)], "en-US")) == LABELS


def test_what_is_looked_for_most_is_asked_for_first(
    place: Place, small: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Entities, keys and mandatory properties, before other properties and enumerations."""
    monkeypatch.setattr(fan_out, "_IN_FLIGHT", 1)
    assert place.build() == "built"
    asked = [re.findall(r"@CAT\d+", unquote(entry["path"]))[0] for entry in small.log("/metadata/labels")]
    assert set(asked[:6]) == {"@CAT1", "@CAT2", "@CAT3", "@CAT5", "@CAT6", "@CAT7"}
    assert len(asked) == 10


@pytest.mark.once
def test_search_serves_before_the_labels_are_in_and_no_label_is_asked_for_twice(slow_place: Place, fo: Running) -> None:
    fo.set(hanging_labels=40)
    assert slow_place.build(seconds=8.0) == "waiting"
    assert not slow_place.pointer().is_whole
    asked = set(fo.asked_labels())
    assert 0 < len(asked) < LABELS
    snapshot = slow_place.snapshot()
    had = snapshot.labels(sorted(asked), "en-US")
    entity = next(row for row in snapshot.summaries() if row.label_id in had)
    assert snapshot.finder.find(had[entity.label_id]).hits[0].summary == entity  # the labels so far are searched, too
    fo.set(hanging_labels=0)
    assert slow_place.build() == "built"
    assert not had.keys() & set(fo.asked_labels())
    assert fo.asked().keys() == {"Labels(…)"}
    assert slow_place.pointer().is_whole


KILLED = """
import asyncio, sys
from pathlib import Path
from d365mcp.metadata import build_progress
from tests.metadata.place import Place
build_progress.WRITE_SECONDS = build_progress.SAVE_SECONDS = 0.1
print(Place(sys.argv[1], Path(sys.argv[2])).build())
"""


@pytest.mark.once
def test_a_killed_build_goes_on_where_it_was(slow_place: Place, fo: Running) -> None:
    fo.set(label_ms=300)
    command = [sys.executable, "-c", KILLED, fo.base_url, str(slow_place.folder)]
    with subprocess.Popen(command, cwd=ROOT, env={**os.environ, **fo.environment()}) as process:
        while len(fo.asked_labels()) < 70:
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
    asked = len(fo.asked_labels())
    fo.set(label_ms=0)
    slow_place.store().storage.delete("catalog", slow_place.store().name("building.json"))  # or two minutes later
    assert slow_place.build() == "built"
    assert fo.asked().keys() == {"Labels(…)"}
    assert len(fo.asked_labels()) < LABELS - asked + 40
    assert slow_place.pointer().is_whole
