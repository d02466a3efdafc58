"""The company of a row: what a statement says of one table reaches every table it is joined with, or is refused."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from urllib.parse import unquote

import pytest

from tests.served import Served, serving
from tests.simulated import Simulator
from tests.sql.trial import Trial, as_set

pytestmark = pytest.mark.alike

COMPANIES = ("usmf", "usrt", "ussi", "demf", "frrt", "gbsi", "jpmf")
HEADS, LINES = "SalesOrderHeadersV2", "SalesOrderLinesV3"
ORDER = "000010"
# Each asks for the lines of one order of one company; the company and the number are said of the header alone.
CARRIED = {
    "on": "SELECT l.LineAmount FROM {H} h JOIN {L} l ON l.SalesOrderNumber = h.SalesOrderNumber AND l.dataAreaId = h.dataAreaId WHERE h.dataAreaId = '{c}' AND h.SalesOrderNumber = '{n}'",
    "on, the other way": "SELECT l.LineAmount FROM {L} l JOIN {H} h ON h.dataAreaId = l.dataAreaId AND h.SalesOrderNumber = l.SalesOrderNumber AND h.dataAreaId = '{c}' AND '{n}' = h.SalesOrderNumber",
    "using": "SELECT LineAmount FROM {H} JOIN {L} USING (dataAreaId, SalesOrderNumber) WHERE dataAreaId = '{c}' AND SalesOrderNumber = '{n}'",
    "where": "SELECT l.LineAmount FROM {H} h, {L} l WHERE l.SalesOrderNumber = h.SalesOrderNumber AND l.dataAreaId = h.dataAreaId AND h.dataAreaId = '{c}' AND h.SalesOrderNumber = '{n}'",
    "left": "SELECT l.LineAmount FROM {H} h LEFT JOIN {L} l ON l.SalesOrderNumber = h.SalesOrderNumber AND l.dataAreaId = h.dataAreaId WHERE h.dataAreaId = '{c}' AND h.SalesOrderNumber = '{n}'",
    "left, made inner": "SELECT l.LineAmount FROM {L} l LEFT JOIN {H} h ON l.SalesOrderNumber = h.SalesOrderNumber AND l.dataAreaId = h.dataAreaId WHERE h.dataAreaId = '{c}' AND h.SalesOrderNumber = '{n}'",
    "three tables": "SELECT l.LineAmount FROM {H} h JOIN CustomersV3 k ON k.dataAreaId = h.dataAreaId AND k.CustomerAccount = h.OrderingCustomerAccountNumber JOIN {L} l ON l.dataAreaId = k.dataAreaId AND l.SalesOrderNumber = h.SalesOrderNumber WHERE h.dataAreaId = '{c}' AND h.SalesOrderNumber = '{n}'",
    "out of a CTE": "WITH x AS (SELECT * FROM {H} WHERE dataAreaId = '{c}' AND SalesOrderNumber = '{n}') SELECT l.LineAmount FROM x JOIN {L} l ON l.SalesOrderNumber = x.SalesOrderNumber AND l.dataAreaId = x.dataAreaId",
    "into a CTE": "WITH x AS (SELECT dataAreaId AS d, SalesOrderNumber AS s, LineAmount FROM {L}) SELECT x.LineAmount FROM {H} h JOIN x ON x.s = h.SalesOrderNumber AND x.d = h.dataAreaId WHERE h.dataAreaId = '{c}' AND h.SalesOrderNumber = '{n}'",
    "into a group": "SELECT x.total FROM {H} h JOIN (SELECT dataAreaId, SalesOrderNumber, sum(LineAmount) AS total FROM {L} GROUP BY ALL) x USING (dataAreaId, SalesOrderNumber) WHERE h.dataAreaId = '{c}' AND h.SalesOrderNumber = '{n}'",
    "having": "SELECT SalesOrderNumber, sum(LineAmount) AS total FROM {L} GROUP BY dataAreaId, SalesOrderNumber HAVING dataAreaId = '{c}' AND SalesOrderNumber = '{n}'",
    "in": "SELECT l.LineAmount FROM {L} l WHERE (l.dataAreaId, l.SalesOrderNumber) IN (SELECT dataAreaId, SalesOrderNumber FROM {H} WHERE dataAreaId = '{c}' AND SalesOrderNumber = '{n}')",
    "in, one column": "SELECT l.LineAmount FROM {L} l WHERE l.dataAreaId = '{c}' AND l.SalesOrderNumber IN (SELECT h.SalesOrderNumber FROM {H} h WHERE h.dataAreaId = l.dataAreaId AND h.SalesOrderNumber = '{n}')",
    "exists": "SELECT l.LineAmount FROM {L} l WHERE EXISTS (SELECT 1 FROM {H} h WHERE h.dataAreaId = l.dataAreaId AND h.SalesOrderNumber = l.SalesOrderNumber AND h.dataAreaId = '{c}' AND h.SalesOrderNumber = '{n}')",
    "semi": "SELECT l.LineAmount FROM {L} l SEMI JOIN {H} h ON h.dataAreaId = l.dataAreaId AND h.SalesOrderNumber = l.SalesOrderNumber AND h.dataAreaId = '{c}' AND h.SalesOrderNumber = '{n}'",
    "from a shared entity": "SELECT l.LineAmount FROM LegalEntities e JOIN {L} l ON l.dataAreaId = e.LegalEntityId JOIN {H} h ON h.dataAreaId = e.LegalEntityId AND h.SalesOrderNumber = l.SalesOrderNumber WHERE e.LegalEntityId = '{c}' AND h.SalesOrderNumber = '{n}'",
    "full, using": "SELECT LineAmount FROM {H} FULL JOIN {L} USING (dataAreaId, SalesOrderNumber) WHERE dataAreaId = '{c}' AND SalesOrderNumber = '{n}'",
    "full, coalesce": "SELECT l.LineAmount FROM {H} h FULL JOIN {L} l ON l.SalesOrderNumber = h.SalesOrderNumber AND h.dataAreaId = l.dataAreaId WHERE coalesce(l.dataAreaId, h.dataAreaId) = '{c}' AND coalesce(h.SalesOrderNumber, l.SalesOrderNumber) = '{n}'",
    "right": "SELECT l.LineAmount FROM {L} l RIGHT JOIN {H} h ON l.SalesOrderNumber = h.SalesOrderNumber AND l.dataAreaId = h.dataAreaId WHERE h.dataAreaId = '{c}' AND h.SalesOrderNumber = '{n}'",
    "natural": "SELECT x.LineAmount FROM {H} NATURAL JOIN (SELECT dataAreaId, SalesOrderNumber, LineAmount FROM {L}) x WHERE dataAreaId = '{c}' AND SalesOrderNumber = '{n}'",
    "lateral": "SELECT x.LineAmount FROM {H} h, LATERAL (SELECT l.LineAmount FROM {L} l WHERE l.dataAreaId = h.dataAreaId AND l.SalesOrderNumber = h.SalesOrderNumber) x WHERE h.dataAreaId = '{c}' AND h.SalesOrderNumber = '{n}'",
    "left lateral": "SELECT x.total FROM {H} h LEFT JOIN LATERAL (SELECT sum(l.LineAmount) AS total FROM {L} l WHERE l.dataAreaId = h.dataAreaId AND l.SalesOrderNumber = h.SalesOrderNumber) x ON true WHERE h.dataAreaId = '{c}' AND h.SalesOrderNumber = '{n}'",
    "a column of its own": "SELECT (SELECT sum(l.LineAmount) FROM {L} l WHERE l.dataAreaId = h.dataAreaId AND l.SalesOrderNumber = h.SalesOrderNumber) AS total FROM {H} h WHERE h.dataAreaId = '{c}' AND h.SalesOrderNumber = '{n}'",
    "rows of values": "SELECT l.LineAmount FROM {H} h JOIN {L} l ON (l.SalesOrderNumber, l.dataAreaId) = (h.SalesOrderNumber, h.dataAreaId) WHERE (h.dataAreaId, h.SalesOrderNumber) = ('{c}', '{n}')",
    "one of a list": "SELECT l.LineAmount FROM {H} h JOIN {L} l ON l.SalesOrderNumber = h.SalesOrderNumber AND l.dataAreaId = h.dataAreaId WHERE h.dataAreaId IN ('{c}') AND h.SalesOrderNumber IN ('{n}')",
    "in capitals": "SELECT l.LineAmount FROM {H} h JOIN {L} l ON l.SalesOrderNumber = h.SalesOrderNumber AND l.dataAreaId = h.dataAreaId WHERE upper(h.dataAreaId) = upper('{c}') AND h.SalesOrderNumber = '{n}'",
}  # fmt: skip


def written(form: str, company: str, number: str = ORDER) -> str:
    return CARRIED[form].format(H=HEADS, L=LINES, c=company, n=number)


@pytest.fixture(scope="module")
def trial(simulator_process: Simulator) -> Iterator[Trial]:
    simulator_process.reset()
    names = {
        HEADS: ("dataAreaId", "SalesOrderNumber", "OrderingCustomerAccountNumber"),
        LINES: ("dataAreaId", "SalesOrderNumber", "LineAmount"),
        "CustomersV3": ("dataAreaId", "CustomerAccount"),
        "LegalEntities": ("LegalEntityId",),
    }
    trial = Trial(simulator_process, names)
    yield trial
    trial.close()


@pytest.mark.parametrize("form", CARRIED)
def test_what_is_said_of_one_table_reaches_the_other(server: Served, form: str) -> None:
    result = server.call("query_sql", sql=written(form, "usrt"))
    assert set(result["companies"].values()) == {"usrt"}
    assert result["company"] == "usrt"
    assert result["rows_scanned"][LINES] == 3
    assert result["records"]
    for request in server.requests():
        if LINES in request["path"]:
            assert f"SalesOrderNumber eq '{ORDER}'" in unquote(request["query"])
            assert "dataAreaId eq 'usrt'" in unquote(request["query"]).lower().replace("dataareaid", "dataAreaId")


@pytest.mark.once
@pytest.mark.parametrize("form", CARRIED)
def test_the_rows_are_those_of_the_company(trial: Trial, form: str) -> None:
    """In every company, against a database that holds all of them."""
    for company, number in itertools.product(COMPANIES, (ORDER, "000001")):
        sql = written(form, company, number)
        assert as_set(trial.answer(sql).rows.rows) == trial.expected(sql, None), company


@pytest.mark.once
@pytest.mark.parametrize(
    "form", [form for form in CARRIED if form not in ("one of a list", "in capitals", "rows of values")]
)
def test_several_companies_and_numbers_are_carried_too(trial: Trial, form: str) -> None:
    sql = written(form, "usrt', 'demf', 'usmf", "000010', '000011")
    for column in ("dataAreaId", "LegalEntityId", "SalesOrderNumber", "h.dataAreaId)", "l.SalesOrderNumber)"):
        sql = sql.replace(f"{column} = 'usrt'", f"{column} IN ('usrt'").replace(
            f"{column} = '000010'", f"{column} IN ('000010'"
        )
    sql = (
        sql.replace("'usmf'", "'usmf')")
        .replace("'000011'", "'000011')")
        .replace("'000010', '000011') = h.SalesOrderNumber", "h.SalesOrderNumber IN ('000010', '000011')")
    )
    answer = trial.answer(sql)
    assert as_set(answer.rows.rows) == trial.expected(sql, None)
    assert answer.rows_scanned[LINES] < 100


APART = f"SELECT count(*) AS n FROM {HEADS} h JOIN {LINES} l ON l.SalesOrderNumber = h.SalesOrderNumber WHERE h.SalesOrderNumber = '{ORDER}'"


@pytest.mark.parametrize(
    "sql",
    [
        f"{APART} AND h.dataAreaId = 'usrt'",
        f"{APART} AND l.dataAreaId IN ('usrt', 'demf')",
        f"{APART} AND h.dataAreaId <> 'usmf'",
        f"{APART} AND h.dataAreaId LIKE 'us%'",
        f"SELECT (SELECT count(*) FROM {LINES}) AS n FROM {HEADS} WHERE dataAreaId = 'usrt'",
        f"SELECT SalesOrderNumber FROM {HEADS} WHERE dataAreaId = 'usrt' UNION SELECT SalesOrderNumber FROM {LINES}",
        f"SELECT SalesOrderNumber FROM {LINES} WHERE SalesOrderNumber IN (SELECT SalesOrderNumber FROM {HEADS} WHERE dataAreaId = 'usrt')",
        f"SELECT a.SalesOrderNumber FROM {HEADS} a JOIN {HEADS} b USING (SalesOrderNumber) WHERE a.dataAreaId = 'usrt'",
    ],
)  # fmt: skip
def test_tables_of_different_companies_are_refused_where_nobody_said_so(server: Served, sql: str) -> None:
    error = server.refuse("query_sql", sql=sql)
    assert "would be read in" in error["message"] and "usmf, the default company" in error["message"]
    assert "dataAreaId" in error["hint"] and "company or cross_company" in error["hint"]
    assert not server.requests(f"/data/{LINES.lower()}")


@pytest.mark.parametrize(
    "sql",
    [
        f"SELECT count(*) FILTER (WHERE dataAreaId = 'usrt') AS n FROM {HEADS}",
        f"SELECT sum(CASE WHEN dataAreaId IN ('usmf', 'usrt') THEN 1 END) AS n FROM {HEADS}",
        f"SELECT count(*) FROM {HEADS} h, {LINES} l WHERE h.dataAreaId = 'usrt' OR l.LineAmount > 5",
        f"SELECT count(*) FILTER (WHERE (dataAreaId, SalesOrderNumber) = ('usrt', '1')) AS n FROM {HEADS}",
        f"SELECT count(*) FILTER (WHERE left(dataAreaId, 2) = 'fr') AS n FROM {HEADS}",
        f"SELECT count(*) FROM {HEADS} h FULL JOIN {LINES} l ON l.SalesOrderNumber = h.SalesOrderNumber WHERE coalesce(h.dataAreaId, l.dataAreaId) = 'usrt'",
        f"SELECT count(*) FROM {HEADS} WHERE dataAreaId IN (SELECT LegalEntityId FROM LegalEntities)",
        f"SELECT count(*) FROM {HEADS} WHERE dataAreaId = (SELECT min(LegalEntityId) FROM LegalEntities)",
        f"SELECT count(*) FROM {HEADS} h JOIN (VALUES ('usrt')) v(company) ON v.company = h.dataAreaId",
        f"WITH v AS (SELECT 'usrt' AS company) SELECT count(*) FROM {HEADS} h JOIN v ON v.company = h.dataAreaId",
    ],
)  # fmt: skip
def test_a_company_that_is_compared_and_not_read_is_refused(server: Served, sql: str) -> None:
    error = server.refuse("query_sql", sql=sql)
    assert "usmf alone, the default company" in error["message"]
    assert "cross_company" in error["hint"]


def test_the_default_company_may_be_named_by_one_table_alone(server: Served) -> None:
    result = server.call("query_sql", sql=f"{APART} AND h.dataAreaId = 'usmf'")
    assert result["companies"] == {HEADS: "usmf", LINES: "usmf"}


def test_each_table_has_the_companies_that_are_said_of_it(server: Served) -> None:
    sql = "SELECT u.CustomerAccount FROM CustomersV3 u JOIN VendorsV2 v ON v.VendorAccountNumber <> u.CustomerAccount WHERE u.dataAreaId = 'usrt' AND v.dataAreaId IN ('demf', 'usmf')"
    result = server.call("query_sql", sql=sql)
    assert result["companies"] == {"CustomersV3": "usrt", "VendorsV2": "demf, usmf"}
    assert "company" not in result


def test_joining_without_the_company_has_a_note_where_several_are_read(server: Served) -> None:
    joined = server.call("query_sql", sql=APART, cross_company=True)
    assert joined["companies"] == {HEADS: "all companies", LINES: "all companies"}
    assert any(f"{HEADS} and {LINES} are joined without dataAreaId" in note for note in joined["notes"])
    listed = f"SELECT count(*) AS n FROM {LINES} WHERE SalesOrderNumber IN (SELECT SalesOrderNumber FROM {HEADS} WHERE SalesOrderNumber = '{ORDER}')"
    assert any(
        "without dataAreaId" in note for note in server.call("query_sql", sql=listed, cross_company=True)["notes"]
    )
    correlated = f"SELECT count(*) AS n FROM {LINES} l WHERE EXISTS (SELECT 1 FROM {HEADS} h WHERE h.SalesOrderNumber = l.SalesOrderNumber AND h.SalesOrderNumber = '{ORDER}')"
    assert any(
        "without dataAreaId" in note for note in server.call("query_sql", sql=correlated, cross_company=True)["notes"]
    )
    for sql in (
        f"{APART} AND h.dataAreaId = l.dataAreaId",
        f"{APART} AND h.dataAreaId = 'usrt' AND l.dataAreaId = 'usrt'",
    ):
        assert "notes" not in server.call("query_sql", sql=sql, cross_company=True)
    assert "notes" not in server.call("query_sql", sql=APART, company="usrt")


def test_a_statement_about_companies_says_that_it_read_one(server: Served) -> None:
    grouped = server.call("query_sql", sql=f"SELECT dataAreaId, count(*) AS n FROM {HEADS} GROUP BY 1")
    assert grouped["records"] == [{"dataAreaId": "usmf", "n": 811}]
    assert any("every dataAreaId is usmf" in note for note in grouped["notes"])
    assert "notes" not in server.call(
        "query_sql", sql=f"SELECT count(*) FROM {HEADS} h JOIN CustomersV3 c ON c.dataAreaId = h.dataAreaId"
    )


@pytest.mark.parametrize("given", [{"company": "usrt"}, {"company": "USRT"}])
def test_the_company_given_and_the_one_in_the_statement_must_agree(server: Served, given: dict[str, str]) -> None:
    error = server.refuse("query_sql", sql=f"SELECT count(*) FROM {HEADS} WHERE dataAreaId = 'usmf'", **given)
    assert f'company says "{given["company"]}"' in error["message"]
    agreed = server.call("query_sql", sql=f"SELECT count(*) AS n FROM {HEADS} WHERE dataAreaId = 'usrt'", **given)
    assert agreed["records"] == [{"n": 40}]
    server.refuse("query_sql", sql=f"SELECT count(*) FROM {HEADS}", cross_company=True, **given)


LEDGER = "SELECT sum(g.AccountingCurrencyAmount) AS s FROM GeneralJournalAccountEntries g"


@pytest.mark.parametrize(
    ("sql", "column"),
    [
        (LEDGER, "DataArea"),
        (f"{LEDGER} WHERE g.DataArea LIKE 'us%'", "DataArea"),
        (f"{LEDGER} JOIN CustomersV3 c ON c.CustomerAccount = g.LedgerAccount", "DataArea"),
        (f"{LEDGER} LEFT JOIN CustomersV3 c ON c.dataAreaId = g.DataArea", "DataArea"),
        ("SELECT CustomerAccount, (SELECT count(*) FROM Ledgers) AS n FROM CustomersV3", "LegalEntityId"),
    ],
)
def test_a_company_in_another_column_is_to_be_named_there(server: Served, sql: str, column: str) -> None:
    message = server.refuse("query_sql", sql=sql, company="usmf")["message"]
    assert f"its company is in {column}: add the condition {column} = 'usmf'" in message
    assert not server.requests("/data/")
    server.call("query_sql", sql=sql)


@pytest.mark.parametrize(
    "sql",
    [
        f"{LEDGER} WHERE DataArea = 'usmf'",
        f"{LEDGER} WHERE upper(DataArea) = 'USMF'",
        f"{LEDGER} WHERE DataArea IN (SELECT dataAreaId FROM CustomersV3)",
        f"{LEDGER} JOIN LegalEntities e ON e.LegalEntityId = g.DataArea WHERE g.DataArea = 'usmf'",
        f"{LEDGER} JOIN (SELECT DISTINCT dataAreaId FROM CustomersV3) c ON c.dataAreaId = g.DataArea",
    ],
)
def test_a_company_that_is_named_in_another_column_is_the_one_read(server: Served, sql: str) -> None:
    expected = server.call("query_sql", sql=f"{LEDGER} WHERE DataArea = 'usmf'")["records"]
    result = server.call("query_sql", sql=sql, company="usmf")
    assert result["records"] == expected


def test_a_company_that_another_column_contradicts_is_refused(server: Served) -> None:
    sql = f"{LEDGER} WHERE DataArea IN ('usrt', 'demf')"
    assert 'company says "usmf"' in server.refuse("query_sql", sql=sql, company="usmf")["message"]


def test_a_company_has_no_effect_on_what_all_companies_share(server: Served) -> None:
    sql = "SELECT count(*) AS n FROM Currencies a, Currencies b, CustomersV3 WHERE a.CurrencyCode < b.CurrencyCode"
    result = server.call("query_sql", sql=sql, company="usmf")
    assert result["notes"] == ["Currencies: shared by all companies, company had no effect"]
    assert result["company"] == "usmf"
    assert "notes" not in server.call("query_sql", sql=sql)


def test_the_records_say_which_company_is_the_default_one(server: Served) -> None:
    """The server's own memory of it may be minutes old."""
    sql = f"SELECT count(*) AS n FROM {HEADS}"
    assert server.call("query_sql", sql=sql)["companies"] == {HEADS: "usmf"}
    server.simulator.control(default_company="demf")
    changed = server.call("query_sql", sql=sql)
    assert (changed["records"], changed["company"]) == ([{"n": 40}], "demf")
    empty = server.call("query_sql", sql=f"{sql} WHERE SalesOrderNumber = 'none'")
    assert empty["companies"] == {HEADS: "demf"}


