"""Document PDFs as RunCopilotReport gives them: base64, and nothing for a document that does not exist."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Mapping

from d365mcp.simulator.errors import Refusal

_CONTROLLERS = {
    "SalesInvoiceController": ("CustInvoiceJour", "InvoiceId"),
    "FreeTextInvoiceController": ("CustInvoiceJour", "InvoiceId"),
    "CustDebitCreditNoteController": ("CustInvoiceJour", "InvoiceId"),
    "SalesConfirmController": ("CustConfirmJour", "ConfirmId"),
    "PurchPurchaseOrderController": ("VendPurchOrderJour", "PurchId"),
}


def run_copilot_report(documents: Mapping[str, str], arguments: Mapping[str, object]) -> str:
    """Render the document the arguments name; an unknown one gives an empty string."""
    try:
        asked = json.loads(str(arguments["_controllerArgsJson"]))
        table, field, value = asked["DataTableName"], asked["DataTableFieldName"], asked["DataTableFieldValue"]
    except (ValueError, TypeError, KeyError) as exc:
        message = "Exception occurred while executing action RunCopilotReport on Entity SrsFinanceCopilot"
        raise Refusal(message, 500, "System.InvalidOperationException") from exc
    title = documents.get(f"{str(arguments['_legalEntityName']).lower()}/{table}/{value}")
    expected = _CONTROLLERS.get(str(arguments["_controllerName"]), (table, field))
    return b64encode(pdf(title)).decode() if title and expected == (table, field) else ""


def pdf(title: str) -> bytes:
    """A PDF of one page that shows its title."""
    text = title.replace("\\", "\\\\").replace("(", "\\(").replace(")", "\\)")
    content = f"BT /F1 18 Tf 72 770 Td ({text}) Tj ET"
    objects = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        "<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R /Resources << /Font << /F1 5 0 R >> >> >>",
        f"<< /Length {len(content)} >>\nstream\n{content}\nendstream",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    document, offsets = "%PDF-1.4\n", []
    for number, body in enumerate(objects, 1):
        offsets.append(len(document))
        document += f"{number} 0 obj\n{body}\nendobj\n"
    table = "".join(f"{offset:010d} 00000 n \n" for offset in offsets)
    size = len(objects) + 1
    trailer = f"trailer << /Size {size} /Root 1 0 R >>\nstartxref\n{len(document)}\n%%EOF\n"
    return f"{document}xref\n0 {size}\n0000000000 65535 f \n{table}{trailer}".encode("latin-1", "replace")
