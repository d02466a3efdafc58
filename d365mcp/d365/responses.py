"""An HTTP answer of F&O's → data, or one typed error. Performs no I/O.

F&O's own words are kept apart (`D365Error.messages`). What a write's answer means is for `outcomes` to say.
"""

import email.utils
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from d365mcp.d365.gateways import page_meaning
from d365mcp.d365.infolog import messages_of
from d365mcp.errors import (
    BadRequest,
    Conflict,
    D365Error,
    Forbidden,
    InvalidAnswer,
    NotFound,
    Throttled,
    Unauthorized,
    Unavailable,
)
from d365mcp.wire import MAX_DEPTH, TooDeep, TooManyValues, read_json

# Microsoft's sample waits this long where a 429 says nothing:
# https://learn.microsoft.com/dynamics365/fin-ops-core/dev-itpro/data-entities/service-protection-maximizing-api-throughput
_DEFAULT_RETRY_AFTER = 30.0
_LONGEST_RETRY_AFTER = 86_400.0

_ACTIVITY_ID = re.compile(r"[0-9A-Za-z{}-]{1,64}")


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """One HTTP answer, read to its end. Header names are in lower case."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def activity_id(self) -> str | None:
        return activity_id(self.headers)

    @property
    def retry_after(self) -> float | None:
        return _retry_after(self.headers.get("retry-after"))


def activity_id(headers: Mapping[str, str]) -> str | None:
    """Return the id to quote to Microsoft's support, where it looks like one."""
    found = headers.get("ms-dyn-aid", "")
    return found if _ACTIVITY_ID.fullmatch(found) else None


def answer_json(body: bytes) -> Any:
    """Return a body's JSON, None where it is empty. Raises InvalidAnswer for anything else."""
    if not body.strip():
        return None
    try:
        return read_json(body)
    except TooDeep:
        raise nested_too_deep() from None
    except TooManyValues:
        message = "F&O's answer has more values than can be held at once."
        raise InvalidAnswer(message, hint="Ask for fewer rows.") from None
    except ValueError:
        page = page_meaning(200, {}, body)
        message, hint = page[1:] if page else ("F&O answered with something that is not JSON.", None)
        raise InvalidAnswer(message, hint=hint) from None


def nested_too_deep() -> InvalidAnswer:
    return InvalidAnswer(
        f"F&O's answer is nested more than {MAX_DEPTH} levels deep.",
        hint="Select other columns, or leave expand out.",
    )


def answer_object(body: bytes) -> dict[str, Any]:
    """Return the JSON object a body has to be."""
    found = answer_json(body)
    if not isinstance(found, dict):
        raise InvalidAnswer("F&O answered with something else than the object that was asked for.")
    return found


def error_of(answer: HttpAnswer, *, meant: int | None = None) -> D365Error:
    """Return the error a failed answer means, with what to do about it; `meant` is the status it should have had."""
    messages = messages_of(answer.body)
    page = page_meaning(answer.status, answer.headers, answer.body)
    kind, message, hint = page or _meaning(meant or answer.status, messages)
    waiting = answer.retry_after if answer.status in (429, 503) else None
    if answer.status == 429 and waiting is None:
        waiting = _DEFAULT_RETRY_AFTER
    return kind(
        message,
        http_status=answer.status,
        activity_id=answer.activity_id,
        messages=messages,
        hint=hint,
        retry_after=waiting,
    )


_MEANINGS: Mapping[int, tuple[type[D365Error], str, str]] = {
    401: (
        Unauthorized,
        "F&O did not accept our identity.",
        "Register its client id under System administration > Setup > Microsoft Entra applications, and check that "
        "D365FO_BASE_URL is exactly the environment's address.",
    ),
    403: (
        Forbidden,
        "F&O's security roles do not allow this.",
        "Give the user that the Microsoft Entra applications form maps us to a role with this privilege.",
    ),
    404: (
        NotFound,
        "F&O has nothing there.",
        "Check the key, and the company: a record of another company needs its dataAreaId.",
    ),
    **dict.fromkeys(
        (409, 412), (Conflict, "The record changed since it was read.", "Read it again for its present etag.")
    ),
    429: (
        Throttled,
        "F&O is throttling requests: it is short of resources.",
        "Try again later, and ask for less.",
    ),
}


def _meaning(status: int, messages: tuple[str, ...]) -> tuple[type[D365Error], str, str | None]:
    """Return the kind of error, our sentence for it, and the way out."""
    if status == 400 and any("update conflict" in message.lower() for message in messages):
        return Conflict, "This record has been changed meanwhile.", "Read it again, then repeat the change."
    if status == 400:
        return BadRequest, "F&O refused this request.", _hint_for_400(messages)
    if status in _MEANINGS:
        return _MEANINGS[status]
    if status >= 500:
        return Unavailable, f"F&O failed to answer (HTTP {status}).", _unavailable_hint(status)
    return D365Error, f"F&O answered with HTTP {status}.", _redirect_hint(status)


def _hint_for_400(messages: tuple[str, ...]) -> str | None:
    text = " ".join(messages).lower()
    if "could not find a property" in text:
        return "Look the property up with d365fo_get_entity_schema."
    if "not queryable" in text or "unknown function" in text:
        return "F&O has no such filter function."
    return "d365_messages, which are F&O's own words, say why." if messages else None


def _unavailable_hint(status: int) -> str | None:
    return "The environment may be restarting or under maintenance." if status in (502, 503, 504) else None


def _redirect_hint(status: int) -> str | None:
    return "Redirects are not followed: set D365FO_BASE_URL to the final address." if status < 400 else None


def _retry_after(value: str | None) -> float | None:
    """Return the seconds a Retry-After header asks to wait: it has seconds, or an HTTP date."""
    if not value:
        return None
    if value.strip().isdecimal():
        return min(float(value), _LONGEST_RETRY_AFTER)
    try:
        date = email.utils.parsedate_to_datetime(value)
    except (TypeError, ValueError):
        return None
    return min(max(0.0, date.timestamp() - time.time()), _LONGEST_RETRY_AFTER)


def answer_count(body: bytes) -> int:
    """Return the number in a /$count answer; it may start with a byte order mark."""
    text = body.decode("utf-8-sig", errors="replace").strip()
    if not text.isdecimal() or len(text) > 18:
        raise InvalidAnswer("F&O answered a count with something that is not a number.")
    return int(text)
