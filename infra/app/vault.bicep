// A vault for the secrets that cannot be avoided. A value left empty keeps the one that is there.

@description('Region of the vault.')
param location string

@description('Tags of the vault.')
param tags object

@description('Name of the vault, unique in Azure.')
@minLength(3)
@maxLength(24)
param name string

@description('false: only the private endpoint reaches the secrets.')
param publicAccess bool

@description('The client secret that signs in to F&O.')
@secure()
param clientSecret string

@description('The keys that seal cursors.')
@secure()
param cursorKey string

@description('When the secrets given here run out.')
param expireOn string

@description('The workspace that keeps the audit log; empty for none.')
param workspaceName string

resource vault 'Microsoft.KeyVault/vaults@2024-11-01' = {
  name: name
  location: location
  tags: tags
  properties: {
    tenantId: tenant().tenantId
    sku: {
      family: 'A'
      name: 'standard'
    }
    enableRbacAuthorization: true
    enablePurgeProtection: true
    softDeleteRetentionInDays: 7
    publicNetworkAccess: publicAccess ? 'Enabled' : 'Disabled'
    networkAcls: {
      bypass: 'None'
      defaultAction: publicAccess ? 'Allow' : 'Deny'
    }
  }
}

resource d365Secret 'Microsoft.KeyVault/vaults/secrets@2024-11-01' = if (!empty(clientSecret)) {
  parent: vault
  name: 'd365fo-client-secret'
  properties: {
    value: clientSecret
    attributes: { exp: dateTimeToEpoch(expireOn) }
    contentType: 'D365FO_CLIENT_SECRET'
  }
}

resource cursorSecret 'Microsoft.KeyVault/vaults/secrets@2024-11-01' = if (!empty(cursorKey)) {
  parent: vault
  name: 'cursor-key'
  properties: {
    value: cursorKey
    attributes: { exp: dateTimeToEpoch(expireOn) }
    contentType: 'MCP_CURSOR_KEY'
  }
}

resource workspace 'Microsoft.OperationalInsights/workspaces@2025-02-01' existing = if (!empty(workspaceName)) {
  name: workspaceName
}

resource audit 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = if (!empty(workspaceName)) {
  scope: vault
  name: 'workspace'
  properties: {
    workspaceId: workspace.id
    logs: [
      {
        categoryGroup: 'audit'
        enabled: true
      }
    ]
  }
}

output id string = vault.id
output name string = vault.name
