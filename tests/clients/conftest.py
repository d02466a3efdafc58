"""A server whose callers sign in, and its Entra, for the tests of a module; a module may have an Entra of its own."""

from collections.abc import Iterator

import pytest

from tests.clients.signing_in import serving
from tests.dev_host import DevHost
from tests.entra import Entra
from tests.simulated import Simulator


@pytest.fixture(scope="module")
def entra() -> Iterator[Entra]:
    with Entra() as running:
        yield running


@pytest.fixture(scope="module")
def server(simulator_process: Simulator, entra: Entra) -> Iterator[DevHost]:
    with serving(simulator_process, entra) as host:
        yield host
