"""How an entity hangs together with others: its newer version, what belongs to it, what its fields must be found in.

Navigation properties say so; where they do not, names do, and what is concluded from names is called inferred.
"""

import asyncio
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain, zip_longest

from d365mcp.d365.models import COMPANY, DataEntity, EntityProperty, EntitySummary, version_of
from d365mcp.errors import D365McpError
from d365mcp.tools.columns import spaced_words, without_version
from d365mcp.tools.common import entity_or_none
from d365mcp.tools.tool import ToolContext

# Of a name, what says that it is only a part of the thing.
_PART = re.compile(r"(Header|Line)s?$")
_HEADER = re.compile(r"Headers?$")
_LINE = re.compile(r"Lines?$")
# The last words of a field that names a record of another entity.
_TAILS = frozenset({"id", "code", "number", "name", "account", "symbol", "value"})
# What a field calls an entity that has another name.
_ALIASES = {"item": "releasedproduct", "product": "product", "site": "operationalsite", "unit": "unitofmeasure"}
# What stands before such a name and leaves its meaning: DefaultPaymentTermsName is of PaymentTerms, PriceGroupId of none.
_ROLES = frozenset(
    [
        "default",
        "ordering",
        "order",
        "invoice",
        "sales",
        "purchase",
        "requesting",
        "requester",
        "primary",
        "receiving",
        "shipping",
        "buyer",
        "clearing",
        "period",
        "accounting",
        "reporting",
        "transaction",
        "bank",
        "offset",
        "from",
        "to",
        "main",
        "parent",
        "delivery",
        "operational",
        "inventory",
        "isocurrency",
        "iso",
    ]
)
_WHOLE_WORDS = frozenset({"customer", "vendor", "currency", "warehouse", "project", "worker", "employee", *_ALIASES})
# Keys of these names say nothing of what the record belongs to.
_PLAIN_KEYS = frozenset(
    {"Name", "Code", "Id", "Description", "LineNumber", "RecId", "RecordId", "StartDate", "EndDate"}
)
_CANDIDATES = 20
_CANDIDATES_LIVE = 8  # each is a call
_LISTED = 8


@dataclass(frozen=True)
class Families:
    """The entities that OData shows, by their public names without version in lower case, the newest first."""

    members: Mapping[str, Sequence[EntitySummary]]

    @classmethod
    def of(cls, rows: Iterable[EntitySummary]) -> "Families":
        members: dict[str, list[EntitySummary]] = {}
        for row in rows:
            if row.data_service_enabled and row.entity_set and row.public_name:
                members.setdefault(_family(row.public_name), []).append(row)
        for each in members.values():
            each.sort(key=lambda row: -version_of(row.public_name))
        return cls(members)

    def newest(self, family: str) -> EntitySummary | None:
        return next(iter(self.members.get(family, ())), None)

    def entity_set(self, public_name: str) -> str:
        """Return the entity set of a public name, or the name where there is none by it."""
        rows = self.members.get(_family(public_name), ())
        return next((row.entity_set for row in rows if row.public_name == public_name), public_name)


def _family(public_name: str) -> str:
    return without_version(public_name).casefold()


async def families(context: ToolContext) -> Families:
    """Return all families; none where the list of entities cannot be read."""
    with suppress(D365McpError):
        return await asyncio.to_thread(Families.of, await context.catalog.known_summaries())
    return Families({})


def newer_version(entity: DataEntity, known: Families) -> str | None:
    """Return the entity set of the newest version, where it is newer than this one."""
    newest = known.newest(_family(entity.public_name))
    is_newer = newest is not None and version_of(newest.public_name) > version_of(entity.public_name)
    return newest.entity_set if newest and is_newer else None


async def validated_by(
    context: ToolContext, entity: DataEntity, chosen: Iterable[EntityProperty], known: Families
) -> tuple[dict[str, str], dict[str, str]]:
    """Return by property the entity that has its values: as navigation properties say, and as names let infer."""
    if entity.is_read_only:
        return {}, {}
    facts, inferred = named_by(entity, chosen, known)
    names = [name for name in inferred if spaced_words(name).endswith(" name")]
    keyed = await asyncio.gather(*(_has_name_as_key(context, inferred[name]) for name in names))
    only_displayed = {name for name, is_key in zip(names, keyed, strict=True) if not is_key}
    return facts, {name: other for name, other in inferred.items() if name not in only_displayed}


