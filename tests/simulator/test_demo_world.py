"""The shipped world is a company at work: on every day its documents, ledgers and stock fit each other."""

from __future__ import annotations

import re
from calendar import month_name
from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import httpx
import pytest

from tests.simulated import Simulator

pytestmark = pytest.mark.once

Row = dict[str, Any]
EMPTY = "1900-01-01"
# The turn of a year and a leap day: nothing may depend on the calendar. Other tests read the day it was written.
DAYS = ("2027-01-01", "2028-02-29")

# What is read of the sets that have many records of many columns.
WIDE = {
    "SalesOrderLinesV3": (
        *("dataAreaId", "SalesOrderNumber", "SalesOrderLineStatus", "ItemNumber", "LineDescription"),
        *("OrderedSalesQuantity", "LineAmount", "ShippingSiteId", "ShippingWarehouseId"),
    ),
    "SalesInvoiceV2Lines": ("dataAreaId", "InvoiceNumber", "LineAmount"),
    "CustPackingSlipTransBiEntities": ("dataAreaId", "PackingSlipId", "Qty"),
}


class World:
    """What a caller reads of the world on one day; each entity set is read once."""

    def __init__(self, client: httpx.Client, today: str) -> None:
        self.client, self.today = client, today
        self._rows: dict[str, list[Row]] = {}

    def rows(self, entity_set: str) -> list[Row]:
        if entity_set not in self._rows:
            chosen = f"&$select={','.join(WIDE[entity_set])}" if entity_set in WIDE else ""
            self._rows[entity_set] = list(self._read(f"/data/{entity_set}?cross-company=true{chosen}"))
        return self._rows[entity_set]

    def by(self, entity_set: str, *names: str) -> dict[tuple[Any, ...], Row]:
        found = {tuple(row[name] for name in names): row for row in self.rows(entity_set)}
        assert len(found) == len(self.rows(entity_set)), f"{entity_set} has {names} twice"
        return found

    def sums(self, entity_set: str, amount: str, *names: str) -> dict[tuple[Any, ...], float]:
        found: defaultdict[tuple[Any, ...], float] = defaultdict(float)
        for row in self.rows(entity_set):
            found[tuple(row[name] for name in names)] += row[amount]
        return {key: round(value, 2) for key, value in found.items()}

    def _read(self, url: str) -> Iterator[Row]:
        while url:
            reply = self.client.get(url).raise_for_status().json()
            yield from reply["value"]
            url = reply.get("@odata.nextLink", "")


@pytest.fixture(scope="module", params=DAYS)
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    running = Simulator.start(None, "--today", request.param)
    try:
        with running.client() as client:
            yield World(client, request.param)
    finally:
        running.stop()


def test_orders_that_are_open_lie_around_today(world: World) -> None:
    due = [day(row["RequestedShippingDate"]) for row in world.rows("SalesOrderHeadersV2") if is_open(row, "SalesOrder")]
    assert min(due) < world.today < max(due)
    coming = [
        day(row["RequestedDeliveryDate"])
        for row in world.rows("PurchaseOrderHeadersV2")
        if is_open(row, "PurchaseOrder")
    ]
    assert min(coming) < world.today < max(coming)


@pytest.mark.parametrize("entity_set", ["CustTransBiEntities", "VendTransBiEntities"])
def test_open_transactions_are_overdue_and_not_yet_due(world: World, entity_set: str) -> None:
    due = [day(row["DueDate"]) for row in world.rows(entity_set) if row["AmountCur"] != row["SettleAmountCur"]]
    assert min(due) < world.today < max(due)


# What has happened has a date that is not in the future.
PAST = {
    "SalesOrderHeadersV2": ["OrderCreationDateTime"],
    "PurchaseOrderHeadersV2": ["AccountingDate"],
    "CustPackingSlipJourBiEntities": ["DeliveryDate", "DocumentDate"],
    "ProductReceiptHeaders": ["ProductReceiptDate"],
    "CustInvoiceJourBiEntities": ["InvoiceDate"],
    "SalesInvoiceHeadersV2": ["InvoiceDate"],
    "VendInvoiceJourBiEntities": ["InvoiceDate"],
    "FreeTextInvoiceHeaders": ["InvoiceDate"],
    "CustTransBiEntities": ["TransDate", "LastSettleDate", "Closed"],
    "VendTransBiEntities": ["TransDate", "LastSettleDate", "Closed"],
    "GeneralJournalAccountEntries": ["AccountingDate"],
    "LedgerJournalLines": ["TransDate"],
    "CustomerPaymentJournalLines": ["TransactionDate"],
    "VendorPaymentJournalLines": ["TransactionDate"],
    "BatchJobs": ["StartDateTime", "EndDateTime"],
    "QualityOrderHeaders": ["ValidatedDateTime"],
    "InventoryTransferJournalHeaders": ["PostedDateTime"],
    "DualWriteProjectConfigurations": ["LastModified"],
}


