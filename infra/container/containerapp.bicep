// Runs the image of Dockerfile on Container Apps: az deployment group create -f infra/container/containerapp.bicep -p …
targetScope = 'resourceGroup'

@description('The container app\'s name, part of its address.')
@minLength(2)
@maxLength(32)
param name string = 'd365mcp'

@description('Where it runs: the region of the environment.')
param location string = resourceGroup().location

@description('The Container Apps environment, in this resource group.')
param environmentName string

@description('The image, such as contoso.azurecr.io/d365mcp:1.0.0.')
param image string

@description('A user-assigned identity in this resource group. F&O knows its client id; it pulls the image (AcrPull) and reads the vault (Key Vault Secrets User).')
param identityName string

@description('The vault, in this resource group, that holds the secrets mcp-function-key, mcp-master-key and mcp-cursor-key.')
param vaultName string

@description('The F&O environment, such as https://contoso.operations.dynamics.com.')
param d365BaseUrl string

@description('Blob service that keeps the metadata catalog, a storage account\'s primaryEndpoints.blob; none: no catalog.')
param blobServiceUri string = ''

@description('Where telemetry goes; the identity needs Monitoring Metrics Publisher there. None: no telemetry.')
param applicationInsightsConnectionString string = ''

@description('Replicas that are always there. The nightly catalog needs one: a timer does not wake a container app.')
@minValue(0)
@maxValue(100)
param minReplicas int = empty(blobServiceUri) ? 0 : 1

@description('Replicas at most.')
@minValue(1)
@maxValue(100)
param maxReplicas int = 10

@description('Requests at once for which one more replica is started; below host.json\'s maxConcurrentRequests.')
@minValue(1)
@maxValue(100)
param requestsPerReplica int = 50

resource environment 'Microsoft.App/managedEnvironments@2025-01-01' existing = {
  name: environmentName
}

resource identity 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' existing = {
  name: identityName
}

resource vault 'Microsoft.KeyVault/vaults@2024-11-01' existing = {
  name: vaultName
}

var port = 8080
var hostName = '${name}.${environment.properties.defaultDomain}'
var probe = { path: '/health', port: port }

var settings = [
  { name: 'D365FO_BASE_URL', value: d365BaseUrl }
  { name: 'D365FO_AUTH', value: 'managed_identity' }
  { name: 'AZURE_CLIENT_ID', value: identity.properties.clientId }
  { name: 'MCP_AUTH', value: 'function_key' }
  { name: 'MCP_ALLOWED_HOSTS', value: hostName }
  { name: 'MCP_CURSOR_KEY', secretRef: 'cursor-key' }
]

var storageSettings = [
  { name: 'AzureWebJobsStorage__blobServiceUri', value: blobServiceUri }
  { name: 'AzureWebJobsStorage__credential', value: 'managedidentity' }
  { name: 'AzureWebJobsStorage__clientId', value: identity.properties.clientId }
]

var telemetrySettings = [
  { name: 'APPLICATIONINSIGHTS_CONNECTION_STRING', value: applicationInsightsConnectionString }
  {
    name: 'APPLICATIONINSIGHTS_AUTHENTICATION_STRING'
    value: 'ClientId=${identity.properties.clientId};Authorization=AAD'
  }
]

resource app 'Microsoft.App/containerApps@2025-01-01' = {
  name: name
  location: location
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: { '${identity.id}': {} }
  }
  properties: {
    environmentId: environment.id
    configuration: {
      activeRevisionsMode: 'Single'
      ingress: {
        external: true
        targetPort: port
        transport: 'http'
        allowInsecure: false
      }
      registries: [{ server: split(image, '/')[0], identity: identity.id }]
      secrets: [
        { name: 'function-key', keyVaultUrl: '${vault.properties.vaultUri}secrets/mcp-function-key', identity: identity.id }
        { name: 'master-key', keyVaultUrl: '${vault.properties.vaultUri}secrets/mcp-master-key', identity: identity.id }
        { name: 'cursor-key', keyVaultUrl: '${vault.properties.vaultUri}secrets/mcp-cursor-key', identity: identity.id }
      ]
    }
    template: {
      containers: [
        {
          name: 'd365mcp'
          image: image
          resources: { cpu: json('0.5'), memory: '1Gi' }
          env: concat(
            settings,
            empty(blobServiceUri) ? [] : storageSettings,
            empty(applicationInsightsConnectionString) ? [] : telemetrySettings
          )
          probes: [
            { type: 'Startup', httpGet: probe, periodSeconds: 3, failureThreshold: 30 }
            { type: 'Liveness', httpGet: probe, periodSeconds: 15 }
            { type: 'Readiness', httpGet: probe, periodSeconds: 5 }
          ]
          volumeMounts: [{ volumeName: 'functions-keys', mountPath: '/run/secrets/functions-keys' }]
        }
      ]
      scale: {
        minReplicas: minReplicas
        maxReplicas: maxReplicas
        rules: [{ name: 'requests', http: { metadata: { concurrentRequests: string(requestsPerReplica) } } }]
      }
      // The Functions host reads its keys from these files; the second opens every function that asks for one.
      volumes: [
        {
          name: 'functions-keys'
          storageType: 'Secret'
          secrets: [
            { secretRef: 'master-key', path: 'host.master' }
            { secretRef: 'function-key', path: 'host.function.default' }
          ]
        }
      ]
    }
  }
}

@description('What MCP clients are given.')
output endpoint string = 'https://${hostName}/mcp'
