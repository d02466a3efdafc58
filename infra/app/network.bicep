// A network of the app's own: a subnet its calls leave through, and one for private endpoints with their names.

@description('Region of the network.')
param location string

@description('Tags of all in it.')
param tags object

@description('Name of the network.')
param name string

@description('Address range, /24 or wider; pick one that meets no other network it is to be peered with.')
param addressPrefix string

@description('Name of the NAT gateway that gives calls to F&O one fixed address; empty for none.')
param natGatewayName string

@description('Name of that address.')
param publicIpName string

resource address 'Microsoft.Network/publicIPAddresses@2024-07-01' = if (!empty(natGatewayName)) {
  name: publicIpName
  location: location
  tags: tags
  sku: {
    name: 'Standard'
  }
  properties: {
    publicIPAllocationMethod: 'Static'
  }
}

resource gateway 'Microsoft.Network/natGateways@2024-07-01' = if (!empty(natGatewayName)) {
  name: natGatewayName
  location: location
  tags: tags
  sku: {
    name: 'Standard'
  }
  properties: {
    publicIpAddresses: [
      {
        id: address.id
      }
    ]
  }
}

// Subnets stand inside: as resources of their own, each deployment would take them out of the network and put them back.
resource network 'Microsoft.Network/virtualNetworks@2024-07-01' = {
  name: name
  location: location
  tags: tags
  properties: {
    addressSpace: {
      addressPrefixes: [addressPrefix]
    }
    subnets: [
      {
        name: 'app'
        properties: {
          addressPrefix: cidrSubnet(addressPrefix, 26, 0)
          natGateway: empty(natGatewayName) ? null : { id: gateway.id }
          delegations: [
            {
              name: 'flex-consumption'
              properties: {
                serviceName: 'Microsoft.App/environments'
              }
            }
          ]
        }
      }
      {
        name: 'endpoints'
        properties: {
          addressPrefix: cidrSubnet(addressPrefix, 26, 1)
        }
      }
    ]
  }
}

output id string = network.id
output appSubnetId string = '${network.id}/subnets/app'
output endpointSubnetId string = '${network.id}/subnets/endpoints'