@pytest.mark.parametrize("entity_set", PAST)
def test_nothing_has_happened_in_the_future(world: World, entity_set: str) -> None:
    dates = [day(row[name]) for row in world.rows(entity_set) for name in PAST[entity_set]]
    assert min(dates) >= EMPTY
    assert max(dates) <= world.today


def test_what_happens_every_day_has_happened_lately(world: World) -> None:
    created = max(day(row["OrderCreationDateTime"]) for row in world.rows("SalesOrderHeadersV2"))
    assert created == world.today
    this_month = [
        row for row in world.rows("FiscalPeriods") if day(row["StartDate"]) <= world.today <= day(row["EndDate"])
    ]
    assert len(this_month) == 1


def test_whatever_is_booked_lies_in_one_fiscal_period(world: World) -> None:
    periods = [(day(row["StartDate"]), day(row["EndDate"])) for row in world.rows("FiscalPeriods")]
    for booked in {day(row["AccountingDate"]) for row in world.rows("GeneralJournalAccountEntries")}:
        assert sum(first <= booked <= last for first, last in periods) == 1, booked


def test_the_days_of_the_calendar_are_those_its_periods_begin_with(world: World) -> None:
    periods = world.by("FiscalPeriods", "Calendar", "StartDate")
    days = world.by("FiscalCalendars", "CalendarId", "GregorianDate")
    assert days.keys() == periods.keys()
    for key, first in days.items():
        period = periods[key]
        assert first["YearName"] == period["FiscalYear"] == day(period["StartDate"])[:4]
        for name in ("PeriodName", "Month", "Quarter"):
            assert first[name] == period[name], first
    this_year = {row["YearName"] for row in days.values() if row["YearOffset"] == 0}
    this_month = {row["GregorianDate"] for row in days.values() if row["PeriodOffset"] == 0}
    this_quarter = {(row["YearName"], row["Quarter"]) for row in days.values() if row["QuarterOffset"] == 0}
    assert this_year == {world.today[:4]}
    assert {text[:7] for text in this_month} == {world.today[:7]}
    assert this_quarter == {(days["Fiscal", text]["YearName"], days["Fiscal", text]["Quarter"]) for text in this_month}


def test_order_totals_are_the_sums_of_their_lines(world: World) -> None:
    lines = world.sums("SalesOrderLinesV3", "LineAmount", "dataAreaId", "SalesOrderNumber")
    totals = world.sums("SalesOrderHeadersV2", "OrderTotalAmount", "dataAreaId", "SalesOrderNumber")
    assert lines == totals


@pytest.mark.parametrize(
    ("kind", "headers", "lines"),
    [
        ("SalesOrder", "SalesOrderHeadersV2", "SalesOrderLinesV3"),
        ("PurchaseOrder", "PurchaseOrderHeadersV2", "PurchaseOrderLinesV2"),
    ],
)
def test_lines_have_the_status_of_their_order(world: World, kind: str, headers: str, lines: str) -> None:
    orders = world.by(headers, "dataAreaId", f"{kind}Number")
    for line in world.rows(lines):
        order = orders[line["dataAreaId"], line[f"{kind}Number"]]
        assert line[f"{kind}LineStatus"] == order[f"{kind}Status"], line


def test_what_was_received_had_been_confirmed(world: World) -> None:
    orders = world.by("PurchaseOrderHeadersV2", "dataAreaId", "PurchaseOrderNumber")
    received = {(row["dataAreaId"], row["PurchaseOrderNumber"]) for row in world.rows("ProductReceiptHeaders")}
    received |= {key for key, order in orders.items() if order["PurchaseOrderStatus"] in ("Received", "Invoiced")}
    assert {orders[key]["DocumentApprovalStatus"] for key in received} == {"Confirmed"}


