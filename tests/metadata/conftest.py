"""Places to build a catalog at."""

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path

import pytest

from tests.large_fo import Options, Running, large_fo
from tests.metadata.place import Place
from tests.metadata.world import WORLD
from tests.simulated import Simulator

ENTITIES, PROPERTIES, LABELS = 60, 8, 150


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each test build in a temporary directory of its own."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))


@pytest.fixture(scope="session")
def small_process() -> Iterator[Simulator]:
    running = Simulator.start(WORLD)
    yield running
    running.stop()


@pytest.fixture
def small(small_process: Simulator) -> Simulator:
    """A small simulated environment, as it was at the start."""
    small_process.reset()
    return small_process


@pytest.fixture
def place(small: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A place before it."""
    return placed(small.base_url, small.identity_environment(), tmp_path, monkeypatch)


def placed(base_url: str, environment: Mapping[str, str], folder: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return Place(base_url, folder)


@pytest.fixture(scope="module")
def fo_process() -> Iterator[Running]:
    with large_fo(entities=ENTITIES, properties=PROPERTIES, labels=LABELS) as running:
        yield running


@pytest.fixture
def fo(fo_process: Running) -> Running:
    """A metadata service that can stall, break off and be slow."""
    fo_process.set(**asdict(Options(ENTITIES, PROPERTIES, LABELS)))
    return fo_process


@pytest.fixture
def slow_place(fo: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A place before that."""
    return placed(fo.base_url, fo.environment(), tmp_path, monkeypatch)
