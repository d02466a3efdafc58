"""OData $batch as multipart text: operations → one body, one answer → each part's own outcome. Performs no I/O.

F&O speaks multipart/mixed with CRLF; a change set is atomic. JSON batches are UNVERIFIED there, so not used.
https://learn.microsoft.com/dynamics365/fin-ops-core/dev-itpro/data-entities/odata#batch-requests
"""

import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from email import message_from_bytes
from email.message import Message
from email.policy import HTTP
from typing import Any, Literal

from d365mcp.d365.filters.literals import body_text
from d365mcp.d365.outcomes import Write, failure_of, outcome_unknown, proof_of_write
from d365mcp.d365.responses import HttpAnswer
from d365mcp.errors import D365Error, OutcomeUnknown

_CRLF = "\r\n"
# An operation's answer has a dozen lines. Parsing them costs far more than reading them.
_LINES_PER_OPERATION = 200


_UNREADABLE = 0
_STATUS_LINE = re.compile(r"HTTP/\d(?:\.\d)? ([1-5]\d\d)(?: |$)", re.ASCII)

PartOutcome = Literal["done", "failed", "not done", "not run", "unknown"]


@dataclass(frozen=True)
class BatchOperation:
    """One operation: `path` is relative to /data/ and already encoded."""

    method: str
    path: str
    write: Write
    body: Mapping[str, Any] | None = None
    if_match: str | None = None


@dataclass(frozen=True)
class PartResult:
    """What became of one operation; `record` is the created record.

    "not done" is what a change set took back, "not run" what a batch that stopped at a failure left out.
    """

    outcome: PartOutcome
    status: int | None = None
    record: dict[str, Any] | None = None
    error: D365Error | None = None


@dataclass(frozen=True)
class BatchAnswer:
    """The outcome of each operation; `error` is that of a change set which does not say whose it is."""

    parts: list[PartResult]
    error: D365Error | None = None


@dataclass(frozen=True)
class Parts:
    """The answers in a batch's answer, each with its Content-ID; `is_whole` where it came to its end."""

    answers: list[tuple[str | None, HttpAnswer]]
    is_whole: bool


def batch_body(operations: Sequence[BatchOperation], base_url: str, *, atomic: bool) -> tuple[str, bytes]:
    """Return the content type and body of a batch: one change set when `atomic`, else a change set for each."""
    outer = _boundary("batch")
    groups = [operations] if atomic else [[operation] for operation in operations]
    lines: list[str] = []
    number = 0
    for group in groups:
        inner = _boundary("changeset")
        lines += [f"--{outer}", f"Content-Type: multipart/mixed; boundary={inner}", ""]
        for operation in group:
            number += 1
            lines += [f"--{inner}", *_part(operation, number, base_url)]
        lines += [f"--{inner}--"]
    lines += [f"--{outer}--", ""]
    return f"multipart/mixed; boundary={outer}", _CRLF.join(lines).encode()


def _part(operation: BatchOperation, number: int, base_url: str) -> Iterator[str]:
    yield from ("Content-Type: application/http", "Content-Transfer-Encoding: binary", f"Content-ID: {number}", "")
    yield f"{operation.method} {base_url}/data/{operation.path} HTTP/1.1"
    yield from ("OData-Version: 4.0", "OData-MaxVersion: 4.0")
    if operation.if_match is not None:
        yield f"If-Match: {operation.if_match}"
    if operation.body is not None:
        yield "Content-Type: application/json;odata.metadata=minimal"
    yield ""
    yield body_text(operation.body, ascii_only=True) if operation.body is not None else ""


def _boundary(kind: str) -> str:
    return f"{kind}_{secrets.token_hex(8)}"


def batch_answer(answer: HttpAnswer, operations: Sequence[BatchOperation], *, atomic: bool) -> BatchAnswer:
    """Return what became of each operation. Raises OutcomeUnknown where nothing is known of any."""
    parts = _parts_of(answer, len(operations))
    if atomic and (failures := [each for each in parts.answers if each[1].status >= 300]):
        return _taken_back(failures, parts, operations)
    goes_on = atomic or "continue-on-error" in answer.headers.get("preference-applied", "").lower()
    results = _own_results(parts, operations, stops=not goes_on)
    if all(result.outcome == "unknown" for result in results):
        raise results[0].error or outcome_unknown("its answer does not fit")
    return BatchAnswer(results)


