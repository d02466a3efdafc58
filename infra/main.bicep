// Everything, resource group included:
//   az deployment sub create --location REGION --template-file infra/main.bicep --parameters infra/main.bicepparam
targetScope = 'subscription'

@description('Name of this deployment; the names of its resources are made from it.')
@minLength(1)
@maxLength(32)
param environmentName string

@description('Region of the resource group and all in it.')
@minLength(1)
@metadata({ azd: { type: 'location' } })
param location string

@description('The F&O environment: https://….operations.dynamics.com')
@minLength(12)
param d365BaseUrl string

@description('The identity F&O is called with: the managed identity, an app with a client secret, or the caller.')
@allowed(['managed_identity', 'client_secret', 'on_behalf_of'])
param d365Auth string = 'managed_identity'

@description('Tenant of the app that calls F&O, for client_secret; empty for the one deployed to.')
param d365TenantId string = ''

@description('Client id of the app that calls F&O, for client_secret.')
param d365ClientId string = ''

@description('Its client secret. Goes into the vault; empty keeps what is there.')
@secure()
param d365ClientSecret string = ''

@description('What checks callers: the Functions host by key, this server by token (jwt), or App Service Authentication (easyAuth).')
@allowed(['functionKey', 'jwt', 'easyAuth'])
param authentication string = 'functionKey'

@description('Client id of the app registration callers sign in to; infra/entra/entra.bicep makes one.')
param authClientId string = ''

@description('Its Application ID URIs, beside api://CLIENT-ID; the first names the scopes.')
param authAudiences array = []

@description('Client ids that may call with easyAuth. The default is VS Code\'s.')
@minLength(1)
param clientIds array = ['aebc6443-996d-45c2-90f0-388ff96faa56']

@description('Lets clients sign in that cannot talk to Entra themselves (Claude, ChatGPT, mcp-remote), by MCP_OAUTH_FACADE; with jwt only.')
param oauthFacade bool = false

@description('Client id of the public client all of them sign in as; infra/entra/entra.bicep makes that, too.')
param facadeClientId string = ''

@description('Where their sign-ins may return to; on loopback any port will do.')
@minLength(1)
param redirectUris array = ['http://localhost/callback', 'http://localhost/oauth/callback', 'http://127.0.0.1/', 'http://127.0.0.1/callback', 'http://127.0.0.1/mcp/oauth/callback']

@description('Where clients find the server when not at the app\'s own name: a domain you bind to it, or a gateway, e.g. https://mcp.contoso.com.')
param publicUrl string = ''

@description('Origins of browser clients, e.g. https://inspector.contoso.com.')
param allowedOrigins array = []

@description('false lets tools create, change and delete.')
param readOnly bool = true

@description('Further settings of the server by name, as infra/settings.md lists them; empty ones are left out.')
param settings object = {}

@description('Takes the keys that seal cursors from the vault (secret cursor-key), in place of one the instances share in storage.')
param cursorKeyFromVault bool = false

@description('Keys that seal cursors, 32 characters or more each. Go into the vault; empty keeps what is there.')
@secure()
param cursorKey string = ''

@description('When the secrets given with this deployment run out; by default a year after it.')
param vaultExpiresOn string = dateTimeAdd(utcNow(), 'P1Y')

@description('FlexConsumption, or Consumption (Y1, Linux), which Microsoft retires on 30 September 2028 and which stays at Python 3.12.')
@allowed(['FlexConsumption', 'Consumption'])
param hostingPlan string = 'FlexConsumption'

@description('Memory of an instance on Flex Consumption, in MB.')
@allowed([512, 2048, 4096])
param instanceMemoryMB int = 2048

@description('Most instances on demand for each group of functions: HTTP is one, the catalog\'s timer another. No hard cap: those always ready come on top, and so do new ones while an update rolls out. Azure takes 1 to 1000, as far as the region\'s quota goes (250 processors by default, 1 for 2048 MB); Consumption ends at 100.')
@minValue(1)
@maxValue(1000)
param maximumInstances int = 20

@description('Updates let running calls end and replace instances bit by bit, in place of stopping all at once. Flex Consumption only; false where a region does not know it yet.')
param rollingUpdates bool = true

@description('Instances on Flex Consumption that never sleep; 0 costs nothing at rest, 1 spares most callers the cold start.')
@minValue(0)
@maxValue(20)
param alwaysReadyInstances int = 0

@description('Requests an instance on Flex Consumption takes at once. At most maxConcurrentRequests of host.json, and better no more than three quarters of it, which is how many tool calls the server lets in.')
@minValue(1)
@maxValue(100)
param instanceConcurrency int = 50

@description('public; privateData: calls go out through a network of the app\'s own, blobs only through a private endpoint; private: clients too come through one. Flex Consumption only.')
@allowed(['public', 'privateData', 'private'])
param networking string = 'public'

@description('Address range of that network.')
@minLength(9)
@maxLength(18)
param addressPrefix string = '10.90.0.0/24'

@description('One fixed address for calls to F&O, by a NAT gateway in that network.')
param fixedOutboundAddress bool = false

