"""Fixtures every room's tests may use."""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable, Generator, Iterator
from functools import cache
from types import ModuleType
from typing import Any

import httpx
import httpx2
import pytest

from tests.infra.bicep.compiler import Compiler
from tests.infra.bicep.finding import NotFoundError, program
from tests.secret_markers import leaks, refuse_secrets
from tests.simulated import Simulator

# What answers callers; token endpoints answer with tokens.
ON_A_LAPTOP = {
    "D365FO_BASE_URL": "https://contoso.operations.dynamics.com",
    "D365FO_AUTH": "azure_cli",
    "D365FO_COMPANIES": "usmf",
    "MCP_TOOLSETS": "data,services",
}
ANSWERING = ("/mcp", "/health", "/.well-known")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Fail a test that printed or logged a secret."""
    report = yield
    found = [f"{name}: {leak}" for name, text in report.sections for leak in leaks(text)]
    if report.passed and found:
        report.outcome, report.longrepr = "failed", f"Secrets were shown. {'; '.join(found)}"
    return report


def answered(reply: httpx.Response) -> httpx.Response:
    if reply.is_closed and reply.request.url.path.startswith(ANSWERING):
        refuse_secrets(f"{reply.headers} {reply.text}", f"The answer to {reply.request.url.path}")
    return reply


@pytest.fixture(scope="session", autouse=True)
def no_answer_shows_a_secret() -> Iterator[None]:
    """Look through whatever hosts answer to the tests' own HTTP clients."""
    send, send_later = httpx.Client.send, httpx.AsyncClient.send

    async def looking_later(self: httpx.AsyncClient, *args: Any, **options: Any) -> httpx.Response:
        return answered(await send_later(self, *args, **options))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(httpx.Client, "send", lambda self, *args, **options: answered(send(self, *args, **options)))
        patch.setattr(httpx.AsyncClient, "send", looking_later)
        yield


@pytest.fixture(scope="session", autouse=True)
def certificates_are_read_once() -> Iterator[None]:
    """Let clients share the certificates they trust by default: each takes some 40 ms to read its own."""
    with pytest.MonkeyPatch.context() as patch:
        for library in (httpx, httpx2):
            patch.setattr(f"{library.__name__}._transports.default.create_ssl_context", sharing(library))
        yield


def sharing(library: ModuleType) -> Callable[..., ssl.SSLContext]:
    @cache
    def made(*arguments: Any) -> ssl.SSLContext:
        context: ssl.SSLContext = library.create_ssl_context(*arguments[:3])
        return context

    def shared(verify: Any = True, cert: Any = None, trust_env: bool = True) -> ssl.SSLContext:
        return made(verify, cert, trust_env, os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"))

    return shared


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


@pytest.fixture(scope="session")
def bicep() -> str:
    """The real Bicep compiler."""
    try:
        return program()
    except NotFoundError as missing:
        pytest.skip(str(missing))


@pytest.fixture(scope="session")
def compiler(bicep: str) -> Iterator[Compiler]:
    """The real Bicep compiler, running, with variables for infra/main.bicepparam as they may be on a laptop."""
    with Compiler(bicep, **ON_A_LAPTOP) as running:
        yield running
