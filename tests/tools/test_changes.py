"""Writing: only when allowed, checked before it is sent, never done twice, and reported honestly."""

from typing import Any

import pytest

from tests.served import Served, each_part, serving
from tests.simulated import Simulator

pytestmark = pytest.mark.alike

GROUP = {"dataAreaId": "usmf", "CustomerGroupId": "91", "Description": "MCP test"}
CUSTOMER = {"OrganizationName": "Test & Söhne", "CustomerGroupId": "30", "SalesCurrencyCode": "USD"}
CUSTOMERS = {"entity_name": "CustomersV3"}
US_001 = {"dataAreaId": "usmf", "CustomerAccount": "US-001"}
WRITERS = ["create_entity_record", "update_entity_record", "delete_entity_record", "batch", "call_action"]


def written(served: Served) -> list[str]:
    return [request["method"] for request in served.requests() if request["method"] != "GET"]


def test_writing_is_hidden_and_refused_by_default(reader: Served) -> None:
    names = {tool.name for tool in reader.tools()}
    assert not names & {f"d365fo_{name}" for name in WRITERS}
    error = reader.refuse("create_entity_record", entity_name="CustomerGroups", data=GROUP)
    assert (error["code"], "MCP_READ_ONLY" in error["message"]) == ("not_allowed", True)
    assert written(reader) == []


def test_a_created_record_has_the_number_f_and_o_gave_it(writer: Served) -> None:
    result = writer.call("create_entity_record", entity_name="CustomersV3", data=CUSTOMER, company="usmf")
    assert result["key"]["dataAreaId"] == "usmf"
    assert result["key"]["CustomerAccount"]
    read = writer.call("get_entity_record", entity_name="CustomersV3", key=result["key"])
    assert read["record"]["OrganizationName"] == "Test & Söhne"


def test_all_that_is_wrong_with_a_body_is_said_at_once(writer: Served) -> None:
    data = {"OrganisationName": "x", "CreditLimit": "abc", "OnHoldStatus": "Sometimes"}
    message = writer.refuse("create_entity_record", entity_name="CustomersV3", data=data)["message"]
    assert all(word in message for word in ("OrganizationName", "CreditLimit", "Sometimes"))
    assert written(writer) == []


def test_an_enumeration_member_is_put_right(writer: Served) -> None:
    data = {**CUSTOMER, "OnHoldStatus": "all"}
    result = writer.call("create_entity_record", entity_name="CustomersV3", data=data, company="usmf", dry_run=True)
    assert result["request"]["body"]["OnHoldStatus"] == "All"


def test_a_small_number_is_written_without_an_exponent(writer: Served) -> None:
    change = {"entity_name": "CustomersV3", "key": US_001, "data": {"CreditLimit": 0.00001}}
    assert writer.call("update_entity_record", **change, return_record=True)["record"]["CreditLimit"] == 0.00001
    change["data"] = {"CreditLimit": -2.5e-7}
    writer.call("batch", operations=[{"operation": "update", **change}])
    read = writer.call("get_entity_record", entity_name="CustomersV3", key=US_001)
    assert read["record"]["CreditLimit"] == -2.5e-7


def test_a_dry_run_shows_the_request_and_sends_nothing(writer: Served) -> None:
    result = writer.call(
        "update_entity_record", entity_name="CustomersV3", key=US_001, data={"CreditLimit": 5}, dry_run=True
    )
    assert result["outcome"] == "checked, nothing sent"
    assert result["request"] == {
        "method": "PATCH",
        "path": "/data/CustomersV3(dataAreaId='usmf',CustomerAccount='US-001')?cross-company=true",
        "body": {"CreditLimit": 5},
    }
    assert written(writer) == []


