"""Resource bodies as they would be deployed, against the types Azure has for them: what bodies.py cannot see in the text."""

from collections.abc import Iterator
from typing import Any

from tests.infra.bicep.azure_types import resource_types
from tests.infra.bicep.bodies import OF_BICEP, UNKNOWN_TO_AZURE
from tests.infra.bicep.evaluate import Deployment

SIMPLE = {"string": str, "int": int, "bool": bool}


def misfits(deployment: Deployment) -> list[str]:
    """Return what Azure would refuse of the values a deployment gives its resources."""
    found: list[str] = []
    for each in deployment.resources:
        if not each.type.startswith(UNKNOWN_TO_AZURE):
            types = resource_types()[each.type.lower()]["types"]
            body = {name: value for name, value in each.body.items() if name not in OF_BICEP}
            found += misfit(body, types[""], types, each.type)
    return found


def misfit(value: Any, wanted: str | dict[str, Any], types: dict[str, Any], path: str) -> Iterator[str]:
    """Yield how a value differs from its type; null stands for a property left out."""
    kind = types.get(wanted, wanted) if isinstance(wanted, str) else wanted
    if value is None or kind == "any":
        return
    if isinstance(kind, dict):
        yield from object_misfit(value, kind, types, path)
    elif kind.endswith("[]"):
        yield from array_misfit(value, kind[:-2], types, path)
    elif kind in SIMPLE:
        if type(value) is not SIMPLE[kind]:
            yield f"{path} takes {kind}, not {value!r}."
    elif not isinstance(value, str) or value not in kind.split(" | "):
        yield f"{path} takes {kind}, not {value!r}."


def array_misfit(value: Any, wanted: str, types: dict[str, Any], path: str) -> Iterator[str]:
    if not isinstance(value, list):
        yield f"{path} takes an array, not {value!r}."
        return
    for index, each in enumerate(value):
        yield from misfit(each, wanted, types, f"{path}[{index}]")


def object_misfit(value: Any, kind: dict[str, Any], types: dict[str, Any], path: str) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"{path} takes an object, not {value!r}."
        return
    if "by" in kind:
        kind = kind["one_of"][value[kind["by"]]]
    for name, each in value.items():
        rule = kind["properties"].get(name) or {"type": kind.get("others")}
        if rule["type"] is None:
            yield f"{path} has no property {name}."
        else:
            yield from misfit(each, rule["type"], types, f"{path}.{name}")
    required = (name for name, rule in kind["properties"].items() if rule.get("required"))
    yield from (f"{path}: the property {name} is missing." for name in required if value.get(name) is None)