@description('The vault too only through a private endpoint. Try it first: Key Vault references on Flex Consumption did not reach a vault of this kind.')
param privateVault bool = false

@description('How the blobs are replicated.')
@allowed(['Standard_LRS', 'Standard_ZRS', 'Standard_GZRS'])
param storageSku string = 'Standard_LRS'

@description('Gigabytes of telemetry a day, each for about 300,000 calls; what comes after is not stored.')
@minValue(1)
@maxValue(100)
param dailyCapGb int = 1

@description('Days telemetry is kept.')
@minValue(30)
@maxValue(730)
param retentionDays int = 30

@description('Whether writes to the blobs, reads of the vault and the app\'s metrics go to the workspace as well.')
param diagnostics bool = true

@description('The host\'s own log, too: what it says before Application Insights hears anything. About as much as the traces again.')
param hostLog bool = false

@description('Addresses that get an e-mail when an alert fires.')
param alertEmails array = []

@description('Resource ids of action groups that exist already.')
param actionGroupIds array = []

@description('p95 of the tools in milliseconds, above which they count as slow.')
@minValue(1)
@maxValue(600000)
param p95ThresholdMs int = 5000

@description('Percentage of failed tool calls, above which they count as failing.')
@minValue(1)
@maxValue(99)
param errorRatePercent int = 5

@description('Throttled F&O calls in a quarter of an hour, above which it is too many.')
@minValue(0)
@maxValue(100000)
param throttleThreshold int = 20

@description('Object id of the operator, which publishes the code, looks after the catalog and sets secrets: a person, a group or the workflow\'s identity.')
param operatorId string = ''

@description('Client id of the workflow\'s identity, which then may call with easyAuth, as its smoke test does.')
param operatorClientId string = ''

@description('What the operator is.')
@allowed(['User', 'Group', 'ServicePrincipal'])
param operatorType string = 'User'

@description('Name of the resource group; empty for rg- and the name of the deployment.')
@maxLength(90)
param resourceGroupName string = ''

@description('Tags of all resources.')
param tags object = {}

var abbreviations = loadJsonContent('abbreviations.json')
var allTags = union(tags, { 'azd-env-name': environmentName })

resource group 'Microsoft.Resources/resourceGroups@2025-04-01' = {
  name: empty(resourceGroupName) ? '${abbreviations.resourceGroups}${environmentName}' : resourceGroupName
  location: location
  tags: allTags
}

module resources 'resources.bicep' = {
  scope: group
  name: 'd365mcp-${environmentName}'
  params: {
    environmentName: environmentName
    location: location
    d365BaseUrl: d365BaseUrl
    d365Auth: d365Auth
    d365TenantId: d365TenantId
    d365ClientId: d365ClientId
    d365ClientSecret: d365ClientSecret
    authentication: authentication
    authClientId: authClientId
    authAudiences: authAudiences
    clientIds: clientIds
    oauthFacade: oauthFacade
    facadeClientId: facadeClientId
    redirectUris: redirectUris
    publicUrl: publicUrl
    allowedOrigins: allowedOrigins
    readOnly: readOnly
    settings: settings
    cursorKeyFromVault: cursorKeyFromVault
    cursorKey: cursorKey
    vaultExpiresOn: vaultExpiresOn
    hostingPlan: hostingPlan
    instanceMemoryMB: instanceMemoryMB
    maximumInstances: maximumInstances
    rollingUpdates: rollingUpdates
    alwaysReadyInstances: alwaysReadyInstances
    instanceConcurrency: instanceConcurrency
    networking: networking
    addressPrefix: addressPrefix
    fixedOutboundAddress: fixedOutboundAddress
    privateVault: privateVault
    storageSku: storageSku
    dailyCapGb: dailyCapGb
    retentionDays: retentionDays
    diagnostics: diagnostics
    hostLog: hostLog
    alertEmails: alertEmails
    actionGroupIds: actionGroupIds
    p95ThresholdMs: p95ThresholdMs
    errorRatePercent: errorRatePercent
    throttleThreshold: throttleThreshold
    operatorId: operatorId
    operatorClientId: operatorClientId
    operatorType: operatorType
    tags: allTags
  }
}

@description('The resource group.')
output resourceGroup string = group.name

@description('The MCP endpoint.')
output mcpEndpoint string = resources.outputs.mcpEndpoint

@description('Name of the function app, for func azure functionapp publish.')
output functionAppName string = resources.outputs.functionAppName

@description('Client id to enter in F&O under System administration › Setup › Microsoft Entra applications; empty with on_behalf_of.')
output entraApplication string = resources.outputs.entraApplication

@description('Object id of the app\'s identity, which infra/entra/entra.bicep takes with on_behalf_of.')
output identityPrincipalId string = resources.outputs.identityPrincipalId

@description('Where Consumption looks for its package.')
output packageUrl string = resources.outputs.packageUrl

@description('The vault, where there is one.')
output keyVaultName string = resources.outputs.keyVaultName

@description('The workspace the tables of infra/README.md are in.')
output workspaceName string = resources.outputs.workspaceName
