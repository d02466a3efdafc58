"""What became of each operation of a batch, for every answer there can be."""

import json
from collections.abc import Sequence
from typing import Any

import pytest

from d365mcp.d365.batch import BatchAnswer, BatchOperation, batch_answer, batch_body
from d365mcp.d365.outcomes import Write
from d365mcp.d365.responses import HttpAnswer
from d365mcp.errors import OutcomeUnknown

RECORD = {"dataAreaId": "usmf", "CustomerGroupId": "91"}
CREATE = BatchOperation("POST", "CustomerGroups", Write("create", tuple(RECORD)), RECORD)
UPDATE = BatchOperation("PATCH", "CustomerGroups(x)", Write("update", tuple(RECORD)), {"Description": "x"})
DELETE = BatchOperation("DELETE", "CustomerGroups(x)", Write("delete"))
THREE = (CREATE, UPDATE, DELETE)
WRITE_EXCEPTION = "Microsoft.Dynamics.Platform.Integration.Services.OData.AxODataWriteException"
JSON = "Content-Type: application/json"

Part = tuple[int, str, str]  # Content-ID (0 for none), status line and headers, body


def created(number: int = 1) -> Part:
    return number, f"HTTP/1.1 201 Created\r\n{JSON}", json.dumps(RECORD)


def empty(number: int, status: str = "204 No Content") -> Part:
    return number, f"HTTP/1.1 {status}", ""


def refused(number: int, status: str = "500 Internal Server Error") -> Part:
    inner = {"message": "Write failed for table row of type 'X'. Infolog: Fehler: Nein.", "type": WRITE_EXCEPTION}
    return (
        number,
        f"HTTP/1.1 {status}\r\n{JSON}",
        json.dumps({"error": {"code": "", "message": "", "innererror": inner}}),
    )


def failed(number: int, status: str = "500 Internal Server Error") -> Part:
    return (
        number,
        f"HTTP/1.1 {status}\r\n{JSON}",
        json.dumps({"error": {"code": "", "message": "An error has occurred."}}),
    )


DONE = [created(), empty(2), empty(3)]


def multipart(boundary: str, parts: Sequence[str]) -> str:
    return "".join(f"--{boundary}\r\n{part}\r\n" for part in parts) + f"--{boundary}--\r\n"


def rendered(part: Part) -> str:
    number, head, body = part
    content_id = f"Content-ID: {number}\r\n" if number else ""
    return (
        f"Content-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n{content_id}\r\n{head}\r\n\r\n{body}"
    )


def answer(parts: Sequence[Part], *, atomic: bool, **headers: str) -> HttpAnswer:
    groups = [parts] if atomic else [[part] for part in parts]
    sets = [
        f"Content-Type: multipart/mixed; boundary=c\r\n\r\n{multipart('c', [*map(rendered, group)])}"
        for group in groups
    ]
    return HttpAnswer(200, {"content-type": "multipart/mixed; boundary=b", **headers}, multipart("b", sets).encode())


def outcomes(found: BatchAnswer) -> list[str]:
    return [part.outcome for part in found.parts]


@pytest.mark.parametrize("atomic", [True, False])
def test_each_operation_is_done_when_its_part_shows_it(*, atomic: bool) -> None:
    found = batch_answer(answer(DONE, atomic=atomic), THREE, atomic=atomic)
    assert outcomes(found) == ["done"] * 3
    assert found.parts[0].record == RECORD
    backwards = batch_answer(answer(DONE[::-1], atomic=atomic), THREE, atomic=atomic)
    assert [part.status for part in backwards.parts] == [201, 204, 204]
    unnumbered = [(0, head, body) for _, head, body in DONE]
    assert outcomes(batch_answer(answer(unnumbered, atomic=atomic), THREE, atomic=atomic)) == ["done"] * 3


NO_PROOF = [
    empty(1),
    empty(1, "201 Created"),
    empty(1, "202 Accepted"),
    (1, "HTTP/1.1 200 OK\r\nContent-Type: text/html", "<html>"),
    (1, f"HTTP/1.1 201 Created\r\n{JSON}", "{}"),
    (1, f"HTTP/1.1 201 Created\r\n{JSON}", json.dumps(RECORD)[:-9]),
    (1, "nonsense", ""),
    (1, "HTTP/1.1 999 Odd", ""),
]