def test_each_order_that_was_shipped_has_its_packing_slip(world: World) -> None:
    slips = world.by("CustPackingSlipJourBiEntities", "dataAreaId", "SalesId")
    shipped = [row for row in world.rows("SalesOrderHeadersV2") if row["SalesOrderStatus"] in ("Delivered", "Invoiced")]
    assert set(slips) == {(row["dataAreaId"], row["SalesOrderNumber"]) for row in shipped}
    quantities = world.sums("CustPackingSlipTransBiEntities", "Qty", "dataAreaId", "PackingSlipId")
    assert quantities == world.sums("CustPackingSlipJourBiEntities", "Qty", "dataAreaId", "PackingSlipId")


def test_nothing_is_received_that_was_not_ordered(world: World) -> None:
    lines = world.by("PurchaseOrderLinesV2", "dataAreaId", "PurchaseOrderNumber", "LineNumber")
    orders = world.by("PurchaseOrderHeadersV2", "dataAreaId", "PurchaseOrderNumber")
    complete, partial = set(), 0
    for receipt in world.rows("ProductReceiptLines"):
        key = receipt["dataAreaId"], receipt["PurchaseOrderNumber"]
        line = lines[*key, receipt["PurchaseOrderLineNumber"]]
        assert 0 < receipt["ReceivedPurchaseQuantity"] <= line["OrderedPurchaseQuantity"]
        remains = line["OrderedPurchaseQuantity"] - receipt["ReceivedPurchaseQuantity"]
        assert receipt["RemainingPurchaseQuantity"] == remains
        assert receipt["ItemNumber"] == line["ItemNumber"]
        assert orders[key]["PurchaseOrderStatus"] in ("Backorder", "Received", "Invoiced")
        partial += remains > 0
        complete |= {key} if not remains else set()
    received = {key for key, order in orders.items() if order["PurchaseOrderStatus"] in ("Received", "Invoiced")}
    assert received <= complete
    assert partial > 0


def test_invoices_are_the_sums_of_their_lines(world: World) -> None:
    headers = world.sums("SalesInvoiceHeadersV2", "TotalInvoiceAmount", "dataAreaId", "InvoiceNumber")
    assert headers == world.sums("SalesInvoiceV2Lines", "LineAmount", "dataAreaId", "InvoiceNumber")
    journal = world.sums("CustInvoiceJourBiEntities", "InvoiceAmount", "dataAreaId", "InvoiceId")
    free_text = {row["FreeTextNumber"]: row for row in world.rows("FreeTextInvoiceHeaders") if row["IsPosted"] == "Yes"}
    assert headers.items() <= journal.items()
    assert {number for _, number in journal.keys() - headers.keys()} == set(free_text)


def test_vendor_invoices_are_the_sums_of_what_was_ordered(world: World) -> None:
    ordered = world.sums("PurchaseOrderLinesV2", "LineAmount", "dataAreaId", "PurchaseOrderNumber")
    orders = world.rows("PurchaseOrderHeadersV2")
    invoiced = {
        (row["dataAreaId"], row["PurchaseOrderNumber"]) for row in orders if row["PurchaseOrderStatus"] == "Invoiced"
    }
    invoices = world.sums("VendInvoiceJourBiEntities", "InvoiceAmount", "dataAreaId", "PurchId")
    assert invoices == {key: ordered[key] for key in invoiced}


SUBLEDGERS = [
    ("CustTransBiEntities", "CustInvoiceJourBiEntities", 1, "130100"),
    ("VendTransBiEntities", "VendInvoiceJourBiEntities", -1, "200100"),
]


@pytest.mark.parametrize(("transactions", "journal", "sign", "account"), SUBLEDGERS)
def test_transactions_are_invoices_and_their_payments(
    world: World, transactions: str, journal: str, sign: int, account: str
) -> None:
    rows = world.rows(transactions)
    booked = {(row["dataAreaId"], row["Invoice"]): row["AmountCur"] for row in rows if row["TransType"] != "Payment"}
    invoices = world.sums(journal, "InvoiceAmount", "dataAreaId", "InvoiceId")
    assert booked == {key: sign * amount for key, amount in invoices.items()}
    assert round(sum(row["SettleAmountCur"] for row in rows), 2) == 0
    for row in rows:
        assert 0 <= row["SettleAmountCur"] / row["AmountCur"] <= 1
        assert (day(row["Closed"]) != EMPTY) == (row["SettleAmountCur"] == row["AmountCur"])


