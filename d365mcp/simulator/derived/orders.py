"""Sales and purchase orders with their lines, read from the records of a world."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import groupby

from d365mcp.simulator.contents import written_of
from d365mcp.simulator.model import Record, World

_Key = tuple[str, str]


@dataclass(frozen=True)
class Line:
    number: int
    record: Record
    quantity: float
    amount: float

    def text(self, name: str) -> str:
        return str(self.record.get(name) or "")


@dataclass(frozen=True)
class Order:
    """An order; `day` is when it is to be delivered, and was when its status says so."""

    company: str
    number: str
    account: str
    status: str
    day: str
    record: Record
    lines: tuple[Line, ...]

    @property
    def total(self) -> float:
        return round(sum(line.amount for line in self.lines), 2)

    def text(self, name: str) -> str:
        return str(self.record.get(name) or "")


def sales_orders(world: World, companies: Collection[str] = ()) -> Iterator[Order]:
    """Yield the sales orders, or those of some companies; headers and lines are written in the same order."""
    lines = groupby(written_of(world, "SalesOrderLinesV3", companies), lambda line: _key(line, "SalesOrderNumber"))
    headers = written_of(world, "SalesOrderHeadersV2", companies)
    for header, (key, group) in zip(headers, lines, strict=True):
        if _key(header, "SalesOrderNumber") != key:
            raise ValueError(f"The lines of {key} do not follow in the order of the headers.")
        yield Order(
            *key,
            account=str(header["OrderingCustomerAccountNumber"]),
            status=str(header["SalesOrderStatus"]),
            day=str(header["RequestedShippingDate"])[:10],
            record=header,
            lines=tuple(_line(line, "OrderedSalesQuantity") for line in group),
        )


def purchase_orders(world: World) -> Iterator[Order]:
    """Yield the purchase orders, and those that another company's sales orders answer."""
    from d365mcp.simulator.derived.intercompany import purchase_order_headers, purchase_order_lines

    lines: dict[_Key, list[Line]] = {}
    for line in purchase_order_lines(world):
        lines.setdefault(_key(line, "PurchaseOrderNumber"), []).append(_line(line, "OrderedPurchaseQuantity"))
    for header in purchase_order_headers(world):
        key = _key(header, "PurchaseOrderNumber")
        yield Order(
            *key,
            account=str(header["OrderVendorAccountNumber"]),
            status=str(header["PurchaseOrderStatus"]),
            day=str(header["RequestedDeliveryDate"])[:10],
            record=header,
            lines=tuple(lines.get(key, ())),
        )


def received(order: Order, line: Line) -> float:
    """Return how much of a purchase order's line has come."""
    if order.status in ("Received", "Invoiced"):
        return line.quantity
    is_confirmed = order.status == "Backorder" and order.text("DocumentApprovalStatus") == "Confirmed"
    # Half of the first line of every other confirmed order has come early.
    return line.quantity // 2 if is_confirmed and line.number == 1 and int(order.number[-2:]) % 2 == 0 else 0


def _key(record: Record, number: str) -> _Key:
    return str(record["dataAreaId"]), str(record[number])


def _line(record: Record, quantity: str) -> Line:
    return Line(
        number=int(float(str(record["LineNumber"]))),
        record=record,
        quantity=float(str(record[quantity])),
        amount=float(str(record["LineAmount"])),
    )
