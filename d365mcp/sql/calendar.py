"""Dates and times as statements write them, and the spans they begin. Pure."""

import datetime
import re

EMPTY_DAY = datetime.date(1900, 1, 1)  # what F&O stores where others have no date
UNITS = ("day", "week", "month", "quarter", "year")
DATE = re.compile(r"\s*(\d{4})[-/](\d{1,2})[-/](\d{1,2})\s*", re.ASCII)
TIME = re.compile(
    r"(?P<day>\s*\d{4}[-/]\d{1,2}[-/]\d{1,2})[T ]+(?P<hour>\d{1,2}):(?P<minute>\d\d)(:(?P<second>\d\d)(?P<part>\.\d+)?)?\s*"
    r"(?P<zone>Z|[+-]\d\d(:?\d\d)?)?\s*",
    re.ASCII | re.IGNORECASE,
)


def read_date(text: str) -> datetime.date | None:
    """Return the date or, in UTC and without a zone, the time that a text is; None for another text."""
    try:
        if day := DATE.fullmatch(text):
            return datetime.date(*map(int, day.groups()))
        if (time := TIME.fullmatch(text)) and (date := read_date(time["day"])):
            part = round(float(time["part"] or 0) * 1_000_000)
            timed = datetime.datetime.combine(
                date, datetime.time(int(time["hour"]), int(time["minute"]), int(time["second"] or 0))
            )
            return timed + datetime.timedelta(microseconds=part) - _offset(time["zone"] or "Z")
    except (ValueError, OverflowError):
        return None
    return None


def _offset(zone: str) -> datetime.timedelta:
    if zone in "Zz":
        return datetime.timedelta()
    digits = zone[1:].replace(":", "").ljust(4, "0")
    return (1 if zone[0] == "+" else -1) * datetime.timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))


def without_zone(date: datetime.date) -> datetime.date:
    """Return a time without its zone, in UTC; a date as it is."""
    if isinstance(date, datetime.datetime) and date.tzinfo is not None:
        return date.astimezone(datetime.UTC).replace(tzinfo=None)
    return date


def truncated(time: datetime.datetime, unit: str) -> datetime.datetime:
    """Return the beginning of the unit a time lies in."""
    if unit == "second":
        return time.replace(microsecond=0)
    day = datetime.datetime.combine(time.date(), datetime.time())
    match unit:
        case "week":
            return day - datetime.timedelta(days=day.weekday())
        case "month":
            return day.replace(day=1)
        case "quarter":
            return day.replace(month=day.month - (day.month - 1) % 3, day=1)
        case "year":
            return day.replace(month=1, day=1)
    return day


def first_after(start: datetime.datetime, unit: str) -> datetime.datetime:
    """Return the beginning of the unit after the one that begins at `start`. Raises OverflowError and ValueError."""
    match unit:
        case "day" | "week":
            return start + datetime.timedelta(days=7 if unit == "week" else 1)
        case "month" | "quarter":
            month = start.month + (3 if unit == "quarter" else 1)
            return start.replace(year=start.year + (month - 1) // 12, month=(month - 1) % 12 + 1)
    return start.replace(year=start.year + 1)
