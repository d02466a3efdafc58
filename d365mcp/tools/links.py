"""How an entity hangs together with others: its newer version, what belongs to it, what its fields must be found in.

Navigation properties say so; where they do not, names do, and what is concluded from names is called inferred.
"""

import asyncio
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from d365mcp.d365.models import COMPANY, DataEntity, EntityProperty, EntitySummary, version_of
from d365mcp.errors import D365McpError
from d365mcp.tools.columns import spaced_words, without_version
from d365mcp.tools.common import entity_or_none
from d365mcp.tools.tool import ToolContext

# Of a name, what says that it is only a part of the thing.
_PART = re.compile(r"(Header|Line)s?$")
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
_PLAIN_KEYS = frozenset({COMPANY, "Name", "Code", "Id", "Description", "LineNumber", "RecId", "StartDate", "EndDate"})
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


def validated_by(
    entity: DataEntity, chosen: Iterable[EntityProperty], known: Families
) -> tuple[dict[str, str], dict[str, str]]:
    """Return by property the entity that has its values: as navigation properties say, and as names let infer."""
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
            party + noun.removesuffix("s"),
            noun.removesuffix("s"),
            f"{noun}header",
            _ALIASES.get(noun, ""),
        ):
            row = known.newest(family)
            if row is not None and family != own:
                return row.entity_set
    return None


async def belonging(context: ToolContext, entity: DataEntity, known: Families) -> dict[str, str]:
    """Return the entities whose records go with this one's, and the columns of the key that they share (inferred)."""
    own = _telling_key(entity)
    linked = {link.related_entity for link in entity.navigation_properties}
    rows = await _candidates(context, entity, known, own)
    others = await asyncio.gather(
        *(entity_or_none(context, row.entity_set) for row in rows if row.public_name not in linked)
    )
    found = {}
    for other in others:
        if other is not None and (shared := tying_columns(entity, other)):
            found[other.entity_set] = " ".join(sorted(shared))
    return dict(list(found.items())[:_LISTED])


def tying_columns(entity: DataEntity, other: DataEntity) -> set[str]:
    """Return the key columns that tie two entities: all of one's key, or two of either."""
    own, theirs = _telling_key(entity), _telling_key(other)
    ours_there, theirs_here = own & other.properties.keys(), theirs & entity.properties.keys()
    if own and (ours_there == own or len(ours_there) > 1):
        return ours_there
    if (theirs and theirs_here == theirs) or len(theirs_here & own) > 1:
        return theirs_here
    return set()


def _telling_key(entity: DataEntity) -> set[str]:
    return {prop.name for prop in entity.key} - _PLAIN_KEYS


async def _candidates(
    context: ToolContext, entity: DataEntity, known: Families, own: Collection[str]
) -> list[EntitySummary]:
    """Return the newest entities that begin with the same name, and those that a search for the key finds."""
    family = _family(entity.public_name)
    stem = _family(_PART.sub("", without_version(entity.public_name)))
    most = _CANDIDATES_LIVE if context.catalog.note() else _CANDIDATES
    alike = sorted((name for name in known.members if name.startswith(stem)), key=len)
    with_key = []
    if words := [spaced_words(prop.name) for prop in entity.key if prop.name in own]:
        with suppress(D365McpError):
            hits = (await context.catalog.search_entities(words[-1], limit=most)).hits
            with_key = [_family(hit.summary.public_name) for hit in hits]
    names = dict.fromkeys([*alike[: most // 2], *with_key, *alike])
    rows = [row for name in names if name != family and (row := known.newest(name))]
    return rows[:most]