@pytest.mark.parametrize("part", NO_PROOF)
@pytest.mark.parametrize("atomic", [True, False])
def test_a_part_that_does_not_show_it_is_unknown_alone(part: Part, *, atomic: bool) -> None:
    found = batch_answer(answer([part, *DONE[1:]], atomic=atomic), THREE, atomic=atomic)
    assert outcomes(found) == ["unknown", "done", "done"]
    assert isinstance(found.parts[0].error, OutcomeUnknown)


@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.parametrize("status", ["500 Internal Server Error", "400 Bad Request", "412 Precondition Failed"])
def test_a_refused_change_set_names_the_operation_that_failed(number: int, status: str) -> None:
    found = batch_answer(answer([refused(number, status)], atomic=True), THREE, atomic=True)
    assert outcomes(found) == ["failed" if place == number else "not done" for place in (1, 2, 3)]
    error = found.parts[number - 1].error
    assert error is not None
    assert (error.retryable, error.http_status, error.messages[-1]) == (False, int(status[:3]), "Fehler: Nein.")


def test_a_refused_change_set_that_names_no_operation_tells_its_reason_once() -> None:
    found = batch_answer(answer([refused(0)], atomic=True), THREE, atomic=True)
    assert outcomes(found) == ["not done"] * 3
    assert found.error is not None and "Fehler: Nein." in found.error.messages
    alone = batch_answer(answer([refused(0)], atomic=True), THREE[:1], atomic=True)
    assert (outcomes(alone), alone.error) == (["failed"], None)


def test_a_throttled_change_set_was_not_begun() -> None:
    found = batch_answer(answer([failed(2, "429 Too Many\r\nRetry-After: 7")], atomic=True), THREE, atomic=True)
    assert outcomes(found) == ["not done", "failed", "not done"]
    error = found.parts[1].error
    assert error is not None and (error.retryable, error.retry_after) == (True, 7.0)


@pytest.mark.parametrize("status", ["500 X", "502 X", "503 X", "504 X", "408 X", "499", "520", "302 Found"])
def test_a_change_set_that_fails_without_a_reason_may_have_been_done(status: str) -> None:
    with pytest.raises(OutcomeUnknown) as unknown:
        batch_answer(answer([failed(2, status)], atomic=True), THREE, atomic=True)
    assert unknown.value.http_status == int(status[:3])


def test_what_is_answered_as_done_in_a_change_set_that_failed_is_unknown() -> None:
    found = batch_answer(answer([created(), refused(2)], atomic=True), THREE, atomic=True)
    assert outcomes(found) == ["unknown", "failed", "not done"]


def test_an_operation_a_change_set_leaves_out_is_unknown() -> None:
    assert outcomes(batch_answer(answer(DONE[:2], atomic=True), THREE, atomic=True)) == ["done", "done", "unknown"]


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ([refused(1), empty(2), empty(3)], ["failed", "done", "done"]),
        ([created(), refused(2), empty(3)], ["done", "failed", "done"]),
        ([created(), empty(2), refused(3, "404 Not Found")], ["done", "done", "failed"]),
        ([refused(1), refused(2), refused(3)], ["failed", "failed", "failed"]),
        ([refused(1), failed(2), empty(3)], ["failed", "unknown", "done"]),
        ([refused(1)], ["failed", "not run", "not run"]),
        ([created(), refused(2)], ["done", "failed", "not run"]),
        ([created(), failed(2, "429 Busy")], ["done", "failed", "not run"]),
        ([created(), failed(2)], ["done", "unknown", "not run"]),
        ([refused(0)], ["failed", "not run", "not run"]),
        ([created(0), refused(0)], ["done", "failed", "not run"]),
        # What is left out without a failure before it, nobody knows of.
        ([created()], ["done", "unknown", "unknown"]),
        ([created(), empty(3)], ["done", "unknown", "done"]),
        ([created(), refused(3)], ["done", "unknown", "failed"]),
        ([refused(1), empty(2)], ["failed", "done", "unknown"]),
    ],
)
def test_operations_on_their_own_have_outcomes_of_their_own(parts: list[Part], expected: list[str]) -> None:
    assert outcomes(batch_answer(answer(parts, atomic=False), THREE, atomic=False)) == expected


