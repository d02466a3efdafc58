"""Requests as clients send them, and what can be odd about them: for telling two ways of answering apart."""

import copy
import json
import random
from dataclasses import replace
from typing import Any

from tests.clients.dialects import DIALECTS, META, MODERN, Dialect, Headers

Case = tuple[bytes, Headers]

VERSIONS = ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25", "2026-07-28"]
METHODS = [
    "initialize",
    "ping",
    "tools/list",
    "prompts/list",
    "resources/list",
    "resources/templates/list",
    "server/discover",
]
ODD_VALUES: list[Any] = [
    None, True, False, 0, 1, -1, 1.5, 5.0, 2**60, "", "x", "é", "2026-07-28", "2031-01-01", "info", "dark", [], [1], [{}],
    [{"src": "x"}], ["x"], {}, {"a": 1}, {"a": {}}, {"a": None}, {"listChanged": 1}, {"form": {}}, {"create": {"a": None}},
]  # fmt: skip
ODD_NAMES = [
    "_meta", "extra", "cursor", "name", "arguments", "task", "inputResponses", "requestState", "progressToken",
    "progress_token", "capabilities", "clientInfo", "client_info", "protocolVersion", "title", "description", "icons", "src",
    "theme", "sizes", "websiteUrl", "website_url", "roots", "listChanged", "list_changed", "sampling", "context", "tools",
    "elicitation", "form", "url", "extensions", "experimental", "tasks", "list", "requests", "create", "createMessage",
    *(f"{META}{name}" for name in ("protocolVersion", "clientInfo", "clientCapabilities", "logLevel", "related-task")),
]  # fmt: skip
ODD_HEADERS: list[tuple[str, str]] = [
    ("mcp-protocol-version", "2026-07-28"),
    ("mcp-protocol-version", "2025-06-18"),
    ("mcp-protocol-version", "1999-01-01"),
    ("mcp-protocol-version", ""),
    ("mcp-method", "ping"),
    ("mcp-method", "tools/list"),
    ("mcp-method", " tools/list"),
    ("mcp-method", "=?base64?dG9vbHMvbGlzdA==?="),
    ("mcp-name", "x"),
    ("x-mcp-toolsets", "data"),
    ("x-mcp-readonly", "true"),
    ("accept", "application/json"),
    ("mcp-session-id", "s"),
]


def spoken(chance: random.Random) -> Dialect:
    """Return how some client speaks, in any version."""
    dialect = chance.choice(list(DIALECTS.values()))
    return replace(dialect, version=chance.choice(VERSIONS))


def ordinary(chance: random.Random) -> tuple[dict[str, Any], Headers]:
    """Return an ordinary request of any method, version and client."""
    dialect, method = spoken(chance), chance.choice(METHODS)
    if method == "initialize" and dialect.version != MODERN:
        message, headers = dialect.first()
    else:
        message, headers = dialect.case(method, chance.choice([None, {}, dialect.listing, {"_meta": dialect.meta}]))
    if chance.random() < 0.2:
        headers = {**headers, "mcp-protocol-version": dialect.version}
    message["id"] = chance.choice([0, 1, "a", 2**40])
    return message, headers


def places(node: Any) -> list[Any]:
    """Return every object within a value, itself first."""
    found = [node] if isinstance(node, dict) else []
    inner = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    return found + [place for each in inner for place in places(each)]


def mutate(message: dict[str, Any], headers: Headers, chance: random.Random) -> None:
    """Make one thing odd."""
    kind = chance.randrange(6)
    place = chance.choice(places(message))
    if kind == 0 and place:
        del place[chance.choice(list(place))]
    elif kind == 1 and place:
        place[chance.choice(list(place))] = copy.deepcopy(chance.choice(ODD_VALUES))
    elif kind == 2:
        place[chance.choice(ODD_NAMES)] = copy.deepcopy(chance.choice(ODD_VALUES))
    elif kind == 3 and headers:
        del headers[chance.choice(list(headers))]
    elif kind == 4:
        name, value = chance.choice(ODD_HEADERS)
        headers[name] = value
    elif place:
        name = chance.choice(list(place))
        place[name.upper() if chance.random() < 0.5 else name + " "] = place.pop(name)


def cases(count: int, seed: int) -> list[Case]:
    """Return requests, one in four of them ordinary, the others odd in one to three ways."""
    chance = random.Random(seed)  # noqa: S311 - the same requests every time
    found = []
    for _ in range(count):
        message, headers = ordinary(chance)
        for _ in range(chance.choice([0, 1, 1, 2, 3])):
            mutate(message, headers, chance)
        found.append((json.dumps(message).encode(), headers))
    return found


def call_cases(count: int, seed: int) -> list[Case]:
    """Return tool calls, ordinary and odd."""
    chance = random.Random(seed)  # noqa: S311 - the same requests every time
    found = []
    for _ in range(count):
        tool = chance.choice(["echo", "echo", "able", "miss", "crash", "change", "nope", "file"])
        arguments: dict[str, Any] = (
            {"text": chance.choice(["", "x", "Zoë\u2028", "\ud800", '"'])} if tool == "echo" else {}
        )
        message, headers = spoken(chance).call(f"d365fo_{tool}", arguments)
        message["id"] = chance.choice([0, 1, "a"])
        for _ in range(chance.choice([0, 0, 1, 1, 2])):
            mutate(message, headers, chance)
        found.append((json.dumps(message).encode(), headers))
    return found
