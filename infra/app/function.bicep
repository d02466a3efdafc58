// The function app: its plan, its settings, and how far it scales.

@description('Region of the app.')
param location string

@description('Tags of the app; azd finds it by azd-service-name.')
param tags object

@description('Name of the app, unique in Azure.')
@minLength(2)
@maxLength(60)
param name string

@description('Name of the plan.')
param planName string

@description('FlexConsumption, or Consumption (Y1, Linux), which ends on 30 September 2028 and stays at Python 3.12.')
@allowed(['FlexConsumption', 'Consumption'])
param hostingPlan string

@description('Resource id of the user-assigned identity.')
param identityId string

@description('Client id of that identity.')
param identityClientId string

@description('The storage account.')
param storageName string

@description('The container of the deployed package.')
param packageContainer string

@description('The Application Insights component.')
param componentName string

@description('The Log Analytics workspace.')
param workspaceName string

@description('App settings, by name; empty ones are left out. Those of the platform and of identities are made here.')
param settings object

@description('Memory of an instance on Flex Consumption, in MB.')
@allowed([512, 2048, 4096])
param instanceMemoryMB int

@description('Most instances on demand for each group of functions.')
@minValue(1)
@maxValue(1000)
param maximumInstances int

@description('Whether updates replace instances bit by bit, on Flex Consumption.')
param rollingUpdates bool

@description('Instances on Flex Consumption that never sleep.')
@minValue(0)
@maxValue(20)
param alwaysReadyInstances int

@description('Requests an instance on Flex Consumption takes at once; host.json\'s maxConcurrentRequests is above it.')
@minValue(1)
@maxValue(100)
param instanceConcurrency int

@description('Whether App Service Authentication checks callers.')
param easyAuth bool

@description('Origins of browser clients.')
param allowedOrigins array

@description('Subnet through which calls go out; empty for none.')
param subnetId string

@description('false: only the private endpoint reaches the app.')
param publicAccess bool

@description('Object id of who publishes the code; empty for nobody.')
param operatorId string

@description('What the operator is.')
@allowed(['User', 'Group', 'ServicePrincipal'])
param operatorType string

@description('Whether the app\'s metrics go to the workspace.')
param diagnostics bool

@description('Whether the host\'s own log goes there as well.')
param hostLog bool

var isFlex = hostingPlan == 'FlexConsumption'
var containerUrl = '${storage.properties.primaryEndpoints.blob}${packageContainer}'

// https://learn.microsoft.com/azure/azure-monitor/logs/api/access-api
var logAnalyticsUrls = {
  AzureCloud: 'https://api.loganalytics.azure.com'
  AzureUSGovernment: 'https://api.loganalytics.us'
  AzureChinaCloud: 'https://api.loganalytics.azure.cn'
}

var own = {
  AzureWebJobsStorage__blobServiceUri: storage.properties.primaryEndpoints.blob
  AzureWebJobsStorage__credential: 'managedidentity'
  AzureWebJobsStorage__clientId: identityClientId
  APPLICATIONINSIGHTS_CONNECTION_STRING: component.properties.ConnectionString
  APPLICATIONINSIGHTS_AUTHENTICATION_STRING: 'ClientId=${identityClientId};Authorization=AAD'
  AZURE_CLIENT_ID: identityClientId
  // A little above what /mcp takes: larger bodies end at the host, which would hold 100 MB of each.
  FUNCTIONS_REQUEST_BODY_SIZE_LIMIT: '5242880'
  AZURE_AUTHORITY_HOST: environment().authentication.loginEndpoint
  MCP_LOG_ANALYTICS_WORKSPACE_ID: workspace.properties.customerId
  MCP_LOG_ANALYTICS_URL: logAnalyticsUrls[environment().name]
}

// In place of a client secret, App Service Authentication signs in as the app registration by this identity, which the
// registration has to trust: https://learn.microsoft.com/azure/app-service/configure-authentication-provider-aad
var easyAuthOnly = {
  OVERRIDE_USE_MI_FIC_ASSERTION_CLIENTID: identityClientId
}

// Flex Consumption refuses these: https://learn.microsoft.com/azure/azure-functions/functions-app-settings
var consumptionOnly = {
  FUNCTIONS_EXTENSION_VERSION: '~4'
  FUNCTIONS_WORKER_RUNTIME: 'python'
  // The worker of Python 3.12 brings a protobuf of its own, which would win over the one telemetry is tested with.
  PYTHON_ISOLATE_WORKER_DEPENDENCIES: '1'
  WEBSITE_RUN_FROM_PACKAGE: '${containerUrl}/d365mcp.zip'
  WEBSITE_RUN_FROM_PACKAGE_BLOB_MI_RESOURCE_ID: identityId
}

var given = toObject(filter(items(settings), each => !empty(string(each.value))), each => each.key, each => string(each.value))

