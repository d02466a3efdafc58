// The Entra app registration callers sign in to: a deployment of its own, whose outputs are parameters of ../main.bicep.
//   az deployment sub create --location REGION --parameters infra/entra/entra.bicepparam
// Needs Bicep 0.36.1 or newer, which fetches the types of Microsoft Graph from a registry, and the rights there of
// Application.ReadWrite.All, for a façade or on_behalf_of DelegatedPermissionGrant.ReadWrite.All as well.
targetScope = 'subscription'

extension microsoftGraphV1

@description('Name of the deployment it is for, the same as in ../main.bicep.')
@minLength(1)
@maxLength(32)
param environmentName string

@description('Where clients find the server when not at the app\'s own name, e.g. https://mcp.contoso.com. Without a façade its domain must be verified in the tenant: it becomes a name of the registration, for clients that send `resource`.')
param publicUrl string = ''

@description('Client ids that may ask for tokens without anybody\'s consent. The default is VS Code\'s.')
@minLength(1)
param clientIds array = ['aebc6443-996d-45c2-90f0-388ff96faa56']

@description('Makes, beside it, the public client that all sign in as with the façade (MCP_OAUTH_FACADE).')
param oauthFacade bool = false

@description('Where the façade\'s sign-ins may return to.')
@minLength(1)
param redirectUris array = ['http://localhost/callback', 'http://localhost/oauth/callback', 'http://127.0.0.1/', 'http://127.0.0.1/callback', 'http://127.0.0.1/mcp/oauth/callback']

@description('Output identityPrincipalId of ../main.bicep: that identity may then sign in as the registration, for easyAuth and on_behalf_of; empty for none.')
param identityPrincipalId string = ''

@description('The identity F&O is called with, as in ../main.bicep: with on_behalf_of the registration may exchange callers\' tokens.')
@allowed(['managed_identity', 'client_secret', 'on_behalf_of'])
param d365Auth string = 'managed_identity'

// Of the whole tenant, and never changed.
var uniqueName = 'd365mcp-${uniqueString(subscription().id, environmentName)}'
var displayName = 'd365mcp ${environmentName}'

var ownUri = 'api://${tenant().tenantId}/${uniqueName}'
var identifierUris = empty(publicUrl) || oauthFacade ? [ownUri] : ['${publicUrl}/mcp', ownUri]

var trustsIdentity = !empty(identityPrincipalId)
var actsForCallers = trustsIdentity && d365Auth == 'on_behalf_of'

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

  resource vouching 'federatedIdentityCredentials@v1.0' = if (trustsIdentity) {
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

resource publicClient 'Microsoft.Graph/applications@v1.0' = if (oauthFacade) {
  uniqueName: '${uniqueName}-clients'
  displayName: '${displayName}, clients'
  signInAudience: 'AzureADMyOrg'
  isFallbackPublicClient: true
  publicClient: {
    redirectUris: redirectUris
  }
}

resource publicEnterpriseApplication 'Microsoft.Graph/servicePrincipals@v1.0' = if (oauthFacade) {
  appId: publicClient!.appId
}

// Nobody is asked for consent: what people may do is decided by the roles they are given.
resource granted 'Microsoft.Graph/oauth2PermissionGrants@v1.0' = if (oauthFacade) {
  clientId: publicEnterpriseApplication!.id
  consentType: 'AllPrincipals'
  resourceId: enterpriseApplication.id
  scope: join(map(roles, role => role.name), ' ')
}

resource microsoftGraph 'Microsoft.Graph/servicePrincipals@v1.0' existing = if (oauthFacade) {
  appId: '00000003-0000-0000-c000-000000000000'
}

resource staySignedIn 'Microsoft.Graph/oauth2PermissionGrants@v1.0' = if (oauthFacade) {
  clientId: publicEnterpriseApplication!.id
  consentType: 'AllPrincipals'
  resourceId: microsoftGraph!.id
  scope: 'offline_access openid profile'
}

resource dynamicsErpApplication 'Microsoft.Graph/servicePrincipals@v1.0' existing = if (actsForCallers) {
  appId: dynamicsErp.resourceAppId
}

resource actForCallers 'Microsoft.Graph/oauth2PermissionGrants@v1.0' = if (actsForCallers) {
  clientId: enterpriseApplication.id
  consentType: 'AllPrincipals'
  resourceId: dynamicsErpApplication!.id
  scope: 'Odata.FullAccess CustomService.FullAccess AX.FullAccess'
}

@description('Client id callers sign in to: parameter authClientId.')
output authClientId string = registration.appId

@description('Its names in Entra, the first for its scopes: parameter authAudiences.')
output authAudiences array = identifierUris

@description('Client id of the façade\'s public client: parameter facadeClientId.')
output facadeClientId string = oauthFacade ? publicClient!.appId : ''
