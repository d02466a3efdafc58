"""Which company's records a request sees: the table of F&O's cross-company behaviour."""

from __future__ import annotations

import httpx
import pytest

from tests.simulated import Simulator

pytestmark = pytest.mark.once

IN_DEMF = "/data/CustomersV3(dataAreaId='demf',CustomerAccount='DE-010')"


def companies(fo: httpx.Client, query: str) -> set[str]:
    reply = fo.get(f"/data/CustomersV3?$select=dataAreaId&{query}")
    assert reply.status_code == 200, reply.text
    return {row["dataAreaId"] for row in reply.json()["value"]}


def test_without_the_flag_only_the_default_company_is_seen(fo: httpx.Client) -> None:
    assert companies(fo, "") == {"usmf"}


def test_a_company_filter_without_the_flag_finds_nothing(fo: httpx.Client) -> None:
    assert companies(fo, "$filter=dataAreaId eq 'demf'") == set()


def test_the_flag_opens_every_company(fo: httpx.Client) -> None:
    assert companies(fo, "cross-company=true") == {"usmf", "us01", "usrt", "ussi", "demf", "frrt", "gbsi", "jpmf"}


def test_the_flag_with_a_filter_chooses_a_company_whatever_its_case(fo: httpx.Client) -> None:
    assert companies(fo, "cross-company=true&$filter=dataAreaId eq 'DEMF'") == {"demf"}


@pytest.mark.parametrize("flag", ["cross-company=1", "cross-company=True", "Cross-Company=true", "$cross-company=true"])
def test_other_spellings_of_the_flag_do_not_count(fo: httpx.Client, flag: str) -> None:
    reply = fo.get(f"/data/CustomersV3?$filter=dataAreaId eq 'demf'&{flag}")
    assert reply.status_code == 400 or reply.json()["value"] == []


def test_a_key_in_another_company_needs_the_flag(fo: httpx.Client) -> None:
    assert fo.get(IN_DEMF).status_code == 404
    assert fo.get(f"{IN_DEMF}?cross-company=true").status_code == 200


def test_changes_in_another_company_need_the_flag(fo: httpx.Client) -> None:
    assert fo.patch(IN_DEMF, json={"CreditLimit": 1}).status_code == 404
    assert fo.patch(f"{IN_DEMF}?cross-company=true", json={"CreditLimit": 1}).status_code == 204
    group = "/data/CustomerGroups(dataAreaId='demf',CustomerGroupId='20')"
    assert fo.delete(group).status_code == 404
    assert fo.delete(f"{group}?cross-company=true").status_code == 204


def test_a_create_goes_to_the_company_in_its_body(fo: httpx.Client) -> None:
    body = {"CustomerGroupId": "91", "Description": "x"}
    created = fo.post("/data/CustomerGroups", json={**body, "dataAreaId": "USRT"})
    assert created.status_code == 201
    assert created.json()["dataAreaId"] == "usrt"
    assert fo.post("/data/CustomerGroups", json=body).json()["dataAreaId"] == "usmf"
    unsaid = {"CustomerGroupId": "92", "dataAreaId": ""}
    assert fo.post("/data/CustomerGroups", json=unsaid).json()["dataAreaId"] == "usmf"


def test_shared_entities_ignore_the_flag(fo: httpx.Client) -> None:
    assert fo.get("/data/Currencies/$count").text == fo.get("/data/Currencies/$count?cross-company=true").text


def test_entities_with_another_company_column_are_not_scoped(fo: httpx.Client) -> None:
    assert len(fo.get("/data/Ledgers?$select=LegalEntityId").json()["value"]) == 25


def test_a_caller_mapped_to_dat_sees_nothing_of_usmf(simulator: Simulator) -> None:
    simulator.control(client={"id": "app-in-dat", "company": "dat"})
    with simulator.client("app-in-dat") as fo:
        assert companies(fo, "") == set()
        assert companies(fo, "$filter=dataAreaId eq 'usmf'") == set()
        assert companies(fo, "cross-company=true&$filter=dataAreaId eq 'usmf'") == {"usmf"}


def test_the_default_company_may_be_changed_for_everyone(simulator: Simulator, fo: httpx.Client) -> None:
    simulator.control(default_company="demf")
    assert companies(fo, "") == {"demf"}


def test_a_caller_sees_only_the_companies_he_may_enter(simulator: Simulator) -> None:
    simulator.control(client={"id": "two", "company": "usmf", "companies": ["usmf", "usrt"]})
    with simulator.client("two") as fo:
        assert companies(fo, "cross-company=true") == {"usmf", "usrt"}
        assert fo.get(f"{IN_DEMF}?cross-company=true").status_code == 404
        body = {"dataAreaId": "demf", "CustomerGroupId": "91"}
        assert fo.post("/data/CustomerGroups", json=body).status_code == 403


def test_expanded_records_stay_in_their_company(fo: httpx.Client) -> None:
    query = "cross-company=true&$filter=dataAreaId eq 'demf'&$top=1&$expand=CustomerGroup"
    (customer,) = fo.get(f"/data/CustomersV3?{query}").json()["value"]
    assert customer["CustomerGroup"]["dataAreaId"] == "demf"
