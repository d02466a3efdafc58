"""Creates, updates and deletes, with the business logic F&O would run: numbers, defaults, validation, dependents.

Error texts: https://github.com/d365collaborative/d365fo.integrations and the product's own Infolog.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import prod
from urllib.parse import quote

from d365mcp.simulator.bodies import properties
from d365mcp.simulator.call import Call
from d365mcp.simulator.data import Condition, Found, Reader
from d365mcp.simulator.errors import Refusal, Reply, json_reply, write_refused
from d365mcp.simulator.keys import key_condition, key_predicate
from d365mcp.simulator.model import Default, Entity, Property, Record, Reference, Sequence, Touch
from d365mcp.simulator.store import quoted
from d365mcp.simulator.values import empty_value, stored

_NUMBER_SEQUENCES = "SequenceV2Tables"


class Writer:
    """Changes the records of one store. Entities that share a table share their owner's logic."""

    def __init__(self, reader: Reader) -> None:
        self.reader, self.store = reader, reader.store
        self.entities = reader.entities

    def create(self, call: Call, entity: Entity) -> Reply:
        _require_writable(call, entity)
        owner = self.store.owner(entity)
        given = {
            prop.name: value
            for prop, value in properties(entity, call.json_object())
            if prop.allow_edit_on_create  # whether F&O ignores or refuses the others is UNVERIFIED
        }
        record = self._completed(call, owner, given)  # a number stays taken when the record is refused
        with self.store.all_or_nothing():
            self._validate(entity, owner, record, owner.properties)
            self._refuse_duplicate(call, entity, owner, record)
            rec_id = self.store.insert(owner, record)
            self._touch(owner, record, is_new=True)
        created = self.reader.whole(call, entity, rec_id)
        key = quote(key_predicate(entity, created), safe="'=,")
        location = f"{call.base}/data/{entity.entity_set}({key})"
        return json_reply(created, 201, {"Location": location, "ETag": str(created["@odata.etag"])})

    def update(self, call: Call, entity: Entity, key: Mapping[str, object]) -> Reply:
        """PATCH changes what is named; PUT empties the rest too."""
        _require_writable(call, entity)
        owner = self.store.owner(entity)
        found = self.reader.find(call, owner, key)  # with the columns that its rules look at
        self._require_match(call, entity, found)
        changes = _changes(entity, found.values, call.json_object())
        if call.method == "PUT":
            rest = (prop for prop in entity.properties.values() if prop.allow_edit and not prop.is_key)
            changes = {prop.name: empty_value(prop) for prop in rest} | changes
        changes = _multiplied(owner, found.values, changes) | changes
        self._validate(entity, owner, found.values | changes, changes)
        self.store.update(entity, found.rec_id, changes)
        self._touch(owner, found.values | changes)
        return Reply(204)

    def delete(self, call: Call, entity: Entity, key: Mapping[str, object]) -> Reply:
        _require_writable(call, entity)
        owner = self.store.owner(entity)
        found = self.reader.find(call, owner, key)
        self._require_match(call, entity, found)
        with self.store.all_or_nothing():
            self._delete(owner, found)
        return Reply(204)

    def _completed(self, call: Call, owner: Entity, given: Record) -> Record:
        """What was sent, with the company, the defaults and the numbers F&O adds."""
        record: Record = {name: empty_value(prop) for name, prop in owner.properties.items()}
        record |= {name: stored(owner.properties[name], value) for name, value in owner.new_record.items()}
        record |= given
        if owner.company_specific:
            record["dataAreaId"] = self._company(call, owner, given.get("dataAreaId") or call.client.company)
        for default in owner.defaults:
            if default.property not in given:
                record[default.property] = self._default(owner, default, record)
        for sequence in owner.sequences:
            if not given.get(sequence.property):
                record[sequence.property] = self._number(owner, sequence, record)
        return record

    def _company(self, call: Call, owner: Entity, company: object) -> object:
        if self.store.world.companies and company not in self.store.world.companies:
            raise write_refused(owner.aot_name, f"Error: The company {company} does not exist")
        if call.client.companies and company not in call.client.companies:
            raise Refusal(f"Access denied: user {call.client.user} may not enter the company {company}.", 403, "")
        return company

    def _default(self, owner: Entity, default: Default, record: Record) -> object:
        prop = owner.properties[default.property]
        if default.today:
            clock = self.store.world.clock
            return clock.today() if prop.data_type == "Date" else clock.now()
        if default.product_of:
            return _product(default, record)
        if default.looked_up_in:
            return self._looked_up(prop, default, record)
        return _cut(prop, record[default.source])

    def _looked_up(self, prop: Property, default: Default, record: Record) -> object:
        other = self.entities[default.looked_up_in]
        where = _matching(other, {theirs: record[ours] for theirs, ours in default.by.items()}, record)
        rows = self.reader.rows(other, where, [default.source])
        return _cut(prop, rows[0].values[default.source]) if rows else record[prop.name]

    def _number(self, owner: Entity, sequence: Sequence, record: Record) -> object:
        """The next number of a sequence, or of the lines within their header."""
        if sequence.within:
            where = key_condition(owner, {name: record[name] for name in sequence.within})
            rows = self.reader.rows(owner, where, [sequence.property], f"{quoted(sequence.property)} DESC")
            last = rows[0].values[sequence.property] if rows else 0
            return int(float(str(last))) + sequence.step
        number = self._next(owner, sequence, str(record.get("dataAreaId", "")))
        return sequence.format.format(number) if sequence.format else number

    def _next(self, owner: Entity, sequence: Sequence, company: str) -> int:
        """Take the next number, from the record of the company's number sequence where there is one."""
        known = self.entities.get(_NUMBER_SEQUENCES) if sequence.code else None
        where = {"NumberSequenceCode": sequence.code, "ScopeValue": company}
        if known and (rows := self.reader.rows(known, key_condition(known, where), ["Next"])):
            number = int(str(rows[0].values["Next"]))
            self.store.update(known, rows[0].rec_id, {"Next": number + sequence.step})
            return number
        number = sequence.first + self.store.numbers[owner.entity_set, company]
        self.store.numbers[owner.entity_set, company] += sequence.step
        return number

    def _validate(self, entity: Entity, owner: Entity, record: Record, changed: Mapping[str, object]) -> None:
        complaints = [*_unfilled(owner, record, changed), *self._dangling(owner, record, changed)]
        if complaints:
            where = f"{owner.data_source} ({owner.data_source})"
            raise write_refused(entity.aot_name, *complaints, f"Error: validateWrite failed on data source '{where}'")

    def _dangling(self, owner: Entity, record: Record, changed: Mapping[str, object]) -> Iterator[str]:
        for reference in owner.references:
            if record[reference.property] in ("", 0, None) or not changed.keys() & set(reference.by.values()):
                continue
            other = self.entities[reference.entity_set]
            named = {theirs: record[ours] for theirs, ours in reference.by.items()}
            if not self.reader.rows(other, _matching(other, named, record), []):
                yield f"Warning: {reference.text} {', '.join(map(str, named.values()))} does not exist."

    def _refuse_duplicate(self, call: Call, entity: Entity, owner: Entity, record: Record) -> None:
        """Two lines, of which only the first has a severity; the table and its field go by their labels."""
        if not owner.keys:
            return
        key = {name: record[name] for name in owner.keys}
        if self.reader.rows(owner, key_condition(owner, key), []):
            names = [name for name in owner.keys if name != "dataAreaId"] or list(owner.keys)
            first = owner.properties[names[0]]
            titles = (name for name in owner.properties if name.endswith(("Name", "Description")) and record[name])
            where = f"{self._text(call, owner.label, owner.entity_set)} ({owner.data_source})"
            what = (
                f"{self._text(call, first.label, first.name)}: {record[first.name]}, {record.get(next(titles, ''), '')}"
            )
            message = f"Info: Cannot create a record in {where}. {what}.\nThe record already exists."
            raise write_refused(entity.aot_name, message)

    def _text(self, call: Call, label: str | None, name: str) -> str:
        """A label in the caller's language, or in English."""
        texts = self.store.world.labels.get(label or "", {})
        return texts.get(call.client.language) or texts.get("en-us") or name

    def _touch(self, owner: Entity, record: Record, *, is_new: bool = False) -> None:
        for touch in owner.touches:
            other = self.entities[touch.entity_set]
            where = _matching(other, {theirs: record[ours] for theirs, ours in touch.by.items()}, record)
            sums = {theirs: self._sum(owner, touch, ours, record) for theirs, ours in touch.sums.items()}
            values = {**(touch.values if is_new else {}), **sums}
            for row in self.reader.rows(other, where, values):
                if row.values != values:
                    self.store.update(other, row.rec_id, values)

    def _sum(self, owner: Entity, touch: Touch, name: str, record: Record) -> object:
        """The sum over all records that touch the same one."""
        where = _matching(owner, {ours: record[ours] for ours in touch.by.values()}, record)
        rows = self.reader.rows(owner, where, [name], limit=-1)
        return round(sum(float(str(row.values[name])) for row in rows), 2)

    def _delete(self, owner: Entity, found: Found) -> None:
        for dependent, reference in self._references_to(owner):
            named = {ours: found.values[theirs] for theirs, ours in reference.by.items()}
            where = _matching(dependent, named, found.values)
            for row in self.reader.rows(dependent, where, dependent.properties, limit=-1):
                if not reference.cascade:
                    raise _referenced(owner, reference, found, dependent)
                self._delete(dependent, row)
        self.store.delete(owner, found.rec_id)
        self._touch(owner, found.values)

    def _references_to(self, owner: Entity) -> Iterator[tuple[Entity, Reference]]:
        for entity in self.entities.values():
            for reference in entity.references:
                if self.store.owner(self.entities[reference.entity_set]) is owner:
                    yield entity, reference

    def _require_match(self, call: Call, entity: Entity, found: Found) -> None:
        wanted = call.headers.get("if-match", "*")
        # The status of a stale ETag is UNVERIFIED on F&O; 412 is OData's.
        if wanted not in ("*", self.reader.etag(entity, found)):
            raise Refusal("The record has been changed since it was read: its ETag is another one now.", 412, "")


