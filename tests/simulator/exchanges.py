"""Drives a simulator through every kind of answer it has, over all its entity sets and actions, and keeps the answers."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import httpx

from tests.simulated import Simulator

NAMESPACE = "Microsoft.Dynamics.DataEntities"
LARGEST_ANSWER = 2**20  # what Microsoft's reader takes unless it is set up for more
ARGUMENTS: dict[str, Any] = {"Edm.String": "x", "Edm.Boolean": True, "Edm.Int32": 1, "Edm.Decimal": 1.5}
GROUP = {"dataAreaId": "usmf", "CustomerGroupId": "91"}
BATCH = "batch_1"

Record = dict[str, Any]


@dataclass
class Driver:
    """A signed-in caller who keeps what is answered below /data."""

    client: httpx.Client
    answers: list[dict[str, Any]] = field(default_factory=list)

    def ask(self, method: str, url: str, **sent: Any) -> httpx.Response:
        reply = self.client.request(method, f"/data/{url}", **sent)
        headers = {name: reply.headers[name] for name in ("content-type", "odata-version") if name in reply.headers}
        answer = {"method": method, "url": url, "status": reply.status_code, "headers": headers, "body": reply.text}
        if len(reply.content) <= LARGEST_ANSWER:
            self.answers.append(answer)
        return reply

    def get(self, url: str) -> Record:
        found: Record = self.ask("GET", url).json()
        return found

    @cached_property
    def entities(self) -> dict[str, Record]:
        listed = self.client.get("/metadata/PublicEntities").raise_for_status().json()["value"]
        return {entity["EntitySetName"]: entity for entity in listed}

    @cached_property
    def enumerations(self) -> dict[str, list[str]]:
        listed = self.client.get("/metadata/PublicEnumerations").raise_for_status().json()["value"]
        return {f"{NAMESPACE}.{item['Name']}": [member["Name"] for member in item["Members"]] for item in listed}

    def key(self, entity_set: str, record: Record) -> str:
        keys = [prop for prop in self.entities[entity_set]["Properties"] if prop["IsKey"]]
        return ",".join(f"{prop['Name']}={self.literal(prop['TypeName'], record[prop['Name']])}" for prop in keys)

    def literal(self, type_name: str, value: Any) -> str:
        if type_name == "Edm.String":
            return "'" + value.replace("'", "''").replace("/", "%2F").replace("+", "%2B") + "'"
        return f"{type_name}'{value}'" if type_name in self.enumerations else str(value)

    def argument(self, type_name: str) -> Any:
        return self.enumerations[type_name][0] if type_name in self.enumerations else ARGUMENTS[type_name]


def every_kind(simulator: Simulator) -> list[dict[str, Any]]:
    """Ask for everything once, and return the answers as the judge takes them."""
    simulator.reset()
    with simulator.client() as client:
        driver = Driver(client)
        for entity_set, entity in driver.entities.items():
            records(driver, entity_set, entity)
            actions(driver, entity_set, entity)
        pages(simulator, driver)
        refusals(simulator, driver)
        batches(driver)
    simulator.reset()
    return driver.answers


def records(driver: Driver, entity_set: str, entity: Record) -> None:
    """Collections, counts, single records, related records, and what writing them answers."""
    found = driver.get(f"{entity_set}?cross-company=true&$top=3&$count=true")["value"]
    driver.ask("GET", f"{entity_set}/$count")
    if not found:
        return
    names = [prop["Name"] for prop in entity["Properties"]]
    few = ",".join([*names[:2], *names[-2:]])
    key = f"{entity_set}({driver.key(entity_set, found[0])})"
    driver.get(f"{entity_set}?cross-company=true&$top=2&$select={few}&$orderby={names[0]}")
    driver.get(f"{entity_set}?cross-company=true&$top=2&$select=*")
    driver.get(f"{key}?cross-company=true")
    driver.get(f"{key}?cross-company=true&$select={few}")
    for navigation in entity["NavigationProperties"]:
        name, related = navigation["Name"], driver.entities.values()
        (target,) = [item for item in related if item["Name"] == navigation["RelatedEntity"]]
        inner = target["Properties"][0]["Name"]
        driver.get(f"{entity_set}?cross-company=true&$top=2&$expand={name}($select={inner})&$select={names[0]}")
        driver.get(f"{key}?cross-company=true&$expand={name}($select={inner},{target['Properties'][-1]['Name']})")
        driver.ask("GET", f"{key}?cross-company=true&$select={names[0]}&$expand={name}")
        driver.ask("GET", f"{key}/{name}?cross-company=true&$top=1")
        driver.ask("GET", f"{key}/{name}?cross-company=true&$top=1&$select={inner}")
    if not entity["IsReadOnly"]:
        writes(driver, entity_set, entity, found[0])


def writes(driver: Driver, entity_set: str, entity: Record, record: Record) -> None:
    """Create a record like another, change it, delete it."""
    *_, last = [prop for prop in entity["Properties"] if prop["IsKey"]]
    new = {name: value for name, value in record.items() if "@" not in name}
    new[last["Name"]] = {"Edm.String": "judged", "Edm.Int64": 5637199999}.get(last["TypeName"], new[last["Name"]])
    created = driver.ask("POST", entity_set, json=new)
    key = f"{entity_set}({driver.key(entity_set, new)})"
    driver.ask("PATCH", f"{key}?cross-company=true", json={})
    driver.ask("PATCH", f"{key}?cross-company=true", json={}, headers={"If-Match": 'W/"x"'})
    if created.status_code == 201:
        driver.ask("DELETE", f"{key}?cross-company=true")


def actions(driver: Driver, entity_set: str, entity: Record) -> None:
    for action in entity["Actions"]:
        bound = entity_set
        if action["BindingKind"] == "BoundToEntityInstance":
            (record,) = driver.get(f"{entity_set}?$top=1")["value"]
            bound = f"{entity_set}({driver.key(entity_set, record)})"
        given = {item["Name"]: driver.argument(item["Type"]["TypeName"]) for item in action["Parameters"]}
        driver.ask("POST", f"{bound}/{NAMESPACE}.{action['Name']}", json=given)


def refusals(simulator: Simulator, driver: Driver) -> None:
    """Errors of every status that OData answers with."""
    simulator.control(client={"id": "some", "denied": ["CustomersV3"], "read_only": True})
    with simulator.client("some") as client:
        other = Driver(client)
        other.ask("GET", "CustomersV3")
        other.ask("POST", "CustomerGroups", json=GROUP)
    driver.answers += other.answers
    driver.ask("GET", "CustomersV3?$filter=Nothing eq 1")
    driver.ask("GET", "CustomersV3?$filter=contains(CustomerAccount,'1')")
    driver.ask("POST", "CustomersV3", content="{")
    driver.ask("POST", "CustomersV3", json={"CustomerGroupId": "none"})
    driver.ask("DELETE", "CustomerGroups(dataAreaId='usmf',CustomerGroupId='30')")
    driver.ask("GET", "CustomerGroups(dataAreaId='usmf',CustomerGroupId='none')")
    driver.ask("PUT", "CustomerGroups", json={})
    driver.ask("GET", "Nothing")
    for status in (408, 429, 500, 501, 503):
        simulator.fault("/data/", status=status)
        driver.ask("GET", "CustomersV3")


def pages(simulator: Simulator, driver: Driver) -> None:
    simulator.control(page_size=20)
    first = driver.get("CustomersV3?$select=CustomerAccount&$count=true")
    driver.get(first["@odata.nextLink"].partition("/data/")[2])
    simulator.control(page_size=10_000)


def batches(driver: Driver) -> None:
    new, key = json.dumps(GROUP), "CustomerGroups(dataAreaId='usmf',CustomerGroupId='91')"
    create, change = operation("POST CustomerGroups", new, "1"), operation(f"PATCH {key}", '{"Description":"x"}', "2")
    batch(driver, operation(f"GET {key}"), operation("GET CustomerGroups?$top=2"), operation("GET CustomersV3/$count"))
    batch(driver, change_set(create, change), operation(f"GET {key}"))
    batch(driver, change_set(change, operation("POST CustomerGroups", new, "3")), operation(f"GET {key}"))
    batch(driver, change_set(operation(f"DELETE {key}", "", "4")))
    keep_going = {"Prefer": "odata.continue-on-error"}
    again = operation("POST CustomerGroups", new, "5")
    batch(driver, operation("GET Nothing"), create, again, operation("GET CustomersV3?$top=1"), headers=keep_going)


def batch(driver: Driver, *parts: str, headers: Mapping[str, str] | None = None) -> None:
    sent = {"Content-Type": f"multipart/mixed; boundary={BATCH}", **(headers or {})}
    driver.ask("POST", "$batch", content=multipart(BATCH, parts), headers=sent)


def operation(line: str, body: str = "", content_id: str = "") -> str:
    head = ["Content-Type: application/http", "Content-Transfer-Encoding: binary"]
    head += [f"Content-ID: {content_id}"] if content_id else []
    return "\r\n".join([*head, "", f"{line} HTTP/1.1", "Content-Type: application/json", "", body, ""])


def change_set(*operations: str) -> str:
    return "Content-Type: multipart/mixed; boundary=changeset_1\r\n\r\n" + multipart("changeset_1", operations)


def multipart(boundary: str, parts: tuple[str, ...]) -> str:
    return "".join(f"--{boundary}\r\n{part}" for part in parts) + f"--{boundary}--\r\n"


def complaints(answers: list[dict[str, Any]], verdicts: list[dict[str, Any]]) -> Iterator[str]:
    for answer, verdict in zip(answers, verdicts, strict=True):
        if not verdict["ok"]:
            yield f"{answer['method']} {answer['url']} {answer['status']}: {verdict['error']}"
