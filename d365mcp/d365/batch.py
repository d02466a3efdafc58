"""OData $batch as multipart text: operations → one body, one answer → each part's own result. Performs no I/O.

F&O speaks multipart/mixed with CRLF; a change set is atomic. JSON batches are UNVERIFIED there, so not used.
https://learn.microsoft.com/dynamics365/fin-ops-core/dev-itpro/data-entities/odata#batch-requests
"""

import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from email import message_from_bytes
from email.message import Message
from email.policy import HTTP
from typing import Any

from d365mcp.d365.literals import body_text
from d365mcp.d365.responses import Answer, error_of, parsed
from d365mcp.errors import D365Error, InvalidAnswer

CRLF = "\r\n"
# An operation's answer has a dozen lines, whose parsing costs far more than reading them.
LINES_PER_OPERATION = 200


@dataclass(frozen=True)
class BatchOperation:
    """One operation: `path` is relative to /data/ and already encoded."""

    method: str
    path: str
    body: Mapping[str, Any] | None = None
    if_match: str | None = None


@dataclass(frozen=True)
class PartResult:
    """What became of one operation; `record` is the created record."""

    status: int
    record: dict[str, Any] | None = None
    error: D365Error | None = None


def batch_body(operations: Sequence[BatchOperation], base_url: str, *, atomic: bool) -> tuple[str, bytes]:
    """Return the content type and body of a batch: one change set when `atomic`, else a change set for each."""
    outer = boundary("batch")
    groups = [operations] if atomic else [[operation] for operation in operations]
    lines: list[str] = []
    number = 0
    for group in groups:
        inner = boundary("changeset")
        lines += [f"--{outer}", f"Content-Type: multipart/mixed; boundary={inner}", ""]
        for operation in group:
            number += 1
            lines += [f"--{inner}", *part(operation, number, base_url)]
        lines += [f"--{inner}--"]
    lines += [f"--{outer}--", ""]
    return f"multipart/mixed; boundary={outer}", CRLF.join(lines).encode()


def part(operation: BatchOperation, number: int, base_url: str) -> Iterator[str]:
    yield from ("Content-Type: application/http", "Content-Transfer-Encoding: binary", f"Content-ID: {number}", "")
    yield f"{operation.method} {base_url}/data/{operation.path} HTTP/1.1"
    yield from ("OData-Version: 4.0", "OData-MaxVersion: 4.0")
    if operation.if_match:
        yield f"If-Match: {operation.if_match}"
    if operation.body is not None:
        yield "Content-Type: application/json;odata.metadata=minimal"
    yield ""
    yield body_text(operation.body, ascii_only=True) if operation.body is not None else ""


def boundary(kind: str) -> str:
    return f"{kind}_{secrets.token_hex(8)}"


def batch_results(content_type: str, body: bytes, count: int, *, atomic: bool) -> list[PartResult]:
    """Return one result per operation, in their order. Raises InvalidAnswer for an answer that does not fit.

    A change set that fails has one answer for all of it: each of its operations gets that error.
    """
    if body.count(b"\n") > LINES_PER_OPERATION * (count + 1):
        raise InvalidAnswer("F&O's answer to the batch has more lines than its operations can have.")
    try:
        answers = list(part_answers(content_type, body))
    except RecursionError:
        raise InvalidAnswer("F&O's answer to the batch is nested too deeply.") from None
    if atomic and len(answers) == 1 and answers[0][1].status >= 400:
        return [result_of(answers[0][1])] * count
    ordered = in_order(answers, count)
    return [result_of(answer) for answer in ordered]


def in_order(answers: Sequence[tuple[str | None, Answer]], count: int) -> list[Answer]:
    """Return the answers by their Content-ID where all have one, else as they came."""
    if len(answers) != count:
        raise InvalidAnswer(f"F&O answered {len(answers)} of {count} operations of the batch.")
    numbers = [int(number) for number, _ in answers if number and number.isdecimal()]
    if sorted(numbers) == list(range(1, count + 1)):
        by_number = dict(zip(numbers, (answer for _, answer in answers), strict=True))
        return [by_number[number] for number in range(1, count + 1)]
    return [answer for _, answer in answers]


def part_answers(content_type: str, body: bytes) -> Iterator[tuple[str | None, Answer]]:
    """Yield Content-ID and HTTP answer of every part, those within change sets too."""
    message = message_from_bytes(b"Content-Type: " + content_type.encode() + b"\r\n\r\n" + body, policy=HTTP)
    for leaf in message.walk():
        if not leaf.is_multipart() and leaf.get_content_type() == "application/http":
            yield leaf.get("Content-ID"), http_answer(leaf)


def http_answer(leaf: Message) -> Answer:
    """Read the HTTP answer in a part's payload."""
    payload = leaf.get_payload(decode=True)
    head, _, body = (payload if isinstance(payload, bytes) else b"").lstrip().partition(b"\r\n\r\n")
    status_line, *lines = head.decode("latin-1").split(CRLF)
    words = status_line.split(" ")
    if len(words) < 2 or not words[1].isdecimal():
        raise InvalidAnswer("A part of F&O's batch answer has no HTTP status.")
    pairs = (line.partition(":") for line in lines)
    headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
    return Answer(int(words[1]), headers, body.strip())


def result_of(answer: Answer) -> PartResult:
    """Return the result of one part; a 429 inside a batch that succeeded as a whole is an error like any other."""
    if answer.status >= 300:
        return PartResult(answer.status, error=error_of(answer))
    record = parsed(answer.body)
    return PartResult(answer.status, record if isinstance(record, dict) else None)
