"""Records that follow from others: what was delivered, invoiced, paid and booked, and what lies in the warehouses.

Each is computed from the orders as the world writes them, on first use, so that documents fit each other on every day.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from d365mcp.simulator.derived import (
    calendars,
    deliveries,
    intercompany,
    invoices,
    journals,
    ledger,
    stock,
    transactions,
)
from d365mcp.simulator.model import Record, World

DERIVED: Mapping[str, Callable[[World], Iterator[Record]]] = {
    "customer_invoices": invoices.customer_journal,
    "customer_transactions": transactions.of_customers,
    "fiscal_days": calendars.days,
    "fiscal_periods": calendars.periods,
    "ledger_entries": ledger.ledger_entries,
    "on_hand": stock.on_hand,
    "on_hand_by_status": stock.on_hand_by_status,
    "packing_slip_lines": deliveries.packing_slip_lines,
    "packing_slips": deliveries.packing_slips,
    "posted_customer_payments": journals.posted_customer_payments,
    "product_receipt_lines": deliveries.product_receipt_lines,
    "product_receipts": deliveries.product_receipts,
    "purchase_order_headers": intercompany.purchase_order_headers,
    "purchase_order_lines": intercompany.purchase_order_lines,
    "sales_invoice_headers": invoices.sales_headers,
    "sales_invoice_lines": invoices.sales_lines,
    "vendor_invoices": invoices.vendor_journal,
    "vendor_transactions": transactions.of_vendors,
}
# Those that begin with the records that are written out, or count them.
WITH_WRITTEN = frozenset({"on_hand", "purchase_order_headers", "purchase_order_lines"})
