"""The checker itself: it accepts what is right, and finds every mistake that is planted in it."""

import shutil
from pathlib import Path

import pytest

from tests.infra.bicep.azure_types import resource_types
from tests.infra.bicep.check import bicep_files, problems
from tests.infra.bicep.fetch_types import MODELS, PUBLISHED

pytestmark = pytest.mark.once

SAMPLE = Path(__file__).with_name("sample")
# the file, what stands there, what is written instead, what is said about it
MISTAKES = [
    ("app.bicep", "allowSharedKeyAccess: false", "allowSharedKeysAccess: false", "no property allowSharedKeysAccess"),
    ("app.bicep", "minimumTlsVersion", "minimumTLSVersion", "did you mean minimumTlsVersion?"),
    ("app.bicep", "instanceMemoryMB: 2048", "instanceMemoryMB: '2048'", "instanceMemoryMB takes int, not string"),
    ("app.bicep", "httpsOnly: true", "httpsOnly: 'true'", "httpsOnly takes bool, not string"),
    ("app.bicep", "severity: 2", "severity: '2'", "severity takes int, not string"),
    ("app.bicep", "severity: 2", "severity: 2\n    severity: 3", "severity is given twice"),
    ("app.bicep", "scopes: [workspace.id]", "scopes: 'x'", "scopes takes string[], not string"),
    ("app.bicep", "ftpsState: 'Disabled'", "ftpsState: 'Off'", "takes AllAllowed or FtpsOnly or Disabled, not Off"),
    ("app.bicep", "defaultAction: 'Deny'", "defaultAction: 'Denied'", "takes Allow or Deny, not Denied"),
    ("app.bicep", "defaultAction: 'Deny', ", "", "networkAcls: the property defaultAction is missing"),
    ("app.bicep", "kind: 'StorageV2'", "kind: 'StorageV3'", "not StorageV3"),
    ("app.bicep", "  sku: { name: 'Standard_LRS' }\n", "", "the property sku is missing"),
    ("app.bicep", "linuxFxVersion", "linuxFXVersion", "did you mean linuxFxVersion?"),
    ("app.bicep", "publicAccess: 'None'", "publicAccess: false", "takes Container | Blob | None, not bool"),
    ("app.bicep", "name: 'appsettings'", "name: 'appsetting'", "name appsetting is none of appsettings"),
    ("app.bicep", "retentionInDays: retentionDays", "retentionInDays: name", "retentionInDays takes int, not string"),
    ("app.bicep", "severity: 2", "severity: 2\n    id: 'x'", "has no property id"),
    ("app.bicep", "kind: 'StorageV2'", "kind: 'StorageV2'\n  id: 'x'", "id is read-only: leave it out"),
    ("app.bicep", "timeAggregation", "aggregation", "has no property aggregation"),
    ("app.bicep", "storageAccounts@2025-01-01", "storageAccounts@2019-06-01", "write @2025-01-01"),
    ("app.bicep", "Microsoft.Web/serverfarms", "Microsoft.Web/serverfarm", "no kept type data"),
    ("app.bicep", "primaryEndpoints.blob", "primaryEndpoint.blob", "has no property primaryEndpoint"),
    ("app.bicep", "site.properties.defaultHostName", "site.properties.hostname", "has no property hostname"),
    ("app.bicep", "serverFarmId: hosting.id", "serverFarmId: hostingPlan.id", "the name hostingPlan is not declared"),
    ("app.bicep", "join(origins, ',')", "join(Origins, ',')", "did you mean origins?"),
    ("app.bicep", "'${identityId}': {}", "'${identity.ID}': {}", "has no property ID: did you mean id?"),
    ("app.bicep", "'${i}-${each}'", "'${j}-${each}'", "the name j is not declared"),
    ("app.bicep", "each => each != 'x'", "each => one != 'x'", "the name one is not declared"),
    ("app.bicep", "uniqueString(", "uniqString(", "there is no function uniqString"),
    ("app.bicep", "@secure()", "@secret()", "there is no decorator @secret"),
    ("app.bicep", "join(origins, ',')", "''", "the parameter origins is never used"),
    ("app.bicep", "filter(all, each => each != 'x' && isFlex)", "[]", "the variable all is never used"),
    ("app.bicep", "var isFlex", "var plan = ''\nvar isFlex", "plan is declared twice"),
    ("app.bicep", "httpsOnly: true", "httpsOnly true", "mend the syntax"),
    ("app.bicep", "= if (!empty(readable)) {", "= if !empty(readable) {", "mend the syntax"),
    ("app.bicep", "resource site '", "resource site = '", "mend the syntax"),
    (
        "app.bicep",
        "=> 'https://${host}'",
        "=> 'https://${host}.core.windows.net'",
        "core.windows.net is of one cloud only",
    ),
    ("main.bicep", "'Names all resources.'", "'As in vault.azure.net.'", "vault.azure.net is of one cloud only"),
    ("main.bicep", "@secure()\n", "", "the parameter clientSecret sounds like a secret"),
    ("main.bicep", "output endpoint", "output password", "the output password sounds like a secret"),
    ("app.bicep", "'FC1', tier", "'FC1' tier", 'add a comma or a new line before "tier'),
    ("app.bicep", "['package', 'catalog']", "['package' 'catalog']", "add a comma or a new line before \"'catalog'"),
    ("app.bicep", "['package', 'catalog']", "[\n isFlex ? '' : 'a'\n (isFlex) ? '' : 'b'\n]", "is read as a use of"),
    ("app.bicep", "union({ ftps", "({ ftps", "has brackets around no value, or several"),
    ("app.bicep", "@minValue(30)", "@minValue()", "the decorator @minValue needs a value"),
    ("app.bicep", "join(origins, ',')", "[\n  join(origins, ',') ? '' : ''\n  ]", "begin with something else"),
    ("main.bicep", "app.outputs.address", "app.outputsaddress", "a module has outputs and a name, not outputsaddress"),
    ("app.bicep", "name: 'kv-${name}'", "names: 'kv-${name}'", "the property name is missing"),
    ("app.bicep", "name: 'kv-${name}'", "name: 'kv-${name}'\n  location: location", "can be given no location"),
    ("app.bicep", "VAULT: vault.properties.vaultUri, ", "", "the resource vault is never used"),
    ("main.bicep", "  scope: group", "  scopes: group", "a module has no property scopes"),
    ("app.bicep", "name: 'appsettings'\n", "", "config: the property name is missing"),
    ("app.bicep", "allow: false", "allowed: false", "has no property allowed"),
    ("main.bicep", "'app.bicep'", "'application.bicep'", "no module file application.bicep"),
    ("main.bicep", "    plan: plan\n", "", "app.bicep needs the parameter plan"),
    ("main.bicep", "    plan: plan\n", "    plan: plan\n    sku: 'FC1'\n", "app.bicep has no parameter sku"),
    ("main.bicep", "plan: plan\n", "plan: 'Premium'\n", "takes FlexConsumption or Consumption, not Premium"),
    ("main.bicep", "retentionDays: 30", "retentionDays: '30'", "retentionDays is of type int, not string"),
    ("main.bicep", "  scope: group\n", "", "is deployed to a resourceGroup: give the module a scope"),
    ("main.bicep", "app.outputs.address", "app.outputs.url", "app.bicep has no output url"),
    ("main.bicep", "location: location\n  tags: tags", "region: location\n  tags: tags", "has no property region"),
    ("main.bicep", "targetScope = 'subscription'\n", "", "is deployed to a Subscription"),
    ("main.bicepparam", "'./main.bicep'", "'./mein.bicep'", "points to no file"),
    ("main.bicepparam", "param name", "param title", "main.bicep has no parameter title"),
    ("main.bicepparam", "param name = readEnvironmentVariable('AZURE_ENV_NAME')", "", "needs the parameter name"),
    ("main.bicepparam", "'Consumption'", "'Premium'", "takes FlexConsumption or Consumption, not Premium"),
    ("main.bicepparam", "'Consumption'", "7", "plan is of type string, not int"),
]


def test_the_kept_types_are_those_that_are_listed() -> None:
    assert {each["name"] for each in resource_types().values()} == {
        *PUBLISHED,
        *(name.split("@")[0] for name in MODELS),
    }


def test_what_is_right_is_left_alone() -> None:
    assert problems(bicep_files(SAMPLE)) == []


@pytest.mark.parametrize(("name", "right", "wrong", "said"), MISTAKES, ids=lambda value: value.strip()[:40])
def test_a_planted_mistake_is_found(name: str, right: str, wrong: str, said: str, tmp_path: Path) -> None:
    folder = shutil.copytree(SAMPLE, tmp_path / "sample")
    source = (folder / name).read_text()
    assert right in source
    (folder / name).write_text(source.replace(right, wrong, 1))
    found = [str(each) for each in problems(bicep_files(folder))]
    assert any(said in each for each in found), found
