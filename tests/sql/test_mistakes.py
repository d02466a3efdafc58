"""A value that a column never has, and a function of another database, are answered with what to write."""

from __future__ import annotations

import pytest

from tests.served import Served

HEADS = "SalesOrderHeadersV2"
MEMBERS = "None, Backorder, Delivered, Invoiced or Canceled"


@pytest.mark.parametrize(
    ("sql", "message", "hint"),
    [
        (f"SELECT 1 FROM {HEADS} WHERE SalesOrderStatus = 1", "write 'Backorder', not 1", MEMBERS),
        (f"SELECT 1 FROM {HEADS} WHERE 99 = SalesOrderStatus", "99 is none of its members", MEMBERS),
        (f"SELECT 1 FROM {HEADS} WHERE SalesOrderStatus = 'Opened'", 'No member of SalesStatus "Opened"', MEMBERS),
        (f"SELECT 1 FROM {HEADS} WHERE SalesOrderStatus <> 'Opened'", 'No member of SalesStatus "Opened"', MEMBERS),
        (f"SELECT 1 FROM {HEADS} WHERE SalesOrderStatus NOT IN ('Backorder', 'Opened')", '"Opened"', MEMBERS),
        (f"SELECT count(*) FILTER (WHERE SalesOrderStatus = 'Opened') FROM {HEADS}", '"Opened"', MEMBERS),
        (f"SELECT CASE SalesOrderStatus WHEN 'Opened' THEN 1 END FROM {HEADS}", '"Opened"', MEMBERS),
        (f"SELECT CASE WHEN SalesOrderStatus = 'Opened' THEN 1 END FROM {HEADS}", '"Opened"', MEMBERS),
        (f"WITH h AS (SELECT SalesOrderStatus AS s FROM {HEADS}) SELECT 1 FROM h WHERE s = 'Opened'", '"Opened"', MEMBERS),
        (f"SELECT 1 FROM {HEADS} WHERE (SalesOrderStatus, SalesOrderNumber) = ('Opened', '1')", '"Opened"', MEMBERS),
        (f"SELECT 1 FROM {HEADS} WHERE SalesOrderStatus IS DISTINCT FROM 'Opened'", '"Opened"', MEMBERS),
        (f"SELECT 1 FROM {HEADS} a JOIN {HEADS} b USING (SalesOrderStatus) WHERE SalesOrderStatus = 'Opened'", '"Opened"', MEMBERS),
        (f"SELECT SalesOrderStatus FROM {HEADS} GROUP BY 1 HAVING SalesOrderStatus = 'Opened'", '"Opened"', MEMBERS),
        (f"SELECT 1 FROM {HEADS} WHERE SalesOrderStatus > 'Backorder'", "has no order", MEMBERS),
        (f"SELECT 1 FROM {HEADS} WHERE SalesOrderStatus BETWEEN 'Backorder' AND 'Invoiced'", "has no order", MEMBERS),
        (f"SELECT 1 FROM {HEADS} WHERE SalesOrderStatus = true", "not true or false", MEMBERS),
        (f"SELECT 1 FROM {HEADS} WHERE RequestedShippingDate = '20210902'", "write '2021-09-02', not '20210902'", ""),
        (f"SELECT 1 FROM {HEADS} WHERE (RequestedShippingDate, 1) IN (('20210902', 1))", "write '2021-09-02', not '20210902'", ""),
        (f"SELECT 1 FROM {HEADS} a FULL JOIN {HEADS} b USING (RequestedShippingDate) WHERE RequestedShippingDate = '20210902'", "write '2021-09-02', not '20210902'", ""),
        (f"SELECT 1 FROM {HEADS} WHERE RequestedShippingDate >= 20210902", "write '2021-09-02', not 20210902", ""),
        (f"SELECT 1 FROM {HEADS} WHERE RequestedShippingDate IN ('2021-09-02', '02.09.2021')", "such as '2026-07-14', not '02.09.2021'", ""),
        (f"SELECT 1 FROM {HEADS} WHERE RequestedShippingDate = '2021-02-30'", "is a date", ""),
        (f"SELECT 1 FROM {HEADS} WHERE RequestedShippingDate = '2021-09-02 10:30'", "a date without a time: write '2021-09-02'", ""),
        (f"SELECT 1 FROM {HEADS} WHERE RequestedShippingDate = TRY_CAST('20210902' AS DATE)", "'20210902' is no date: write '2021-09-02'", ""),
        (f"SELECT 1 FROM {HEADS} WHERE RequestedShippingDate > DATE '09/02/2021'", "is no date", ""),
        (f"SELECT 1 FROM {HEADS} WHERE OrderCreationDateTime >= '20210902'", "write '2021-09-02'", ""),
        (f"SELECT 1 FROM {HEADS} WHERE RequestedShippingDate >= DATEADD(day, -7, GETDATE())", "write d + INTERVAL 7 DAY", ""),
        (f"SELECT GETDATE() FROM {HEADS}", "write current_date", ""),
        (f"SELECT DATEPART(year, RequestedShippingDate) FROM {HEADS}", "write datepart('year', …)", ""),
        (f"SELECT CONVERT(date, RequestedShippingDate) FROM {HEADS}", "write CAST(x AS DATE)", ""),
        (f"SELECT TO_CHAR(RequestedShippingDate, 'YYYY') FROM {HEADS}", "write strftime(d, '%Y-%m')", ""),
        (f"SELECT EOMONTH(RequestedShippingDate) FROM {HEADS}", "write last_day(d)", ""),
        (f"SELECT ISNULL(OrderTotalAmount, 0) FROM {HEADS}", "write coalesce(x, 0)", ""),
        (f"SELECT 1 FROM {HEADS} WHERE OrderTotalAmount > 'much'", "OrderTotalAmount is a number, which 'much' is not", ""),
        (f"SELECT 1 FROM {HEADS} WHERE RequestedShippingDate LIKE '2021%'", "cannot be answered", "year(d) = 2021"),
        (f"SELECT left(OrderCreationDateTime, 7) FROM {HEADS}", "cannot be answered", "strftime(t, '%Y-%m')"),
        (f"SELECT 1 FROM {HEADS} WHERE OrderTotalAmount LIKE '12%'", "cannot be answered", "compare it with numbers"),
        ("SELECT 1 FROM CustomersV3 WHERE CustomerAccount > 5", "cannot be answered", "a text in quotes"),
        ("SELECT 1 FROM SystemUsers WHERE Enabled = 'maybe'", "Enabled is true or false", ""),
        ("SELECT 1 FROM CustomersV3 WHERE CustomerAccount = 1001", "a value of CustomerAccount is not a whole number", "in quotes"),
        (f"SELECT h FROM {HEADS} h", "h is a table", ""),
        (f"SELECT COLUMNS('Sales.*') FROM {HEADS}", "COLUMNS is not run here", ""),
        (f"SELECT a FROM {HEADS} h(a)", "an alias alone", ""),
        (f"SELECT * FROM {HEADS} POSITIONAL JOIN CustomersV3", "Join them on columns", ""),
        (f"SELECT 1 FROM {HEADS} a FULL JOIN {HEADS} b USING (dataAreaId) JOIN {HEADS} c USING (dataAreaId)", "not USING", ""),
    ],
)  # fmt: skip
def test_a_mistake_in_a_statement_is_answered_with_what_to_write(
    server: Served, sql: str, message: str, hint: str
) -> None:
    error = server.refuse("query_sql", sql=sql)
    assert message in error["message"]
    assert hint in error.get("hint", "")