def _require_writable(call: Call, entity: Entity) -> None:
    if call.client.read_only:
        raise Refusal(f"Access denied: user {call.client.user} may not change {entity.entity_set}.", 403, "")
    if entity.read_only:
        raise write_refused(entity.aot_name, f"Error: The data entity {entity.public_name} is read-only")


def _changes(entity: Entity, before: Record, body: Record) -> Record:
    """What an update changes; keys and fixed properties may be named as long as they stay as they are."""
    changes: Record = {}
    for prop, after in properties(entity, body):
        if prop.allow_edit and not prop.is_key:
            changes[prop.name] = after
        elif not _same(after, before[prop.name]):
            # Whether F&O ignores or refuses a change of a fixed property is UNVERIFIED.
            raise write_refused(entity.aot_name, f"Error: Field '{prop.name}' does not allow editing")
    return changes


def _multiplied(owner: Entity, before: Record, changes: Record) -> Record:
    """The products of what an update changes, as a line's amount follows its quantity."""
    return {
        default.property: _product(default, before | changes)
        for default in owner.defaults
        if changes.keys() & set(default.product_of)
    }


def _product(default: Default, record: Record) -> float:
    return prod(float(str(record[name])) for name in default.product_of)


def _same(one: object, other: object) -> bool:
    if isinstance(one, str) and isinstance(other, str):
        return one.casefold() == other.casefold()
    return one == other


def _matching(other: Entity, values: Record, record: Record) -> Condition:
    """Records of another entity set with these values, in the record's company."""
    if other.company_specific and "dataAreaId" in record:
        values = {"dataAreaId": record["dataAreaId"]} | values
    return key_condition(other, values)


def _cut(prop: Property, value: object) -> object:
    """Values F&O copies are cut to the target's length without a word."""
    return value[: prop.max_length] if prop.max_length and isinstance(value, str) else value


def _unfilled(owner: Entity, record: Record, changed: Mapping[str, object]) -> Iterator[str]:
    for name in changed:
        if owner.properties[name].mandatory and record[name] in ("", None):
            yield f"Warning: Field '{name}' must be filled in."


def _referenced(owner: Entity, reference: Reference, found: Found, dependent: Entity) -> Refusal:
    value = ", ".join(str(found.values[theirs]) for theirs in reference.by)
    what = f"{reference.text} {value} cannot be deleted while dependent {dependent.entity_set} exist"
    where = f"{owner.data_source} ({owner.data_source})"
    return write_refused(
        owner.aot_name,
        f"Warning: {what}. Delete dependent {dependent.entity_set} and try again.",
        f"Error: validateDelete failed on data source '{where}'",
    )
