"""`python -m d365mcp.simulator`: serves one world until it is stopped."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from datetime import date
from pathlib import Path
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from d365mcp.simulator.app import Simulator
from d365mcp.simulator.shapes import WorldError
from d365mcp.simulator.world import CONTOSO, load


class _Protocol(H11Protocol):
    """Lets a request reach its own connection, which some faults cut."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as H11Protocol has it
        super().connection_made(transport)
        self.app_state: dict[str, Any] = {**self.app_state, "transport": transport}


class _Server(uvicorn.Server):
    """Says when it is ready, on one line that a parent process can wait for."""

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        if self.started:
            host, port = self.servers[0].sockets[0].getsockname()[:2]
            print(f"simulator ready on {'https' if self.config.is_ssl else 'http'}://{host}:{port}", flush=True)


def main() -> None:
    """Read the command line, load the world, serve it."""
    options = _options()
    try:
        world = load(options.world, options.today)
    except WorldError as exc:
        sys.exit(f"simulator: {exc}")
    # uvicorn raises the signal again once it has shut down; a stopped simulator is no failure.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    signal.signal(signal.SIGINT, lambda *_: sys.exit(0))
    config = uvicorn.Config(
        Simulator(world, options.base_url).app(),
        host=options.host,
        port=options.port,
        http=_Protocol,
        lifespan="off",
        log_level="error" if options.quiet else "info",
        access_log=not options.quiet,
        server_header=False,
        timeout_keep_alive=120,
        timeout_graceful_shutdown=1,
        ssl_certfile=options.certificate,
    )
    _Server(config).run()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m d365mcp.simulator", description=__doc__)
    parser.add_argument("--port", type=int, default=7080, help="0 picks a free one (default: 7080)")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--world", type=Path, default=CONTOSO, metavar="FILE", help="default: the Contoso companies")
    parser.add_argument(
        "--today",
        type=date.fromisoformat,
        metavar="DAY",
        help="the day it is in the world, always (default: the machine's)",
    )
    parser.add_argument(
        "--base-url", default="", metavar="URL", help="the environment's URL, or its path, when callers write another"
    )
    parser.add_argument("--certificate", metavar="PEM", help="certificate and private key, to serve https")
    parser.add_argument("--quiet", action="store_true", help="log errors alone")
    return parser.parse_args()


if __name__ == "__main__":
    main()