def test_who_may_not_ask_for_the_default_company_still_reads_it(server: Served) -> None:
    server.simulator.control(default_company="demf")
    server.simulator.fault("UserSessionService", method="POST", status=403, times=9)
    sql = f"SELECT count(*) AS n FROM {HEADS} WHERE SalesOrderNumber = 'none'"
    assert server.call("query_sql", sql=sql)["companies"] == {HEADS: "the default company"}


def test_a_default_company_that_changes_meanwhile_mixes_nothing(server: Served) -> None:
    server.simulator.fault(f"/data/{LINES}", status=200, body='{"value":[{"dataAreaId":"demf","LineAmount":1}]}')
    sql = f"SELECT count(l.LineAmount) AS n FROM {HEADS} h, {LINES} l"
    assert "demf and usmf" in server.refuse("query_sql", sql=sql)["message"]
    assert server.call("query_sql", sql=sql)["company"] == "usmf"


@pytest.mark.once
def test_rows_of_another_company_than_those_allowed_are_never_answered(simulator: Simulator) -> None:
    with serving(simulator, D365FO_COMPANIES="usmf") as bound:
        simulator.fault(f"/data/{HEADS}", status=200, body='{"value":[{"dataAreaId":"usrt","SalesOrderNumber":"1"}]}')
        error = bound.refuse("query_sql", sql=f"SELECT SalesOrderNumber FROM {HEADS}")
        assert error["code"] == "not_allowed" and "usrt" in error["message"]
        assert bound.call("query_sql", sql=f"SELECT count(*) AS n FROM {HEADS}")["records"] == [{"n": 811}]
        simulator.fault(f"/data/{HEADS}", status=200, body='{"value":[{"SalesOrderNumber":"1"}]}')
        error = bound.refuse("query_sql", sql=f"SELECT SalesOrderNumber FROM {HEADS}")
        assert error["code"] == "not_allowed" and "none that it names" in error["message"]
        owned = "SELECT count(*) AS n FROM Ledgers WHERE LegalEntityId = 'usmf'"
        assert bound.call("query_sql", sql=owned)["records"] == [{"n": 1}]
        everything = bound.call("query_sql", sql=f"SELECT count(*) AS n FROM {HEADS}", cross_company=True)
        assert everything["records"] == [{"n": 811}]