var flexConfig = {
  deployment: {
    storage: {
      type: 'blobContainer'
      value: containerUrl
      authentication: {
        type: 'UserAssignedIdentity'
        userAssignedIdentityResourceId: identityId
      }
    }
  }
  runtime: {
    name: 'python'
    version: '3.13'
  }
  scaleAndConcurrency: {
    instanceMemoryMB: instanceMemoryMB
    maximumInstanceCount: maximumInstances
    alwaysReady: alwaysReadyInstances == 0
      ? []
      : [
          {
            name: 'http'
            instanceCount: alwaysReadyInstances
          }
        ]
    triggers: {
      http: {
        // Python's own default is 1: every second caller would start an instance.
        perInstanceConcurrency: instanceConcurrency
      }
    }
  }
  // Recreate kills the calls under way: https://learn.microsoft.com/azure/azure-functions/flex-consumption-site-updates
  siteUpdateStrategy: {
    type: rollingUpdates ? 'RollingUpdate' : 'Recreate'
  }
}

var siteConfig = {
  minTlsVersion: '1.2'
  scmMinTlsVersion: '1.2'
  http20Enabled: true
  cors: {
    allowedOrigins: allowedOrigins
    supportCredentials: false
  }
}

// Flex Consumption refuses these, too, even null:
// https://learn.microsoft.com/azure/azure-functions/functions-app-settings#flex-consumption-plan-deprecations
var consumptionConfig = {
  linuxFxVersion: 'Python|3.12'
  functionAppScaleLimit: min(maximumInstances, 100)
  ftpsState: 'Disabled'
  remoteDebuggingEnabled: false
}

resource storage 'Microsoft.Storage/storageAccounts@2025-01-01' existing = {
  name: storageName
}

resource component 'Microsoft.Insights/components@2020-02-02' existing = {
  name: componentName
}

resource workspace 'Microsoft.OperationalInsights/workspaces@2025-02-01' existing = {
  name: workspaceName
}

resource plan 'Microsoft.Web/serverfarms@2024-11-01' = {
  name: planName
  location: location
  tags: tags
  kind: isFlex ? 'functionapp' : 'linux'
  sku: {
    name: isFlex ? 'FC1' : 'Y1'
    tier: isFlex ? 'FlexConsumption' : 'Dynamic'
  }
  properties: {
    reserved: true
  }
}

resource app 'Microsoft.Web/sites@2024-11-01' = {
  name: name
  location: location
  tags: union(tags, { 'azd-service-name': 'mcp' })
  kind: 'functionapp,linux'
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: {
      '${identityId}': {}
    }
  }
  properties: {
    serverFarmId: plan.id
    httpsOnly: true
    clientAffinityEnabled: false
    keyVaultReferenceIdentity: identityId
    publicNetworkAccess: publicAccess ? 'Enabled' : 'Disabled'
    virtualNetworkSubnetId: empty(subnetId) ? null : subnetId
    // Azure takes siteUpdateStrategy; the compiler's types of Microsoft.Web/sites do not have it up to 2025-03-01.
    #disable-next-line BCP037
    functionAppConfig: isFlex ? flexConfig : null
    siteConfig: isFlex ? siteConfig : union(siteConfig, consumptionConfig)
  }
}

resource appSettings 'Microsoft.Web/sites/config@2024-11-01' = {
  parent: app
  name: 'appsettings'
  // Not filtered all together: what only Azure knows would leave the whole unreadable to what-if.
  properties: union(given, own, easyAuth ? easyAuthOnly : {}, isFlex ? {} : consumptionOnly)
}

resource ftpPassword 'Microsoft.Web/sites/basicPublishingCredentialsPolicies@2024-11-01' = {
  parent: app
  name: 'ftp'
  properties: {
    allow: false
  }
  dependsOn: [appSettings]
}

// One after the other: the platform refuses changes while another is under way.
resource scmPassword 'Microsoft.Web/sites/basicPublishingCredentialsPolicies@2024-11-01' = {
  parent: app
  name: 'scm'
  properties: {
    allow: false
  }
  dependsOn: [ftpPassword]
}

// Website Contributor, on this app alone: to publish the code and read its function keys.
var websiteContributor = 'de139f84-1756-47ae-9be6-808fbbe84772'

resource publisher 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (!empty(operatorId)) {
  scope: app
  name: guid(app.id, operatorId, websiteContributor)
  properties: {
    principalId: operatorId
    principalType: operatorType
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', websiteContributor)
  }
}

resource logs 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = if (diagnostics) {
  scope: app
  name: 'workspace'
  properties: {
    workspaceId: workspace.id
    logs: [
      {
        category: 'FunctionAppLogs'
        enabled: hostLog
      }
    ]
    metrics: [
      {
        category: 'AllMetrics'
        enabled: true
      }
    ]
  }
}

output id string = app.id
output name string = app.name
output hostName string = app.properties.defaultHostName
output packageUrl string = isFlex ? '' : '${containerUrl}/d365mcp.zip'
