"""Packing slips of what was shipped, and product receipts of what has come."""

from __future__ import annotations

from collections.abc import Iterator

from d365mcp.simulator.derived.intercompany import partner_of_buyer, traded_orders
from d365mcp.simulator.derived.orders import Line, Order, purchase_orders, received, sales_orders
from d365mcp.simulator.model import Record, World

_FIRST_SLIP, _FIRST_SLIP_LINE = 35637200000, 35637300000
_FIRST_RECEIPT, _FIRST_RECEIPT_LINE = 35637400000, 35637500000


def shipped(world: World) -> Iterator[Order]:
    """Yield the sales orders whose goods have left."""
    yield from (order for order in sales_orders(world) if order.status in ("Delivered", "Invoiced"))


def packing_slips(world: World) -> Iterator[Record]:
    partners = {(sale.company, sale.number): partner for partner, sale in traded_orders(world)}
    for index, order in enumerate(shipped(world)):
        partner = partners.get((order.company, order.number))
        yield {
            "dataAreaId": order.company,
            "SourceDocumentHeader": _FIRST_SLIP + index,
            "SourceKey": _FIRST_SLIP + index,
            "PackingSlipId": slip_number(order),
            "LedgerVoucher": slip_number(order),
            "SalesId": order.number,
            "OrderAccount": order.account,
            "InvoiceAccount": order.text("InvoiceCustomerAccountNumber"),
            "InvoicingName": order.text("SalesOrderName"),
            "DeliveryName": order.text("SalesOrderName"),
            "DeliveryDate": order.day,
            "DocumentDate": order.day,
            "Qty": sum(line.quantity for line in order.lines),
            "InventLocationId": order.text("DefaultShippingWarehouseId"),
            "DlvMode": order.text("DeliveryModeCode"),
            "CustomerRef": order.text("CustomersOrderReference"),
            "LanguageId": order.text("LanguageId"),
            "InterCompanyCompanyId": partner.buyer if partner else "",
            "InterCompanyPurchId": order.text("CustomersOrderReference") if partner else "",
        }


def packing_slip_lines(world: World) -> Iterator[Record]:
    index = _FIRST_SLIP_LINE
    for order in shipped(world):
        for line in order.lines:
            yield {
                "dataAreaId": order.company,
                "SourceDocumentLine": index,
                "SourceKey": index,
                "PackingSlipId": slip_number(order),
                "SalesId": order.number,
                "OrigSalesId": order.number,
                "LineNum": line.number,
                "ItemId": line.text("ItemNumber"),
                "Name": line.text("LineDescription"),
                "Ordered": line.quantity,
                "Qty": line.quantity,
                "InventQty": line.quantity,
                "SalesUnit": line.text("SalesUnitSymbol"),
                "DeliveryDate": order.day,
                "SalesLineShippingDateRequested": order.day,
                "CurrencyCode": order.text("CurrencyCode"),
                "AmountCur": line.amount,
                "InventTransId": line.text("InventoryLotId"),
            }
            index += 1


def product_receipts(world: World) -> Iterator[Record]:
    for record_id, order, _ in _receipts(world):
        yield {
            "dataAreaId": order.company,
            "RecordId": record_id,
            "ProductReceiptNumber": receipt_number(order),
            "PurchaseOrderNumber": order.number,
            "OrderVendorAccountNumber": order.account,
            "ProductReceiptDate": receipt_day(world, order),
            "DeliveryAddressName": order.text("PurchaseOrderName"),
        }


def product_receipt_lines(world: World) -> Iterator[Record]:
    index = _FIRST_RECEIPT_LINE
    for record_id, order, lines in _receipts(world):
        for line, quantity in lines:
            yield {
                "dataAreaId": order.company,
                "RecordId": index,
                "ProductReceiptHeaderRecordId": record_id,
                "ProductReceiptNumber": receipt_number(order),
                "ProductReceiptDate": receipt_day(world, order),
                "PurchaseOrderNumber": order.number,
                "PurchaseOrderLineNumber": line.number,
                "LineNumber": line.number,
                "ItemNumber": line.text("ItemNumber"),
                "ProductNumber": line.text("ItemNumber"),
                "LineDescription": line.text("LineDescription"),
                "OrderedPurchaseQuantity": line.quantity,
                "ReceivedPurchaseQuantity": quantity,
                "ReceivedInventoryQuantity": quantity,
                "RemainingPurchaseQuantity": line.quantity - quantity,
                "RemainingInventoryQuantity": line.quantity - quantity,
                "PurchaseUnitSymbol": line.text("PurchaseUnitSymbol"),
                "ExpectedDeliveryDate": order.day,
                "ReceivingSiteId": line.text("ReceivingSiteId"),
                "ReceivingWarehouseId": line.text("ReceivingWarehouseId"),
            }
            index += 1


def slip_number(order: Order) -> str:
    return f"PS-{order.number}"


def receipt_number(order: Order) -> str:
    return f"PR-{order.number}"


def receipt_day(world: World, order: Order) -> str:
    """Return when goods came: on the day that was asked for, or today where that lies ahead."""
    return min(order.day, world.clock.date().isoformat())


def traded_with(world: World, order: Order) -> str:
    """Return the company that sells by this purchase order, if it is one of the world."""
    partner = partner_of_buyer(world, order)
    return partner.seller if partner else ""


def _receipts(world: World) -> Iterator[tuple[int, Order, list[tuple[Line, float]]]]:
    """Yield each receipt's record id, its order, and the lines of which something has come, with how much."""
    record_id = _FIRST_RECEIPT
    for order in purchase_orders(world):
        lines = [(line, quantity) for line in order.lines if (quantity := received(order, line))]
        if lines:
            yield record_id, order, lines
            record_id += 1
