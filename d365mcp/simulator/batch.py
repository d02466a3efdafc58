"""`$batch`: multipart requests taken apart, change sets that hold as a whole, and the multipart answer.

https://docs.oasis-open.org/odata/odata/v4.0/errata03/os/complete/part1-protocol/odata-v4.0-errata03-os-part1-protocol-complete.html#_Toc453752313
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from http import HTTPStatus
from uuid import uuid4

from d365mcp.simulator.call import Call
from d365mcp.simulator.errors import Refusal, Reply
from d365mcp.simulator.store import Store

LARGEST_BATCH = 5_000
_BOUNDARY = re.compile(r'multipart/mixed\s*;.*boundary="?([^";]+)"?', re.IGNORECASE)

Answer = Callable[[Call], Reply]


@dataclass(frozen=True)
class Operation:
    """One request inside a batch."""

    call: Call
    content_id: str


class _ChangeSetFailed(Exception):
    def __init__(self, part: bytes) -> None:
        self.part = part


def answer(call: Call, store: Store, answer_one: Answer) -> Reply:
    """Carry out a batch; its parts tell how each operation went."""
    parts = [(headers, list(_operations(call, headers, body))) for headers, body in _parts(call.headers, call.body)]
    if sum(len(operations) for _, operations in parts) > LARGEST_BATCH:
        raise Refusal(f"The number of operations in the batch exceeds the limit of {LARGEST_BATCH}.")
    keep_going = "continue-on-error" in call.headers.get("prefer", "")
    boundary = f"batchresponse_{uuid4()}"
    answered: list[bytes] = []
    for headers, operations in parts:
        part, failed = _answered(headers, operations, store, answer_one)
        answered.append(part)
        if failed and not keep_going:  # the OData default; F&O's own is UNVERIFIED
            break
    return Reply(
        200,
        _joined(answered, boundary),
        {"Content-Type": f"multipart/mixed; boundary={boundary}", "OData-Version": "4.0"},
    )


def _answered(
    headers: Mapping[str, str], operations: list[Operation], store: Store, answer_one: Answer
) -> tuple[bytes, bool]:
    """The answer of a part, and whether it failed."""
    if not _is_multipart(headers):
        (operation,) = operations
        reply = answer_one(operation.call)
        return _part(reply, ""), reply.status >= 400
    try:
        return _change_set(operations, store, answer_one), False
    except _ChangeSetFailed as failure:
        return failure.part, True


def _change_set(operations: list[Operation], store: Store, answer_one: Answer) -> bytes:
    """All of the operations or none; a failed set is answered by its one failure."""
    answered: list[bytes] = []
    with store.all_or_nothing():
        for operation in operations:
            reply = answer_one(operation.call)
            part = _part(reply, operation.content_id)
            if reply.status >= 400:
                raise _ChangeSetFailed(part)
            answered.append(part)
    boundary = f"changesetresponse_{uuid4()}"
    return f"Content-Type: multipart/mixed; boundary={boundary}\r\n\r\n".encode() + _joined(answered, boundary)


def _parts(headers: Mapping[str, str], body: bytes) -> Iterator[tuple[Mapping[str, str], bytes]]:
    """The parts of a multipart body with their headers."""
    match = _BOUNDARY.match(headers.get("content-type", ""))
    if match is None:
        raise Refusal("The batch request must have a Content-Type header of multipart/mixed with a boundary.")
    marker = re.compile(rb"\r\n--" + re.escape(match[1].encode()) + rb"(--)?[ \t]*(?=\r\n|$)")
    _, *pieces = marker.split(b"\r\n" + body)
    if len(pieces) < 2 or pieces[-2] != b"--":
        raise Refusal("The batch request is missing its closing boundary.")
    for piece in pieces[1:-2:2]:
        yield _headed(piece.removeprefix(b"\r\n"))


def _headed(text: bytes) -> tuple[dict[str, str], bytes]:
    """Split headers from what follows their blank line."""
    if text.startswith(b"\r\n"):
        return {}, text[2:]
    head, _, rest = text.partition(b"\r\n\r\n")
    lines = (line.partition(":") for line in head.decode("latin-1").split("\r\n"))
    return {name.strip().lower(): value.strip() for name, _, value in lines}, rest


def _is_multipart(headers: Mapping[str, str]) -> bool:
    return headers.get("content-type", "").lower().startswith("multipart/")


def _operations(call: Call, headers: Mapping[str, str], body: bytes) -> Iterator[Operation]:
    if not _is_multipart(headers):
        yield Operation(_inner_call(call, body), headers.get("content-id", ""))
        return
    for inner_headers, inner_body in _parts(headers, body):
        inner = _inner_call(call, inner_body)
        if inner.method == "GET":
            raise Refusal("A change set must not contain a GET request.")
        yield Operation(inner, inner_headers.get("content-id", ""))


def _inner_call(call: Call, text: bytes) -> Call:
    line, _, rest = text.partition(b"\r\n")
    try:
        method, url, _ = line.decode().split(" ")
    except ValueError as exc:
        raise Refusal(f"The request line '{line.decode(errors='replace')}' of the batch is not valid.") from exc
    headers, body = _headed(rest)
    path, _, query = _below_base(call, url).partition("?")
    # The blank line before a boundary belongs to the boundary.
    return replace(call, method=method, path=path, query=query, headers=headers, body=body.strip())


def _below_base(call: Call, url: str) -> str:
    if url.startswith(call.base):
        return url.removeprefix(call.base)
    if "://" in url:
        raise Refusal(f"The request URI '{url}' of the batch is not below '{call.base}'.")
    return url if url.startswith("/") else f"/data/{url}"


def _part(reply: Reply, content_id: str) -> bytes:
    """One answer as an application/http part."""
    head = ["Content-Type: application/http", "Content-Transfer-Encoding: binary"]
    head += [f"Content-ID: {content_id}"] if content_id else []
    inner = [f"HTTP/1.1 {reply.status} {HTTPStatus(reply.status).phrase}"]
    inner += [f"{name}: {value}" for name, value in reply.headers.items()]
    return "\r\n".join([*head, "", *inner, "", ""]).encode() + reply.body


def _joined(parts: list[bytes], boundary: str) -> bytes:
    lines = [f"--{boundary}\r\n".encode() + part + b"\r\n" for part in parts]
    return b"".join(lines) + f"--{boundary}--\r\n".encode()
