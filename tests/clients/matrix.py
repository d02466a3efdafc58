"""The clients that were run against this server: the tables of infra/clients.md are made from this one.

The tests install and run these versions: Python's from here, npm's from `tests/package.json`. The tests of the agent hosts
check the protocol too. A client that was run by hand says when.
"""

from dataclasses import dataclass

from tests.cached import NODE_VERSIONS

BY_HAND = "by hand, November 2026"
HOSTS_RUN = "`tests/run --hosts`"
EACH_RUN = "`tests/run`"
CI_RUN = "`tests/run`, where its program is found"
SETTINGS = '`{"httpUrl": "URL", "headers": {"x-functions-key": "KEY"}, "trust": true}`'
REMOTE = '`{"type": "remote", "url": "URL", "headers": {"x-functions-key": "KEY"}}`'
TOML = '`[mcp_servers.d365fo]` with `url` and `http_headers = {"x-functions-key" = "KEY"}`'
COPILOT = '`{"type": "http", "url": "URL", "headers": {"x-functions-key": "KEY"}, "tools": ["*"]}`'


@dataclass(frozen=True)
class Client:
    """A client: its version, the protocol it spoke, how it is configured, and how it treats answers and writes."""

    name: str
    version: str
    protocol: str
    configuration: str
    answer: str
    asks: str
    run: str


@dataclass(frozen=True)
class Gateway:
    """A low-code host or a gateway: its version, the protocol it spoke, how it is configured, and what gets lost."""

    name: str
    version: str
    protocol: str
    configuration: str
    lost: str


CLIENTS = (
    Client(
        "Gemini CLI",
        NODE_VERSIONS["@google/gemini-cli"],
        "2025-06-18",
        f"`.gemini/settings.json`, below `mcpServers`: {SETTINGS}",
        "40,000 characters; the rest in a file",
        "yes; not with `trust`",
        HOSTS_RUN,
    ),
    Client(
        "Codex",
        NODE_VERSIONS["@openai/codex"],
        "2025-06-18",
        f"`.codex/config.toml`: {TOML}",
        "12,000 characters, head and tail",
        "yes; not with `approve`",
        HOSTS_RUN,
    ),
    Client(
        "OpenCode",
        NODE_VERSIONS["opencode-ai"],
        "2025-11-25",
        f"`opencode.json`, below `mcp`: {REMOTE}",
        "350 characters of a long line; the rest in a file",
        "**never**",
        HOSTS_RUN,
    ),
    Client(
        "Copilot CLI",
        NODE_VERSIONS["@github/copilot"],
        "2026-07-28",
        f"`.copilot/mcp-config.json`, below `mcpServers`: {COPILOT}",
        "500 characters; the rest in a file",
        "refuses; not with `--allow-all-tools`",
        HOSTS_RUN,
    ),
    Client(
        "Qwen Code",
        "0.24",
        "2025-11-25",
        f"`.qwen/settings.json`, below `mcpServers`: {SETTINGS}",
        "2,000 characters; the rest in a file",
        "yes, before reads too",
        BY_HAND,
    ),
    Client(
        "Cline CLI",
        "3.0",
        "2025-11-25",
        "`cline mcp add d365fo URL --transport http --yes`",
        "8,000 characters, text and structure",
        "**never**, not even in plan mode",
        BY_HAND,
    ),
    Client(
        "Continue CLI",
        "of November 2026",
        "2025-11-25",
        "`type: streamable-http`, `url`, `requestOptions.headers`",
        "all",
        "**never**, not even with `--readonly`",
        BY_HAND,
    ),
    Client(
        "mcporter",
        NODE_VERSIONS["mcporter"],
        "2025-11-25",
        '`{"baseUrl": "URL", "headers": {…}}`',
        "all",
        "no model",
        EACH_RUN,
    ),
    Client(
        "OpenAI Agents",
        "0.24.0",
        "2025-11-25",
        "`MCPServerStreamableHttp({…}, client_session_timeout_seconds=60)`",
        "all, as text",
        "up to your code",
        EACH_RUN,
    ),
    Client("Pydantic AI", "2.68.0", "2025-11-25", "`MCPToolset(URL)`", "all", "up to your code", EACH_RUN),
    Client(
        "LangChain adapters",
        "0.3.2",
        "2025-11-25",
        '`{"transport": "streamable_http", "url": "URL", "headers": {…}}`',
        "all, as text",
        "up to your code",
        EACH_RUN,
    ),
    Client(
        "Semantic Kernel, Python",
        "1.45.0",
        "2025-11-25",
        "`MCPStreamableHttpPlugin(name, url=URL, headers={…})`",
        "all, twice",
        "up to your code",
        EACH_RUN,
    ),
    Client(
        "Google ADK", "2.13", "2025-11-25", "`StreamableHTTPConnectionParams`", "all, twice", "up to your code", BY_HAND
    ),
    Client(
        "Microsoft Agent Framework, Python",
        "1.23",
        "2026-07-28",
        "`MCPStreamableHTTPTool`, `include_detailed_errors`",
        "all",
        "up to your code",
        BY_HAND,
    ),
    Client("C# SDK", "2.4.0", "2026-07-28", "below", "all", "up to your code", CI_RUN),
    Client("Python SDK", "2.3.0", "2026-07-28", "`Client(URL)`", "all", "up to your code", EACH_RUN),
    Client(
        "Python SDK (mcp<2)", "1.30.0", "2025-11-25", "`streamablehttp_client(URL)`", "all", "up to your code", EACH_RUN
    ),
)

