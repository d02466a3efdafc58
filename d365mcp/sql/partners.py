"""What the scans of a statement learn of each other while they are read: the values that others have to share."""

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress

from d365mcp.errors import or_list
from d365mcp.sql.database import Database
from d365mcp.sql.plan import Scan
from d365mcp.sql.semi_joins import MOST_VALUES, Partner, ValueFilters, narrowness, reading_order, value_filters

# So long after the statement began a scan is read whatever others may come to: then all of them are read at once.
_PATIENCE_SECONDS = 1.0


class Partners:
    """The scans of one statement. A scan is settled when it is read, or known to have several pages."""

    def __init__(self, database: Database, scans: Sequence[Scan]) -> None:
        self._database = database
        self._entity_sets = {scan.name: scan.entity.entity_set for scan in scans}
        self._settled = {scan.name: asyncio.Event() for scan in scans}
        self._whole: set[str] = set()
        self._values: dict[tuple[str, str], list[str] | None] = {}
        self._until = time.monotonic() + _PATIENCE_SECONDS
        self._before = reading_order(
            {scan.name: narrowness(scan.filter, scan.entity) for scan in scans},
            {scan.name: scan.partners for scan in scans},
        )

    def settle(self, scan: Scan, *, is_whole: bool = False) -> None:
        """Say that a scan has several pages, or that it is read."""
        self._settled[scan.name].set()
        if is_whole:
            self._whole.add(scan.name)

    async def wait_for_narrower(self, scan: Scan) -> None:
        """Wait for the partners that are much narrower, for a short time."""
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, self._until - time.monotonic())):
                for name in self._before[scan.name]:
                    await self._settled[name].wait()

    async def wait_for_all(self, scan: Scan) -> None:
        """Wait until every partner is settled."""
        for partner in scan.partners:
            await self._settled[partner.scan].wait()

    async def value_filters(self, scan: Scan, taken: int) -> list[ValueFilters]:
        """Return ways to ask only for the records that have a partner, the fewest requests first."""
        known = {
            partner: values
            for partner in scan.partners
            if partner.scan in self._whole and (values := await self._values_of(partner)) is not None
        }
        return sorted(value_filters(known, taken), key=lambda each: len(each.texts))

    async def _values_of(self, partner: Partner) -> list[str] | None:
        """Return the values that a partner has, None where they are too many, or one is no value."""
        place = (partner.scan, partner.its_column)
        if place not in self._values:
            self._values[place] = await self._database.values_of(*place, most=MOST_VALUES)
        return self._values[place]

    def note(self, scan: Scan, found: ValueFilters) -> str:
        """Return what a reader should know of a scan that was read by its partners' values."""
        name = scan.entity.entity_set
        if not found.texts:
            others = sorted({self._entity_sets[partner.scan] for partner in found.values})
            return f"{name}: not read, for no record of {or_list(others)} needs one"
        chosen = [
            f"{partner.column} is one of the {count:,} {partner.its_column} of {self._entity_sets[partner.scan]}"
            for partner, count in found.values.items()
        ]
        return f"{name}: read only where {' and '.join(chosen)}"
