"""Makes azure_types.json.gz anew, from what Microsoft publishes about its resource types: python -m tests.infra.bicep.fetch_types

Most types come from Azure's own Bicep type data, which the package msmcp-azure carries. It leaves out Azure Monitor and
private DNS: those are read from the models of Microsoft's management SDK, generated from the same API descriptions.
To check another resource type, add its name here and run the command. Needs the package registry; tests do not.
"""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from typing import Any

from tests.cached import python_environment
from tests.infra.bicep.azure_types import CACHE, write

PACKAGE = "msmcp-azure==3.0.0"
PUBLISHED = (
    "Microsoft.App/containerApps",
    "Microsoft.App/managedEnvironments",
    "Microsoft.Authorization/roleAssignments",
    "Microsoft.ContainerRegistry/registries",
    "Microsoft.Insights/components",
    "Microsoft.Insights/workbooks",
    "Microsoft.KeyVault/vaults",
    "Microsoft.KeyVault/vaults/secrets",
    "Microsoft.ManagedIdentity/userAssignedIdentities",
    "Microsoft.ManagedIdentity/userAssignedIdentities/federatedIdentityCredentials",
    "Microsoft.Network/natGateways",
    "Microsoft.Network/networkSecurityGroups",
    "Microsoft.Network/privateEndpoints",
    "Microsoft.Network/privateEndpoints/privateDnsZoneGroups",
    "Microsoft.Network/publicIPAddresses",
    "Microsoft.Network/virtualNetworks",
    "Microsoft.Network/virtualNetworks/subnets",
    "Microsoft.OperationalInsights/workspaces",
    "Microsoft.Resources/resourceGroups",
    "Microsoft.Storage/storageAccounts",
    "Microsoft.Storage/storageAccounts/blobServices",
    "Microsoft.Storage/storageAccounts/blobServices/containers",
    "Microsoft.Storage/storageAccounts/managementPolicies",
    "Microsoft.Storage/storageAccounts/queueServices",
    "Microsoft.Storage/storageAccounts/tableServices",
    "Microsoft.Web/serverfarms",
    "Microsoft.Web/sites",
    "Microsoft.Web/sites/basicPublishingCredentialsPolicies",
    "Microsoft.Web/sites/config",
)
MONITOR = "azure-mgmt-monitor==7.0.0"
# The newer package has no diagnostic settings any more.
OLDER_MONITOR = "azure-mgmt-monitor==6.0.2"
PRIVATE_DNS = "azure-mgmt-privatedns==1.2.0"
# type@version: the package, its module and the class of the resource
MODELS = {
    "Microsoft.Insights/actionGroups@2023-01-01": (MONITOR, "azure.mgmt.monitor.models", "ActionGroupResource"),
    "Microsoft.Insights/scheduledQueryRules@2023-12-01": (
        MONITOR,
        "azure.mgmt.monitor.models",
        "ScheduledQueryRuleResource",
    ),
    "Microsoft.Insights/diagnosticSettings@2021-05-01-preview": (
        OLDER_MONITOR,
        "azure.mgmt.monitor.v2021_05_01_preview.models",
        "DiagnosticSettingsResource",
    ),
    "Microsoft.Network/privateDnsZones@2024-06-01": (PRIVATE_DNS, "azure.mgmt.privatedns.models", "PrivateZone"),
    "Microsoft.Network/privateDnsZones/virtualNetworkLinks@2024-06-01": (
        PRIVATE_DNS,
        "azure.mgmt.privatedns.models",
        "VirtualNetworkLink",
    ),
}
# Prints every model of a module: {class: {"keys": {JSON key: type}, "required": […], "readonly": […]}}
DESCRIBE = """
import importlib, json, sys
module = importlib.import_module(sys.argv[1])
described = {}
for name, each in vars(module).items():
    names = getattr(each, "_attribute_map", None)
    if names is None:
        continue
    rules = getattr(each, "_validation", {})
    described[name] = {
        "keys": {names[field]["key"]: names[field]["type"] for field in names},
        **{rule: [names[field]["key"] for field in names if rules.get(field, {}).get(rule)] for rule in ("required", "readonly")},
    }
print(json.dumps(described))
"""
PRIMITIVES = {"str": "string", "int": "int", "bool": "bool", "float": "any", "object": "any"}

Type = dict[str, Any]


