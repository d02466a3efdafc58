"""Serves an ASGI app on a free loopback port, in a thread; and a tap that shows what clients send through it."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

PASSED_ON = ("content-type", "accept", "x-functions-key", "mcp-protocol-version")


@contextmanager
def running(app: Starlette) -> Iterator[str]:
    """Serve the app; yield its base URL."""
    # Named as TCP, asyncio sends small parts at once: else the client's late acknowledgement costs each answer 40 ms.
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.bind(("127.0.0.1", 0))
    listening.listen()
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(60)
        listening.close()


@contextmanager
def tapped(url: str) -> Iterator[tuple[list[dict[str, Any]], str]]:
    """Pass requests on to an MCP server; yield the messages that clients sent, and the URL to give them."""
    messages: list[dict[str, Any]] = []

    async def pass_on(request: Request) -> Response:
        body = await request.body()
        if body:
            messages.append(json.loads(body))
        headers = {
            name: value for name, value in request.headers.items() if name in PASSED_ON or name.startswith("mcp-")
        }
        async with httpx.AsyncClient(timeout=60, trust_env=False) as client:
            reply = await client.request(request.method, url, content=body, headers=headers)
        kept = {
            name: value for name, value in reply.headers.items() if name not in ("content-length", "transfer-encoding")
        }
        return Response(reply.content, reply.status_code, kept)

    with running(Starlette(routes=[Route("/mcp", pass_on, methods=["GET", "POST", "DELETE"])])) as base_url:
        yield messages, f"{base_url}/mcp"


def protocol_version(messages: list[dict[str, Any]]) -> str:
    """Return the version of the protocol in which a client called tools."""
    for message in messages:
        meta = message.get("params", {}).get("_meta", {})
        if message["method"] == "tools/call" and (version := meta.get("io.modelcontextprotocol/protocolVersion")):
            return str(version)
    started = next(message for message in messages if message["method"] == "initialize")
    return str(started["params"]["protocolVersion"])
