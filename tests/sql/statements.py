"""Thinks of SELECTs over the entity sets of `things`: every operator, every join, CTEs, subqueries, groups, set operations.

A statement is written twice: as a caller writes it, and for the oracle, whose dates are never NULL.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tests.sql.things import AMOUNTS, COMPANIES, IDS, KEYS, KINDS, LINKS, TEXTS

EMPTY = "DATE '1900-01-01'"
Pair = tuple[str, str]  # as a caller writes it, and as the oracle reads it


@dataclass(frozen=True)
class Statement:
    sql: str
    oracle: str
    company: str | None
    cross_company: bool
    names_company: bool
    limit: int | None = None  # how many of the oracle's rows are wanted, whichever they are


def same(text: str) -> Pair:
    return text, text


def quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


class Author:
    """Writes statements from a seed."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)  # noqa: S311 - not for secrets
        self.names_company = False

    def one(self, *choices: str) -> str:
        return self.dice.choice(choices)

    # Predicates

    def predicate(self, aliases: dict[str, str], depth: int = 2) -> Pair:
        """Return a predicate about these aliases (each with its entity set)."""
        roll = self.dice.random()
        if depth and roll < 0.45:
            word = self.one("AND", "AND", "OR")
            parts = [self.predicate(aliases, depth - 1) for _ in range(self.dice.randint(2, 3))]
            return tuple("(" + f" {word} ".join(part[side] for part in parts) + ")" for side in (0, 1))  # type: ignore[return-value]
        if depth and roll < 0.55:
            inner = self.predicate(aliases, depth - 1)
            return f"NOT ({inner[0]})", f"NOT ({inner[1]})"
        alias, entity_set = self.dice.choice([*aliases.items()])
        return self.atom(alias, entity_set, aliases)

    def atom(self, alias: str, entity_set: str, aliases: dict[str, str]) -> Pair:
        key = self.dice.choice([name for name in KEYS[entity_set] if name not in ("dataAreaId", "LineNumber")])
        atoms: list[Callable[[str], Pair]] = [
            lambda a: self.text(f"{a}.Name"),
            lambda a: self.text(f"{a}.{key}", IDS),
            lambda a: self.member(f"{a}.{self.one('Kind', 'Blocked')}"),
            lambda a: self.number(f"{a}.{self.one('Amount', 'Quantity', 'Serial')}"),
            lambda a: self.flag(f"{a}.Active"),
            lambda a: self.day(f"{a}.{self.one('Due', 'Closed')}"),
            lambda a: self.time(f"{a}.Created"),
            lambda a: same(f"{a}.Tag {self.one('=', '<>')} '11111111-2222-3333-4444-555555555555'"),
            lambda a: self.between_columns(a, aliases),
        ]
        return self.dice.choice(atoms)(alias)

    def text(self, column: str, values: Sequence[str] = TEXTS) -> Pair:
        value, other = quoted(self.dice.choice(values)), quoted(self.dice.choice(values))
        part = self.dice.choice([text[:3] for text in values if len(text) > 2]).replace("'", "''")
        function = self.one("lower", "upper", "trim", "ltrim", "rtrim", "lcase")
        if values is TEXTS and self.dice.random() < 0.15:
            alpha = self.one("'alpha'", "'ALPHA'", "' alpha'", "'Alpha '", "'straße'", "'É'")
            return same(
                self.one(
                    f"{function}({column}) = {alpha}",
                    f"{column} = {alpha}",
                    f"{column} LIKE {alpha}",
                    f"{function}({column}) IN ({alpha}, 'beta')",
                )
            )
        return same(
            self.one(
                f"{column} {self.operator()} {value}",
                f"{column} {self.operator()} {value}",
                f"{column} = {value.upper()}",
                f"{column} {self.one('IN', 'NOT IN')} ({value}, {other})",
                f"{column} {self.one('LIKE', 'NOT LIKE', 'ILIKE', 'NOT ILIKE', '~~', '!~~')} '{self.one('%', '')}{part}{self.one('%', '')}'",
                f"{column} LIKE '{part}!%' ESCAPE '!'",
                f"{column} LIKE '_{part}%'",
                f"{column} {self.one('', 'NOT ')}BETWEEN {value} AND {other}",
                f"{column} IS {self.one('', 'NOT ')}DISTINCT FROM {value}",
                f"{column} IS {self.one('', 'NOT ')}NULL",
                f"{function}({column}) {self.operator()} {value}",
                f"{function}({column}) LIKE '{part}%'",
                f"upper({function}({column})) = {value.upper()}",
                f"{self.one('starts_with', 'contains', 'ends_with')}({column}, '{part}')",
                f"{column} || '' = {value}",
                f"length({column}) > 4",
                f"coalesce({column}, {value}) = {value}",
                f"{value} {self.operator()} {column}",
                f"{column} = concat({value}, '')",
                f"{column} SIMILAR TO '{part.replace('*', '.').replace('_', '.')}.*'".replace("\\", "."),
                f"CASE WHEN {column} = {value} THEN TRUE WHEN {column} = {other} THEN FALSE END",
                f"{column} {self.one('IN', 'NOT IN')} ({value}, NULL)",
                f'{column} {self.one("=", "<>")} {value} COLLATE "binary"',
                f'{column} COLLATE "binary" {self.operator()} {value}',
                f"{self.one('', 'NOT ')}regexp_matches({column}, '^{self.one('a', 'B', '[0-9]', '.l')}')",
                f"{column} {self.one('GLOB', 'NOT SIMILAR TO')} 'al*'",
                f"({column}, 1) {self.one('=', '<>')} ({value}, 1)",
                f"({column}, 1) {self.one('IN', 'NOT IN')} (({value}, 1), ({other}, 2))",
                f"({column} = {value}) IS {self.one('', 'NOT ')}{self.one('TRUE', 'FALSE')}",
                f"{column} = ANY ([{value}, {other}])",
            )
        )

    def operator(self) -> str:
        return self.one("=", "=", "=", "<>", "!=", "<", "<=", ">", ">=")

    def member(self, column: str) -> Pair:
        members = KINDS if column.endswith("Kind") else ("No", "Yes")
        value, other = (quoted(self.dice.choice(members)) for _ in "ab")
        return same(
            self.one(
                f"{column} {self.one('=', '<>')} {value}",
                f"{column} = {value.lower()}",
                f"{value.upper()} = {column}",
                f"{column} {self.one('IN', 'NOT IN')} ({value}, {other})",
                f"{column} IS {self.one('', 'NOT ')}NULL",
                f"{column} IS {self.one('', 'NOT ')}DISTINCT FROM {value}",
                f"lower({column}) = {value.lower()}",
                f"{column} {self.one('', 'NOT ')}LIKE '%o%'",
                f"NOT ({column} = {value})",
                f"{column} {self.one('IN', 'NOT IN')} ({value}, NULL)",
                f"({column}, 1) {self.one('=', '<>')} ({value}, 1)",
                f"({column} = {value}) IS NOT {self.one('TRUE', 'FALSE')}",
                f"coalesce({column}, {other}) = {value}",
            )
        )

    def number(self, column: str) -> Pair:
        value = self.one(
            *map(str, AMOUNTS),
            "5637144576",
            "3",
            "1 + 1",
            "10 / 4.0",
            "-(-1)",
            "1e0",
            "0.1::DOUBLE",
            "0.30",
            "0.1::FLOAT",
        )
        low, high = (self.one(*map(str, AMOUNTS)) for _ in "ab")
        if self.dice.random() < 0.07:
            oracle = f"({column} BETWEEN {low} AND {high} OR {column} BETWEEN {high} AND {low})"
            return f"{column} BETWEEN SYMMETRIC {high} AND {low}", oracle
        return same(
            self.one(
                f"{column} {self.operator()} {value}",
                f"{column} {self.operator()} {value}",
                f"{value} {self.operator()} {column}",
                f"{column} {self.one('', 'NOT ')}BETWEEN {low} AND {high}",
                f"{column} {self.one('IN', 'NOT IN')} ({low}, {high}, 2)",
                f"{column} IS {self.one('', 'NOT ')}DISTINCT FROM {low}",
                f"{column} + 1 > {value}",
                f"abs({column}) = {low}",
                f"{column} IS NOT NULL",
                f"NOT ({column} > {value})",
                f"{column} % 2 = 0",
                f"{column} = '{low}'",
            )
        )

    def flag(self, column: str) -> Pair:
        return same(
            self.one(column, f"NOT {column}", f"{column} = true", f"{column} <> false", f"{column} IS TRUE", f"{column} IS NOT TRUE",
                     f"{column} IN (true)", f"{column} = (1 = 1)")
        )  # fmt: skip

    def day(self, column: str) -> Pair:
        days = (
            "1900-01-01",
            "2020-02-29",
            "2021-01-01",
            "2021-06-30",
            "2021-07-01",
            "2021-07-31",
            "2022-12-31",
            "2021-07-15",
        )
        day, other = self.one(*days), self.one(*days)
        literal = self.one(
            f"'{day}'",
            f"DATE '{day}'",
            f"TIMESTAMP '{day} 00:00:00'",
            f"'{day.replace('-', '/')}'",
            f"CAST('{day}' AS DATE)",
        )
        timed = f"TIMESTAMP '{day} 10:30:00'"
        ranged = self.one("<", "<=", ">", ">=")
        unit = self.one("day", "week", "month", "quarter", "year")
        return self.dice.choice(
            [
                same(f"{column} {self.operator()} {literal}"),
                same(f"{column} {self.operator()} {literal}"),
                same(f"{literal} {self.operator()} {column}"),
                same(f"{column} {ranged} {timed}"),
                (f"{column} {ranged} '{day} 10:30'", f"{column} {ranged} {timed}"),
                (f"{column} {ranged} '{day}T12:00:00Z'", f"{column} {ranged} DATE '{day}'"),
                same(f"{column} {self.one('', 'NOT ')}BETWEEN '{day}' AND '{other}'"),
                same(f"{column} {self.one('IN', 'NOT IN')} ('{day}', '{other}')"),
                (f"{column} IS NULL", f"({column} IS NULL OR {column} = {EMPTY})"),
                (f"{column} IS NOT NULL", f"({column} IS NOT NULL AND {column} <> {EMPTY})"),
                same(f"year({column}) {self.operator()} {day[:4]}"),
                same(f"date_part('year', {column}) = {day[:4]}"),
                same(f"extract(year FROM {column}) {self.operator()} {day[:4]}"),
                same(f"date_trunc('{unit}', {column}) {self.operator()} DATE '{other}'"),
                same(f"{column}::DATE {self.operator()} DATE '{day}'"),
                same(f"{column} {ranged} current_date - INTERVAL 3 YEAR"),
                same(f"{column} {ranged} DATE '{day}' + INTERVAL 1 MONTH"),
                same(f"NOT ({column} {ranged} DATE '{day}')"),
                same(f"{column} IS {self.one('', 'NOT ')}DISTINCT FROM {literal}"),
                (
                    f"({column}, 1) {(operator := self.one('=', '<>'))} ({literal}, 1)",
                    f"({column}, 1) {operator} (DATE '{day}', 1)",
                ),
                same(f"({column}, 1) {self.one('IN', 'NOT IN')} ((DATE '{day}', 1), (DATE '{other}', 1))"),
                same(f"CASE {column} WHEN {literal} THEN TRUE ELSE FALSE END"),
                same(f"({column} {ranged} {literal}) IS NOT TRUE"),
                (
                    f"coalesce({column}, DATE '{other}') = {literal}",
                    f"coalesce(nullif({column}, {EMPTY}), DATE '{other}') = {literal}",
                ),
            ]
        )

    def time(self, column: str) -> Pair:
        day = self.one("1900-01-01", "2020-02-29", "2021-07-01", "2021-12-31", "2022-01-01")
        clock = self.one("00:00:00", "12:00:00", "12:00:01", "23:59:59", "12:00:00.5")
        literal = self.one(f"'{day} {clock}'", f"'{day}T{clock}Z'", f"TIMESTAMP '{day} {clock}'")
        unit = self.one("day", "month", "quarter", "year")
        return self.dice.choice(
            [
                (
                    f"{column} {(operator := self.operator())} {literal}",
                    f"{column} {operator} TIMESTAMP '{day} {clock}'",
                ),
                (
                    f"{column} {(operator := self.operator())} '{day}T14:00:00+02:00'",
                    f"{column} {operator} TIMESTAMP '{day} 12:00:00'",
                ),
                same(f"{column} {self.operator()} TIMESTAMPTZ '{day} 12:00:00+00'"),
                same(f"{column} {self.operator()} '{day}'"),
                same(f"{column} BETWEEN '{day}' AND TIMESTAMP '{day} 23:59:59'"),
                same(f"{column}::DATE {self.operator()} '{day}'"),
                same(f"CAST({column} AS DATE) IN ('{day}', '2022-01-01')"),
                same(f"year({column}) {self.operator()} {day[:4]}"),
                same(f"date_trunc('{unit}', {column}) {self.operator()} TIMESTAMP '{day} 00:00:00'"),
                (f"{column} IS NULL", f"({column} IS NULL OR {column} = TIMESTAMP '1900-01-01 00:00:00')"),
                (f"{column} IS NOT NULL", f"({column} IS NOT NULL AND {column} <> TIMESTAMP '1900-01-01 00:00:00')"),
                same(f"{column} {self.one('<=', '>')} now()"),
            ]
        )

    def between_columns(self, alias: str, aliases: dict[str, str]) -> Pair:
        other = self.dice.choice([*aliases])
        name = self.one("Name", "Amount", "Quantity", "Due", "Kind")
        first = {"Quantity": "Quantity", "Amount": "Amount", "Due": "Closed"}.get(name, name)
        operator = self.one("=", "<>") if name in ("Kind", "Name") else self.operator()
        if self.dice.random() < 0.2:  # true of nothing, too
            return same(
                f"{alias}.Quantity >= ALL (SELECT q.Quantity FROM Places q WHERE q.Quantity > {self.one('1', '1000')})"
            )
        return same(f"{alias}.{first} {operator} {other}.{name}")

    def company(self, aliases: dict[str, str]) -> Pair:
        """Return a predicate that names companies."""
        alias = self.one(*[alias for alias, entity_set in aliases.items() if entity_set != "Places"] or ["none"])
        if alias == "none":
            return same("1 = 1")
        self.names_company = True
        first, second = self.one(*COMPANIES), self.one(*COMPANIES)
        return same(
            self.one(
                f"{alias}.dataAreaId = '{first}'",
                f"{alias}.dataAreaId = '{first.upper()}'",
                f"lower({alias}.dataAreaId) = '{first}'",
                f"{alias}.dataAreaId IN ('{first}', '{second}')",
                f"({alias}.dataAreaId = '{first}' OR {alias}.dataAreaId = '{second}')",
                f"{alias}.dataAreaId <> '{first}'",
                f"{alias}.dataAreaId LIKE '{first[:2]}%'",
                f"left({alias}.dataAreaId, 2) = '{first[:2]}'",
            )
        )

    # Sources

    def source(self, entity_set: str, depth: int = 1) -> Pair:
        """Return a table, or a SELECT that stands for one."""
        if not depth or self.dice.random() < 0.7:
            return same(entity_set)
        inner = self.predicate({"i": entity_set}, 1) if self.dice.random() < 0.6 else same("1 = 1")
        select = f"SELECT i.* FROM {entity_set} i WHERE "
        return self.dice.choice(
            [
                (f"({select}{inner[0]})", f"({select}{inner[1]})"),
                (
                    f"(SELECT DISTINCT i.* FROM {entity_set} i WHERE {inner[0]})",
                    f"(SELECT DISTINCT i.* FROM {entity_set} i WHERE {inner[1]})",
                ),
                (
                    f"({select}{inner[0]} UNION ALL {select}i.Quantity > 1)",
                    f"({select}{inner[1]} UNION ALL {select}i.Quantity > 1)",
                ),
                (
                    f"({select}{inner[0]} EXCEPT {select}i.Quantity > 1)",
                    f"({select}{inner[1]} EXCEPT {select}i.Quantity > 1)",
                ),
                same(
                    f"(SELECT i.* FROM {entity_set} i ORDER BY {', '.join(KEYS[entity_set])} LIMIT {self.dice.randint(1, 9)})"
                ),
                same(
                    f"(SELECT DISTINCT ON (i.Kind) i.* FROM {entity_set} i ORDER BY i.Kind, {', '.join(KEYS[entity_set])})"
                ),
            ]
        )

    def linked(self, here: str) -> tuple[str, tuple[Pair, ...]]:
        """Return an entity set that can be joined, and the columns that are equal (here, there)."""
        ways = [(two, links) for (one, two), links in LINKS.items() if one == here]
        ways += [
            (one, tuple((b, a) for a, b in links)) for (one, two), links in LINKS.items() if two == here and one != two
        ]
        return self.dice.choice(ways)

    def equalities(self, here: str, there: str, links: Sequence[Pair], *, company: bool) -> list[str]:
        """Return what joins alias `here` (alias:set) with `there`."""
        (a, one), (b, two) = here.split(":"), there.split(":")
        found = [f"{a}.{x} = {b}.{y}" if self.dice.random() < 0.5 else f"{b}.{y} = {a}.{x}" for x, y in links]
        if company and "Places" not in (one, two):
            found.insert(self.dice.randint(0, len(found)), f"{a}.dataAreaId = {b}.dataAreaId")
        if "Places" in (one, two) and self.dice.random() < 0.3:
            place, other = (a, b) if one == "Places" else (b, a)
            found.append(f"{place}.Owner = {other}.dataAreaId")
        return found

    # Statements

    def statement(self) -> Statement:
        self.names_company = False
        shape = self.shape()
        sql, oracle = shape()
        limit = self.dice.randint(1, 12) if shape in (self.simple, self.subquery) and self.dice.random() < 0.3 else None
        if limit is not None:
            sql += f"{self.one('', ' ORDER BY a.Amount', ' ORDER BY a.Quantity DESC')} LIMIT {limit}"
        roll = self.dice.random()
        company = self.one(*COMPANIES, "USRT") if 0.5 < roll < 0.65 else None
        return Statement(sql, oracle, company, roll >= 0.65, self.names_company, limit)

    def shape(self) -> Callable[[], Pair]:
        return self.dice.choice([self.simple, self.joined, self.joined, self.joined, self.using, self.using_one, self.natural, self.lateral, self.scalar, self.mixed, self.nearest, self.cte, self.subquery, self.subquery,
                                  self.grouped, self.set_operation, self.windowed])  # fmt: skip

    def where(self, aliases: dict[str, str]) -> Pair:
        parts = [self.predicate(aliases, 1) for _ in range(self.dice.randint(0, 2))]
        if self.dice.random() < 0.45:
            parts.insert(self.dice.randint(0, len(parts)), self.company(aliases))
        if not parts:
            return "", ""
        return " WHERE " + " AND ".join(p[0] for p in parts), " WHERE " + " AND ".join(p[1] for p in parts)

    def simple(self) -> Pair:
        entity_set = self.one(*KEYS)
        where = self.where({"a": entity_set})
        return both(f"SELECT {columns('a', entity_set)} FROM {entity_set} a{{}}", where)

    def joined(self) -> Pair:
        aliases = {"a": self.one(*KEYS)}
        source = self.source(aliases["a"])
        tables, oracle = f"{source[0]} a", f"{source[1]} a"
        visible = dict(aliases)
        for alias in "bc"[: self.dice.randint(1, 2)]:
            here = self.one(*visible)
            entity_set, links = self.linked(visible[here])
            on = self.equalities(
                f"{here}:{visible[here]}", f"{alias}:{entity_set}", links, company=self.dice.random() < 0.75
            )
            kind = self.one(
                "JOIN", "JOIN", "LEFT JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN", "SEMI JOIN", "ANTI JOIN", ","
            )
            source = self.source(entity_set)
            extra = self.predicate({here: visible[here], alias: entity_set}, 1) if self.dice.random() < 0.4 else None
            if kind == ",":
                if any(word in tables for word in ("RIGHT", "FULL")) or len(visible) > 1:
                    kind = "JOIN"
                else:
                    tables, oracle = f"{tables}, {source[0]} {alias}", f"{oracle}, {source[1]} {alias}"
                    visible[alias] = entity_set
                    where = self.where(visible)
                    joint = " AND ".join(on)
                    text = [each + f" AND {joint}" if each else f" WHERE {joint}" for each in where]
                    return (
                        f"SELECT {all_columns(visible)} FROM {tables}{text[0]}",
                        f"SELECT {all_columns(visible)} FROM {oracle}{text[1]}",
                    )
            conditions = [[*on, *([f"({extra[side]})"] if extra else [])] for side in (0, 1)]
            tables = f"{tables} {kind} {source[0]} {alias} ON {' AND '.join(conditions[0])}"
            oracle = f"{oracle} {kind} {source[1]} {alias} ON {' AND '.join(conditions[1])}"
            if kind not in ("SEMI JOIN", "ANTI JOIN"):
                visible[alias] = entity_set
        where = self.where(visible)
        head = f"SELECT {all_columns(visible)} FROM "
        return head + tables + where[0], head + oracle + where[1]

    def mixed(self) -> Pair:
        """A comma beside a join that keeps rows without a partner."""
        kind = self.one("LEFT JOIN", "RIGHT JOIN", "FULL JOIN", "JOIN")
        on = self.predicate({"b": "Heads", "c": "Partners"}, 1)
        where = self.where({"a": "Places", "b": "Heads", "c": "Partners"})
        text = f"SELECT a.PlaceId, b.dataAreaId, b.HeadId, c.dataAreaId AS other, c.PartnerId FROM Places a, Heads b {kind} Partners c ON b.PartnerId = c.PartnerId AND b.dataAreaId = c.dataAreaId AND "
        return text + on[0] + where[0], text + on[1] + where[1]

    def nearest(self) -> Pair:
        """ASOF, which takes the nearest row: no other condition may leave one out before."""
        kind = self.one("ASOF JOIN", "ASOF LEFT JOIN")
        where = self.where({"a": "Heads", "b": "Rows"})
        text = f"SELECT a.dataAreaId, a.HeadId, b.LineNumber, b.Name FROM Heads a {kind} Rows b ON a.dataAreaId = b.dataAreaId AND a.HeadId = b.HeadId AND a.Quantity >= b.LineNumber"
        if self.dice.random() < 0.5:
            on = self.predicate({"b": "Rows"}, 0)
            return f"{text} AND {on[0]}{where[0]}", f"{text} AND {on[1]}{where[1]}"
        return text + where[0], text + where[1]

    def using(self) -> Pair:
        one, two = self.dice.choice([("Heads", "Rows"), ("Rows", "Heads"), ("Heads", "Heads")])
        kind = self.one("JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN")
        value, company = self.one(*IDS), self.one(*COMPANIES)
        self.names_company = True
        condition = self.one(f"dataAreaId = '{company}'", f"HeadId = '{value}' AND dataAreaId IN ('{company}', 'usmf')", f"b.Quantity > 0 AND dataAreaId = '{company}'")  # fmt: skip
        more = self.predicate({"a": one, "b": two}, 1)
        return both(
            f"SELECT dataAreaId, HeadId, a.Amount, b.Amount AS other FROM {one} a {kind} {two} b USING (dataAreaId, HeadId) WHERE {condition} AND {{}}",
            more,
        )

    def using_one(self) -> Pair:
        """USING makes one column of two, whatever its type and whichever of them there is."""
        name = self.one("Closed", "Due", "Kind", "Name", "Quantity", "dataAreaId", "HeadId")
        conditions: dict[str, Callable[[], Pair]] = {
            "Closed": lambda: self.day("Closed"),
            "Due": lambda: self.day("Due"),
            "Kind": lambda: self.member("Kind"),
            "Name": lambda: self.text("Name"),
            "Quantity": lambda: self.number("Quantity"),
            "dataAreaId": lambda: same(f"dataAreaId = '{self.one(*COMPANIES)}'"),
            "HeadId": lambda: self.text("HeadId", IDS),
        }
        self.names_company |= name == "dataAreaId"
        condition, more = conditions[name](), self.predicate({"a": "Heads", "b": "Rows"}, 1)
        kind = self.one("JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN")
        text = f"SELECT {name} AS k, a.Amount, b.Amount AS other FROM Heads a {kind} Rows b USING ({name}) WHERE "
        if self.dice.random() < 0.5:
            return text + condition[0], text + condition[1]
        word = self.one("AND", "OR")
        return f"{text}{condition[0]} {word} {more[0]}", f"{text}{condition[1]} {word} {more[1]}"

    def natural(self) -> Pair:
        kind = self.one("", "LEFT ", "RIGHT ", "FULL ")
        columns = f"dataAreaId, HeadId, LineNumber{self.one('', ', Closed', ', Kind')}"
        text = f"SELECT dataAreaId, HeadId, LineNumber FROM Heads a NATURAL {kind}JOIN (SELECT {columns} FROM Rows) b"
        return both(text + "{}", self.where({"a": "Heads"}))

    def lateral(self) -> Pair:
        """A query in FROM that sees the tables before it."""
        inner, on = self.predicate({"r": "Rows"}, 1), self.predicate({"a": "Heads", "b": "Rows"}, 1)
        kind = self.one("JOIN", "LEFT JOIN")
        last = self.one("", "", " ORDER BY r.LineNumber LIMIT 1")
        head = f"SELECT a.dataAreaId, a.HeadId, b.LineNumber, b.Closed, b.Amount FROM Heads a {kind} LATERAL (SELECT r.* FROM Rows r WHERE r.dataAreaId = a.dataAreaId AND r.HeadId = a.HeadId AND "
        where = self.where({"a": "Heads", "b": "Rows"})
        is_query = any(word in on[0] for word in ("SELECT", "ANY ("))  # which DuckDB does not take there
        on = same("true") if is_query or self.dice.random() < 0.5 else on
        return tuple(f"{head}{inner[n]}{last}) b ON {on[n]}{where[n]}" for n in (0, 1))  # type: ignore[return-value]

    def scalar(self) -> Pair:
        """A query that is a column."""
        inner = self.predicate({"r": "Rows"}, 1)
        value = self.one("count(*)", "sum(r.Amount)", "max(r.Name)", "min(r.Due)")
        where = self.where({"a": "Heads"})
        head = f"SELECT a.dataAreaId, a.HeadId, (SELECT {value} FROM Rows r WHERE r.dataAreaId = a.dataAreaId AND r.HeadId = a.HeadId AND "
        return tuple(f"{head}{inner[n]}) AS v FROM Heads a{where[n]}" for n in (0, 1))  # type: ignore[return-value]

    def cte(self) -> Pair:
        entity_set = self.one("Heads", "Rows", "Partners")
        inner, outer, other = (self.predicate({alias: entity_set}, 1) for alias in ("i", "w", "v"))
        company = self.company({"i": entity_set}) if self.dice.random() < 0.5 else same("1 = 1")
        there, links = self.linked(entity_set)
        on = " AND ".join(self.equalities(f"w:{entity_set}", f"b:{there}", links, company=True))
        outside = self.company({"w": entity_set}) if self.dice.random() < 0.4 else same("1 = 1")
        select = f"WITH w AS (SELECT * FROM {entity_set} i WHERE {{0}} AND {{1}}) "
        kind = self.one("JOIN", "LEFT JOIN", "RIGHT JOIN")
        bodies = [
            f"SELECT {columns('w', entity_set)}, b.Amount AS other FROM w {kind} {there} b ON {on} WHERE {{2}} AND {{4}}",
            f"SELECT {columns('w', entity_set)} FROM w WHERE {{2}} AND {{4}} UNION ALL SELECT {columns('v', entity_set)} FROM w AS v WHERE {{3}}",
            f"SELECT {columns('w', entity_set)} FROM w WHERE {{2}} AND {{4}}",
            "SELECT count(*) AS n, w.Kind FROM w WHERE {2} AND {4} GROUP BY w.Kind",
            "SELECT w.Name, v.Name AS other FROM w JOIN w AS v ON w.Quantity = v.Quantity AND w.dataAreaId = v.dataAreaId WHERE {2} AND {3} AND {4}",
        ]  # fmt: skip
        text = select + self.dice.choice(bodies)
        parts = (company, inner, outer, other, outside)
        return text.format(*(part[0] for part in parts)), text.format(*(part[1] for part in parts))

    def subquery(self) -> Pair:
        entity_set = self.one("Heads", "Rows", "Partners")
        there, links = self.linked(entity_set)
        (x, y), *_ = links
        inner = self.predicate({"s": there}, 1)
        extra = self.company({"s": there}) if self.dice.random() < 0.4 else same("1 = 1")
        negated = self.one("", "", "NOT ")
        on = " AND ".join(self.equalities(f"a:{entity_set}", f"s:{there}", links, company=self.dice.random() < 0.8))
        pair = there != "Places"
        forms = [
            f"a.{x} {negated}IN (SELECT s.{y} FROM {there} s WHERE {{0}} AND {{1}})",
            f"{negated}EXISTS (SELECT 1 FROM {there} s WHERE {on} AND {{0}} AND {{1}})",
            f"{negated}EXISTS (SELECT {self.one('count(*)', 'kahan_sum(s.Amount)')} FROM {there} s WHERE {on} AND {{0}} AND {{1}})",
            f"a.Quantity > (SELECT avg(s.Quantity) FROM {there} s WHERE {on} AND {{0}} AND {{1}})",
            f"a.{x} = (SELECT max(s.{y}) FROM {there} s WHERE {{0}} AND {{1}})",
            f"a.Quantity >= (SELECT avg(s.Quantity) FROM {entity_set} s WHERE {{1}})",
            f"a.{x} = ANY (SELECT s.{y} FROM {there} s WHERE {{0}} AND {{1}})",
            f"a.Quantity >= ALL (SELECT s.Quantity FROM {there} s WHERE {on} AND {{0}} AND {{1}})",
            f"(a.{x} IN (SELECT s.{y} FROM {there} s WHERE {{0}} AND {{1}}) OR a.Quantity = 1)",
            f"a.Kind {negated}IN (SELECT s.Kind FROM {there} s WHERE (s.Kind IS NULL OR s.Kind = 'Half') AND {{1}}) AND a.Kind = 'Closed'",
            *(
                [f"(a.dataAreaId, a.{x}) {negated}IN (SELECT s.dataAreaId, s.{y} FROM {there} s WHERE {{0}} AND {{1}})"]
                if pair
                else []
            ),
        ]
        form = self.dice.choice(forms)
        where = self.where({"a": entity_set})
        head = f"SELECT {columns('a', entity_set)} FROM {entity_set} a"
        found = []
        for side in (0, 1):
            condition = form.format(inner[side], extra[side])
            found.append(head + (f"{where[side]} AND {condition}" if where[side] else f" WHERE {condition}"))
        return found[0], found[1]

    def grouped(self) -> Pair:
        entity_set = self.one("Heads", "Rows", "Partners")
        key = self.one("Kind", "dataAreaId", "Name", "Quantity", "Due", "Closed")
        where = self.where({"a": entity_set})
        having = self.one(
            "",
            f" HAVING a.{key} IS NOT NULL AND count(*) > 1" if key not in ("Due", "Closed") else "",
            " HAVING sum(a.Amount) > 1",
        )
        if key == "dataAreaId":
            self.names_company = True
            having = f" HAVING a.dataAreaId = '{self.one(*COMPANIES)}'"
        by = self.one(f"a.{key}", "ALL", "1")
        text = f"SELECT a.{key} AS k, count(*) AS n, sum(a.Amount) AS total, min(a.Name) AS first FROM {entity_set} a{{}} GROUP BY {by}{having}"
        if self.dice.random() < 0.3:
            text = f"SELECT * FROM ({text}) AS g WHERE g.n > 0"
        if self.dice.random() < 0.2:
            roll = f"SELECT a.Kind, a.Quantity, sum(a.Amount) AS total FROM {entity_set} a{{}} GROUP BY ROLLUP (a.Kind, a.Quantity)"
            text = self.one(roll, f"SELECT * FROM ({roll}) AS g WHERE g.Quantity = 1")
        return both(text, where)

    def set_operation(self) -> Pair:
        one, two = self.one("Heads", "Rows"), self.one("Heads", "Rows", "Partners")
        first, second = self.where({"a": one}), self.where({"b": two})
        word = self.one("UNION", "UNION ALL", "EXCEPT", "INTERSECT")
        columns = "{0}.Name, {0}.Kind, {0}.dataAreaId, {0}.Due"
        sides = [
            f"SELECT {columns.format('a')} FROM {one} a{first[n]} {word} SELECT {columns.format('b')} FROM {two} b{second[n]}"
            for n in (0, 1)
        ]
        if self.dice.random() < 0.6:
            self.names_company = True
            outer = self.one(
                "u.Kind = 'Open'", "u.dataAreaId = 'usrt'", "u.Due > '2021-01-01' AND u.dataAreaId IN ('usmf', 'demf')"
            )
            sides = [f"SELECT * FROM ({side}) AS u WHERE {outer}" for side in sides]
        return sides[0], sides[1]

    def windowed(self) -> Pair:
        entity_set = self.one("Heads", "Rows", "Partners")
        where = self.where({"a": entity_set})
        by = self.one("", "PARTITION BY a.Kind ", "PARTITION BY a.dataAreaId ", "PARTITION BY a.Kind, a.dataAreaId ")
        outer = self.one(
            "w.Kind = 'Open'", "w.dataAreaId = 'usrt'", "w.total > 1", "w.dataAreaId = 'usmf' AND w.Kind = 'Half'"
        )
        self.names_company |= "dataAreaId" in outer
        text = f"SELECT * FROM (SELECT a.Kind, a.dataAreaId, a.Amount, {self.one('sum(a.Amount)', 'count(*)')} OVER ({by}) AS total FROM {entity_set} a{{}}) AS w WHERE {outer}"
        if self.dice.random() < 0.3:
            keys = ", ".join(f"a.{key}" for key in KEYS[entity_set])
            text = f"SELECT a.Kind, a.dataAreaId FROM {entity_set} a{{}} QUALIFY row_number() OVER ({by}ORDER BY {keys}) <= 2"
        return both(text, where)


def both(text: str, part: Pair) -> Pair:
    return text.replace("{}", part[0]), text.replace("{}", part[1])


def columns(alias: str, entity_set: str) -> str:
    names = [*KEYS[entity_set], "Name", "Kind", "Amount", "Closed", "Created"]
    return ", ".join(f"{alias}.{name}" for name in names)


def all_columns(aliases: dict[str, str]) -> str:
    return ", ".join(
        f"{alias}.{name} AS {alias}{name}"
        for alias, entity_set in aliases.items()
        for name in [*KEYS[entity_set], "Name", "Amount", "Closed"]
    )
