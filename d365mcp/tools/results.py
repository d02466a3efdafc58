"""Shapes what F&O returned for a reader with few tokens: no noise, whole rows up to a budget, CSV where it is denser.

Whatever leaves is written by `compact`: byte for byte as `JSON.stringify` writes what it reads there, for some hosts pass
on the text and the structure where the two differ; and with what people would not see marked, for a model reads it all the same.
"""

import csv
import io
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from itertools import islice
from types import MappingProxyType
from typing import Any

from d365mcp.d365.models import DataEntity
from d365mcp.tools.parameters import Format
from d365mcp.wire import json_text

Record = dict[str, Any]

# F&O has no null dates: an empty one is 1900-01-01, at noon for a Date, at midnight for a UtcDateTime.
EMPTY_DATES = frozenset({"1900-01-01T12:00:00Z", "1900-01-01T00:00:00Z"})
ETAG = "@odata.etag"
# What is never cut: records fit already, and a cursor goes on behind the last of them.
KEPT = frozenset({"notes", "records"})
# What a note that something is left out may take.
NOTE_CHARS = 150
# Beyond it JavaScript rounds whole numbers without a word: https://tc39.es/ecma262/#sec-number.max_safe_integer
MOST_EXACT = 2**53
NUMBERED = re.compile(r"0|[1-9][0-9]{0,9}")
EXPONENT = re.compile(r"[0-9]e[-+]?[0-9]", re.ASCII)
SCIENTIFIC = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"|-?[0-9.]++e[-+]?[0-9]++', re.ASCII)

