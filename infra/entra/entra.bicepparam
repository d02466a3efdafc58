// The same variables as main.bicepparam's.
using 'entra.bicep'

param environmentName = readEnvironmentVariable('AZURE_ENV_NAME', 'd365mcp')
param publicUrl = readEnvironmentVariable('MCP_PUBLIC_URL', '')
param clientIds = split(readEnvironmentVariable('CLIENT_IDS', 'aebc6443-996d-45c2-90f0-388ff96faa56'), ',')
param oauthFacade = bool(readEnvironmentVariable('MCP_OAUTH_FACADE', 'false'))
param redirectUris = split(readEnvironmentVariable('MCP_OAUTH_REDIRECT_URIS', 'http://localhost/callback,http://localhost/oauth/callback,http://127.0.0.1/,http://127.0.0.1/callback,http://127.0.0.1/mcp/oauth/callback'), ',')
param d365Auth = replace(readEnvironmentVariable('D365FO_AUTH', 'managed_identity'), 'azure_cli', 'managed_identity')
param identityPrincipalId = readEnvironmentVariable('IDENTITY_PRINCIPAL_ID', '')
