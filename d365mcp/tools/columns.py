"""Which properties of a wide entity a reader wants to see when none are named. Pure."""

import re

from d365mcp.d365.models import DataEntity

# Fewer than this are shown all: F&O's entities have 10 to 300.
_NARROW = 20
_WANTED = 14
_FEW = 6

# What people ask for first, by a property's name; the order is the order of preference.
_WELL_KNOWN = (
    r"^(Organization|Customer|Vendor|Product|Item|SalesOrder|PurchaseOrder|Warehouse|Worker|Bank|Project|Asset)?Name$",
    r"^(Vendor)?OrganizationName$|^(Line|Unit|Product)?Description$|^ProductSearchName$",
    r"^(SalesOrder|PurchaseOrder|OnHold|DocumentApproval|SalesOrderProcessing|ProductionOrder|Worker)?Status$",
    r"^(SalesOrder|PurchaseOrder|SalesQuotation|JournalBatch|Journal|Product|FreeText)Number$",
    r"^(SalesOrderLine|PurchaseOrderLine|TransferOrder)Status$",
    r"^(Ordering|Invoice|Requesting)?CustomerAccount(Number)?$|^(Order|Invoice)VendorAccountNumber$|^ItemNumber$",
    r"^(Customer|Vendor|Product|Asset|Item)Group(Id)?$",
    r"^(Sales)?Currency(Code)?$|^ISOCurrencyCode$",
    r"^(Line|OrderTotal|Transaction|AccountingCurrency|Debit|Credit|Total)Amount$|^CreditLimit$",
    r"^(Sales|Purchase|Unit)?Price$|^Ordered(Sales|Purchase)Quantity$|^AvailableOnHandQuantity$|^Rate$",
    r"^(RequestedShipping|RequestedDelivery|RequestedReceipt|Accounting|Trans|Due|Invoice|Start|End)Date$",
    r"^OrderCreationDateTime$|^Is(Posted|Active)$|^JournalName$|^Voucher$|^Text$",
    r"^(Default)?PaymentTerms(Name)?$|^PrimaryContact(Email|Phone)$|^PrimaryEmailAddress$|^Email$",
    r"^AddressCity$|^AddressCountryRegionId$|^PartyNumber$|^ProductType$|^(Default)?ShippingWarehouseId$",
)
_PATTERNS = tuple(re.compile(pattern) for pattern in _WELL_KNOWN)


def default_columns(entity: DataEntity) -> tuple[str, ...]:
    """Return the key, the mandatory and the best-known properties; empty (all) for a narrow entity."""
    if len(entity.properties) <= _NARROW:
        return ()
    needed = [prop.name for prop in entity.properties.values() if prop.is_key or prop.is_mandatory]
    known = sorted((rank, name) for name in entity.properties if (rank := _preference(name)) is not None)
    chosen = tuple(dict.fromkeys([*needed, *(name for _, name in known)]))
    if len(chosen) < _FEW:  # an entity like no other: its first properties have to do
        chosen = tuple(dict.fromkeys([*chosen, *entity.properties]))[:_WANTED]
    return chosen[: max(len(needed), _WANTED)]


def _preference(name: str) -> int | None:
    return next((rank for rank, pattern in enumerate(_PATTERNS) if pattern.search(name)), None)


def words_match(name: str, label: str, words: list[str]) -> bool:
    """Return whether any of the words occurs in a property's name or label."""
    text = f"{name} {label}".casefold()
    return not words or any(word in text for word in words)
