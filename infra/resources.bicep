// Everything in one resource group, deployable alone:
//   az deployment group create --resource-group GROUP --template-file infra/resources.bicep --parameters environmentName=… d365BaseUrl=…
targetScope = 'resourceGroup'

@description('Name of this deployment; the names of its resources are made from it.')
@minLength(1)
@maxLength(32)
param environmentName string

@description('Region of all resources.')
param location string = resourceGroup().location

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

@description('Tags of all resources.')
param tags object = {}

var signsIn = authentication != 'functionKey'
var hasVault = d365Auth == 'client_secret' || cursorKeyFromVault
var hasNetwork = networking != 'public'

// A parameter's own constraints see no other: these say all that is wrong at once, before anything is created.
var clients = {
  d365ClientId: d365ClientId
  authClientId: authClientId
  facadeClientId: facadeClientId
  operatorId: operatorId
  operatorClientId: operatorClientId
}
var notIds = filter(items(clients), each => !empty(each.value) && length(each.value) != 36)
var problems = filter(
  [
    !empty(notIds) ? '${join(map(notIds, each => each.key), ', ')} must be an id of Entra, such as 11111111-2222-3333-4444-555555555555.' : ''
    !startsWith(toLower(d365BaseUrl), 'https://') ? 'd365BaseUrl must start with https://.' : ''
    !empty(publicUrl) && !startsWith(toLower(publicUrl), 'https://') ? 'publicUrl must start with https://.' : ''
    !empty(publicUrl) && (endsWith(publicUrl, '/') || endsWith(publicUrl, '/mcp')) ? 'publicUrl is given without /mcp and without a slash at its end.' : ''
    d365Auth == 'client_secret' && empty(d365ClientId) ? 'd365Auth is client_secret: set d365ClientId.' : ''
    d365Auth == 'on_behalf_of' && !signsIn ? 'd365Auth is on_behalf_of, but function keys name no caller: set authentication to jwt or easyAuth.' : ''
    signsIn && empty(authClientId) ? 'authentication is ${authentication}: set authClientId; infra/entra/entra.bicep makes a registration.' : ''
    oauthFacade && authentication != 'jwt' ? 'oauthFacade brings tokens that this server checks itself: set authentication to jwt.' : ''
    oauthFacade && empty(facadeClientId) ? 'oauthFacade is on: set facadeClientId; infra/entra/entra.bicep makes that client.' : ''
    hasNetwork && hostingPlan == 'Consumption' ? 'Consumption has no networks: set networking to public, or hostingPlan to FlexConsumption.' : ''
    contains(allowedOrigins, '*') ? 'allowedOrigins lists origins such as https://inspector.contoso.com: a * would let in every page.' : ''
    alwaysReadyInstances > 0 && hostingPlan == 'Consumption' ? 'Consumption has no instances that never sleep: set alwaysReadyInstances to 0, or hostingPlan to FlexConsumption.' : ''
    alwaysReadyInstances > maximumInstances ? 'alwaysReadyInstances is above maximumInstances: raise that, or lower this.' : ''
    hostLog && !diagnostics ? 'hostLog is one of the diagnostics: set diagnostics to true.' : ''
    fixedOutboundAddress && !hasNetwork ? 'fixedOutboundAddress needs a network: set networking to privateData or private.' : ''
    privateVault && !hasNetwork ? 'privateVault needs a network: set networking to privateData or private.' : ''
  ],
  each => !empty(each)
)
var token = empty(problems)
  ? uniqueString(subscription().id, resourceGroup().id, environmentName)
  : fail(join(problems, ' '))

// What reads a secret is hidden from what-if. In `token` these would hide every name there, so they stand in the name of
// one deployment (that of the workbook), which what-if does not list.
var secretProblems = filter(
  [
    d365Auth != 'client_secret' && !empty(d365ClientSecret) ? 'd365ClientSecret is given but not used: set d365Auth to client_secret.' : ''
    !empty(cursorKey) && !cursorKeyFromVault ? 'cursorKey is given but not used: set cursorKeyFromVault.' : ''
    !empty(cursorKey) && length(cursorKey) < 32 ? 'cursorKey must have 32 characters or more.' : ''
  ],
  each => !empty(each)
)
var secretsChecked = empty(secretProblems) ? '' : fail(join(secretProblems, ' '))

var abbreviations = loadJsonContent('abbreviations.json')
var appName = '${abbreviations.functionApps}d365mcp-${token}'
var vaultName = '${abbreviations.keyVaults}${token}'
var packageContainer = 'package'
var containers = [packageContainer, 'catalog', 'state']