@pytest.mark.parametrize(
    ("tool", "arguments", "exists", "changes"),
    [
        (
            "update",
            {"data": {"CreditLimit": 5, "OnHoldStatus": "No"}},
            True,
            {"CreditLimit": {"old": 500000, "new": 5}},
        ),
        ("update", {"data": {"CreditLimit": 500000.0}}, True, None),
        ("delete", {}, True, None),
        ("update", {"data": {"CreditLimit": 5}, "account": "NONE"}, False, None),
        ("delete", {"account": "NONE"}, False, None),
    ],
)
def test_a_dry_run_reads_what_the_record_is_and_would_be(
    writer: Served, tool: str, arguments: dict[str, Any], *, exists: bool, changes: Any
) -> None:
    key = {**US_001, "CustomerAccount": arguments.pop("account", "US-001")}
    result = writer.call(f"{tool}_entity_record", **CUSTOMERS, key=key, **arguments, dry_run=True)
    assert (result["outcome"], result["exists"]) == ("checked, nothing sent", exists)
    assert result.get("changes") == changes
    assert ("No CustomersV3 record has this key." in result["notes"]) == (not exists)
    assert result["notes"][-1].startswith("not checked: what F&O's business logic")
    assert written(writer) == []


def test_a_dry_run_says_what_would_stay_and_whether_the_etag_is_stale(writer: Served) -> None:
    asked = {**CUSTOMERS, "key": US_001, "data": {"OnHoldStatus": "No"}, "dry_run": True}
    result = writer.call("update_entity_record", **asked, if_match='W/"old"')
    assert "OnHoldStatus would stay as it is" in result["notes"]
    assert any("if_match is not the record's etag any more" in note for note in result["notes"])
    present = writer.call("get_entity_record", **CUSTOMERS, key=US_001, include_etag=True)["record"]["@odata.etag"]
    for if_match in (present, "*"):
        assert "if_match" not in str(writer.call("update_entity_record", **asked, if_match=if_match)["notes"])


def test_a_dry_run_that_cannot_read_says_so(writer: Served) -> None:
    writer.simulator.fault("/data/CustomersV3", method="GET", status=403)
    result = writer.call("delete_entity_record", **CUSTOMERS, key=US_001, dry_run=True)
    assert "exists" not in result
    assert any("could not be read" in note and "security roles" in note for note in result["notes"])


def test_a_dry_run_of_a_create_says_what_is_missing_and_what_is_there_already(writer: Served) -> None:
    create = {"entity_name": "CustomersV3", "company": "usmf", "dry_run": True}
    notes = writer.call("create_entity_record", **create, data={"OrganizationName": "x"})["notes"]
    assert notes[0].startswith("mandatory and not given: SalesCurrencyCode, CustomerGroupId; F&O refuses")
    assert "mandatory" not in str(writer.call("create_entity_record", **create, data=CUSTOMER))
    group = {"entity_name": "CustomerGroups", "data": {"Description": "x"}, "dry_run": True}
    assert "CustomerGroupId" in writer.call("create_entity_record", **group)["notes"][0]
    twice = writer.call("create_entity_record", **create, data={**CUSTOMER, "CustomerAccount": "US-001"})
    assert (twice["exists"], "a CustomersV3 record with this key exists" in str(twice["notes"])) == (True, True)
    assert written(writer) == []


def test_a_dry_run_of_a_batch_reads_each_record(writer: Served) -> None:
    change = {"operation": "update", **CUSTOMERS, "key": US_001, "data": {"CreditLimit": 5}}
    gone = {"operation": "delete", **CUSTOMERS, "key": {**US_001, "CustomerAccount": "NONE"}}
    result = writer.call("batch", operations=[operation("91"), change, gone], dry_run=True)
    assert [request.get("exists") for request in result["requests"]] == [False, True, False]
    assert result["requests"][1]["changes"] == {"CreditLimit": {"old": 500000, "new": 5}}
    assert "3: No CustomersV3 record has this key." in result["notes"]
    assert written(writer) == []


def test_after_a_create_nobody_reads_that_fo_would_refuse_it(writer: Served) -> None:
    """F&O numbers the account, so that it was neither given nor missing."""
    order = {
        "dataAreaId": "usmf",
        "OrderingCustomerAccountNumber": "US-001",
    }  # F&O takes the currency from the customer
    result = writer.call("create_entity_record", entity_name="SalesOrderHeadersV2", data=order)
    assert (result["outcome"], result.get("notes", [])) == ("created", [])


