"""Stands in for Azure itself, as far as the guide and the workflows ask it: takes HTTP requests, remembers, answers.

The shapes are those of Azure's REST API; what the CLI makes of them is the CLI's own affair. What it remembers is in the
file azure.json of a folder, beside what the test says of the app.
"""

import base64
import io
import json
import re
import string
import time
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

ID = "11111111-2222-3333-4444-555555555555"
SUBSCRIPTION, TENANT = "00000000-0000-0000-0000-000000000001", "00000000-0000-0000-0000-000000000002"
CHALLENGE = f'Bearer authorization="https://login.microsoftonline.com/{TENANT}", resource="https://vault.azure.net"'

PROFILES = (
    b"<publishData>" + b'<publishProfile publishMethod="FTP" publishUrl="ftps://f.example"/>' * 2 + b"</publishData>"
)


@dataclass(frozen=True)
class Request:
    method: str
    url: str
    headers: Mapping[str, str]
    content: bytes

    @property
    def body(self) -> Any:
        # The CLI puts the template in as it stands, its name without quotes; Azure reads that.
        return json.loads(self.content.replace(b" template:{", b' "template":{', 1))

    @property
    def address(self) -> str:
        """Where to, without the query and without what is the same for all."""
        parts = urlsplit(self.url)
        path = re.sub("/subscriptions/[^/]+/", "/", parts.path).lower()
        return f"{parts.netloc}{path}"


class Mistake(Exception):
    """What Azure would refuse."""

    def __init__(self, message: str, status: int = 400, code: str = "InvalidRequest", **headers: str) -> None:
        super().__init__(message)
        self.status, self.headers = status, headers
        self.body = {"error": {"code": code, "message": message}}