GATEWAYS = (
    Gateway(
        "n8n",
        "2.40",
        "2025-11-25",
        "*HTTP Streamable*, the URL, *Header Auth* `x-functions-key`",
        "the mark of an error; its text says so. A call ends after 60 s: raise the node's timeout",
    ),
    Gateway(
        "Flowise",
        "3.1",
        "2025-11-25",
        'Custom MCP `{"url", "headers"}`; for loopback `HTTP_SECURITY_CHECK=false`',
        "the mark of an error; its text says so. A call ends after 60 s. Numbers sent as text end the run",
    ),
    Gateway(
        "LiteLLM", "1.108", "2025-11-25", "`mcp_servers: {d365: {url, transport: http}}`", "names begin with `d365-`"
    ),
    Gateway(
        "ContextForge",
        "1.1",
        "2026-07-28",
        '`POST /gateways {"name", "url", "transport": "STREAMABLEHTTP"}`',
        "instructions and resource templates; names have dashes",
    ),
    Gateway(
        "FastMCP proxy",
        "4.2",
        "2025-11-25",
        "`create_proxy(URL)`",
        "**one list of tools is kept for all callers**: start a proxy for each set of roles or toolsets",
    ),
    Gateway(
        "mcpo (Open WebUI)",
        "0.0.20",
        "2025-11-25",
        "`mcpo --server-type streamable-http -- URL`",
        "enumerations, annotations, unknown arguments",
    ),
    Gateway("mcp-proxy", "0.13", "2025-11-25", "`mcp-proxy --transport streamablehttp URL`", ""),
    Gateway(
        "mcp-remote",
        NODE_VERSIONS["mcp-remote"],
        "the client's",
        "`npx mcp-remote URL --header x-functions-key:KEY`",
        "",
    ),
)


def version(name: str) -> str:
    """Return the version in which a client is run."""
    return _client(name).version


def protocol(name: str) -> str:
    """Return the protocol that a client speaks with this server."""
    return _client(name).protocol


def clients_table() -> str:
    """Return the clients as Markdown."""
    rows = [
        f"| {each.name} {each.version} | {each.protocol} | {each.configuration} | {each.answer} | {each.asks} | {each.run} |"
        for each in CLIENTS
    ]
    heading = (
        "| client | protocol | configuration | what its model gets of a long answer | asks before a write | run by |"
    )
    return "\n".join([heading, "|---|---|---|---|---|---|", *rows])


def gateways_table() -> str:
    """Return the low-code hosts and gateways as Markdown."""
    rows = [
        f"| {each.name} {each.version} | {each.protocol} | {each.configuration} | {each.lost} |" for each in GATEWAYS
    ]
    return "\n".join(
        ["| host or gateway | protocol | configuration | what gets lost or changed |", "|---|---|---|---|", *rows]
    )


def _client(name: str) -> Client:
    return next(each for each in CLIENTS if each.name == name)
