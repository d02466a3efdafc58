"""The general ledger: the vouchers of invoices, payments and posted journals, and the month's rent and wages.

Each voucher sums to zero.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from d365mcp.simulator.contents import written_of
from d365mcp.simulator.derived.calendars import month_ends
from d365mcp.simulator.derived.invoices import Invoice, customer_invoices, vendor_invoices
from d365mcp.simulator.derived.journals import posted_lines
from d365mcp.simulator.derived.transactions import Payment, customer_payment, vendor_payment
from d365mcp.simulator.model import Record, World

_FIRST_ENTRY = 68719479835
_COST_SHARE = 0.6
_REPORTING_CURRENCY = "USD"
_RECEIVABLE, _INVENTORY, _PAYABLE = "130100---", "140200---", "200100---"
_SALES, _SERVICES, _COST = "401100-001--", "401200-001--", "500100-001--"
_RENT, _WAGES, _PAYROLL_BANK = "606300-001--", "601500-001-022-", "110160---"
_BANKS = {"EUR": "110130---"}
_BANK = "110110---"

_Posting = tuple[str, float, str]
"""Ledger account, amount (a debit is positive) and posting type."""


@dataclass(frozen=True)
class _Voucher:
    company: str
    number: str
    day: str
    currency: str
    document: str
    category: str
    text: str
    postings: tuple[_Posting, ...]


def ledger_entries(world: World) -> Iterator[Record]:
    names = {str(ledger["LegalEntityId"]): str(ledger["Name"]) for ledger in written_of(world, "Ledgers")}
    rates = list(written_of(world, "ExchangeRates"))
    journals: Counter[str] = Counter()
    record_id = _FIRST_ENTRY
    for voucher in _vouchers(world):
        journals[voucher.company] += 1
        rate = _rate(rates, voucher.currency, voucher.day)
        for account, amount, posting in voucher.postings:
            yield {
                "GeneralJournalAccountEntryRecId": record_id,
                "DataArea": voucher.company,
                "LedgerName": names[voucher.company],
                "JournalNumber": f"{journals[voucher.company]:06d}",
                "Voucher": voucher.number,
                "AccountingDate": voucher.day,
                "DocumentDate": voucher.day,
                "DocumentNumber": voucher.document,
                "JournalCategory": voucher.category,
                "Description": voucher.text,
                "LedgerAccount": account,
                "AccountDisplayValue": account,
                "PostingType": posting,
                "PostingLayer": "Current",
                "TransactionCurrencyCode": voucher.currency,
                "TransactionCurrencyAmount": amount,
                "TransactionCurrencyDebitAmount": max(amount, 0),
                "TransactionCurrencyCreditAmount": max(-amount, 0),
                "AccountingCurrencyAmount": amount,
                "ReportingCurrencyAmount": round(amount * rate, 2),
                "IsCredit": "Yes" if amount < 0 else "No",
            }
            record_id += 1


def _vouchers(world: World) -> Iterator[_Voucher]:
    yield from _monthly(world)
    yield from map(_journal_line, posted_lines(world))
    for invoice in customer_invoices(world):
        yield _customer_invoice(invoice)
        if paid := customer_payment(world, invoice):
            yield _payment(invoice, paid, ((_bank(invoice.currency), "Bank"), (_RECEIVABLE, "CustBalance")))
    for invoice in vendor_invoices(world):
        postings = ((_INVENTORY, invoice.amount, "PurchReceipt"), (_PAYABLE, -invoice.amount, "VendBalance"))
        yield _of_invoice(invoice, "Purch", postings)
        if paid := vendor_payment(world, invoice):
            yield _payment(invoice, paid, ((_PAYABLE, "VendBalance"), (_bank(invoice.currency), "Bank")))


def _payment(invoice: Invoice, paid: Payment, sides: tuple[tuple[str, str], tuple[str, str]]) -> _Voucher:
    """Return a payment's voucher: the first side is debited, the second credited."""
    (debit, debit_type), (credit, credit_type) = sides
    postings = ((debit, paid.amount, debit_type), (credit, -paid.amount, credit_type))
    text = f"Payment of {invoice.number}"
    return _Voucher(invoice.company, paid.voucher, paid.day, invoice.currency, "", "Payment", text, postings)


def _bank(currency: str) -> str:
    return _BANKS.get(currency, _BANK)


def _monthly(world: World) -> Iterator[_Voucher]:
    """Yield rent and wages of the companies that rent and employ, at the end of each month."""
    number = 10000001
    for company, currency in (("usmf", "USD"), ("usrt", "USD"), ("demf", "EUR")):
        for day in month_ends(world):
            rent = ((_RENT, 13500.0, "LedgerJournal"), (_bank(currency), -13500.0, "LedgerJournal"))
            wages = ((_WAGES, 61000.0, "LedgerJournal"), (_PAYROLL_BANK, -61000.0, "LedgerJournal"))
            for text, postings in (("Rent", rent), ("Salaries and wages", wages)):
                voucher = f"GNJL{number}"
                yield _Voucher(
                    company, voucher, day.isoformat(), currency, "", "GeneralJournal", f"{text} {day:%Y-%m}", postings
                )
                number += 1


def _journal_line(line: Record) -> _Voucher:
    """Return the voucher of a line that has its offset account beside it."""
    amount = float(str(line["DebitAmount"])) - float(str(line["CreditAmount"]))
    account, offset = str(line["AccountDisplayValue"]), str(line["OffsetAccountDisplayValue"])
    company, number, day, currency, text = (
        str(line[name]) for name in ("dataAreaId", "Voucher", "TransDate", "CurrencyCode", "Text")
    )
    postings = ((account, amount, "LedgerJournal"), (offset, -amount, "LedgerJournal"))
    return _Voucher(company, number, day[:10], currency, "", "GeneralJournal", text, postings)


def _customer_invoice(invoice: Invoice) -> _Voucher:
    if invoice.order is None:
        services = ((_RECEIVABLE, invoice.amount, "CustBalance"), (_SERVICES, -invoice.amount, "FreeTextInvoice"))
        return _of_invoice(invoice, "Cust", services)
    cost = round(invoice.amount * _COST_SHARE, 2)
    sale = ((_RECEIVABLE, invoice.amount, "CustBalance"), (_SALES, -invoice.amount, "SalesRevenue"))
    issue = ((_COST, cost, "SalesConsump"), (_INVENTORY, -cost, "SalesIssue"))
    return _of_invoice(invoice, "Sales", (*sale, *issue))


def _of_invoice(invoice: Invoice, category: str, postings: tuple[_Posting, ...]) -> _Voucher:
    text = f"Invoice {invoice.number}"
    return _Voucher(
        invoice.company, invoice.voucher, invoice.day, invoice.currency, invoice.number, category, text, postings
    )


def _rate(rates: list[Record], currency: str, day: str) -> float:
    """Return the day's rate to the reporting currency, which is the same for all ledgers here."""
    found = (
        float(str(rate["Rate"])) / 100
        for rate in rates
        if (rate["FromCurrency"], rate["ToCurrency"]) == (currency, _REPORTING_CURRENCY)
        and str(rate["StartDate"])[:10] <= day <= str(rate["EndDate"])[:10]
    )
    return next(found, 1)
