"""Every error a caller can meet, as one tree. Performs no I/O.

D365McpError
├── SettingsError             the operator has to set something
├── InvalidArgument         * the arguments are wrong
│   ├── UnknownName         * an entity, property, enumeration, … that does not exist; names the close ones
│   └── InvalidCursor       * a continuation cursor that is damaged, foreign or outdated
├── NotAllowed              * the operator's limits (read-only, toolsets, companies, allow-lists) forbid it
├── DeadlineExceeded          the request's time ran out on our side
├── Busy                      no permit became free in time
├── NotReady                  this server lacks what it needs for now: one of its packages, Entra's keys
├── StorageError              the shared storage did not do its part
├── TelemetryError            the statistics could not be read back
└── D365Error                 F&O, or the way to it
    ├── SignInFailed          no token for F&O could be had
    ├── Unreachable           no answer: DNS, connection, TLS, time-out
    ├── OutcomeUnknown        a write may or may not have reached F&O
    ├── InvalidAnswer         an answer that cannot be used: malformed, too large, too deep
    ├── BadRequest          * 400: F&O refused the request; its own messages are in `messages`
    ├── Unauthorized          401
    ├── Forbidden             403
    ├── NotFound            * 404
    ├── Conflict            * 409 or 412: the record changed meanwhile
    ├── Throttled             429
    └── Unavailable           5xx

* A caller's mistake.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from contextvars import ContextVar
from typing import Any, ClassVar

# Returns the tools that the caller is not offered: no hint names one.
hidden_tools: ContextVar[Callable[[], Set[str]]] = ContextVar("hidden_tools", default=frozenset)
SENTENCE_END = re.compile(r"(?<=[.!?]) ")
TOOL_NAME = re.compile(r"d365fo_\w+")


class D365McpError(Exception):
    """Base of all: a stable `code`, a message for people and models, and what to do about it.

    A `callers_mistake` is what the answer helps its caller to correct: statistics and alerts count it as no failure.
    """

    code: ClassVar[str] = "error"
    retryable: ClassVar[bool] = False
    callers_mistake: ClassVar[bool] = False

    def __init__(self, message: str, *, hint: str | None = None, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.retry_after = retry_after
        self.http_status: int | None = None
        self.activity_id: str | None = None

    def reword(self, message: str) -> None:
        """Say it in other words: one who caught it knows more."""
        self.message = message
        self.args = (message,)

    def describe(self) -> dict[str, Any]:
        """Return the one error shape every tool answers with; absent facts are left out."""
        facts = {
            "code": self.code,
            "message": self.message,
            "http_status": self.http_status,
            "activity_id": self.activity_id,
            "retryable": self.retryable,
            "retry_after": self.retry_after,
            "hint": possible(self.hint),
        }
        return {name: value for name, value in facts.items() if value is not None}


def possible(hint: str | None) -> str | None:
    """Return a hint without the sentences that name a tool which is not on offer."""
    hidden = hidden_tools.get()()
    sentences = SENTENCE_END.split(hint or "")
    return " ".join(each for each in sentences if hidden.isdisjoint(TOOL_NAME.findall(each))) or None


class SettingsError(D365McpError):
    """All that the operator has to correct, reported together."""

    code = "settings"

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("This server is not fully set up: " + " ".join(problems))
        self.problems = tuple(problems)


class InvalidArgument(D365McpError):
    code = "invalid_argument"
    callers_mistake = True


class UnknownName(InvalidArgument):
    """No such entity, property, …: says what was looked for, and which names come close."""

    code = "unknown_name"

    def __init__(self, kind: str, name: str, close: Sequence[str], *, hint: str | None = None) -> None:
        shortened = name if len(name) <= 80 else name[:77] + "…"
        message = f'No {kind} "{shortened}".' + (f" Did you mean {or_list(close)}?" if close else "")
        super().__init__(message, hint=hint)
        self.close = tuple(close)
        self.kind, self.name = kind, name


class InvalidCursor(InvalidArgument):
    code = "invalid_cursor"


class NotAllowed(D365McpError):
    code = "not_allowed"
    callers_mistake = True


# The way out when a request's time is up.
NARROWER = (
    "Ask for less at once: fewer rows, a narrower filter. X-MCP-Timeout asks for more time, MCP_REQUEST_TIMEOUT sets what "
    "is usual, and host.json's functionTimeout the limit."
)


class DeadlineExceeded(D365McpError):
    code = "deadline_exceeded"
    retryable = True


class Busy(D365McpError):
    code = "busy"
    retryable = True


class NotReady(D365McpError):
    code = "unavailable"
    retryable = True


class StorageError(D365McpError):
    code = "storage"
    retryable = True


class TelemetryError(D365McpError):
    code = "telemetry"


class D365Error(D365McpError):
    """F&O refused or failed. `messages` are F&O's own words, to be treated as data."""

    code = "d365_error"

    def __init__(
        self,
        message: str,
        *,
        http_status: int | None = None,
        activity_id: str | None = None,
        messages: Sequence[str] = (),
        hint: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message, hint=hint, retry_after=retry_after)
        self.http_status = http_status
        self.activity_id = activity_id
        self.messages = tuple(messages)

    def describe(self) -> dict[str, Any]:
        facts = super().describe()
        return {**facts, "d365_messages": list(self.messages)} if self.messages else facts


class SignInFailed(D365Error):
    code = "sign_in_failed"


class Unreachable(D365Error):
    code = "unreachable"
    retryable = True


class OutcomeUnknown(D365Error):
    code = "outcome_unknown"
    # What F&O asked all requests to wait. The caller is not given it, for no wait makes the outcome known.
    asked_wait: float | None = None


class InvalidAnswer(D365Error):
    code = "invalid_answer"


class BadRequest(D365Error):
    code = "bad_request"
    callers_mistake = True


class Unauthorized(D365Error):
    code = "unauthorized"


class Forbidden(D365Error):
    code = "forbidden"


class NotFound(D365Error):
    code = "not_found"
    callers_mistake = True


class Conflict(D365Error):
    code = "conflict"
    callers_mistake = True


class Throttled(D365Error):
    code = "throttled"
    retryable = True


class Unavailable(D365Error):
    code = "unavailable"
    retryable = True


def close_names(name: str, candidates: Iterable[str], limit: int = 3, *, cutoff: float = 0.6) -> list[str]:
    """Return the candidates most like `name`, whatever their case, best first."""
    from difflib import get_close_matches  # seldom needed

    by_folded: Mapping[str, str] = {candidate.casefold(): candidate for candidate in candidates}
    return [by_folded[found] for found in get_close_matches(name.casefold()[:80], by_folded, limit, cutoff)]


def or_list(names: Sequence[str]) -> str:
    """Join names as a sentence does: `a`, `a or b`, `a, b or c`."""
    return ", ".join(names[:-1]) + " or " + names[-1] if len(names) > 1 else "".join(names)