def _taken_back(
    failures: Sequence[tuple[str | None, HttpAnswer]], parts: Parts, operations: Sequence[BatchOperation]
) -> BatchAnswer:
    """Return the results of a change set that failed: its one failure, and the others not done."""
    errors = [failure_of(failed, Write("change set")) for _, failed in failures]
    for error in errors:
        if isinstance(error, OutcomeUnknown):
            raise error
    results = [PartResult("not done")] * len(operations)
    for content_id, answer in parts.answers:
        if (place := _place_of(content_id, len(operations))) is None:
            continue
        if answer.status >= 300:
            results[place] = PartResult("failed", answer.status, error=failure_of(answer, operations[place].write))
        else:
            doubt = outcome_unknown("F&O answered it as done, in a change set that failed", answer)
            results[place] = PartResult("unknown", answer.status, error=doubt)
    named = any(result.outcome == "failed" for result in results)
    if len(operations) == 1 and not named:
        return BatchAnswer([PartResult("failed", failures[0][1].status, error=errors[0])])
    return BatchAnswer(results, None if named else errors[0])


def _own_results(parts: Parts, operations: Sequence[BatchOperation], *, stops: bool) -> list[PartResult]:
    """Return each operation's own result; what follows a failure that the batch stopped at was not run.

    https://docs.oasis-open.org/odata/odata/v4.0/errata03/os/complete/part1-protocol/odata-v4.0-errata03-os-part1-protocol-complete.html#_Toc453752315
    """
    by_place = _in_places(parts, len(operations))
    end = len(by_place)
    prefix = end == max(by_place, default=-1) + 1
    stopped = stops and parts.is_whole and prefix and end > 0 and by_place[end - 1].status >= 400
    return [
        _result_of(by_place[place], operation.write) if place in by_place else _left_out(was_run=not stopped)
        for place, operation in enumerate(operations)
    ]


def _left_out(*, was_run: bool) -> PartResult:
    return (
        PartResult("unknown", error=outcome_unknown("F&O's answer leaves it out")) if was_run else PartResult("not run")
    )


def _in_places(parts: Parts, count: int) -> dict[int, HttpAnswer]:
    """Return the answers by their operation's place: by Content-ID, or in the order of the request, which OData keeps."""
    places = [_place_of(content_id, count) for content_id, _ in parts.answers]
    ordered = all(place in (None, number) for number, place in enumerate(places))
    if ordered and len(places) <= count:
        return {number: answer for number, (_, answer) in enumerate(parts.answers)}
    if None in places or len(set(places)) < len(places):
        raise outcome_unknown("its answers cannot be matched to the operations")
    return {int(str(place)): answer for place, (_, answer) in zip(places, parts.answers, strict=True)}


def _place_of(content_id: str | None, count: int) -> int | None:
    """Return the place of the operation that was sent with this Content-ID."""
    text = (content_id or "").strip()
    number = int(text) if text.isascii() and text.isdecimal() and len(text) <= len(str(count)) else 0
    return number - 1 if 1 <= number <= count else None


def _parts_of(answer: HttpAnswer, count: int) -> Parts:
    """Take a batch's answer apart. Raises OutcomeUnknown for what is none."""
    content_type = answer.headers.get("content-type", "")
    if not content_type.lower().startswith("multipart/"):
        raise outcome_unknown(f"HTTP {answer.status} came with something else than the parts of a batch", answer)
    if answer.body.count(b"\n") > _LINES_PER_OPERATION * (count + 1):
        raise outcome_unknown("its answer has more lines than these operations can have", answer)
    head = b"Content-Type: " + content_type.encode() + b"\r\n\r\n"
    try:
        leaves = list(message_from_bytes(head + answer.body, policy=HTTP).walk())
    except RecursionError:
        raise outcome_unknown("its answer is nested too deeply", answer) from None
    answers = [_http_answer(leaf) for leaf in leaves if leaf.get_content_type() == "application/http"]
    return Parts(
        answers, is_whole=not any(leaf.defects for leaf in leaves if leaf.get_content_maintype() == "multipart")
    )


def _http_answer(leaf: Message) -> tuple[str | None, HttpAnswer]:
    """Read Content-ID and HTTP answer of a part; one without a status is UNREADABLE."""
    payload = leaf.get_payload(decode=True)
    head, _, body = (payload if isinstance(payload, bytes) else b"").lstrip().partition(b"\r\n\r\n")
    status_line, *lines = head.decode("latin-1").split(_CRLF)
    found = _STATUS_LINE.match(status_line)
    pairs = (line.partition(":") for line in lines)
    headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
    content_id = leaf.get("Content-ID") or headers.get("content-id")
    return content_id, HttpAnswer(int(found[1]) if found else _UNREADABLE, headers, body.strip())


def _result_of(answer: HttpAnswer, write: Write) -> PartResult:
    """Return the result of one part; a 429 inside a batch that succeeded as a whole is an error like any other."""
    if answer.status == _UNREADABLE:
        return PartResult("unknown", error=outcome_unknown("its part of the answer has no HTTP status"))
    try:
        if answer.status >= 300:
            raise failure_of(answer, write)
        record = proof_of_write(answer, write)
    except OutcomeUnknown as error:
        return PartResult("unknown", answer.status, error=error)
    except D365Error as error:
        return PartResult("failed", answer.status, error=error)
    return PartResult("done", answer.status, record if isinstance(record, dict) else None)
