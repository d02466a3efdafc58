"""JSON read and written, and bodies read within bounds. Knows no HTTP and no tool."""

import json
import re
import sys
from codecs import BOM_UTF8
from collections.abc import AsyncIterable
from io import BytesIO
from typing import Any

from jiter import from_json

MAX_DEPTH = 100
# Nothing of F&O's comes near: a page has 10,000 records.
MAX_VALUES = 3_000_000
# A caller's 4 MiB full of small values would take seconds to check, on the event loop, and 100 MB.
MAX_CALLER_VALUES = 150_000
# A list or an object takes as much memory as so many other values.
CONTAINER_VALUES = 10
# json's decoder lets no other thread run before it is done: 300 ms for 32 MiB, even in a thread of its own.
LONG_BYTES = 256 * 1024
_AS_LISTS = bytes.maketrans(b"{}", b"[]")
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_TEXT = re.compile(rb'"[^"]*"')
_BLANKS = re.compile(r"[ \t\n\r]*")
_SURROGATE = re.compile("[\ud800-\udfff]")
_ENCODER = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False)


class TooDeep(ValueError):
    """JSON is nested more than MAX_DEPTH levels."""


class TooManyValues(ValueError):
    """JSON has more values than memory should hold."""


class TooLarge(ValueError):
    """A body has more bytes than it may have."""


def read_json(document: bytes | str) -> Any:
    """Return the value of JSON from F&O, another service or a store. Raises ValueError, TooDeep or TooManyValues.

    Half of a surrogate pair is taken: F&O's texts have it. Of two members of one name the last counts.
    """
    document = document.encode(errors="surrogatepass") if isinstance(document, str) else document
    is_deep = _check_structure(document, MAX_VALUES)
    text = document.decode(json.detect_encoding(document), errors="surrogatepass")
    try:
        found = _in_pieces(text) if len(document) > LONG_BYTES and text.lstrip()[:1] == "{" else _DECODER.decode(text)
    except RecursionError:
        raise TooDeep from None
    if is_deep:
        raise TooDeep
    return found


def read_caller_json(document: bytes | str) -> Any:
    """Return the value of a caller's JSON in UTF-8. Raises ValueError, saying what is wrong and where.

    What parsers disagree on is refused too, for a gateway may have read it in another way: the same name twice in one
    object, NaN, half of a surrogate pair. Texts are not cached: they are the caller's.
    """
    document = document.encode() if isinstance(document, str) else document.removeprefix(BOM_UTF8)
    is_deep = _check_structure(document, MAX_CALLER_VALUES)
    try:
        found = from_json(document, allow_inf_nan=False, catch_duplicate_keys=True, cache_mode="keys")
    except ValueError as problem:
        if is_deep and str(problem).startswith("recursion limit exceeded"):
            raise TooDeep from None
        raise
    if is_deep:
        raise TooDeep
    return found


def json_text(value: Any) -> str:
    """Return compact JSON as text, which may have half of a surrogate pair.

    The tools' library writes rows in a quarter of the time. Importing it for this alone would cost a cold start 40 ms.
    """
    if to_json := getattr(sys.modules.get("pydantic_core"), "to_json", None):
        try:
            return str(to_json(value), "utf-8")
        except ValueError:  # half of a surrogate pair, or nested deeper than it follows
            pass
    return _ENCODER.encode(value)


def write_json(value: Any) -> bytes:
    """Return compact JSON in UTF-8, which every reader takes: half of a surrogate pair becomes U+FFFD."""
    text = json_text(value)
    try:
        return text.encode()
    except UnicodeEncodeError:
        return _SURROGATE.sub("\ufffd", text).encode()


async def read_bounded(chunks: AsyncIterable[bytes], max_bytes: int) -> bytes:
    """Return a body that comes in chunks. Raises TooLarge as soon as it has more than `max_bytes`."""
    body = BytesIO()
    async for chunk in chunks:
        body.write(chunk)
        if body.tell() > max_bytes:
            raise TooLarge(f"more than {max_bytes} bytes")
    return body.getvalue()


def brackets_of(document: bytes) -> bytes:
    """Return the brackets of JSON, all of them as those of lists."""
    return document.translate(_AS_LISTS, _NOT_BRACKETS)


def peeled(brackets: bytes) -> bytes:
    """Return what is left of brackets once MAX_DEPTH levels of pairs, from the innermost, are taken away."""
    for _ in range(MAX_DEPTH):
        fewer = brackets.replace(b"[]", b"")
        if len(fewer) == len(brackets):
            break
        brackets = fewer
    return brackets


def _check_structure(document: bytes, max_values: int) -> bool:
    """Return whether JSON is nested beyond MAX_DEPTH, before it is read. Raises TooManyValues."""
    brackets = brackets_of(document)
    if not _is_crowded(document, brackets, max_values) and (len(brackets) <= MAX_DEPTH or not peeled(brackets)):
        return False
    # Brackets and commas inside texts do not count. Taking texts out takes longer, and few documents need it.
    bare = _TEXT.sub(b"", document.replace(rb"\\", b"").replace(rb"\"", b""))
    brackets = brackets_of(bare)
    if _is_crowded(bare, brackets, max_values):
        raise TooManyValues
    return bool(peeled(brackets))


def _is_crowded(document: bytes, brackets: bytes, max_values: int) -> bool:
    values = len(brackets) // 2 * CONTAINER_VALUES
    return len(document) + values > max_values and document.count(b",") + values > max_values


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)


def _in_pieces(text: str) -> dict[str, Any]:
    """Return an object, its lists read value by value. Raises ValueError for anything else."""
    members: dict[str, Any] = {}
    at = _after(text, _skipped(text, 0), "{")
    more = not text.startswith("}", at)
    while more:
        name, at = _DECODER.raw_decode(text, at)
        if not isinstance(name, str):
            raise ValueError("a name was expected")
        at = _after(text, _skipped(text, at), ":")
        members[name], at = _list(text, at) if text.startswith("[", at) else _DECODER.raw_decode(text, at)
        more, at = _following(text, at, "}")
    if _skipped(text, at + (not members)) != len(text):
        raise ValueError("something follows")
    return members


def _list(text: str, at: int) -> tuple[list[Any], int]:
    values = []
    at = _after(text, at, "[")
    if text.startswith("]", at):
        return [], at + 1
    more = True
    while more:
        value, at = _DECODER.raw_decode(text, at)
        values.append(value)
        more, at = _following(text, at, "]")
    return values, at


def _following(text: str, at: int, end: str) -> tuple[bool, int]:
    """Return whether another value follows, and where."""
    at = _skipped(text, at)
    return (False, at + 1) if text.startswith(end, at) else (True, _after(text, at, ","))


def _after(text: str, at: int, mark: str) -> int:
    """Return where what comes after a mark begins."""
    if not text.startswith(mark, at):
        raise ValueError(f"{mark} was expected")
    return _skipped(text, at + 1)


def _skipped(text: str, at: int) -> int:
    found = _BLANKS.match(text, at)
    return found.end() if found else at
