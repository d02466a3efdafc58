"""Calls tools: what may be called, with which arguments, within the request's time. Knows no protocol."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from d365mcp.errors import (
    NARROWER,
    D365McpError,
    DeadlineExceeded,
    InvalidArgument,
    NotAllowed,
    OutcomeUnknown,
    SettingsError,
    hidden_tools,
)
from d365mcp.events import Caller, Ending, Listener, Operation, Outcome, current_operation
from d365mcp.server.auth.access import READ_ONLY_HEADER, TOOLSETS_HEADER, Access
from d365mcp.server.auth.roles import leaves_d365_alone
from d365mcp.server.messages import MAX_BODY_BYTES
from d365mcp.settings import Settings
from d365mcp.tools.policy import emit_audit, target_of
from d365mcp.tools.results import compact, shortened
from d365mcp.tools.tool import Attached, Attachment, Tool, ToolContext

log = logging.getLogger(__name__)

T = TypeVar("T")
# From the caller's access and the client's capabilities.
MakeContext = Callable[[Access, Mapping[str, Any]], ToolContext]

# Tools keep to MCP_MAX_RESULT_CHARS. This bound is for an answer that none of them foresaw.
MAX_CHARS = MAX_BODY_BYTES


@dataclass(frozen=True)
class CallOutcome:
    """What a call came to: its text, which is its structured content too where that is wanted, and its files."""

    text: str
    succeeded: bool = False
    structured: bool = False  # whether its text goes along as structure
    files: tuple[Attachment, ...] = ()
    ending: Ending = Ending()


@dataclass(frozen=True)
class ToolExecutor:
    """Calls tools: what may be called, with which arguments, within the request's time."""

    settings: Settings
    tools: Mapping[str, Tool]
    make_context: MakeContext
    emit: Listener

    def offered(self, access: Access) -> list[str]:
        """Return the names of the tools that a request may use."""
        return [name for name, tool in self.tools.items() if access.allows(tool.toolset, read_only=tool.read_only)]

    def hidden(self, access: Access) -> Set[str]:
        return self.tools.keys() - self.offered(access)

    async def execute(
        self, name: str, arguments: Mapping[str, Any], access: Access, capabilities: Mapping[str, Any]
    ) -> CallOutcome:
        """Call a tool; a mistake of the caller's comes back as a result that explains it."""
        tool = self.tools[name]
        hidden_tools.set(lambda: self.hidden(access))
        try:
            result = await self.run(tool, arguments, access, capabilities)
        except NotAllowed as problem:
            self.audit_refusal(name, arguments, access.caller, problem.code)
            return failed_call(problem)
        except D365McpError as problem:
            return failed_call(problem)
        except Exception:  # a bug of ours: the trace is for the log, not for the model
            log.exception("The tool %s failed.", name)
            if _has_written():
                return failed_call(_cut_short(f"{name} failed on the server after a write was sent"))
            message = f"{name} failed on the server; the failure was logged. The same call will fail again."
            text = compact({"code": "internal", "message": message, "retryable": False})
            return CallOutcome(text, ending=Ending("tool_error", "internal"))
        content = result.content if isinstance(result, Attached) else tool.arranged(result)
        text = compact(content)
        if len(text) > MAX_CHARS:
            return failed_call(_too_long(name, len(text)))
        if tool.read_only and len(text) > access.result_chars:
            text = compact(tool.arranged(shortened(content, access.result_chars)))
        files = (result.attachment,) if isinstance(result, Attached) else ()
        return CallOutcome(text, True, access.structured, files)

    def audit_refusal(self, name: str, arguments: Any, caller: Caller, reason: str) -> None:
        """Record in the audit a call that was refused: on what, as far as the arguments say it."""
        entity, key = target_of(arguments)
        emit_audit(self.emit, caller, name, entity, key, reason)

    async def run(
        self, tool: Tool, arguments: Mapping[str, Any], access: Access, capabilities: Mapping[str, Any]
    ) -> Mapping[str, Any] | Attached:
        def work(context: ToolContext) -> Awaitable[Mapping[str, Any] | Attached]:
            return tool.function(context, **tool.check(arguments))

        return await self.within(tool, access, capabilities, work)

    async def within(
        self, tool: Tool, access: Access, capabilities: Mapping[str, Any], work: Callable[[ToolContext], Awaitable[T]]
    ) -> T:
        """Do a tool's work, or what stands on it, where the tool is on offer, within the request's time."""
        _refuse_hidden(tool, access, self.settings)
        if self.settings.problems:
            raise SettingsError(self.settings.problems)
        operation = current_operation()
        try:
            async with asyncio.timeout(operation.remaining() if operation else None) as timer:
                with _put_off(timer, operation):
                    return await work(self.make_context(access, capabilities))
        except TimeoutError:
            if _has_written():
                raise _cut_short("the call's time ran out after a write was sent") from None
            raise _ran_out_of_time(access.seconds) from None


def failed_call(problem: D365McpError) -> CallOutcome:
    """Return a failed call. Its shape is not the tool's output schema, so it goes as text alone."""
    outcome: Outcome = "tool_error"
    if isinstance(problem, DeadlineExceeded):
        outcome = "timeout"
    elif isinstance(problem, NotAllowed):
        outcome = "refused"
    return CallOutcome(compact(problem.describe()), ending=Ending(outcome, problem.code, problem.callers_mistake))


def _refuse_hidden(tool: Tool, access: Access, settings: Settings) -> None:
    """Raise NotAllowed for a tool that this request does not see, naming what hides it."""
    if tool.toolset not in access.toolsets:
        where = "MCP_TOOLSETS" if tool.toolset not in settings.toolsets else f"this request's {TOOLSETS_HEADER} header"
        raise NotAllowed(f"{tool.name} is not on offer: {where} leaves out the toolset {tool.toolset}.")
    if role := access.lacking(tool.toolset, read_only=tool.read_only):
        raise NotAllowed(f"{tool.name} needs the role {role}, which you do not hold: an administrator assigns it.")
    if not access.allows(tool.toolset, read_only=tool.read_only):
        by_operator = settings.read_only and not leaves_d365_alone(tool.toolset)
        where = "MCP_READ_ONLY is not false" if by_operator else f"this request's {READ_ONLY_HEADER} header is true"
        raise NotAllowed(f"{tool.name} does not only read, and only reading is allowed: {where}.")


def _too_long(name: str, chars: int) -> InvalidArgument:
    return InvalidArgument(
        f"{name} has done its work, but its answer has {chars:,} characters; {MAX_CHARS:,} is the most.",
        hint="Ask for less at once: fewer properties, rows or names.",
    )


def _ran_out_of_time(seconds: float) -> DeadlineExceeded:
    return DeadlineExceeded(f"The call did not finish within {seconds:g} seconds.", hint=NARROWER)


@contextmanager
def _put_off(timer: asyncio.Timeout, operation: Operation | None) -> Iterator[None]:
    """Let a write that is sent put off the end of its call."""
    if operation:
        operation.timer = timer
    try:
        yield
    finally:
        if operation:
            operation.timer = None


def _has_written() -> bool:
    operation = current_operation()
    return operation is not None and operation.has_written


def _cut_short(why: str) -> OutcomeUnknown:
    """Return the error for a call that ended with a write under way, or done and not message yet."""
    hint = "Look for the change before trying again."
    return OutcomeUnknown(f"It is unknown whether F&O did this: {why}. It was not tried again.", hint=hint)


def by_name(tools: Sequence[Tool]) -> dict[str, Tool]:
    return {tool.name: tool for tool in tools}