resource identity 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' = {
  name: '${abbreviations.managedIdentities}${token}'
  location: location
  tags: tags
}

module monitoring 'app/monitoring.bicep' = {
  name: 'monitoring-${token}'
  params: {
    location: location
    tags: tags
    workspaceName: '${abbreviations.logAnalyticsWorkspaces}${token}'
    componentName: '${abbreviations.applicationInsights}${token}'
    dailyCapGb: dailyCapGb
    retentionDays: retentionDays
  }
}

module storage 'app/storage.bicep' = {
  name: 'storage-${token}'
  params: {
    location: location
    tags: tags
    name: '${abbreviations.storageAccounts}${token}'
    sku: storageSku
    publicAccess: !hasNetwork
    containers: containers
    workspaceName: diagnostics ? monitoring.outputs.workspaceName : ''
  }
}

module vault 'app/vault.bicep' = if (hasVault) {
  name: 'vault-${token}'
  params: {
    location: location
    tags: tags
    name: vaultName
    publicAccess: !privateVault
    clientSecret: d365ClientSecret
    cursorKey: cursorKey
    expireOn: vaultExpiresOn
    workspaceName: diagnostics ? monitoring.outputs.workspaceName : ''
  }
}

module roles 'app/roles.bicep' = {
  name: 'roles-${token}'
  params: {
    principalId: identity.properties.principalId
    operatorId: operatorId
    operatorType: operatorType
    storageName: storage.outputs.name
    containers: containers
    componentName: monitoring.outputs.componentName
    workspaceName: monitoring.outputs.workspaceName
    vaultName: hasVault ? vaultName : ''
  }
  dependsOn: [vault]
}

module network 'app/network.bicep' = if (hasNetwork) {
  name: 'network-${token}'
  params: {
    location: location
    tags: tags
    name: '${abbreviations.virtualNetworks}${token}'
    addressPrefix: addressPrefix
    natGatewayName: fixedOutboundAddress ? '${abbreviations.natGateways}${token}' : ''
    publicIpName: '${abbreviations.publicIpAddresses}${token}'
  }
}

module storageEndpoint 'app/endpoint.bicep' = if (hasNetwork) {
  name: 'storage-endpoint-${token}'
  params: {
    location: location
    tags: tags
    name: '${abbreviations.privateEndpoints}blob-${token}'
    targetId: storage.outputs.id
    part: 'blob'
    networkId: network!.outputs.id
    subnetId: network!.outputs.endpointSubnetId
  }
}

module vaultEndpoint 'app/endpoint.bicep' = if (hasVault && privateVault) {
  name: 'vault-endpoint-${token}'
  params: {
    location: location
    tags: tags
    name: '${abbreviations.privateEndpoints}vault-${token}'
    targetId: vault!.outputs.id
    part: 'vault'
    networkId: network!.outputs.id
    subnetId: network!.outputs.endpointSubnetId
  }
}

module appEndpoint 'app/endpoint.bicep' = if (networking == 'private') {
  name: 'app-endpoint-${token}'
  params: {
    location: location
    tags: tags
    name: '${abbreviations.privateEndpoints}app-${token}'
    targetId: functionApp.outputs.id
    part: 'sites'
    networkId: network!.outputs.id
    subnetId: network!.outputs.endpointSubnetId
  }
}

var firstAudience = empty(authAudiences) ? 'api://${authClientId}' : authAudiences[0]
var scopes = ['${firstAudience}/D365.Read', '${firstAudience}/D365.Write']
var authModes = {
  functionKey: 'function_key'
  jwt: 'jwt'
  easyAuth: 'easy_auth'
}