@pytest.mark.parametrize(("transactions", "journal", "sign", "account"), SUBLEDGERS)
def test_the_ledger_has_what_customers_owe_and_vendors_are_owed(
    world: World, transactions: str, journal: str, sign: int, account: str
) -> None:
    ledger: defaultdict[str, float] = defaultdict(float)
    for row in world.rows("GeneralJournalAccountEntries"):
        if row["LedgerAccount"].startswith(account):
            ledger[row["DataArea"]] += row["TransactionCurrencyAmount"]
    owed = world.sums(transactions, "AmountCur", "dataAreaId")
    assert {(company,): round(amount, 2) for company, amount in ledger.items()} == owed


def test_amounts_are_reported_at_the_rate_of_their_day(world: World) -> None:
    rates = [
        (row["FromCurrency"], day(row["StartDate"]), day(row["EndDate"]), row["Rate"] / 100)
        for row in world.rows("ExchangeRates")
        if row["ToCurrency"] == "USD"
    ]
    used = set()
    for entry in world.rows("GeneralJournalAccountEntries"):
        currency, booked = entry["TransactionCurrencyCode"], day(entry["AccountingDate"])
        fitting = [rate for code, first, last, rate in rates if code == currency and first <= booked <= last]
        (rate,) = fitting or [1]
        assert bool(fitting) == (currency != "USD"), entry
        assert entry["ReportingCurrencyAmount"] == pytest.approx(entry["TransactionCurrencyAmount"] * rate, abs=0.006)
        used.add((currency, rate))
    assert len(used) > 1


def test_vouchers_sum_to_zero(world: World) -> None:
    for amount in ("TransactionCurrencyAmount", "AccountingCurrencyAmount", "ReportingCurrencyAmount"):
        sums = world.sums("GeneralJournalAccountEntries", amount, "DataArea", "Voucher")
        assert {key for key, value in sums.items() if value} == set()
    for row in world.rows("GeneralJournalAccountEntries"):
        debit, credit = row["TransactionCurrencyDebitAmount"], row["TransactionCurrencyCreditAmount"]
        assert round(debit - credit, 2) == row["TransactionCurrencyAmount"]
        assert (row["IsCredit"] == "Yes") == (credit > 0)


JOURNALS = {
    "LedgerJournal": "TransDate",
    "CustomerPaymentJournal": "TransactionDate",
    "VendorPaymentJournal": "TransactionDate",
}


@pytest.mark.parametrize("kind", JOURNALS)
def test_a_journal_that_was_posted_is_in_the_ledger_and_no_other_one(world: World, kind: str) -> None:
    booked: defaultdict[tuple[Any, ...], list[Row]] = defaultdict(list)
    for entry in world.rows("GeneralJournalAccountEntries"):
        booked[entry["DataArea"], entry["Voucher"]].append(entry)
    lines: defaultdict[tuple[Any, ...], list[Row]] = defaultdict(list)
    for line in world.rows(f"{kind}Lines"):
        lines[line["dataAreaId"], line["JournalBatchNumber"]].append(line)
    journals = world.by(f"{kind}Headers", "dataAreaId", "JournalBatchNumber")
    assert lines.keys() == journals.keys()
    for key, journal in journals.items():
        for line in lines[key]:
            entries = booked.get((line["dataAreaId"], line["Voucher"]), [])
            if journal["IsPosted"] == "No":
                assert not entries, line
                continue
            account = line["AccountDisplayValue"] if line["AccountType"] == "Ledger" else CONTROL[line["AccountType"]]
            assert line["DebitAmount"] - line["CreditAmount"] in [
                entry["TransactionCurrencyAmount"] for entry in entries if entry["LedgerAccount"] == account
            ], line
            assert {day(entry["AccountingDate"]) for entry in entries} == {day(line[JOURNALS[kind]])}


CONTROL = {"Cust": "130100---", "Vend": "200100---"}


@pytest.mark.parametrize("kind", JOURNALS)
def test_a_journal_names_its_customer_or_vendor_and_no_month(world: World, kind: str) -> None:
    masters = {"Cust": ("CustomersV3", "CustomerAccount"), "Vend": ("VendorsV2", "VendorAccountNumber")}
    accounts = {
        name: {(row["dataAreaId"], row[key]) for row in world.rows(theirs)} for name, (theirs, key) in masters.items()
    }
    main = {row["MainAccountId"] for row in world.rows("MainAccounts")}
    for line in world.rows(f"{kind}Lines"):
        account = line["AccountDisplayValue"]
        if line["AccountType"] == "Ledger":
            assert account.split("-")[0] in main, line
        else:
            assert (line["dataAreaId"], account.replace("\\", "")) in accounts[line["AccountType"]], line
    for row in (*world.rows(f"{kind}Headers"), *world.rows(f"{kind}Lines")):
        for name in ("Description", "Text", "TransactionText"):
            assert not PERIOD.search(row.get(name, "")), row  # its dates move, and the text does not


