// The workbook an operator opens first: calls, times, F&O's share, throttling, cold starts and instances on one page.
// Its queries stand in workbook/; {Server} and {TimeRange:grain} in them are what is chosen at the top of the page.

@description('Region of the workbook.')
param location string

@description('Tags of the workbook.')
param tags object

@description('Title of the workbook.')
param displayName string

@description('The Log Analytics workspace it asks.')
param workspaceName string

var panels = [
  {
    name: 'summary'
    title: 'In short'
    query: loadTextContent('workbook/summary.kql')
    visualization: 'table'
    width: '100'
  }
  {
    name: 'calls'
    title: 'Tool calls by outcome'
    query: loadTextContent('workbook/calls.kql')
    visualization: 'barchart'
    width: '50'
  }
  {
    name: 'percentiles'
    title: 'Milliseconds of a tool call'
    query: loadTextContent('workbook/percentiles.kql')
    visualization: 'linechart'
    width: '50'
  }
  {
    name: 'tools'
    title: 'Tools'
    query: loadTextContent('workbook/tools.kql')
    visualization: 'table'
    width: '100'
  }
  {
    name: 'share'
    title: 'Share of F&O and of waiting, in percent'
    query: loadTextContent('workbook/share.kql')
    visualization: 'linechart'
    width: '50'
  }
  {
    name: 'throttles'
    title: 'Throttling by F&O, and retries'
    query: loadTextContent('workbook/throttles.kql')
    visualization: 'barchart'
    width: '50'
  }
  {
    name: 'cold_starts'
    title: 'Cold starts'
    query: loadTextContent('workbook/cold_starts.kql')
    visualization: 'barchart'
    width: '50'
  }
  {
    name: 'instances'
    title: 'Instances'
    query: loadTextContent('workbook/instances.kql')
    visualization: 'linechart'
    width: '50'
  }
  {
    name: 'first'
    title: 'First answers of new processes'
    query: loadTextContent('workbook/first.kql')
    visualization: 'table'
    width: '50'
  }
  {
    name: 'failures'
    title: 'Failures'
    query: loadTextContent('workbook/failures.kql')
    visualization: 'table'
    width: '50'
  }
  {
    name: 'd365'
    title: 'Costliest calls to F&O'
    query: loadTextContent('workbook/d365.kql')
    visualization: 'table'
    width: '100'
  }
  {
    name: 'clients'
    title: 'Clients'
    query: loadTextContent('workbook/clients.kql')
    visualization: 'table'
    width: '50'
  }
  {
    name: 'catalog'
    title: 'Builds of the catalog'
    query: loadTextContent('workbook/catalog.kql')
    visualization: 'table'
    width: '50'
  }
]

var workspaceType = 'microsoft.operationalinsights/workspaces'

// What the portal's editor would save: https://learn.microsoft.com/azure/azure-monitor/visualize/workbooks-automate
var choices = {
  type: 9
  name: 'choices'
  content: {
    version: 'KqlParameterItem/1.0'
    style: 'pills'
    queryType: 0
    resourceType: workspaceType
    parameters: [
      {
        id: guid('TimeRange')
        version: 'KqlParameterItem/1.0'
        name: 'TimeRange'
        label: 'Time'
        type: 4
        isRequired: true
        value: { durationMs: 86400000 }
        typeSettings: {
          selectableValues: map([3600000, 14400000, 86400000, 604800000, 2592000000], each => { durationMs: each })
          allowCustom: true
        }
      }
      {
        id: guid('Server')
        version: 'KqlParameterItem/1.0'
        name: 'Server'
        type: 2
        isRequired: true
        multiSelect: true
        quote: '\''
        delimiter: ','
        query: loadTextContent('workbook/servers.kql')
        timeContextFromParameter: 'TimeRange'
        queryType: 0
        resourceType: workspaceType
        defaultValue: 'value::all'
        value: ['value::all']
        typeSettings: {
          additionalResourceOptions: ['value::all']
          // All servers are one star: where none has sent anything yet, a list of all would be empty, and no KQL.
          selectAllValue: '*'
          showDefault: false
        }
      }
    ]
  }
}

resource workspace 'Microsoft.OperationalInsights/workspaces@2025-02-01' existing = {
  name: workspaceName
}

resource workbook 'Microsoft.Insights/workbooks@2023-06-01' = {
  name: guid(workspace.id, 'workbook')
  location: location
  tags: tags
  kind: 'shared'
  properties: {
    category: 'workbook'
    displayName: displayName
    sourceId: workspace.id
    version: 'Notebook/1.0'
    serializedData: string({
      version: 'Notebook/1.0'
      '$schema': 'https://github.com/Microsoft/Application-Insights-Workbooks/blob/master/schema/workbook.json'
      fallbackResourceIds: [workspace.id]
      items: concat(
        [choices],
        map(panels, panel => {
          type: 3
          name: panel.name
          customWidth: panel.width
          content: {
            version: 'KqlItem/1.0'
            title: panel.title
            query: panel.query
            size: 0
            timeContextFromParameter: 'TimeRange'
            queryType: 0
            resourceType: workspaceType
            visualization: panel.visualization
          }
        })
      )
    })
  }
}

output id string = workbook.id
