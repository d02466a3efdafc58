"""Application Insights: what its ingestion endpoint is sent becomes rows of Log Analytics, which can be queried.

`POST /v2.1/track` takes items; `POST /v1/workspaces/{WORKSPACE}/query` answers KQL.

| component | instrumentation key | takes |
|---|---|---|
| the ordinary one | `KEY` | items with the key, signed in or not |
| one with `DisableLocalAuth` | `KEYLESS` | items sent with a token for https://monitor.azure.com alone |

Nothing is sampled, so every row counts once. Item by item as in
https://learn.microsoft.com/azure/azure-monitor/app/data-model-complete, tables as in
https://learn.microsoft.com/azure/azure-monitor/reference/tables/appdependencies.
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from d365mcp.simulator.errors import Reply
from d365mcp.simulator.identity import Tokens
from d365mcp.simulator.log_analytics import Row, Workspace, error_reply
from d365mcp.simulator.shapes import Shape, WorldError

KEY = "00000000-0000-4000-8000-0000000000c1"
KEYLESS = "00000000-0000-4000-8000-0000000000c2"
AUDIENCE = "https://monitor.azure.com/"
TABLES = {"RemoteDependencyData": "AppDependencies", "RequestData": "AppRequests", "EventData": "AppEvents"}
DURATION = re.compile(r"(\d+)\.(\d\d):(\d\d):(\d\d)\.(\d{1,7})")

Serving = Callable[[Callable[[Request, bytes], Reply]], Callable[[Request], Awaitable[Response]]]


class Insights:
    """Two components that store what they are sent in one workspace."""

    def __init__(self, tokens: Tokens) -> None:
        self.tokens, self.workspace = tokens, Workspace()

    def routes(self, serving: Serving) -> list[Route]:
        return [
            Route("/v2.1/track", serving(self.track), methods=["POST"]),
            Route("/v1/workspaces/{workspace}/query", serving(self.query), methods=["POST"]),
        ]

    def query(self, request: Request, body: bytes) -> Reply:
        """Answer a query by someone whose token is for this address; https://learn.microsoft.com/azure/azure-monitor/logs/api/errors"""
        authorization = request.headers.get("authorization", "")
        if not authorization:
            return error_reply(
                401, "AuthenticationFailed", "Authentication failed. The 'Authorization' header is missing."
            )
        if not self.tokens.client_id(authorization, str(request.base_url).rstrip("/")):
            return error_reply(403, "InvalidAuthenticationToken", "The access token is invalid.")
        try:
            query = Shape(json.loads(body), "body").text("query")
        except (ValueError, WorldError) as exc:
            return error_reply(400, "BadArgumentError", "The request had some invalid properties", str(exc))
        return self.workspace.answer(request.path_params["workspace"], query)

    def track(self, request: Request, body: bytes) -> Reply:
        """Take an array of items; those that make no sense are refused one by one."""
        try:
            items = _items(body, request.headers.get("content-encoding") == "gzip")
        except (ValueError, OSError, EOFError):
            return _outcome(1, [(0, 400, "The body is no JSON array of objects.")])
        if status := self._refusal(items, request.headers.get("authorization", "")):
            return _outcome(
                len(items), [(index, status, "Not allowed to this component") for index in range(len(items))]
            )
        errors = []
        for index, item in enumerate(items):
            try:
                self.workspace.add(*_row(item))
            except WorldError as exc:
                errors.append((index, 400, str(exc)))
        return _outcome(len(items), errors)

    def _refusal(self, items: list[Shape], authorization: str) -> int:
        """The status for all of them, or 0."""
        keys = {item.text("iKey", "") for item in items}
        if not keys <= {KEY, KEYLESS}:
            return 400
        if not authorization:
            return 401 if KEYLESS in keys else 0
        return 0 if self.tokens.client_id(authorization, AUDIENCE) else 403


def _items(body: bytes, compressed: bool) -> list[Shape]:
    items = json.loads(gzip.decompress(body) if compressed else body)
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise ValueError("no array of objects")
    return [Shape(item, f"[{index}]") for index, item in enumerate(items)]


def _outcome(received: int, errors: list[tuple[int, int, str]]) -> Reply:
    accepted = received - len(errors)
    body = {
        "itemsReceived": received,
        "itemsAccepted": accepted,
        "errors": [{"index": index, "statusCode": status, "message": message} for index, status, message in errors],
    }
    status = 206 if errors and accepted else errors[0][1] if errors else 200
    return Reply(status, json.dumps(body).encode(), {"Content-Type": "application/json"})


def _row(item: Shape) -> tuple[str, Row]:
    data, tags = Shape(item.plain("data"), f"{item.place}.data"), item.pairs("tags")
    kind, base = data.text("baseType"), Shape(data.plain("baseData"), f"{data.place}.baseData")
    if kind not in TABLES or not item.text("name").startswith("Microsoft.ApplicationInsights."):
        raise data.wrong(f"a baseType among {', '.join(TABLES)}")
    row: Row = {
        "TimeGenerated": _timestamp(item),
        "Name": base.text("name"),
        "Properties": json.dumps(base.pairs("properties")),
        "Measurements": json.dumps(base.plain("measurements")),
        "OperationId": tags.get("ai.operation.id"),
        "OperationName": tags.get("ai.operation.name"),
        "ParentId": tags.get("ai.operation.parentId"),
        "AppRoleName": tags.get("ai.cloud.role"),
        "AppRoleInstance": tags.get("ai.cloud.roleInstance"),
        "AppVersion": tags.get("ai.application.ver"),
        "ItemCount": 1,
    }
    return TABLES[kind], row if kind == "EventData" else row | _call(base)


def _call(base: Shape) -> Row:
    """What dependencies and requests have and events have not."""
    given = base.as_object()
    return {
        "Id": base.text("id"),
        "DependencyType": given.get("type"),
        "Target": given.get("target"),
        "Data": given.get("data"),
        "ResultCode": base.text("resultCode" if "resultCode" in given else "responseCode"),
        "Success": base.flag("success"),
        "DurationMs": _milliseconds(base),
    }


def _timestamp(item: Shape) -> str:
    try:
        return datetime.fromisoformat(item.text("time")).astimezone(UTC).replace(tzinfo=None).isoformat()
    except ValueError as exc:
        raise item.wrong("a time") from exc


def _milliseconds(base: Shape) -> float:
    found = DURATION.fullmatch(base.text("duration"))
    if not found:
        raise base.wrong("a duration like 0.00:00:01.250")
    days, hours, minutes, seconds = (int(part) for part in found.groups()[:4])
    return (((days * 24 + hours) * 60 + minutes) * 60 + seconds) * 1000 + float(f"0.{found[5]}") * 1000
