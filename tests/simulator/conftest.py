"""A signed-in caller of the simulated environment."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from tests.simulated import Simulator


@pytest.fixture
def fo(simulator: Simulator) -> Iterator[httpx.Client]:
    with simulator.client() as client:
        yield client
