"""What became of a write, from the evidence of its answer. Performs no I/O.

| what came | the write was |
|---|---|
| the answer F&O gives to what it did: the record to a create, 204 to an update, … | done |
| 4xx, but not a page, and not 408 or 499 | refused |
| 5xx and 408 whose body names the exception a refusal ends with, or has an Infolog | refused |
| anything else: another success, a gateway's page, a redirect, a failure without a reason, nothing | unknown |
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from d365mcp.d365.gateways import page_meaning
from d365mcp.d365.infolog import has_infolog, messages_of, thrown
from d365mcp.d365.responses import HttpAnswer, answer_json, error_of
from d365mcp.errors import D365Error, InvalidAnswer, OutcomeUnknown

Kind = Literal["create", "update", "delete", "action", "service", "batch", "change set"]

# A server that answers so has not read the request, or not passed it on, whatever its page says.
_NOT_BEGUN = frozenset({400, 401, 405, 407, 411, 413, 414, 415, 429, 431})
# A server that answers so waited for F&O, or for us, and gave up. 499, 444 and 460 are gateways' own.
_GIVEN_UP = frozenset({408, 444, 460, 499})
_WRITE_EXCEPTION = "AxODataWriteException"
# The work may have been done before one of these was thrown, by writing the answer for example.
_BROKEN_OFF = re.compile(r"Timeout|Cancel|Abort|Sql|Serializ|Communication|Socket|\.IO\.|OutOfMemory|Http|WebException")
_ACTION_EXCEPTIONS = re.compile(r"System\.InvalidOperationException$")  # "Exception occurred while executing action …"
_SERVICE_EXCEPTIONS = re.compile(r".")  # whatever the service threw
_UNWRITTEN = "ObjectContent"  # ASP.NET: "The 'ObjectContent`1' type failed to serialize the response body …"
_AGAIN = "F&O has not begun with it: send the same again after the wait, or fewer operations at once."


@dataclass(frozen=True, slots=True)
class Write:
    """What is written, and with it what shows that it was done.

    `key` names the properties that its record must have. A void action may answer with nothing.
    """

    kind: Kind
    key: tuple[str, ...] = ()
    is_void: bool = False


def proof_of_write(answer: HttpAnswer, write: Write) -> Any:
    """Return the JSON of an answer that shows that a write was done. Raises OutcomeUnknown for any other."""
    if answer.status == 204 and write.kind != "create":
        return None
    if not answer.body.strip():
        if answer.status == 200 and write.kind == "action" and write.is_void:
            return None
        raise _unproven(answer, "nothing")
    found = _json_of(answer)
    if answer.status not in (200, 201) or not _fits(found, answer.status, write):
        raise _unproven(answer, "JSON of another shape")
    return found


def _json_of(answer: HttpAnswer) -> Any:
    media_type = answer.headers.get("content-type", "json")
    if "json" not in media_type.lower():
        raise _unproven(answer, f"{media_type.split(';')[0].strip()[:40]} instead of JSON")
    try:
        return answer_json(answer.body)
    except InvalidAnswer as unread:
        raise outcome_unknown(f"its answer cannot be used ({as_clause(unread.message)})", answer) from None


def _fits(found: Any, status: int, write: Write) -> bool:
    match write.kind:
        case "create":
            return _is_record(found, write)
        case "update":
            return status == 200 and _is_record(found, write)
        case "action":
            return isinstance(found, Mapping) and ("value" in found or "@odata.context" in found)
        case "service":
            return True
    return False


def _is_record(found: Any, write: Write) -> bool:
    return isinstance(found, Mapping) and bool(found) and all(found.get(name) is not None for name in write.key)


def failure_of(answer: HttpAnswer, write: Write) -> D365Error:
    """Return what a write's answer without success means: F&O's refusal, or OutcomeUnknown."""
    if answer.status == 429:
        throttled = error_of(answer)
        throttled.hint = _AGAIN
        return throttled
    other = page_meaning(answer.status, answer.headers, answer.body)
    if _is_client_error(answer.status) and (answer.status in _NOT_BEGUN or other is None):
        return error_of(answer)
    if _says_why(answer, write):
        return error_of(answer, meant=400)
    if other:
        return outcome_unknown(as_clause(other[1]), answer)
    what = "a redirect" if answer.status < 400 else "a failure without a reason"
    return outcome_unknown(f"{what} came instead of its answer (HTTP {answer.status})", answer)


def _is_client_error(status: int) -> bool:
    return 400 <= status < 500 and status not in _GIVEN_UP


def _says_why(answer: HttpAnswer, write: Write) -> bool:
    """Return whether a failure's body names the exception that a refusal ends with, or shows an Infolog.

    Types have no language. A refused change set was seen with HTTP 500. A batch that is none may be done in part.
    """
    if write.kind == "batch" or not (answer.status >= 500 or answer.status in _GIVEN_UP):
        return False
    found = thrown(answer.body)
    if any(each.kind.endswith(_WRITE_EXCEPTION) for each in found):
        return True
    if any(_BROKEN_OFF.search(each.kind) or _UNWRITTEN in each.message for each in found):
        return False
    ends = {"action": _ACTION_EXCEPTIONS, "service": _SERVICE_EXCEPTIONS}.get(write.kind)
    return any(has_infolog(each.message) or (ends and ends.search(each.kind)) for each in found)


def _unproven(answer: HttpAnswer, what: str) -> OutcomeUnknown:
    return outcome_unknown(f"its answer, HTTP {answer.status} with {what}, does not show it", answer)


def as_clause(sentence: str) -> str:
    """Return a sentence as part of another."""
    beginning = sentence[:1].lower() if sentence[1:2] == " " else sentence[:1]
    return beginning + sentence[1:].removesuffix(".")


def outcome_unknown(why: str, answer: HttpAnswer | None = None) -> OutcomeUnknown:
    """Return the error for a write whose outcome is unknown."""
    error = OutcomeUnknown(
        f"It is unknown whether F&O did this: {why}. It was not tried again.",
        http_status=answer.status if answer else None,
        activity_id=answer.activity_id if answer else None,
        messages=messages_of(answer.body) if answer and answer.status >= 300 else (),
        hint="Look for the change before trying again.",
    )
    error.asked_wait = answer.retry_after if answer and answer.status == 503 else None
    return error
