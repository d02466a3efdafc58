"""A small environment, whose catalog is built quickly."""

from typing import Any

TYPE = "Microsoft.Dynamics.DataEntities."


def column(name: str, label: str = "", kind: str = "Edm.String", **more: Any) -> dict[str, Any]:
    return {"name": name, "edmType": kind, **({"label": label} if label else {}), **more}


WORLD: dict[str, Any] = {
    "entities": [
        {
            "entitySet": "CustomersV3",
            "publicEntityName": "CustomerV3",
            "aotName": "CustCustomerV3Entity",
            "label": "@CAT1",
            "keys": ["dataAreaId", "CustomerAccount"],
            "properties": [
                column("dataAreaId", "@CAT2"),
                column("CustomerAccount", "@CAT3"),
                column("CreditMax", "@CAT4", "Edm.Decimal"),
                column("OnHold", "@CAT5", f"{TYPE}NoYes", mandatory=True),
            ],
            "records": [],
        },
        {
            "entitySet": "CustomerGroups",
            "publicEntityName": "CustomerGroup",
            "aotName": "CustCustomerGroupEntity",
            "label": "@CAT6",
            "keys": ["dataAreaId", "CustomerGroupId"],
            "properties": [column("dataAreaId", "@CAT2"), column("CustomerGroupId", "@CAT7")],
            "records": [],
        },
    ],
    "enumerations": [
        {
            "name": "NoYes",
            "label": "@CAT8",
            "members": [{"name": "No", "label": "@CAT9"}, {"name": "Yes", "label": "@CAT10"}],
        }
    ],
    "labels": {
        "@CAT1": {"en-us": "Customers", "de": "Debitoren", "fr": "Clients"},
        "@CAT2": {"en-us": "Company", "de": "Unternehmen"},
        "@CAT3": {"en-us": "Account", "de": "Konto"},
        "@CAT4": {"en-us": "Credit limit", "de": "Kreditlimit", "fr": "Limite de crédit"},
        "@CAT5": {"en-us": "Blocked", "de": "Gesperrt"},
        "@CAT6": {"en-us": "Customer groups", "de": "Debitorengruppen"},
        "@CAT7": {"en-us": "Group", "de": "Gruppe"},
        "@CAT8": {"en-us": "No or yes", "de": "Nein oder ja"},
        "@CAT9": {"en-us": "No", "de": "Nein"},
        "@CAT10": {"en-us": "Yes", "de": "Ja"},
    },
}