def test_a_key_repeated_in_an_update_is_left_out(writer: Served) -> None:
    asked = {**CUSTOMERS, "key": US_001}
    result = writer.call("update_entity_record", **asked, data={"dataAreaId": "USMF", "CreditLimit": 5})
    assert result["outcome"] == "updated"
    assert result["notes"] == ["dataAreaId left out: it is part of the key, and stays as it is"]
    assert writer.requests()[-1]["body"] == '{"CreditLimit": 5}'
    change = {"operation": "update", **asked, "data": {**US_001, "CreditLimit": 6}}
    assert writer.call("batch", operations=[change])["outcome"] == "done"
    refused = writer.refuse("update_entity_record", **asked, data={"CustomerAccount": "US-002"})
    assert "part of the key and cannot be changed" in refused["message"]


def test_what_is_no_base64_is_not_sent(writer: Served) -> None:
    """Microsoft's library would refuse it too: it is refused before it costs a round trip."""
    job = writer.call("query_entities", entity_name="BatchJobs", select=["BatchJobRecId"], top=1)["records"][0]
    asked = {"entity_name": "BatchJobs", "key": job, "data": {"Recurrence": "every Monday!"}}
    assert "base64" in writer.refuse("update_entity_record", **asked)["message"]
    assert written(writer) == []


@pytest.mark.parametrize("tool", ["get", "update", "delete"])
def test_a_key_that_fits_into_no_url_is_an_invalid_argument(writer: Served, tool: str) -> None:
    key = {**US_001, "CustomerAccount": "x" * 70_000}
    more = {"update": {"data": {"CreditLimit": 1}}, "delete": {"confirm": True}}.get(tool, {})
    error = writer.refuse(f"{tool}_entity_record", **CUSTOMERS, key=key, **more)
    assert (error["code"], error["retryable"]) == ("invalid_argument", False)
    assert "nothing was sent" in error["message"]
    if tool != "get":
        part = {"operation": tool, **CUSTOMERS, "key": key, "data": {"CreditLimit": 1}}
        refused = writer.refuse("batch", operations=[operation("91"), part], confirm=True)
        assert (refused["code"], refused["message"][:12]) == ("invalid_argument", "Operation 2:")
    assert [entry for entry in writer.requests() if entry["status"] != 200] == []


@pytest.mark.parametrize("label_id", ["x" * 70_000, "@SYS\x001"])
def test_a_label_id_that_fits_into_no_url_is_an_invalid_argument(reader: Served, label_id: str) -> None:
    assert reader.refuse("get_labels", label_ids=["@SYS1", label_id])["code"] == "invalid_argument"
    assert reader.requests("/metadata/labels") == []


def test_gotcha_23_an_update_answers_nothing_and_is_read_back_when_asked(writer: Served) -> None:
    result = writer.call(
        "update_entity_record", entity_name="CustomersV3", key=US_001, data={"CreditLimit": 600000}, return_record=True
    )
    assert result["record"]["CreditLimit"] == 600000


def test_gotcha_24_a_stale_etag_is_a_conflict(writer: Served) -> None:
    asked = {"entity_name": "CustomersV3", "key": US_001}
    etag = writer.call("get_entity_record", **asked, include_etag=True)["record"]["@odata.etag"]
    writer.call("update_entity_record", **asked, data={"CreditLimit": 1}, if_match=etag)
    error = writer.refuse("update_entity_record", **asked, data={"CreditLimit": 2}, if_match=etag)
    assert (error["code"], error["http_status"]) == ("conflict", 412)
    assert "Read it again" in error["hint"]


@pytest.mark.parametrize("if_match", ['"a"\r\nX-Other: b', 'W/"é"', "abc", '"a" "b'])
def test_what_is_no_etag_is_not_sent(writer: Served, if_match: str) -> None:
    asked = {"entity_name": "CustomersV3", "key": {"dataAreaId": "usmf", "CustomerAccount": "US-001"}}
    change = {**asked, "data": {"CreditLimit": 1}, "if_match": if_match}
    assert "no etag" in writer.refuse("update_entity_record", **change)["message"]
    assert "no etag" in writer.refuse("batch", operations=[{"operation": "update", **change}])["message"]
    gone = {**asked, "if_match": if_match}
    assert "no etag" in writer.refuse("delete_entity_record", **gone, confirm=True)["message"]
    assert not [entry for entry in writer.requests() if entry["method"] != "GET"]


