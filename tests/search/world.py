"""An environment in which searches used to go wrong: wide entities, versions, one that OData does not serve, one action."""

from typing import Any

WIDE = [
    f"{subject}{part}" for subject in ("Bank", "Worker", "Payment", "Period") for part in ("Account", "Code", "Month")
]


def entity(public_name: str, label: str, columns: list[str], **more: Any) -> dict[str, Any]:
    names = ["dataAreaId", f"{public_name}Id", *columns]
    return {
        "entitySet": f"{public_name.replace('V2', '').replace('V3', '')}s{public_name[-2:] if public_name[-2] == 'V' else ''}",
        "publicEntityName": public_name,
        "aotName": f"{public_name}Entity",
        "label": f"@{label}",
        "keys": names[:2],
        "properties": [{"name": name, "edmType": "Edm.String"} for name in names],
        "records": [],
        **more,
    }


ENTITIES = [
    entity("CustomerV3", "Customers V3", [*WIDE, "CreditLimit", "OnHoldStatus"]),
    entity("CustomerV2", "Customers V2", [*WIDE, "CreditLimit"]),
    entity("Customer", "Customers", WIDE),
    entity("VendorV2", "Vendors V2", WIDE),
    entity("Warehouse", "Warehouses", WIDE),
    entity("VendorParameter", "Accounts payable parameters", WIDE),
    entity("ReleasedProductV2", "Released products V2", [*WIDE, "FlashPoint"]),
    entity("VendorBankAccount", "Vendor bank accounts", ["IBAN"]),
    entity("Worker", "Workers", ["Name"], aotName="HcmWorkerEntity"),
    entity("FiscalCalendarPeriod", "Fiscal calendar periods", ["StartDate"], aotName="FiscalPeriodEntity"),
    entity("PaymentTerm", "Terms of payment", ["Days"]),
    entity("RouteHeader", "Route headers", ["Name"]),
]
HIDDEN = {"Name": "ProdRouteCardEntity", "LabelId": "@Route cards"}
STATUS = {"name": "CustVendorBlocked", "members": [{"name": "No"}, {"name": "Invoice"}, {"name": "Payment"}]}
CONFIRM = {"entitySet": "VendorsV2", "name": "confirmAddress", "bindingKind": "BoundToEntityInstance"}
TEXTS = [each["label"] for each in ENTITIES] + [HIDDEN["LabelId"]]
WORLD: dict[str, Any] = {
    "default_company": "usmf",
    "entities": ENTITIES,
    "hidden_entities": [HIDDEN],
    "enumerations": [STATUS],
    "actions": [CONFIRM],
    "labels": {label: {"en-us": label.removeprefix("@")} for label in TEXTS},
}
