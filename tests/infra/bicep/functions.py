"""Bicep's functions, those that our files use: https://learn.microsoft.com/azure/azure-resource-manager/bicep/bicep-functions"""

import ipaddress
import json
import uuid
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any


class Refused(Exception):
    """The deployment would be refused."""


def fail(message: str) -> None:
    raise Refused(message)


def drawn(*parts: Any) -> str:
    """Return an id that is always the same for the same parts, as guid() does."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, "|".join(map(str, parts))))


def unique_string(*parts: Any) -> str:
    return uuid.uuid5(uuid.NAMESPACE_URL, "|".join(map(str, parts))).hex[:13]


def union(*values: Any) -> Any:
    """Merge objects, nested ones too, or arrays."""
    if isinstance(values[0], list):
        return [each for index, each in enumerate(chain(*values)) if each not in list(chain(*values))[:index]]
    merged: dict[str, Any] = {}
    for value in values:
        for name, each in value.items():
            both = isinstance(each, dict) and isinstance(merged.get(name), dict)
            merged[name] = union(merged[name], each) if both else each
    return merged


def to_text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value)
    return value if isinstance(value, str) else json.dumps(value) if isinstance(value, dict | list) else str(value)


def to_bool(value: Any) -> bool:
    if str(value).lower() not in ("true", "false", "1", "0"):
        raise Refused(f"bool({value!r}) is neither true nor false.")
    return str(value).lower() in ("true", "1")


def to_int(value: Any) -> int:
    try:
        return int(value)
    except ValueError:
        raise Refused(f"int({value!r}) is no number.") from None


def to_object(values: list[Any], key: Callable[[Any], str], value: Callable[[Any], Any] = lambda each: each) -> Any:
    return {key(each): value(each) for each in values}


def cidr_subnet(network: str, prefix: int, index: int) -> str:
    return str(list(ipaddress.ip_network(network).subnets(new_prefix=prefix))[index])


def split(value: str, separators: str | list[str]) -> list[str]:
    assert isinstance(separators, str), "one separator is all our files need"
    return value.split(separators)


def resource_id(kind: str, *names: str) -> str:
    return f"/providers/{kind}/{'/'.join(names)}"


AZURE = {
    "name": "AzureCloud",
    "authentication": {"loginEndpoint": "https://login.microsoftonline.com/"},
    "resourceManager": "https://management.azure.com/",
    "suffixes": {"storage": "core.windows.net", "keyvaultDns": ".vault.azure.net"},
}
FUNCTIONS: dict[str, Callable[..., Any]] = {
    "any": lambda value: value,
    "array": lambda value: value if isinstance(value, list) else [value],
    "bool": to_bool,
    "cidrSubnet": cidr_subnet,
    "concat": lambda *values: list(chain(*values)) if isinstance(values[0], list) else "".join(values),
    "contains": lambda whole, part: part in whole,
    "deployment": lambda: {"name": "deployment", "location": "westeurope"},
    "empty": lambda value: value in (None, "", [], {}),
    "endsWith": lambda value, end: value.lower().endswith(end.lower()),
    "environment": lambda: AZURE,
    "fail": fail,
    "filter": lambda values, keep: [each for each in values if keep(each)],
    "first": lambda values: values[0] if values else None,
    "flatten": lambda values: list(chain(*values)),
    "format": lambda pattern, *values: pattern.format(*values),
    "guid": drawn,
    "int": to_int,
    "items": lambda value: [{"key": key, "value": value[key]} for key in sorted(value)],
    "join": lambda values, separator: separator.join(map(to_text, values)),
    "json": json.loads,
    "last": lambda values: values[-1] if values else None,
    "length": len,
    "loadJsonContent": lambda path: json.loads(path.read_text("utf-8")),
    "loadTextContent": lambda path: Path(path).read_text("utf-8"),
    "map": lambda values, change: [change(each) for each in values],
    "max": max,
    "min": min,
    "padLeft": lambda value, width, filler=" ": to_text(value).rjust(width, filler),
    "range": lambda start, count: list(range(start, start + count)),
    "replace": lambda value, old, new: value.replace(old, new),
    "resourceGroup": lambda *_: {"id": "/subscriptions/s/resourceGroups/g", "name": "g", "location": "westeurope"},
    "resourceId": resource_id,
    "split": split,
    "startsWith": lambda value, start: value.lower().startswith(start.lower()),
    "string": to_text,
    "subscription": lambda: {"id": "/subscriptions/s", "subscriptionId": drawn("subscription")},
    "subscriptionResourceId": resource_id,
    "take": lambda value, count: value[:count],
    "tenant": lambda: {"tenantId": drawn("tenant")},
    "toLower": str.lower,
    "toObject": to_object,
    "toUpper": str.upper,
    "trim": str.strip,
    "union": union,
    "uniqueString": unique_string,
}
