"""Checks KQL against the tables of Application Insights with Microsoft's own language service; runs none of it."""

import json
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.cached import node_packages

PACKAGE = "@kusto/language-service-next"

# https://learn.microsoft.com/azure/azure-monitor/reference/tables-category#applications
WORKSPACE = {
    "TimeGenerated": "datetime",
    "OperationId": "string",
    "OperationName": "string",
    "ParentId": "string",
    "AppRoleName": "string",
    "AppRoleInstance": "string",
    "AppVersion": "string",
    "UserAuthenticatedId": "string",
    "SessionId": "string",
    "ItemCount": "int",
    "Properties": "dynamic",
    "Measurements": "dynamic",
    "_ResourceId": "string",
}
CALL = {
    "Id": "string",
    "Name": "string",
    "ResultCode": "string",
    "Success": "bool",
    "DurationMs": "real",
    "PerformanceBucket": "string",
}
# The same, as a query scoped to the component sees it:
# https://learn.microsoft.com/previous-versions/azure/azure-monitor/app/convert-classic-resource#table-structure
COMPONENT = {
    "timestamp": "datetime",
    "operation_Id": "string",
    "operation_Name": "string",
    "operation_ParentId": "string",
    "cloud_RoleName": "string",
    "cloud_RoleInstance": "string",
    "application_Version": "string",
    "user_AuthenticatedId": "string",
    "session_Id": "string",
    "itemCount": "int",
    "customDimensions": "dynamic",
    "customMeasurements": "dynamic",
    "_ResourceId": "string",
}
COMPONENT_CALL = {
    "id": "string",
    "name": "string",
    "resultCode": "string",
    "success": "string",
    "duration": "real",
    "performanceBucket": "string",
}
TABLES: Mapping[str, Mapping[str, str]] = {
    "AppDependencies": {**WORKSPACE, **CALL, "DependencyType": "string", "Target": "string", "Data": "string"},
    "AppRequests": {**WORKSPACE, **CALL, "Url": "string", "Source": "string"},
    "AppEvents": {**WORKSPACE, "Name": "string"},
    "AppTraces": {**WORKSPACE, "Message": "string", "SeverityLevel": "int"},
    "AppExceptions": {
        **WORKSPACE,
        "ExceptionType": "string",
        "OuterMessage": "string",
        "InnermostMessage": "string",
        "ProblemId": "string",
        "SeverityLevel": "int",
    },
    # https://learn.microsoft.com/azure/azure-monitor/reference/tables/operation
    "_LogOperation": {
        "TimeGenerated": "datetime",
        "Category": "string",
        "Operation": "string",
        "Level": "string",
        "Detail": "string",
        "_ResourceId": "string",
    },
    "dependencies": {**COMPONENT, **COMPONENT_CALL, "type": "string", "target": "string", "data": "string"},
    "requests": {**COMPONENT, **COMPONENT_CALL, "url": "string", "source": "string"},
    "customEvents": {**COMPONENT, "name": "string"},
    "traces": {**COMPONENT, "message": "string", "severityLevel": "int"},
    "exceptions": {
        **COMPONENT,
        "type": "string",
        "outerMessage": "string",
        "innermostMessage": "string",
        "problemId": "string",
        "severityLevel": "int",
    },
}


def problems(queries: Mapping[str, str]) -> dict[str, list[str]]:
    """Return what is wrong with each query; an empty list is a good one. Skips the test where npm cannot deliver."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not on PATH")
    schemas = {name: f"({', '.join(map(': '.join, columns.items()))})" for name, columns in TABLES.items()}
    done = subprocess.run(
        [node, str(Path(__file__).with_name("check.js")), str(node_packages(PACKAGE))],
        input=json.dumps({"tables": schemas, "queries": queries}),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    found: dict[str, list[str]] = json.loads(done.stdout)
    return found