# Control characters, what reorders text, what has no width, tags, selectors and halves of surrogate pairs.
UNSEEN = (
    "\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\u3164"
    "\ud800-\udfff\ufeff\uffa0\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
# Joiners belong into emoji and into words of many scripts: one, between two characters of these. Of variation
# selectors, the first after a character is one.
SEEN = f"[^\x00-\x7f{UNSEEN}\u200c\u200d]"
HIDDEN = re.compile(
    rf"[{UNSEEN}]|(?<!{SEEN})[\u200c\u200d]|[\u200c\u200d](?!{SEEN})|(?<=[\ufe00-\ufe0f])[\ufe00-\ufe0f]"
    r"|\\(?:u00([01][0-9a-f])|.)"  # in JSON, escapes: of control characters, and of all else
)
ESCAPED = {r"\b": 0x08, r"\f": 0x0C}
# Looked for first, because hardly a text has any of them.
SUSPECT = re.compile(f"[{UNSEEN}\u200c\u200d\ufe00-\ufe0f]")
SUSPECT_ESCAPES = (r"\u00", *ESCAPED)


def tidy(
    record: Mapping[str, Any],
    entity: DataEntity | None,
    *,
    keep_etag: bool = False,
    related: Mapping[str, DataEntity] = MappingProxyType({}),
) -> Record:
    """Drop OData's annotations, turn empty dates into null and dates into days, in expanded records too.

    `related` has the entities of expanded records by navigation property; without an entity, dates stay as they are.
    """
    dates = entity.dates if entity else ()
    return {
        name: day(value) if name in dates else tidy_value(value, related.get(name))
        for name, value in record.items()
        if "@odata." not in name or (keep_etag and name == ETAG)
    }


def tidy_value(value: Any, entity: DataEntity | None = None) -> Any:
    """Tidy a value, and the records in it, which are of `entity` where that is known."""
    if isinstance(value, str):
        return None if value in EMPTY_DATES else value
    if isinstance(value, dict):
        return tidy(value, entity)
    if isinstance(value, list):
        return [tidy_value(each, entity) for each in value]
    return value


def day(value: Any) -> Any:
    """Return a date without the noon that F&O writes with it."""
    shown = tidy_value(value)
    return shown.removesuffix("T12:00:00Z") if isinstance(shown, str) else shown


def chars(value: Any) -> int:
    """Return what a value costs in a result, in characters of compact JSON."""
    return len(compact(value))


def shortened(result: Mapping[str, Any], room: int) -> Mapping[str, Any]:
    """Return a result cut to so many characters: its longest lists and objects keep their beginning, and notes say so."""
    result = dict(result)
    cuttable = {name for name, value in result.items() if isinstance(value, list | dict) and name not in KEPT}
    while cuttable and (over := chars(result) - room) > 0:
        name = max(cuttable, key=lambda each: chars(result[each]))
        kept = beginning(result[name], chars(result[name]) - over - NOTE_CHARS)
        left_out = (
            f"{len(result[name]) - len(kept)} of {len(result[name])} {name} are left out to keep the answer short"
        )
        result |= {name: kept, "notes": [*result.get("notes", ()), left_out]}
        cuttable.remove(name)
    return result


def beginning(value: Any, room: int) -> Any:
    """Return as much of a list's or an object's beginning as has room."""
    kept = 0
    for each in value.items() if isinstance(value, dict) else value:
        room -= chars(each) + 1
        if room < 0:
            break
        kept += 1
    return dict(islice(value.items(), kept)) if isinstance(value, dict) else value[:kept]


def compact(value: Any) -> str:
    """Return a value as compact JSON, as JavaScript writes it, what cannot be seen in its texts as `\\u{202e}`."""
    text = json_text(for_javascript(value))
    if EXPONENT.search(text):
        text = SCIENTIFIC.sub(rewritten, text)
    escaped = "\\" in text and any(escape in text for escape in SUSPECT_ESCAPES)
    suspect = escaped or ("\x7f" in text if text.isascii() else SUSPECT.search(text))
    return HIDDEN.sub(marked, text) if suspect else text


def marked(found: re.Match[str]) -> str:
    """Return what stands for a hidden character in JSON; escapes of what can be seen stay."""
    text = found[0]
    if text[0] != "\\":
        return rf"\\u{{{ord(text):x}}}"
    code = int(found[1], 16) if found[1] else ESCAPED.get(text)
    return text if code is None else rf"\\u{{{code:x}}}"


def for_javascript(value: Any) -> Any:
    """Return a value that JavaScript reads without loss and writes as it stands: whole numbers it would round are texts,
    whole floats are whole numbers, and names that are numbers come first, as in its objects.

    https://tc39.es/ecma262/#sec-ordinaryownpropertykeys
    """
    if isinstance(value, str):  # as most are
        return value
    if isinstance(value, dict):
        members = {name: for_javascript(each) for name, each in value.items()}
        if not any(map(NUMBERED.match, members)):
            return members
        numbered = sorted((name for name in members if is_index(name)), key=int)
        return {name: members[name] for name in (*numbered, *members)}
    if isinstance(value, list | tuple):
        return [for_javascript(each) for each in value]
    if isinstance(value, float):
        return whole_or_text(value)
    if isinstance(value, int) and abs(value) > MOST_EXACT:
        return str(value)
    return value


def is_index(name: str) -> bool:
    return NUMBERED.fullmatch(name) is not None and int(name) < 2**32 - 1


def whole_or_text(value: float) -> Any:
    """Return a float as JavaScript writes it, where that is without exponent; one without end as text."""
    if value.is_integer() and abs(value) < 1e21:
        return int(value) if abs(value) <= MOST_EXACT else int(Decimal(repr(value)))
    return value if math.isfinite(value) else json_text(value)


def rewritten(found: re.Match[str]) -> str:
    """Return a number with an exponent as JavaScript writes it; texts, which may look like one, as they are."""
    if found[0][0] == '"':
        return found[0]
    number = repr(float(found[0]))
    if 1e-6 <= abs(float(number)) < 1:
        return f"{Decimal(number):f}"
    digits, exponent = number.split("e")
    return f"{digits}e{int(exponent):+d}"


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


def row_chars(record: Mapping[str, Any], format: Format) -> int:
    """Return what a record costs, as a line of CSV or with its comma, in characters of the result's JSON."""
    if format == "csv":
        return chars(",".join(str(csv_cell(value)) for value in record.values())) - 1
    return chars(record) + 1


def columns_of(records: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return every column that occurs, in the order of first appearance."""
    return list(dict.fromkeys(name for record in records for name in record))