PERIOD = re.compile(rf"\b({'|'.join(month_name[1:])}|week \d+|Q[1-4]|20\d\d)\b")


def test_the_vouchers_of_a_journal_balance_and_add_up_to_its_totals(world: World) -> None:
    sides: defaultdict[tuple[Any, ...], list[float]] = defaultdict(lambda: [0, 0])
    for line in world.rows("LedgerJournalLines"):
        debit, credit = line["DebitAmount"], line["CreditAmount"]
        other = bool(line["OffsetAccountDisplayValue"])
        voucher = sides[line["dataAreaId"], line["JournalBatchNumber"], line["Voucher"]]
        voucher[0] += debit + credit * other
        voucher[1] += credit + debit * other
    for key, (debit, credit) in sides.items():
        assert debit == credit, key
    for key, journal in world.by("LedgerJournalHeaders", "dataAreaId", "JournalBatchNumber").items():
        debits = sum(debit for (company, number, _), (debit, _) in sides.items() if (company, number) == key)
        assert journal["JournalTotalDebit"] == journal["JournalTotalCredit"] == debits, journal


def test_no_expense_is_booked_twice_in_a_month(world: World) -> None:
    booked = Counter(
        (entry["DataArea"], entry["LedgerAccount"], entry["AccountingDate"][:7], entry["TransactionCurrencyAmount"])
        for entry in world.rows("GeneralJournalAccountEntries")
        if entry["JournalCategory"] == "GeneralJournal" and entry["LedgerAccount"].startswith("6")
    )
    assert {key for key, count in booked.items() if count > 1} == set()


def test_stock_is_what_is_there_less_what_orders_reserve(world: World) -> None:
    place = ("dataAreaId", "ItemNumber", "InventorySiteId", "InventoryWarehouseId")
    stocks = world.by("WarehousesOnHandV2", *place)
    demand: defaultdict[tuple[Any, ...], float] = defaultdict(float)
    for line in world.rows("SalesOrderLinesV3"):
        if line["SalesOrderLineStatus"] == "Backorder":
            where = line["dataAreaId"], line["ItemNumber"], line["ShippingSiteId"], line["ShippingWarehouseId"]
            demand[where] += line["OrderedSalesQuantity"]
    assert demand.keys() <= stocks.keys()
    for key, stock in stocks.items():
        assert stock["OnHandQuantity"] >= stock["ReservedOnHandQuantity"] >= 0
        assert stock["AvailableOnHandQuantity"] == stock["OnHandQuantity"] - stock["ReservedOnHandQuantity"]
        assert stock["ReservedOnHandQuantity"] + stock["OnOrderQuantity"] == demand[key]
        assert stock["TotalAvailableQuantity"] == stock["AvailableOnHandQuantity"] + stock["OrderedQuantity"]
    assert any(stock["ReservedOnHandQuantity"] for stock in stocks.values())
    assert any(stock["OnOrderQuantity"] for stock in stocks.values())
    assert any(stock["OrderedQuantity"] for stock in stocks.values())
    by_status = world.by("WarehouseInventoryStatusesOnHandV2", *place)
    assert {key: row["OnHandQuantity"] for key, row in by_status.items()} == {
        key: row["OnHandQuantity"] for key, row in stocks.items()
    }


def test_stock_that_is_ordered_is_what_open_lines_have_not_received(world: World) -> None:
    number = ("dataAreaId", "PurchaseOrderNumber", "PurchaseOrderLineNumber")
    received = world.sums("ProductReceiptLines", "ReceivedPurchaseQuantity", *number)
    stocked = {(row["dataAreaId"], row["WarehouseId"]) for row in world.rows("Warehouses")}
    awaited: defaultdict[tuple[Any, ...], float] = defaultdict(float)
    for line in world.rows("PurchaseOrderLinesV2"):
        company, warehouse = line["dataAreaId"], line["ReceivingWarehouseId"]
        if line["PurchaseOrderLineStatus"] == "Backorder" and (company, warehouse) in stocked:
            came = received.get((company, line["PurchaseOrderNumber"], line["LineNumber"]), 0)
            where = company, line["ItemNumber"], line["ReceivingSiteId"], warehouse
            awaited[where] += line["OrderedPurchaseQuantity"] - came
    place = ("dataAreaId", "ItemNumber", "InventorySiteId", "InventoryWarehouseId")
    ordered = world.sums("WarehousesOnHandV2", "OrderedQuantity", *place)
    assert {key: quantity for key, quantity in ordered.items() if quantity} == awaited


