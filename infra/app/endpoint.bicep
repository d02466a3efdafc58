// One private endpoint, and the private zone in which its name is found.

@description('Region of the endpoint.')
param location string

@description('Tags of the endpoint and the zone.')
param tags object

@description('Name of the endpoint.')
param name string

@description('Resource id of what it leads to.')
param targetId string

@description('What of it: blob, vault or sites.')
@allowed(['blob', 'vault', 'sites'])
param part string

@description('The network that asks the zone.')
param networkId string

@description('The subnet the endpoint stands in.')
param subnetId string

// By region: environment() is known to Azure alone, and who looks before a deployment shall read names.
var region = replace(location, ' ', '')
var isGovernment = startsWith(region, 'usgov') || startsWith(region, 'usdod')
var cloud = startsWith(region, 'china') ? 'china' : isGovernment ? 'government' : 'public'
var zones = loadJsonContent('zones.json')

resource zone 'Microsoft.Network/privateDnsZones@2024-06-01' = {
  name: zones[cloud][part]
  location: 'global'
  tags: tags
}

resource link 'Microsoft.Network/privateDnsZones/virtualNetworkLinks@2024-06-01' = {
  parent: zone
  name: uniqueString(networkId)
  location: 'global'
  properties: {
    registrationEnabled: false
    virtualNetwork: {
      id: networkId
    }
  }
}

resource endpoint 'Microsoft.Network/privateEndpoints@2024-07-01' = {
  name: name
  location: location
  tags: tags
  properties: {
    subnet: {
      id: subnetId
    }
    privateLinkServiceConnections: [
      {
        name: part
        properties: {
          privateLinkServiceId: targetId
          groupIds: [part]
        }
      }
    ]
  }
}

resource record 'Microsoft.Network/privateEndpoints/privateDnsZoneGroups@2024-07-01' = {
  parent: endpoint
  name: 'default'
  properties: {
    privateDnsZoneConfigs: [
      {
        name: part
        properties: {
          privateDnsZoneId: zone.id
        }
      }
    ]
  }
}