def test_a_batch_that_says_it_goes_on_has_run_what_it_leaves_out() -> None:
    applied = {"preference-applied": "odata.continue-on-error"}
    found = batch_answer(answer([created(), refused(2)], atomic=False, **applied), THREE, atomic=False)
    assert outcomes(found) == ["done", "failed", "unknown"]


@pytest.mark.parametrize("atomic", [True, False])
@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("text/html", b"<html>"),
        ("application/json", b'{"value":[]}'),
        ("", b""),
        ("multipart/mixed; boundary=b", b""),
        ("multipart/mixed; boundary=b", b"--b--\r\n"),
        ("multipart/mixed", b"--b\r\n"),
        ("multipart/mixed; boundary=b", b"--b\r\n" * 5_000),
    ],
)
def test_an_answer_that_is_no_batchs_leaves_all_unknown(content_type: str, body: bytes, *, atomic: bool) -> None:
    with pytest.raises(OutcomeUnknown):
        batch_answer(HttpAnswer(200, {"content-type": content_type}, body), THREE, atomic=atomic)


@pytest.mark.parametrize(
    "parts", [[created(), created()], [created(0), empty(0), empty(0), empty(0)], [empty(2), empty(0)]]
)
def test_answers_that_cannot_be_distinguished_leave_all_unknown(parts: list[Part]) -> None:
    with pytest.raises(OutcomeUnknown):
        batch_answer(answer(parts, atomic=False), THREE, atomic=False)


def test_an_answer_that_breaks_off_tells_what_it_shows() -> None:
    """Wherever it is cut: what counts as done or failed does so in the whole answer, and nothing counts as not run."""
    whole = answer([created(), refused(2)], atomic=False)
    for length in range(len(whole.body) - 4):
        cut = HttpAnswer(whole.status, whole.headers, whole.body[:length])
        try:
            found = outcomes(batch_answer(cut, THREE, atomic=False))
        except OutcomeUnknown:
            continue
        assert found[0] in ("done", "unknown")
        assert found[1] in ("failed", "unknown")
        assert found[2] == "unknown", whole.body[:length]


def test_a_whole_change_set_that_breaks_off_never_counts_as_undone_without_its_reason() -> None:
    whole = answer([refused(2)], atomic=True)
    for length in range(len(whole.body)):
        cut = HttpAnswer(whole.status, whole.headers, whole.body[:length])
        try:
            found = batch_answer(cut, THREE, atomic=True)
        except OutcomeUnknown:
            continue
        assert outcomes(found) == ["not done", "failed", "not done"]
        assert b"AxODataWriteException" in cut.body


@pytest.mark.parametrize("atomic", [True, False])
def test_every_operation_has_a_content_id_of_its_own(*, atomic: bool) -> None:
    content_type, body = batch_body(THREE, "https://fo.invalid", atomic=atomic)
    text = body.decode()
    assert content_type.startswith("multipart/mixed; boundary=batch_")
    assert [line for line in text.split("\r\n") if line.startswith("Content-ID")] == [
        f"Content-ID: {n}" for n in (1, 2, 3)
    ]
    assert text.count("multipart/mixed; boundary=changeset_") == (1 if atomic else 3)


def test_what_is_not_given_is_not_sent() -> None:
    given: dict[str, Any] = {"method": "PATCH", "path": "Xs(1)", "write": Write("update"), "body": {}}
    assert b"If-Match" not in batch_body([BatchOperation(**given)], "https://fo.invalid", atomic=True)[1]
    assert b'If-Match: W/"1"' in batch_body([BatchOperation(**given, if_match='W/"1"')], "https://x", atomic=True)[1]