def test_deleting_needs_confirmation(writer: Served) -> None:
    writer.call("create_entity_record", entity_name="CustomerGroups", data=GROUP)
    key = {"dataAreaId": "usmf", "CustomerGroupId": "91"}
    assert "confirm" in writer.refuse("delete_entity_record", entity_name="CustomerGroups", key=key)["message"]
    assert (
        writer.call("delete_entity_record", entity_name="CustomerGroups", key=key, confirm=True)["outcome"] == "deleted"
    )
    assert writer.refuse("get_entity_record", entity_name="CustomerGroups", key=key)["code"] == "not_found"


def test_gotcha_27_f_and_os_own_reason_is_said_without_its_stack(writer: Served) -> None:
    data = {**CUSTOMER, "CustomerGroupId": "99"}
    error = writer.refuse("create_entity_record", entity_name="CustomersV3", data=data, company="usmf")
    assert "Warning: Customer group 99 does not exist." in error["d365_messages"]
    assert "   at " not in str(error)


def test_gotcha_21_a_read_only_entity_is_not_written(writer: Served) -> None:
    error = writer.refuse("create_entity_record", entity_name="CustInvoiceJourBiEntities", data={"SourceKey": 1})
    assert "read-only" in error["message"]


def test_gotcha_26_a_create_that_got_no_answer_is_not_tried_again(writer: Served) -> None:
    writer.simulator.fault("/data/CustomerGroups", method="POST", kind="drop", times=5)
    error = writer.refuse("create_entity_record", entity_name="CustomerGroups", data=GROUP)
    assert error["code"] == "outcome_unknown"
    assert "CustomerGroupId eq '91'" in error["hint"]
    assert written(writer) == ["POST"]


def operation(number: str, **more: str) -> dict[str, object]:
    data = {"dataAreaId": "usmf", "CustomerGroupId": number, "Description": "batch"}
    return {"operation": "create", "entity_name": "CustomerGroups", "data": data, **more}


def exists(served: Served, number: str) -> bool:
    found = served.call("query_entities", entity_name="CustomerGroups", filter=f"CustomerGroupId eq '{number}'")
    return bool(found["records"])


def test_a_batch_is_all_or_nothing(writer: Served) -> None:
    done = writer.call("batch", operations=[operation("91"), operation("92")])
    assert (done["outcome"], [key["CustomerGroupId"] for key in done["keys"]]) == ("done", ["91", "92"])
    failed = writer.call("batch", operations=[operation("93"), operation("91")])
    assert failed["outcome"] == "failed: nothing was changed"
    assert not exists(writer, "93")


def test_gotcha_25_each_part_of_a_batch_has_its_own_outcome(writer: Served) -> None:
    writer.call("batch", operations=[operation("91")])
    mixed = writer.call("batch", operations=[operation("94"), operation("91")], atomic=False)
    assert [part["outcome"] for part in each_part(mixed)] == ["done", "failed"]
    assert exists(writer, "94")


def test_a_batch_is_checked_whole_before_anything_is_sent(writer: Served) -> None:
    wrong = {"operation": "update", "entity_name": "CustomersV3", "key": US_001, "data": {"CreditLimt": 1}}
    error = writer.refuse("batch", operations=[operation("91"), wrong])
    assert error["message"].startswith('Operation 2: No property "CreditLimt". Did you mean CreditLimit')
    assert written(writer) == []


def test_a_batch_that_deletes_needs_confirmation(writer: Served) -> None:
    delete = {
        "operation": "delete",
        "entity_name": "CustomerGroups",
        "key": {"dataAreaId": "usmf", "CustomerGroupId": "30"},
    }
    assert "confirm" in writer.refuse("batch", operations=[delete])["message"]


@pytest.mark.once
def test_only_writable_entities_are_written(simulator: Simulator) -> None:
    with serving(simulator, MCP_READ_ONLY="false", D365FO_WRITABLE_ENTITIES="CustomerGroups") as narrow:
        error = narrow.refuse("update_entity_record", entity_name="CustomersV3", key=US_001, data={"CreditLimit": 1})
        assert "D365FO_WRITABLE_ENTITIES" in error["message"]
        assert narrow.call("create_entity_record", entity_name="CustomerGroups", data=GROUP)["outcome"] == "created"