module functionApp 'app/function.bicep' = {
  name: 'function-${token}'
  params: {
    location: location
    tags: tags
    name: appName
    planName: '${abbreviations.plans}${token}'
    hostingPlan: hostingPlan
    identityId: identity.id
    identityClientId: identity.properties.clientId
    storageName: storage.outputs.name
    packageContainer: packageContainer
    componentName: monitoring.outputs.componentName
    workspaceName: monitoring.outputs.workspaceName
    instanceMemoryMB: instanceMemoryMB
    maximumInstances: maximumInstances
    rollingUpdates: rollingUpdates
    alwaysReadyInstances: alwaysReadyInstances
    instanceConcurrency: instanceConcurrency
    easyAuth: authentication == 'easyAuth'
    allowedOrigins: allowedOrigins
    subnetId: hasNetwork ? network!.outputs.appSubnetId : ''
    publicAccess: networking != 'private'
    diagnostics: diagnostics
    hostLog: hostLog
    operatorId: operatorId
    operatorType: operatorType
    // A registration without app roles has to say so, by MCP_REQUIRE_ROLES in settings.
    settings: union({ MCP_REQUIRE_ROLES: signsIn ? 'true' : '' }, settings, {
      D365FO_BASE_URL: d365BaseUrl
      D365FO_AUTH: d365Auth
      D365FO_TENANT_ID: d365Auth == 'managed_identity' ? '' : d365Auth == 'client_secret' && !empty(d365TenantId) ? d365TenantId : tenant().tenantId
      D365FO_CLIENT_ID: d365Auth == 'on_behalf_of' ? authClientId : d365ClientId
      D365FO_CLIENT_SECRET: d365Auth == 'client_secret' ? '@Microsoft.KeyVault(VaultName=${vaultName};SecretName=d365fo-client-secret)' : ''
      MCP_CURSOR_KEY: cursorKeyFromVault ? '@Microsoft.KeyVault(VaultName=${vaultName};SecretName=cursor-key)' : ''
      MCP_AUTH: authModes[authentication]
      MCP_CLIENT_ID: signsIn ? authClientId : ''
      MCP_ALLOWED_TENANTS: signsIn ? tenant().tenantId : ''
      MCP_AUDIENCES: signsIn ? join(authAudiences, ',') : ''
      MCP_PUBLIC_URL: publicUrl
      MCP_OAUTH_FACADE: oauthFacade ? 'true' : ''
      MCP_OAUTH_CLIENT_ID: oauthFacade ? facadeClientId : ''
      MCP_OAUTH_REDIRECT_URIS: oauthFacade ? join(redirectUris, ',') : ''
      MCP_ALLOWED_ORIGINS: join(allowedOrigins, ',')
      MCP_READ_ONLY: readOnly ? 'true' : 'false'
      MCP_P95_THRESHOLD_MS: string(p95ThresholdMs)
      MCP_ERROR_RATE_THRESHOLD: '0.${padLeft(errorRatePercent, 2, '0')}'
      WEBSITE_AUTH_PRM_DEFAULT_WITH_SCOPES: authentication == 'easyAuth' ? join(readOnly ? take(scopes, 1) : scopes, ',') : ''
    })
  }
  dependsOn: [roles, storageEndpoint, vaultEndpoint]
}

module signin 'app/signin.bicep' = {
  name: 'signin-${token}'
  params: {
    appName: appName
    enabled: authentication == 'easyAuth'
    clientId: authClientId
    audiences: authAudiences
    clientIds: union(clientIds, [authClientId], empty(operatorClientId) ? [] : [operatorClientId])
  }
  dependsOn: [functionApp]
}

module alerts 'app/alerts.bicep' = {
  name: 'alerts-${token}'
  params: {
    location: location
    tags: tags
    workspaceName: monitoring.outputs.workspaceName
    actionGroupName: '${abbreviations.actionGroups}${token}'
    emails: alertEmails
    actionGroupIds: actionGroupIds
    appName: appName
    p95ThresholdMs: p95ThresholdMs
    errorRatePercent: errorRatePercent
    throttleThreshold: throttleThreshold
  }
}

module workbook 'app/workbook.bicep' = {
  name: 'workbook-${token}${secretsChecked}'
  params: {
    location: location
    tags: tags
    displayName: appName
    workspaceName: monitoring.outputs.workspaceName
  }
}

@description('The MCP endpoint.')
output mcpEndpoint string = '${empty(publicUrl) ? 'https://${functionApp.outputs.hostName}' : publicUrl}/mcp'

@description('Name of the function app, for func azure functionapp publish.')
output functionAppName string = functionApp.outputs.name

@description('Client id to enter in F&O under System administration › Setup › Microsoft Entra applications; empty with on_behalf_of.')
output entraApplication string = d365Auth == 'managed_identity' ? identity.properties.clientId : d365ClientId

@description('Object id of the app\'s identity, which infra/entra/entra.bicep takes with on_behalf_of.')
output identityPrincipalId string = identity.properties.principalId

@description('Where Consumption looks for its package.')
output packageUrl string = functionApp.outputs.packageUrl

@description('The vault, where there is one.')
output keyVaultName string = hasVault ? vaultName : ''

@description('The workspace the tables of infra/README.md are in.')
output workspaceName string = monitoring.outputs.workspaceName
