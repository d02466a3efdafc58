"""Which properties of an entity a reader wants to see when none are named. Pure."""

import re
from collections.abc import Iterable, Mapping
from functools import cache

from d365mcp.d365.models import DataEntity, EntityProperty
from d365mcp.tools.well_known_columns import COLUMNS

# Fewer than this are all wanted: F&O's entities have 10 to 300.
_NARROW = 20
_WANTED = 12
_VERSION = re.compile(r"V\d+$")
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")

# What people ask for first, by a name's last words; the order is the order of preference. Each has the types it may be
# of, and how many of a kind are enough.
_TEXT, _CHOICE, _NUMBER, _DAY = "text", "choice", "number", "day"
_KINDS = tuple(
    (re.compile(pattern), types, enough)
    for pattern, types, enough in (
        (r"^(\w+ )?(name|description|title|subject|text)$", {_TEXT}, 2),
        (r"^(\w+ ){0,2}(status|state|stage)$|^is (posted|active|approved|closed|open)$|^enabled$", {_CHOICE, _TEXT}, 2),
        (r"^(\w+ )?(amount|balance|total|price|cost|quantity|qty|rate|limit|percent|percentage|hours)$", {_NUMBER}, 4),
        (r"^(\w+ ){0,2}(customer|vendor|item|product|order|invoice|project|worker|personnel|journal)"
         r"( account)?( number| id)?$", {_TEXT}, 3),
        (r"^(\w+ )?currency( code)?$", {_TEXT}, 1),
        (r"^(\w+ )?(type|category|class)$", {_CHOICE, _TEXT}, 2),
        (r"^(\w+ )?group( id| code)?$", {_TEXT}, 2),
        (r"^(\w+ )?(date|from|to|date time|datetime)$", {_DAY}, 4),
        (r"^(full|formatted) (\w+ )?address$|^(email|phone)$|^primary (\w+ )?(email|phone)( \w+)?$", {_TEXT}, 3),
        (r"^(\w+ )?(site|warehouse|department|location)( id)?$", {_TEXT}, 2),
        (r"^(\w+ ){0,3}(amount|balance|price|quantity|status)$", {_NUMBER, _CHOICE}, 3),
        (r"^(\w+ )?(number|code|id)$", {_TEXT}, 2),
    )
)  # fmt: skip
# Of one country, one trade or no reader: what nobody asks for without naming it.
_RARE = re.compile(
    r"nmfc|intrastat|brazil|cnpj|cpf|cfdi|icms|cofins|zakat|giro|sped|\bsat\b|\bgis\b|duns|kana|phonetic|latitude|longitude"
    r"|\brec(ord)? id\b|dimension|\bfax|telex|twitter|facebook|linked in|fiscal|withhold|encumbrance|tax|discount|charge"
    r"|address (desc|state|street|city|county|district)|marital|purpose|party|marked|contact personnel|search|sort|default|template|integration|transport|catch weight"
)
_OF_A_COUNTRY = re.compile(r"_[A-Z]{2,3}$")


@cache
def _well_known() -> Mapping[str, tuple[str, ...]]:
    lines = (line.split() for line in COLUMNS.splitlines() if line)
    return {entity_set: tuple(names) for entity_set, *names in lines}


def has_well_known(entity: DataEntity) -> bool:
    return _family(entity) in _well_known()


def _family(entity: DataEntity) -> str:
    return without_version(entity.entity_set)


def without_version(name: str) -> str:
    """Return a public name or an entity set's without its version: Customers for CustomersV3."""
    return _VERSION.sub("", name)


def is_narrow(entity: DataEntity) -> bool:
    return len(entity.properties) <= _NARROW


def default_columns(entity: DataEntity, labels: Mapping[str, str]) -> tuple[str, ...]:
    """Return the key and what people ask for, of a list or by names, labels and types; empty (all) for a narrow entity."""
    key = [prop.name for prop in entity.key]
    listed = [name for name in _well_known().get(_family(entity), ()) if name in entity.properties]
    if len(listed) + len(key) >= len(entity.properties) or (not listed and is_narrow(entity)):
        return ()
    others = listed or _likely([prop for prop in entity.properties.values() if not prop.is_key], labels)
    return tuple(dict.fromkeys([*key, *others]))


def _likely(properties: Iterable[EntityProperty], labels: Mapping[str, str]) -> list[str]:
    """Return the names of the properties that are likely to be asked for, best first; by their place where none is."""
    every = list(properties)
    ranked = [(prop, rank) for prop in every if (rank := _rank(prop, labels.get(prop.label_id, ""))) is not None]
    chosen: list[str] = []
    for number, (_, _, enough) in enumerate(_KINDS):
        chosen += [prop.name for prop, rank in sorted(ranked, key=_by_rank) if rank[0] == number][:enough]
    if len(chosen) < _WANTED // 2:
        plain = (prop.name for prop in every if not _is_rare(prop))
        chosen = list(dict.fromkeys([*chosen, *plain]))
    return chosen[:_WANTED]


def _by_rank(ranked: tuple[EntityProperty, tuple[int, int]]) -> tuple[int, int, bool]:
    """Order by kind, then short names before long ones; what a record needs comes first among its like."""
    prop, (kind, length) = ranked
    return kind, length - prop.is_mandatory, not prop.is_mandatory


def _rank(prop: EntityProperty, label: str) -> tuple[int, int] | None:
    """Return the kind of a property by its name, or by its label, and how many words say it; None where no kind fits."""
    name = spaced_words(prop.name)
    if _is_rare(prop):
        return None
    for number, (pattern, types, _) in enumerate(_KINDS):
        if _type_of(prop) in types:
            for text in (name, label.casefold()):
                if pattern.search(text):
                    return number, len(text.split())
    return None


def _is_rare(prop: EntityProperty) -> bool:
    return bool(_OF_A_COUNTRY.search(prop.name) or _RARE.search(spaced_words(prop.name)))


def _type_of(prop: EntityProperty) -> str:
    if prop.enumeration or prop.type_name == "Edm.Boolean":
        return _CHOICE
    if prop.type_name == "Edm.DateTimeOffset":
        return _DAY
    return _TEXT if prop.type_name == "Edm.String" else _NUMBER


def spaced_words(name: str) -> str:
    """Return a name's words in lower case, with blanks between them."""
    return " ".join(_WORD.findall(name)).casefold()
