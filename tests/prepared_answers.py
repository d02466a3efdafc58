"""Makes the fragments of `ordinary.py`: asks the SDK and keeps what it says. Runs while developing, never in service."""

import json
from collections.abc import Mapping
from typing import Any

from d365mcp.server.auth.access import Access
from d365mcp.server.auth.callers import ANYONE
from d365mcp.server.messages import Message
from d365mcp.server.ordinary import HANDSHAKE, HANDSHAKE_VERSIONS, META, MODERN, MODERN_VERSION
from d365mcp.server.sdk import Engine
from d365mcp.settings import TOOLSETS
from d365mcp.tools import ALL_TOOLS

EVERYTHING = Access(ANYONE, frozenset(TOOLSETS), read_only=False)


def request(method: str, version: str) -> tuple[Message, dict[str, str]]:
    """Return the ordinary request for a method, and its headers."""
    params: dict[str, Any] = {}
    if method == "initialize":
        params = {"protocolVersion": version, "capabilities": {}, "clientInfo": {"name": "client", "version": "1"}}
    if version == MODERN_VERSION:
        params = {"_meta": {f"{META}protocolVersion": version, f"{META}clientCapabilities": {}}}
    headers = {"mcp-protocol-version": version, "mcp-method": method, "accept": "application/json"}
    return {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}, headers


async def ask(engine: Engine, method: str, version: str) -> dict[str, Any] | None:
    """Return the SDK's result, or None where this server does not offer the method."""
    message, headers = request(method, version)
    served = await engine.serve(message, headers, EVERYTHING)
    found: dict[str, Any] | None = json.loads(served.reply.body).get("result")
    return found


async def prepare(engine: Engine) -> dict[str, Any]:
    """Return all fragments: each version's answers, and its tools one by one."""
    answers: dict[str, dict[str, Any]] = {}
    tools: dict[str, list[dict[str, Any]]] = {}
    of_name = {tool.name: tool for tool in ALL_TOOLS}
    for version in (*sorted(HANDSHAKE_VERSIONS), MODERN_VERSION):
        methods = (MODERN if version == MODERN_VERSION else HANDSHAKE).keys() - {"tools/call"}
        asked = {method: await ask(engine, method, version) for method in sorted(methods)}
        answers[version] = {method: answer for method, answer in asked.items() if answer is not None}
        tools[version] = [row(tool, of_name) for tool in answers[version]["tools/list"].pop("tools")]
    return {"answers": answers, "tools": tools}


def row(tool: Mapping[str, Any], of_name: Mapping[str, Any]) -> dict[str, Any]:
    known = of_name[tool["name"]]
    return {"toolset": known.toolset, "read_only": known.read_only, "tool": tool}


def text(fragments: Mapping[str, Any]) -> str:
    return json.dumps(fragments, ensure_ascii=False, separators=(",", ":")) + "\n"
