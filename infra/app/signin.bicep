// App Service Authentication: the platform checks tokens and publishes the protected-resource metadata.
// https://learn.microsoft.com/azure/app-service/configure-authentication-mcp

@description('The function app.')
param appName string

@description('false turns it off: left out, it would stay on from an earlier deployment.')
param enabled bool

@description('Client id of the app registration callers sign in to.')
param clientId string

@description('Application ID URIs of that registration, beside api://CLIENT-ID.')
param audiences array

@description('Client ids that may call; every other is refused with 403.')
param clientIds array

var checked = {
  platform: {
    enabled: true
    runtimeVersion: '~1'
  }
  globalValidation: {
    requireAuthentication: true
    unauthenticatedClientAction: 'Return401'
    excludedPaths: ['/health']
  }
  httpSettings: {
    requireHttps: true
  }
  identityProviders: {
    azureActiveDirectory: {
      enabled: true
      registration: {
        clientId: clientId
        // A setting that names an identity, and so no secret: function.bicep.
        clientSecretSettingName: 'OVERRIDE_USE_MI_FIC_ASSERTION_CLIENTID'
        openIdIssuer: '${environment().authentication.loginEndpoint}${tenant().tenantId}/v2.0'
      }
      validation: {
        allowedAudiences: union([clientId, 'api://${clientId}'], audiences)
        defaultAuthorizationPolicy: {
          allowedApplications: clientIds
        }
      }
    }
  }
  login: {
    tokenStore: {
      enabled: false
    }
  }
}

resource app 'Microsoft.Web/sites@2024-11-01' existing = {
  name: appName
}

resource authentication 'Microsoft.Web/sites/config@2024-11-01' = {
  parent: app
  name: 'authsettingsV2'
  properties: enabled ? checked : { platform: { enabled: false } }
}
