"""The metadata service: its shapes, its own filter dialect, labels."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

pytestmark = pytest.mark.once


def names(fo: httpx.Client, url: str) -> list[str]:
    reply = fo.get(url)
    assert reply.status_code == 200, reply.text
    return [item["Name"] for item in reply.json()["value"]]


def one(fo: httpx.Client, url: str) -> dict[str, Any]:
    reply = fo.get(url)
    assert reply.status_code == 200, reply.text
    found: dict[str, Any] = reply.json()
    return found


def test_a_data_entity_has_four_names_and_its_flags(fo: httpx.Client) -> None:
    entity = one(fo, "/metadata/DataEntities('CustCustomerV3Entity')")
    context = entity.pop("@odata.context")
    assert context.endswith("/Metadata/$metadata#DataEntities/$entity")
    assert entity["LabelId"].startswith("@SYS")
    del entity["LabelId"]
    assert entity == {
        "Name": "CustCustomerV3Entity",
        "PublicEntityName": "CustomerV3",
        "PublicCollectionName": "CustomersV3",
        "DataServiceEnabled": True,
        "DataManagementEnabled": True,
        "EntityCategory": "Master",
        "IsReadOnly": False,
    }


def test_some_entities_exist_for_data_management_alone(fo: httpx.Client) -> None:
    hidden = names(fo, "/metadata/DataEntities?$filter=DataServiceEnabled eq false")
    assert "CustCustomerBaseEntity" in hidden
    assert len(names(fo, "/metadata/DataEntities")) == len(names(fo, "/metadata/PublicEntities?$select=Name")) + len(
        hidden
    )


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("DataEntities?$filter=contains(tolower(Name),'customerv3')", ["CustCustomerV3Entity"]),
        ("DataEntities?$filter=DataServiceEnabled eq true and contains(Name,'CustomerV3')", ["CustCustomerV3Entity"]),
        ("DataEntities?$filter=contains(Name,'customerv3')", []),
        ("DataEntities?$filter=PublicCollectionName eq 'customersv3'", []),
        ("DataEntities?$filter=PublicCollectionName eq 'Customers*'", []),
        ("PublicEntities?$filter=EntitySetName eq 'CustomersV3'", ["CustomerV3"]),
        (
            "PublicEntities?$filter=(tolower(Name) eq tolower('CUSTOMERV3') or tolower(EntitySetName) eq 'x')",
            ["CustomerV3"],
        ),
        ("PublicEntities?$filter=startswith(Name,'CustomerV') and endswith(Name,'3')", ["CustomerV3"]),
        ("PublicEntities?$filter=IsReadOnly eq true and contains(Name,'Company')", ["Company"]),
        ("PublicEnumerations?$filter=contains(tolower(Name),'salesstatus')", ["SalesStatus"]),
    ],
)
def test_filters_know_functions_and_case_but_no_wildcards(fo: httpx.Client, url: str, expected: list[str]) -> None:
    assert names(fo, f"/metadata/{url}") == expected


def test_categories_are_an_enumeration_of_their_own(fo: httpx.Client) -> None:
    category = "Microsoft.Dynamics.Metadata.EntityCategory"
    found = names(fo, f"/metadata/DataEntities?$filter=EntityCategory eq {category}'Parameters'")
    assert "CustParametersEntity" in found


@pytest.mark.parametrize(
    "query",
    ["$filter=Nme eq 'x'", "$filter=toLower(Name) eq 'x'", "$filter=contains(Name)", "$select=Nme", "$orderby=Name"],
)
def test_what_the_service_does_not_know_is_refused(fo: httpx.Client, query: str) -> None:
    assert fo.get(f"/metadata/DataEntities?{query}").status_code == 400


def test_top_skip_and_count_work_without_paging(fo: httpx.Client) -> None:
    everything = names(fo, "/metadata/DataEntities")
    reply = one(fo, "/metadata/DataEntities?$top=2&$skip=1&$count=true&$select=Name")
    assert reply["value"] == [{"Name": name} for name in everything[1:3]]
    assert reply["@odata.count"] == len(everything)


def test_a_public_entity_describes_its_properties(fo: httpx.Client) -> None:
    user = one(fo, "/metadata/PublicEntities('SystemUser')")
    properties = {item["Name"]: item for item in user["Properties"]}
    assert properties["UserID"] == {
        "Name": "UserID",
        "TypeName": "Edm.String",
        "DataType": "String",
        "LabelId": "@Kernel:UserInfo_ID",
        "IsKey": True,
        "IsMandatory": True,
        "ConfigurationEnabled": True,
        "AllowEdit": False,
        "AllowEditOnCreate": True,
        "IsDimension": False,
        "DimensionRelation": None,
        "IsDynamicDimension": False,
        "DimensionLegalEntityProperty": None,
        "DimensionTypeProperty": None,
    }
    assert (properties["Enabled"]["TypeName"], properties["Enabled"]["DataType"]) == ("Edm.Boolean", "Enum")
    assert properties["DocumentHandlingActive"]["TypeName"] == "Microsoft.Dynamics.DataEntities.NoYes"
    assert {item["Name"] for item in user["NavigationProperties"]} == {"UserGroupUserList", "DefaultBudgetManager"}
    assert user["PropertyGroups"] == []


def test_data_types_distinguish_dates_from_timestamps(fo: httpx.Client) -> None:
    order = one(fo, "/metadata/PublicEntities('SalesOrderHeaderV2')")
    kinds = {item["Name"]: item["DataType"] for item in order["Properties"]}
    assert kinds["RequestedShippingDate"] == "Date"
    assert kinds["OrderCreationDateTime"] == "UtcDateTime"


def test_actions_and_relations_are_described(fo: httpx.Client) -> None:
    copilot = one(fo, "/metadata/PublicEntities('SrsFinanceCopilot')")
    (action,) = copilot["Actions"]
    assert (action["Name"], action["BindingKind"]) == ("RunCopilotReport", "BoundToEntitySet")
    assert action["ReturnType"] == {"TypeName": "Edm.String", "IsCollection": False}
    assert {"Name": "_legalEntityName", "Type": {"TypeName": "Edm.String", "IsCollection": False}} in action[
        "Parameters"
    ]
    order = one(fo, "/metadata/PublicEntities('SalesOrderHeader')")
    (lines,) = order["NavigationProperties"]
    assert (lines["RelatedEntity"], lines["Cardinality"]) == ("SalesOrderLine", "Multiple")
    assert lines["Constraints"][0]["ReferencedProperty"] == "SalesOrderNumber"


def test_an_enumeration_lists_members_with_values_and_labels(fo: httpx.Client) -> None:
    members = one(fo, "/metadata/PublicEnumerations('NoYes')")["Members"]
    assert members[1] == {"Name": "Yes", "Value": 1, "LabelId": "@SYS5461", "ConfigurationEnabled": True}
    account_types = one(fo, "/metadata/PublicEnumerations('LedgerJournalACType')")["Members"]
    assert {item["Name"]: item["Value"] for item in account_types}["FixedAssets"] == 5


def test_labels_come_in_several_languages_and_some_are_missing(fo: httpx.Client) -> None:
    def label(label_id: str, language: str) -> httpx.Response:
        return fo.get(f"/metadata/Labels(Id='{label_id}',Language='{language}')")

    assert label("@SYS5461", "en-US").json()["Value"] == "Yes"
    assert label("@SYS5461", "de").json()["Value"] == "Ja"
    assert label("@Kernel:UserInfo_ID", "en-us").json() == {
        "@odata.context": f"{str(fo.base_url).rstrip('/')}/Metadata/$metadata#Labels/$entity",
        "Id": "@Kernel:UserInfo_ID",
        "Language": "en-us",
        "Value": "User ID",
    }
    assert label("@SYS5461", "xx").status_code == 404
    assert label("@SYS999999", "en-us").status_code == 404


def test_some_properties_have_no_label_or_one_without_text(fo: httpx.Client) -> None:
    customer = one(fo, "/metadata/PublicEntities('CustomerV3')")
    labels = {item["Name"]: item["LabelId"] for item in customer["Properties"]}
    assert labels["NameAlias"] == "@SYS999999"
    assert labels["PrimaryContactTelexPurpose"] is None


@pytest.mark.parametrize("root", ["metadata", "Metadata", "METADATA"])
def test_the_root_is_spelled_in_any_case(fo: httpx.Client, root: str) -> None:
    assert fo.get(f"/{root}/PublicEnumerations('NoYes')").status_code == 200


@pytest.mark.parametrize("path", ["DataEntities('Nothing')", "PublicEntities('customerv3')", "Nothing", ""])
def test_what_does_not_exist_is_not_found(fo: httpx.Client, path: str) -> None:
    assert fo.get(f"/metadata/{path}").status_code == 404


def test_the_service_is_read_only(fo: httpx.Client) -> None:
    assert fo.post("/metadata/DataEntities", json={}).status_code == 405
