"""Trade between two companies of the world: a sales order of one is a purchase order of the other."""

from __future__ import annotations

from collections.abc import Iterator

from d365mcp.simulator.contents import written_of
from d365mcp.simulator.derived.orders import Order, sales_orders
from d365mcp.simulator.model import Intercompany, Record, World

_STATUSES = {"Backorder": "Backorder", "Delivered": "Received", "Invoiced": "Invoiced", "Canceled": "Canceled"}


def traded_orders(world: World) -> Iterator[tuple[Intercompany, Order]]:
    """Yield each sales order to another company, with the trade it belongs to."""
    if not world.intercompany:
        return
    partners = {(each.seller, each.customer): each for each in world.intercompany}
    for order in sales_orders(world, {each.seller for each in world.intercompany}):
        if partner := partners.get((order.company, order.account)):
            yield partner, order


def partner_of_buyer(world: World, order: Order) -> Intercompany | None:
    """Return the trade a purchase order belongs to, where its vendor is a company of the world."""
    found = (each for each in world.intercompany if (each.buyer, each.vendor) == (order.company, order.account))
    return next(found, None)


def purchase_order_headers(world: World) -> Iterator[Record]:
    yield from written_of(world, "PurchaseOrderHeadersV2")
    names = {str(vendor["VendorAccountNumber"]): vendor for vendor in written_of(world, "VendorsV2")}
    for partner, sale in traded_orders(world):
        yield {
            "dataAreaId": partner.buyer,
            "PurchaseOrderNumber": sale.text("CustomersOrderReference"),
            "PurchaseOrderName": names[partner.vendor]["VendorOrganizationName"],
            "OrderVendorAccountNumber": partner.vendor,
            "InvoiceVendorAccountNumber": partner.vendor,
            "VendorOrderReference": sale.number,
            "PurchaseOrderStatus": _STATUSES[sale.status],
            "DocumentApprovalStatus": "Confirmed",
            "CurrencyCode": sale.text("CurrencyCode"),
            "RequestedDeliveryDate": sale.day,
            "AccountingDate": sale.text("OrderCreationDateTime")[:10],
            "DefaultReceivingSiteId": partner.site,
            "DefaultReceivingWarehouseId": partner.warehouse,
            "PaymentTermsName": sale.text("PaymentTermsName"),
            "LanguageId": names[partner.vendor]["LanguageId"],
        }


def purchase_order_lines(world: World) -> Iterator[Record]:
    yield from written_of(world, "PurchaseOrderLinesV2")
    for partner, sale in traded_orders(world):
        for line in sale.lines:
            yield {
                "dataAreaId": partner.buyer,
                "PurchaseOrderNumber": sale.text("CustomersOrderReference"),
                "LineNumber": line.number,
                "ItemNumber": line.text("ItemNumber"),
                "LineDescription": line.text("LineDescription"),
                "OrderedPurchaseQuantity": line.quantity,
                "PurchaseUnitSymbol": line.text("SalesUnitSymbol"),
                "PurchasePrice": line.record["SalesPrice"],
                "LineAmount": line.amount,
                "PurchaseOrderLineStatus": _STATUSES[sale.status],
                "ReceivingSiteId": partner.site,
                "ReceivingWarehouseId": partner.warehouse,
                "RequestedDeliveryDate": sale.day,
                "InventoryLotId": f"I{line.text('InventoryLotId')[1:]}",
            }
