targetScope = 'subscription'

@description('Names all resources.')
@minLength(3)
param name string
param location string = deployment().location
@allowed(['FlexConsumption', 'Consumption'])
param plan string = 'FlexConsumption'
param settings object = {}
@secure()
param clientSecret string = ''

var tags = { app: name }

resource group 'Microsoft.Resources/resourceGroups@2025-04-01' = {
  name: 'rg-${name}'
  location: location
  tags: tags
}

module app 'app.bicep' = {
  name: 'app'
  scope: group
  params: {
    name: name
    location: location
    plan: plan
    // Comments may stand anywhere.
    settings: union(settings, { D365FO_BASE_URL: 'https://contoso.operations.dynamics.com' })
    clientSecret: clientSecret
    retentionDays: 30
  }
}

output endpoint string = '${app.outputs.address}/mcp'