def named_by(
    entity: DataEntity, chosen: Iterable[EntityProperty], known: Families
) -> tuple[dict[str, str], dict[str, str]]:
    """Return by property the entity of which it names a record: as navigation properties say, and as names let infer."""
    said = {
        here: f"{known.entity_set(link.related_entity)}.{there}"
        for link in entity.navigation_properties
        if link.cardinality == "Single"
        for here, there in link.constraints
        if here != COMPANY
    }
    facts, inferred = {}, {}
    for prop in chosen:
        if prop.name in said:
            facts[prop.name] = said[prop.name]
        elif prop.type_name == "Edm.String" and (name := _named_in(prop, entity, known)):
            inferred[prop.name] = name
    return facts, inferred


async def _has_name_as_key(context: ToolContext, entity_set: str) -> bool:
    """Return whether a name finds a record: what has another key only shows its name."""
    found = await entity_or_none(context, entity_set)
    return found is not None and any(spaced_words(prop.name).split()[-1:] == ["name"] for prop in found.key)


def _named_in(prop: EntityProperty, entity: DataEntity, known: Families) -> str | None:
    """Return the entity that a field's name names, the longest name first: CustomerGroupId names CustomerGroups."""
    own = _family(entity.public_name)
    party = next((word for word in ("customer", "vendor") if own.startswith(word)), "")
    words = spaced_words(prop.name).split()
    if prop.name == COMPANY or (words[-1] not in _TAILS and len(words) == 1):
        return None
    while len(words) > 1 and words[-1] in _TAILS:
        words.pop()
    for start in range(len(words)):
        if start and words[start - 1] not in _ROLES:
            return None
        noun = "".join(words[start:])
        if start == len(words) - 1 and noun not in _WHOLE_WORDS:
            return None
        for family in (
            party + noun,
            noun,
            f"{noun}header",
            party + noun.removesuffix("s"),
            noun.removesuffix("s"),
            _ALIASES.get(noun, ""),
        ):
            row = known.newest(family)
            if row is not None and family != own:
                return row.entity_set
    return None


async def belonging(context: ToolContext, entity: DataEntity, known: Families) -> dict[str, str]:
    """Return the entities whose records go with this one's, and the columns that tie them (inferred)."""
    rows = await _candidates(context, entity, known)
    others = await asyncio.gather(*(entity_or_none(context, row.entity_set) for row in rows))
    ties = {other.entity_set: tie(entity, other) for other in others if other is not None}
    found = {entity_set: ", ".join(columns) for entity_set, columns in ties.items() if columns}
    return dict(list(found.items())[:_LISTED])


def tie(entity: DataEntity, other: DataEntity) -> list[str]:
    """Return the columns that tie two entities: as the other's navigation says, else the key of one in the other."""
    family = _family(entity.public_name)
    for link in other.navigation_properties:
        columns = [(here, there) for there, here in link.constraints if COMPANY not in (here, there)]
        if columns and _family(link.related_entity) == family and all(here in entity.properties for here, _ in columns):
            return [equality(here, there) for here, there in columns]
    return _key_in(other, entity) or _key_in(entity, other)


def equality(here: str, there: str) -> str:
    """Return how columns of two entities are compared; one name is said once."""
    return here if here == there else f"{here} = {there}"


def _key_in(part: DataEntity, whole: DataEntity) -> list[str]:
    """Return the key of a whole, where all of it is in something that is of its kin, or in a document that names it."""
    key = _natural_key(whole)
    if not set(key) <= part.properties.keys():
        return []
    is_kin = _is_kin(_stem(whole.public_name), without_version(part.public_name))
    return key if is_kin or (_names_itself(whole, key) and _refers_to(part, whole)) else []


