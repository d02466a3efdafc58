"""What words mean in the trade: short parts of names, words that tell little, and what people call things. Data only."""

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
    "docu": "document",
    "req": "",
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
_STOP_WORDS = """
a an the of for in on at to by with from and or as is are was were be been do does did can could should would will
which what that this these those there it its i we you they me my our your their us
entity entities table tables data dataset record records field fields column columns information info list lists show
find get give fetch read look lookup see need want use used holds contain contains keep keeps kept
have has having all any every each per about between into through please tell some called named d365 fo f o
dynamics odata stored maintain maintained define defined own im der die das und von mit alle
"""
STOP_WORDS = frozenset(_STOP_WORDS.split())
# Words that ask: hints know them, names have none.
ASKING = frozenset(["who", "whom", "whose", "where", "when", "how", "many", "much"])
# Words that tell a state or a kind more often than the thing: they count, but little.
_WEAK_WORDS = """
active actual available configuration current detail different existing new old open overview posted setup single
specific system total various
"""
WEAK = frozenset(_WEAK_WORDS.split())
# Tables of the database that developers know, and what the data entities over them are called.
DATABASE_TABLES = {
    "custtable": "customers",
    "custtrans": "customer transactions",
    "custinvoicejour": "sales invoice headers",
    "custinvoicetrans": "sales invoice lines",
    "vendtable": "vendors",
    "vendtrans": "vendor transactions",
    "vendinvoicejour": "vendor invoice journal headers",
    "vendinvoicetrans": "vendor invoice journal lines",
    "salestable": "sales order headers",
    "salesline": "sales order lines",
    "purchtable": "purchase order headers",
    "purchline": "purchase order lines",
    "inventtable": "released products",
    "inventsum": "inventory on hand",
    "inventbatch": "item batches",
    "inventserial": "item serial numbers",
    "inventlocation": "warehouses",
    "inventsite": "sites",
    "ecoresproduct": "products",
    "bomtable": "bill of materials headers",
    "prodtable": "production order headers",
    "ledgerjournaltable": "ledger journal headers",
    "ledgerjournaltrans": "ledger journal lines",
    "generaljournalaccountentry": "general journal account entries",
    "assettable": "fixed assets",
    "bankaccounttable": "bank accounts",
    "taxtable": "sales tax codes",
    "projtable": "projects",
    "dirpartytable": "parties",
    "companyinfo": "legal entities",
    "userinfo": "system users",
}
# What people say → what F&O calls it; several meanings stand beside each other.
SAME = {
    "why": ("reason",),
    # Customers and sales
    "client": ("customer",),
    "debtor": ("customer",),
    "sold to": ("customer",),
    "ar": ("customer", "accounts receivable"),
    "accounts receivable": ("customer",),
    "receivable": ("customer",),
    "so": ("sales order",),
    "order intake": ("sales order",),
    "sales line": ("sales order line",),
    "quote": ("sales quotation", "quotation"),
    "offer": ("quotation",),
    "blanket order": ("sales agreement", "purchase agreement"),
    "blanket": ("agreement",),
    "contract": ("agreement",),
    "rma": ("return order",),
    "sales return": ("return order",),
    "credit memo": ("credit note",),
    "salesperson": ("worker", "sales representative"),
    "sales rep": ("sales representative",),
    "deal": ("opportunity",),
    "dunning": ("collection letter",),
    "open item": ("open transaction",),
    "bad debt": ("write off",),
    "down payment": ("prepayment", "advance"),
    "ship to": ("delivery address",),
    "reminder": ("collection letter",),
    "overdue": ("interest", "collection"),
    "aged": ("aging",),
    "bucket": ("period definition",),
    "direct debit": ("mandate",),
    # Vendors and purchasing
    "supplier": ("vendor",),
    "creditor": ("vendor",),
    "ap": ("vendor", "accounts payable"),
    "accounts payable": ("vendor",),
    "payable": ("vendor",),
    "po": ("purchase order",),
    "purchase line": ("purchase order line",),
    "procurement": ("purchase",),
    "purchasing": ("purchase", "procurement"),
    "pr": ("purchase requisition",),
    "rfq": ("request for quotation",),
    "bid": ("request for quotation reply",),
    "tender": ("request for quotation",),
    "goods receipt": ("product receipt",),
    "grn": ("product receipt",),
    "grpo": ("product receipt",),
    "framework agreement": ("purchase agreement",),
    "vendor rating": ("vendor evaluation",),
    # Orders in general
    "order": ("sales order", "purchase order"),
    "order line": ("sales order line", "purchase order line"),
    "bill": ("invoice",),
    "delivery note": ("packing slip",),
    "packing list": ("packing slip",),
    "pick list": ("picking list",),
    "incoterm": ("delivery term",),
    "shipping term": ("delivery term",),
    "shipping method": ("delivery mode", "mode of delivery"),
    "ship method": ("delivery mode", "mode of delivery"),
    "delivery method": ("delivery mode", "mode of delivery"),
    "shipping": ("delivery", "transportation"),
    "freight": ("transportation", "shipping"),
    "shipment": ("shipment", "load"),
    "fee": ("charge",),
    "surcharge": ("charge",),
    "misc charge": ("charge",),
    "bonus": ("rebate",),
    "promotion": ("discount",),
    "price list": ("trade agreement", "price agreement"),
    "price": ("trade agreement",),
    # Products
    "item": ("product",),
    "product": ("item",),
    "article": ("product", "item"),
    "sku": ("product", "item"),
    "material": ("product", "item"),
    "goods": ("product", "item"),
    "item master": ("released product",),
    "material master": ("released product",),
    "colour": ("color",),
    "ean": ("barcode", "global trade item number"),
    "gtin": ("global trade item number", "barcode"),
    "upc": ("barcode", "global trade item number"),
    "uom": ("unit of measure",),
    "unit": ("unit of measure",),
    "bom": ("bill of materials",),
    "parts list": ("bill of materials",),
    "component": ("bill of materials line",),
    "recipe": ("formula",),
    "hs code": ("commodity code", "harmonized tariff"),
    "conversion factor": ("unit conversion",),
    # Inventory and warehouse
    "stock": ("on hand", "inventory"),
    "availability": ("on hand",),
    "inventory level": ("on hand",),
    "stock level": ("on hand",),
    "onhand": ("on hand",),
    "stocktaking": ("counting", "cycle counting"),
    "stocktake": ("counting", "cycle counting"),
    "physical inventory": ("counting",),
    "inventory count": ("inventory counting",),
    "cycle count": ("cycle counting",),
    "stock transfer": ("transfer order", "transfer journal"),
    "warehouse transfer": ("transfer order",),
    "asn": ("inbound shipment", "inbound load"),
    "inspection": ("quality order",),
    "defect": ("non conformance",),
    "complaint": ("non conformance", "case"),
    "depot": ("warehouse",),
    "plant": ("site",),
    "bin": ("warehouse location", "location"),
    "pallet": ("license plate",),
    "lot": ("batch",),
    "batch number": ("item batch",),
    "item group": ("product group",),
    "item model group": ("inventory policy",),
    "item cost": ("item price",),
    "cost price": ("item price",),
    "standard cost": ("item price",),
    "min max": ("coverage",),
    "reorder": ("coverage", "replenishment"),
    # Production and planning
    "manufacturing": ("production",),
    "manufacturing order": ("production order",),
    "work order": ("production order", "work"),
    "mo": ("production order",),
    "routing": ("route",),
    "work center": ("operations resource",),
    "work centre": ("operations resource",),
    "machine": ("operations resource",),
    "shop floor": ("time and attendance", "job card"),
    "raf": ("report as finished",),
    "mrp": ("planned order", "master planning"),
    "working calendar": ("work calendar",),
    "timecard": ("time registration",),
    # Ledger, budget, assets, bank and tax
    "gl": ("ledger", "general ledger", "general journal"),
    "general ledger": ("ledger", "general journal"),
    "gl account": ("main account",),
    "ledger account": ("main account",),
    "general ledger account": ("main account",),
    "account": ("main account",),
    "coa": ("chart of accounts", "main account"),
    "chart of accounts": ("main account",),
    "posting": ("journal entry", "posting profile"),
    "gl posting": ("general journal account entry",),
    "gl entry": ("general journal account entry",),
    "gl transaction": ("general journal account entry",),
    "ledger transaction": ("general journal account entry",),
    "general ledger entry": ("general journal account entry",),
    "trial balance": ("general journal account entry", "ledger"),
    "voucher": ("journal entry", "voucher"),
    "booking": ("journal entry",),
    "journal entry": ("general journal", "journal line"),
    "general journal": ("ledger journal",),
    "budget": ("budget register entry",),
    "fa": ("fixed asset",),
    "asset": ("fixed asset",),
    "fx": ("exchange rate", "currency"),
    "currency rate": ("exchange rate",),
    "conversion rate": ("exchange rate",),
    "cost center": ("operating unit", "dimension value", "cost center"),
    "cost centre": ("cost center", "operating unit", "dimension value"),
    "iban": ("bank account",),
    "petty cash": ("cash",),
    "cheque": ("check",),
    "terms": ("payment term",),
    "payment condition": ("payment term",),
    "terms of payment": ("payment term",),
    "payment method": ("method of payment",),
    "vat": ("sales tax", "tax", "vat"),
    "gst": ("gst", "tax"),
    "tax code": ("sales tax code",),
    "tax rate": ("tax code value",),
    "vat rate": ("tax code value",),
    "tax id": ("tax registration", "vat number"),
    # People, payroll and expenses
    "employee": ("worker",),
    "staff": ("worker", "employee"),
    "personnel": ("worker", "employee"),
    "people": ("person", "worker"),
    "worker": ("employee",),
    "personal": ("worker",),
    "hr": ("human resources",),
    "salary": ("pay", "compensation"),
    "wage": ("pay", "earning"),
    "payroll": ("pay", "payroll"),
    "payslip": ("pay statement",),
    "vacation": ("leave", "absence"),
    "holiday": ("leave", "absence"),
    "time off": ("leave", "absence"),
    "org chart": ("position hierarchy", "organization hierarchy"),
    "candidate": ("applicant",),
    "recruiting": ("applicant", "recruitment"),
    "job title": ("title", "job"),
    "reports to": ("position hierarchy",),
    "department": ("operating unit", "department"),
    "emergency contact": ("personal contact",),
    "trip": ("travel",),
    "expense": ("travel expense", "expense"),
    "expense line": ("expense transaction",),
    "corporate card": ("credit card",),
    "expense claim": ("expense report", "expense journal", "expense"),
    "expense report": ("expense report", "expense journal", "expense"),
    "tender type": ("tender type",),
    # Retail
    "commerce": ("retail",),
    "opening hours": ("store hours",),
    "payment type": ("tender type", "method of payment"),
    "cashier": ("staff",),
    "shop": ("store",),
    "outlet": ("store",),
    "till": ("terminal", "register"),
    "pos": ("pos", "terminal"),
    "register": ("terminal",),
    "cash register": ("terminal", "register"),
    "shift": ("batch", "shift"),
    "receipt": ("transaction", "receipt"),
    # Organisation and system
    "company": ("legal entity",),
    "legal entity": ("company",),
    "subsidiary": ("legal entity",),
    "org": ("organization",),
    "organisation": ("organization",),
    "country": ("country region",),
    "zip": ("postal code",),
    "postcode": ("postal code",),
    "town": ("city",),
    "address": ("postal address",),
    "phone": ("contact", "electronic address"),
    "email": ("contact", "electronic address"),
    "contact": ("contact person",),
    "user role": ("security user role",),
    "role": ("security role",),
    "duty": ("security duty",),
    "permission": ("security", "privilege"),
    "job": ("batch job",),
    "attachment": ("document attachment", "document"),
    "dmf": ("data management",),
    "dixf": ("data management",),
    "data project": ("data management definition group",),
    "wbs": ("work breakdown structure", "project task"),
    "numbering": ("number sequence",),
    "user account": ("system user",),
    "login": ("system user",),
    "time sheet": ("timesheet",),
    # German
    "kunde": ("customer",),
    "kunden": ("customer",),
    "debitor": ("customer",),
    "lieferant": ("vendor",),
    "kreditor": ("vendor",),
    "artikel": ("product", "item"),
    "rechnung": ("invoice",),
    "lieferschein": ("packing slip",),
    "lager": ("warehouse", "inventory"),
    "bestand": ("on hand",),
    "auftrag": ("sales order",),
    "verkaufsauftrag": ("sales order",),
    "angebot": ("sales quotation",),
    "bestellung": ("purchase order",),
    "fertigungsauftrag": ("production order",),
    "stückliste": ("bill of materials",),
    "zeile": ("line",),
    "zeilen": ("line",),
    "sachkonto": ("main account",),
    "anlage": ("fixed asset",),
    "anlagen": ("fixed asset",),
    "kostenstelle": ("cost center",),
    "steuer": ("tax",),
    "wechselkurs": ("exchange rate",),
    "zahlungsbedingung": ("payment term",),
    "mitarbeiter": ("worker", "employee"),
    "gruppe": ("group",),
    "gruppen": ("group",),
    "konto": ("account",),
    "konten": ("account",),
    "preis": ("price",),
    "zahlung": ("payment",),
    "adresse": ("address",),
    "kontoauszug": ("bank statement",),
    "mehrwertsteuer": ("sales tax code",),
    "umsatzsteuer": ("sales tax code",),
    "postleitzahl": ("postal code",),
    "abschreibung": ("depreciation",),
    "afa": ("depreciation",),
    "buchung": ("journal",),
    "mahnung": ("collection letter",),
    "gutschrift": ("credit note",),
    "wareneingang": ("product receipt",),
    "arbeitsplan": ("route",),
    "lohn": ("pay",),
    "gehalt": ("pay",),
    "urlaub": ("accrual", "absence"),
    "reisekosten": ("expense",),
    "spesen": ("expense",),
    "skonto": ("cash discount",),
    "währung": ("currency",),
    "einheit": ("unit of measure",),
    "seriennummer": ("serial number",),
    "anfrage": ("request for quotation",),
    "bedarf": ("demand",),
    "projekt": ("project",),
    "kasse": ("cash",),
    "filiale": ("store",),
    "benutzer": ("system user",),
    "nummernkreis": ("number sequence",),
}
# Words that are one in tasks: after the colon, what else is said.
TASK_WORDS = """
month: january, february, march, april, june, july, august, september, october, november, december
make: making, made
lend: lent
lose: lost, losing
correct: fix, fixing, wrong, mistake
customer: client, debtor, dealer, reseller, purchaser, wholesaler, consumer, shopkeeper, punter, patron
vendor: supplier, creditor, seller
worker: employee, employees, staff, personnel, colleague, people, person, workforce, folk, bloke, guy, chap, lad, coworker, workmate, trainee, apprentice
product: item, article, goods, sku, material, merchandise
inventory: stock
invoice: bill
pay: payment, paid, paying, payout
quote: quotation, offer, quoting
deliver: delivery, delivered, shipped, ship, shipping, shipment
buy: bought, procure
sell: sold, selling
reimburse: reimbursement
return: returned
approve: approval, approved, approver
agree: agreement, agreed
carrier: forwarder, haulier, transporter, trucker
vat: gst
discount: rebate
company: subsidiary, firm, entity
receive: received, receiving
inspect: inspection, inspected
expire: expiry, expiration, expired
count: counting, stocktake, stocktaking, counted
depreciate: depreciation
capitalize: capitalise
withhold: withheld, withholding
block: blocked
store: shop, outlet, branch, boutique
factory: plant, mill
spread: distribute, spreading
split: divide, apportion
hold: held
allocate: allocation
forecast: forecasting, predicted
move: moved, transfer, transferring
consume: consumed, consumption
produce: produced, manufacture, manufacturing
machine: equipment, workstation
trip: travel, journey
vacation: holiday
truck: lorry, trailer
budget: budgeted
spend: spent, spending
throw: thrown
steal: stolen, theft, nicked, pinched, robbed, burgled, swiped
fail: failed, failure, error, crash, crashed, abort, aborted
raise: raised, increase, increased
salary: wage, remuneration
late: delayed, delay
arrive: arrived, arrival
birthday: birth
post: posted, posting, book, booked, booking
phone: telephone, mobile, ring, dial
bin: shelf, rack
owe: owed, owing
send: sent
hire: hired
win: won
finish: finished, complete, completed
cancel: cancelled, canceled
allow: permitted, entitled, may
differ: difference, deviation, variance
weigh: weight, heavy
manager: boss, supervisor, superior, chief
sick: ill, illness, flu, unwell
course: train, seminar
child: children, kid, son, daughter
come: came
keep: kept
live: lives
take: taken
value: worth
right: rights, permission
cheap: cheaper, cheapest, lower, lowest
bounce: bounced
recur: recurring, repeat, repeated
reject: refuse, refused, decline, declined
stop: stopped, pause, paused, halt
defective: faulty
broken: damaged, broke, smashed, crushed, dented
promote: promoted
expensive: dear, dearer, pricey, pricier, costly
complain: moan, moaning, grumble, grumbling, complaining, complained
computer: laptop, notebook, pc, tablet
quit: resign, resigned, resigning
launch: launched, launching
early: earlier, sooner
ask: asked, asking
help: helped, helping, assist
hurt: injured, injury
car: van, vehicle, forklift
forget: forgot, forgotten
miss: missing
end: ending, ends
check: cheque
deduct: deducted, withdrawn
repair: mend, repaired
"""
