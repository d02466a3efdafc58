"""Servers the tools are tried on: one as it comes, one that may write."""

from collections.abc import Iterator

import pytest

from tests.served import Served, build_catalog, serving
from tests.simulated import Simulator

EVERYTHING = {
    "MCP_READ_ONLY": "false",
    "MCP_TOOLSETS": "all",
    "D365FO_ALLOWED_ACTIONS": "*",
    "D365FO_ALLOWED_SERVICES": "UserSessionService/*,ContosoServices/*",
}


@pytest.fixture(scope="session")
def reading_process(simulator_process: Simulator) -> Iterator[Served]:
    with serving(simulator_process) as served:
        yield served


@pytest.fixture
def reader(reading_process: Served, simulator: Simulator) -> Served:
    """The server with its defaults, over a fresh F&O."""
    return reading_process


@pytest.fixture(scope="session")
def writing_process(simulator_process: Simulator) -> Iterator[Served]:
    with serving(simulator_process, **EVERYTHING) as served:
        yield served


@pytest.fixture
def writer(writing_process: Served, simulator: Simulator) -> Served:
    """The server with everything allowed, over a fresh F&O."""
    return writing_process


@pytest.fixture(scope="session")
def catalog_process(simulator_process: Simulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = str(tmp_path_factory.mktemp("catalog"))
    build_catalog(simulator_process, folder)
    with serving(simulator_process, **EVERYTHING, TMPDIR=folder) as served:
        yield served


@pytest.fixture
def catalogued(catalog_process: Served, simulator: Simulator) -> Served:
    """The server with everything allowed and a catalog, over a fresh F&O."""
    return catalog_process