def _natural_key(entity: DataEntity) -> list[str]:
    """Return the key but for the company; none where a part of it has the same name everywhere."""
    key = [prop.name for prop in entity.key if prop.name != COMPANY]
    return [] if _PLAIN_KEYS & set(key) else key


def _stem(public_name: str) -> str:
    """Return what a document is called, without what says that this is its header; a line stands for itself."""
    return _HEADER.sub("", without_version(public_name))


def _is_kin(name: str, longer: str) -> bool:
    """Return whether a name begins or ends with another: CustomerPostalAddress and ReleasedProduct do."""
    words, others = spaced_words(longer).split(), spaced_words(name).split()
    return others in (words[: len(others)], words[-len(others) :])


def _names_itself(entity: DataEntity, key: Sequence[str]) -> bool:
    """Return whether a key says what it is of, as PurchaseOrderNumber does; JournalBatchNumber is of any journal."""
    return len(key) == 1 and _is_kin(_stem(entity.public_name), key[0])


def _refers_to(part: DataEntity, whole: DataEntity) -> bool:
    """Return whether a column of a document means a record: of an order in a receipt, of a customer in an invoice."""
    if _HEADER.search(without_version(whole.public_name)):
        return bool(_PART.search(without_version(part.public_name)))
    return whole.category == "Master" and bool(_HEADER.search(without_version(part.public_name)))


async def _candidates(context: ToolContext, entity: DataEntity, known: Families) -> list[EntitySummary]:
    """Return the newest entities that have the same name in theirs, those that columns name, and those with the key."""
    stem = _family(_PART.sub("", without_version(entity.public_name)))
    most = _CANDIDATES_LIVE if context.catalog.note() else _CANDIDATES
    alike = sorted(
        (name for name in known.members if stem in name), key=lambda name: (not name.startswith(stem), len(name))
    )
    within = [*_runs(entity.public_name), *(f"{_noun(prop.name)}header" for prop in entity.properties.values())]
    with_key = [_family(row.public_name) for row in await _documents_with_key(context, entity)]
    in_turn = chain(*zip_longest(alike, with_key, (name for name in dict.fromkeys(within) if name in known.members)))
    linked = {link.related_entity for link in entity.navigation_properties}
    rows = [known.newest(name) for name in dict.fromkeys(in_turn) if name and name != _family(entity.public_name)]
    return [row for row in rows if row and row.public_name not in linked][:most]


def _runs(public_name: str) -> list[str]:
    """Return the names that a name has in it, the longest first: ReleasedProduct has Product."""
    words = spaced_words(without_version(public_name)).split()
    runs = ["".join(words[start:end]) for start in range(len(words)) for end in range(start + 1, len(words) + 1)]
    return sorted(runs, key=len, reverse=True)


def _noun(column: str) -> str:
    """Return what a column names, in lower case: the purchase order of PurchaseOrderNumber."""
    *noun, last = spaced_words(column).split() or [""]
    return "".join(noun) if last in _TAILS else ""


async def _documents_with_key(context: ToolContext, entity: DataEntity) -> list[EntitySummary]:
    """Return the headers and lines that have the words of a key which says what it is of, short names first."""
    key = _natural_key(entity)
    if not _names_itself(entity, key):
        return []
    with suppress(D365McpError):
        rows = await context.catalog.entities_with(key[0])
        return sorted(
            (row for row in rows if _PART.search(without_version(row.public_name))),
            key=lambda row: len(row.public_name),
        )
    return []


async def header_columns(context: ToolContext, entity: DataEntity, known: Families) -> list[str]:
    """Return the columns in which a line says which header it is of (inferred)."""
    name = without_version(entity.public_name)
    header = f"{_LINE.sub('', name)}Header".casefold()
    if not _LINE.search(name):
        return []
    links = [link for link in entity.navigation_properties if _family(link.related_entity) == header]
    if links:
        return [here for here, _ in links[0].constraints]
    row = known.newest(header)
    found = await entity_or_none(context, row.entity_set) if row else None
    return _key_in(entity, found) if found else []
