param name string
param location string
@allowed(['FlexConsumption', 'Consumption'])
param plan string
param settings object
@minValue(30)
param retentionDays int
@secure()
param clientSecret string = ''
param origins string[] = []

var isFlex = plan == 'FlexConsumption'
var containers = ['package', 'catalog']
var all = [for (each, i) in containers: '${i}-${each}']
var named = toObject(items(settings), setting => setting.key, setting => setting.value)
var readable = filter(all, each => each != 'x' && isFlex)
var identityId = identity.id

func address(host string) string => 'https://${host}'

resource identity 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' = {
  name: 'id-${name}'
  location: location
}

resource storage 'Microsoft.Storage/storageAccounts@2025-01-01' = {
  name: take('st${uniqueString(resourceGroup().id, name)}', 24)
  location: location
  kind: 'StorageV2'
  sku: { name: 'Standard_LRS' }
  properties: {
    allowSharedKeyAccess: false
    minimumTlsVersion: 'TLS1_2'
    networkAcls: isFlex ? { defaultAction: 'Allow' } : { defaultAction: 'Deny', bypass: 'AzureServices' }
  }

  resource blobs 'blobServices' = {
    name: 'default'

    resource container 'containers' = [for each in containers: {
      name: each
      properties: { publicAccess: 'None' }
    }]
  }
}

resource workspace 'Microsoft.OperationalInsights/workspaces@2025-02-01' = {
  name: 'log-${name}'
  location: location
  properties: { retentionInDays: retentionDays, features: { disableLocalAuth: true } }
}

resource vault 'Microsoft.KeyVault/vaults@2024-11-01' existing = {
  name: 'kv-${name}'
}

resource hosting 'Microsoft.Web/serverfarms@2024-11-01' = {
  name: 'plan-${name}'
  location: location
  kind: 'functionapp'
  sku: isFlex ? { name: 'FC1', tier: 'FlexConsumption' } : { name: 'Y1', tier: 'Dynamic' }
  properties: { reserved: true }
}

resource site 'Microsoft.Web/sites@2024-11-01' = {
  name: 'func-${name}'
  location: location
  kind: 'functionapp,linux'
  identity: { type: 'UserAssigned', userAssignedIdentities: { '${identityId}': {} } }
  properties: {
    serverFarmId: hosting.id
    httpsOnly: true
    functionAppConfig: isFlex ? {
      runtime: { name: 'python', version: '3.13' }
      scaleAndConcurrency: { maximumInstanceCount: 40, instanceMemoryMB: 2048 }
    } : null
    siteConfig: union({ ftpsState: 'Disabled', minTlsVersion: '1.2' }, isFlex ? {} : { linuxFxVersion: 'Python|3.12' })
  }

  resource appSettings 'config' = {
    name: 'appsettings'
    properties: union(named, { BLOBS: storage.properties.primaryEndpoints.blob, VAULT: vault.properties.vaultUri, SECRET: clientSecret })
  }
}

resource passwords 'Microsoft.Web/sites/basicPublishingCredentialsPolicies@2024-11-01' = [for way in ['ftp', 'scm']: {
  parent: site
  name: way
  properties: { allow: false }
}]

resource failures 'Microsoft.Insights/scheduledQueryRules@2023-12-01' = if (!empty(readable)) {
  name: 'failures'
  location: location
  tags: { origins: join(origins, ',') }
  properties: {
    scopes: [workspace.id]
    severity: 2
    criteria: {
      allOf: [
        {
          query: '''
            AppDependencies
            | where Success == false'''
          timeAggregation: 'Count'
          operator: 'GreaterThan'
          threshold: 5
        }
      ]
    }
  }
}

output address string = address(site.properties.defaultHostName)
