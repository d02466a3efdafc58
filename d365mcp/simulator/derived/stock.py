"""On-hand quantities: the stock that is counted, what open sales orders reserve of it, and what is on its way."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from d365mcp.simulator.contents import written_of
from d365mcp.simulator.derived.orders import purchase_orders, received, sales_orders
from d365mcp.simulator.model import Record, World

_Place = tuple[str, str, str, str]
"""Company, item, site and warehouse."""


@dataclass
class _Stock:
    name: str = ""
    physical: float = 0
    demand: float = 0
    coming: float = 0

    @property
    def reserved(self) -> float:
        """Open sales orders reserve stock as long as there is some; the rest stays on order."""
        return min(self.physical, self.demand)


def on_hand(world: World) -> Iterator[Record]:
    """Yield a record for each place that holds, sells or awaits an item."""
    for (company, item, site, warehouse), stock in _stocks(world).items():
        available = stock.physical - stock.reserved
        yield {
            "dataAreaId": company,
            "ItemNumber": item,
            "InventorySiteId": site,
            "InventoryWarehouseId": warehouse,
            "ProductName": stock.name,
            "OnHandQuantity": stock.physical,
            "ReservedOnHandQuantity": stock.reserved,
            "AvailableOnHandQuantity": available,
            "OnOrderQuantity": stock.demand - stock.reserved,
            "OrderedQuantity": stock.coming,
            "AvailableOrderedQuantity": stock.coming,
            "TotalAvailableQuantity": available + stock.coming,
        }


def on_hand_by_status(world: World) -> Iterator[Record]:
    """Yield the same by inventory status, of which the demo companies use one."""
    yield from ({**record, "InventoryStatusId": "Available"} for record in on_hand(world))


def _stocks(world: World) -> dict[_Place, _Stock]:
    found: defaultdict[_Place, _Stock] = defaultdict(_Stock)
    for record in written_of(world, "WarehousesOnHandV2"):
        place = _place(record, "InventorySiteId", "InventoryWarehouseId")
        found[place] = _Stock(str(record["ProductName"]), float(str(record["OnHandQuantity"])))
    stocked = {(str(record["dataAreaId"]), str(record["WarehouseId"])) for record in written_of(world, "Warehouses")}
    for order in sales_orders(world):
        for line in order.lines if order.status == "Backorder" else ():
            place = _place(line.record, "ShippingSiteId", "ShippingWarehouseId")
            if (place[0], place[3]) in stocked:
                found[place].demand += line.quantity
                found[place].name = found[place].name or line.text("LineDescription")
    for order in purchase_orders(world):
        for line in order.lines if order.status == "Backorder" else ():
            place = _place(line.record, "ReceivingSiteId", "ReceivingWarehouseId")
            if (place[0], place[3]) in stocked:
                found[place].coming += line.quantity - received(order, line)
                found[place].name = found[place].name or line.text("LineDescription")
    return found


def _place(record: Record, site: str, warehouse: str) -> _Place:
    company, item = str(record["dataAreaId"]), str(record["ItemNumber"])
    return company, item, str(record.get(site) or ""), str(record.get(warehouse) or "")
