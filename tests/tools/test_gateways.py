"""What answers in F&O's place is reported as what it is: a gateway, a sign-in, maintenance."""

from typing import Any

import pytest

from tests.served import Served

pytestmark = pytest.mark.alike

CUSTOMERS = {"entity_name": "CustomersV3", "select": ["CustomerAccount"]}
KEY = {"dataAreaId": "usmf", "CustomerAccount": "US-001"}
HTML = {"content-type": "text/html"}
GATEWAY = "<html><head><title>403 Forbidden</title></head><body><center>Microsoft-Azure-Application-Gateway/v2</center></body></html>"
SIGN_IN = "<!DOCTYPE html><html><head><title>Sign in to your account</title></head></html>"
MAINTENANCE = "<html><body><h1>This environment is down for maintenance</h1></body></html>"
XML = '<?xml version="1.0"?><error><code>404</code><message>Resource not found</message></error>'

PAGES: list[tuple[str, dict[str, Any], str]] = [
    ("A gateway page", {"status": 403, "body": GATEWAY, "headers": HTML}, "invalid_answer"),
    ("A gateway page", {"status": 404, "body": GATEWAY, "headers": HTML}, "invalid_answer"),
    ("A gateway page", {"status": 404, "body": "\ufeff\r\n" + GATEWAY, "headers": HTML}, "invalid_answer"),
    ("A gateway page", {"status": 404, "body": GATEWAY}, "invalid_answer"),
    ("A gateway page", {"status": 400, "body": GATEWAY, "headers": HTML}, "invalid_answer"),
    ("A gateway page", {"status": 404, "body": XML, "headers": {"content-type": "text/xml"}}, "invalid_answer"),
    ("A gateway message", {"status": 404, "body": {"statusCode": 404, "message": "Not found"}}, "invalid_answer"),
    ("A gateway page", {"status": 200, "body": GATEWAY, "headers": HTML}, "invalid_answer"),
    ("A sign-in page", {"status": 200, "body": SIGN_IN, "headers": HTML}, "invalid_answer"),
    ("A sign-in page", {"status": 403, "body": SIGN_IN, "headers": HTML}, "invalid_answer"),
    (
        "A sign-in redirect",
        {
            "status": 302,
            "body": "",
            "headers": {"location": "https://login.microsoftonline.com/x/oauth2/authorize?y=z"},
        },
        "invalid_answer",
    ),
    ("A sign-in redirect", {"status": 302, "body": "", "headers": {"location": "/Account/Login?x"}}, "invalid_answer"),
    ("A maintenance page", {"status": 404, "body": MAINTENANCE, "headers": HTML}, "unavailable"),
    ("A maintenance page", {"status": 403, "body": MAINTENANCE, "headers": HTML}, "unavailable"),
    ("A maintenance page", {"status": 200, "body": MAINTENANCE, "headers": HTML}, "invalid_answer"),
]


@pytest.mark.parametrize(("what", "answer", "code"), PAGES)
@pytest.mark.parametrize("tool", ["query_entities", "get_entity_record", "query_sql"])
def test_a_page_in_between_is_said_as_what_it_is(
    reader: Served, tool: str, what: str, answer: dict[str, Any], code: str
) -> None:
    arguments: dict[str, dict[str, Any]] = {
        "query_entities": CUSTOMERS,
        "get_entity_record": {"entity_name": "CustomersV3", "key": KEY},
        "query_sql": {"sql": "SELECT count(*) n FROM CustomersV3"},
    }
    reader.simulator.fault("/data/CustomersV3", times=3, **answer)
    error = reader.refuse(tool, **arguments[tool])
    assert f"{what} answered in F&O's place" in error["message"]
    assert (error["code"], "key" in error["hint"], "<" in str(error)) == (code, False, False)


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        ("\ufeff" + '{"error":{"code":"","message":"The very reason."}}', {}),
        ('"{\\"error\\":{\\"message\\":\\"The very reason.\\"}}"', {"content-type": "text/plain"}),
        ('{"Message":"The very reason."}', {"content-type": "text/plain"}),
        (
            '<?xml version="1.0"?><m:error xmlns:m="http://docs.oasis-open.org/odata/ns/metadata"><m:code />'
            '<m:message xml:lang="en-US">The very reason.</m:message></m:error>',
            {"content-type": "application/xml"},
        ),
    ],
)
@pytest.mark.parametrize(("status", "code"), [(400, "bad_request"), (403, "forbidden"), (404, "not_found")])
def test_f_and_os_own_words_are_read_in_whatever_clothes(
    reader: Served, body: str, headers: dict[str, str], status: int, code: str
) -> None:
    reader.simulator.fault("/data/CustomersV3", status=status, body=body, headers=headers, times=2)
    error = reader.refuse("get_entity_record", entity_name="CustomersV3", key=KEY)
    assert (error["code"], error["d365_messages"]) == (code, ["The very reason."])


def test_records_behind_a_byte_order_mark_are_read(reader: Served) -> None:
    body = "\ufeff" + '{"value":[{"dataAreaId":"usmf","CustomerAccount":"US-001"}]}'
    reader.simulator.fault("/data/CustomersV3", status=200, body=body)
    assert reader.call("query_entities", **CUSTOMERS)["records"] == [{"CustomerAccount": "US-001"}]


@pytest.mark.parametrize("body", ["", {"error": {"message": "Not found."}}, {"Message": "No HTTP resource was found."}])
def test_a_missing_record_is_still_one(reader: Served, body: Any) -> None:
    reader.simulator.fault("/data/CustomersV3", status=404, body=body)
    error = reader.refuse("get_entity_record", entity_name="CustomersV3", key=KEY)
    assert (error["code"], error["message"]) == ("not_found", "No CustomersV3 record has this key.")