def test_lines_of_transfer_orders_leave_as_their_order_does(world: World) -> None:
    orders = world.by("TransferOrderHeaders", "dataAreaId", "TransferOrderNumber")
    remains = {"Created": "Shipping", "Shipped": "Receiving", "Received": "None"}
    lines = world.rows("TransferOrderLines")
    assert {(line["dataAreaId"], line["TransferOrderNumber"]) for line in lines} == orders.keys()
    for line in lines:
        order = orders[line["dataAreaId"], line["TransferOrderNumber"]]
        for name in ("ShippingWarehouseId", "RequestedShippingDate"):
            assert line[name] == order[name], line
        assert line["LineStatus"] == remains[order["TransferOrderStatus"]], line


def test_free_text_invoices_are_numbered_by_date(world: World) -> None:
    invoices = sorted(world.rows("FreeTextInvoiceHeaders"), key=lambda row: (row["dataAreaId"], row["FreeTextNumber"]))
    for before, after in pairwise(invoices):
        if before["dataAreaId"] == after["dataAreaId"]:
            assert before["InvoiceDate"] <= after["InvoiceDate"], after


@pytest.mark.parametrize(
    ("entity_set", "key"),
    [
        ("ProductsV2", "ProductNumber"),
        ("AllProducts", "ProductNumber"),
        ("MainAccounts", "MainAccountId"),
        ("SystemUsers", "UserID"),
        ("Workers", "PersonnelNumber"),
        ("People", "PartyNumber"),
    ],
)
def test_a_list_that_companies_share_begins_with_an_ordinary_record(world: World, entity_set: str, key: str) -> None:
    first = min(row[key] for row in world.rows(entity_set))
    assert first.isalnum(), first


@pytest.mark.parametrize(
    ("kind", "headers", "lines", "place", "created"),
    [
        ("Sales", "SalesOrderHeadersV2", "SalesOrderLinesV3", "Shipping", "OrderCreationDateTime"),
        ("Purchase", "PurchaseOrderHeadersV2", "PurchaseOrderLinesV2", "Receiving", "AccountingDate"),
    ],
)
def test_quality_orders_test_what_their_order_has(
    world: World, kind: str, headers: str, lines: str, place: str, created: str
) -> None:
    orders = world.by(headers, "dataAreaId", f"{kind}OrderNumber")
    where = ("dataAreaId", f"{kind}OrderNumber", "ItemNumber", f"{place}SiteId", f"{place}WarehouseId")
    ordered = world.sums(lines, f"Ordered{kind}Quantity", *where)
    names = {(row["ItemNumber"], row["LineDescription"]) for row in world.rows(lines)}
    tested = [row for row in world.rows("QualityOrderHeaders") if row[f"{kind}OrderNumber"]]
    for row in tested:
        company, number, item = row["dataAreaId"], row[f"{kind}OrderNumber"], row["ItemNumber"]
        order = orders[company, number]
        assert row["CustomerAccountNumber"] == order.get("OrderingCustomerAccountNumber", "")
        assert row["VendorAccountNumber"] == order.get("OrderVendorAccountNumber", "")
        assert row["InventoryQuantity"] <= ordered[company, number, item, row["InventorySiteId"], row["WarehouseId"]]
        assert (item, row["ProductName"]) in names
        assert day(row["ValidatedDateTime"]) == EMPTY or row["ValidatedDateTime"] >= order[created]
    assert tested