def test_an_action_is_invoked_and_its_parameters_are_checked(writer: Served) -> None:
    asked = {"action": "GetApplicationVersion", "entity_name": "DataManagementEntities"}
    assert writer.call("call_action", **asked)["result"] == "10.0.43"
    assert "no parameter" in writer.refuse("call_action", **asked, parameters={"x": 1})["message"]
    close = writer.refuse("call_action", action="GetAplicationVersion", entity_name="DataManagementEntities")
    assert "GetApplicationVersion" in close["message"]


@pytest.mark.once
def test_an_action_needs_to_be_allowed(simulator: Simulator) -> None:
    with serving(simulator, MCP_READ_ONLY="false", D365FO_ALLOWED_ACTIONS="DataManagementEntities.Get*Version") as some:
        asked = {"entity_name": "DataManagementEntities"}
        assert some.call("call_action", action="GetApplicationVersion", **asked)["result"]
        assert "D365FO_ALLOWED_ACTIONS" in some.refuse("call_action", action="GetInstalledModules", **asked)["message"]


def test_json_services_are_discovered_and_called_when_allowed(writer: Served) -> None:
    assert "UserSessionService" in writer.call("call_json_service")["offers"]
    path = {"service_group": "UserSessionService", "service_name": "AifUserSessionService"}
    assert "GetUserSessionInfo" in writer.call("call_json_service", **path)["offers"]
    result = writer.call("call_json_service", **path, operation_name="GetUserSessionInfo")
    assert result["result"]["UserId"] == "Admin"
    other = {"service_group": "DMFService", "service_name": "DMFDataPackager", "operation_name": "Execute"}
    assert "D365FO_ALLOWED_SERVICES" in writer.refuse("call_json_service", **other)["message"]


@pytest.mark.parametrize("name", ["../../data/CustomersV3", "a/b", "x?y", "a b", "", "é"])
def test_no_name_leads_out_of_its_place(writer: Served, name: str) -> None:
    before = len(writer.requests("/"))
    refused = [
        writer.refuse("call_json_service", service_group=name or "/", service_name="a", operation_name="b"),
        writer.refuse("call_action", action=name or "/", entity_name="CustomersV3"),
    ]
    assert {error["code"] for error in refused} <= {"invalid_argument", "unknown_name"}
    assert not [request for request in writer.requests("/api")[before:] if request["method"] == "POST"]


def test_a_document_comes_as_an_embedded_pdf(writer: Served) -> None:
    asked = {"document": "customer_invoice", "number": "CIV-000708", "company": "usmf"}
    result = writer.send("download_document", asked)
    described, file = result.content
    assert result.structured_content is not None
    assert result.structured_content["file_name"] == "customer_invoice-CIV-000708.pdf"
    assert getattr(file, "resource").mime_type == "application/pdf"  # noqa: B009 - a union of content types
    assert "path" not in result.structured_content
    missing = writer.refuse("download_document", **{**asked, "number": "none"})
    assert missing["code"] == "not_found"


CUSTOM = {
    "document": "custom",
    "number": "CIV-000708",
    "company": "usmf",
    "controller": "SalesInvoiceController",
    "table": "CustInvoiceJour",
    "field": "InvoiceId",
}
RENDERING = "SrsFinanceCopilots.RunCopilotReport"
WRITING = {"MCP_READ_ONLY": "false", "MCP_TOOLSETS": "all"}


@pytest.mark.once
@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"MCP_TOOLSETS": "all"}, "MCP_READ_ONLY"),
        ({"MCP_TOOLSETS": "all", "D365FO_ALLOWED_ACTIONS": "*"}, "MCP_READ_ONLY"),
        (WRITING, f"The action {RENDERING} may not be invoked here"),
        ({**WRITING, "D365FO_ALLOWED_ACTIONS": "CustomersV3.*"}, f"The action {RENDERING} may not be invoked here"),
        ({**WRITING, "D365FO_ALLOWED_ACTIONS": "*", "D365FO_COMPANIES": "usmf"}, "D365FO_COMPANIES"),
        ({**WRITING, "D365FO_ALLOWED_ACTIONS": RENDERING.lower()}, None),
        ({**WRITING, "D365FO_ALLOWED_ACTIONS": "SrsFinanceCopilots.*"}, None),
    ],
)
def test_a_controller_of_the_callers_choosing_is_an_action_that_must_be_allowed(
    simulator: Simulator, settings: dict[str, str], named: str | None
) -> None:
    with serving(simulator, **settings) as served:
        if named is None:
            assert served.call("download_document", **CUSTOM)["bytes"] > 100
        else:
            error = served.refuse("download_document", **CUSTOM)
            assert (error["code"], named in error["message"]) == ("not_allowed", True)
            assert not [entry for entry in served.requests() if "RunCopilotReport" in entry["path"]]
        known = {"document": "customer_invoice", "number": "CIV-000708", "company": "usmf"}
        assert served.call("download_document", **known)["bytes"] > 100


