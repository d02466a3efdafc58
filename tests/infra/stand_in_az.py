"""Stands in for the Azure CLI: checks what it is given, remembers what is deployed, and answers in azure-cli 2.91's shapes.

Knows the commands of the guide and the workflows, no others. Parameter files are compiled by the real compiler where there
is one, and `--query` is JMESPath's own. What it remembers is in the folder `AZURE`, beside what the test says of the app.
"""

import json
import os
import re
import shutil
import string
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jmespath

Options = dict[str, list[str]]
HERE = Path(os.environ["AZURE"])
ID = "11111111-2222-3333-4444-555555555555"
PARAMETER = re.compile(r"^param (\w+) \w+(\[\])?( = )?", re.MULTILINE)


class Mistake(Exception):
    """What the real one would refuse."""


class Azure:
    """What is there so far."""

    def __init__(self) -> None:
        self.path = HERE / "azure.json"
        self.known: dict[str, Any] = json.loads(self.path.read_text())

    def save(self) -> None:
        self.path.write_text(json.dumps(self.known))

    def need(self, kind: str, name: str) -> None:
        if name not in self.known[kind]:
            raise Mistake(f"there is no {kind} {name!r}, but {self.known[kind]}")

    def app(self, options: Options) -> str:
        """Return the function app that is meant."""
        self.need("groups", one(options, "--resource-group"))
        self.need("apps", one(options, "--name"))
        return one(options, "--name")


def one(options: Options, name: str) -> str:
    if len(options[name]) != 1 or not options[name][0]:
        raise Mistake(f"{name} takes one value, not {options[name]}")
    return options[name][0]


def template_of(options: Options) -> Path:
    """Check template and parameters as the CLI and Azure Resource Manager do, and return the template."""
    given, template = set[str](), Path(options["--template-file"][0]) if "--template-file" in options else None
    for each in options.get("--parameters", []):
        if re.match(r"\w+=", each):
            given.add(each.partition("=")[0])
        elif each.endswith(".bicepparam") and template is None:
            template, given = parameter_file(Path(each))
        else:
            raise Mistake(f"{each!r} is no parameter")
    if template is None:
        raise Mistake("there is no template")
    found = PARAMETER.findall(template.read_text())
    known, required = {name for name, *_ in found}, {name for name, _, default in found if not default}
    if not required <= given <= known:
        raise Mistake(f"{template} has no parameters {given - known} and lacks {required - given}")
    return template


def what_if(azure: Azure, options: Options) -> Any:
    template_of(options)
    return {"status": "Succeeded", "changes": []}


def deploy(azure: Azure, options: Options) -> Any:
    template = template_of(options)
    name = one(options, "--name") if "--name" in options else template.stem
    declared = re.findall(r"^output (\w+)", template.read_text(), re.MULTILINE)
    outputs = {each: output(azure, each, name) for each in declared}
    azure.known["deployments"][name] = outputs
    if "functionAppName" in outputs:
        azure.known["groups"].append(outputs["resourceGroup"])
        azure.known["apps"][outputs["functionAppName"]] = os.environ.get("HOSTING_PLAN", "FlexConsumption")
    return answered(name, outputs)


