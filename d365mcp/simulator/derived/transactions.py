"""Transactions of customers and vendors: invoices, the payments that settle them, and what stays open."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from d365mcp.simulator.clock import shifted
from d365mcp.simulator.derived.invoices import Invoice, customer_invoices, vendor_invoices
from d365mcp.simulator.model import Record, World

_FIRST_CUSTOMER_TRANSACTION, _FIRST_VENDOR_TRANSACTION = 35637700000, 35637800000
_PATIENCE = 240
"""So many days after it was due, every invoice has been paid."""


@dataclass(frozen=True)
class Payment:
    voucher: str
    day: str
    amount: float


def payment(world: World, invoice: Invoice, prefix: str) -> Payment | None:
    """Return how an invoice was paid until today, if it was: some pay early, some late, some a half."""
    digits = int("".join(filter(str.isdigit, invoice.number))[-6:])
    today = world.clock.date().isoformat()
    waits = _PATIENCE if digits % 11 == 3 else digits * 7 % 29 - 6
    day = max(shifted(invoice.due, waits), invoice.day)
    if day > today:
        return None
    is_part = digits % 13 == 5 and shifted(invoice.due, _PATIENCE) > today
    amount = round(invoice.amount / 2, 2) if is_part else invoice.amount
    return Payment(f"{prefix}-{invoice.voucher}", day, amount)


def customer_payment(world: World, invoice: Invoice) -> Payment | None:
    return payment(world, invoice, "ARP")


def vendor_payment(world: World, invoice: Invoice) -> Payment | None:
    return payment(world, invoice, "APP")


def of_customers(world: World) -> Iterator[Record]:
    key = _FIRST_CUSTOMER_TRANSACTION
    for invoice in customer_invoices(world):
        paid = customer_payment(world, invoice)
        kind = "Sales" if invoice.order else "Cust"
        for record in _transactions(invoice, paid, 1, kind):
            yield {"SourceKey": key, "OrderAccount": invoice.account, **record}
            key += 1


def of_vendors(world: World) -> Iterator[Record]:
    key = _FIRST_VENDOR_TRANSACTION
    for invoice in vendor_invoices(world):
        for record in _transactions(invoice, vendor_payment(world, invoice), -1, "Purch"):
            yield {"SourceKey": key, **record}
            key += 1


def _transactions(invoice: Invoice, paid: Payment | None, sign: int, kind: str) -> Iterator[Record]:
    """Yield an invoice's transaction and its payment's; each settles as much of the other."""
    settled = paid.amount if paid else 0
    is_closed = settled == invoice.amount
    yield {
        **_amounts(invoice, sign * invoice.amount, sign * settled),
        "TransType": kind,
        "TransDate": invoice.day,
        "DocumentDate": invoice.day,
        "DueDate": invoice.due,
        "Invoice": invoice.number,
        "Voucher": invoice.voucher,
        "Txt": f"Invoice {invoice.number}",
        "PaymTermId": invoice.terms,
        **({"LastSettleDate": paid.day, "LastSettleVoucher": paid.voucher} if paid else {}),
        **({"Closed": paid.day} if paid and is_closed else {}),
    }
    if paid:
        yield {
            **_amounts(invoice, -sign * settled, -sign * settled),
            "TransType": "Payment",
            "TransDate": paid.day,
            "DocumentDate": paid.day,
            "DueDate": paid.day,
            "Voucher": paid.voucher,
            "Txt": f"Payment of {invoice.number}",
            "LastSettleDate": paid.day,
            "LastSettleVoucher": invoice.voucher,
            "Closed": paid.day,
        }


def _amounts(invoice: Invoice, amount: float, settled: float) -> Record:
    """Amounts in the currency of the transaction, which is the company's own for all the world's orders."""
    return {
        "dataAreaId": invoice.company,
        "AccountNum": invoice.account,
        "CurrencyCode": invoice.currency,
        "AmountCur": amount,
        "AmountMST": amount,
        "SettleAmountCur": settled,
        "SettleAmountMST": settled,
        "Approved": "Yes",
        "PostingProfile": "GEN",
    }