def test_companies_of_the_world_trade_in_pairs(world: World) -> None:
    sales = world.by("SalesOrderHeadersV2", "dataAreaId", "SalesOrderNumber")
    bought = [row for row in world.rows("PurchaseOrderHeadersV2") if row["VendorOrderReference"]]
    statuses = {"Backorder": "Backorder", "Delivered": "Received", "Invoiced": "Invoiced"}
    sold_lines = world.sums("SalesOrderLinesV3", "LineAmount", "dataAreaId", "SalesOrderNumber")
    bought_lines = world.sums("PurchaseOrderLinesV2", "LineAmount", "dataAreaId", "PurchaseOrderNumber")
    assert {row["PurchaseOrderStatus"] for row in bought} == set(statuses.values())
    for order in bought:
        sale = sales["demf", order["VendorOrderReference"]]
        assert sale["CustomersOrderReference"] == order["PurchaseOrderNumber"]
        assert statuses[sale["SalesOrderStatus"]] == order["PurchaseOrderStatus"]
        number = order["PurchaseOrderNumber"]
        assert bought_lines[order["dataAreaId"], number] == sold_lines["demf", sale["SalesOrderNumber"]]
    ours = {
        (row["InvoiceId"], row["InvoiceAmount"])
        for row in world.rows("CustInvoiceJourBiEntities")
        if row["InvoiceAccount"] == "DE-900"
    }
    theirs = {
        (row["InvoiceId"], row["InvoiceAmount"])
        for row in world.rows("VendInvoiceJourBiEntities")
        if row["InterCompanyCompanyId"] == "demf"
    }
    assert ours == theirs
    assert ours


# Ours, theirs, and the properties that name a record of theirs: (ours, theirs).
FOREIGN_KEYS = [
    ("SalesOrderHeadersV2", "CustomersV3", ("dataAreaId", "dataAreaId"), ("OrderingCustomerAccountNumber", "CustomerAccount")),
    ("SalesOrderHeadersV2", "PaymentTerms", ("dataAreaId", "dataAreaId"), ("PaymentTermsName", "Name")),
    ("SalesOrderHeadersV2", "Currencies", ("CurrencyCode", "CurrencyCode")),
    ("SalesOrderLinesV3", "SalesOrderHeadersV2", ("dataAreaId", "dataAreaId"), ("SalesOrderNumber", "SalesOrderNumber")),
    ("SalesOrderLinesV3", "ReleasedProductsV2", ("dataAreaId", "dataAreaId"), ("ItemNumber", "ItemNumber")),
    ("SalesOrderLinesV3", "Warehouses", ("dataAreaId", "dataAreaId"), ("ShippingWarehouseId", "WarehouseId")),
    ("PurchaseOrderHeadersV2", "VendorsV2", ("dataAreaId", "dataAreaId"), ("OrderVendorAccountNumber", "VendorAccountNumber")),
    ("PurchaseOrderLinesV2", "PurchaseOrderHeadersV2", ("dataAreaId", "dataAreaId"), ("PurchaseOrderNumber", "PurchaseOrderNumber")),
    ("PurchaseOrderLinesV2", "ReleasedProductsV2", ("dataAreaId", "dataAreaId"), ("ItemNumber", "ItemNumber")),
    ("PurchaseOrderLinesV2", "Warehouses", ("dataAreaId", "dataAreaId"), ("ReceivingWarehouseId", "WarehouseId")),
    ("ProductReceiptLines", "ProductReceiptHeaders", ("dataAreaId", "dataAreaId"), ("ProductReceiptHeaderRecordId", "RecordId")),
    ("CustPackingSlipTransBiEntities", "CustPackingSlipJourBiEntities", ("dataAreaId", "dataAreaId"), ("PackingSlipId", "PackingSlipId")),
    ("CustInvoiceJourBiEntities", "CustomersV3", ("dataAreaId", "dataAreaId"), ("InvoiceAccount", "CustomerAccount")),
    ("CustInvoiceJourBiEntities", "SalesOrderHeadersV2", ("dataAreaId", "dataAreaId"), ("SalesId", "SalesOrderNumber")),
    ("CustTransBiEntities", "CustomersV3", ("dataAreaId", "dataAreaId"), ("AccountNum", "CustomerAccount")),
    ("VendInvoiceJourBiEntities", "VendorsV2", ("dataAreaId", "dataAreaId"), ("InvoiceAccount", "VendorAccountNumber")),
    ("VendTransBiEntities", "VendorsV2", ("dataAreaId", "dataAreaId"), ("AccountNum", "VendorAccountNumber")),
    ("FreeTextInvoiceHeaders", "CustomersV3", ("dataAreaId", "dataAreaId"), ("CustomerAccount", "CustomerAccount")),
    ("WarehousesOnHandV2", "ReleasedProductsV2", ("dataAreaId", "dataAreaId"), ("ItemNumber", "ItemNumber")),
    ("WarehousesOnHandV2", "Warehouses", ("dataAreaId", "dataAreaId"), ("InventoryWarehouseId", "WarehouseId")),
    ("CustomersV3", "CustomerPaymentMethods", ("dataAreaId", "dataAreaId"), ("PaymentMethod", "Name")),
    ("CustomersV3", "PaymentTerms", ("dataAreaId", "dataAreaId"), ("PaymentTerms", "Name")),
    ("CustomersV3", "TaxGroups", ("dataAreaId", "dataAreaId"), ("SalesTaxGroup", "TaxGroupCode")),
    ("CustomersV3", "Currencies", ("SalesCurrencyCode", "CurrencyCode")),
    ("VendorsV2", "VendorPaymentMethods", ("dataAreaId", "dataAreaId"), ("DefaultVendorPaymentMethodName", "Name")),
    ("VendorsV2", "PaymentTerms", ("dataAreaId", "dataAreaId"), ("DefaultPaymentTermsName", "Name")),
    ("ReleasedProductsV2", "ProductsV2", ("ProductNumber", "ProductNumber")),
    ("ReleasedProductsV2", "VendorsV2", ("dataAreaId", "dataAreaId"), ("PrimaryVendorAccountNumber", "VendorAccountNumber")),
    ("ReleasedProductsV2", "UnitsOfMeasure", ("SalesUnitSymbol", "UnitSymbol")),
    ("TransferOrderLines", "ReleasedProductsV2", ("dataAreaId", "dataAreaId"), ("ItemNumber", "ItemNumber")),
    ("CustomersV3", "CustomerGroups", ("dataAreaId", "dataAreaId"), ("CustomerGroupId", "CustomerGroupId")),
    ("VendorsV2", "VendorGroups", ("dataAreaId", "dataAreaId"), ("VendorGroupId", "VendorGroupId")),
    ("SecurityUserRoleAssociations", "SystemUsers", ("UserId", "UserID")),
    ("SecurityUserRoleAssociations", "SecurityRoles", ("SecurityRoleIdentifier", "SecurityRoleIdentifier")),
]  # fmt: skip