def parameter_file(path: Path) -> tuple[Path, set[str]]:
    """Return its template, and the parameters it gives; the CLI has it compiled first."""
    if compiler := os.environ.get("BICEP"):
        command = [compiler, "build-params", str(path), "--stdout"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        if done.returncode:
            raise Mistake(done.stderr)
    source = path.read_text()
    using = re.search("^using '(.+)'$", source, re.MULTILINE)
    assert using
    return path.parent / using[1], set(re.findall(r"^param (\w+)", source, re.MULTILINE))


def output(azure: Azure, name: str, deployment: str) -> Any:
    flex = os.environ.get("HOSTING_PLAN", "FlexConsumption") == "FlexConsumption"
    values = {
        "resourceGroup": f"rg-{deployment}",
        "functionAppName": f"func-{deployment}",
        "mcpEndpoint": f"{azure.known['address']}/mcp",
        "packageUrl": "" if flex else f"https://st{deployment}.blob.core.windows.net/package/d365mcp.zip",
        "keyVaultName": "",
        "workspaceName": f"log-{deployment}",
        "authAudiences": [f"api://{ID}/{deployment}"],
        "endpoint": azure.known["address"],
    }
    return values.get(name, ID)


def answered(name: str, outputs: dict[str, Any]) -> Any:
    """Return a deployment as Azure Resource Manager gives it back, names of outputs included.

    https://github.com/Azure/bicep/issues/9360
    """
    values = {camel_case(each): {"type": type(value).__name__, "value": value} for each, value in outputs.items()}
    return {"name": name, "properties": {"outputs": values, "provisioningState": "Succeeded"}}


def camel_case(name: str) -> str:
    """Put capitals at a name's beginning into small ones, but not the last before anything else (Newtonsoft's way)."""
    capitals = len(name) - len(name.lstrip(string.ascii_uppercase))
    end = capitals if capitals in (0, 1, len(name)) else capitals - 1
    return name[:end].lower() + name[end:]


def show_deployment(azure: Azure, options: Options) -> Any:
    azure.need("deployments", one(options, "--name"))
    return answered(one(options, "--name"), azure.known["deployments"][one(options, "--name")])


def deploy_to_group(azure: Azure, options: Options) -> Any:
    azure.need("groups", one(options, "--resource-group"))
    return deploy(azure, options)


def show_app(azure: Azure, options: Options) -> Any:
    """On Flex Consumption the CLI answers with Azure Resource Manager's own shape, on other plans with a flat one."""
    name = azure.app(options)
    inner = {"defaultHostName": f"{name}.azurewebsites.net", "state": "Running"}
    outer = {"id": f"/subscriptions/s/providers/Microsoft.Web/sites/{name}", "name": name, "kind": "functionapp,linux"}
    return {**outer, "properties": inner} if azure.known["apps"][name] == "FlexConsumption" else {**outer, **inner}


def list_keys(azure: Azure, options: Options) -> Any:
    azure.app(options)
    return {"functionKeys": azure.known["keys"], "masterKey": "master", "systemKeys": {}}


def set_key(azure: Azure, options: Options) -> Any:
    azure.app(options)
    azure.known["keys"][one(options, "--key-name")] = "another-key"
    return {"name": one(options, "--key-name"), "value": None}  # redacted


def delete_key(azure: Azure, options: Options) -> None:
    azure.app(options)
    azure.need("keys", one(options, "--key-name"))
    del azure.known["keys"][one(options, "--key-name")]


def upload(azure: Azure, options: Options) -> Any:
    """Take the package that Consumption runs; only its own address will do."""
    addresses = [each["packageUrl"] for each in azure.known["deployments"].values() if each.get("packageUrl")]
    if one(options, "--blob-url") not in addresses or options["--auth-mode"] != ["login"]:
        raise Mistake(f"nobody runs {options['--blob-url']}")
    if not zipfile.is_zipfile(one(options, "--file")):
        raise Mistake(f"{options['--file']} is no zip")
    shutil.copy(one(options, "--file"), HERE / "uploaded.zip")
    return {"etag": '"1"'}


def trust(azure: Azure, options: Options) -> Any:
    azure.need("groups", one(options, "--resource-group"))
    azure.need("identities", one(options, "--identity-name"))
    if not re.fullmatch(r"repo:[^/\s]+/[^/\s]+:environment:\w+", one(options, "--subject")):
        raise Mistake(f"GitHub calls nothing {options['--subject']}")
    return {"name": one(options, "--name")}


def make_identity(azure: Azure, options: Options) -> Any:
    azure.need("groups", one(options, "--resource-group"))
    azure.known["identities"].append(one(options, "--name"))
    return {"name": one(options, "--name"), "clientId": ID, "principalId": ID}


def set_secret(azure: Azure, options: Options) -> Any:
    azure.known["secrets"][one(options, "--name")] = one(options, "--value")
    return {"name": one(options, "--name"), "value": one(options, "--value")}


# the command, what it must be given, what it may be given beside that
Command = tuple[Callable[[Azure, Options], Any], str, str]
COMMANDS: dict[str, Command] = {
    "login": (lambda azure, options: [{"id": "s", "tenantId": ID}], "", ""),
    "account get-access-token": (lambda azure, options: {"accessToken": "a-token"}, "--scope", ""),
    "ad signed-in-user show": (lambda azure, options: {"id": ID}, "", ""),
    "deployment group create": (deploy_to_group, "--resource-group", "--name --template-file --parameters"),
    "deployment sub create": (deploy, "--location", "--name --template-file --parameters"),
    "deployment sub what-if": (what_if, "--location", "--name --template-file --parameters"),
    "deployment sub show": (show_deployment, "--name", ""),
    "functionapp keys delete": (delete_key, "--resource-group --name --key-type --key-name", ""),
    "functionapp keys list": (list_keys, "--resource-group --name", ""),
    "functionapp keys set": (set_key, "--resource-group --name --key-type --key-name", "--key-value"),
    "functionapp restart": (lambda azure, options: azure.app(options) and None, "--resource-group --name", ""),
    "functionapp show": (show_app, "--resource-group --name", ""),
    "identity create": (make_identity, "--resource-group --name", "--location"),
    "identity federated-credential create": (
        trust,
        "--resource-group --identity-name --name --issuer --audiences --subject",
        "",
    ),
    "keyvault secret set": (set_secret, "--vault-name --name --value", ""),
    "storage blob upload": (upload, "--auth-mode --file --blob-url", "--overwrite"),
}


def main(arguments: list[str]) -> Any:
    first = next((at for at, each in enumerate(arguments) if each.startswith("-")), len(arguments))
    command, options = " ".join(arguments[:first]), dict[str, list[str]]()
    if command not in COMMANDS:
        raise Mistake("is misspelled, or not known here")
    for each in arguments[first:]:
        if each.startswith("--"):
            options[each] = []
        else:
            options[list(options)[-1]].append(each)
    do, needed, possible = COMMANDS[command]
    lacking = set(needed.split()) - options.keys()
    unknown = options.keys() - {*needed.split(), *possible.split(), "--query", "--output"}
    if lacking or unknown:
        raise Mistake(f"lacks {lacking} and has no {unknown}")
    azure = Azure()
    answer = do(azure, options)
    azure.known["called"].append(command)
    azure.save()
    return jmespath.search(one(options, "--query"), answer) if "--query" in options else answer


def printed(answer: Any, how: str) -> str:
    if how == "none" or answer is None:
        return ""
    if how == "tsv":
        return "\n".join(map(str, answer)) if isinstance(answer, list) else str(answer)
    return json.dumps(answer, indent=2)


if __name__ == "__main__":
    try:
        answer = main(sys.argv[1:])
    except Mistake as mistake:
        sys.exit(f"az {' '.join(sys.argv[1:])}: {mistake}")
    how = sys.argv[sys.argv.index("--output") + 1] if "--output" in sys.argv else "json"
    print(printed(answer, how))
