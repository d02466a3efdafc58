"""Posted invoices: of sales orders, free text, and of the vendors whose goods were invoiced."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from d365mcp.simulator.clock import shifted
from d365mcp.simulator.contents import written_of
from d365mcp.simulator.derived.deliveries import receipt_day, traded_with
from d365mcp.simulator.derived.orders import Order, purchase_orders, sales_orders
from d365mcp.simulator.model import Record, World

_FIRST_CUSTOMER_INVOICE = 35637000000
_FIRST_VENDOR_INVOICE = 35637600000


@dataclass(frozen=True)
class Invoice:
    """A posted invoice; one of free text has no order."""

    company: str
    number: str
    voucher: str
    account: str
    name: str
    currency: str
    terms: str
    day: str
    due: str
    amount: float
    order: Order | None = None


def customer_invoices(world: World) -> Iterator[Invoice]:
    terms = _days_of_terms(world)
    for order in sales_orders(world):
        if order.status == "Invoiced":
            yield _of_order(order, f"CIV-{order.number}", order.day, terms, order.text("SalesOrderName"))
    yield from _free_text(world, terms)


def vendor_invoices(world: World) -> Iterator[Invoice]:
    terms = _days_of_terms(world)
    for order in purchase_orders(world):
        if order.status == "Invoiced":
            # Another company of the world sends its own number, as its sales invoice has it.
            sold = traded_with(world, order)
            number = f"CIV-{order.text('VendorOrderReference')}" if sold else f"{order.account}/{order.number}"
            yield _of_order(order, number, receipt_day(world, order), terms, order.text("PurchaseOrderName"))


def customer_journal(world: World) -> Iterator[Record]:
    for index, invoice in enumerate(customer_invoices(world)):
        yield {
            "dataAreaId": invoice.company,
            "SourceKey": _FIRST_CUSTOMER_INVOICE + index,
            "InvoiceId": invoice.number,
            "SalesId": invoice.order.number if invoice.order else "",
            "InvoiceAccount": invoice.account,
            "OrderAccount": invoice.order.account if invoice.order else invoice.account,
            "InvoicingName": invoice.name,
            "InvoiceDate": invoice.day,
            "DueDate": invoice.due,
            "CurrencyCode": invoice.currency,
            "InvoiceAmount": invoice.amount,
            "SalesBalance": invoice.amount,
            "LedgerVoucher": invoice.voucher,
        }


def sales_headers(world: World) -> Iterator[Record]:
    """Yield the invoices of sales orders; those of free text are not among them."""
    for invoice, order in _sold(world):
        yield {
            "dataAreaId": invoice.company,
            "InvoiceNumber": invoice.number,
            "InvoiceDate": invoice.day,
            "LedgerVoucher": invoice.voucher,
            "SalesOrderNumber": order.number,
            "InvoiceCustomerAccountNumber": invoice.account,
            "CustomersOrderReference": order.text("CustomersOrderReference"),
            "CurrencyCode": invoice.currency,
            "TotalInvoiceAmount": invoice.amount,
            "PaymentTermsName": invoice.terms,
            "DeliveryModeCode": order.text("DeliveryModeCode"),
            "SalesOrderOriginCode": order.text("SalesOrderOriginCode"),
        }


def sales_lines(world: World) -> Iterator[Record]:
    for invoice, order in _sold(world):
        for line in order.lines:
            yield {
                "dataAreaId": invoice.company,
                "InvoiceNumber": invoice.number,
                "InvoiceDate": invoice.day,
                "LedgerVoucher": invoice.voucher,
                "LineCreationSequenceNumber": line.number,
                "ProductNumber": line.text("ItemNumber"),
                "ProductName": line.text("LineDescription"),
                "ProductDescription": line.text("LineDescription"),
                "InvoicedQuantity": line.quantity,
                "SalesUnitSymbol": line.text("SalesUnitSymbol"),
                "SalesPrice": line.record["SalesPrice"],
                "LineAmount": line.amount,
                "CurrencyCode": invoice.currency,
                "InventorySiteId": line.text("ShippingSiteId"),
                "InventoryWarehouseId": line.text("ShippingWarehouseId"),
            }


def vendor_journal(world: World) -> Iterator[Record]:
    for index, invoice in enumerate(vendor_invoices(world)):
        order = invoice.order
        sold = traded_with(world, order) if order else ""
        yield {
            "dataAreaId": invoice.company,
            "SourceKey": _FIRST_VENDOR_INVOICE + index,
            "InvoiceId": invoice.number,
            "PurchId": order.number if order else "",
            "InvoiceAccount": invoice.account,
            "OrderAccount": invoice.account,
            "InvoiceDate": invoice.day,
            "DocumentDate": invoice.day,
            "DueDate": invoice.due,
            "CurrencyCode": invoice.currency,
            "InvoiceAmount": invoice.amount,
            "SalesBalance": invoice.amount,
            "Qty": sum(line.quantity for line in order.lines) if order else 0,
            "Payment": invoice.terms,
            "LedgerVoucher": invoice.voucher,
            "InterCompanyCompanyId": sold,
            "InterCompanySalesId": order.text("VendorOrderReference") if order and sold else "",
        }


def _sold(world: World) -> Iterator[tuple[Invoice, Order]]:
    yield from ((invoice, invoice.order) for invoice in customer_invoices(world) if invoice.order)


def _of_order(order: Order, number: str, day: str, terms: dict[tuple[str, str], int], name: str) -> Invoice:
    named = order.text("PaymentTermsName")
    invoice_account = order.text("InvoiceCustomerAccountNumber") or order.text("InvoiceVendorAccountNumber")
    voucher = number if number.startswith("CIV") and "SalesOrderNumber" in order.record else f"VIV-{order.number}"
    due = shifted(day, terms[order.company, named])
    currency = order.text("CurrencyCode")
    return Invoice(order.company, number, voucher, invoice_account, name, currency, named, day, due, order.total, order)


def _free_text(world: World, terms: dict[tuple[str, str], int]) -> Iterator[Invoice]:
    amounts: dict[tuple[object, object], float] = {}
    for line in written_of(world, "FreeTextInvoiceLines"):
        key = line["dataAreaId"], line["ParentRecId"]
        amounts[key] = amounts.get(key, 0) + float(str(line["TransactionCurrencyAmount"]))
    for header in written_of(world, "FreeTextInvoiceHeaders"):
        if header.get("IsPosted") == "Yes":
            company, number, named = (str(header[name]) for name in ("dataAreaId", "FreeTextNumber", "TermsOfPayment"))
            account, name, currency = (str(header[name]) for name in ("InvoiceAccount", "InvoiceName", "CurrencyCode"))
            day = str(header["InvoiceDate"])[:10]
            due = shifted(day, terms[company, named])
            amount = amounts[company, header["InvoiceIdentifier"]]
            yield Invoice(company, number, number, account, name, currency, named, day, due, amount)


def _days_of_terms(world: World) -> dict[tuple[str, str], int]:
    return {
        (str(terms["dataAreaId"]), str(terms["Name"])): int(str(terms["NumberOfDays"]))
        for terms in written_of(world, "PaymentTerms")
    }
