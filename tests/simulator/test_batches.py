"""`$batch`: multipart requests, change sets that hold as a whole, failures inside."""

from __future__ import annotations

import json
import re
from email.parser import BytesParser
from email.policy import HTTP
from typing import Any

import httpx
import pytest

from tests.simulated import Simulator

pytestmark = pytest.mark.once

GROUP = "CustomerGroups(dataAreaId='usmf',CustomerGroupId='91')"


def operation(line: str, body: Any = None, content_id: str = "") -> str:
    head = ["Content-Type: application/http", "Content-Transfer-Encoding: binary"]
    head += [f"Content-ID: {content_id}"] if content_id else []
    payload = "" if body is None else json.dumps(body)
    return "\r\n".join([*head, "", f"{line} HTTP/1.1", "Content-Type: application/json", "", payload, ""])


def multipart(boundary: str, *parts: str) -> str:
    return "".join(f"--{boundary}\r\n{part}" for part in parts) + f"--{boundary}--\r\n"


def change_set(*operations: str) -> str:
    return "Content-Type: multipart/mixed; boundary=changeset_1\r\n\r\n" + multipart("changeset_1", *operations)


def create(group: str, content_id: str = "1") -> str:
    body = {"dataAreaId": "usmf", "CustomerGroupId": group, "Description": "MCP test"}
    return operation("POST CustomerGroups?cross-company=true", body, content_id)


def send(fo: httpx.Client, *parts: str, **headers: str) -> httpx.Response:
    content = multipart("batch_1", *parts).encode()
    return fo.post(
        "/data/$batch", content=content, headers={"Content-Type": "multipart/mixed; boundary=batch_1"} | headers
    )


def answers(reply: httpx.Response) -> list[tuple[int, str]]:
    """Status and Content-ID of every operation, as a strict multipart parser reads them."""
    assert reply.status_code == 200, reply.text
    head = f"Content-Type: {reply.headers['content-type']}\r\n\r\n".encode()
    message = BytesParser(policy=HTTP).parsebytes(head + reply.content)
    parts = [part for part in message.walk() if part.get_content_type() == "application/http"]
    return [(int(re.match(r"HTTP/1.1 (\d+)", str(part.get_payload()))[1]), part["Content-ID"] or "") for part in parts]  # type: ignore[index]


def logged(simulator: Simulator) -> list[tuple[str, int | None, bool]]:
    """Content-ID, status and whether it was done, of every operation of the last batch."""
    (*_, batch) = simulator.log("/data/$batch")
    return [(part["content_id"], part["status"], part["done"]) for part in batch["parts"]]


def test_a_change_set_is_carried_out_in_order(fo: httpx.Client) -> None:
    reply = send(fo, change_set(create("91"), operation(f"PATCH {GROUP}", {"Description": "two"}, "2")))
    assert answers(reply) == [(201, "1"), (204, "2")]
    assert re.search(r"ETag: W/", reply.text)
    assert re.search(r"Location: http\S+CustomerGroups\(", reply.text)
    assert fo.get(f"/data/{GROUP}").json()["Description"] == "two"


def test_a_failing_operation_takes_the_whole_change_set_back(simulator: Simulator, fo: httpx.Client) -> None:
    reply = send(fo, change_set(create("91"), operation(f"PATCH {GROUP}", {"Nme": "x"}, "2"), create("92", "3")))
    assert answers(reply) == [(400, "2")]
    assert "Could not find a property named 'Nme'" in reply.text
    assert fo.get(f"/data/{GROUP}").status_code == 404
    assert logged(simulator) == [("1", None, False), ("2", 400, False), ("3", None, False)]


def test_what_business_logic_refuses_in_a_change_set_has_status_500(fo: httpx.Client) -> None:
    reply = send(fo, change_set(create("91"), create("91", "2")))
    assert answers(reply) == [(500, "2")]
    assert "multipart/mixed; boundary=changesetresponse_" in reply.text
    assert "AxODataWriteException" in reply.text
    assert r"Infolog: Info: Cannot create a record in Customer groups (CustGroup). Customer group" in reply.text
    assert r": 91, MCP test.\nThe record already exists.." in reply.text


def test_change_sets_stand_alone(simulator: Simulator, fo: httpx.Client) -> None:
    sets = [change_set(create("91")), change_set(create("92", "2"), create("92", "3"))]
    reply = send(fo, *sets, Prefer="odata.continue-on-error")
    assert answers(reply) == [(201, "1"), (500, "3")]
    assert fo.get(f"/data/{GROUP}").status_code == 200
    assert logged(simulator) == [("1", 201, True), ("2", None, False), ("3", 500, False)]


def test_reads_stand_beside_change_sets(simulator: Simulator, fo: httpx.Client) -> None:
    absolute = f"GET {simulator.base_url}/data/{GROUP}"
    reply = send(fo, change_set(create("91")), operation(f"GET {GROUP}?$select=Description"), operation(absolute))
    assert answers(reply) == [(201, "1"), (200, ""), (200, "")]


