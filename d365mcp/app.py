"""Puts the parts together, once per process: the one file that sees everything. Reading it top to bottom is the tour."""

import asyncio
import gc
import hmac
import logging
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import d365mcp
from d365mcp import health
from d365mcp.environments import Environment
from d365mcp.errors import NotReady
from d365mcp.events import Event
from d365mcp.lazy import Lazy
from d365mcp.server.auth.access import Access
from d365mcp.server.auth.callers import OPERATOR, Callers
from d365mcp.server.endpoint import Endpoint
from d365mcp.server.messages import UNAVAILABLE, Refused, Reply, error
from d365mcp.server.ordinary import SERVER_NAME, SERVER_TITLE, Prepared
from d365mcp.settings import Settings, leave_out_plugins, read_settings
from d365mcp.singleflight import shared_property
from d365mcp.telemetry import exporter
from d365mcp.wire import write_json

if TYPE_CHECKING:
    from d365mcp.server.auth.entra import Entra
    from d365mcp.server.auth.facade import Facade
    from d365mcp.server.execution import ToolExecutor
    from d365mcp.server.sdk import Engine
    from d365mcp.sql.processes import DatabaseProcesses
    from d365mcp.sql.reading import Places
    from d365mcp.storage import Storage
    from d365mcp.telemetry.instance import InstanceFacts
    from d365mcp.telemetry.statistics import Statistics
    from d365mcp.tools.tool import ToolContext

INSTRUCTIONS = Path(__file__).parent / "server" / "instructions.md"

# At INFO they write a line with the whole URL, filter values and all, for every call.
NOISY_LOGGERS = ("httpx", "httpcore", "azure", "msal", "urllib3", "opencensus")
# At WARNING it writes a token endpoint's answer word by word; our own error names the way out.
OUTSPOKEN_LOGGER = "azure.identity"

# The name of the one environment that settings describe.
DEFAULT = ""