def published(resource_type: str) -> dict[str, Any]:
    """Return one resource type as Azure's own type data has it: its version, body and the types it uses."""
    command = python_environment(PACKAGE).with_name("azmcp")
    done = subprocess.run(
        [str(command), "bicepschema", "get", "--resource-type", resource_type],
        env={**os.environ, "AZURE_MCP_COLLECT_TELEMETRY": "false"},
        capture_output=True,
        check=True,
    )
    types = json.loads(done.stdout)["results"]["BicepSchemaResult"]
    [resource] = (each for each in types if each["$type"] == "Resource")
    known = {each["name"]: trimmed(each) for each in types if each["$type"] in ("Object", "DiscriminatedObject")}
    return {
        "version": resource["name"].split("@")[1],
        "scopes": resource["writableScopes"],
        "types": reachable({**known, "": trimmed(resource["bodyType"])}),
    }


def trimmed(given: Type) -> Type:
    """Keep of a type what a check needs: names, types, what is required and what is read-only."""
    if given["$type"] == "DiscriminatedObject":
        return {"by": given["discriminator"], "one_of": dict(choices(given))}
    properties = {each["name"]: rules(each["type"], each.get("flags", "")) for each in given["properties"]}
    others = given.get("additionalPropertiesType")
    return {"properties": properties, **({"others": others} if others else {})}


def choices(given: Type) -> Iterator[tuple[str, Type]]:
    for element in given["elements"]:
        whole = {**element, "properties": given.get("baseProperties", []) + element["properties"]}
        [value] = (each["type"] for each in whole["properties"] if each["name"] == given["discriminator"])
        yield value, trimmed(whole)


def rules(kind: str, flags: str) -> Type:
    known = {"required": "Required" in flags, "read_only": "ReadOnly" in flags}
    return {"type": kind, **{name: True for name, value in known.items() if value}}


def reachable(types: dict[str, Type]) -> dict[str, Type]:
    """Leave out the types a resource's body (named "") never comes to."""
    found: dict[str, Type] = {}
    waiting = [""]
    while waiting:
        name = waiting.pop()
        if name in types and name not in found:
            found[name] = types[name]
            waiting += re.findall(r'"(?:type|others)": "([^"]+?)(?:\[\])*"', json.dumps(types[name]))
    return dict(sorted(found.items()))


def modelled(name: str) -> dict[str, Any]:
    """Return one resource type as the management SDK's models describe it."""
    package, module, resource = MODELS[name]
    done = subprocess.run(
        [str(python_environment(package)), "-c", DESCRIBE, module], capture_output=True, text=True, check=True
    )
    models = json.loads(done.stdout)
    types = {each: nested(model) for each, model in models.items()}
    types[""] = types[resource]
    # The SDK takes the name from the call, not from the body.
    types[""]["properties"]["name"] = {"type": "string", "required": True}
    return {"version": name.split("@")[1], "scopes": "AllExceptExtension", "types": reachable(types | inner(types))}


def nested(model: Type) -> Type:
    """Undo the SDK's flattening: `properties.query` is a property of an object `properties`."""
    whole: Type = {"properties": {}}
    for key, kind in model["keys"].items():
        # A dot within a name is written \\. there, such as in odata\\.type.
        *path, last = (part.replace("\\.", ".") for part in re.split(r"(?<!\\)\.", key))
        node = whole
        for part in path:
            node = node["properties"].setdefault(part, {"properties": {}})
        flags = {"required": key in model["required"], "read_only": key in model["readonly"]}
        node["properties"][last] = {"type": bicep_type(kind), **{flag: True for flag in flags if flags[flag]}}
    return whole


def bicep_type(kind: str) -> str:
    if kind.startswith("["):
        return bicep_type(kind[1:-1]) + "[]"
    if kind.startswith("{"):
        return "any"
    return PRIMITIVES.get(kind, "string" if kind[0].islower() else kind)


def inner(types: dict[str, Type]) -> dict[str, Type]:
    """Give the objects that undoing the flattening made names of their own."""
    made: dict[str, Type] = {}
    for name, whole in types.items():
        for key, value in whole["properties"].items():
            if "properties" in value:
                made[f"{name}.{key}"] = value
                required = any(each.get("required") for each in value["properties"].values())
                whole["properties"][key] = {"type": f"{name}.{key}", **({"required": True} if required else {})}
    return made


if __name__ == "__main__":
    types = {each: published(each) for each in PUBLISHED}
    types |= {each.split("@")[0]: modelled(each) for each in MODELS}
    write(types)
    print(f"{len(types)} resource types, {CACHE.stat().st_size} bytes in {CACHE.name}")
