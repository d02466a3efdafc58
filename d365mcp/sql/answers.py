"""What may be read for a statement, and what came of it."""

from dataclasses import dataclass, field

from d365mcp.sql.companies import CompaniesAsked
from d365mcp.sql.database import Rows
from d365mcp.sql.reading import Places
from d365mcp.sql.scans import ReadingPace


@dataclass(frozen=True)
class Limits:
    """How much may be read, and of which companies."""

    max_rows_scanned: int
    allow_partial: bool
    asked: CompaniesAsked
    places: Places = field(default_factory=Places)  # at F&O, of all statements
    pace: ReadingPace = ReadingPace()


@dataclass
class StatementAnswer:
    """What a statement returned, and what it took. `requests` are the OData requests, as people read them."""

    columns: tuple[str, ...] = ()
    rows: Rows = Rows()
    requests: list[str] = field(default_factory=list)
    rows_scanned: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)  # waited for F&O, and at work in the database
    companies: dict[str, str] = field(default_factory=dict)  # by entity set that has companies
    company: str = ""  # where it is the same one for all
    partial: bool = False
    notes: list[str] = field(default_factory=list)

    def count(self, entity_set: str, rows: int) -> None:
        self.rows_scanned[entity_set] = self.rows_scanned.get(entity_set, 0) + rows
