// The Entra app registration callers sign in to. The one file that speaks to Microsoft Graph: who deploys it needs
// Application.ReadWrite.All there, and DelegatedPermissionGrant.ReadWrite.All for a façade or on_behalf_of. It may be
// deployed alone, by somebody else; its outputs are then parameters of resources.bicep.
extension microsoftGraphV1

@description('Name of the registration, which never changes; its scopes are called api://TENANT/NAME/….')
@minLength(3)
@maxLength(60)
param uniqueName string

@description('Name people see when they sign in.')
param displayName string

@description('Address of the MCP server on a domain the tenant has verified, e.g. https://mcp.contoso.com: becomes a name of the registration too, for clients that send `resource`. Empty where there is none, such as azurewebsites.net.')
param publicUrl string = ''

@description('Client ids that may ask for tokens without anybody\'s consent. The default is VS Code\'s.')
param clientIds array = ['aebc6443-996d-45c2-90f0-388ff96faa56']

@description('Whether to make, beside it, the public client that all sign in as with the façade (MCP_OAUTH_FACADE).')
param facade bool = false

@description('Where the façade\'s sign-ins may return to.')
param redirectUris array = []

@description('Object id of the app\'s managed identity, which may then exchange callers\' tokens (on_behalf_of); empty for none.')
param identityPrincipalId string = ''

var ownUri = 'api://${tenant().tenantId}/${uniqueName}'
var identifierUris = empty(publicUrl) ? [ownUri] : ['${publicUrl}/mcp', ownUri]

var actsForCallers = !empty(identityPrincipalId)

var roles = [
  {
    name: 'D365.Read'
    does: 'Read data of Dynamics 365 Finance & Operations'
    consent: 'User'
  }
  {
    name: 'D365.Write'
    does: 'Read and change data of Dynamics 365 Finance & Operations'
    consent: 'Admin'
  }
  {
    name: 'D365.Admin'
    does: 'Read and change data of Dynamics 365 Finance & Operations, rebuild the catalog, reset the statistics'
    consent: 'Admin'
  }
]

// Odata, CustomService and AX.FullAccess of Dynamics ERP: what on_behalf_of asks for.
var dynamicsErp = {
  resourceAppId: '00000015-0000-0000-c000-000000000000'
  resourceAccess: [
    {
      id: 'a849e696-ce45-464a-81de-e5c5b45519c1'
      type: 'Scope'
    }
    {
      id: 'ad8b4a5c-eecd-431a-a46f-33c060012ae1'
      type: 'Scope'
    }
    {
      id: '6397893c-2260-496b-a41d-2f1f15b16ff3'
      type: 'Scope'
    }
  ]
}

resource registration 'Microsoft.Graph/applications@v1.0' = {
  uniqueName: uniqueName
  displayName: displayName
  signInAudience: 'AzureADMyOrg'
  identifierUris: identifierUris
  api: {
    requestedAccessTokenVersion: 2
    oauth2PermissionScopes: [
      for role in roles: {
        id: guid(uniqueName, 'scope', role.name)
        value: role.name
        type: role.consent
        isEnabled: true
        adminConsentDisplayName: role.does
        adminConsentDescription: '${role.does}, as the signed-in user.'
        userConsentDisplayName: role.does
        userConsentDescription: '${role.does}, as you.'
      }
    ]
    preAuthorizedApplications: [
      for id in clientIds: {
        appId: id
        delegatedPermissionIds: map(roles, role => guid(uniqueName, 'scope', role.name))
      }
    ]
  }
  appRoles: [
    for role in roles: {
      id: guid(uniqueName, 'role', role.name)
      value: role.name
      displayName: role.name
      description: role.does
      isEnabled: true
      allowedMemberTypes: ['User', 'Application']
    }
  ]
  requiredResourceAccess: actsForCallers ? [dynamicsErp] : []

  resource vouching 'federatedIdentityCredentials@v1.0' = if (actsForCallers) {
    name: '${registration.uniqueName}/managed-identity'
    audiences: ['api://AzureADTokenExchange']
    issuer: '${environment().authentication.loginEndpoint}${tenant().tenantId}/v2.0'
    subject: identityPrincipalId
  }
}

// Only those to whom an administrator gives one of the roles get a token.
resource enterpriseApplication 'Microsoft.Graph/servicePrincipals@v1.0' = {
  appId: registration.appId
  appRoleAssignmentRequired: true
}

resource publicClient 'Microsoft.Graph/applications@v1.0' = if (facade) {
  uniqueName: '${uniqueName}-clients'
  displayName: '${displayName}, clients'
  signInAudience: 'AzureADMyOrg'
  isFallbackPublicClient: true
  publicClient: {
    redirectUris: redirectUris
  }
}

resource publicEnterpriseApplication 'Microsoft.Graph/servicePrincipals@v1.0' = if (facade) {
  appId: publicClient.appId
}

// Nobody is asked for consent: what people may do is decided by the roles they are given.
resource granted 'Microsoft.Graph/oauth2PermissionGrants@v1.0' = if (facade) {
  clientId: publicEnterpriseApplication.id
  consentType: 'AllPrincipals'
  resourceId: enterpriseApplication.id
  scope: join(map(roles, role => role.name), ' ')
}

resource microsoftGraph 'Microsoft.Graph/servicePrincipals@v1.0' existing = if (facade) {
  appId: '00000003-0000-0000-c000-000000000000'
}

resource staySignedIn 'Microsoft.Graph/oauth2PermissionGrants@v1.0' = if (facade) {
  clientId: publicEnterpriseApplication.id
  consentType: 'AllPrincipals'
  resourceId: microsoftGraph.id
  scope: 'offline_access openid profile'
}

resource dynamicsErpApplication 'Microsoft.Graph/servicePrincipals@v1.0' existing = if (actsForCallers) {
  appId: dynamicsErp.resourceAppId
}

resource actForCallers 'Microsoft.Graph/oauth2PermissionGrants@v1.0' = if (actsForCallers) {
  clientId: enterpriseApplication.id
  consentType: 'AllPrincipals'
  resourceId: dynamicsErpApplication.id
  scope: 'Odata.FullAccess CustomService.FullAccess AX.FullAccess'
}

@description('Client id callers sign in to: authClientId of resources.bicep.')
output clientId string = registration.appId

@description('Its names in Entra, the first for its scopes: authAudiences.')
output identifierUris array = identifierUris

@description('Client id of the façade\'s public client: facadeClientId.')
output facadeClientId string = facade ? publicClient.appId : ''
