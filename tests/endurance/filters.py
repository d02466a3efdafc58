"""Feeds the filter parser what coverage leads to, with atheris: by hand, and as long as one likes.

    pip install atheris==3.0.0              not among the development requirements: it is built for few Pythons
    python -m tests.endurance.filters                          three minutes
    python -m tests.endurance.filters -max_total_time=3600     an hour; every libFuzzer option goes

A filter is read or refused as InvalidArgument, quickly; what was read and written again reads the same.
"""

import sys
import tempfile
import time

import atheris

with atheris.instrument_imports():
    from d365mcp.d365.filters.parse import parse_filter
    from d365mcp.d365.filters.tree import Expression, filter_text

from d365mcp.errors import InvalidArgument

SECONDS = 1.0
OPTIONS = ["-max_total_time=180", "-max_len=200", "-rss_limit_mb=1000", f"-artifact_prefix={tempfile.gettempdir()}/"]
# What a byte stands for in every second filter: words of the language, and what letters they are made of.
WORDS = (
    *" ()',/-.:*_+<>=!$@[]\"\x00\u00e9", *"0123456789", *"aAbBeEnNoOrRtTxXzZ",
    " eq ", " ne ", " has ", " in (", " and ", " or ", "not ", " add ", " mul ", " divby ", "contains(", "null", "true",
    "Name", "dataAreaId", "Group/Id", "NoYes'Yes'", "'usmf'", "''", "1e5", "-1.50", "2026-07-14", "T08:30:00Z", "08:30:00",
    "0f8fad5b-d9cb-469f-a165-70867728950e", "datetime'", "/any(l: ", "1m", "(" * 20, ")" * 20, "- " * 20, " add 1" * 20,
)  # fmt: skip


def text_of(data: bytes) -> str:
    if data[:1] < b"\x80":
        return data[1:].decode("utf-8", "surrogateescape")
    return "".join(WORDS[byte % len(WORDS)] for byte in data[1:])


def one(data: bytes) -> None:
    text = text_of(data)
    began = time.process_time()
    try:
        tree = parse_filter(text)
    except InvalidArgument as refused:
        if not refused.message:
            raise AssertionError("refused without a word") from refused
    else:
        check_written(tree)
    if time.process_time() - began > SECONDS:
        raise AssertionError("read too slowly")


def check_written(tree: Expression) -> None:
    written = filter_text(tree)
    try:
        again = parse_filter(written)
    except InvalidArgument as refused:
        if "nested deeper" not in refused.message:  # the parentheses of `not` may make it deeper than it came
            raise
    else:
        if again != tree:
            raise AssertionError(f"written as {written!r}, which reads differently")


if __name__ == "__main__":
    if "--help" in sys.argv:
        sys.exit(__doc__)
    atheris.Setup([sys.argv[0], *OPTIONS, *sys.argv[1:]], one)
    atheris.Fuzz()