@pytest.mark.parametrize("link", FOREIGN_KEYS, ids=lambda link: f"{link[0]}-{link[1]}-{link[-1][0]}")
def test_what_a_record_names_exists(world: World, link: tuple[Any, ...]) -> None:
    ours, theirs, *pairs = link
    found = {tuple(row[name] for _, name in pairs) for row in world.rows(theirs)}
    named = {tuple(row[name] for name, _ in pairs) for row in world.rows(ours) if row[pairs[-1][0]]}
    assert named - found == set()
    assert named


def test_ledger_accounts_are_main_accounts(world: World) -> None:
    accounts = {row["MainAccountId"] for row in world.rows("MainAccounts")}
    assert {row["LedgerAccount"].split("-")[0] for row in world.rows("GeneralJournalAccountEntries")} <= accounts


def test_number_sequences_are_ahead_of_what_they_numbered(world: World) -> None:
    nexts = {(row["Name"], row["ScopeValue"]): row["Next"] for row in world.rows("SequenceV2Tables")}
    for row in world.rows("SequenceV2Tables"):
        assert row["Smallest"] <= row["Next"] <= row["Largest"] == 10 ** row["Format"].count("#") - 1, row
    for row in world.rows("SalesOrderHeadersV2"):
        assert int(row["SalesOrderNumber"]) < nexts["Sales order", row["dataAreaId"]]
    for row in world.rows("PurchaseOrderHeadersV2"):
        if row["dataAreaId"] == "usmf":
            assert int(row["PurchaseOrderNumber"]) < nexts["Purchase order", "usmf"]
    for row in world.rows("GeneralJournalAccountEntries"):
        if row["Voucher"].startswith("GNJL") and row["DataArea"] == "usmf":
            assert int(row["Voucher"][4:]) < nexts["General journal voucher", "usmf"]


def test_every_user_has_a_role(world: World) -> None:
    holders = {row["UserId"] for row in world.rows("SecurityUserRoleAssociations")}
    assert holders == {row["UserID"] for row in world.rows("SystemUsers")}


def test_the_session_date_is_today(world: World) -> None:
    order = {"dataAreaId": "usmf", "OrderingCustomerAccountNumber": "US-003"}
    created = world.client.post("/data/SalesOrderHeadersV2", json=order).raise_for_status().json()
    assert day(created["RequestedShippingDate"]) == day(created["OrderCreationDateTime"]) == world.today


def day(text: str) -> str:
    return text[:10]


def is_open(row: Row, kind: str) -> bool:
    return bool(row[f"{kind}Status"] == "Backorder")
