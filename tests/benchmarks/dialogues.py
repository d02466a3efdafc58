"""Forty requests of users, and the calls a capable model makes for each: plain data, played by `tests.benchmarks.agents`.

A step lists what its answer has to say, and calls that are tried in turn until one says it. The calls are what a model
knows to try from the tools' descriptions and from what it read before. They are not made to suit an implementation.
"""

from dataclasses import dataclass
from typing import Any

Arguments = dict[str, Any]


@dataclass(frozen=True)
class Step:
    """One question of the model's. `says` are texts that the answer must have, `calls` what is tried in turn."""

    says: tuple[str, ...]
    calls: tuple[tuple[str, Arguments], ...]


@dataclass(frozen=True)
class Dialogue:
    """A user's request, and the way to its answer."""

    request: str
    steps: tuple[Step, ...]


def search(entity_set: str, *questions: str) -> Step:
    """Look for an entity, in other words where the first ones do not find it."""
    return Step((f'"{entity_set}"',), tuple(("search_entities", {"query": question}) for question in questions))


def schema(entity_name: str, words: str | None, *says: str) -> Step:
    """Read what a model needs of a schema: by words first, then all of it."""
    whole = ("get_entity_schema", {"entity_name": entity_name})
    narrow = ("get_entity_schema", {"entity_name": entity_name, "columns": words})
    return Step(says, (narrow, whole) if words else (whole,))


def members(enumeration_name: str, *says: str) -> Step:
    """Read the labels of an enumeration's members."""
    return Step(says, (("get_enumeration_fields", {"enumeration_name": enumeration_name}),))


def call(tool: str, *says: str, otherwise: Arguments | None = None, **arguments: Any) -> Step:
    """Call a tool, and where it does not say enough once more with other arguments."""
    again = ((tool, {**arguments, **otherwise}),) if otherwise else ()
    return Step(says, ((tool, arguments), *again))


def query(entity_name: str, *says: str, otherwise: Arguments | None = None, **arguments: Any) -> Step:
    return call("query_entities", *says, otherwise=otherwise, entity_name=entity_name, **arguments)


def record(entity_name: str, *says: str, key: Arguments, otherwise: Arguments | None = None, **arguments: Any) -> Step:
    return call("get_entity_record", *says, otherwise=otherwise, entity_name=entity_name, key=key, **arguments)


def sql(statement: str, *says: str, otherwise: str | None = None, **arguments: Any) -> Step:
    again = {"sql": otherwise} if otherwise else None
    return call("query_sql", *says, otherwise=again, sql=statement, **arguments)


def create(entity_name: str, *says: str, **data: Any) -> Step:
    return call("create_entity_record", *says, entity_name=entity_name, data=data)


def update(entity_name: str, *says: str, key: Arguments, **data: Any) -> Step:
    return call("update_entity_record", *says, entity_name=entity_name, key=key, data=data)


def in_usmf(**key: Any) -> Arguments:
    return {"dataAreaId": "usmf", **key}


