"""Answers the ordinary shapes of initialize, ping, server/discover and the lists from fragments prepared by the SDK.

Only shapes it knows exactly; a cursor, an odd `_meta`, an unknown member: all that is the SDK's to judge. `prepare.py`
makes the fragments, a test fails when they differ from what the SDK says.
"""

import json
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from d365mcp.server.callers import Access
from d365mcp.server.messages import Message, Reply, dumped, result
from d365mcp.server.prompts import PROMPTS
from d365mcp.wire import parsed

FRAGMENTS = Path(__file__).with_name("prepared.json")

HANDSHAKE_VERSIONS = frozenset({"2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"})
MODERN_VERSION = "2026-07-28"
# What a handshake-era request without the header is taken for.
DEFAULT_VERSION = "2025-03-26"

META = "io.modelcontextprotocol/"
META_NAMES = {f"{META}protocolVersion", f"{META}clientCapabilities", f"{META}clientInfo"}
LISTS = ("tools/list", "prompts/list", "resources/list", "resources/templates/list")
HANDSHAKE_METHODS = frozenset({"initialize", "ping", *LISTS})
MODERN_METHODS = frozenset({"server/discover", *LISTS})


# Callers ask for a few sets of toolsets; one who asks for all there are must not fill the memory.
MOST_LISTS = 100


class Prepared:
    """Prepared answers. Lists of tools are joined for each set of them that somebody may use."""

    def __init__(self, path: Path = FRAGMENTS) -> None:
        self.path = path
        self.lists: dict[tuple[Any, ...], bytes] = {}

    @cached_property
    def fragments(self) -> dict[str, Any]:
        """Return {"answers": {version: {method: result}}, "tools": {version: [{toolset, read_only, tool}]}}."""
        found: dict[str, Any] = parsed(self.path.read_bytes())
        return found

    @cached_property
    def answers(self) -> dict[tuple[str, str], bytes]:
        return {
            (version, method): dumped(answer)
            for version, answers in self.fragments["answers"].items()
            for method, answer in answers.items()
        }

    def answer(self, message: Message, headers: Mapping[str, str], access: Access) -> Reply | None:
        """Return the reply, or None where the SDK has to look."""
        version = prepared_version(message, headers)
        if version is None:
            return None
        method = message["method"]
        if method in NARROWED and not NARROWED[method](access):
            return None
        found = self.tools_list(version, access) if method == "tools/list" else self.answers.get((version, method))
        return result(message["id"], found) if found is not None else None

    def tools_list(self, version: str, access: Access) -> bytes:
        """Return the list of the tools this request may use, kept as bytes."""
        key = (version, access.caller.roles, *access._replace(result_chars=0, seconds=0.0)[1:])
        found = self.lists.get(key)
        if found is None:
            if len(self.lists) >= MOST_LISTS:
                self.lists.clear()
            found = self.lists[key] = dumped(self.joined(version, access))
        return found

    def joined(self, version: str, access: Access) -> dict[str, Any]:
        frame: dict[str, Any] = self.fragments["answers"][version]["tools/list"]
        rows = self.fragments["tools"][version]
        tools = [row["tool"] for row in rows if access.allows(row["toolset"], read_only=row["read_only"])]
        if not access.structured:
            tools = [{name: each for name, each in tool.items() if name != "outputSchema"} for tool in tools]
        scope = {"cacheScope": "private"} if access.private and "cacheScope" in frame else {}
        return {**frame, **scope, "tools": tools}


def may_read_templates(access: Access) -> bool:
    """Return whether a request may read resources: the tools behind their templates are of the toolset metadata."""
    return access.allows("metadata", read_only=True)


def may_use_prompts(access: Access) -> bool:
    """Return whether a request is offered all prompts."""
    return all(prompt.is_offered(access) for prompt in PROMPTS)


# Lists that are prepared for whoever is offered all of them.
NARROWED = {
    "prompts/list": may_use_prompts,
    "resources/list": may_read_templates,
    "resources/templates/list": may_read_templates,
}


def prepared_version(message: Message, headers: Mapping[str, str]) -> str | None:
    """Return the protocol version whose prepared answer fits a request exactly, or None."""
    if len(message) != 3 + ("params" in message) or not plain_id(message["id"]):  # jsonrpc, id and method it has
        return None
    version = headers.get("mcp-protocol-version")
    if version == MODERN_VERSION:
        return MODERN_VERSION if is_plain_modern(message, headers) else None
    if version is not None and version not in HANDSHAKE_VERSIONS:
        return None
    if message["method"] not in HANDSHAKE_METHODS:
        return None
    if message["method"] == "initialize":
        return handshake_version(message)
    return (version or DEFAULT_VERSION) if is_bare(message.get("params")) else None


def plain_id(id: Any) -> bool:
    return isinstance(id, str) or (isinstance(id, int) and abs(id) < 2**53)


def is_bare(params: Any) -> bool:
    """Return whether params say nothing: left out, empty, or with an empty `_meta`."""
    return not params or params == {"_meta": {}}


def handshake_version(message: Message) -> str | None:
    """Return the version an ordinary initialize asks for, where it is one we speak."""
    params = message.get("params")
    if not isinstance(params, dict) or params.keys() != {"protocolVersion", "capabilities", "clientInfo"}:
        return None
    version = params["protocolVersion"]
    plain = version in HANDSHAKE_VERSIONS if isinstance(version, str) else False
    return version if plain and is_client(params["clientInfo"]) and is_capabilities(params["capabilities"]) else None


def is_client(info: Any) -> bool:
    """Return whether this is an ordinary clientInfo: a name, a version, perhaps a title."""
    if not isinstance(info, dict) or not {"name", "version"} <= info.keys() <= {"name", "version", "title"}:
        return False
    return all(isinstance(value, str) for value in info.values())


def is_capabilities(capabilities: Any) -> bool:
    """Return whether these are ordinary client capabilities, that no version's SDK model objects to."""
    if not isinstance(capabilities, dict):
        return False
    known: dict[str, tuple[Any, ...]] = {
        "roots": ({}, {"listChanged": True}, {"listChanged": False}),
        "sampling": ({},),
        "elicitation": ({}, {"form": {}}, {"form": {}, "url": {}}),
    }
    return all(name in known and is_one_of(value, known[name]) for name, value in capabilities.items())


def is_one_of(value: Any, allowed: tuple[Any, ...]) -> bool:
    """Compare as JSON does: 1 is not true."""
    return json.dumps(value) in {json.dumps(each) for each in allowed}


def is_plain_modern(message: Message, headers: Mapping[str, str]) -> bool:
    """Return whether a stateless-era request carries exactly the envelope it should, and says nothing else."""
    params = message.get("params")
    if message["method"] not in MODERN_METHODS or "mcp-name" in headers:
        return False
    if not isinstance(params, dict) or params.keys() != {"_meta"}:
        return False
    return is_plain_envelope(params["_meta"], headers, message["method"])


def is_plain_envelope(meta: Any, headers: Mapping[str, str], method: str) -> bool:
    """Return whether a `_meta` has what the stateless era wants of every request, fitting its headers, and no more."""
    if headers.get("mcp-method") != method or not isinstance(meta, dict) or not meta.keys() <= META_NAMES:
        return False
    if headers.get("mcp-protocol-version") != MODERN_VERSION or meta.get(f"{META}protocolVersion") != MODERN_VERSION:
        return False
    named = f"{META}clientInfo" not in meta or is_client(meta[f"{META}clientInfo"])
    return named and is_capabilities(meta.get(f"{META}clientCapabilities"))
