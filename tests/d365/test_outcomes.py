"""What became of a write, for every answer there can be: done when it shows it, refused when F&O says so, else unknown."""

import json
from collections.abc import Iterator

import pytest

from d365mcp.d365.outcomes import Kind, Write, failure_of, proof_of_write
from d365mcp.d365.responses import HttpAnswer
from d365mcp.errors import D365Error, OutcomeUnknown, Throttled

JSON = "application/json; odata.metadata=minimal"
KEY = ("dataAreaId", "CustomerGroupId")
RECORD = {"@odata.etag": "W/x", "dataAreaId": "usmf", "CustomerGroupId": "91", "Description": "x"}
INFOLOG = (
    "Das Schreiben der Zeile vom Typ 'CustGroupEntity' schlug fehl. Infolog: Warnung: gesperrt.; Fehler: abgebrochen."
)


def odata(message: str = "", kind: str = "") -> str:
    inner = {"innererror": {"message": message, "type": kind, "stacktrace": "   at X"}} if message else {}
    return json.dumps({"error": {"code": "", "message": "An error has occurred.", **inner}})


def service(message: str, kind: str) -> str:
    return json.dumps({"Message": "An error has occurred.", "ExceptionMessage": message, "ExceptionType": kind})


BODIES: dict[str, tuple[str, str]] = {
    "nothing": ("", ""),
    "nothing of a page": ("text/html", ""),
    "page": ("text/html", "<html>Sign in</html>"),
    "unnamed page": ("", "\n <!DOCTYPE html><p>x"),
    "page with a mark": ("", "\ufeff <html>"),
    "xml": ("application/xml", "<m:error/>"),
    "xml of F&O's": ("application/xml", f'<m:error xmlns:m="http://docs.oasis-open.org/odata/ns/metadata"><m:message>{INFOLOG}</m:message></m:error>'),
    "text": ("text/plain", "OK"),
    "text like a record": ("text/plain", json.dumps(RECORD)),
    "cut": (JSON, json.dumps(RECORD)[:-20]),
    "record": (JSON, json.dumps(RECORD)),
    "record without its key": (JSON, json.dumps({**RECORD, "CustomerGroupId": None})),
    "other": (JSON, "{}"),
    "list": (JSON, "[]"),
    "value": (JSON, '{"@odata.context":"…#Edm.String","value":"10.0.43"}'),
    "error": (JSON, odata()),
    "refusal": (JSON, odata("Write failed", "Microsoft.Dynamics.Platform.Integration.Services.OData.AxODataWriteException")),
    "refusal with a mark": ("", "\ufeff" + odata("Write failed", "X.AxODataWriteException")),
    "infolog": (JSON, odata(INFOLOG, "System.Exception")),
    "action": (JSON, odata("Exception occurred while executing action submit", "System.InvalidOperationException")),
    "service": (JSON, service("Customer 99 does not exist", "Microsoft.Dynamics.Ax.Xpp.ErrorException")),
    "crash": (JSON, odata("Object reference not set", "System.NullReferenceException")),
    "timeout": (JSON, service("The wait operation timed out", "System.Data.SqlClient.SqlException")),
    "infolog of a timeout": (JSON, odata(INFOLOG, "System.TimeoutException")),
    "unwritten": (JSON, service("The 'ObjectContent`1' type failed to serialize the response body", "System.InvalidOperationException")),
}  # fmt: skip
# A gateway's JSON has not what F&O's errors have.
NOT_FOS = dict.fromkeys((403, 404), {"record", "record without its key", "value", "text like a record"})
PAGES = {"page", "unnamed page", "page with a mark", "xml"}
JSONS = {name for name, (media_type, _) in BODIES.items() if media_type == JSON} - {"cut"} | {"refusal with a mark"}
KINDS: tuple[Kind, ...] = ("create", "update", "delete", "action", "service", "batch", "change set")

# By kind, the successes whose body shows that it was done.
PROOF: dict[str, dict[int, set[str]]] = {
    "create": {200: {"record"}, 201: {"record"}},
    "update": {200: {"record"}, 204: {"nothing"}},
    "delete": {204: {"nothing"}},
    "action": {200: {"value"}, 201: {"value"}, 204: {"nothing"}},
    "service": {200: JSONS, 201: JSONS, 204: {"nothing"}},
}
# Whoever says so has not begun with it, in whatever words.
NOT_BEGUN = {400, 401, 405, 407, 411, 413, 414, 415, 429, 431}
REFUSED = {402, 403, 404, 406, 409, 410, 412, 416, 417, 418, 421, 422, 423, 424, 425, 426, 428, 451}
# Gateways' and clouds' own among them, and what nobody has ever sent.
FAILED = {408, 444, 460, 499, *range(500, 512), *range(520, 528), 529, 530, 561, 598, 599}
# The bodies that name what F&O refused, and by kind where there are others.
ANY_REASON = {"refusal", "refusal with a mark", "infolog", "xml of F&O's"}
REASONS: dict[str, set[str]] = {
    "batch": set(),
    "action": ANY_REASON | {"action"},
    "service": ANY_REASON | {"action", "service", "crash"},
}


