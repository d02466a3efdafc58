"""One server over the simulator for the tests of statements."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.served import Served, serving
from tests.simulated import Simulator


@pytest.fixture(scope="session")
def sql_process(simulator_process: Simulator) -> Iterator[Served]:
    with serving(simulator_process) as served:
        yield served


@pytest.fixture
def server(sql_process: Served, simulator: Simulator) -> Served:
    """The server; the simulator is as it was at the start."""
    return sql_process
