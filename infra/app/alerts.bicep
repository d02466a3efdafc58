// What wakes the operator, and the queries that measure it: alerts/*.kql.

@description('Region of the rules.')
param location string

@description('Tags of the rules.')
param tags object

@description('The Log Analytics workspace.')
param workspaceName string

@description('Name of the action group.')
param actionGroupName string

@description('Who gets an e-mail.')
param emails array

@description('Resource ids of action groups that exist already.')
param actionGroupIds array

@description('Name of the app, for the rules\' names.')
param appName string

@description('p95 of the tools, in milliseconds, above which they are slow.')
param p95ThresholdMs int

@description('Percentage of failed tool calls above which they are failing.')
param errorRatePercent int

@description('Throttled F&O calls in a quarter of an hour above which it is too many.')
param throttleThreshold int

var rules = [
  {
    name: 'slow'
    title: 'tools are slow'
    text: 'p95 of the tools is above ${p95ThresholdMs} ms.'
    severity: 2
    query: loadTextContent('alerts/slow.kql')
    column: 'p95_ms'
    operator: 'GreaterThan'
    threshold: p95ThresholdMs
    window: 'PT15M'
    every: 'PT15M'
  }
  {
    name: 'failing'
    title: 'tools are failing'
    text: 'More than ${errorRatePercent} % of the tool calls fail, mistakes of the caller left aside.'
    severity: 1
    query: loadTextContent('alerts/failing.kql')
    column: 'error_percent'
    operator: 'GreaterThan'
    threshold: errorRatePercent
    window: 'PT15M'
    every: 'PT5M'
  }
  {
    name: 'unavailable'
    title: 'the app does not answer'
    text: 'More than ${errorRatePercent} % of the requests to the MCP endpoint end with a 5xx status, or learn that it is busy or not ready.'
    severity: 1
    query: loadTextContent('alerts/unavailable.kql')
    column: 'error_percent'
    operator: 'GreaterThan'
    threshold: errorRatePercent
    window: 'PT15M'
    every: 'PT5M'
  }
  {
    name: 'silent'
    title: 'the app is dead'
    text: 'Nothing of the app was heard for half an hour, not even its timer, which runs every five minutes.'
    severity: 1
    query: loadTextContent('alerts/silent.kql')
    column: 'runs'
    operator: 'LessThan'
    threshold: 1
    window: 'PT30M'
    every: 'PT15M'
  }
  {
    name: 'throttled'
    title: 'F&O is throttling'
    text: 'F&O turned away more than ${throttleThreshold} calls.'
    severity: 2
    query: loadTextContent('alerts/throttled.kql')
    column: 'throttles'
    operator: 'GreaterThan'
    threshold: throttleThreshold
    window: 'PT15M'
    every: 'PT15M'
  }
  {
    name: 'catalog'
    title: 'the catalog cannot be built'
    text: 'A build of the metadata catalog failed: search and schemas grow old.'
    severity: 3
    query: loadTextContent('alerts/catalog.kql')
    column: 'failures'
    operator: 'GreaterThan'
    threshold: 0
    window: 'PT1H'
    every: 'PT15M'
  }
  {
    name: 'blind'
    title: 'telemetry has stopped for today'
    text: 'The daily cap of the workspace is reached: until tomorrow no other alert sees anything.'
    severity: 2
    query: loadTextContent('alerts/blind.kql')
    column: 'notices'
    operator: 'GreaterThan'
    threshold: 0
    window: 'PT1H'
    every: 'PT15M'
  }
]

resource workspace 'Microsoft.OperationalInsights/workspaces@2025-02-01' existing = {
  name: workspaceName
}

resource people 'Microsoft.Insights/actionGroups@2023-01-01' = if (!empty(emails)) {
  name: actionGroupName
  location: 'global'
  tags: tags
  properties: {
    enabled: true
    groupShortName: 'd365mcp'
    emailReceivers: [
      for (email, index) in emails: {
        name: 'email-${index}'
        emailAddress: email
        useCommonAlertSchema: true
      }
    ]
  }
}

resource alerts 'Microsoft.Insights/scheduledQueryRules@2023-12-01' = [
  for rule in rules: {
    name: '${appName}-${rule.name}'
    location: location
    tags: tags
    kind: 'LogAlert'
    properties: {
      displayName: '${appName}: ${rule.title}'
      description: rule.text
      severity: rule.severity
      enabled: true
      autoMitigate: true
      scopes: [workspace.id]
      evaluationFrequency: rule.every
      windowSize: rule.window
      // On a new workspace the tables come with the first rows.
      skipQueryValidation: true
      criteria: {
        allOf: [
          {
            query: rule.query
            metricMeasureColumn: rule.column
            timeAggregation: 'Maximum'
            operator: rule.operator
            threshold: rule.threshold
            failingPeriods: {
              numberOfEvaluationPeriods: 1
              minFailingPeriodsToAlert: 1
            }
          }
        ]
      }
      actions: {
        actionGroups: concat(actionGroupIds, empty(emails) ? [] : [people.id])
      }
    }
  }
]
