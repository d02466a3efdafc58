"""What one request may use, and how it wants its results: the operator's settings, narrowed by roles and headers. Pure."""

import re
from collections.abc import Mapping
from typing import NamedTuple

from d365mcp.errors import InvalidArgument
from d365mcp.events import Caller
from d365mcp.server.auth.roles import WRITE, leaves_d365_alone, role_for
from d365mcp.settings import (
    LEAST_RESULT_CHARS,
    MOST_RESULT_CHARS,
    RESULT_FORMS,
    SIGNING_IN,
    TOOLSETS,
    Settings,
)
from d365mcp.settings.parsing import flag

TOOLSETS_HEADER = "x-mcp-toolsets"
READ_ONLY_HEADER = "x-mcp-readonly"
RESULT_CHARS_HEADER = "x-mcp-max-result-chars"
RESULT_FORM_HEADER = "x-mcp-result-form"
TIMEOUT_HEADER = "x-mcp-timeout"
SECONDS = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,9})?")
OWN_HEADERS = frozenset({TOOLSETS_HEADER, READ_ONLY_HEADER, RESULT_CHARS_HEADER, RESULT_FORM_HEADER, TIMEOUT_HEADER})


class Access(NamedTuple):
    """What one request may use, and how it wants its results: the operator's settings, the caller's roles, its headers."""

    caller: Caller
    toolsets: frozenset[str]
    read_only: bool
    private: bool = False  # whether another caller's answers may differ
    asked_to_read: bool = False  # whether the request itself wants nothing but reading
    result_chars: int = 20_000
    structured: bool = True  # whether results come as structure beside their text
    seconds: float = 45.0  # the time it has; the host may leave less

    @property
    def may_write(self) -> bool:
        """Return whether anything may be changed in F&O: by the operator, the request and the caller's roles."""
        return not self.read_only and WRITE in self.caller.roles

    def allows(self, toolset: str, *, read_only: bool) -> bool:
        """Return whether a tool may be seen and called."""
        return self.offers(toolset, read_only=read_only) and role_for(toolset, read_only=read_only) in self.caller.roles

    def lacking(self, toolset: str, *, read_only: bool) -> str | None:
        """Return the role without which the caller may not use a tool that is on offer."""
        role = role_for(toolset, read_only=read_only)
        return role if self.offers(toolset, read_only=read_only) and role not in self.caller.roles else None

    def offers(self, toolset: str, *, read_only: bool) -> bool:
        """Return whether the operator and the request leave a tool in; MCP_READ_ONLY is about F&O alone."""
        harmless = leaves_d365_alone(toolset) and not self.asked_to_read
        return toolset in self.toolsets and (read_only or harmless or not self.read_only)


def usual_access(settings: Settings, caller: Caller) -> Access:
    """Return what a caller may use, where their request does not narrow it."""
    return Access(
        caller,
        settings.offered_toolsets,
        settings.read_only,
        settings.mcp_auth in SIGNING_IN,
        result_chars=settings.max_result_chars,
        structured=settings.result_form == "both",
        seconds=settings.deadline_seconds,
    )


def narrowed_access(access: Access, headers: Mapping[str, str]) -> Access:
    """Return a caller's access as one request narrows and shapes it. Raises InvalidArgument for what a header must not say."""
    if OWN_HEADERS.isdisjoint(headers):
        return access
    wanted = [name.strip().lower() for name in headers.get(TOOLSETS_HEADER, "").split(",") if name.strip()]
    if unknown := [name for name in wanted if name not in (*TOOLSETS, "all")]:
        raise InvalidArgument(
            f"{TOOLSETS_HEADER} does not know {', '.join(unknown)[:100]}: there are {', '.join(TOOLSETS)}."
        )
    narrowing = bool(wanted) and "all" not in wanted
    only_reading = _wants_only_reading(headers.get(READ_ONLY_HEADER, ""))
    return Access(
        caller=access.caller,
        toolsets=access.toolsets & frozenset(wanted) if narrowing else access.toolsets,
        read_only=access.read_only or only_reading,
        private=access.private or narrowing or only_reading,
        asked_to_read=only_reading,
        result_chars=result_chars(headers.get(RESULT_CHARS_HEADER, "")) or access.result_chars,
        structured=_result_form(headers.get(RESULT_FORM_HEADER, ""), access.structured),
        seconds=seconds(headers.get(TIMEOUT_HEADER, "")) or access.seconds,
    )


def seconds(value: str) -> float | None:
    """Return the time asked for, at least a second; None where none is."""
    said = value.strip()
    if said and not SECONDS.fullmatch(said):
        raise InvalidArgument(f"{TIMEOUT_HEADER} must be a number of seconds.")
    return max(1.0, float(said)) if said else None


def result_chars(value: str) -> int | None:
    """Return the number of characters asked for, brought into the bounds of the setting; None where none is."""
    said = value.strip()
    if said and not (said.isascii() and said.isdecimal()):
        raise InvalidArgument(f"{RESULT_CHARS_HEADER} must be a whole number.")
    return min(max(int(said[:9]), LEAST_RESULT_CHARS), MOST_RESULT_CHARS) if said else None


def _result_form(value: str, usual: bool) -> bool:
    """Return whether results come as structure, too."""
    said = value.strip().lower()
    if said and said not in RESULT_FORMS:
        raise InvalidArgument(f"{RESULT_FORM_HEADER} must be {' or '.join(RESULT_FORMS)}.")
    return said == "both" if said else usual


def _wants_only_reading(value: str) -> bool:
    """Return what the header says. Raises InvalidArgument for what is neither yes nor no: it is to keep from writing."""
    try:
        return bool(value.strip()) and flag(value.strip())
    except ValueError as problem:
        raise InvalidArgument(f"{READ_ONLY_HEADER} {problem}.") from None