JOINED = f"FROM {HEADS} h JOIN CustomersV3 c ON c.CustomerAccount = h.OrderingCustomerAccountNumber"
LISTS = "d365fo_get_entity_schema lists the columns of"
BY_LABEL = 'Did you mean OrganizationName (label "Name")'


@pytest.mark.parametrize(
    ("sql", "message", "hint"),
    [
        ("SELECT CustomerName FROM CustomersV3", f'No column "CustomerName". {BY_LABEL}', f"{LISTS} CustomersV3."),
        (f"SELECT c.CustomerName {JOINED}", f'No column "CustomerName". {BY_LABEL}', f"{LISTS} CustomersV3."),
        (f"SELECT 1 {JOINED} WHERE CustomerName = '1'", f"CustomersV3: {BY_LABEL}", f"{LISTS} {HEADS} or CustomersV3."),
        (f"SELECT h.CreditLimt {JOINED}", 'No column "CreditLimt".', f"{LISTS} {HEADS}."),
        (f"SELECT c.salesordernumber {JOINED}", f"SalesOrderNumber is in h ({HEADS}), not in c (CustomersV3).", ""),
        (f"SELECT c.CustomerAccount FROM CustomersV3 c WHERE EXISTS (SELECT 1 FROM {HEADS} h WHERE h.CustomerAccount = '1')", f"CustomerAccount is in c (CustomersV3), not in h ({HEADS}).", ""),
        (f"SELECT x.CreditLimit {JOINED}", 'No table "x" here.', f"reads h ({HEADS}), c (CustomersV3)."),
        ("SELECT CustomersV3.Name FROM CustomersV3 c", 'No table "CustomersV3" here.', "reads c (CustomersV3)."),
        (f"SELECT dataAreaId {JOINED}", "dataAreaId is in several tables: write h.dataAreaId or c.dataAreaId.", ""),
        (f"SELECT 1 FROM {HEADS} JOIN CustomersV3 USING (CustomerAccount)", "CustomerAccount is not in both tables: write ON", ""),
        ("WITH x AS (SELECT CustomerAccount AS Account, 1 AS one FROM CustomersV3) SELECT x.Acount FROM x", "Did you mean Account?", "x has Account, one."),
        ("WITH x AS (SELECT * FROM CustomersV3) SELECT x.CreditLimt FROM x", "Did you mean CreditLimit", "x has dataAreaId, "),
        ("SELECT dataAreaId FROM GeneralJournalAccountEntries", "", "has its company in DataArea."),
        ("SELECT c.dataAreaId FROM Currencies c", "", "Currencies is shared by all companies."),
    ],
)  # fmt: skip
def test_a_column_that_its_table_has_not_is_answered_with_those_it_has(
    server: Served, sql: str, message: str, hint: str
) -> None:
    error = server.refuse("query_sql", sql=sql)
    assert message in error["message"]
    assert hint in error.get("hint", "")
    assert ("OrganizationName" in error["message"]) == ("CustomerName" in sql)


@pytest.mark.parametrize(
    ("condition", "found"),
    [
        ("SalesOrderStatus = 'backorder'", True),
        ("SalesOrderStatus = 'SalesStatus.Backorder'", True),
        ("SalesOrderStatus = 'Microsoft.Dynamics.DataEntities.SalesStatus''Backorder'''", True),
        ("lower(SalesOrderStatus) = 'backorder'", True),
        ("SalesOrderStatus LIKE 'Back%'", True),
        ("OrderTotalAmount > '5000'", True),
        ("RequestedShippingDate > '2021-9-2'", True),
        ("datediff(day, RequestedShippingDate, current_date) > 5", True),
        ("IsDeliveryAddressPrivate = false", False),
    ],
)
def test_what_is_written_in_another_way_and_plain_is_understood(server: Served, condition: str, found: bool) -> None:
    [row] = server.call("query_sql", sql=f"SELECT count(*) AS n FROM {HEADS} WHERE {condition}")["records"]
    assert row["n"] or not found
