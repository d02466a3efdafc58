"""Journals that were posted: the lines whose vouchers the ledger has, and the payments that customers made lately."""

from __future__ import annotations

from collections.abc import Iterator

from d365mcp.simulator.contents import written_of
from d365mcp.simulator.derived.invoices import Invoice, customer_invoices
from d365mcp.simulator.derived.transactions import Payment, customer_payment
from d365mcp.simulator.model import Record, World

_LATEST_PAYMENTS = 5


def posted_lines(world: World) -> Iterator[Record]:
    """Yield the written lines of the general journals that were posted."""
    posted = {_journal(header) for header in _posted(world, "LedgerJournalHeaders")}
    yield from (line for line in written_of(world, "LedgerJournalLines") if _journal(line) in posted)


def posted_customer_payments(world: World) -> Iterator[Record]:
    """Yield the lines of posted payment journals, which hold the latest payments of their company."""
    for header in _posted(world, "CustomerPaymentJournalHeaders"):
        company, number = _journal(header)
        for index, (invoice, paid) in enumerate(_latest_payments(world, company), 1):
            yield {
                "dataAreaId": company,
                "JournalBatchNumber": number,
                "LineNumber": index,
                "TransactionDate": paid.day,
                "Voucher": paid.voucher,
                "TransactionText": f"Payment of {invoice.number}",
                "MarkedInvoice": invoice.number,
                "CustomerName": invoice.name,
                "AccountType": "Cust",
                "AccountDisplayValue": invoice.account.replace("-", "\\-"),
                "CreditAmount": paid.amount,
                "CurrencyCode": invoice.currency,
            }


def _latest_payments(world: World, company: str) -> list[tuple[Invoice, Payment]]:
    invoices = (invoice for invoice in customer_invoices(world) if invoice.company == company)
    payments = [(invoice, paid) for invoice in invoices if (paid := customer_payment(world, invoice))]
    return sorted(payments, key=lambda each: each[1].day)[-_LATEST_PAYMENTS:]


def _posted(world: World, entity_set: str) -> Iterator[Record]:
    yield from (header for header in written_of(world, entity_set) if header.get("IsPosted") == "Yes")


def _journal(record: Record) -> tuple[str, str]:
    return str(record["dataAreaId"]), str(record["JournalBatchNumber"])
