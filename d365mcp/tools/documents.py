"""Fetches business documents as PDF, rendered by F&O's own reports.

https://learn.microsoft.com/dynamics365/fin-ops-core/dev-itpro/analytics/document-reporting-services
"""

import base64
import binascii
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass
from typing import Annotated, Literal
from urllib.parse import quote

from pydantic import Field

from d365mcp.d365.filters.names import displayed, identifier
from d365mcp.errors import InvalidAnswer, InvalidArgument, NotFound
from d365mcp.tools.policy import audited, bound_of, check_action
from d365mcp.tools.tool import Attached, Attachment, ToolContext
from d365mcp.wire import json_text


@dataclass(frozen=True)
class Report:
    """A report controller, and the table and field its document is found by."""

    controller: str
    table: str
    field: str


Document = Literal[
    "customer_invoice", "free_text_invoice", "debit_credit_note", "sales_confirmation", "purchase_order", "custom"
]
ENTITY_SET, ACTION = "SrsFinanceCopilots", "RunCopilotReport"
REPORTS = {
    "customer_invoice": Report("SalesInvoiceController", "CustInvoiceJour", "InvoiceId"),
    "free_text_invoice": Report("FreeTextInvoiceController", "CustInvoiceJour", "InvoiceId"),
    "debit_credit_note": Report("CustDebitCreditNoteController", "CustInvoiceJour", "InvoiceId"),
    "sales_confirmation": Report("SalesConfirmController", "CustConfirmJour", "ConfirmId"),
    "purchase_order": Report("PurchPurchaseOrderController", "VendPurchOrderJour", "PurchId"),
}


async def download_document(
    context: ToolContext,
    document: Document,
    number: Annotated[str, Field(description="Invoice, confirmation or order number", min_length=1, max_length=100)],
    company: Annotated[str, Field(description="Legal entity, e.g. usmf", min_length=1, max_length=10)],
    controller: Annotated[str | None, Field(description="Custom only: controller class")] = None,
    table: str | None = None,
    field: str | None = None,
) -> Attached:
    """Fetch an invoice, credit note, order confirmation or purchase order as PDF."""
    report = report_of(document, controller, table, field)
    bound_of(context).check([company])
    parameters = {
        "_contractName": "SrsCopilotArgsContract",
        "_controllerName": report.controller,
        "_controllerArgsJson": json_text(
            {"DataTableName": report.table, "DataTableFieldName": report.field, "DataTableFieldValue": number}
        ),
        "_legalEntityName": company.upper(),
        "_reportParameterJson": "{}",
    }
    limit = context.settings.max_document_bytes
    async with as_an_action(context) if document == "custom" else nullcontext():
        encoded = await context.d365.invoke(
            ACTION,
            parameters,
            entity_set=ENTITY_SET,
            safe=document != "custom",
            max_bytes=2 * limit + 1024 * 1024,  # base64, with room to tell how large a document is that is too large
            hint="MCP_MAX_DOCUMENT_BYTES sets how large a document may be.",
        )
    data = decoded(encoded, limit)
    if not data:
        told = f"F&O rendered nothing for {document} {displayed(number)} of {displayed(company)}: check both."
        raise NotFound(told)
    name = f"{document}-{number}.pdf"
    uri = f"d365fo://documents/{quote(company.lower(), safe='')}/{document}/{quote(number, safe='')}.pdf"
    kind = "application/pdf"
    content = {
        "attached": f"{name}, {kind}, {len(data):,} bytes, as an embedded resource: some hosts do not show it",
        "document": document,
        "number": number,
        "company": company.lower(),
        "file_name": name,
        "bytes": len(data),
    }
    return Attached(content, Attachment(uri, kind, data))


@asynccontextmanager
async def as_an_action(context: ToolContext) -> AsyncIterator[None]:
    """Let a controller of the caller's choosing run as any action: allowed by name, within no bound, and audited.

    It is a class of F&O's that does whatever it does. Raises NotAllowed.
    """
    check_action(context, ENTITY_SET, ACTION)
    bound_of(context).refuse_unless_free("A custom document", "which companies its controller touches cannot be proved")
    async with audited(context, "d365fo_download_document", f"{ENTITY_SET}.{ACTION}"):
        yield


def report_of(document: Document, controller: str | None, table: str | None, field: str | None) -> Report:
    custom = (controller, table, field)
    if document != "custom":
        if any(custom):
            raise InvalidArgument("controller, table and field go with document custom only.")
        return REPORTS[document]
    if not all(custom):
        raise InvalidArgument("A custom document needs controller, table and field.")
    return Report(*(identifier(str(part), "name") for part in custom))


def decoded(encoded: object, limit: int) -> bytes:
    """Return the file in F&O's base64 answer. Raises InvalidAnswer when it is none, or larger than the limit."""
    text = encoded if isinstance(encoded, str) else ""
    if len(text) * 3 // 4 > limit:
        size = f"{len(text) * 3 / 4 / 1e6:.1f} MB"
        raise InvalidAnswer(f"The document has {size}; MCP_MAX_DOCUMENT_BYTES allows {limit / 1e6:.1f} MB.")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidAnswer("F&O answered with something that is not a document.") from None
