"""What an event looks like in Application Insights, as plain JSON values. Performs no I/O and knows no OpenCensus.

| event | stored as | named |
|---|---|---|
| `McpRequest` | dependency of type `MCP`, below the host's request | the tool, or the method where no tool was called |
| the first of a process | custom event as well | `mcp.cold_start` |
| `D365Exchange` | dependency of type `HTTP`, below its MCP request | method and path, without query |
| `CatalogRefreshed`, `StatisticsReset` | custom event | `mcp.catalog.refreshed`, `mcp.stats.reset` |
| `Audit`, and `Refusal` with the number of calls | custom event | `mcp.audit` |

Never a request: the host writes that one itself.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from d365mcp import __version__
from d365mcp.events import Audit, CatalogRefreshed, D365Exchange, Event, McpRequest, Refusal, StatisticsReset, Trace
from d365mcp.settings import Settings

Envelope = dict[str, Any]
_Texts = Mapping[str, str | None]

# Application Insights refuses items with longer ones:
# https://learn.microsoft.com/azure/azure-monitor/app/data-model-complete#dependency-telemetry
_LONGEST_NAME = 1024
_LONGEST_TEXT = 2048


@dataclass(frozen=True)
class Source:
    """Which server, on which instance, for which environment."""

    key: str
    role: str
    instance: str
    environment: str
    scheme: str

    @classmethod
    def of(cls, settings: Settings, key: str) -> "Source":
        address = urlsplit(settings.base_url)
        return cls(key, role(settings), settings.instance, address.netloc, address.scheme or "https")


def role(settings: Settings) -> str:
    """Return the name under which all instances of this server are stored."""
    return settings.site_name or "d365mcp"


def envelopes(event: Event, recorded_at: float, source: Source) -> Iterator[Envelope]:
    """Yield what is stored of an event, which was recorded at a time in seconds since 1970."""
    match event:
        case McpRequest():
            yield _mcp_request(event, source)
            if event.cold_start:
                yield _cold_start(event, source)
        case D365Exchange():
            yield _d365_exchange(event, source)
        case CatalogRefreshed():
            yield _catalog_refreshed(event, recorded_at, source)
        case Audit():
            yield _audit(event, recorded_at, source)
        case Refusal():
            yield _refusal(event, recorded_at, source)
        case StatisticsReset():
            yield _statistics_reset(event, source)


def _mcp_request(event: McpRequest, source: Source) -> Envelope:
    base = {
        "name": event.name[:_LONGEST_NAME],
        "type": "MCP",
        "target": source.role,
        "resultCode": event.error_code or event.outcome,
        "success": event.outcome == "ok",
    }
    properties = {
        "tool": event.name if event.toolset else None,
        "method": event.method,
        "toolset": event.toolset,
        "outcome": event.outcome,
        "error_code": event.error_code,
        "callers_mistake": "true" if event.callers_mistake else "false",
        "cold_start": "true" if event.cold_start else "false",
        "protocol_version": event.protocol_version,
        "client_name": event.client_name,
        "companies": str(event.companies),
        "invocation_id": event.invocation_id,
    }
    measurements = {
        "total_ms": event.duration_ms,
        "d365_ms": event.d365_ms,
        "d365_calls": event.d365_calls,
        "retries": event.retries,
        "throttles": event.throttles,
        "queue_ms": event.queue_ms,
        "rows": event.rows,
        "bytes": event.bytes,
        **event.measured,
    }
    return _dependency(event, source, base, properties, measurements)


def _d365_exchange(event: D365Exchange, source: Source) -> Envelope:
    base = {
        "name": f"{event.method} {event.path}"[:_LONGEST_NAME],
        "type": "HTTP",
        "target": event.host,
        "data": f"{source.scheme}://{event.host}{event.path}"[:_LONGEST_TEXT],
        "resultCode": str(event.status or 0),
        "success": event.status is not None and event.status < 400,
    }
    properties = {
        "attempt": str(event.attempt),
        "error": event.error,
        "ms-dyn-aid": event.activity_id,
        "x-ms-client-request-id": event.request_id,
    }
    measurements = {"total_ms": event.duration_ms, "held_ms": event.held_ms, "bytes": event.bytes}
    return _dependency(event, source, base, properties, measurements)


def _dependency(
    event: McpRequest | D365Exchange,
    source: Source,
    base: dict[str, Any],
    properties: _Texts,
    measurements: Mapping[str, float],
) -> Envelope:
    own = {"id": event.trace.span_id, "duration": _time_span(event.duration_ms)}
    return _envelope(
        source,
        "RemoteDependency",
        "RemoteDependencyData",
        event.started_at,
        _tags(event.trace.trace_id, event.trace.parent_id),
        {**base, **own, "properties": _texts(source, properties), "measurements": measurements},
    )


def _cold_start(event: McpRequest, source: Source) -> Envelope:
    properties = {"name": event.name, "method": event.method}
    return _custom_event(
        "mcp.cold_start", event.started_at, event.trace, source, properties, total_ms=event.duration_ms
    )


def _catalog_refreshed(event: CatalogRefreshed, recorded_at: float, source: Source) -> Envelope:
    properties = {"catalog_environment": event.environment, "outcome": event.outcome, "error": event.error}
    return _custom_event(
        "mcp.catalog.refreshed",
        recorded_at,
        None,
        source,
        properties,
        total_ms=event.duration_ms,
        entities=event.entities,
    )


def _audit(event: Audit, recorded_at: float, source: Source) -> Envelope:
    properties = {
        "caller": event.caller,
        "tool": event.tool,
        "entity": event.entity,
        "key_hash": event.key_hash,
        "outcome": event.outcome,
        "ms-dyn-aid": event.activity_id,
    }
    return _custom_event("mcp.audit", recorded_at, event.trace, source, properties, calls=1)


def _refusal(event: Refusal, recorded_at: float, source: Source) -> Envelope:
    properties = {"caller": "unknown", "outcome": event.reason}
    return _custom_event("mcp.audit", recorded_at, event.trace, source, properties, calls=event.calls)


def _statistics_reset(event: StatisticsReset, source: Source) -> Envelope:
    return _custom_event("mcp.stats.reset", event.reset_at, event.trace, source, {"caller": event.caller})


def _custom_event(
    name: str, at: float, trace: Trace | None, source: Source, properties: _Texts, **measurements: float
) -> Envelope:
    data = {"name": name, "properties": _texts(source, properties), "measurements": measurements}
    context = _tags(trace.trace_id, trace.span_id) if trace else {}
    return _envelope(source, "Event", "EventData", at, context, data)


def _envelope(
    source: Source, kind: str, base_type: str, at: float, context: dict[str, str], data: dict[str, Any]
) -> Envelope:
    return {
        "name": f"Microsoft.ApplicationInsights.{kind}",
        "time": _utc(at),
        "iKey": source.key,
        "tags": {
            "ai.cloud.role": source.role,
            "ai.cloud.roleInstance": source.instance,
            "ai.application.ver": __version__,
            **context,
        },
        "data": {"baseType": base_type, "baseData": {"ver": 2, **data}},
    }


def _tags(trace_id: str, parent_id: str | None) -> dict[str, str]:
    """Return what ties an item to the host's request and to the items of one operation."""
    found = {"ai.operation.id": trace_id}
    return {**found, "ai.operation.parentId": parent_id} if parent_id else found


def _texts(source: Source, properties: _Texts) -> dict[str, str]:
    """Return the custom dimensions: those that say something, cut to what is stored, and where they come from."""
    known = {name: value[:_LONGEST_TEXT] for name, value in properties.items() if value}
    known["instance"], known["environment"] = source.instance, source.environment
    return known


def _utc(instant: float) -> str:
    return datetime.fromtimestamp(instant, UTC).isoformat(timespec="microseconds")[:-6] + "Z"


def _time_span(milliseconds: float) -> str:
    """Return a duration as .NET writes it, `d.hh:mm:ss.ffffff`."""
    seconds, microseconds = divmod(round(milliseconds * 1000), 1_000_000)
    minutes, second = divmod(seconds, 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    return f"{days}.{hour:02}:{minute:02}:{second:02}.{microseconds:06}"
