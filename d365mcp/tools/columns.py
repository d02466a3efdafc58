"""Which properties of a wide entity a reader wants to see when none are named. Pure."""

import re

from d365mcp.d365.models import DataEntity, EntityProperty

# Fewer than this are shown all: F&O's entities have 10 to 300.
NARROW = 20
WANTED = 14

# What people ask for first, by the last words of a property's name; the order is the order of preference.
WELL_KNOWN = (
    r"(Organization|Customer|Vendor|Product|Item|Order|Account|Warehouse|Worker|Bank|Project)?Name$",
    r"^(Description|Search ?Name|Text)$",
    r"(^|Order|Line|Processing|Approval|On ?Hold|Document)Status$",
    r"(Customer|Vendor|Invoice|Ordering|Item|Product|Personnel|Order|Journal|Voucher|Project).*(Account|Number|Id)$",
    r"Group(Id)?$",
    r"^(Sales)?Currency(Code)?$",
    r"(Amount|Price|Cost|Quantity|CreditLimit|Balance|Rate|Total)$",
    r"(Requested|Confirmed|Accounting|Trans|Due|Invoice|Start|End|Creation|Order).*Date(Time)?$",
    r"^(Primary)?(Contact)?(Email|Phone)(Address|Number)?$|^PrimaryContact(Email|Phone)$",
    r"^(Address)?(City|CountryRegionId)$",
    r"(Type|Category|Class)$",
    r"(Site|Warehouse)Id$",
    r"^(PaymentTerms|PaymentMethod|DefaultPaymentTermsName|Unit|.*UnitSymbol)$",
)
PATTERNS = tuple(re.compile(pattern) for pattern in WELL_KNOWN)


def default_columns(entity: DataEntity) -> tuple[str, ...]:
    """Return the key, the mandatory and the best-known properties; empty (all) for a narrow entity."""
    if len(entity.properties) <= NARROW:
        return ()
    needed = [prop.name for prop in entity.properties.values() if prop.is_key or prop.is_mandatory]
    known = sorted((rank, len(name), name) for name in entity.properties if (rank := preference(name)) is not None)
    chosen = dict.fromkeys([*needed, *one_of_each(known)])
    return tuple(chosen)[: max(len(needed), WANTED)]


def preference(name: str) -> int | None:
    return next((rank for rank, pattern in enumerate(PATTERNS) if pattern.search(name)), None)


def one_of_each(known: list[tuple[int, int, str]]) -> list[str]:
    """Return the shortest name of every kind first, then the second shortest, and so on."""
    by_rank: dict[int, list[str]] = {}
    for rank, _, name in known:
        by_rank.setdefault(rank, []).append(name)
    rounds = max((len(found) for found in by_rank.values()), default=0)
    return [found[turn] for turn in range(rounds) for found in by_rank.values() if turn < len(found)]


def words_match(prop: EntityProperty, label: str, words: list[str]) -> bool:
    """Return whether all words occur in a property's name or label."""
    text = f"{prop.name} {label}".casefold()
    return all(word in text for word in words)
