"""An F&O made for statements: few records, of every type, in three companies that use the same numbers for other things."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

NAMESPACE = "Microsoft.Dynamics.DataEntities"
COMPANIES = ("usmf", "usrt", "demf")
KINDS = ("None", "Open", "Closed", "Half")
TEXTS = (
    "", "alpha", "ALPHA", "Alpha ", " alpha", "beta", "Beta", "gamma ray", "é", "É", "straße", "strasse", "a*b", "a%b", "a_b",
    "O'Hare", "x\\y", "10", "010", "usmf", "NULL",
)  # fmt: skip
DAYS = ("1900-01-01", "1900-01-01", "2020-02-29", "2021-01-01", "2021-06-30", "2021-07-01", "2021-07-31", "2022-12-31")
TIMES = (
    "1900-01-01T00:00:00Z", "2020-02-29T00:00:00Z", "2020-02-29T23:59:59Z", "2021-07-01T12:00:00Z", "2021-07-01T12:00:01Z",
    "2021-12-31T23:59:59Z", "2022-01-01T00:00:00Z",
)  # fmt: skip
AMOUNTS = (0, 0.1, 0.2, 0.3, 1, -1, 2.5, 100.25, 99999.99, 0.000001, 10)
IDS = tuple(f"{number:03}" for number in range(1, 9))
GUIDS = ("00000000-0000-0000-0000-000000000000", "11111111-2222-3333-4444-555555555555")


def prop(name: str, kind: str, data_type: str = "") -> dict[str, Any]:
    return {"name": name, "edmType": kind} | ({"dataType": data_type} if data_type else {})


COMMON = (
    prop("Name", "Edm.String"),
    prop("Kind", f"{NAMESPACE}.Kind"),
    prop("Blocked", f"{NAMESPACE}.NoYes"),
    prop("Amount", "Edm.Decimal"),
    prop("Quantity", "Edm.Int32"),
    prop("Serial", "Edm.Int64"),
    prop("Active", "Edm.Boolean"),
    prop("Due", "Edm.DateTimeOffset", "Date"),
    prop("Closed", "Edm.DateTimeOffset", "Date"),
    prop("Created", "Edm.DateTimeOffset", "UtcDateTime"),
    prop("Tag", "Edm.Guid"),
)
COMPANY = prop("dataAreaId", "Edm.String")
KEYS = {
    "Heads": ("dataAreaId", "HeadId"),
    "Rows": ("dataAreaId", "HeadId", "LineNumber"),
    "Partners": ("dataAreaId", "PartnerId"),
    "Places": ("PlaceId",),
}
OWN = {
    "Heads": (COMPANY, prop("HeadId", "Edm.String"), prop("PartnerId", "Edm.String"), prop("PlaceId", "Edm.String")),
    "Rows": (COMPANY, prop("HeadId", "Edm.String"), prop("LineNumber", "Edm.Int64"), prop("PartnerId", "Edm.String")),
    "Partners": (COMPANY, prop("PartnerId", "Edm.String"), prop("PlaceId", "Edm.String")),
    "Places": (prop("PlaceId", "Edm.String"), prop("Owner", "Edm.String")),
}
# What equals what: (here, there), beside dataAreaId.
LINKS = {
    ("Heads", "Rows"): (("HeadId", "HeadId"),),
    ("Heads", "Partners"): (("PartnerId", "PartnerId"),),
    ("Rows", "Partners"): (("PartnerId", "PartnerId"),),
    ("Heads", "Places"): (("PlaceId", "PlaceId"),),
    ("Partners", "Places"): (("PlaceId", "PlaceId"),),
    ("Heads", "Heads"): (("HeadId", "HeadId"),),
    ("Rows", "Rows"): (("HeadId", "HeadId"),),
    ("Partners", "Partners"): (("Name", "Name"),),
}


def properties(entity_set: str) -> tuple[dict[str, Any], ...]:
    return (*OWN[entity_set], *COMMON)


def world() -> dict[str, Any]:
    """Return the world, the same every time."""
    dice = random.Random(7)  # noqa: S311 - not for secrets
    return {
        "default_company": "usmf",
        "companies": [{"dataAreaId": company, "name": company} for company in (*COMPANIES, "dat")],
        "enumerations": [
            {"name": "Kind", "members": [{"name": name} for name in KINDS]},
            {"name": "NoYes", "members": [{"name": "No"}, {"name": "Yes"}]},
        ],
        "entities": [
            {
                "entitySet": entity_set,
                "publicEntityName": entity_set.removesuffix("s"),
                "keys": list(KEYS[entity_set]),
                "properties": list(properties(entity_set)),
                "records": records(entity_set, dice),
            }
            for entity_set in KEYS
        ],
    }


def records(entity_set: str, dice: random.Random) -> list[dict[str, Any]]:
    owners: Sequence[str] = COMPANIES if entity_set != "Places" else ("",)
    found = []
    for owner in owners:
        for number, id in enumerate(IDS):
            for line in range(1, 4) if entity_set == "Rows" else (1,):
                if dice.random() < 0.15:
                    continue  # so that not everything has a partner
                own = {
                    "dataAreaId": owner,
                    "HeadId": id,
                    "LineNumber": line,
                    "PartnerId": id,
                    "PlaceId": id,
                    "Owner": owner,
                }
                if entity_set in ("Heads", "Rows"):
                    own["PartnerId"] = dice.choice(IDS)
                if entity_set in ("Heads", "Partners"):
                    own["PlaceId"] = dice.choice((*IDS, "999"))
                own["Owner"] = COMPANIES[number % 3]
                names = {each["name"] for each in OWN[entity_set]}
                found.append({name: value for name, value in own.items() if name in names} | common(dice))
    return found


def common(dice: random.Random) -> dict[str, Any]:
    return {
        "Name": dice.choice(TEXTS),
        "Kind": dice.choice((*KINDS, None)),
        "Blocked": dice.choice(("No", "Yes", None)),
        "Amount": dice.choice(AMOUNTS),
        "Quantity": dice.choice((0, 1, 2, 3, -5, 40)),
        "Serial": dice.choice((0, 5637144576, 5637144577, 7)),
        "Active": dice.choice((True, False)),
        "Due": f"{dice.choice(DAYS[2:])}T12:00:00Z",
        "Closed": f"{dice.choice(DAYS)}T12:00:00Z",
        "Created": dice.choice(TIMES),
        "Tag": dice.choice(GUIDS),
    }
