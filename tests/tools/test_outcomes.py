"""A write is reported as what it was: done when F&O's answer shows it, refused when F&O says so, unknown in all other cases."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.d365.test_infolog import INFOLOGS
from tests.served import Served, each_part

pytestmark = pytest.mark.alike

GROUP = {"dataAreaId": "usmf", "CustomerGroupId": "91", "Description": "MCP test"}
KEY = {"dataAreaId": "usmf", "CustomerGroupId": "91"}
GROUPS = {"entity_name": "CustomerGroups"}
SERVICE = {"service_group": "ContosoServices", "service_name": "ContosoPriceService", "operation_name": "GetPrice"}
VERSION = {"action": "GetApplicationVersion", "entity_name": "DataManagementEntities"}
WRITE_EXCEPTION = "Microsoft.Dynamics.Platform.Integration.Services.OData.AxODataWriteException"
INFOLOG = (
    "Fehler beim Schreiben der Zeile vom Typ 'X'. Infolog: Warnung: Die Gruppe ist gesperrt.; Fehler: Abgebrochen."
)

# Each tool that writes: the path its request has, and its arguments.
CALLS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "create": ("/CustomerGroups", "create_entity_record", {**GROUPS, "data": {**GROUP, "CustomerGroupId": "92"}}),
    "update": ("/CustomerGroups", "update_entity_record", {**GROUPS, "key": KEY, "data": {"Description": "new"}}),
    "delete": ("/CustomerGroups", "delete_entity_record", {**GROUPS, "key": KEY, "confirm": True}),
    "action": ("GetApplicationVersion", "call_action", VERSION),
    "service": ("/api/services/Contoso", "call_json_service", {**SERVICE, "parameters": {"_contract": {}}}),
    "batch": (r"\$batch", "batch", {"operations": [{"operation": "create", **GROUPS, "data": {**GROUP, "CustomerGroupId": "92"}}]}),
}  # fmt: skip
METHODS = {"update": "PATCH", "delete": "DELETE"}


def odata(message: str, kind: str) -> dict[str, Any]:
    inner = {"message": message, "type": kind, "stacktrace": "   at X"}
    return {"error": {"code": "", "message": "An error has occurred.", "innererror": inner}}


REFUSAL = odata(INFOLOG, WRITE_EXCEPTION)
THROWN = {
    "Message": "An error has occurred.",
    "ExceptionMessage": "Exception has been thrown by the target of an invocation.",
    "ExceptionType": "System.Reflection.TargetInvocationException",
    "InnerException": {"ExceptionMessage": "Customer 99 does not exist.", "ExceptionType": "X++"},
}


@pytest.fixture
def attempt(writer: Served) -> Callable[..., dict[str, Any]]:
    """Write while something fails, and return what comes of it: a result, or an error with its code."""
    writer.call("create_entity_record", **GROUPS, data=GROUP)

    def one(write: str, /, **fault: Any) -> dict[str, Any]:
        path, tool, arguments = CALLS[write]
        writer.simulator.fault(path, method=METHODS.get(write, "POST"), **fault)
        result = writer.send(tool, arguments)
        return dict(json.loads(getattr(result.content[0], "text", "")))

    return one


Attempt = Callable[..., dict[str, Any]]
ALL = list(CALLS)
ODD_SUCCESSES: list[tuple[dict[str, Any], set[str]]] = [
    ({"kind": "html", "status": 200}, set()),
    ({"kind": "html", "status": 201}, set()),
    ({"kind": "empty", "status": 200}, set()),
    ({"kind": "empty", "status": 201}, set()),
    ({"kind": "empty", "status": 202}, set()),
    ({"kind": "empty", "status": 204}, {"update", "delete", "action", "service"}),
    ({"status": 200, "body": "{}"}, {"service"}),
    ({"status": 200, "body": "OK", "headers": {"content-type": "text/plain"}}, set()),
    ({"kind": "malformed"}, set()),
]


@pytest.mark.parametrize(("fault", "proven"), ODD_SUCCESSES)
def test_done_only_when_the_answer_shows_it(attempt: Attempt, fault: dict[str, Any], proven: set[str]) -> None:
    """Also with status 200, 201 or 204: HTML, nothing, half of it or something else show nothing."""
    for kind in ALL:
        if fault == {"kind": "malformed"} and kind in ("update", "delete"):  # which answer with nothing
            continue
        result = attempt(kind, **fault)
        if kind in proven:
            assert "code" not in result, (kind, result)
        else:
            assert (kind, result["code"], result["retryable"]) == (kind, "outcome_unknown", False)
            assert "before" in result["hint"]


@pytest.mark.parametrize("status", [408, 499, 500, 501, 502, 503, 504, 507, 520, 524, 598])
def test_a_failure_without_a_reason_leaves_it_open(writer: Served, attempt: Attempt, status: int) -> None:
    for kind in ALL:
        result = attempt(kind, status=status, times=1)
        assert (kind, result["code"], result["retryable"]) == (kind, "outcome_unknown", False)
        assert result["http_status"] == status
    writes = [entry for entry in writer.requests("/") if entry["status"] == status]
    assert len(writes) == len(ALL)  # each was sent once


@pytest.mark.parametrize("status", [400, 404, 408, 409, 500, 503])
def test_a_refusal_is_one_whatever_its_status(attempt: Attempt, status: int) -> None:
    for kind in ALL:
        result = attempt(kind, status=status, body=REFUSAL)
        assert result["code"] not in ("outcome_unknown", "unavailable"), kind
        assert (result["retryable"], result["http_status"]) == (False, status)
        assert result["d365_messages"][1:] == ["Warnung: Die Gruppe ist gesperrt.", "Fehler: Abgebrochen."]


def test_what_a_json_service_throws_inside_is_given(attempt: Attempt) -> None:
    for status in (400, 500):
        result = attempt("service", status=status, body=THROWN)
        assert (result["code"], result["retryable"]) == ("bad_request", False)
        assert result["d365_messages"][0] == "Customer 99 does not exist."


@pytest.mark.parametrize("status", [403, 404, 302])
def test_what_something_in_between_says_is_not_fos_word(attempt: Attempt, status: int) -> None:
    for kind in ALL:
        result = attempt(kind, kind="html", status=status)
        assert (kind, result["code"]) == (kind, "outcome_unknown")
        assert "No CustomerGroups record" not in result["message"]


LOST: list[dict[str, Any]] = [
    {"kind": "drop"},
    {"kind": "cut"},
    {"status": 502},
    {"status": 504, "kind": "html"},
    {"status": 200, "kind": "empty"},
    {"status": 404, "kind": "html"},
]


@pytest.mark.parametrize("fault", LOST)
def test_what_was_done_and_whose_reply_got_lost_is_never_said_as_undone(
    writer: Served, attempt: Attempt, fault: dict[str, Any]
) -> None:
    for kind in ALL:
        if kind == "create":
            writer.simulator.reset()
            writer.call("create_entity_record", **GROUPS, data=GROUP)
        if kind == "batch":
            writer.simulator.reset()
        result = attempt(kind, **fault, after=True)
        assert (kind, result["code"], result["retryable"]) == (kind, "outcome_unknown", False)
        lost = [entry for entry in writer.requests("/") if entry["method"] != "GET" and entry["done"]]
        assert lost[-1]["status"] != 201


def test_a_dropped_connection_is_said_with_what_to_look_for(attempt: Attempt) -> None:
    hints = {kind: attempt(kind, kind="drop")["hint"] for kind in ALL}
    assert "Query CustomerGroups in company usmf for CustomerGroupId eq '92'" in hints["create"]
    assert "d365fo_get_entity_record and compare" in hints["update"]
    assert "not found means it was deleted" in hints["delete"]
    assert "before invoking it again" in hints["action"] == hints["service"]


@pytest.mark.parametrize(
    "fault", [*LOST, {"kind": "html", "status": 200}, {"status": 200, "body": "{}"}, {"status": 503}]
)
def test_a_document_of_a_controller_of_the_callers_own_is_a_write_too(writer: Served, fault: dict[str, Any]) -> None:
    """It does whatever it does: it is not run twice, and reported as any action."""
    report = {"controller": "SalesInvoiceController", "table": "CustInvoiceJour", "field": "InvoiceId"}
    asked = {"document": "custom", "number": "CIV-000708", "company": "usmf", **report}
    writer.simulator.fault("RunCopilotReport", **fault, after=True, times=3)
    error = writer.refuse("download_document", **asked)
    assert (error["code"], error["retryable"]) == ("outcome_unknown", False)
    assert len([entry for entry in writer.requests() if "RunCopilotReport" in entry["path"]]) == 1


# Throttling comes before the work


@pytest.mark.parametrize("kind", ALL)
def test_a_write_waits_out_a_throttle(writer: Served, attempt: Attempt, kind: str) -> None:
    before = len(writer.requests("/"))
    began = time.monotonic()
    result = attempt(kind, status=429, headers={"Retry-After": "1"})
    assert "code" not in result
    assert time.monotonic() - began > 0.9
    sent = [entry["status"] for entry in writer.requests("/")[before:] if entry["method"] != "GET"]
    assert (sent[0], len(sent)) == (429, 2)


@pytest.mark.parametrize("kind", ALL)
def test_a_throttle_that_lasts_is_said_as_one_before_the_work(writer: Served, attempt: Attempt, kind: str) -> None:
    result = attempt(kind, status=429, headers={"Retry-After": "60"}, times=9)
    assert (result["code"], result["retryable"], result["retry_after"]) == ("throttled", True, 60)
    assert "has not begun" in result["hint"]
    sent = [entry for entry in writer.requests("/") if entry["status"] == 429]
    assert len(sent) == 1


# A batch, part by part


def create(number: str) -> dict[str, Any]:
    return {"operation": "create", **GROUPS, "data": {**GROUP, "CustomerGroupId": number}}


def groups(served: Served) -> set[str]:
    found = served.call("query_entities", **GROUPS, select=["CustomerGroupId"], filter="Description eq 'MCP test'")
    return {record["CustomerGroupId"] for record in found["records"]}


@pytest.mark.parametrize("pattern", ["a", "-", "ab", "a-b", "-ab", "ab-", "--a", "a--", "---", "-a-b-"])
@pytest.mark.parametrize("heeded", [True, False])
def test_a_batch_that_is_not_atomic_goes_on_after_a_failure(writer: Served, pattern: str, *, heeded: bool) -> None:
    """`-` is a duplicate. Where F&O does not heed the header it stops at the first, and what follows was not run."""
    writer.call("create_entity_record", **GROUPS, data=GROUP)
    writer.simulator.control(heed_prefer=int(heeded))
    operations = [create("91" if letter == "-" else letter) for letter in pattern]
    result = writer.call("batch", operations=operations, atomic=False)
    first = pattern.find("-")
    stopped = len(pattern) if heeded or first < 0 else first + 1
    wanted = ["failed" if letter == "-" else "done" for letter in pattern[:stopped]]
    wanted += ["not run"] * (len(pattern) - stopped)
    if set(wanted) == {"done"}:
        assert (result["outcome"], result["count"]) == ("done", len(pattern))
    else:
        assert [part["outcome"] for part in each_part(result)] == wanted
    assert groups(writer) == {
        "91",
        *(letter for letter, outcome in zip(pattern, wanted, strict=True) if outcome == "done"),
    }
    for part in result.get("parts", ()):
        if part["outcome"] == "failed":
            assert "The record already exists." in part["error"]["d365_messages"]
            assert not part["error"]["retryable"]
    [sent] = writer.requests("/data/$batch")
    assert sent["headers"]["prefer"] == "odata.continue-on-error"


@pytest.mark.parametrize("pattern", ["-ab", "a-b", "ab-", "a"])
def test_an_atomic_batch_names_the_operation_that_failed_and_no_other(writer: Served, pattern: str) -> None:
    writer.call("create_entity_record", **GROUPS, data=GROUP)
    result = writer.call("batch", operations=[create("91" if letter == "-" else letter) for letter in pattern])
    [sent] = writer.requests("/data/$batch")
    assert "prefer" not in sent["headers"]
    if "-" not in pattern:
        assert result["outcome"] == "done"
        return
    assert result["outcome"] == "failed: nothing was changed"
    assert [part["outcome"] for part in each_part(result)] == [
        "failed" if each == "-" else "not done" for each in pattern
    ]
    assert [part["error"]["http_status"] for part in each_part(result) if "error" in part] == [500]
    assert groups(writer) == {"91"}


@pytest.mark.parametrize("language", INFOLOGS)
def test_a_refused_change_set_is_recognised_in_any_language(writer: Served, language: str) -> None:
    message, entries = INFOLOGS[language]
    body = odata(message, WRITE_EXCEPTION)
    writer.simulator.fault("/CustomerGroups", method="POST", after_n=1, status=500, body=body)
    result = writer.call("batch", operations=[create("a"), create("b"), create("c")])
    assert [part["outcome"] for part in each_part(result)] == ["not done", "failed", "not done"]
    error = each_part(result)[1]["error"]
    assert (error["code"], error["retryable"]) == ("bad_request", False)
    assert error["d365_messages"][1:] == entries


@pytest.mark.parametrize("status", [408, 500, 503, 504])
@pytest.mark.parametrize("after", [True, False])
def test_an_atomic_batch_that_fails_without_a_reason_is_not_nothing_was_changed(
    writer: Served, status: int, *, after: bool
) -> None:
    writer.simulator.fault("/CustomerGroups", method="POST", status=status, after=after)
    error = writer.refuse("batch", operations=[create("a"), create("b")])
    assert (error["code"], error["retryable"], error["http_status"]) == ("outcome_unknown", False, status)
    assert groups(writer) == ({"a", "b"} if after else set())


@pytest.mark.parametrize("atomic", [True, False])
def test_a_part_whose_answer_is_missing_is_of_unknown_outcome(writer: Served, *, atomic: bool) -> None:
    writer.simulator.fault("/CustomerGroups", method="POST", kind="drop", after=True, times=2)
    result = writer.call("batch", operations=[create("a"), create("b"), create("c")], atomic=atomic)
    assert [part["outcome"] for part in each_part(result)] == ["unknown", "unknown", "done"]
    for letter, part in zip("ab", each_part(result), strict=False):
        assert f"CustomerGroupId eq '{letter}'" in part["error"]["hint"]
    assert result["outcome"] == "1 of 3 done, 2 unknown"


@pytest.mark.parametrize("fault", [{"kind": "empty", "status": 204}, {"kind": "html", "status": 200}, {"status": 502}])
def test_a_part_that_shows_nothing_is_of_unknown_outcome(writer: Served, fault: dict[str, Any]) -> None:
    writer.simulator.fault("/CustomerGroups", method="POST", **fault, after=True)
    result = writer.call("batch", operations=[create("a"), create("b")], atomic=False)
    assert [part["outcome"] for part in each_part(result)] == ["unknown", "done"]
    assert groups(writer) == {"a", "b"}


def test_each_kind_of_operation_has_its_own_words_in_a_batch(writer: Served) -> None:
    missing = {**GROUPS, "key": {**KEY, "CustomerGroupId": "none"}}
    update = {"operation": "update", **missing, "data": {"Description": "x"}}
    operations = [create("a"), update, {"operation": "delete", **missing}, create("b")]
    result = writer.call("batch", operations=operations, atomic=False, confirm=True)
    assert [part["outcome"] for part in each_part(result)] == ["done", "failed", "failed", "done"]
    errors = [part["error"] for part in each_part(result) if "error" in part]
    assert {(error["code"], error["message"]) for error in errors} == {
        ("not_found", "No CustomerGroups record has this key.")
    }


# What was done is reported as done


@pytest.mark.parametrize(
    "fault", [{"status": 429, "headers": {"Retry-After": "99"}}, {"status": 403}, {"status": 404}, {"kind": "html"}, {"kind": "drop"}]
)  # fmt: skip
def test_an_update_stays_done_when_its_record_cannot_be_read_back(writer: Served, fault: dict[str, Any]) -> None:
    writer.call("create_entity_record", **GROUPS, data=GROUP)
    writer.simulator.fault("/CustomerGroups", method="GET", times=9, **fault)
    asked = {**GROUPS, "key": KEY, "data": {"Description": "new"}, "return_record": True}
    result = writer.call("update_entity_record", **asked)
    assert result["outcome"] == "updated"
    assert "record" not in result
    assert any("could not be read back" in note for note in result["notes"])


def test_an_update_is_done_too_when_its_answer_is_the_record(writer: Served, attempt: Attempt) -> None:
    result = attempt("update", status=200, body={**GROUP, "Description": "new"})
    assert result["outcome"] == "updated"


def test_a_create_is_said_by_the_record_that_comes_back(attempt: Attempt) -> None:
    assert attempt("create", status=200, body=GROUP)["key"] == KEY
    assert attempt("create", status=201, body={"Description": "x"})["code"] == "outcome_unknown"
    assert attempt("create", status=201, body={**GROUP, "CustomerGroupId": None})["code"] == "outcome_unknown"
