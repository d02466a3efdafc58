"""Puts the parts together, once per process: the one file that sees everything. Reading it top to bottom is the tour."""

import asyncio
import gc
import hmac
import logging
import math
import secrets
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import d365mcp
from d365mcp import health
from d365mcp.errors import D365McpError, NotReady
from d365mcp.events import Caller, Event, Operation, Trace, working_on
from d365mcp.lazy import Lazy
from d365mcp.server.auth.callers import OPERATOR, Access, Callers
from d365mcp.server.endpoint import Endpoint
from d365mcp.server.messages import UNAVAILABLE, Refused, Reply, dumped, error
from d365mcp.server.ordinary import SERVER_NAME, SERVER_TITLE, Prepared
from d365mcp.settings import Settings, margin, read_settings
from d365mcp.singleflight import SingleFlight, shared_property
from d365mcp.telemetry import exporter

if TYPE_CHECKING:
    from d365mcp.d365.client import D365Client
    from d365mcp.metadata.build import Builder
    from d365mcp.metadata.catalog import MetadataCatalog
    from d365mcp.metadata.snapshot_cache import SnapshotCache
    from d365mcp.metadata.store import CatalogStore
    from d365mcp.server.auth.entra import Entra
    from d365mcp.server.auth.facade import Facade
    from d365mcp.server.execution import ToolCalls
    from d365mcp.server.sdk import Engine
    from d365mcp.sql.processes import DatabaseProcesses
    from d365mcp.storage import Storage
    from d365mcp.telemetry.instance import InstanceFacts
    from d365mcp.telemetry.statistics import Statistics
    from d365mcp.tools.cursors import CursorSeal
    from d365mcp.tools.tool import ToolContext

INSTRUCTIONS = Path(__file__).parent / "server" / "instructions.md"


# At INFO they write a line with the whole URL, filter values and all, for every call.
NOISY_LOGGERS = ("httpx", "httpcore", "azure", "msal", "urllib3", "opencensus")
# At WARNING it writes what a token endpoint said, word by word; the error we make of it names the mend.
OUTSPOKEN_LOGGER = "azure.identity"


# A run of the catalog's build takes no longer; Consumption ends a function after ten minutes.
BUILD_SECONDS = 600.0
# While the storage hangs, each look-up of the cursor key holds a thread.
STORAGE_SECONDS = 120.0
# Who asks for deep health waits no longer for F&O.
DEEP_SECONDS = 20.0
# And no longer for a permit to ask it: that all are taken says enough.
PERMIT_SECONDS = 5.0


