"""Asks for a new catalog snapshot, and says how its building goes. The work itself is a timer's."""

import datetime
from typing import TYPE_CHECKING

from typing_extensions import TypedDict

from d365mcp.tools.policy import audited
from d365mcp.tools.tool import ToolContext

if TYPE_CHECKING:
    from d365mcp.metadata.store import Progress


class SyncResult(TypedDict, total=False):
    state: str
    stage: str
    done: int
    total: int
    asked_at: str
    started_at: str
    updated_at: str
    error: str
    left_out: str
    notes: list[str]
    catalog: dict[str, object]


async def sync_metadata(context: ToolContext) -> SyncResult:
    """Ask for a rebuild of the metadata catalog; it happens in the background, within some five minutes."""
    async with audited(context, "d365fo_sync_metadata", None):
        await context.catalog.ask_for_build(context.caller.name)
    result = await get_sync_progress(context)
    result["notes"] = ["asked for: d365fo_get_sync_progress tells how it goes"]
    if not context.settings.has_shared_storage:
        result["notes"].append("no timer runs without shared storage: python -m d365mcp catalog build does it now")
    return result


async def get_sync_progress(context: ToolContext) -> SyncResult:
    """How the metadata catalog's last rebuild goes or went, on whichever instance."""
    progress, asked_at = await context.catalog.build_progress()
    result = SyncResult(state="never built") if progress is None else _result_of(progress)
    if asked_at:
        result["asked_at"] = _timestamp(asked_at)
    result["catalog"] = context.catalog.source().describe()
    return result


def _result_of(progress: "Progress") -> SyncResult:
    result = SyncResult(state=progress.state)
    if progress.stage:
        result["stage"], result["done"] = progress.stage, progress.done
    if progress.total is not None:
        result["total"] = progress.total
    if progress.error:
        result["error"] = progress.error
    if progress.left_out:
        result["left_out"] = progress.left_out
    result["started_at"], result["updated_at"] = _timestamp(progress.started_at), _timestamp(progress.updated_at)
    return result


def _timestamp(seconds: float) -> str:
    return f"{datetime.datetime.fromtimestamp(seconds, datetime.UTC):%Y-%m-%dT%H:%M:%SZ}"
