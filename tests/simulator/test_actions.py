"""Actions, JSON services and documents."""

from __future__ import annotations

import json
from base64 import b64decode
from typing import Any

import httpx
import pytest

from tests.simulated import Simulator

pytestmark = pytest.mark.once

NAMESPACE = "Microsoft.Dynamics.DataEntities"
JOURNAL = "LedgerJournalHeaders(dataAreaId='usmf',JournalBatchNumber='00475')"
SESSION = "/api/services/UserSessionService/AifUserSessionService/GetUserSessionInfo"


def invoke(fo: httpx.Client, action: str, **arguments: Any) -> httpx.Response:
    bound, _, name = action.rpartition("/")
    return fo.post("/".join(filter(None, ["/data", bound, f"{NAMESPACE}.{name}"])), json=arguments)


def report(fo: httpx.Client, value: str, *, controller: str = "SalesInvoiceController", company: str = "USMF") -> bytes:
    table, field = ("VendPurchOrderJour", "PurchId") if "Purch" in controller else ("CustInvoiceJour", "InvoiceId")
    arguments = {"DataTableName": table, "DataTableFieldName": field, "DataTableFieldValue": value}
    reply = invoke(
        fo,
        "SrsFinanceCopilots/RunCopilotReport",
        _contractName="SrsCopilotArgsContract",
        _controllerName=controller,
        _controllerArgsJson=json.dumps(arguments),
        _legalEntityName=company,
        _reportParameterJson="{}",
    )
    assert reply.status_code == 200, reply.text
    return b64decode(reply.json()["value"])


def test_an_action_of_an_entity_set_gives_its_value(simulator: Simulator, fo: httpx.Client) -> None:
    reply = invoke(fo, "DataManagementEntities/GetApplicationVersion")
    assert reply.json() == {"@odata.context": f"{simulator.base_url}/data/$metadata#Edm.String", "value": "10.0.43"}
    modules = invoke(fo, "DataManagementEntities/GetInstalledModules").json()["value"]
    assert modules[0].startswith("Name: ApplicationFoundation | Version: ")


def test_an_action_needs_no_body_when_it_has_no_parameters(fo: httpx.Client) -> None:
    assert fo.post(f"/data/DataManagementEntities/{NAMESPACE}.GetPlatformBuildVersion").status_code == 200


def test_an_action_of_a_record_changes_it_and_answers_nothing(fo: httpx.Client) -> None:
    assert invoke(fo, f"{JOURNAL}/postJournal").status_code == 204
    assert fo.get(f"/data/{JOURNAL}").json()["IsPosted"] == "Yes"
    missing = JOURNAL.replace("00475", "99999")
    assert invoke(fo, f"{missing}/postJournal").status_code == 404


def test_an_unbound_action_takes_typed_arguments(fo: httpx.Client) -> None:
    assert invoke(fo, "getContosoGreeting", _name="x", _answer="Yes").json()["value"] == "Hello from Contoso"
    assert fo.post("/data/getContosoGreeting", json={"_name": "x", "_answer": "No"}).status_code == 200
    assert invoke(fo, "getContosoGreeting", _name=1, _answer="Yes").status_code == 400
    assert invoke(fo, "getContosoGreeting", _name="x", _answer="Ja").status_code == 400


def test_arguments_are_checked_by_name(fo: httpx.Client) -> None:
    missing = invoke(fo, "getContosoGreeting", _name="x")
    assert "The missing parameters are: _answer." in missing.text
    unknown = invoke(fo, "DataManagementEntities/GetApplicationVersion", _x=1)
    assert "The parameter '_x' in the request payload is not a valid parameter" in unknown.text
    assert (missing.status_code, unknown.status_code) == (400, 400)


def test_a_failing_action_says_which(fo: httpx.Client) -> None:
    reply = invoke(fo, "Workflows(SequenceNumber='000100')/submit", _comment="")
    assert reply.status_code == 400
    assert "Exception occurred while executing action submit on Entity Workflows" in reply.text


@pytest.mark.parametrize(
    "action",
    [
        "DataManagementEntities/Nothing",
        "LedgerJournalHeaders/postJournal",
        f"{JOURNAL}/GetApplicationVersion",
        "GetApplicationVersion",
    ],
)
def test_an_action_bound_otherwise_does_not_exist(fo: httpx.Client, action: str) -> None:
    assert invoke(fo, action).status_code in (404, 405)


def test_an_action_is_posted(fo: httpx.Client) -> None:
    assert fo.get(f"/data/DataManagementEntities/{NAMESPACE}.GetApplicationVersion").status_code == 405


def test_the_current_user_is_the_one_the_caller_is_mapped_to(simulator: Simulator) -> None:
    simulator.control(client={"id": "app", "user": "Julia", "company": "usrt"})
    with simulator.client("app") as fo:
        user = invoke(fo, "ApprovalUsers/getCurrentUserDetails").json()
        session = fo.post(SESSION, json={}).json()
    assert (user["UserId"], user["IsAdmin"]) == ("Julia", False)
    assert (session["UserId"], session["Company"], session["IsSysAdmin"]) == ("Julia", "USRT", False)


def test_a_document_is_rendered_as_a_pdf(fo: httpx.Client) -> None:
    document = report(fo, "CIV-000708")
    assert document.startswith(b"%PDF-1.4")
    assert document.rstrip().endswith(b"%%EOF")
    assert b"Customer invoice CIV-000708" in document
    assert report(fo, "00000020", controller="PurchPurchaseOrderController").startswith(b"%PDF")


def test_an_unknown_document_is_empty(fo: httpx.Client) -> None:
    assert report(fo, "CIV-999999") == b""
    assert report(fo, "CIV-000708", company="USRT") == b""
    assert report(fo, "CIV-000708", controller="PurchPurchaseOrderController") == b""


def test_session_info_tells_the_default_company(fo: httpx.Client) -> None:
    session = fo.post(SESSION).json()
    assert (session["Company"], session["UserId"], session["AXLanguage"]) == ("USMF", "Admin", "en-us")
    assert session["CurrencyInfo"]["CurrencyCode"] == "USD"


def test_services_are_discovered_level_by_level(fo: httpx.Client) -> None:
    assert {"Name": "DMFService"} in fo.get("/api/services").json()["ServiceGroups"]
    assert {"Name": "DMFDataPackager"} in fo.get("/api/services/DMFService").json()["Services"]
    service = "/api/services/ERWebServices/ERPullSolutionFromRepositoryService"
    assert fo.get(service).json() == {"Operations": [{"Name": "Execute"}]}
    assert fo.get(f"{service}/Execute").json() == {
        "Parameters": [{"Name": "_request", "Type": "PullSolutionFromRepositoryRequest"}],
        "Return": {"Name": "return", "Type": "PullSolutionFromRepositoryResponse"},
    }


def test_a_service_wants_its_parameters_by_name(fo: httpx.Client) -> None:
    price = "/api/services/ContosoServices/ContosoPriceService/GetPrice"
    assert fo.post(price, json={"_contract": {"Company": "usmf"}}).json()["Price"] == 1450
    reply = fo.post(price, json={"Company": "usmf"})
    assert reply.status_code == 400
    assert reply.json()["ExceptionMessage"] == "Parameter '_contract' is not found within the request content body."


@pytest.mark.parametrize("path", ["Nothing", "DMFService/Nothing", "DMFService/DMFDataPackager/Nothing", "a/b/c/d"])
def test_an_unknown_service_is_not_found(fo: httpx.Client, path: str) -> None:
    assert fo.get(f"/api/services/{path}").status_code == 404
    assert fo.post(f"/api/services/{path}", json={}).status_code == 404
