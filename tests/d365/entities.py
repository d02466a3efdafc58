"""One entity with a property of every type F&O has, for the tests of the dialect."""

from d365mcp.d365.models import (
    NAMESPACE,
    DataEntity,
    EntityProperty,
    Enumeration,
    EnumerationMember,
    NavigationProperty,
)


def enumeration(name: str, *members: str) -> Enumeration:
    return Enumeration(name, tuple(EnumerationMember(member, value) for value, member in enumerate(members)))


ENUMERATIONS = (
    enumeration("CustVendorBlocked", "No", "Invoice", "All", "Payment", "Requisition", "Never"),
    enumeration("NoYes", "No", "Yes"),
)

PROPERTIES = (
    EntityProperty("dataAreaId", "Edm.String", is_key=True, is_mandatory=True, allow_edit=False),
    EntityProperty("CustomerAccount", "Edm.String", is_key=True, is_mandatory=True, allow_edit=False),
    EntityProperty("OrganizationName", "Edm.String", is_mandatory=True),
    EntityProperty("NameAlias", "Edm.String"),
    EntityProperty("CreditLimit", "Edm.Decimal", "Real"),
    EntityProperty("Balance", "Edm.Decimal", "Real", allow_edit=False, allow_edit_on_create=False),
    EntityProperty("Visits", "Edm.Int32", "Int32"),
    EntityProperty("RecordId", "Edm.Int64", "Int64"),
    EntityProperty("OnHoldStatus", f"{NAMESPACE}CustVendorBlocked", "Enum"),
    EntityProperty("IsOneTime", f"{NAMESPACE}NoYes", "Enum"),
    EntityProperty("Mood", f"{NAMESPACE}MoodNotKnownHere", "Enum"),
    EntityProperty("Enabled", "Edm.Boolean", "Enum"),
    EntityProperty("ShippingDate", "Edm.DateTimeOffset", "Date"),
    EntityProperty("CreatedAt", "Edm.DateTimeOffset", "UtcDateTime"),
    EntityProperty("OpensAt", "Edm.Int32", "Time"),
    EntityProperty("Reference", "Edm.Guid", "Guid"),
    EntityProperty("Picture", "Edm.Binary", "Container"),
)

CUSTOMERS = DataEntity(
    public_name="CustomerV3",
    entity_set="CustomersV3",
    properties={prop.name: prop for prop in PROPERTIES},
    navigation_properties=(
        NavigationProperty("CustomerGroup", "CustomerGroup"),
        NavigationProperty("Addresses", "CustomerPostalAddress", "Multiple"),
    ),
    enumerations={known.name: known for known in ENUMERATIONS},
)


def keyed(*parts: EntityProperty) -> DataEntity:
    """Return an entity that these properties identify."""
    return DataEntity("Thing", "Things", {part.name: part for part in parts}, enumerations=CUSTOMERS.enumerations)


CURRENCIES = keyed(EntityProperty("CurrencyCode", "Edm.String", is_key=True))
