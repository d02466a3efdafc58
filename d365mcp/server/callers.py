"""Who calls, and what of this server they may use in this request. Knows HTTP headers, no MCP."""

from collections.abc import Mapping
from dataclasses import dataclass

from d365mcp.errors import InvalidArgument
from d365mcp.events import Caller
from d365mcp.settings import TOOLSETS, Settings

TOOLSETS_HEADER = "x-mcp-toolsets"
READ_ONLY_HEADER = "x-mcp-readonly"


@dataclass(frozen=True)
class Access:
    """What one request may use: the operator's settings, narrowed by its own headers, never widened."""

    caller: Caller
    toolsets: frozenset[str]
    read_only: bool
    narrowed: bool = False

    def allows(self, toolset: str, *, read_only: bool) -> bool:
        """Return whether a tool may be seen and called; statistics and the catalog's request leave F&O alone."""
        harmless = toolset in ("performance", "admin")
        return toolset in self.toolsets and (read_only or harmless or not self.read_only)


def identify(headers: Mapping[str, str], settings: Settings) -> Caller:
    """Return the caller. With function keys the host has checked the key; it does not tell whose it is."""
    return Caller("function key" if settings.mcp_auth == "function_key" else "anonymous")


def access_of(headers: Mapping[str, str], settings: Settings) -> Access:
    """Return what a request may use. Raises InvalidArgument for toolsets that do not exist."""
    if TOOLSETS_HEADER not in headers and READ_ONLY_HEADER not in headers:
        return Access(identify(headers, settings), settings.offered_toolsets, settings.read_only)
    wanted = [name.strip().lower() for name in headers.get(TOOLSETS_HEADER, "").split(",") if name.strip()]
    if unknown := [name for name in wanted if name not in (*TOOLSETS, "all")]:
        raise InvalidArgument(
            f"{TOOLSETS_HEADER} does not know {', '.join(unknown)[:100]}: there are {', '.join(TOOLSETS)}."
        )
    narrowing = bool(wanted) and "all" not in wanted
    offered = settings.offered_toolsets
    only_reading = headers.get(READ_ONLY_HEADER, "").lower() in ("true", "1")
    return Access(
        caller=identify(headers, settings),
        toolsets=offered & frozenset(wanted) if narrowing else offered,
        read_only=settings.read_only or only_reading,
        narrowed=narrowing or (only_reading and not settings.read_only),
    )