def test_a_controller_of_the_callers_choosing_is_never_run_twice(writer: Served, simulator: Simulator) -> None:
    simulator.fault("RunCopilotReport", kind="drop")
    assert writer.refuse("download_document", **CUSTOM)["code"] == "outcome_unknown"
    assert len([entry for entry in writer.requests() if "RunCopilotReport" in entry["path"]]) == 1


@pytest.mark.once
def test_a_document_above_the_limit_is_a_clear_error(simulator: Simulator) -> None:
    from base64 import b64encode

    body = '{"value":"' + b64encode(b"x" * 30_000).decode() + '"}'
    headers = {"content-type": "application/json"}
    with serving(simulator, MCP_TOOLSETS="documents", MCP_MAX_DOCUMENT_BYTES="20000") as small:
        simulator.fault("RunCopilotReport", status=200, body=body, headers=headers)
        error = small.refuse("download_document", document="customer_invoice", number="CIV-000708", company="usmf")
        assert "MCP_MAX_DOCUMENT_BYTES" in error["message"]


BOUND = {
    "D365FO_COMPANIES": "usmf,ussi",
    "MCP_READ_ONLY": "false",
    "D365FO_ALLOWED_ACTIONS": "*",
    "MCP_TOOLSETS": "all",
}


@pytest.mark.once
def test_outside_the_bound_of_companies_nothing_is_read_or_written(simulator: Simulator) -> None:
    with serving(simulator, **BOUND) as bound:
        customers = {"entity_name": "CustomersV3", "select": ["dataAreaId"]}
        assert bound.call("query_entities", **customers, cross_company=True, top=5000)["records"]
        found = bound.call("query_entities", **customers, cross_company=True, top=5000)["records"]
        assert {record["dataAreaId"] for record in found} == {"usmf", "ussi"}
        refused = [
            bound.refuse("query_entities", **customers, company="usrt"),
            bound.refuse("query_entities", **customers, filter="dataAreaId eq 'usrt'"),
            bound.refuse("query_entities", **customers, filter="dataAreaId in ('usmf','usrt')"),
            bound.refuse("get_entity_record", entity_name="CustomersV3", key={**US_001, "dataAreaId": "usrt"}),
            bound.refuse("query_sql", sql="SELECT count(*) FROM CustomersV3 WHERE dataAreaId = 'usrt'"),
            bound.refuse("query_sql", sql="SELECT count(*) FROM CustomersV3", company="usrt"),
            bound.refuse("create_entity_record", entity_name="CustomerGroups", data={**GROUP, "dataAreaId": "usrt"}),
            bound.refuse("update_entity_record", entity_name="CustomersV3", key={**US_001, "dataAreaId": "usrt"}, data={"CreditLimit": 1}),
            bound.refuse("query_entities", entity_name="Ledgers", select=["Name"]),
            bound.refuse("call_action", action="GetApplicationVersion", entity_name="DataManagementEntities"),
            bound.refuse("download_document", document="customer_invoice", number="1", company="usrt"),
        ]  # fmt: skip
        assert {error["code"] for error in refused} == {"not_allowed"}
        assert bound.call("query_entities", entity_name="Ledgers", select=["Name"], filter="LegalEntityId eq 'usmf'")
        assert bound.call("query_entities", entity_name="Currencies", top=1)["records"]


@pytest.mark.once
def test_a_default_company_outside_the_bound_is_refused(simulator: Simulator) -> None:
    with serving(simulator, D365FO_COMPANIES="ussi") as bound:
        error = bound.refuse("query_entities", entity_name="CustomersV3")
        assert "usmf" in error["message"]
        assert bound.refuse("query_sql", sql="SELECT count(*) FROM CustomersV3")["code"] == "not_allowed"
