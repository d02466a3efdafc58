"""Records by key: every kind of literal, and what is not a key."""

from __future__ import annotations

import httpx
import pytest

pytestmark = pytest.mark.once


@pytest.mark.parametrize(
    "path",
    [
        "CustomersV3(dataAreaId='usmf',CustomerAccount='US-001')",
        "CustomersV3(CustomerAccount='us-001',dataAreaId='USMF')",
        "CustomersV3(dataAreaId='us01',CustomerAccount='%20RFI-001')?cross-company=true",
        "CustomersV3(dataAreaId=%27usmf%27,CustomerAccount=%27US-001%27)",
        "ReleasedProductsV2(dataAreaId='us01',ItemNumber='A%2FB-100')?cross-company=true",
        "ReleasedProductsV2(dataAreaId='us01',ItemNumber='JOE''S')?cross-company=true",
        "ReleasedProductsV2(dataAreaId='us01',ItemNumber='50%25OFF')?cross-company=true",
        "ReleasedProductsV2(dataAreaId='usmf',ItemNumber='%C3%84-200')",
        "ReleasedProductsV2(dataAreaId='usmf',ItemNumber='%C3%A4-200')",
        "FreeTextInvoiceHeaders(dataAreaId='usmf',InvoiceIdentifier=5637144576)",
        "LedgerJournalLines(dataAreaId='usmf',JournalBatchNumber='00475',LineNumber=1)",
        "LedgerJournalLines(dataAreaId='usmf',JournalBatchNumber='00475',LineNumber=2.0)",
        "ExchangeRates(RateTypeName='Default',FromCurrency='EUR',ToCurrency='USD',StartDate=2017-01-01T12:00:00Z)",
        "SequenceV2Tables(NumberSequenceCode='Sale_37',ScopeType=Microsoft.Dynamics.DataEntities.NumberSequenceType'DataArea',ScopeValue='usmf')",
        "DualWriteProjectConfigurations(ProjectId=8d5a1d3c-52a5-4e2e-a0cf-7a3d1d1f0001)",
        "LegalEntities('USMF')",
        "LegalEntities(LegalEntityId='usmf')",
        "WarehousesOnHandV2(dataAreaId='usmf',ItemNumber='D0001',ProductColorId='',ProductConfigurationId='',ProductSizeId='',"
        "ProductStyleId='',ProductVersionId='',InventorySiteId='1',InventoryWarehouseId='11')",
    ],
)
def test_a_record_is_found_by_its_key(fo: httpx.Client, path: str) -> None:
    assert fo.get(f"/data/{path}").status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "CustomersV3(dataAreaId='usmf',CustomerAccount='US-999')",
        "CustomersV3(dataAreaId='us01',CustomerAccount='RFI-001')?cross-company=true",
        "CustomersV3(dataAreaId='usmf',CustomerAccount='US-00*')",
        "ReleasedProductsV2(dataAreaId='us01',ItemNumber='A/B-100')?cross-company=true",
        "ExchangeRates(RateTypeName='Default',FromCurrency='EUR',ToCurrency='USD',StartDate=2017-01-01T00:00:00Z)",
        "Currencys('USD')",
    ],
)
def test_what_no_record_has_is_not_found(fo: httpx.Client, path: str) -> None:
    assert fo.get(f"/data/{path}").status_code in (400, 404)


@pytest.mark.parametrize(
    "predicate",
    [
        "",
        "'US-001'",
        "CustomerAccount='US-001'",
        "dataAreaId='usmf'",
        "dataAreaId='usmf',CustomerAccount='US-001',Name='x'",
        "dataAreaId='usmf',dataAreaId='usmf'",
        "dataAreaId='usmf',CustomerAccount=US-001",
        "dataAreaId='usmf',CustomerAccount=1",
        "dataAreaId='usmf';CustomerAccount='US-001'",
        "dataAreaId='usmf',CustomerAccount='US-001",
        "dataAreaId='usmf',CustomerAccount='O'Hare'",
        "dataAreaId='usmf',CustomerAccount='US-001',",
        "dataAreaId='usmf',customerAccount='US-001'",
    ],
)
def test_a_malformed_key_is_refused(fo: httpx.Client, predicate: str) -> None:
    assert fo.get(f"/data/CustomersV3({predicate})").status_code == 400


@pytest.mark.parametrize(
    "path",
    [
        "ExchangeRates(RateTypeName='Default',FromCurrency='EUR',ToCurrency='USD',StartDate='2017-01-01')",
        "LedgerJournalLines(dataAreaId='usmf',JournalBatchNumber='00475',LineNumber='1')",
        "FreeTextInvoiceHeaders(dataAreaId='usmf',InvoiceIdentifier=1.5)",
        "DualWriteProjectConfigurations(ProjectId='8d5a1d3c-52a5-4e2e-a0cf-7a3d1d1f0001')",
        "SequenceV2Tables(NumberSequenceCode='Sale_37',ScopeType='DataArea',ScopeValue='usmf')",
    ],
)
def test_a_key_part_of_the_wrong_type_is_refused(fo: httpx.Client, path: str) -> None:
    assert fo.get(f"/data/{path}").status_code == 400
