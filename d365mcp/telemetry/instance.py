"""What this one process is doing right now, beside the statistics of all. Knows the standard library alone."""

import mmap
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from d365mcp.telemetry.exporter import Backlog

_STATM = Path("/proc/self/statm")


@dataclass(frozen=True)
class InstanceFacts:
    """This instance at one instant. `connection_pool` is active, idle, acquired, errors; `ages` are seconds, by cache."""

    instance: str
    uptime_seconds: float
    in_flight: int
    tool_permits: int
    tasks: int
    telemetry: Backlog
    memory_mb: float | None = None
    connection_pool: Mapping[str, int] = field(default_factory=dict)
    ages: Mapping[str, float] = field(default_factory=dict)

    def describe(self) -> dict[str, Any]:
        return asdict(self)


def memory_mb() -> float | None:
    """Return the memory this process holds; None where the system does not say it in Linux's way."""
    try:
        pages = int(_STATM.read_text(encoding="ascii").split()[1])
    except OSError:
        return None
    return round(pages * mmap.PAGESIZE / 1_048_576, 1)
