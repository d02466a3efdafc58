"""Words of names and questions: how they are split and cut, and what means the same in the trade. Pure."""

import re

WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-zà-öø-ÿ]+|\d+")
VERSION = re.compile(r"V(\d+)(?=Entity$|Entities$|$)|V(\d+)$")
# Parts of AOT names that name a module or nothing at all.
SHORT = {
    "cust": "customer",
    "vend": "vendor",
    "proj": "project",
    "invent": "inventory",
    "purch": "purchase",
    "trv": "travel",
    "whs": "warehouse",
    "tms": "transportation",
    "hcm": "hr",
    "acct": "account",
    "qty": "quantity",
    "addr": "address",
    "trans": "transaction",
    "dlv": "delivery",
    "paym": "payment",
    "prod": "production",
    "mcr": "",
    "ecores": "",
    "eco": "",
    "res": "",
    "om": "",
    "smm": "",
    "entity": "",
    "entities": "",
    "table": "",
    "cds": "",
}
# Words of a question that say nothing of what is looked for.
EMPTY_WORDS = """
a an the of for in on at to by with from and or as is are was were be been do does did can could should would will
which what where who whom whose when how why that this these those there it its i we you they me my our your their us
entity entities table tables data dataset record records field fields column columns information info list lists show
find get give fetch read look lookup see need want use used hold holds contain contains keep keeps kept
have has having all any every each per about between into through please tell many much some called named d365 fo f o
dynamics odata stored maintain maintained define defined
"""
EMPTY = frozenset(EMPTY_WORDS.split())
# What people say → what F&O calls it; several meanings stand beside each other.
SAME = {
    "client": ("customer",),
    "debtor": ("customer",),
    "buyer": ("customer",),
    "ar": ("customer", "accounts receivable"),
    "accounts receivable": ("customer",),
    "supplier": ("vendor",),
    "creditor": ("vendor",),
    "ap": ("vendor", "accounts payable"),
    "accounts payable": ("vendor",),
    "po": ("purchase order",),
    "so": ("sales order",),
    "pr": ("purchase requisition",),
    "rfq": ("request for quotation",),
    "quote": ("quotation",),
    "offer": ("quotation",),
    "gl": ("ledger", "general ledger", "general journal"),
    "general ledger": ("ledger", "general journal"),
    "coa": ("chart of accounts", "main account"),
    "chart of accounts": ("main account",),
    "account": ("main account",),
    "item": ("product",),
    "product": ("item",),
    "article": ("product", "item"),
    "sku": ("product", "item"),
    "material": ("product", "item"),
    "goods": ("product", "item"),
    "stock": ("on hand", "inventory"),
    "availability": ("on hand",),
    "inventory level": ("on hand",),
    "depot": ("warehouse",),
    "bin": ("location",),
    "bill": ("invoice",),
    "employee": ("worker",),
    "staff": ("worker", "employee"),
    "personnel": ("worker", "employee"),
    "people": ("person", "worker"),
    "worker": ("employee",),
    "company": ("legal entity",),
    "legal entity": ("company",),
    "subsidiary": ("legal entity",),
    "bom": ("bill of materials",),
    "recipe": ("formula",),
    "manufacturing order": ("production order",),
    "work order": ("production order", "work"),
    "mo": ("production order",),
    "fa": ("fixed asset",),
    "asset": ("fixed asset",),
    "fx": ("exchange rate", "currency"),
    "conversion rate": ("exchange rate",),
    "uom": ("unit of measure",),
    "unit": ("unit of measure",),
    "vat": ("sales tax", "tax", "vat"),
    "gst": ("gst", "tax"),
    "tax code": ("sales tax code",),
    "incoterm": ("delivery term",),
    "shipping method": ("delivery mode", "mode of delivery"),
    "ship method": ("delivery mode", "mode of delivery"),
    "carrier": ("carrier",),
    "lot": ("batch",),
    "batch number": ("item batch",),
    "price list": ("trade agreement", "price"),
    "price": ("trade agreement",),
    "rebate": ("rebate",),
    "cheque": ("check",),
    "salary": ("pay", "compensation"),
    "wage": ("pay", "earning"),
    "payroll": ("pay", "payroll"),
    "vacation": ("leave", "absence"),
    "time off": ("leave", "absence"),
    "job title": ("job",),
    "department": ("operating unit", "department"),
    "cost center": ("operating unit", "dimension value", "cost center"),
    "cost centre": ("operating unit", "dimension value", "cost center"),
    "shop": ("store",),
    "outlet": ("store",),
    "till": ("terminal", "register"),
    "pos": ("pos", "terminal"),
    "cash register": ("terminal", "register"),
    "receipt": ("transaction", "receipt"),
    "posting": ("journal entry", "posting profile"),
    "voucher": ("journal entry", "voucher"),
    "booking": ("journal entry",),
    "journal entry": ("general journal", "journal line"),
    "address": ("postal address",),
    "phone": ("contact", "electronic address"),
    "email": ("contact", "electronic address"),
    "contact": ("contact person",),
    "order": ("sales order", "purchase order"),
    "order line": ("sales order line", "purchase order line"),
    "forecast": ("forecast",),
    "budget": ("budget register entry",),
    "expense report": ("expense report",),
    "trip": ("travel",),
    "timesheet": ("timesheet",),
    "user role": ("security user role",),
    "permission": ("security", "privilege"),
    "job": ("batch job",),
    "terms": ("payment term",),
    "payment condition": ("payment term",),
    "credit card": ("credit card",),
    "warranty": ("warranty",),
    "shipment": ("shipment", "load"),
    "delivery note": ("packing slip",),
    "packing list": ("packing slip",),
    "goods receipt": ("product receipt",),
    "kunde": ("customer",),
    "kunden": ("customer",),
    "lieferant": ("vendor",),
    "lieferanten": ("vendor",),
    "artikel": ("product", "item"),
    "rechnung": ("invoice",),
    "rechnungen": ("invoice",),
    "lager": ("warehouse", "inventory"),
    "auftrag": ("sales order",),
    "bestellung": ("purchase order",),
}


def version_of(name: str) -> int:
    """Return a name's version suffix: 3 for CustomersV3 and CustCustomerV3Entity, 1 where there is none."""
    found = VERSION.search(name)
    return int(found.group(1) or found.group(2)) if found else 1


def split(text: str) -> list[str]:
    """Return the words of a name or a label, cut to their stems; version suffixes and empty parts are none."""
    words = (SHORT.get(word, word) for word in (found.lower() for found in WORD.findall(VERSION.sub("", text))))
    return [stem(word) for word in words if len(word) > 1]


def question_words(text: str) -> list[str]:
    """Return the stems of what a question is about."""
    words = [found.lower() for found in WORD.findall(VERSION.sub("", text))]
    telling = [word for word in words if word not in EMPTY and len(word) > 1]
    return [stem(SHORT.get(word) or word) for word in (telling or words)]


def stem(word: str) -> str:
    """Cut a plural's ending, roughly: names and questions are cut alike."""
    for ending, rest in (("ies", "y"), ("sses", "ss"), ("xes", "x"), ("ches", "ch"), ("s", "")):
        if word.endswith(ending) and len(word) > len(ending) + 2 and not word.endswith(("ss", "us", "is")):
            return word[: -len(ending)] + rest
    return word


MEANINGS = {
    tuple(stem(word) for word in said.split()): tuple(tuple(stem(word) for word in meant.split()) for meant in meanings)
    for said, meanings in SAME.items()
}
LONGEST = max(len(said) for said in MEANINGS)