class Application:
    """The server: an endpoint that answers at once, and what its calls need, loaded after the first answer."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.started = time.monotonic()
        for name in NOISY_LOGGERS:
            logging.getLogger(name).setLevel(logging.WARNING)
        logging.getLogger(OUTSPOKEN_LOGGER).setLevel(logging.ERROR)
        self.telemetry = exporter.start(settings, audit_key=self.read_audit_key)
        self.environments = {DEFAULT: Environment(settings, lambda: self.storage, self.emit)}
        self.loading = threading.Lock()
        self.executor = Lazy(self.load_executor, self.loading)
        engine = Lazy(self.load_engine, self.loading)
        callers = Callers(settings, self.loading)
        listener = self.telemetry if self.telemetry.enabled else None
        self.endpoint = Endpoint(settings, engine, listener, Prepared(), self.executor, callers)

    @property
    def environment(self) -> Environment:
        return self.environments[DEFAULT]

    def emit(self, event: Event) -> None:
        self.telemetry(event)

    def load_executor(self) -> "ToolExecutor":
        """Import the tools and what they use. Runs in a thread: never on the event loop."""
        from d365mcp.server.execution import ToolExecutor, by_name
        from d365mcp.tools import ALL_TOOLS

        leave_out_plugins()
        executor = ToolExecutor(self.settings, by_name(ALL_TOOLS), self.make_context, self.emit)
        if not self.settings.problems:
            self.environment.catalog  # noqa: B018 - built here with its client, once, in this thread
        return executor

    def load_engine(self) -> "Engine":
        """Import the SDK, after the tools, and all that a call would wait for else."""
        from d365mcp.d365 import batch  # noqa: F401 - loaded here, as the next two, used by single tools
        from d365mcp.metadata.search import documents, entities  # noqa: F401
        from d365mcp.server.sdk import build_engine
        from d365mcp.telemetry import statistics  # noqa: F401

        engine = build_engine(
            self.executor.value or self.load_executor(),
            name=SERVER_NAME,
            version=d365mcp.__version__,
            title=SERVER_TITLE,
            instructions=INSTRUCTIONS.read_text(encoding="utf-8").strip(),
        )
        with suppress(ImportError):  # the call that needs it says what is missing
            from azure import identity

            from d365mcp.d365 import transport  # noqa: F401 - it imports aiohttp

            identity.ManagedIdentityCredential  # noqa: B018 - azure-identity imports its credentials when named
        gc.freeze()  # a look of the garbage collector's through all of this would keep the event loop for 50 ms
        return engine

    @shared_property
    def storage(self) -> "Storage":
        """Return the shared storage. Imports Azure's SDK: never on the event loop."""
        from d365mcp.storage import open_storage

        return open_storage(self.settings)

    def read_audit_key(self) -> bytes:
        """Return the key of the audit's hashes: never replaced, so that a record keeps its hash. Blocks.

        Where nothing is shared the cursors' key does, which instances have in common.
        """
        if self.settings.cursor_keys and not self.settings.has_shared_storage:
            return hmac.digest(self.settings.cursor_keys[0], b"audit", "sha256")
        with self.loading:
            from d365mcp.storage import AUDIT_KEY, shared_key

            storage = self.storage
        return shared_key(storage, AUDIT_KEY)

    async def build_due(self) -> str:
        """Build the catalog if a build is due, asked for or unfinished: what the timer calls."""
        if self.settings.problems:
            return "idle"
        builder = await asyncio.to_thread(lambda: self.environment.builder)
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

        http, catalog = self.environment.client.http, self.environment.catalog.source()
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
    def places(self) -> "Places":
        from d365mcp.sql.reading import Places

        return Places(self.settings.sql_parallel_pages)

    def make_context(self, access: Access, capabilities: Mapping[str, Any]) -> "ToolContext":
        """Return what one tool call may use."""
        from d365mcp.tools.tool import ToolContext

        environment = self.environment
        return ToolContext(
            settings=self.settings,
            d365=environment.client,
            catalog=environment.catalog,
            cursors=environment.cursors,
            caller=access.caller,
            read_only=not access.may_write,
            capabilities=capabilities,
            emit=self.emit,
            statistics=lambda: self.statistics,
            instance=self.instance,
            databases=lambda: self.databases,
            places=lambda: self.places,
            result_chars=access.result_chars,
        )

    def alive(self) -> tuple[int, dict[str, Any]]:
        """Return that this process is alive. Constant time, no secrets, no call."""
        return health.alive(self.settings, time.monotonic() - self.started)

    async def deep_health_reply(self, headers: Mapping[str, str]) -> Reply:
        """Return deep health, for those who may call."""
        try:
            self.endpoint.check_place(headers)
            caller = await self.endpoint.admit(headers)
        except Refused as refusal:
            return refusal.reply
        except NotReady as problem:
            return error(503, UNAVAILABLE, problem.message, headers={"retry-after": f"{problem.retry_after:g}"})
        status, body = await self.deep_health.check(caller)
        return Reply(status, health.headers_of(body), write_json(body))

    @shared_property
    def deep_health(self) -> health.DeepHealth:
        return health.DeepHealth(
            self.settings,
            self.environment,
            self.endpoint,
            self.telemetry,
            lambda: self.statistics,
            self.instance,
            self.executor.get,
            OPERATOR,
        )

    def well_known(self, path: str) -> tuple[int, Mapping[str, Any]]:
        """Return a discovery document by its path below `/.well-known`."""
        from d365mcp.server.auth.discovery import well_known

        return well_known(self.settings, path)

    @shared_property
    def facade(self) -> "Facade":
        from d365mcp.server.auth.facade import Facade

        return Facade(self.settings, Lazy(self.load_entra, self.loading))

    def load_entra(self) -> "Entra":
        from d365mcp.server.auth.entra import Entra
        from d365mcp.server.auth.facade import authority_of

        return Entra(authority_of(self.settings))


def warn_of_settings(settings: Settings) -> None:
    """Log what the operator has to change, and what the operator may want to know."""
    log = logging.getLogger("d365mcp")
    for problem in settings.problems:
        log.error("%s", problem)
    for notice in settings.notices:
        log.warning("%s", notice)


application = Application(read_settings())