class Azure:
    """What is there so far."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "azure.json"
        self.known: dict[str, Any] = json.loads(self.path.read_text()) if self.path.exists() else {}

    def answer(self, request: Request) -> tuple[int, dict[str, str], bytes]:
        try:
            for method, pattern, do, status in ROUTES:
                if method == request.method and (found := re.fullmatch(pattern, request.address)):
                    body = do(self, request, *found.groups())
                    self.path.write_text(json.dumps(self.known))
                    kind = "application/xml" if isinstance(body, bytes) else "application/json"
                    content = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
                    return status, {"Content-Type": kind}, content
            raise Mistake(f"{request.method} {request.address} is not known here", 404, "NotFound")
        except Mistake as mistake:
            headers = {name.replace("_", "-"): value for name, value in mistake.headers.items()}
            return mistake.status, {"Content-Type": "application/json", **headers}, json.dumps(mistake.body).encode()

    def note(self, arguments: list[str]) -> None:
        first = next((at for at, each in enumerate(arguments) if each.startswith("-")), len(arguments))
        self.known.setdefault("called", []).append(" ".join(arguments[:first]))
        self.path.write_text(json.dumps(self.known))

    def need(self, kind: str, name: str) -> str:
        """Return a name as it was given, whatever its capitals here."""
        found = [each for each in self.known[kind] if each.lower() == name]
        if not found:
            raise Mistake(f"There is no {name} among the {kind} {list(self.known[kind])}.", 404, "ResourceNotFound")
        return str(found[0])


def token(azure: Azure, request: Request) -> Any:
    def encoded(part: Any) -> str:
        return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()

    claims = {"oid": ID, "tid": TENANT, "appid": ID, "upn": "me@contoso.com", "xms_mirid": f"/id/{ID}"}
    expires = int(time.time()) + 86400
    made = {"access_token": f"{encoded({'alg': 'none'})}.{encoded(claims)}.AAAA", "token_type": "Bearer"}
    return {**made, "client_id": ID, "expires_in": "86400", "expires_on": str(expires), "resource": "any"}


def subscriptions(azure: Azure, request: Request) -> Any:
    one = {"id": f"/subscriptions/{SUBSCRIPTION}", "subscriptionId": SUBSCRIPTION, "tenantId": TENANT}
    return {"value": [{**one, "displayName": "test", "state": "Enabled", "subscriptionPolicies": {}}]}


def validate(azure: Azure, request: Request, group: str, name: str) -> Any:
    """Refuse the parameters that Azure Resource Manager would."""
    if group:
        azure.need("groups", group)
    given = request.body["properties"]["parameters"]
    known = request.body["properties"]["template"]["parameters"]
    required = {each for each, declared in known.items() if "defaultValue" not in declared}
    if not required <= given.keys() <= known.keys():
        wrong = f"has no parameters {given.keys() - known.keys()} and lacks {required - given.keys()}"
        raise Mistake(f"The template {wrong}.", code="InvalidTemplate")
    for each, value in given.items():
        if (allowed := known[each].get("allowedValues")) and value["value"] not in allowed:
            raise Mistake(f"{value['value']} is not among {allowed}, which {each} takes.", code="InvalidTemplate")
    return answered(name, {})


def what_if(azure: Azure, request: Request, group: str, name: str) -> Any:
    azure.known["asked"] = {each: value["value"] for each, value in request.body["properties"]["parameters"].items()}
    validate(azure, request, group, name)
    return {"status": "Succeeded", "properties": {"changes": []}}


def deploy(azure: Azure, request: Request, group: str, name: str) -> Any:
    validate(azure, request, group, name)
    properties = request.body["properties"]
    plan = properties["parameters"].get("hostingPlan", {}).get("value", "FlexConsumption")
    outputs = {each: output(azure, each, name, plan) for each in properties["template"].get("outputs", {})}
    azure.known["deployments"][name] = outputs
    if "functionAppName" in outputs:
        azure.known["groups"].append(outputs["resourceGroup"])
        azure.known["apps"][outputs["functionAppName"]] = plan
    return answered(name, outputs)


def output(azure: Azure, name: str, deployment: str, plan: str) -> Any:
    blob = f"https://st{deployment}.blob.core.windows.net/package/d365mcp.zip".replace("-", "")
    values = {
        "resourceGroup": f"rg-{deployment}",
        "functionAppName": f"func-{deployment}",
        "mcpEndpoint": f"{azure.known['address']}/mcp",
        "packageUrl": blob if plan == "Consumption" else "",
        "keyVaultName": "kv-d365mcp",
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
    properties = {"outputs": values, "provisioningState": "Succeeded"}
    return {"id": f"/deployments/{name}", "name": name, "location": "westeurope", "properties": properties}


def camel_case(name: str) -> str:
    """Put capitals at a name's beginning into small ones, but not the last before anything else (Newtonsoft's way)."""
    capitals = len(name) - len(name.lstrip(string.ascii_uppercase))
    end = capitals if capitals in (0, 1, len(name)) else capitals - 1
    return name[:end].lower() + name[end:]


def show_deployment(azure: Azure, request: Request, group: str, name: str) -> Any:
    return answered(name, azure.known["deployments"][azure.need("deployments", name)])


def show_group(azure: Azure, request: Request, group: str) -> Any:
    return {"id": f"/resourceGroups/{group}", "name": azure.need("groups", group), "location": "westeurope"}


def app(azure: Azure, group: str, name: str) -> str:
    azure.need("groups", group)
    return azure.need("apps", name)


def show_app(azure: Azure, request: Request, group: str, name: str) -> Any:
    name = app(azure, group, name)
    sku = "FlexConsumption" if azure.known["apps"][name] == "FlexConsumption" else "Dynamic"
    inner = {"defaultHostName": f"{name}.azurewebsites.net", "state": "Running", "sku": sku, "siteConfig": {}}
    inner["serverFarmId"] = (
        f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{group}/providers/Microsoft.Web/serverfarms/p"
    )
    outer = {"id": f"/subscriptions/{SUBSCRIPTION}/sites/{name}", "name": name, "type": "Microsoft.Web/sites"}
    return {**outer, "location": "West Europe", "kind": "functionapp,linux", "properties": inner}


def list_keys(azure: Azure, request: Request, group: str, name: str) -> Any:
    app(azure, group, name)
    return {"functionKeys": azure.known["keys"], "masterKey": "master", "systemKeys": {}}


def set_key(azure: Azure, request: Request, group: str, name: str, key: str) -> Any:
    app(azure, group, name)
    azure.known["keys"][key] = "another-key"
    return {"name": key, "value": "another-key"}


def delete_key(azure: Azure, request: Request, group: str, name: str, key: str) -> Any:
    app(azure, group, name)
    del azure.known["keys"][azure.need("keys", key)]


def restart(azure: Azure, request: Request, group: str, name: str) -> Any:
    app(azure, group, name)


def make_identity(azure: Azure, request: Request, group: str, name: str) -> Any:
    azure.need("groups", group)
    azure.known["identities"].append(name)
    return {"id": f"/identities/{name}", "name": name, "properties": {"clientId": ID, "principalId": ID}}


def show_identity(azure: Azure, request: Request, group: str, name: str) -> Any:
    name = azure.need("identities", name)
    return {"id": f"/identities/{name}", "name": name, "properties": {"clientId": ID, "principalId": ID}}


def trust(azure: Azure, request: Request, group: str, identity: str, name: str) -> Any:
    azure.need("identities", identity)
    subject = request.body["properties"]["subject"]
    if not re.fullmatch(r"repo:[^/\s]+/[^/\s]+:environment:\w+", subject):
        raise Mistake(f"GitHub calls nothing {subject}.")
    return {"id": f"/credentials/{name}", "name": name, **request.body}


def set_secret(azure: Azure, request: Request, vault: str, name: str) -> Any:
    if "authorization" not in {each.lower() for each in request.headers}:
        raise Mistake("The vault wants a token.", 401, "Unauthorized", WWW_Authenticate=CHALLENGE)
    azure.known["secrets"][name] = request.body
    return {"id": f"https://{vault}.vault.azure.net/secrets/{name}/1", **request.body}


def show_secret(azure: Azure, request: Request, vault: str, name: str) -> Any:
    if "authorization" not in {each.lower() for each in request.headers}:
        raise Mistake("The vault wants a token.", 401, "Unauthorized", WWW_Authenticate=CHALLENGE)
    known = azure.known["secrets"].get(name, {"value": "an-older-key"})
    return {"id": f"https://{vault}.vault.azure.net/secrets/{name}/1", **known}


def upload(azure: Azure, request: Request, account: str, path: str) -> Any:
    """Take the package that Consumption runs; only its own address will do."""
    addresses = [each.get("packageUrl") for each in azure.known["deployments"].values()]
    if f"https://{account}.blob.core.windows.net/{path}" not in addresses:
        raise Mistake(f"nobody runs {account}/{path}")
    if not zipfile.is_zipfile(io.BytesIO(request.content)):
        raise Mistake(f"{path} is no zip")
    (azure.folder / "uploaded.zip").write_bytes(request.content)
    return b""


GRAPH = r"graph\.microsoft\.com/v1\.0"
APPLICATION = {"id": ID, "appId": ID, "displayName": "F&O", "passwordCredentials": []}
GROUP = "/resourcegroups/([^/]+)"
DEPLOYMENT = rf"management\.azure\.com(?:{GROUP})?/providers/microsoft\.resources/deployments/([^/]+)"
SITE = rf"management\.azure\.com{GROUP}/providers/microsoft\.web/sites/([^/]+)"
IDENTITY = rf"management\.azure\.com{GROUP}/providers/microsoft\.managedidentity/userassignedidentities/([^/]+)"
ROUTES: list[tuple[str, str, Callable[..., Any], int]] = [
    ("GET", r"identity\.example/token", token, 200),
    ("GET", r"management\.azure\.com/subscriptions/?", subscriptions, 200),
    ("GET", rf"{GRAPH}/me", lambda azure, request: {"id": ID}, 200),
    ("GET", rf"{GRAPH}/applications", lambda azure, request: {"value": [APPLICATION]}, 200),
    ("GET", rf"{GRAPH}/applications/{ID}", lambda azure, request: APPLICATION, 200),
    ("POST", rf"{GRAPH}/applications/{ID}/addpassword", lambda azure, request: {"secretText": "a-new-secret"}, 200),
    ("POST", f"{DEPLOYMENT}/validate", validate, 200),
    ("POST", f"{DEPLOYMENT}/whatif", what_if, 200),
    ("PUT", DEPLOYMENT, deploy, 201),
    ("GET", DEPLOYMENT, show_deployment, 200),
    ("GET", rf"management\.azure\.com{GROUP}", show_group, 200),
    ("GET", SITE, show_app, 200),
    ("GET", f"{SITE}/config/web", lambda azure, request, *names: {"properties": {}}, 200),
    ("POST", f"{SITE}/publishxml", lambda azure, request, *names: PROFILES, 200),
    ("POST", f"{SITE}/host/default/listkeys", list_keys, 200),
    ("PUT", f"{SITE}/host/default/functionkeys/([^/]+)", set_key, 201),
    ("DELETE", f"{SITE}/host/default/functionkeys/([^/]+)", delete_key, 204),
    ("POST", f"{SITE}/restart", restart, 200),
    ("PUT", IDENTITY, make_identity, 201),
    ("GET", IDENTITY, show_identity, 200),
    ("PUT", f"{IDENTITY}/federatedidentitycredentials/([^/]+)", trust, 201),
    ("GET", r"([^.]+)\.vault\.azure\.net/secrets/([^/]+)/?", show_secret, 200),
    ("PUT", r"([^.]+)\.vault\.azure\.net/secrets/([^/]+)", set_secret, 200),
    ("PUT", r"([^.]+)\.blob\.core\.windows\.net/(.+)", upload, 201),
]
