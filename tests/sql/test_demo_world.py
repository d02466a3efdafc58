"""One statement answers what people ask of a company: what is overdue, short, unbalanced. Each finds what it should."""

from __future__ import annotations

import pytest

from tests.served import Served
from tests.simulated import TODAY

# Statements that look for what may not be.
NEVER = {
    "vouchers that do not balance": """
        SELECT DataArea, Voucher, round(sum(AccountingCurrencyAmount), 2) AS off
        FROM GeneralJournalAccountEntries GROUP BY ALL HAVING off <> 0""",
    "orders that are not the sum of their lines": """
        SELECT h.SalesOrderNumber FROM SalesOrderHeadersV2 h
        JOIN (SELECT SalesOrderNumber, sum(LineAmount) AS amount FROM SalesOrderLinesV3 GROUP BY ALL) l
        ON l.SalesOrderNumber = h.SalesOrderNumber WHERE abs(l.amount - h.OrderTotalAmount) > 0.005""",
    "invoices that are not the sum of their lines": """
        SELECT h.InvoiceNumber FROM SalesInvoiceHeadersV2 h
        JOIN (SELECT InvoiceNumber, sum(LineAmount) AS amount FROM SalesInvoiceV2Lines GROUP BY ALL) l
        ON l.InvoiceNumber = h.InvoiceNumber WHERE abs(l.amount - h.TotalInvoiceAmount) > 0.005""",
    "receipts of more than was ordered": """
        SELECT r.ProductReceiptNumber FROM ProductReceiptLines r JOIN PurchaseOrderLinesV2 l
        ON l.PurchaseOrderNumber = r.PurchaseOrderNumber AND l.LineNumber = r.PurchaseOrderLineNumber
        WHERE r.ReceivedPurchaseQuantity > l.OrderedPurchaseQuantity""",
    "stock that does not add up": """
        SELECT ItemNumber FROM WarehousesOnHandV2
        WHERE AvailableOnHandQuantity <> OnHandQuantity - ReservedOnHandQuantity OR AvailableOnHandQuantity < 0""",
    "orders of customers that do not exist": """
        SELECT h.SalesOrderNumber FROM SalesOrderHeadersV2 h
        LEFT JOIN CustomersV3 c ON c.CustomerAccount = h.OrderingCustomerAccountNumber WHERE c.CustomerAccount IS NULL""",
    "users without a role": """
        SELECT u.UserID FROM SystemUsers u
        LEFT JOIN SecurityUserRoleAssociations r ON r.UserId = u.UserID WHERE r.UserId IS NULL""",
}
# Statements whose questions have an answer today.
ALWAYS = {
    "customers who owe what is overdue": f"""
        SELECT AccountNum, sum(AmountCur - SettleAmountCur) AS overdue FROM CustTransBiEntities
        WHERE AmountCur <> SettleAmountCur AND DueDate < DATE '{TODAY}' GROUP BY ALL ORDER BY 2 DESC""",
    "what falls due next": f"""
        SELECT Invoice, DueDate FROM CustTransBiEntities
        WHERE AmountCur <> SettleAmountCur AND DueDate >= DATE '{TODAY}' ORDER BY 2""",
    "vendors to pay": f"""
        SELECT AccountNum, sum(SettleAmountCur - AmountCur) AS due FROM VendTransBiEntities
        WHERE AmountCur <> SettleAmountCur AND DueDate < DATE '{TODAY}' GROUP BY ALL""",
    "orders that are late": f"""
        SELECT SalesOrderNumber FROM SalesOrderHeadersV2
        WHERE SalesOrderStatus = 'Backorder' AND RequestedShippingDate < DATE '{TODAY}'""",
    "goods that are late": f"""
        SELECT PurchaseOrderNumber FROM PurchaseOrderHeadersV2
        WHERE PurchaseOrderStatus = 'Backorder' AND RequestedDeliveryDate < DATE '{TODAY}'""",
    "delivered and not invoiced": """
        SELECT s.PackingSlipId FROM CustPackingSlipJourBiEntities s
        LEFT JOIN SalesInvoiceHeadersV2 i ON i.SalesOrderNumber = s.SalesId WHERE i.SalesOrderNumber IS NULL""",
    "items that are short": """
        SELECT ItemNumber, InventoryWarehouseId, OnOrderQuantity FROM WarehousesOnHandV2 WHERE OnOrderQuantity > 0""",
}


@pytest.mark.parametrize("sql", NEVER.values(), ids=NEVER)
def test_there_is_none_of_what_may_not_be(server: Served, sql: str) -> None:
    result = server.call("query_sql", sql=sql)
    assert result["records"] == []
    assert max(result["rows_scanned"].values()) > 0


@pytest.mark.parametrize("sql", ALWAYS.values(), ids=ALWAYS)
def test_what_people_ask_has_an_answer(server: Served, sql: str) -> None:
    assert server.call("query_sql", sql=sql)["records"]
