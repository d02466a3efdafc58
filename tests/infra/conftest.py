"""Fixtures for whatever is deployed."""

from collections.abc import Iterator

import pytest

from tests.infra.bicep.compiler import Compiler, NotFoundError, program


@pytest.fixture(scope="session")
def bicep() -> str:
    """The real Bicep compiler."""
    try:
        return program()
    except NotFoundError as missing:
        pytest.skip(str(missing))


@pytest.fixture(scope="session")
def compiler(bicep: str) -> Iterator[Compiler]:
    """The real compiler, running, in the environment that infra/main.bicepparam needs."""
    with Compiler(bicep, D365FO_BASE_URL="https://contoso.operations.dynamics.com") as running:
        yield running