class Application:
    """The server: an endpoint that answers at once, and what its calls need, loaded after the first answer."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.started = time.monotonic()
        for name in NOISY_LOGGERS:
            logging.getLogger(name).setLevel(logging.WARNING)
        logging.getLogger(OUTSPOKEN_LOGGER).setLevel(logging.ERROR)
        self.telemetry = exporter.start(settings, audit_key=self.read_audit_key)
        listener = self.telemetry if self.telemetry.enabled else None
        self.turn = threading.Lock()
        self.calls = Lazy(self.load_calls, self.turn)
        callers = Callers(settings, self.turn)
        engine = Lazy(self.load_engine, self.turn)
        self.endpoint = Endpoint(settings, engine, listener, Prepared(), self.calls, callers)
        self.process_cursor_key = secrets.token_bytes(32)
        self.shared_cursor_key: SingleFlight[bytes] = SingleFlight(STORAGE_SECONDS, keep=math.inf)

    def emit(self, event: Event) -> None:
        self.telemetry(event)

    def load_calls(self) -> "ToolCalls":
        """Import the tools and what they use. Runs in a thread: never on the event loop."""
        from d365mcp.server.execution import ToolCalls, by_name
        from d365mcp.tools import ALL_TOOLS

        calls = ToolCalls(self.settings, by_name(ALL_TOOLS), self.make_context, self.emit)
        if not self.settings.problems:
            self.client  # noqa: B018 - built here, once, in this thread
        return calls

    def load_engine(self) -> "Engine":
        """Import the SDK, after the tools, and what signs in and connects."""
        from d365mcp.server.sdk import build_engine

        engine = build_engine(
            self.calls.value or self.load_calls(),
            name=SERVER_NAME,
            version=d365mcp.__version__,
            title=SERVER_TITLE,
            instructions=INSTRUCTIONS.read_text(encoding="utf-8").strip(),
        )
        with suppress(ImportError):  # what is missing is told by the call that needs it
            from azure import identity

            from d365mcp.d365 import transport  # noqa: F401 - it imports aiohttp

            identity.ManagedIdentityCredential  # noqa: B018 - azure-identity imports its credentials when named
        gc.freeze()  # a look of the garbage collector's through all of this would keep the event loop for 50 ms
        return engine

    @shared_property
    def client(self) -> "D365Client":
        from d365mcp.d365.auth import TokenSource
        from d365mcp.d365.client import D365Client
        from d365mcp.d365.http import D365Http

        others = None
        if self.settings.has_shared_storage:
            from d365mcp.d365.shared_throttling import SharedThrottling

            others = SharedThrottling(lambda: self.storage, self.settings.base_url)
        return D365Client(D365Http(self.settings, TokenSource(self.settings), self.emit, others))

    @shared_property
    def catalog(self) -> "MetadataCatalog":
        from d365mcp.metadata.catalog import MetadataCatalog

        return MetadataCatalog(self.client, self.snapshots)

    @shared_property
    def snapshots(self) -> "SnapshotCache":
        from d365mcp.metadata.snapshot_cache import SnapshotCache

        return SnapshotCache(self.open_catalog, self.settings.catalog_revalidate)

    @shared_property
    def storage(self) -> "Storage":
        """Return the shared storage. Imports Azure's SDK: never on the event loop."""
        from d365mcp.storage import open_storage

        return open_storage(self.settings)

    def open_catalog(self) -> "CatalogStore":
        from d365mcp.metadata.store import CatalogStore

        return CatalogStore(self.storage, self.settings.base_url)

    def read_audit_key(self) -> bytes:
        """Return the key of the audit's hashes: never replaced, so that a record keeps its hash. Blocks.

        Where nothing is shared the cursors' key does, which instances have in common.
        """
        if self.settings.cursor_keys and not self.settings.has_shared_storage:
            return hmac.digest(self.settings.cursor_keys[0], b"audit", "sha256")
        with self.turn:
            from d365mcp.storage import AUDIT_KEY, shared_key

            storage = self.storage
        return shared_key(storage, AUDIT_KEY)

    @shared_property
    def builder(self) -> "Builder":
        from d365mcp.metadata.build import Builder
        from d365mcp.metadata.own_loop import GRACE_SECONDS

        limit = min(self.settings.host.function_timeout or BUILD_SECONDS, BUILD_SECONDS)
        limit -= margin(limit) + GRACE_SECONDS
        asking = limit * 0.75
        return Builder(
            self.open_catalog(), self.client, self.settings.languages, self.emit, asking, spare=limit - asking
        )

    async def build_due(self) -> str:
        """Build the catalog if a build is due, asked for or unfinished: what the timer calls."""
        if self.settings.problems:
            return "idle"
        builder = await asyncio.to_thread(lambda: self.builder)
        return await builder.run_due(self.settings.catalog_schedule)

    @shared_property
    def statistics(self) -> "Statistics":
        from d365mcp.telemetry.log_analytics import LogAnalytics, identity_token
        from d365mcp.telemetry.statistics import Statistics

        workspace = LogAnalytics(self.settings, identity_token(self.settings))
        return Statistics(self.settings, workspace, lambda: self.storage, self.emit)

    def instance(self) -> "InstanceFacts":
        """Return what this process is doing right now."""
        from d365mcp.telemetry.instance import InstanceFacts, memory_mb

        http, catalog = self.client.http, self.catalog.source()
        ages = {"token": http.tokens.age(), "catalog": catalog.age_seconds}
        return InstanceFacts(
            instance=self.settings.instance,
            uptime_seconds=time.monotonic() - self.started,
            memory_mb=memory_mb(),
            in_flight=self.endpoint.in_flight,
            tool_permits=self.settings.tool_permits,
            tasks=len(asyncio.all_tasks()),
            connection_pool=asdict(http.pool()),
            ages={name: age for name, age in ages.items() if age is not None},
            telemetry=self.telemetry.backlog(),
        )

    @shared_property
    def databases(self) -> "DatabaseProcesses":
        from d365mcp.sql.processes import DatabaseProcesses, ProcessLimits

        return DatabaseProcesses(ProcessLimits.of(self.settings))

    @shared_property
    def cursors(self) -> "CursorSeal":
        from d365mcp.tools.cursors import CursorSeal

        return CursorSeal(self.settings.base_url, self.cursor_keys)

    async def cursor_keys(self) -> Sequence[bytes]:
        """Return the keys of continuation cursors: the operator's, those all instances share, or one of this process."""
        if self.settings.cursor_keys:
            return self.settings.cursor_keys
        if not self.settings.has_shared_storage:
            return (self.process_cursor_key,)
        return (await self.shared_cursor_key.get("", self.read_cursor_key),)

    async def read_cursor_key(self) -> bytes:
        from d365mcp.storage import CURSOR_KEY, shared_key

        return await asyncio.to_thread(lambda: shared_key(self.storage, CURSOR_KEY))

    def make_context(self, access: Access, capabilities: Mapping[str, Any]) -> "ToolContext":
        """Return what one tool call may use."""
        from d365mcp.tools.tool import ToolContext

        return ToolContext(
            settings=self.settings,
            d365=self.client,
            catalog=self.catalog,
            cursors=self.cursors,
            caller=access.caller,
            read_only=not access.may_write,
            capabilities=capabilities,
            emit=self.emit,
            statistics=self.statistics,
            instance=self.instance,
            databases=lambda: self.databases,
            result_chars=access.result_chars,
        )

    def health(self) -> tuple[int, dict[str, Any]]:
        """Return that this process is alive. Constant time, no secrets, no call."""
        return health.alive(self.settings, time.monotonic() - self.started)

    async def health_for(self, headers: Mapping[str, str]) -> Reply:
        """Return deep health, for those who may call."""
        try:
            self.endpoint.check_place(headers)
            caller = await self.endpoint.admit(headers)
        except Refused as refusal:
            return refusal.reply
        except NotReady as problem:
            return error(503, UNAVAILABLE, problem.message, headers={"retry-after": f"{problem.retry_after:g}"})
        status, body = await self.deep_health(caller)
        return Reply(status, health.headers_of(body), dumped(body))

    async def deep_health(self, caller: Caller) -> tuple[int, dict[str, Any]]:
        """Return how F&O, the token, the catalog, telemetry, the last hour and this process fare."""
        if self.settings.problems:
            return health.deep(self.settings, {})
        await self.calls.get()
        d365, performance, callers = await asyncio.gather(
            self.d365_check(caller), self.performance_check(), self.callers_check()
        )
        await self.snapshots.current()
        facts = self.instance()
        backlog = self.telemetry.backlog()
        checks = {
            "d365:session": d365,
            "d365:token": health.check("pass", round(facts.ages.get("token", 0.0)), "s"),
            "catalog:age": health.catalog_check(facts.ages.get("catalog")),
            "telemetry:backlog": health.telemetry_check(backlog.state, backlog.waiting, backlog.problem),
            "process:memory": health.check("pass", round(facts.memory_mb or 0), "MB"),
            "tools:in_flight": health.check("pass", facts.in_flight, f"of {facts.tool_permits} permits"),
            **performance,
            **callers,
        }
        return health.deep(self.settings, checks)

    async def d365_check(self, caller: Caller) -> dict[str, Any]:
        """Ask F&O who we are, with a permit as every request that reaches it."""
        trace, own, deadline = Trace.continued(None), caller is OPERATOR, time.monotonic() + self.deep_seconds
        if not await self.endpoint.take_permit(min(PERMIT_SECONDS, self.deep_seconds / 2)):
            detail = f"F&O was not asked: calls hold all permits this instance has ({self.settings.tool_permits})."
            return health.check("warn", output=detail)
        began = time.monotonic()
        try:
            with working_on(Operation(trace, deadline, caller.name, caller.assertion, own)):
                session = await self.client.session(fresh=True)
        except D365McpError as problem:
            return health.failed(problem)
        finally:
            self.endpoint.release_permit()
        took = round((time.monotonic() - began) * 1000)
        return health.check("pass", took, "ms", f"signed in as {session.user_id}, company {session.company}")

    async def callers_check(self) -> dict[str, dict[str, Any]]:
        """Look whether callers' tokens can be checked, where we do that."""
        if self.settings.mcp_auth != "jwt":
            return {}
        check = await self.endpoint.callers.tokens.get()
        if tenants := await check.without_keys():
            told = f"Entra's signing keys of {', '.join(tenants)} cannot be had: check MCP_ALLOWED_TENANTS, AZURE_AUTHORITY_HOST and the network."
            return {"callers:keys": health.check("fail", output=told)}
        return {
            "callers:keys": health.check("pass", output=f"tokens of {len(self.settings.tenants)} tenants are checked")
        }

    async def performance_check(self) -> dict[str, dict[str, Any]]:
        """Judge the last hour of all instances by the thresholds, where a workspace knows of it."""
        from d365mcp.telemetry.statistics import verdict

        if not self.settings.workspace_id:
            return {}
        try:
            async with asyncio.timeout(self.deep_seconds):
                total = (await self.statistics.read("1h")).total
        except TimeoutError:
            told = health.check("warn", output="Log Analytics did not answer in time: try again later.")
        except D365McpError as problem:
            told = health.failed(problem, "warn")
        else:
            p95, rate = (total.p95_ms, total.error_rate) if total else (0.0, 0.0)
            told = health.performance_check(verdict(total, self.settings), p95, rate, self.settings)
        return {"tools:last_hour": told}

    @property
    def deep_seconds(self) -> float:
        return min(DEEP_SECONDS, self.settings.deadline_seconds)

    def well_known(self, path: str) -> tuple[int, Mapping[str, Any]]:
        """Return a discovery document by its path below `/.well-known`."""
        from d365mcp.server.auth.discovery import well_known

        return well_known(self.settings, path)

    @shared_property
    def facade(self) -> "Facade":
        from d365mcp.server.auth.facade import Facade

        return Facade(self.settings, Lazy(self.load_entra, self.turn))

    def load_entra(self) -> "Entra":
        from d365mcp.server.auth.entra import Entra
        from d365mcp.server.auth.facade import authority_of

        return Entra(authority_of(self.settings))


def warn_of_settings(settings: Settings) -> None:
    """Write to the log what has to be mended, and what the operator may want to know."""
    log = logging.getLogger("d365mcp")
    for problem in settings.problems:
        log.error("%s", problem)
    for notice in settings.notices:
        log.warning("%s", notice)


application = Application(read_settings())
