"""Makes up URLs and bodies, right ones and wrong ones, over the properties of a simulated environment."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any
from urllib.parse import quote

NAMESPACE = "Microsoft.Dynamics.DataEntities."
GUID = "11111111-2222-3333-4444-555555555555"

# Literals of URLs, by the type they are meant for; "" are meant for none.
LITERALS = {
    "Edm.String": ["'x'", "''", "'O''Neil'", "'*a*'", "'é'", "'%'", "'2021-01-01'", "'1'"],
    "Edm.Int32": ["0", "1", "-5", "2147483648", "1e3", "1.5", "+1", "007", "1L", "1m"],
    "Edm.Int64": ["0", "5637144576", "9223372036854775808", "1L", "1.0"],
    "Edm.Decimal": ["0.10", "-2.25", "1e-3", ".5", "1.", "1.5m", "1.5d", "2f", "9e28", "NaN", "INF", "1e400"],
    "Edm.DateTimeOffset": [
        *("2021-01-01", "2021-01-01T00:00:00Z", "2021-01-01T00:00:00", "2021-01-01T00:00Z", "2021-02-30", "2021-1-1"),
        *("2021-01-01T12:00:00+02:00", "2021-01-01T12:00:00-14:30", "2021-01-01T12:00:00.1234567Z", "12:00:00"),
        *("2021-01-01T24:00:00Z", "9999-12-31T23:59:59Z", "0001-01-01", "2021-01-01T12", "-2021-01-01"),
    ],
    "Edm.Guid": [GUID, f"{{{GUID}}}", GUID.replace("1", "A"), f"guid'{GUID}'"],
    "Edm.Boolean": ["true", "false", "TRUE", "1"],
    "Edm.Binary": ["binary'AA=='", "X'00'", "'AA=='"],
    "": ["null", "NULL", "x", "@p", "$it", '"x"'],
}
FUNCTIONS = ("contains", "startswith", "tolower", "length", "year", "trim", "substringof", "round", "date", "Tolower")
COMPARISONS = (*["eq"] * 5, *["ne"] * 3, "gt", "ge", "lt", "le", "has", "EQ", "=", "<>", "like", " eq ")
JOINTS = (*[" and "] * 4, *[" or "] * 4, " AND ", " && ", " ", " eq ", "and")
OPERATORS = ("add", "sub", "mul", "div", "mod", "divby", "+", "DIV")

# Values of JSON, as they are written.
VALUES = [
    *(
        '"x"',
        '""',
        '"1"',
        '"No"',
        '"Yes"',
        '"AA=="',
        '"AA"',
        '"true"',
        f'"{GUID}"',
        f'"{{{GUID}}}"',
        f'"urn:uuid:{GUID}"',
    ),
    *("5", "1.5", "1e3", "1E-5", "0.00001", "-0.0", "2147483648", "9223372036854775808", "1e400", "1e28", "01", ".5"),
    *("11111111222233334444555555555555", "123456789012345678901234567890", "NaN", "Infinity", "+5"),
    *('"2026-07-23"', '"2021-01-01T00:00:00"', '"2021-01-01T00:00:00Z"', '"2021-01-01T12:00:00+15:00"', '"2021-02-30"'),
    *('"9999-12-31T23:59:59Z"', '"2021-01-01T12:00:00.12345678Z"', "null", "true", "{}", "[]", "[1]", '{"a":1}'),
]
ANNOTATIONS = ("type", "etag", "id", "bogus", "nextLink", "deltaLink", "removed", "mediaEtag", "count")
NO_OBJECTS = ("[]", "null", "5", '""', "{", '{"a":1} x', '{"a":1,}')


@dataclass
class Requests:
    """Makes requests of one seed up. Entities and enumerations are as the metadata service describes them."""

    random: Random
    entities: dict[str, dict[str, Any]]
    enumerations: dict[str, list[str]]

    def url(self) -> str:
        """A URL below /data, percent-encoded."""
        entity_set = self.random.choice(list(self.entities))
        kind = self.random.random()
        if kind < 0.1:
            return quote(self.key(entity_set), safe="(),='")
        options = {
            "$filter": (0.7, self.filter),
            "$select": (0.8, self.select),
            "$orderby": (0.9, self.order),
            "$expand": (1.0, self.expand),
        }
        name, make = next((name, make) for name, (below, make) in options.items() if kind < below)
        return f"{entity_set}?{name}={quote(make(entity_set), safe='')}"

    def body(self) -> tuple[str, str]:
        """An entity set and what a caller may post to it."""
        entity_set = self.random.choice([name for name, entity in self.entities.items() if not entity["IsReadOnly"]])
        if self.sometimes(0.02):
            return entity_set, self.random.choice(NO_OBJECTS)
        members = [self.member(entity_set) for _ in range(self.random.choice([1, 1, 1, 2]))]
        members += members[:1] if self.sometimes(0.05) else []
        return entity_set, f"{{{','.join(f'{json.dumps(name)}:{value}' for name, value in members)}}}"

    def member(self, entity_set: str) -> tuple[str, str]:
        prop, value = self.property(entity_set), self.random.choice(VALUES)
        names = [prop["Name"].lower(), "Nope", "odata.x", "x@y", f"{prop['Name']}@odata.type"]
        names += [f"@odata.{name}" for name in ANNOTATIONS]
        if not self.sometimes(0.15):
            return prop["Name"], value
        name = self.random.choice(names)
        type_name = self.random.choice([self.entities[entity_set]["Name"], "VendorV2"])
        return name, json.dumps(f"#{NAMESPACE}{type_name}") if name == "@odata.type" else value

    def filter(self, entity_set: str, depth: int = 2) -> str:
        kind = self.random.random()
        if depth == 0 or kind < 0.55:
            return self.comparison(entity_set)
        inner = self.filter(entity_set, depth - 1)
        if kind < 0.65:
            return self.random.choice(["not ", "not", "NOT ", "! "]) + inner
        if kind < 0.8:
            return self.random.choice(["({})", "({})", "({})", "({}", "{})"]).format(inner)
        return inner + self.random.choice(JOINTS) + self.filter(entity_set, depth - 1)

    def comparison(self, entity_set: str) -> str:
        left, type_name = self.operand(entity_set, depth=1)
        right = self.literal(type_name) if self.sometimes(0.85) else self.operand(entity_set, depth=1)[0]
        if self.sometimes(0.05):
            return f"{left} in ({','.join(self.literal(type_name) for _ in range(self.random.choice([0, 1, 2])))})"
        if self.sometimes(0.06):
            left, right = right, left
        return f"{left} {self.random.choice(COMPARISONS)} {right}"

    def operand(self, entity_set: str, depth: int) -> tuple[str, str]:
        """A property, or what is computed from some, and its type."""
        if depth == 0 or self.sometimes(0.8):
            return self.path(entity_set)
        inner, type_name = self.operand(entity_set, depth - 1)
        other, _ = self.operand(entity_set, depth - 1)
        function, operator = self.random.choice(FUNCTIONS), self.random.choice(OPERATORS)
        made = self.random.choice(
            ["-{a}", "- {a}", "({a})", "{f}({a})", "{f}({a},{b})", "{f}()", "{a} {o} {b}", "{a} {o} 2"]
        )
        return made.format(a=inner, b=other, f=function, o=operator), type_name

    def path(self, entity_set: str) -> tuple[str, str]:
        prop = self.property(entity_set)
        if self.sometimes(0.05):
            return self.random.choice([prop["Name"].lower(), "Nope", prop["Name"] + "X"]), prop["TypeName"]
        if self.sometimes(0.07) and (links := self.entities[entity_set]["NavigationProperties"]):
            link = self.random.choice(links)
            other = self.property(self.target(link))
            return f"{link['Name']}/{other['Name']}", other["TypeName"]
        return prop["Name"], prop["TypeName"]

    def literal(self, type_name: str) -> str:
        if type_name in self.enumerations and self.sometimes(0.8):
            member, short = self.random.choice(self.enumerations[type_name]), type_name.removeprefix(NAMESPACE)
            ways = [f"'{member}'", member, f"{short}'{member}'", f"{type_name}'{member.lower()}'", f"{type_name}'Nope'"]
            return self.random.choice([*[f"{type_name}'{member}'"] * 6, *ways])
        if type_name not in LITERALS or self.sometimes(0.2):
            type_name = self.random.choice(list(LITERALS))
        return self.random.choice(LITERALS[type_name])

    def select(self, entity_set: str) -> str:
        names = [self.path(entity_set)[0] for _ in range(self.random.choice([1, 2, 3]))]
        names += self.random.choice([[], [], [], ["*"], [""], ["Nope"], [self.link(entity_set)]])
        self.random.shuffle(names)
        return self.random.choice([",", ",", ",", ", ", ";"]).join(names)

    def order(self, entity_set: str) -> str:
        ways = ["", "", " asc", " desc", " DESC", " ascending", "  desc", " desc "]
        terms = [self.operand(entity_set, 1)[0] + self.random.choice(ways) for _ in range(self.random.choice([1, 2]))]
        return self.random.choice([",", ",", " , "]).join(terms)

    def expand(self, entity_set: str) -> str:
        return self.random.choice([",", ",", ";"]).join(
            self.expansion(entity_set) for _ in range(self.random.choice([1, 2]))
        )

    def expansion(self, entity_set: str) -> str:
        links = self.entities[entity_set]["NavigationProperties"]
        if not links or self.sometimes(0.1):
            return self.random.choice(["Nope", self.path(entity_set)[0]])
        link = self.random.choice(links)
        inner = self.select(self.target(link))
        ways = [
            "",
            "",
            "()",
            f"($select={inner})",
            f"($select={inner})",
            "($nope=1)",
            "($select=Nope)",
            "(select=x)",
            "(;)",
        ]
        return str(link["Name"]) + self.random.choice(ways)

    def key(self, entity_set: str) -> str:
        keys = [prop for prop in self.entities[entity_set]["Properties"] if prop["IsKey"]]
        parts = [f"{key['Name']}{self.random.choice(['=', '=', ' = '])}{self.literal(key['TypeName'])}" for key in keys]
        others: Sequence[list[str]] = (
            *(parts[:-1], [*parts, parts[0]], [self.literal(keys[0]["TypeName"])], [*parts, "Nope=1"], parts[::-1]),
        )
        if self.sometimes(0.25):
            parts = self.random.choice(others)
        return f"{entity_set}({self.random.choice([',', ',', ', ']).join(parts)})"

    def link(self, entity_set: str) -> str:
        links = self.entities[entity_set]["NavigationProperties"]
        return str(self.random.choice(links)["Name"]) if links else "Nope"

    def target(self, link: dict[str, Any]) -> str:
        return next(name for name, entity in self.entities.items() if entity["Name"] == link["RelatedEntity"])

    def property(self, entity_set: str) -> dict[str, Any]:
        found: dict[str, Any] = self.random.choice(self.entities[entity_set]["Properties"])
        return found

    def sometimes(self, chance: float) -> bool:
        return self.random.random() < chance
