"""Worlds: what a file may say, how a wrong one is answered, and the process around it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.simulated import ROOT, Simulator

pytestmark = pytest.mark.once

ITEMS: dict[str, Any] = {
    "entitySet": "Items",
    "publicEntityName": "Item",
    "keys": ["dataAreaId", "Id"],
    "properties": [
        {"name": "dataAreaId", "edmType": "Edm.String"},
        {"name": "Id", "edmType": "Edm.String"},
        {"name": "Color", "edmType": "Microsoft.Dynamics.DataEntities.Color"},
        {"name": "Price", "edmType": "Edm.Decimal"},
        {"name": "Count", "edmType": "Edm.Int32"},
        {"name": "Since", "edmType": "Edm.DateTimeOffset", "dataType": "Date"},
        {"name": "Seen", "edmType": "Edm.DateTimeOffset", "dataType": "UtcDateTime"},
        {"name": "Tag", "edmType": "Edm.Guid"},
        {"name": "Active", "edmType": "Edm.Boolean"},
    ],
}
MORE = ITEMS | {"entitySet": "More", "backedBy": "Fewer"}
FEWER = ITEMS | {"entitySet": "Fewer", "publicEntityName": "Few"}
ACTIVE_AS_TEXT = {"name": "Active", "edmType": "Edm.String"}
NAVIGATION: dict[str, Any] = {
    "fromEntitySet": "Items",
    "name": "Like",
    "toEntitySet": "Items",
    "cardinality": "Multiple",
    "joins": {"Color": "Color"},
}
COLORS = {"name": "Color", "members": [{"name": "None"}, {"name": "Red", "position": 5}]}


def world(**members: Any) -> dict[str, Any]:
    return {"default_company": "usmf", "entities": [ITEMS], "enumerations": [COLORS]} | members


def complaint(tmp_path: Path, content: Any) -> str:
    path = tmp_path / "world.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    command = [sys.executable, "-m", "d365mcp.simulator", "--port", "0", "--world", str(path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    return done.stderr


def test_what_a_record_leaves_out_is_empty_as_its_type_is() -> None:
    running = Simulator.start(world(entities=[ITEMS | {"records": [{"dataAreaId": "USMF", "Id": "1"}]}]))
    with running.client() as fo:
        (record,) = fo.get("/data/Items").json()["value"]
    running.stop()
    del record["@odata.etag"]
    assert record == {
        "dataAreaId": "usmf",
        "Id": "1",
        "Color": "None",
        "Price": 0,
        "Count": 0,
        "Since": "1900-01-01T12:00:00Z",
        "Seen": "1900-01-01T00:00:00Z",
        "Tag": "00000000-0000-0000-0000-000000000000",
        "Active": False,
    }


def test_bulk_rows_come_from_cycles() -> None:
    spec = {
        "count": 4,
        "always": {"dataAreaId": "usmf"},
        "numbers": {"Id": {"from": 8, "format": "I{:03d}"}, "Count": {"from": 1, "every": 2, "step": 10}},
        "dates": {
            "Since": {"from": "2026-02-27", "step": 2},
            "Seen": {"from": "2026-02-27", "every": 2, "at": "T08:00:00Z"},
        },
        "cycles": [{"rows": [{"Price": 1.5}, {"Price": 2, "Color": "Red"}]}],
    }
    running = Simulator.start(world(entities=[ITEMS | {"generate": [spec]}]))
    with running.client() as fo:
        rows = fo.get("/data/Items?$select=Id,Count,Since,Seen,Price,Color").json()["value"]
    running.stop()
    found = [(r["Id"], r["Count"], r["Since"][:10], r["Seen"], r["Price"], r["Color"]) for r in rows]
    assert found == [
        ("I008", 1, "2026-02-27", "2026-02-27T08:00:00Z", 1.5, "None"),
        ("I009", 1, "2026-03-01", "2026-02-27T08:00:00Z", 2, "Red"),
        ("I010", 11, "2026-03-03", "2026-02-28T08:00:00Z", 1.5, "None"),
        ("I011", 11, "2026-03-05", "2026-02-28T08:00:00Z", 2, "Red"),
    ]


DATES = {"written": "2026-02-28", "from": "2026-01-01", "to": "2026-12-31"}


def test_dates_keep_their_distance_to_today() -> None:
    written = [
        {"dataAreaId": "usmf", "Id": "today", "Since": "2026-02-28", "Seen": "2026-02-28T23:59:59Z"},
        {"dataAreaId": "usmf", "Id": "long ago", "Since": "2025-12-31", "Seen": "2154-12-31T23:59:59Z"},
    ]
    bulk = {
        "count": 2,
        "always": {"dataAreaId": "usmf"},
        "numbers": {"Id": {"format": "{}"}},
        "dates": {"Since": {"from": "2026-03-01"}},
    }
    items = ITEMS | {"records": written, "generate": [bulk], "defaults": [{"property": "Since", "today": True}]}
    running = Simulator.start(world(entities=[items], dates=DATES), "--today", "2028-02-28")
    with running.client() as fo:
        rows = {row["Id"]: row for row in fo.get("/data/Items").json()["value"]}
        created = fo.post("/data/Items", json={"dataAreaId": "usmf", "Id": "new"}).json()
    running.stop()
    assert (rows["today"]["Since"][:10], rows["today"]["Seen"]) == ("2028-02-28", "2028-02-28T23:59:59Z")
    assert (rows["long ago"]["Since"][:10], rows["long ago"]["Seen"]) == ("2025-12-31", "2154-12-31T23:59:59Z")
    assert [rows[number]["Since"][:10] for number in ("1", "2")] == ["2028-02-29", "2028-03-01"]
    assert created["Since"][:10] == "2028-02-28"


def test_a_world_adds_records_to_those_that_are_derived() -> None:
    posted = {"entitySet": "CustInvoiceJourBiEntities", "records": [{"dataAreaId": "dat", "SourceKey": 1}]}
    running = Simulator.start(world(include=["contoso"], default_company="dat", entities=[posted]))
    with running.client() as fo:
        assert [row["SourceKey"] for row in fo.get("/data/CustInvoiceJourBiEntities").json()["value"]] == [1]
        assert len(fo.get("/data/CustInvoiceJourBiEntities?cross-company=true").json()["value"]) > 1
    running.stop()


def test_a_world_may_start_from_the_shipped_one() -> None:
    extra = ITEMS | {"records": [{"dataAreaId": "dat", "Id": "1"}]}
    more = {"entitySet": "CustomerGroups", "records": [{"dataAreaId": "dat", "CustomerGroupId": "1"}]}
    running = Simulator.start(world(include=["contoso"], default_company="dat", entities=[extra, more]))
    with running.client() as fo:
        assert len(fo.get("/data/Items").json()["value"]) == 1
        assert fo.get("/data/CustomersV3").json()["value"] == []
        assert [row["dataAreaId"] for row in fo.get("/data/CustomerGroups").json()["value"]] == ["dat"]
        assert len(fo.get("/data/CustomerGroups?cross-company=true").json()["value"]) == 44
    running.stop()


def test_two_records_with_the_same_key_are_named() -> None:
    twice = [{"dataAreaId": "usmf", "Id": "a"}, {"dataAreaId": "USMF", "Id": "A"}]
    running = Simulator.start(world(entities=[ITEMS | {"records": twice}]))
    with running.client() as fo:
        replies = [fo.get("/data/Items") for _ in range(2)]
    running.stop()
    assert [reply.status_code for reply in replies] == [500, 500]
    assert "two Items with the same key" in replies[1].text


def test_actions_and_services_answer_what_the_world_says() -> None:
    actions = [{"entitySet": "Elsewhere", "name": "a", "returns": "Edm.Int32", "result": 7}]
    services = {"G": {"S": {"O": {"parameters": [{"name": "p"}], "result": [1, 2]}}}}
    running = Simulator.start(world(actions=actions, services=services))
    with running.client() as fo:
        action = "/data/Elsewhere/Microsoft.Dynamics.DataEntities.a"
        assert fo.post(action, json={}).json()["value"] == 7
        assert fo.post("/api/services/G/S/O", json={"p": 1}).json() == [1, 2]
    running.stop()


KINDS: dict[str, Any] = {
    "entitySet": "Kinds",
    "publicEntityName": "Kind",
    "keys": ["Group", "Name"],
    "properties": [{"name": name, "edmType": "Edm.String"} for name in ("Group", "Name")],
    "records": [{"Group": "a", "Name": "x"}, {"Group": "b", "Name": "y"}],
}
KINDS_OF_ITEMS: dict[str, Any] = {
    "property": "Kind",
    "entitySet": "Kinds",
    "key": "Name",
    "by": {"Group": "KindGroup"},
    "text": "Kind",
}
KIND_COLUMNS = [{"name": name, "edmType": "Edm.String"} for name in ("Kind", "KindGroup")]
KIND_OF = ITEMS | {"properties": [*ITEMS["properties"], *KIND_COLUMNS], "references": [KINDS_OF_ITEMS]}


def test_a_reference_may_hold_over_several_columns() -> None:
    running = Simulator.start(world(entities=[KIND_OF, KINDS]))
    item = {"dataAreaId": "usmf", "Id": "1"}
    with running.client() as fo:
        wrong = fo.post("/data/Items", json=item | {"KindGroup": "b", "Kind": "x"})
        right = fo.post("/data/Items", json=item | {"KindGroup": "a", "Kind": "X"})
        other_group = fo.patch("/data/Items(dataAreaId='usmf',Id='1')", json={"KindGroup": "b"})
        used, unused = fo.delete("/data/Kinds(Group='a',Name='x')"), fo.delete("/data/Kinds(Group='b',Name='y')")
    running.stop()
    assert (wrong.status_code, right.status_code, other_group.status_code) == (400, 201, 400)
    assert "Warning: Kind x, b does not exist." in wrong.text
    assert "Warning: Kind X, b does not exist." in other_group.text
    assert "Kind x, a cannot be deleted while dependent Items exist" in used.text
    assert unused.status_code == 204


def test_what_refers_to_a_view_depends_on_its_owner() -> None:
    view = KINDS | {"entitySet": "KindViews", "publicEntityName": "KindView", "backedBy": "Kinds", "records": None}
    item = KIND_OF | {"references": [KINDS_OF_ITEMS | {"entitySet": "KindViews"}]}
    item["records"] = [{"dataAreaId": "usmf", "Id": "1", "KindGroup": "a", "Kind": "x"}]
    running = Simulator.start(world(entities=[item, KINDS, view]))
    with running.client() as fo:
        assert fo.delete("/data/Kinds(Group='a',Name='x')").status_code == 400
        assert fo.delete("/data/KindViews(Group='a',Name='x')").status_code == 400
        assert fo.delete("/data/KindViews(Group='b',Name='y')").status_code == 204
    running.stop()


def test_a_view_of_fewer_columns_obeys_the_rules_of_its_owner() -> None:
    few = [prop for prop in ITEMS["properties"] if prop["name"] in ("dataAreaId", "Id", "Price")]
    prices = {"entitySet": "Prices", "publicEntityName": "Price", "keys": ["dataAreaId", "Id"], "properties": few}
    names = {"entitySet": "Names", "publicEntityName": "Name", "keys": ["Name"], "properties": KINDS["properties"][1:]}
    item = KIND_OF | {"records": [{"dataAreaId": "usmf", "Id": "1", "KindGroup": "a", "Kind": "x"}]}
    views = [prices | {"backedBy": "Items"}, names | {"backedBy": "Kinds"}]
    running = Simulator.start(world(entities=[item, KINDS, *views]))
    with running.client() as fo:
        assert fo.patch("/data/Prices(dataAreaId='usmf',Id='1')", json={"Price": 2}).status_code == 204
        assert fo.get("/data/Items(dataAreaId='usmf',Id='1')").json()["Price"] == 2
        assert fo.delete("/data/Names('x')").status_code == 400
        assert fo.delete("/data/Names('y')").status_code == 204
        assert fo.delete("/data/Prices(dataAreaId='usmf',Id='1')").status_code == 204
        assert fo.delete("/data/Names('x')").status_code == 204
    running.stop()


def test_an_enumeration_whose_empty_number_has_no_member_is_read_as_null() -> None:
    color = {"name": "Color", "edmType": "Microsoft.Dynamics.DataEntities.Color", "emptyIsNull": True}
    properties = [color if prop["name"] == "Color" else prop for prop in ITEMS["properties"]]
    running = Simulator.start(world(entities=[ITEMS | {"properties": properties}]))
    with running.client() as fo:
        created = fo.post("/data/Items", json={"dataAreaId": "usmf", "Id": "1"}).json()
        fo.post("/data/Items", json={"dataAreaId": "usmf", "Id": "2", "Color": "Red"})
        nothing = fo.get("/data/Items?$filter=Color eq null&$select=Id").json()["value"]
        something = fo.get("/data/Items?$filter=Color ne null&$select=Id").json()["value"]
    running.stop()
    assert created["Color"] is None
    assert ([row["Id"] for row in nothing], [row["Id"] for row in something]) == (["1"], ["2"])


def without(entity: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in entity.items() if key != name}


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("{", "is not JSON"),
        ([], "expected an object, found list"),
        ({}, "entities is missing"),
        (world(entities={}), "world.json.entities: expected a list"),
        (world(entities=[without(ITEMS, "publicEntityName")]), "entities[0]: publicEntityName is missing"),
        (world(entities=[ITEMS | {"keys": ["Nme"]}]), "entities[0].keys: 'Nme' is not among the properties"),
        (world(entities=[ITEMS | {"properties": [{"name": "Id"}]}]), "entities[0].properties[0]: edmType is missing"),
        (world(entities=[ITEMS | {"properties": [{"name": "Id", "edmType": "text"}]}]), "'text' is no type"),
        (world(enumerations=[]), "no enumeration"),
        (world(entities=[ITEMS | {"records": [{"Nme": 1}]}]), "records[0]: the entity has no property 'Nme'"),
        (
            world(entities=[ITEMS | {"records": [{"Price": "much"}]}]),
            "records[0].Price: Cannot convert the literal 'much'",
        ),
        (world(entities=[ITEMS | {"records": [{"Color": "Blue"}]}]), "Color: Cannot convert the literal 'Blue'"),
        (
            world(entities=[ITEMS | {"generate": [{"count": 1, "always": {"Nme": 1}}]}]),
            "generate[0]: the entity has no property 'Nme'",
        ),
        (world(entities=[ITEMS | {"derived": "nothing"}]), "entities[0].derived: expected one of customer_invoices, "),
        (world(dates=DATES | {"to": "soon"}), "dates.to: expected a date such as 2026-07-14"),
        (world(dates={"written": "2026-02-28"}), "dates: from is missing"),
        (world(entities=[ITEMS | {"backedBy": "Nothing"}]), "backedBy: no entity set 'Nothing'"),
        (
            world(entities=[ITEMS | {"references": [{"property": "Id", "entitySet": "Nothing"}]}]),
            "no entity set 'Nothing'",
        ),
        (
            world(entities=[ITEMS, ITEMS | {"entitySet": "Fewer", "properties": ITEMS["properties"][:2]}, MORE]),
            "Fewer has no Active",
        ),
        (world(entities=[FEWER, MORE | {"records": []}]), "entities[1].records: More has those of Fewer"),
        (world(entities=[FEWER, MORE | {"generate": []}]), "generate: More has those of Fewer"),
        (world(entities=[FEWER, MORE | {"references": []}]), "references: More has those of Fewer"),
        (world(entities=[FEWER, MORE | {"numberSequenceKey": "Id"}]), "numberSequenceKey: More has those of Fewer"),
        (
            world(entities=[FEWER, MORE], number_sequences=[{"entitySet": "More", "property": "Id"}]),
            "number_sequences[0]: More is backed by Fewer: name that one",
        ),
        (
            world(entities=[FEWER, MORE, ITEMS | {"backedBy": "More"}]),
            "entities[2]: More is backed by Fewer: name that one",
        ),
        (
            world(
                include=["contoso"], entities=[{"entitySet": "SalesOrderLines", "records": [{"InventoryLotId": "1"}]}]
            ),
            "entities[0].records: SalesOrderLines has those of SalesOrderLinesV3: put it there",
        ),
        (
            world(entities=[FEWER | {"properties": [*FEWER["properties"][:-1], ACTIVE_AS_TEXT]}, MORE]),
            "Active is of another type in Fewer",
        ),
        (world(entities=[KIND_OF]), "references[0].entitySet: no entity set 'Kinds'"),
        (
            world(entities=[KIND_OF | {"references": [KINDS_OF_ITEMS | {"by": {"Nme": "KindGroup"}}]}, KINDS]),
            "references[0]: Kinds has no property 'Nme'",
        ),
        (
            world(entities=[KIND_OF | {"references": [KINDS_OF_ITEMS | {"by": {"Group": "Nme"}}]}, KINDS]),
            "references[0]: Items has no property 'Nme'",
        ),
        (
            world(entities=[ITEMS | {"touches": [{"entitySet": "Kinds", "set": {"Nme": 1}}]}, KINDS]),
            "touches[0]: Kinds has no property 'Nme'",
        ),
        (
            world(entities=[ITEMS | {"touches": [{"entitySet": "Kinds", "sum": {"Nme": "Id"}}]}, KINDS]),
            "touches[0]: Kinds has no property 'Nme'",
        ),
        (
            world(entities=[ITEMS | {"touches": [{"entitySet": "Kinds", "sum": {"Id": "Nme"}}]}, KINDS]),
            "touches[0]: Items has no property 'Nme'",
        ),
        (
            world(entities=[ITEMS | {"defaults": [{"property": "Id", "lookup": "Kinds", "from": "Nme"}]}, KINDS]),
            "defaults[0]: Kinds has no property 'Nme'",
        ),
        (world(number_sequences=[{"entitySet": "Items", "property": "Nme"}]), "Items has no property 'Nme'"),
        (world(navigationProperties=[NAVIGATION | {"toEntitySet": "Nothing"}]), "toEntitySet: no entity set 'Nothing'"),
        (world(navigationProperties=[NAVIGATION | {"fromEntitySet": "No"}]), "fromEntitySet: no entity set 'No'"),
        (world(navigationProperties=[NAVIGATION | {"joins": {"Nme": "Id"}}]), "Items has no property 'Nme'"),
        (world(navigationProperties=[NAVIGATION | {"joins": {}}]), "joins is missing"),
        (world(actions=[{"name": "a", "returns": "Edm.Text"}]), "actions[0].returns: no type 'Edm.Text'"),
        (
            world(actions=[{"name": "a", "parameters": [{"name": "p", "type": "Nothing"}]}]),
            "actions[0].parameters[0].type: no type 'Nothing'",
        ),
        (
            world(complexTypes=[{"name": "C", "properties": [{"name": "a", "edmType": "Nothing"}]}]),
            "properties[0].edmType: no type 'Nothing'",
        ),
        (
            world(
                entities=[ITEMS | {"properties": [*ITEMS["properties"][:-1], ACTIVE_AS_TEXT | {"emptyIsNull": True}]}]
            ),
            "emptyIsNull: Active is no enumeration",
        ),
        (world(entities=[ITEMS | {"records": [{"Price": None}]}]), "Price: A null value was found"),
        (world(entities=[ITEMS | {"defaults": [{"property": "Nme", "today": True}]}]), "no property 'Nme'"),
        (world(default_company=5), "default_company: expected text, found int 5"),
        (world(include=["nowhere"]), "cannot be read"),
    ],
)
def test_a_wrong_world_is_answered_by_place(tmp_path: Path, content: Any, expected: str) -> None:
    assert expected in complaint(tmp_path, content)


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_the_process_is_ready_quickly_and_ends_cleanly(stop: signal.Signals) -> None:
    started = time.perf_counter()
    running = Simulator.start()
    assert time.perf_counter() - started < 10
    running.process.send_signal(stop)
    assert running.process.wait(timeout=60) == 0
    running.stop()


def test_the_environment_may_be_reached_under_another_url() -> None:
    running = Simulator.start(world(), "--base-url", "https://contoso.operations.dynamics.com/namespaces/AXSF")
    headers = {
        "Authorization": f"Bearer {running.token(resource='https://contoso.operations.dynamics.com/namespaces/AXSF')}"
    }
    reply = running.http.get("/namespaces/AXSF/data/Items", headers=headers)
    assert (
        reply.json()["@odata.context"] == "https://contoso.operations.dynamics.com/namespaces/AXSF/data/$metadata#Items"
    )
    assert running.http.get("/data/Items", headers=headers).status_code == 404
    running.stop()


def test_a_path_alone_is_put_after_the_host() -> None:
    running = Simulator.start(world(), "--base-url", "/namespaces/AXSF")
    headers = {"Authorization": f"Bearer {running.token(resource=f'{running.base_url}/namespaces/AXSF')}"}
    assert running.http.get("/namespaces/AXSF/data/Items", headers=headers).status_code == 200
    running.stop()
