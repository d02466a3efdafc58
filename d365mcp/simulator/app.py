"""The simulator over HTTP: which request goes to identity, to the environment or to the control endpoint.

Each request is answered synchronously inside its handler, so that it is atomic without locks; waiting happens before.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit
from uuid import uuid4

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from d365mcp.simulator.call import Call
from d365mcp.simulator.control import Control
from d365mcp.simulator.environment import Environment, forbidden
from d365mcp.simulator.errors import Refusal, Reply
from d365mcp.simulator.faults import Dropped
from d365mcp.simulator.identity import Tokens, openid_configuration
from d365mcp.simulator.insights import Insights
from d365mcp.simulator.model import World
from d365mcp.simulator.shapes import WorldError
from d365mcp.simulator.store import Store

_METHODS = ["GET", "POST", "PATCH", "PUT", "DELETE", "HEAD", "OPTIONS"]
_LOOPBACK = ("127.0.0.1", "::1")

_Answer = Callable[[Request, bytes], Reply]
_Endpoint = Callable[[Request], Awaitable[Response]]


class Simulator:
    """One world and everything that serves it."""

    def __init__(self, world: World, base_url: str = "") -> None:
        self.store = Store(world)
        self.tokens = Tokens(world)
        self.insights = Insights(self.tokens)
        self.control = Control(world, self._restore, self.tokens)
        self.environment = Environment(world, self.store, self.control)
        self._base_url = base_url.rstrip("/")
        self._answer_as_fo = self._serving(self._environment)

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/__control", self._controlled, methods=["GET", "POST"]),
                Route("/msi/token", self._serving(self._managed_identity), methods=_METHODS),
                Route("/{tenant}/oauth2/v2.0/token", self._serving(self._entra), methods=["POST"]),
                Route("/{tenant}/v2.0/.well-known/openid-configuration", self._serving(self._openid)),
                Route("/{tenant}/discovery/v2.0/keys", self._serving(self._public_keys)),
                *self.insights.routes(self._serving),
                Route("/{path:path}", self._as_fo, methods=_METHODS),
            ]
        )

    def _restore(self) -> None:
        self.store.reset()
        self.tokens.reset()
        self.insights.workspace.reset()

    async def _controlled(self, request: Request) -> Response:
        if request.client is None or request.client.host not in _LOOPBACK:
            return JSONResponse({"error": "The control endpoint answers on loopback alone."}, 403)
        if request.method == "GET":
            return JSONResponse(self.control.state())
        try:
            self.control.command(await request.json())
        except (WorldError, ValueError) as exc:
            return JSONResponse({"error": str(exc)}, 400)
        self.tokens.lifetime = self.control.numbers["token_seconds"]
        return JSONResponse({})

    def _serving(self, answer: _Answer) -> _Endpoint:
        """Wrap an answer in what befalls every request: the log and the faults."""

        async def serve(request: Request) -> Response:
            try:
                body = await request.body()
            except ClientDisconnect:  # no caller waits for an answer
                return Response(status_code=400)
            with self.control.recorded(request, body, self._client_id(request) or "") as entry:
                response = await self._response(request, body, logged(answer, entry))
                entry["status"] = response.status_code
            return response

        return serve

    async def _as_fo(self, request: Request) -> Response:
        """Answer for F&O: after its latency, and with its headers."""
        started = time.perf_counter()
        if refusal := self.control.turned_away():
            response = await self._serving(lambda *_: refusal.reply())(request)
        else:
            with self.control.at_work():
                await asyncio.sleep(self.control.numbers["latency_ms"] / 1000)
                response = await self._answer_as_fo(request)
        response.headers["ms-dyn-aid"] = str(uuid4())
        response.headers["server-timing"] = f"Server;dur={(time.perf_counter() - started) * 1000:.1f}"
        response.headers["set-cookie"] = "ARRAffinity=simulator; Path=/; HttpOnly"  # clients should not send it back
        if "x-ms-client-request-id" in request.headers:
            response.headers["x-ms-client-request-id"] = request.headers["x-ms-client-request-id"]
        return response

    async def _response(self, request: Request, body: bytes, answer: _Answer) -> Response:
        fault = self.control.faults.take(request.method, request.url.path)
        if fault is None:
            return _response(answer(request, body))
        if fault.kind not in ("slow", "malformed"):
            if fault.after:
                answer(request, body)
            return _response(fault.reply()) if fault.is_reply else fault.response()
        hung_up = await _hung_up(request, fault.seconds)
        reply = answer(request, body)  # what was begun is done, also for a caller who has gone
        if hung_up:
            return Dropped(status_code=0)
        if fault.kind == "malformed":
            reply = Reply(reply.status, reply.body[: len(reply.body) // 2], reply.headers)
        return _response(reply)

    def _environment(self, request: Request, body: bytes) -> Reply:
        base = self._base(request)
        client_id = self._client_id(request)
        client = self.control.client(client_id) if client_id else None
        if client is None:
            return Reply(401, b"", {"WWW-Authenticate": "Bearer"})
        try:
            if not client.allowed:
                raise forbidden(client, "this environment")
            if self.control.throttle:
                self.control.throttle.check()
        except Refusal as refusal:
            return refusal.reply()
        path = self._below_base(request)
        query = request.scope["query_string"].decode("latin-1")
        return self.environment.answer(Call(request.method, path, query, request.headers, body, base, client))

    def _client_id(self, request: Request) -> str | None:
        authorization = request.headers.get("authorization", "")
        return self.tokens.client_id(authorization, self._base(request)) if authorization else None

    def _base(self, request: Request) -> str:
        """The environment's URL; a path alone is put after the host the caller wrote."""
        return self._base_url if "://" in self._base_url else _origin(request) + self._base_url

    def _below_base(self, request: Request) -> str:
        path = str(request.scope["raw_path"].decode("latin-1"))
        prefix = urlsplit(self._base_url).path
        return path.removeprefix(prefix) if path.startswith(f"{prefix}/") else "/"

    def _managed_identity(self, request: Request, _: bytes) -> Reply:
        return self.tokens.managed_identity(request.url.query, request.headers.get("x-identity-header", ""))

    def _entra(self, _: Request, body: bytes) -> Reply:
        return self.tokens.token(body)

    def _public_keys(self, _: Request, __: bytes) -> Reply:
        return self.tokens.public_keys()

    def _openid(self, request: Request, _: bytes) -> Reply:
        return openid_configuration(_origin(request), request.path_params["tenant"])


def logged(answer: _Answer, entry: dict[str, object]) -> _Answer:
    """Log what was done, whatever of the answer arrives."""

    def answer_logged(request: Request, body: bytes) -> Reply:
        reply = answer(request, body)
        entry["done"] = reply.status < 400
        if reply.parts:
            entry["parts"] = list(reply.parts)
        return reply

    return answer_logged


async def _hung_up(request: Request, seconds: float) -> bool:
    """Wait so long; True when the caller goes before."""
    try:
        async with asyncio.timeout(seconds):
            await request.receive()  # the body was read before: nothing comes but the connection's end
    except TimeoutError:
        return False
    return True


def _origin(request: Request) -> str:
    return f"{request.scope['scheme']}://{request.headers.get('host', '')}"


def _response(reply: Reply) -> Response:
    return Response(reply.body, reply.status, dict(reply.headers))
