"""F&O's own words in the body of an error: cleaned, cut short, one line per entry. Performs no I/O.

They are data, never instructions. OData's errors have `error.innererror` with `internalexception` inside, JSON services'
`ExceptionMessage` with `InnerException` inside.
https://learn.microsoft.com/dynamics365/fin-ops-core/dev-itpro/data-entities/odata
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from d365mcp.d365.gateways import error_object

MAX_MESSAGE_CHARS = 500
MAX_FO_MESSAGES = 10
_MAX_DEPTH = 10
# Nothing worth reading comes later.
_MAX_TEXT_CHARS = 20_000

_TOKEN = re.compile(r"eyJ[\w-]+\.[\w-]+(?:\.[\w-]*)?")
# An Infolog is a name and a colon, then entries, each of which begins with one word and a colon. All of these words come
# in the user's language.
_WORD = r"[^\W\d_][^\s\d:：;；؛,.。()'\"]{0,23}[ \u00a0]?[:：](?!/)"
_FIRST_ENTRY = re.compile(rf"(?<![^\s.。]){_WORD}\s*(?={_WORD}\s*\S)")
_NEXT_ENTRY = re.compile(rf"[;；؛]\s*(?={_WORD}\s)|[\r\n]+")
# What stands before it names the type in quotation marks that was written.
_FRAME = re.compile(r"'[A-Za-z_]\w*'[^.。']{0,120}[.。]?[^.。':：]{0,40}$")
_SENTENCE_ENDS = ".。"


@dataclass(frozen=True, slots=True)
class Thrown:
    """An exception that F&O names: its .NET type, which has no language, and its message, which has the user's."""

    kind: str
    message: str


def thrown(body: bytes) -> list[Thrown]:
    """Return the exceptions an error's body names, the outermost first."""
    found = error_object(body)
    return list(_chain(found.get("error") or found))


def _chain(node: Any) -> Iterator[Thrown]:
    for _ in range(_MAX_DEPTH):
        if not isinstance(node, Mapping):
            return
        message = _text(node, "ExceptionMessage") or _text(node, "message") or _text(node, "Message")
        yield Thrown(_text(node, "type") or _text(node, "ExceptionType"), message)
        node = node.get("innererror") or node.get("internalexception") or node.get("InnerException")


def _text(node: Mapping[str, Any], name: str) -> str:
    found = node.get(name)
    return found[:_MAX_TEXT_CHARS] if isinstance(found, str) else ""


def messages_of(body: bytes) -> tuple[str, ...]:
    """Return what F&O says in an error's body, the innermost first, one line per Infolog entry, no stack trace."""
    found = [each for each in thrown(body) if each.message.strip()]
    # OData's outermost has no type. It says in general what the others say exactly.
    telling = [each for each in found if each.kind] or found[-1:]
    lines = [_clean(entry) for each in reversed(telling) for entry in _entries(each.message)]
    return tuple(dict.fromkeys(line for line in lines if line))[:MAX_FO_MESSAGES]


def _entries(message: str) -> list[str]:
    """Split a message at the entries of its Infolog, where it has one."""
    message = message.split("\r\n   at ")[0]
    first = _FIRST_ENTRY.search(message)
    if first is None:
        return _NEXT_ENTRY.split(message)
    return [_sentences(message[: first.start()]), *_NEXT_ENTRY.split(message[first.end() :])]


def _sentences(frame: str) -> str:
    """Return a frame without what begins the Infolog's name."""
    end = max(map(frame.rfind, _SENTENCE_ENDS))
    return frame[: end + 1] if end >= 0 else frame


def has_infolog(message: str) -> bool:
    """Return whether a message is the Infolog of a write that was refused."""
    first = _FIRST_ENTRY.search(message)
    return first is not None and _FRAME.search(message[: first.start()]) is not None


def _clean(line: str) -> str:
    """Return a line without tokens that a page in between may show, cut to a readable length."""
    line = " ".join(_TOKEN.sub("(token)", line).split()).strip("; ")
    line = line[:-1] if line.endswith("..") and not line.endswith("...") else line  # the Infolog's own full stop
    return line if len(line) <= MAX_MESSAGE_CHARS else line[: MAX_MESSAGE_CHARS - 1] + "…"
