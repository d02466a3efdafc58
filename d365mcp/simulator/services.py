"""JSON services below /api/services: discovery by GET, calls by POST. Companies in the URL mean nothing here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from d365mcp.simulator.call import Call
from d365mcp.simulator.data import Reader
from d365mcp.simulator.errors import STACK_TRACE, Refusal, Reply, json_reply
from d365mcp.simulator.model import Operation

_SESSION = ["UserSessionService", "AifUserSessionService", "GetUserSessionInfo"]


class Services:
    """Answers the JSON services of one world."""

    def __init__(self, reader: Reader) -> None:
        self.reader, self.world = reader, reader.store.world

    def answer(self, call: Call) -> Reply:
        """Answer a request below /api/services."""
        path = call.segments[2:]
        try:
            return self._call(call, path) if call.method == "POST" else self._discover(path)
        except (KeyError, ValueError):
            return _failure(404, "No HTTP resource was found that matches the request URI.", "HttpResponseException")
        except Refusal as refusal:
            return _failure(refusal.status, refusal.message, "System.ArgumentException")

    def _discover(self, path: list[str]) -> Reply:
        services = self.world.services
        match path:
            case []:
                return json_reply({"ServiceGroups": _names(services)})
            case [group]:
                return json_reply({"Services": _names(services[group])})
            case [group, service]:
                return json_reply({"Operations": _names(services[group][service])})
        group, service, name = path
        operation = services[group][service][name]
        parameters = [{"Name": parameter.name, "Type": parameter.type} for parameter in operation.parameters]
        return json_reply({"Parameters": parameters, "Return": {"Name": "return", "Type": operation.returns}})

    def _call(self, call: Call, path: list[str]) -> Reply:
        group, service, name = path
        operation = self.world.services[group][service][name]
        _check(operation, call.json_object())
        if path == _SESSION:
            return json_reply(self._session(call))
        return json_reply(operation.result)

    def _session(self, call: Call) -> Mapping[str, object]:
        currency = self._currency(call.client.company)
        return {
            "$id": "1",
            "AOSLocaleName": "en-US",
            "AXLanguage": call.client.language,
            "Company": call.client.company.upper(),
            "CompanyTimeZone": 13,
            "CurrencyInfo": {"$id": "2", "CurrencyCode": currency, "ExchangeRate": 100.0, "ISOCurrencyCode": currency},
            "IsSysAdmin": call.client.user == "Admin",
            "UserId": call.client.user,
            "UserPreferredCalendar": 0,
            "UserPreferredTimeZone": 37,
        }

    def _currency(self, company: str) -> str:
        ledgers = self.world.entities.get("Ledgers")
        if ledgers is None:
            return "USD"
        rows = self.reader.rows(ledgers, ('"LegalEntityId" IS ?', (company,)), ["AccountingCurrency"])
        return str(rows[0].values["AccountingCurrency"]) if rows else "USD"


def _check(operation: Operation, body: Mapping[str, object]) -> None:
    for parameter in operation.parameters:
        if parameter.name not in body:
            raise Refusal(f"Parameter '{parameter.name}' is not found within the request content body.")


def _names(things: Iterable[str]) -> list[dict[str, str]]:
    return [{"Name": name} for name in things]


def _failure(status: int, message: str, kind: str) -> Reply:
    # The shape of a JSON service's error is UNVERIFIED; this is what ASP.NET usually says.
    body = {
        "Message": "An error has occurred.",
        "ExceptionMessage": message,
        "ExceptionType": kind,
        "StackTrace": STACK_TRACE,
    }
    return json_reply(body, status)
