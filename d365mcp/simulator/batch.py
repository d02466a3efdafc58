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
from d365mcp.simulator.errors import Refusal, Reply, in_change_set
from d365mcp.simulator.store import Store

LARGEST_BATCH = 5_000
_BOUNDARY = re.compile(r'multipart/mixed\s*;.*boundary="?([^";]+)"?', re.IGNORECASE)

_PHRASES = {status.value: status.phrase for status in HTTPStatus}

_Answer = Callable[[Call], Reply]


@dataclass(frozen=True)
class _Operation:
    """One request inside a batch."""

    call: Call
    content_id: str
    in_change_set: bool


@dataclass(frozen=True)
class _Outcome:
    operation: _Operation
    reply: Reply

    @property
    def failed(self) -> bool:
        return self.reply.status >= 400

    @property
    def shows_failure(self) -> bool:
        return self.failed or self.reply.arriving.status >= 400


class _ChangeSetFailed(Exception):
    def __init__(self, outcome: _Outcome) -> None:
        self.outcome = outcome


def answer(call: Call, store: Store, answer_one: _Answer, *, heeds_prefer: bool) -> Reply:
    """Carry out a batch; its parts tell how each operation went."""
    parts = [(headers, list(_operations(call, headers, body))) for headers, body in _parts(call.headers, call.body)]
    asked = [operation for _, operations in parts for operation in operations]
    _check(asked)
    keep_going = heeds_prefer and _continues_on_error(call.headers.get("prefer", ""))
    answered: list[bytes] = []
    outcomes: list[_Outcome] = []
    for headers, operations in parts:
        found = _change_set(operations, store, answer_one) if _is_multipart(headers) else _alone(operations, answer_one)
        outcomes += found
        answered += filter(None, [_rendered(headers, found)])
        if any(outcome.shows_failure for outcome in found) and not keep_going:
            break  # the standard's default; F&O's is UNVERIFIED
    boundary = f"batchresponse_{uuid4()}"
    applied = {"Preference-Applied": "odata.continue-on-error"} if keep_going else {}
    return Reply(
        200,
        _joined(answered, boundary),
        {"Content-Type": f"multipart/mixed; boundary={boundary}", "OData-Version": "4.0", **applied},
        tuple(_logged(asked, outcomes)),
    )


def _check(operations: list[_Operation]) -> None:
    """Refuse a batch that holds too much, or whose operations cannot be distinguished: in Microsoft's library's words."""
    if len(operations) > LARGEST_BATCH:
        raise Refusal(f"The number of operations in the batch exceeds the limit of {LARGEST_BATCH}.")
    known: set[str] = set()
    for operation in operations:
        if operation.in_change_set and not operation.content_id:
            raise Refusal(
                "The header with name 'Content-ID' was not present in the header collection of the batch operation."
            )
        if operation.content_id in known:
            raise Refusal(
                f"The content ID '{operation.content_id}' was found more than once in the same change set or same "
                "batch request. Content IDs have to be unique."
            )
        known |= {operation.content_id} - {""}


def _continues_on_error(prefer: str) -> bool:
    """Whether `Prefer` asks to go on after an error: by its name in OData 4.0 or 4.01, where it may be false.

    https://docs.oasis-open.org/odata/odata/v4.01/odata-v4.01-part1-protocol.html#sec_Preferencecontinueonerrorodatacontinueonerro
    """
    for preference in prefer.lower().split(","):
        name, _, value = preference.partition(";")[0].partition("=")
        if name.strip().removeprefix("odata.") == "continue-on-error":
            return value.strip(' "') in ("", "true")
    return False


def _alone(operations: list[_Operation], answer_one: _Answer) -> list[_Outcome]:
    return [_Outcome(operation, answer_one(operation.call)) for operation in operations]


def _change_set(operations: list[_Operation], store: Store, answer_one: _Answer) -> list[_Outcome]:
    """All of the operations or none; a failed set is answered by its one failure."""
    outcomes: list[_Outcome] = []
    try:
        with store.all_or_nothing():
            for operation in operations:
                outcome = _Outcome(operation, in_change_set(answer_one(operation.call)))
                if outcome.failed:
                    raise _ChangeSetFailed(outcome)
                outcomes.append(outcome)
    except _ChangeSetFailed as failure:
        return [failure.outcome]
    return outcomes


def _rendered(headers: Mapping[str, str], outcomes: list[_Outcome]) -> bytes:
    """The answer to a part of the batch; F&O's to a failed change set is multipart too, seen on a one-box."""
    parts = [_part(outcome) for outcome in outcomes if outcome.reply.arriving.status]
    if not _is_multipart(headers):
        return b"".join(parts)
    boundary = f"changesetresponse_{uuid4()}"
    return f"Content-Type: multipart/mixed; boundary={boundary}\r\n\r\n".encode() + _joined(parts, boundary)


def _logged(operations: list[_Operation], outcomes: list[_Outcome]) -> Iterator[Mapping[str, object]]:
    """What became of each operation that was asked for; those not answered have no status."""
    replies = {id(outcome.operation): outcome.reply for outcome in outcomes}
    for operation in operations:
        reply = replies.get(id(operation))
        yield {
            "method": operation.call.method,
            "path": operation.call.path,
            "content_id": operation.content_id,
            "status": reply.arriving.status if reply else None,
            "done": reply is not None and reply.status < 400,
        }


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


def _operations(call: Call, headers: Mapping[str, str], body: bytes) -> Iterator[_Operation]:
    if not _is_multipart(headers):
        yield _Operation(_inner_call(call, body), headers.get("content-id", ""), in_change_set=False)
        return
    for inner_headers, inner_body in _parts(headers, body):
        inner = _inner_call(call, inner_body)
        if inner.method == "GET":
            raise Refusal("A change set must not contain a GET request.")
        yield _Operation(inner, inner_headers.get("content-id", ""), in_change_set=True)


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


def _part(outcome: _Outcome) -> bytes:
    """One answer as an application/http part."""
    reply, content_id = outcome.reply.arriving, outcome.operation.content_id
    head = ["Content-Type: application/http", "Content-Transfer-Encoding: binary"]
    head += [f"Content-ID: {content_id}"] if content_id else []
    inner = [f"HTTP/1.1 {reply.status} {_PHRASES.get(reply.status, 'Unknown')}"]
    inner += [f"{name}: {value}" for name, value in reply.headers.items()]
    return "\r\n".join([*head, "", *inner, "", ""]).encode() + reply.body


def _joined(parts: list[bytes], boundary: str) -> bytes:
    lines = [f"--{boundary}\r\n".encode() + part + b"\r\n" for part in parts]
    return b"".join(lines) + f"--{boundary}--\r\n".encode()
