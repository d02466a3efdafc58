"""What clients say when they connect, list the tools and call one: recorded from them, the ids of their own shortened."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

META = "io.modelcontextprotocol/"
MODERN = "2026-07-28"
APPS = {f"{META}ui": {"mimeTypes": ["text/html;profile=mcp-app"]}}

Headers = dict[str, str]
Case = tuple[dict[str, Any], Headers]


@dataclass(frozen=True)
class Dialect:
    """How one client speaks: who it is, what it can do, what it adds to a list and to a call."""

    client: Mapping[str, Any] = field(default_factory=lambda: {"name": "client", "version": "1"})
    version: str = "2025-11-25"
    capabilities: Mapping[str, Any] = field(default_factory=dict)
    listing: Mapping[str, Any] | None = None  # the params of tools/list, but for what the era adds
    meta: Mapping[str, Any] = field(default_factory=dict)  # of a call
    says_version: bool = True  # whether its requests have the header

    def opening(self) -> list[Case]:
        """Return the first request, and tools/list: what a client asks before anything else."""
        return [self.first(), self.case("tools/list", self.listing)]

    def first(self) -> Case:
        if self.version == MODERN:
            return self.case("server/discover", {})
        params = {"protocolVersion": self.version, "capabilities": self.capabilities, "clientInfo": self.client}
        return message("initialize", params), {}

    def call(self, tool: str, arguments: Mapping[str, Any]) -> Case:
        meta = {"_meta": self.meta} if self.meta else {}
        return self.case("tools/call", {"name": tool, "arguments": arguments, **meta})

    def case(self, method: str, params: Mapping[str, Any] | None) -> Case:
        if self.version != MODERN:
            return message(method, params), {"mcp-protocol-version": self.version} if self.says_version else {}
        given = dict(params or {})
        said = {"protocolVersion": MODERN, "clientInfo": self.client, "clientCapabilities": self.capabilities}
        given["_meta"] = {**{f"{META}{name}": value for name, value in said.items()}, **given.get("_meta", {})}
        name = given.get("name", given.get("uri"))
        named = {} if name is None else {"mcp-name": name}
        return message(method, given), {"mcp-protocol-version": MODERN, "mcp-method": method, **named}


def message(method: str, params: Mapping[str, Any] | None) -> dict[str, Any]:
    said = {"jsonrpc": "2.0", "id": 1, "method": method}
    copied: dict[str, Any] = json.loads(json.dumps(said if params is None else {**said, "params": params}))
    return copied


ASKING = {"elicitation": {"form": {}, "url": {}}}
TURN = {"session_id": "01a2", "model": "gpt-5.1", "sandbox_mode": "read-only", "auto_review_enabled": False}
CODEX = {"callId": "call_0", "x-codex-turn-metadata": TURN, "threadId": "01a2", "sessionId": "01a2", "itemId": "f1"}
# As somebody else's server logged it: https://github.com/zoedsoupe/anubis-mcp/issues/295
CLAUDE = {"name": "claude-code", "title": "Claude Code", "version": "2.1.260"}
CLAUDE |= {"description": "Anthropic's agentic coding tool", "websiteUrl": "https://claude.com/claude-code"}

PLAIN = Dialect(listing={})
DIALECTS: dict[str, Dialect] = {
    "Gemini CLI 0.61": Dialect(
        {"name": "gemini-cli-mcp-client", "version": "0.61.0"},
        "2025-06-18",
        {"roots": {"listChanged": True}},
        {},
        {"progressToken": "3ec7477d-7bfc-4e97"},
        says_version=False,
    ),
    "Codex 0.171": Dialect(
        {"name": "codex-mcp-client", "title": "Codex", "version": "0.171.0"},
        "2025-06-18",
        ASKING,
        {"_meta": {"progressToken": 0}},
        {**CODEX, "windowId": "01a2:0", "progressToken": 1},
    ),
    "OpenCode 1.18": Dialect(
        {"name": "opencode", "version": "1.18.33"}, capabilities={"roots": {}}, meta={"progressToken": 2}
    ),
    "Qwen Code 0.24": Dialect(
        {"name": "qwen-cli-mcp-client-d365fo", "version": "0.0.1"},
        capabilities={"extensions": APPS, "roots": {}},
        listing={},
        meta={"progressToken": 4},
    ),
    "mcporter 0.12": Dialect({"name": "mcporter", "version": "0.12.3"}),
    "Copilot CLI 1.0": Dialect(
        {"name": "copilot-cli", "version": "1.0.102"},
        MODERN,
        {"sampling": {}, **ASKING},
        {"_meta": {"progressToken": 0}},
        {"progressToken": 1},
    ),
    "Claude Code 2.1": Dialect(
        CLAUDE, MODERN, {"elicitation": {}, "roots": {"listChanged": True}}, meta={"progressToken": 3}
    ),
    "Python SDK 2.3": Dialect({"name": "mcp", "version": "0.1.0"}, MODERN),
    "C# SDK 2.4": Dialect({"name": "judge", "version": "1.0.0.0"}, MODERN),
    "an Apps host": Dialect(version=MODERN, capabilities={"extensions": APPS, "tasks": {"list": {}, "cancel": {}}}),
}