DIALOGUES = (
    Dialogue(
        "Which of our customers are on hold, and what for?",
        (
            search("CustomersV3", "customers on hold", "customers"),
            schema("CustomersV3", "hold", "OnHoldStatus"),
            members("CustVendorBlocked", "Invoice", "All"),
            query("CustomersV3", "US-017", "US-041", "US-103", filter="OnHoldStatus ne 'No'", company="usmf"),
        ),
    ),
    Dialogue(
        "Raise the credit limit of Desert Wholesales to 250,000.",
        (
            search("CustomersV3", "customer credit limit", "customers"),
            query("CustomersV3", "US-007", filter="OrganizationName eq 'Desert Wholesales'", company="usmf"),
            schema("CustomersV3", "credit limit", "CreditLimit"),
            record("CustomersV3", "CreditLimit", key=in_usmf(CustomerAccount="US-007"), select=["CreditLimit"]),
            update("CustomersV3", "updated", key=in_usmf(CustomerAccount="US-007"), CreditLimit=250000),
        ),
    ),
    Dialogue(
        "What is on free text invoice FTI-00000005?",
        (
            search("FreeTextInvoiceHeaders", "free text invoices", "free text invoice header"),
            query("FreeTextInvoiceHeaders", "FTI-00000005", filter="FreeTextNumber eq 'FTI-00000005'", company="usmf"),
            search("FreeTextInvoiceLines", "free text invoice lines", "invoice lines"),
            schema("FreeTextInvoiceLines", "parent", "ParentRecId"),
        ),
    ),
    Dialogue(
        "What are the payment terms of Forest Wholesales?",
        (
            search("CustomersV3", "customer payment terms", "customers"),
            query("CustomersV3", "US-003", filter="contains(OrganizationName, 'Forest')", company="usmf"),
            record(
                "CustomersV3",
                "PaymentTerms",
                key=in_usmf(CustomerAccount="US-003"),
                otherwise={"select": ["PaymentTerms", "OrganizationName"]},
            ),
        ),
    ),
    Dialogue(
        "Who are our five largest customers by the value of open orders?",
        (
            search("SalesOrderHeadersV4", "open sales orders", "sales order header"),
            schema("SalesOrderHeadersV4", "status amount customer", "SalesOrderStatus", "OrderTotalAmount"),
            sql(
                "SELECT h.OrderingCustomerAccountNumber, sum(h.OrderTotalAmount) AS total FROM SalesOrderHeadersV4 h "
                "WHERE h.SalesOrderStatus = 'Backorder' GROUP BY 1 ORDER BY 2 DESC LIMIT 5",
                "US-",
                company="usmf",
            ),
        ),
    ),
    Dialogue(
        "How many projectors (D0001) are in stock, by warehouse?",
        (
            search("WarehousesOnHandV2", "on-hand inventory by warehouse", "inventory on hand"),
            query(
                "WarehousesOnHandV2",
                "OnHandQuantity",
                "D0001",
                filter="ItemNumber eq 'D0001'",
                company="usmf",
                otherwise={"select": ["InventoryWarehouseId", "OnHandQuantity", "AvailableOnHandQuantity"]},
            ),
        ),
    ),
    Dialogue(
        "Which vendors are state tax authorities?",
        (
            search("VendorGroups", "vendor groups", "supplier groups"),
            query("VendorGroups", "tax", company="usmf"),
            search("VendorsV3", "vendors", "suppliers"),
            query("VendorsV3", "US_TX_001", filter="VendorGroupId eq '30'", company="usmf"),
        ),
    ),
    Dialogue(
        "What is the phone number of customer US-025?",
        (
            search("CustomersV3", "customer phone number", "customers"),
            record(
                "CustomersV3",
                "123-555-0157",
                key=in_usmf(CustomerAccount="US-025"),
                otherwise={"select": ["OrganizationName", "PrimaryContactPhone"]},
            ),
        ),
    ),
    Dialogue(
        "Create a customer group 99 for museums.",
        (
            search("CustomerGroups", "customer groups", "customer group"),
            schema("CustomerGroups", None, "CustomerGroupId", "Description"),
            create("CustomerGroups", "created", dataAreaId="usmf", CustomerGroupId="99", Description="Museums"),
        ),
    ),
    Dialogue(
        "Enter a sales order for Contoso Retail San Diego: two projectors and four speakers.",
        (
            search("SalesOrderHeadersV4", "sales order header", "sales orders"),
            schema("SalesOrderHeadersV4", "customer number", "OrderingCustomerAccountNumber"),
            search("SalesOrderLinesV3", "sales order lines", "order lines"),
            schema("SalesOrderLinesV3", "item quantity", "ItemNumber", "OrderedSalesQuantity"),
            create("SalesOrderHeadersV4", "000812", dataAreaId="usmf", OrderingCustomerAccountNumber="US-001"),
            call(
                "batch",
                "done",
                operations=[
                    {
                        "operation": "create",
                        "entity_name": "SalesOrderLinesV3",
                        "data": {
                            "dataAreaId": "usmf",
                            "SalesOrderNumber": "000812",
                            "ItemNumber": item,
                            "OrderedSalesQuantity": quantity,
                        },
                    }
                    for item, quantity in (("D0001", 2), ("D0003", 4))
                ],
            ),
        ),
    ),
    Dialogue(
        "Which purchase orders are we still waiting for?",
        (
            search("PurchaseOrderHeadersV2", "purchase orders", "purchase order header"),
            schema("PurchaseOrderHeadersV2", "status", "PurchaseOrderStatus"),
            members("PurchStatus", "Backorder", "Received"),
            query(
                "PurchaseOrderHeadersV2",
                "Backorder",
                filter="PurchaseOrderStatus eq 'Backorder'",
                company="usmf",
                otherwise={"select": ["PurchaseOrderNumber", "OrderVendorAccountNumber", "PurchaseOrderStatus"]},
            ),
        ),
    ),
    Dialogue(
        "Show me journal 00475 with its lines.",
        (
            search("LedgerJournalHeaders", "general journal", "ledger journal header"),
            record("LedgerJournalHeaders", "00475", key=in_usmf(JournalBatchNumber="00475")),
            search("LedgerJournalLines", "general journal lines", "ledger journal lines"),
            query("LedgerJournalLines", "00475", filter="JournalBatchNumber eq '00475'", company="usmf"),
        ),
    ),
    Dialogue(
        "Accrue 1,200 for telephone in the daily journal.",
        (
            search("LedgerJournalHeaders", "general journal", "ledger journal header"),
            schema("LedgerJournalHeaders", None, "JournalName"),
            search("JournalNames", "journal names", "ledger journal names"),
            query("JournalNames", "GenJrn", company="usmf"),
            create("LedgerJournalHeaders", "created", dataAreaId="usmf", JournalName="GenJrn", Description="Telephone"),
        ),
    ),
    Dialogue(
        "What is June Low's e-mail address?",
        (
            search("EmployeesV2", "employees", "workers"),
            query(
                "EmployeesV2",
                "@contoso.com",
                filter="Name eq 'June Low'",
                otherwise={"select": ["Name", "PrimaryContactEmail"]},
            ),
        ),
    ),
    Dialogue(
        "What was the euro worth in dollars in 2016?",
        (
            search("ExchangeRates", "exchange rates", "currency exchange rate"),
            query(
                "ExchangeRates",
                "108.93",
                filter="FromCurrency eq 'EUR' and ToCurrency eq 'USD' and StartDate ge 2016-01-01",
            ),
        ),
    ),
    Dialogue(
        "Which bank accounts do we have, and in which currency?",
        (
            search("BankAccounts", "bank accounts", "company bank accounts"),
            query(
                "BankAccounts",
                "USMF OPER",
                "CurrencyCode",
                company="usmf",
                otherwise={"select": ["BankAccountId", "Name", "CurrencyCode"]},
            ),
        ),
    ),
    Dialogue(
        "Did any batch job fail?",
        (
            search("BatchJobs", "batch jobs", "background jobs"),
            schema("BatchJobs", "status", "Status"),
            query("BatchJobs", "Error", filter="Status eq 'Error'"),
        ),
    ),
    Dialogue(
        "Is the user Julia enabled, and who is she?",
        (
            search("SystemUsers", "system users", "users"),
            query(
                "SystemUsers",
                "Julia Funderburk",
                "Enabled",
                filter="UserID eq 'Julia'",
                otherwise={"select": ["UserID", "UserName", "Enabled", "Email"]},
            ),
        ),
    ),
    Dialogue("Which version of F&O are we on?", (call("get_environment_info", "10.0."),)),
    Dialogue(
        "In which currency does the Japanese company keep its books?",
        (
            search("Ledgers", "ledger accounting currency by legal entity", "ledger currency", "ledgers"),
            query(
                "Ledgers",
                "JPY",
                filter="LegalEntityId eq 'jpmf'",
                otherwise={"select": ["LegalEntityId", "AccountingCurrency"]},
            ),
        ),
    ),
    Dialogue(
        "What does a sales order's status Backorder mean?",
        (
            call("search_enumerations", "SalesStatus", query="sales order status"),
            members("SalesStatus", "Open order"),
        ),
    ),
    Dialogue(
        "How many sales orders are there by status?",
        (
            search("SalesOrderHeadersV4", "sales orders", "sales order header"),
            sql(
                "SELECT SalesOrderStatus, count(*) AS orders FROM SalesOrderHeadersV4 GROUP BY 1 ORDER BY 2 DESC",
                "Invoiced",
                "Backorder",
                company="usmf",
            ),
        ),
    ),
    Dialogue(
        "Which ten items sold best?",
        (
            search("SalesOrderLinesV3", "sales order lines", "order lines"),
            schema("SalesOrderLinesV3", "item amount", "ItemNumber", "LineAmount"),
            sql(
                "SELECT ItemNumber, sum(LineAmount) AS sales FROM SalesOrderLinesV3 "
                "GROUP BY ItemNumber ORDER BY sales DESC LIMIT 10",
                "D0",
                company="usmf",
            ),
        ),
    ),
    Dialogue(
        "What did Owl Wholesales order last?",
        (
            search("SalesOrderHeadersV4", "sales orders", "sales order header"),
            query(
                "SalesOrderHeadersV4",
                "US-009",
                filter="SalesOrderName eq 'Owl Wholesales'",
                order_by=["OrderCreationDateTime desc"],
                top=3,
                company="usmf",
                otherwise={"select": ["SalesOrderNumber", "OrderingCustomerAccountNumber", "OrderCreationDateTime"]},
            ),
        ),
    ),
    Dialogue(
        "List the lines of sales order 000810.",
        (
            search("SalesOrderLinesV3", "sales order lines", "order lines"),
            query(
                "SalesOrderLinesV3",
                "ItemNumber",
                "OrderedSalesQuantity",
                filter="SalesOrderNumber eq '000810'",
                company="usmf",
                otherwise={"select": ["ItemNumber", "OrderedSalesQuantity", "LineAmount"]},
            ),
        ),
    ),
    Dialogue(
        "Ship order 000811 a week later.",
        (
            search("SalesOrderHeadersV4", "sales order header", "sales orders"),
            schema("SalesOrderHeadersV4", "requested shipping date", "RequestedShippingDate"),
            record(
                "SalesOrderHeadersV4",
                "RequestedShippingDate",
                key=in_usmf(SalesOrderNumber="000811"),
                select=["RequestedShippingDate", "SalesOrderStatus"],
            ),
            call(
                "update_entity_record",
                "nothing sent",
                entity_name="SalesOrderHeadersV4",
                key=in_usmf(SalesOrderNumber="000811"),
                data={"RequestedShippingDate": "2023-12-15"},
                dry_run=True,
            ),
            update(
                "SalesOrderHeadersV4",
                "updated",
                key=in_usmf(SalesOrderNumber="000811"),
                RequestedShippingDate="2023-12-15",
            ),
        ),
    ),
    Dialogue(
        "Delete the customer group 98 that I made by mistake.",
        (
            create("CustomerGroups", "created", dataAreaId="usmf", CustomerGroupId="98", Description="Mistake"),
            search("CustomerGroups", "customer groups", "customer group"),
            call(
                "delete_entity_record",
                "confirm",
                entity_name="CustomerGroups",
                key=in_usmf(CustomerGroupId="98"),
            ),
            call(
                "delete_entity_record",
                "deleted",
                entity_name="CustomerGroups",
                key=in_usmf(CustomerGroupId="98"),
                confirm=True,
            ),
        ),
    ),
    Dialogue(
        "Pay nothing to vendor US-104 for now.",
        (
            search("VendorsV3", "vendor on hold", "vendors"),
            schema("VendorsV3", "hold", "OnHoldStatus"),
            members("CustVendorBlocked", "Payment"),
            update("VendorsV3", "updated", key=in_usmf(VendorAccountNumber="US-104"), OnHoldStatus="Payment"),
        ),
    ),
    Dialogue(
        "Send me invoice CIV-000205 as a PDF.",
        (call("download_document", "CIV-000205", document="customer_invoice", number="CIV-000205", company="usmf"),),
    ),
    Dialogue(
        "Which actions are there for data packages?",
        (call("search_actions", "ExportToPackage", query="export data package"),),
    ),
    Dialogue(
        "What was posted to account 606300, month by month?",
        (
            search("GeneralJournalAccountEntries", "general journal account entries", "posted ledger transactions"),
            schema("GeneralJournalAccountEntries", "account date amount", "AccountingDate", "AccountingCurrencyAmount"),
            sql(
                "SELECT date_trunc('month', AccountingDate) AS month, sum(AccountingCurrencyAmount) AS amount "
                "FROM GeneralJournalAccountEntries WHERE LedgerAccount LIKE '606300%' AND DataArea = 'usmf' "
                "GROUP BY 1 ORDER BY 1",
                "2020-10",
                "13500",
            ),
        ),
    ),
    Dialogue(
        "Which fixed assets did we buy in 2015, and for how much?",
        (
            search("FixedAssetsV2", "fixed assets", "assets"),
            query(
                "FixedAssetsV2",
                "COMP-000001",
                "1899",
                filter="AcquisitionDate ge 2015-01-01 and AcquisitionDate le 2015-12-31",
                company="usmf",
                otherwise={"select": ["FixedAssetNumber", "Name", "AcquisitionDate", "AcquisitionPrice"]},
            ),
        ),
    ),
    Dialogue(
        "Which projects run for Pelican Wholesales?",
        (
            search("ProjectsV2", "projects", "project"),
            query(
                "ProjectsV2",
                "000036",
                "InProcess",
                filter="CustomerAccountNumber eq 'US-013'",
                company="usmf",
                otherwise={"select": ["ProjectId", "ProjectName", "ProjectStage"]},
            ),
        ),
    ),
    Dialogue(
        "Which production orders are started and not finished?",
        (
            search("ProductionOrderHeaders", "production orders", "production order header"),
            schema("ProductionOrderHeaders", "status", "ProductionOrderStatus"),
            query(
                "ProductionOrderHeaders",
                "StartedUp",
                filter="ProductionOrderStatus eq 'StartedUp'",
                company="usmf",
                otherwise={"select": ["ProductionOrderNumber", "ItemNumber", "ProductionOrderStatus"]},
            ),
        ),
    ),
    Dialogue(
        "What is on its way between our warehouses?",
        (
            search("TransferOrderHeaders", "transfer orders between warehouses", "transfer order"),
            query(
                "TransferOrderHeaders",
                "TO-000002",
                "Shipped",
                filter="TransferOrderStatus eq 'Shipped'",
                company="usmf",
                otherwise={"select": ["TransferOrderNumber", "TransferOrderStatus", "ReceivingWarehouseId"]},
            ),
            search("TransferOrderLines", "transfer order lines", "transfer lines"),
            query("TransferOrderLines", "ItemNumber", filter="TransferOrderNumber eq 'TO-000002'", company="usmf"),
        ),
    ),
    Dialogue(
        "Which number will the next sales order get?",
        (
            search("SequenceV2Tables", "number sequences", "number sequence code"),
            query(
                "SequenceV2Tables",
                "Sale_37",
                "Next",
                filter="contains(Name, 'Sales order')",
                otherwise={"select": ["NumberSequenceCode", "ScopeValue", "Name", "Next", "Format"]},
            ),
        ),
    ),
    Dialogue(
        "List the customers of our German company.",
        (
            call("get_environment_info", "demf"),
            search("CustomersV3", "customers", "customer master"),
            query("CustomersV3", "DE-", company="demf"),
        ),
    ),
    Dialogue(
        "Show names and credit limits of all customers on hold.",
        (
            query(
                "CustomersV3",
                "Turtle Wholesales",
                select=["CustomerAccount", "CustomerName", "CreditLimit"],
                filter="OnHoldStatus ne 'No'",
                company="usmf",
                otherwise={"select": ["CustomerAccount", "OrganizationName", "CreditLimit"]},
            ),
        ),
    ),
    Dialogue(
        "What are our products called, with their prices?",
        (
            search("ReleasedProductsV2", "released products", "products"),
            call(
                "query_entities",
                "Projector",
                entity_name="ReleasedProductsV2",
                select=["ItemNumber", "ProductName", "SalesPrice"],
                company="usmf",
                top=20,
                otherwise={"select": ["ItemNumber", "ProductSearchName", "SalesPrice"]},
            ),
        ),
    ),
    Dialogue(
        "Set the payment terms of US-004, US-005 and US-006 to Net45.",
        (
            search("CustomersV3", "customer payment terms", "customers"),
            schema("CustomersV3", "payment terms", "PaymentTerms"),
            search("PaymentTerms", "terms of payment", "payment terms"),
            query("PaymentTerms", "Net45", filter="Name eq 'Net45'", company="usmf"),
            call(
                "batch",
                "done",
                operations=[
                    {
                        "operation": "update",
                        "entity_name": "CustomersV3",
                        "key": in_usmf(CustomerAccount=account),
                        "data": {"PaymentTerms": "Net45"},
                    }
                    for account in ("US-004", "US-005", "US-006")
                ],
            ),
        ),
    ),
)
