"""Shapes what F&O returned for a reader with few tokens: no noise, whole rows up to a budget, CSV where it is denser."""

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Record = dict[str, Any]

# F&O has no null dates: an empty one is 1900-01-01, at noon for a Date, at midnight for a UtcDateTime.
EMPTY_DATES = frozenset({"1900-01-01T12:00:00Z", "1900-01-01T00:00:00Z"})
ETAG = "@odata.etag"
COMPACT = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False)


def tidy(record: Mapping[str, Any], *, keep_etag: bool = False) -> Record:
    """Drop OData's annotations and turn empty dates into null, in expanded records too."""
    return {
        name: tidy_value(value)
        for name, value in record.items()
        if "@odata." not in name or (keep_etag and name == ETAG)
    }


def tidy_value(value: Any) -> Any:
    if isinstance(value, str):
        return None if value in EMPTY_DATES else value
    if isinstance(value, dict):
        return tidy(value)
    if isinstance(value, list):
        return [tidy_value(each) for each in value]
    return value


def chars(value: Any) -> int:
    """Return what a value costs in a result, in characters of compact JSON."""
    return len(compact(value))


def compact(value: Any) -> str:
    return COMPACT.encode(value)


def to_csv(records: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> str:
    """Return records as CSV (RFC 4180) with a header line; nested values as compact JSON."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([csv_cell(record.get(column)) for column in columns] for record in records)
    return out.getvalue()


def csv_cell(value: Any) -> Any:
    if isinstance(value, dict | list):
        return compact(value)
    return str(value).lower() if isinstance(value, bool) else value


def columns_of(records: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return every column that occurs, in the order of first appearance."""
    return list(dict.fromkeys(name for record in records for name in record))
