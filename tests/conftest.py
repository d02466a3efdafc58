"""Fixtures every room's tests may use."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.simulated import Simulator


@pytest.fixture(scope="session")
def simulator_process() -> Iterator[Simulator]:
    """One simulator with the shipped world, for the whole run."""
    running = Simulator.start()
    yield running
    running.stop()


@pytest.fixture
def simulator(simulator_process: Simulator) -> Simulator:
    """The simulator, as it was at the start."""
    simulator_process.reset()
    return simulator_process