def expected(kind: str, status: int, body: str) -> str:
    if status < 300:
        return "done" if body in PROOF[kind].get(status, ()) else "unknown"
    if status in NOT_BEGUN or (status in REFUSED and body not in PAGES | NOT_FOS.get(status, set())):
        return "refused"
    if status in FAILED and body in REASONS.get(kind, ANY_REASON):
        return "refused"
    return "unknown"


def outcome_of(answer: HttpAnswer, write: Write) -> tuple[str, D365Error | None]:
    try:
        if answer.status >= 300:
            raise failure_of(answer, write)
        proof_of_write(answer, write)
    except OutcomeUnknown as error:
        return "unknown", error
    except D365Error as error:
        return "refused", error
    return "done", None


def answer(status: int, body: str) -> HttpAnswer:
    media_type, text = BODIES[body]
    return HttpAnswer(status, {"content-type": media_type} if media_type else {}, text.encode())


def rows() -> Iterator[tuple[Kind, int]]:
    for kind in KINDS:
        if kind not in ("batch", "change set"):  # whose successes have parts
            yield from ((kind, status) for status in (200, 201, 202, 203, 204, 205, 206, 207, 226))
        yield from ((kind, status) for status in (300, 301, 302, 303, 304, 307, 308))
        yield from ((kind, status) for status in sorted(NOT_BEGUN | REFUSED | FAILED))


@pytest.mark.parametrize(("kind", "status"), list(rows()))
def test_every_answer_to_a_write_is_classified_by_its_evidence(kind: Kind, status: int) -> None:
    write = Write(kind, KEY)
    bodies = {"nothing"} if status in (204, 205, 304) else set(BODIES)
    found = {body: outcome_of(answer(status, body), write) for body in bodies}
    assert {body: outcome for body, (outcome, _) in found.items()} == {
        body: expected(kind, status, body) for body in bodies
    }
    for outcome, error in found.values():
        if error is None:
            continue
        described = error.describe()
        assert described["retryable"] == (status == 429)
        assert (described["code"] == "outcome_unknown") == (outcome == "unknown")
        assert described["http_status"] == status
        assert outcome == "refused" or "before trying again" in described["hint"]
        assert "   at X" not in str(described)


@pytest.mark.parametrize(("is_void", "outcome"), [(True, "done"), (False, "unknown")])
def test_only_an_action_that_returns_nothing_may_answer_nothing(outcome: str, *, is_void: bool) -> None:
    assert outcome_of(answer(200, "nothing"), Write("action", is_void=is_void))[0] == outcome


def test_a_throttled_write_has_its_wait_and_may_be_sent_again() -> None:
    error = failure_of(HttpAnswer(429, {"retry-after": "7"}), Write("create"))
    assert isinstance(error, Throttled)
    assert (error.retry_after, error.retryable) == (7.0, True)
    assert "has not begun" in str(error.hint)


def test_what_fo_said_goes_along_with_an_unknown_outcome() -> None:
    error = failure_of(answer(500, "crash"), Write("create"))
    assert error.messages == ("Object reference not set",)


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ((302, "nothing"), "a redirect came instead of its answer (HTTP 302)"),
        ((404, "page"), "a sign-in page answered in F&O's place (HTTP 404)"),
        ((504, "nothing"), "a failure without a reason came instead of its answer (HTTP 504)"),
        ((200, "page"), "its answer, HTTP 200 with text/html instead of JSON, does not show it"),
        ((200, "nothing"), "its answer, HTTP 200 with nothing, does not show it"),
        ((201, "text"), "its answer, HTTP 201 with text/plain instead of JSON, does not show it"),
        ((200, "unnamed page"), "its answer cannot be used (a gateway page answered in F&O's place (HTTP 200))"),
        ((200, "cut"), "its answer cannot be used (F&O answered with something that is not JSON)"),
    ],
)
def test_an_unknown_outcome_says_what_came(found: tuple[int, str], words: str) -> None:
    outcome, error = outcome_of(answer(*found), Write("create", KEY))
    assert outcome == "unknown"
    assert words in str(error)


def test_json_that_would_fill_the_memory_shows_nothing() -> None:
    deep = HttpAnswer(201, {"content-type": JSON}, b"[" * 200 + b"]" * 200)
    outcome, error = outcome_of(deep, Write("service"))
    assert outcome == "unknown"
    assert "nested" in str(error)


def test_a_body_of_any_shape_is_read() -> None:
    for body in ("{", "[", "null", '{"error":null}', '{"error":"x"}', '{"error":{"innererror":[]}}', '{"Message":5}'):
        assert outcome_of(HttpAnswer(500, {}, body.encode()), Write("action"))[0] == "unknown"
