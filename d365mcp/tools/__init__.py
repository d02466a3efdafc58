"""All tools on offer, listed by hand: the order is that of `tools/list`."""

from d365mcp.tools.actions import call_action, call_json_service
from d365mcp.tools.batches import batch
from d365mcp.tools.changes import create_entity_record, delete_entity_record, update_entity_record
from d365mcp.tools.documents import download_document
from d365mcp.tools.entities import search_entities
from d365mcp.tools.entity_schema import get_entity_schema
from d365mcp.tools.enumerations import get_enumeration_fields, search_actions, search_enumerations
from d365mcp.tools.environment import get_environment_info, get_server_config
from d365mcp.tools.labels import get_labels
from d365mcp.tools.performance import get_server_performance, reset_performance_stats
from d365mcp.tools.records import get_entity_record, query_entities
from d365mcp.tools.sql import query_sql
from d365mcp.tools.synchronization import get_sync_progress, sync_metadata
from d365mcp.tools.tool import Tool

ALL_TOOLS: tuple[Tool, ...] = (
    # what exists
    Tool(search_entities, "Search data entities", "metadata"),
    Tool(get_entity_schema, "Describe a data entity", "metadata"),
    Tool(search_enumerations, "Search enumerations", "metadata"),
    Tool(search_actions, "Search actions", "metadata"),
    Tool(get_enumeration_fields, "Describe an enumeration", "metadata"),
    Tool(get_labels, "Read labels", "metadata"),
    # records
    Tool(query_entities, "Query records", "data"),
    Tool(get_entity_record, "Get a record", "data"),
    Tool(query_sql, "Query with SQL", "data"),
    Tool(create_entity_record, "Create a record", "data", read_only=False, idempotent=False),
    Tool(update_entity_record, "Update a record", "data", read_only=False, destructive=True),
    Tool(delete_entity_record, "Delete a record", "data", read_only=False, destructive=True),
    Tool(batch, "Change several records", "data", read_only=False, destructive=True, idempotent=False),
    Tool(call_action, "Invoke an action", "data", read_only=False, destructive=True, idempotent=False),
    # the environment, and this server
    Tool(get_environment_info, "Describe the environment", "environment"),
    Tool(get_server_config, "Describe this server", "environment", open_world=False),
    Tool(get_server_performance, "Read performance statistics", "performance", open_world=False),
    Tool(reset_performance_stats, "Reset performance statistics", "performance", read_only=False, open_world=False),
    # by choice
    Tool(call_json_service, "Call a JSON service", "services", read_only=False, destructive=True, idempotent=False),
    Tool(download_document, "Download a document", "documents"),
    Tool(sync_metadata, "Rebuild the catalog", "admin", read_only=False),
    Tool(get_sync_progress, "Follow the catalog's rebuild", "admin"),
)
