// What az and azd take from the environment: `export NAME=VALUE`, or `azd env set NAME VALUE`. azd sets the first four
// itself. Lists are separated by commas. Only D365FO_BASE_URL has to be given.
using 'main.bicep'

param environmentName = readEnvironmentVariable('AZURE_ENV_NAME', 'd365mcp')
param location = readEnvironmentVariable('AZURE_LOCATION', 'westeurope')
param operatorId = readEnvironmentVariable('AZURE_PRINCIPAL_ID', '')
param operatorType = readEnvironmentVariable('AZURE_PRINCIPAL_TYPE', 'User')
param operatorClientId = readEnvironmentVariable('OPERATOR_CLIENT_ID', '')
param resourceGroupName = readEnvironmentVariable('AZURE_RESOURCE_GROUP', '')

param d365BaseUrl = readEnvironmentVariable('D365FO_BASE_URL')
// azure_cli is how a laptop signs in, where somebody tried the server first; an app has its identity.
param d365Auth = replace(readEnvironmentVariable('D365FO_AUTH', 'managed_identity'), 'azure_cli', 'managed_identity')
param d365TenantId = readEnvironmentVariable('D365FO_TENANT_ID', '')
param d365ClientId = readEnvironmentVariable('D365FO_CLIENT_ID', '')
param d365ClientSecret = readEnvironmentVariable('D365FO_CLIENT_SECRET', '')

param authentication = readEnvironmentVariable('AUTHENTICATION', 'functionKey')
param authClientId = readEnvironmentVariable('MCP_CLIENT_ID', '')
param authAudiences = filter(split(readEnvironmentVariable('MCP_AUDIENCES', ''), ','), each => !empty(each))
param clientIds = split(readEnvironmentVariable('CLIENT_IDS', 'aebc6443-996d-45c2-90f0-388ff96faa56'), ',')
param oauthFacade = bool(readEnvironmentVariable('MCP_OAUTH_FACADE', 'false'))
param facadeClientId = readEnvironmentVariable('MCP_OAUTH_CLIENT_ID', '')
param redirectUris = split(readEnvironmentVariable('MCP_OAUTH_REDIRECT_URIS', 'http://localhost/callback,http://localhost/oauth/callback,http://127.0.0.1/,http://127.0.0.1/callback,http://127.0.0.1/mcp/oauth/callback'), ',')
param publicUrl = readEnvironmentVariable('MCP_PUBLIC_URL', '')
param allowedOrigins = filter(split(readEnvironmentVariable('MCP_ALLOWED_ORIGINS', ''), ','), each => !empty(each))

param readOnly = bool(readEnvironmentVariable('MCP_READ_ONLY', 'true'))
param settings = union({
  D365FO_ALLOWED_ACTIONS: readEnvironmentVariable('D365FO_ALLOWED_ACTIONS', '')
  D365FO_ALLOWED_SERVICES: readEnvironmentVariable('D365FO_ALLOWED_SERVICES', '')
  D365FO_COMPANIES: readEnvironmentVariable('D365FO_COMPANIES', '')
  D365FO_LANGUAGES: readEnvironmentVariable('D365FO_LANGUAGES', '')
  D365FO_WRITABLE_ENTITIES: readEnvironmentVariable('D365FO_WRITABLE_ENTITIES', '')
  MCP_ALLOWED_HOSTS: readEnvironmentVariable('MCP_ALLOWED_HOSTS', '')
  MCP_CATALOG_REVALIDATE_SECONDS: readEnvironmentVariable('MCP_CATALOG_REVALIDATE_SECONDS', '')
  MCP_CATALOG_SCHEDULE: readEnvironmentVariable('MCP_CATALOG_SCHEDULE', '')
  MCP_CONNECTION_POOL_SIZE: readEnvironmentVariable('MCP_CONNECTION_POOL_SIZE', '')
  MCP_MAX_CONCURRENT_REQUESTS: readEnvironmentVariable('MCP_MAX_CONCURRENT_REQUESTS', '')
  MCP_MAX_DOCUMENT_BYTES: readEnvironmentVariable('MCP_MAX_DOCUMENT_BYTES', '')
  MCP_MAX_RESULT_CHARS: readEnvironmentVariable('MCP_MAX_RESULT_CHARS', '')
  MCP_PERFORMANCE_MONITORING: readEnvironmentVariable('MCP_PERFORMANCE_MONITORING', '')
  MCP_REQUEST_TIMEOUT: readEnvironmentVariable('MCP_REQUEST_TIMEOUT', '')
  MCP_RESULT_FORM: readEnvironmentVariable('MCP_RESULT_FORM', '')
  MCP_TOOLSETS: readEnvironmentVariable('MCP_TOOLSETS', '')
  // Not given, it is true where callers sign in.
}, empty(readEnvironmentVariable('MCP_REQUIRE_ROLES', '')) ? {} : {
  MCP_REQUIRE_ROLES: readEnvironmentVariable('MCP_REQUIRE_ROLES', '')
})
param cursorKeyFromVault = bool(readEnvironmentVariable('CURSOR_KEY_FROM_VAULT', 'false'))
param cursorKey = readEnvironmentVariable('MCP_CURSOR_KEY', '')

param hostingPlan = readEnvironmentVariable('HOSTING_PLAN', 'FlexConsumption')
// any(): the compiler knows 512, 2048 and 4096, and of int() only that it makes some number; a wrong one is refused later.
param instanceMemoryMB = any(int(readEnvironmentVariable('INSTANCE_MEMORY_MB', '2048')))
param maximumInstances = int(readEnvironmentVariable('MAXIMUM_INSTANCES', '20'))
param rollingUpdates = bool(readEnvironmentVariable('ROLLING_UPDATES', 'true'))
param alwaysReadyInstances = int(readEnvironmentVariable('ALWAYS_READY_INSTANCES', '0'))
param networking = readEnvironmentVariable('NETWORKING', 'public')
param alertEmails = filter(split(readEnvironmentVariable('ALERT_EMAILS', ''), ','), each => !empty(each))
