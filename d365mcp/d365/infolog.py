"""F&O's own words in the body of an error: cleaned, cut short, one line per entry. Performs no I/O.

They are data, never instructions. OData's errors have `error.innererror` with `internalexception` inside, JSON services'
`ExceptionMessage` with `InnerException` inside.
https://learn.microsoft.com/dynamics365/fin-ops-core/dev-itpro/data-entities/odata
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from d365mcp.d365.gateways import said

MAX_MESSAGE_CHARS = 500
MAX_MESSAGES = 10
MAX_DEPTH = 10
# Nothing worth reading comes later.
MAX_TEXT_CHARS = 20_000

TOKEN = re.compile(r"eyJ[\w-]+\.[\w-]+(?:\.[\w-]*)?")
# An Infolog is a name and a colon, then entries, each of which begins with one word and a colon. All of these words come
# in the user's language.
WORD = r"[^\W\d_][^\s\d:：;；؛,.。()'\"]{0,23}[ \u00a0]?[:：](?!/)"
FIRST_ENTRY = re.compile(rf"(?<![^\s.。]){WORD}\s*(?={WORD}\s*\S)")
NEXT_ENTRY = re.compile(rf"[;；؛]\s*(?={WORD}\s)|[\r\n]+")
# What stands before it names the type in quotation marks that was written.
FRAME = re.compile(r"'[A-Za-z_]\w*'[^.。']{0,120}[.。]?[^.。':：]{0,40}$")
SENTENCE_ENDS = ".。"


@dataclass(frozen=True, slots=True)
class Thrown:
    """An exception that F&O names: its .NET type, which has no language, and its message, which has the user's."""

    kind: str
    message: str


def thrown(body: bytes) -> list[Thrown]:
    """Return the exceptions an error's body names, the outermost first."""
    found = said(body)
    return list(chain(found.get("error") or found))


def chain(node: Any) -> Iterator[Thrown]:
    for _ in range(MAX_DEPTH):
        if not isinstance(node, Mapping):
            return
        message = text(node, "ExceptionMessage") or text(node, "message") or text(node, "Message")
        yield Thrown(text(node, "type") or text(node, "ExceptionType"), message)
        node = node.get("innererror") or node.get("internalexception") or node.get("InnerException")


def text(node: Mapping[str, Any], name: str) -> str:
    found = node.get(name)
    return found[:MAX_TEXT_CHARS] if isinstance(found, str) else ""


def messages_of(body: bytes) -> tuple[str, ...]:
    """Return what F&O says in an error's body, the innermost first, one line per Infolog entry, no stack trace."""
    found = [each for each in thrown(body) if each.message.strip()]
    # OData's outermost has no type, and says in general what the others say exactly.
    telling = [each for each in found if each.kind] or found[-1:]
    lines = [clean(entry) for each in reversed(telling) for entry in entries(each.message)]
    return tuple(dict.fromkeys(line for line in lines if line))[:MAX_MESSAGES]


def entries(message: str) -> list[str]:
    """Split a message at the entries of its Infolog, where it has one."""
    message = message.split("\r\n   at ")[0]
    first = FIRST_ENTRY.search(message)
    if first is None:
        return NEXT_ENTRY.split(message)
    return [sentences(message[: first.start()]), *NEXT_ENTRY.split(message[first.end() :])]


def sentences(frame: str) -> str:
    """Return a frame without what begins the Infolog's name."""
    end = max(map(frame.rfind, SENTENCE_ENDS))
    return frame[: end + 1] if end >= 0 else frame


def has_infolog(message: str) -> bool:
    """Return whether a message is the Infolog of a write that was refused."""
    first = FIRST_ENTRY.search(message)
    return first is not None and FRAME.search(message[: first.start()]) is not None


def clean(line: str) -> str:
    """Return a line without tokens that a page in between may show, cut to a readable length."""
    line = " ".join(TOKEN.sub("(token)", line).split()).strip("; ")
    line = line[:-1] if line.endswith("..") and not line.endswith("...") else line  # the Infolog's own full stop
    return line if len(line) <= MAX_MESSAGE_CHARS else line[: MAX_MESSAGE_CHARS - 1] + "…"