@pytest.mark.parametrize(
    ("prefer", "goes_on"),
    [
        ("", False),
        ("odata.continue-on-error", True),
        ("continue-on-error", True),
        ("return=minimal, OData.Continue-On-Error", True),
        ("continue-on-error=true", True),
        ("continue-on-error=false", False),
        ("odata.maxpagesize=5", False),
    ],
)
def test_a_batch_stops_at_the_first_failure_unless_told_otherwise(
    fo: httpx.Client, prefer: str, *, goes_on: bool
) -> None:
    parts = [operation("GET Nothing"), operation("GET Currencies?$top=1")]
    reply = send(fo, *parts, Prefer=prefer)
    assert answers(reply) == ([(404, ""), (200, "")] if goes_on else [(404, "")])
    assert ("preference-applied" in reply.headers) == goes_on


def test_a_batch_may_be_made_to_stop_whatever_it_is_told(simulator: Simulator, fo: httpx.Client) -> None:
    simulator.control(heed_prefer=0)
    sets = [change_set(create("91")), change_set(create("91", "2")), change_set(create("92", "3"))]
    assert answers(send(fo, *sets, Prefer="odata.continue-on-error")) == [(201, "1"), (500, "2")]
    assert logged(simulator) == [("1", 201, True), ("2", 500, False), ("3", None, False)]


def test_the_answer_to_what_was_done_can_get_lost(simulator: Simulator, fo: httpx.Client) -> None:
    simulator.fault("/CustomerGroups", status=504, after=True)
    simulator.fault("/CustomerGroups", kind="drop", after=True)
    sets = [change_set(create("91")), change_set(create("92", "2")), change_set(create("93", "3"))]
    reply = send(fo, *sets, Prefer="odata.continue-on-error")
    assert answers(reply) == [(504, "1"), (201, "3")]
    assert logged(simulator) == [("1", 504, True), ("2", 0, True), ("3", 201, True)]
    assert fo.get(f"/data/{GROUP.replace('91', '92')}").status_code == 200


@pytest.mark.parametrize("status", [408, 499, 507, 520, 524])
def test_a_part_may_have_any_status(simulator: Simulator, fo: httpx.Client, status: int) -> None:
    simulator.fault("/CustomerGroups", status=status)
    assert answers(send(fo, change_set(create("91")))) == [(status, "1")]


def test_throttling_can_hide_inside_a_batch(simulator: Simulator, fo: httpx.Client) -> None:
    simulator.fault("/data/CustomerGroups", status=429, headers={"Retry-After": "15"})
    reply = send(fo, change_set(create("91")))
    assert answers(reply) == [(429, "1")]
    assert "Retry-After: 15" in reply.text


def test_non_ascii_bodies_survive(fo: httpx.Client) -> None:
    body = {"dataAreaId": "usmf", "CustomerGroupId": "91", "Description": "Größe – 大"}
    assert answers(send(fo, operation("POST CustomerGroups", body))) == [(201, "")]
    assert fo.get(f"/data/{GROUP}").json()["Description"] == "Größe – 大"


def test_a_boundary_inside_a_value_is_no_boundary(fo: httpx.Client) -> None:
    body = {"dataAreaId": "usmf", "CustomerGroupId": "91", "Description": "--batch_1--"}
    assert answers(send(fo, operation("POST CustomerGroups", body), operation(f"GET {GROUP}"))) == [
        (201, ""),
        (200, ""),
    ]


@pytest.mark.parametrize(
    "content",
    [
        multipart("batch_1", change_set(operation("GET Currencies"))),
        multipart("batch_1", operation("GET https://elsewhere.example/data/Currencies")),
        multipart("batch_1", "Content-Type: application/http\r\n\r\nnonsense\r\n"),
        multipart("batch_1", operation("GET Currencies")).replace("--batch_1--", ""),
        multipart("batch_1", operation("GET Currencies")).replace("\r\n", "\n"),
        "",
    ],
)
def test_a_malformed_batch_is_refused_as_a_whole(fo: httpx.Client, content: str) -> None:
    headers = {"Content-Type": "multipart/mixed; boundary=batch_1"}
    assert fo.post("/data/$batch", content=content.encode(), headers=headers).status_code == 400


@pytest.mark.parametrize(
    ("parts", "complaint"),
    [
        ([change_set(create("91"), create("92"))], "more than once"),
        ([change_set(create("91")), change_set(create("92"))], "more than once"),
        ([change_set(create("91", ""))], "'Content-ID' was not present"),
    ],
)
def test_operations_must_be_told_apart(fo: httpx.Client, parts: list[str], complaint: str) -> None:
    reply = send(fo, *parts)
    assert (reply.status_code, complaint in reply.text) == (400, True)
    assert fo.get(f"/data/{GROUP}").status_code == 404


def test_a_batch_must_be_multipart(fo: httpx.Client) -> None:
    assert fo.post("/data/$batch", json={"requests": []}).status_code == 400


def test_a_batch_holds_five_thousand_operations_at_most(fo: httpx.Client) -> None:
    assert send(fo, *[operation("GET Currencies?$top=0")] * 5_001).status_code == 400
