"""Ordinary filters, translated and put to a simulated F&O: it accepts each, and the right records come back.

What is right is said in Python beside each filter, and found among all records of the entity.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import httpx
import pytest

from d365mcp.d365.filters.translate import keyset_filter, translate_filter
from d365mcp.d365.filters.tree import matches_filter
from d365mcp.d365.keys import key_predicate
from d365mcp.d365.metadata_service import entity_from, enumeration_from
from d365mcp.d365.models import DataEntity
from d365mcp.d365.odata import QueryOptions
from tests.simulated import Simulator

Record = dict[str, Any]


@dataclass
class Table:
    """An entity set, read by a caller who asks in ordinary OData."""

    client: httpx.Client
    entity_set: str
    columns: tuple[str, ...]

    @cached_property
    def entity(self) -> DataEntity:
        found = self.client.get("/metadata/PublicEntities", params={"$filter": f"EntitySetName eq '{self.entity_set}'"})
        entity = entity_from(found.raise_for_status().json()["value"][0])
        names = {entity.properties[column].enumeration for column in self.columns} - {None}
        answers = [self.client.get(f"/metadata/PublicEnumerations('{name}')") for name in names]
        known = [enumeration_from(answer.raise_for_status().json()) for answer in answers]
        return replace(entity, enumerations={enumeration.name: enumeration for enumeration in known})

    @cached_property
    def records(self) -> list[Record]:
        return self.asked("")

    def asked(self, part: str, order_by: tuple[str, ...] = (), top: int | None = None) -> list[Record]:
        """Put one F&O filter to F&O."""
        options = QueryOptions(select=self.columns, filter=part, order_by=order_by, top=top, cross_company=True)
        answer = self.client.get(f"/data/{self.entity_set}?{options.query_string()}")
        assert answer.status_code == 200, answer.text
        return [self.plain(record) for record in answer.json()["value"]]

    def plain(self, record: Record) -> Record:
        return {column: record[column] for column in self.columns}

    def query(self, text: str) -> list[Record]:
        translation = translate_filter(text, self.entity)
        found = [record for part in translation.filters for record in self.asked(part)]
        exact = translation.needs_exact_check
        return [record for record in found if not exact or matches_filter(translation.expression, record)]


COLUMNS = {
    "CustomersV3": (
        *("dataAreaId", "CustomerAccount", "OrganizationName", "NameAlias", "CustomerGroupId", "CreditLimit"),
        *("OnHoldStatus", "AddressCity", "PaymentTerms", "ConsolidationDay", "DeliveryAddressValidFrom"),
    ),
    "SalesOrderHeadersV2": (
        *("dataAreaId", "SalesOrderNumber", "SalesOrderStatus", "RequestedShippingDate", "ConfirmedShippingDate"),
        *("OrderCreationDateTime", "OrderTotalAmount", "OrderingCustomerAccountNumber"),
    ),
    "ExchangeRates": ("RateTypeName", "FromCurrency", "ToCurrency", "StartDate", "EndDate", "Rate", "ConversionFactor"),
    "SystemUsers": ("UserID", "UserName", "Enabled", "Company", "SqmGUID"),
    "BatchJobs": ("BatchJobRecId", "Status", "CompanyAccounts"),
    "PaymentTerms": ("dataAreaId", "Name", "NumberOfDays", "IsCashPayment"),
}


@pytest.fixture(scope="module")
def tables(simulator_process: Simulator) -> Iterator[dict[str, Table]]:
    simulator_process.reset()
    with simulator_process.client() as client:
        yield {name: Table(client, name, columns) for name, columns in COLUMNS.items()}


def low(record: Record, column: str) -> str:
    return str(record[column]).lower()


def day(record: Record, column: str) -> str:
    return str(record[column])[:10]


Rule = Callable[[Record], bool]
CUSTOMERS: dict[str, Rule] = {
    "CustomerAccount eq 'us-001'": lambda r: r["CustomerAccount"] == "US-001",
    "'US-001' eq customeraccount": lambda r: r["CustomerAccount"] == "US-001",
    "CustomerAccount ne 'US-001'": lambda r: r["CustomerAccount"] != "US-001",
    "CustomerAccount eq ' RFI-001'": lambda r: r["CustomerAccount"] == " RFI-001",
    "OrganizationName eq 'O''Hare Electronics'": lambda r: r["OrganizationName"] == "O'Hare Electronics",
    "OrganizationName eq 'Oak & Elm Wholesales'": lambda r: r["OrganizationName"] == "Oak & Elm Wholesales",
    "OrganizationName eq 'Birch / Pine Partners'": lambda r: r["OrganizationName"] == "Birch / Pine Partners",
    "OrganizationName eq 'Café Zoë – Audio'": lambda r: r["OrganizationName"] == "Café Zoë – Audio",
    "OrganizationName eq '\"Quality\" Sound 100% *Live*'": lambda r: "*Live*" in r["OrganizationName"],
    "OrganizationName eq 'Contoso*'": lambda r: False,
    "OrganizationName ne 'Contoso*'": lambda r: True,
    "contains(OrganizationName,'*live')": lambda r: "*live" in low(r, "OrganizationName"),
    "not contains(OrganizationName,'l*l')": lambda r: True,
    "contains(OrganizationName,'RETAIL')": lambda r: "retail" in low(r, "OrganizationName"),
    "startswith(tolower(OrganizationName),'contoso')": lambda r: low(r, "OrganizationName").startswith("contoso"),
    "endswith(OrganizationName,'Wholesales')": lambda r: low(r, "OrganizationName").endswith("wholesales"),
    "not endswith(OrganizationName,'Wholesales')": lambda r: not low(r, "OrganizationName").endswith("wholesales"),
    "contains(OrganizationName,'100%')": lambda r: "100%" in r["OrganizationName"],
    "contains(OrganizationName,'''')": lambda r: "'" in r["OrganizationName"],
    "substringof('owl',OrganizationName)": lambda r: "owl" in low(r, "OrganizationName"),
    "contains(OrganizationName,'e') and contains(OrganizationName,'z')": lambda r: (
        {"e", "z"} <= set(low(r, "OrganizationName"))
    ),
    "contains(OrganizationName,'retail') eq false": lambda r: "retail" not in low(r, "OrganizationName"),
    "not (contains(OrganizationName,'retail') or CreditLimit ge 350000)": lambda r: (
        "retail" not in low(r, "OrganizationName") and r["CreditLimit"] < 350000
    ),
    "CustomerAccount in ('US-001','US-009','nobody')": lambda r: r["CustomerAccount"] in ("US-001", "US-009"),
    "not (CustomerAccount in ('US-001','US-009'))": lambda r: r["CustomerAccount"] not in ("US-001", "US-009"),
    "CustomerGroupId eq 30": lambda r: r["CustomerGroupId"] == "30",
    "CustomerGroupId in (10,20) and CreditLimit gt 0": lambda r: (
        r["CustomerGroupId"] in ("10", "20") and r["CreditLimit"] > 0
    ),
    "CreditLimit gt 500000": lambda r: r["CreditLimit"] > 500000,
    "500000 lt CreditLimit": lambda r: r["CreditLimit"] > 500000,
    "CreditLimit ge '500000.00'": lambda r: r["CreditLimit"] >= 500000,
    "CreditLimit gt 1e5 and CreditLimit le 3.5e5": lambda r: 100000 < r["CreditLimit"] <= 350000,
    "CreditLimit in (0,50000,100000)": lambda r: r["CreditLimit"] in (0, 50000, 100000),
    "CreditLimit mul 2 ge 1000000": lambda r: r["CreditLimit"] >= 500000,
    "CreditLimit sub 100000 lt 0": lambda r: r["CreditLimit"] < 100000,
    "CreditLimit divby 2 eq 25000": lambda r: r["CreditLimit"] == 50000,
    "ConsolidationDay add 3 divby 2 eq 1.5": lambda r: r["ConsolidationDay"] == 0,
    "(ConsolidationDay add 3) divby 2 eq 1.5": lambda r: r["ConsolidationDay"] == 0,
    "(ConsolidationDay add 3) div 2 eq 1": lambda r: r["ConsolidationDay"] == 0,
    "-CreditLimit lt -500000": lambda r: r["CreditLimit"] > 500000,
    "not (CreditLimit lt 500000)": lambda r: r["CreditLimit"] >= 500000,
    "ConsolidationDay eq '0'": lambda r: r["ConsolidationDay"] == 0,
    "OnHoldStatus eq 'All'": lambda r: r["OnHoldStatus"] == "All",
    "OnHoldStatus eq all": lambda r: r["OnHoldStatus"] == "All",
    "OnHoldStatus ne CustVendorBlocked'No'": lambda r: r["OnHoldStatus"] != "No",
    "OnHoldStatus eq Microsoft.Dynamics.DataEntities.CustVendorBlocked'No'": lambda r: r["OnHoldStatus"] == "No",
    "OnHoldStatus in ('All','Invoice')": lambda r: r["OnHoldStatus"] in ("All", "Invoice"),
    "OnHoldStatus eq 2": lambda r: r["OnHoldStatus"] == "All",
    "not (OnHoldStatus eq 'No') and CreditLimit eq 0": lambda r: r["OnHoldStatus"] != "No" and r["CreditLimit"] == 0,
    "dataAreaId eq 'USMF'": lambda r: r["dataAreaId"] == "usmf",
    "dataAreaId in ('usmf','usrt') and OnHoldStatus eq 'No'": lambda r: (
        r["dataAreaId"] in ("usmf", "usrt") and r["OnHoldStatus"] == "No"
    ),
    "dataAreaId ne 'usmf'": lambda r: r["dataAreaId"] != "usmf",
    "(dataAreaId eq 'usmf' and CreditLimit eq 0) or (dataAreaId eq 'usrt' and CreditLimit gt 0)": lambda r: (
        (r["dataAreaId"], r["CreditLimit"] > 0) in (("usmf", False), ("usrt", True))
    ),
    "AddressCity eq 'San José'": lambda r: r["AddressCity"] == "San José",
    "AddressCity gt 'S' and AddressCity lt 'T'": lambda r: low(r, "AddressCity").startswith("s"),
    "PaymentTerms ne null": lambda r: r["PaymentTerms"] != "",
    "PaymentTerms eq null": lambda r: r["PaymentTerms"] == "",
    "NameAlias eq OrganizationName": lambda r: low(r, "NameAlias") == low(r, "OrganizationName"),
    "DeliveryAddressValidFrom eq null": lambda r: day(r, "DeliveryAddressValidFrom") == "1900-01-01",
    "dataAreaId eq 'usmf' and customergroup/Description eq 'retail customers'": lambda r: (
        (r["dataAreaId"], r["CustomerGroupId"]) == ("usmf", "30")
    ),
    "contains(CustomerGroup/Description,'major')": lambda r: r["CustomerGroupId"] == "20",
    "CUSTOMERACCOUNT EQ 'US-001' AND NOT (CREDITLIMIT LT 0)": lambda r: r["CustomerAccount"] == "US-001",
}
ORDERS: dict[str, Rule] = {
    "RequestedShippingDate eq 2021-09-14": lambda r: day(r, "RequestedShippingDate") == "2021-09-14",
    "RequestedShippingDate eq 2021-09-14T00:00:00Z": lambda r: day(r, "RequestedShippingDate") == "2021-09-14",
    "RequestedShippingDate eq '2021-09-14'": lambda r: day(r, "RequestedShippingDate") == "2021-09-14",
    "RequestedShippingDate ne 2021-09-14": lambda r: day(r, "RequestedShippingDate") != "2021-09-14",
    "RequestedShippingDate in (2021-09-14,2021-09-15)": lambda r: (
        day(r, "RequestedShippingDate") in ("2021-09-14", "2021-09-15")
    ),
    "RequestedShippingDate ge 2021-10-01 and RequestedShippingDate lt 2021-11-01": lambda r: day(
        r, "RequestedShippingDate"
    ).startswith("2021-10"),
    "RequestedShippingDate gt 2021-09-30 and RequestedShippingDate le 2021-10-31": lambda r: day(
        r, "RequestedShippingDate"
    ).startswith("2021-10"),
    "RequestedShippingDate ge 2021-10-01T00:00:00Z and RequestedShippingDate le 2021-10-31T23:59:59Z": lambda r: day(
        r, "RequestedShippingDate"
    ).startswith("2021-10"),
    "RequestedShippingDate gt 2021-09-30T00:00:00Z and RequestedShippingDate le 2021-10-31T00:00:00Z": lambda r: (
        "2021-09-30" <= day(r, "RequestedShippingDate") < "2021-10-31"
    ),
    "year(RequestedShippingDate) eq 2021 and month(RequestedShippingDate) eq 10": lambda r: day(
        r, "RequestedShippingDate"
    ).startswith("2021-10"),
    "year(RequestedShippingDate) gt 2022": lambda r: day(r, "RequestedShippingDate") > "2022-12-31",
    "date(RequestedShippingDate) eq 2021-09-14": lambda r: day(r, "RequestedShippingDate") == "2021-09-14",
    "ConfirmedShippingDate eq null": lambda r: day(r, "ConfirmedShippingDate") == "1900-01-01",
    "ConfirmedShippingDate ne null": lambda r: day(r, "ConfirmedShippingDate") != "1900-01-01",
    "OrderCreationDateTime eq 2021-09-14": lambda r: day(r, "OrderCreationDateTime") == "2021-09-14",
    "OrderCreationDateTime ne 2021-09-14": lambda r: day(r, "OrderCreationDateTime") != "2021-09-14",
    "date(OrderCreationDateTime) le 2021-09-14": lambda r: day(r, "OrderCreationDateTime") <= "2021-09-14",
    "OrderCreationDateTime gt 2021-09-14 and OrderCreationDateTime lt 2021-09-17": lambda r: (
        day(r, "OrderCreationDateTime") in ("2021-09-15", "2021-09-16")
    ),
    "OrderCreationDateTime le 2021-09-14T10:58:53+02:00": lambda r: (
        r["OrderCreationDateTime"] <= "2021-09-14T08:58:53Z"
    ),
    "year(OrderCreationDateTime) ne 2021": lambda r: not day(r, "OrderCreationDateTime").startswith("2021"),
    "SalesOrderStatus in (Backorder,'Delivered') and OrderTotalAmount gt 20000": lambda r: (
        r["SalesOrderStatus"] in ("Backorder", "Delivered") and r["OrderTotalAmount"] > 20000
    ),
    "SalesOrderNumber eq 000001": lambda r: r["SalesOrderNumber"] == "000001",
    "OrderTotalAmount mod 2 eq 1": lambda r: r["OrderTotalAmount"] % 2 == 1,
}
OTHERS: dict[tuple[str, str], Rule] = {
    ("ExchangeRates", "StartDate le 2026-07-14 and EndDate ge 2026-07-14"): lambda r: (
        day(r, "StartDate") <= "2026-07-14" <= day(r, "EndDate")
    ),
    ("ExchangeRates", "EndDate ge 2154-12-31"): lambda r: day(r, "EndDate") == "2154-12-31",
    ("ExchangeRates", "StartDate lt EndDate and Rate lt 1.0"): lambda r: r["Rate"] < 1,
    ("ExchangeRates", "ConversionFactor eq 'hundred' and FromCurrency eq 'eur'"): lambda r: r["FromCurrency"] == "EUR",
    ("SystemUsers", "Enabled"): lambda r: r["Enabled"],
    ("SystemUsers", "not Enabled"): lambda r: not r["Enabled"],
    ("SystemUsers", "Enabled eq 'No' or Company eq 'dat'"): lambda r: not r["Enabled"] or r["Company"] == "dat",
    ("SystemUsers", "SqmGUID eq '3F0A4C7E-8A4D-4D8E-9A51-27C6E7A1D001'"): lambda r: r["UserID"] == "Admin",
    ("SystemUsers", "SqmGUID eq null"): lambda r: r["UserID"] != "Admin",
    ("BatchJobs", "BatchJobRecId ge 5637145003 and Status ne 'Finished'"): lambda r: (
        r["BatchJobRecId"] >= 5637145003 and r["Status"] != "Finished"
    ),
    ("BatchJobs", "BatchJobRecId eq '5637145003'"): lambda r: r["BatchJobRecId"] == 5637145003,
    ("PaymentTerms", "IsCashPayment"): lambda r: r["IsCashPayment"] == "Yes",
    ("PaymentTerms", "IsCashPayment eq false and NumberOfDays mod 2 eq 1"): lambda r: (
        r["IsCashPayment"] == "No" and r["NumberOfDays"] % 2 == 1
    ),
}
CASES: list[tuple[str, str, Rule]] = [
    *(("CustomersV3", text, rule) for text, rule in CUSTOMERS.items()),
    *(("SalesOrderHeadersV2", text, rule) for text, rule in ORDERS.items()),
    *((entity_set, text, rule) for (entity_set, text), rule in OTHERS.items()),
]


@pytest.mark.parametrize(("entity_set", "text", "rule"), CASES, ids=[f"{case[0]}: {case[1]}" for case in CASES])
def test_the_right_records_come_back(tables: dict[str, Table], entity_set: str, text: str, rule: Rule) -> None:
    table = tables[entity_set]
    assert table.query(text) == [record for record in table.records if rule(record)]


@pytest.mark.parametrize(
    ("entity_set", "text", "rule"),
    [case for case in CASES if "/Description" not in case[1]],
    ids=[f"{case[0]}: {case[1]}" for case in CASES if "/Description" not in case[1]],
)
def test_the_right_records_are_distinguished_here_too(
    tables: dict[str, Table], entity_set: str, text: str, rule: Rule
) -> None:
    table = tables[entity_set]
    expression = translate_filter(text, table.entity).expression
    assert [record for record in table.records if matches_filter(expression, record)] == [*filter(rule, table.records)]


def test_a_split_list_finds_each_record_once(tables: dict[str, Table]) -> None:
    table = tables["SalesOrderHeadersV2"]
    wanted = [f"{number:06}" for number in range(100, 500)]
    text = "dataAreaId eq 'usmf' and SalesOrderNumber in (" + ",".join(f"'{number}'" for number in wanted) + ")"
    assert len(translate_filter(text, table.entity).filters) > 2
    assert [record["SalesOrderNumber"] for record in table.query(text)] == wanted


def test_a_list_with_stars_finds_each_record_once(tables: dict[str, Table]) -> None:
    table = tables["CustomersV3"]
    stars = '"Quality" Sound 100% *Live*'
    names = [stars, "Owl *", *(f"Nobody {number:050}" for number in range(60)), "Owl Wholesales", "Sparrow Retail"]
    text = "OrganizationName in (" + ",".join(f"'{name}'" for name in names) + ")"
    assert len(translate_filter(text, table.entity).filters) > 1
    found = [record["OrganizationName"] for record in table.query(text)]
    assert sorted(found) == sorted([stars, "Owl Wholesales", "Sparrow Retail"])


@pytest.mark.parametrize(
    ("entity_set", "order"),
    [
        ("CustomersV3", ("dataAreaId", "CustomerAccount")),
        ("CustomersV3", ("CreditLimit desc", "dataAreaId", "CustomerAccount desc")),
        ("SalesOrderHeadersV2", ("RequestedShippingDate desc", "dataAreaId", "SalesOrderNumber")),
        ("BatchJobs", ("BatchJobRecId",)),
        ("ExchangeRates", ("ToCurrency", "FromCurrency", "StartDate", "RateTypeName")),
    ],
)
def test_keysets_walk_through_all_records_in_order(
    tables: dict[str, Table], entity_set: str, order: tuple[str, ...]
) -> None:
    table = tables[entity_set]
    parts = [(table.entity.properties[item.split()[0]], item.endswith(" desc")) for item in order]
    walked = page = table.asked("", order, 7)
    while page and len(walked) < 140:
        after = keyset_filter(parts, [page[-1][prop.name] for prop, _ in parts])
        assert after
        page = table.asked(after, order, 7)
        walked = walked + page
    assert walked == table.asked("", order, len(walked))
    assert len(walked) >= min(140, len(table.records))


@pytest.mark.parametrize("entity_set", COLUMNS)
def test_every_record_is_found_by_its_key(tables: dict[str, Table], entity_set: str) -> None:
    table = tables[entity_set]
    for record in table.records[:40]:
        key = {part.name: record[part.name] for part in table.entity.key}
        answer = table.client.get(f"/data/{entity_set}{key_predicate(table.entity, key)}?cross-company=true")
        assert answer.status_code == 200, answer.text
        assert table.plain(answer.json()) == record
