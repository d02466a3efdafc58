"""Starts a server whose callers sign in: with its façade, and tokens of a running Entra."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager

from tests.dev_host import ROOT, DevHost
from tests.entra import Entra
from tests.signing import API, PUBLIC_CLIENT, TENANT
from tests.simulated import Simulator


@contextmanager
def serving(simulator: Simulator, entra: Entra, **settings: str) -> Iterator[DevHost]:
    """Start a server that takes this Entra's tokens, under an address known before."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    environ = {
        "D365FO_BASE_URL": simulator.base_url,
        "AZURE_AUTHORITY_HOST": entra.base_url,
        "MCP_AUTH": "jwt",
        "MCP_OAUTH_FACADE": "true",
        "MCP_OAUTH_CLIENT_ID": PUBLIC_CLIENT,
        "MCP_CLIENT_ID": API,
        "MCP_ALLOWED_TENANTS": TENANT,
        "MCP_PUBLIC_URL": f"http://127.0.0.1:{port}",
        **simulator.identity_environment(),
        **settings,
    }
    with DevHost(ROOT, "--port", str(port), "--log-level", "debug", environ=environ) as host:
        yield host
