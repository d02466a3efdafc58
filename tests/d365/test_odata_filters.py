"""What becomes of an ordinary filter on its way to F&O."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from d365mcp.d365.filters.translate import Translation, translate_filter
from d365mcp.d365.filters.tree import Comparison, Literal, Property, matches_filter
from d365mcp.d365.models import EntityProperty
from d365mcp.d365.odata import QueryOptions
from d365mcp.errors import InvalidArgument, UnknownName
from tests.d365.entities import CURRENCIES, CUSTOMERS

ENUM = "Microsoft.Dynamics.DataEntities."


def fo(text: str) -> str:
    """Return the one F&O filter that `text` becomes."""
    (only,) = translate_filter(text, CUSTOMERS).filters
    return only


def refusal(text: str) -> InvalidArgument:
    with pytest.raises(InvalidArgument) as error:
        translate_filter(text, CUSTOMERS)
    return error.value


@pytest.mark.parametrize(
    "text",
    [
        "OrganizationName eq 'O''Hare & Sons / 50% #1'",
        "CustomerAccount gt 'US-001' and CustomerAccount le 'US-100'",
        "(CreditLimit gt 1000 or CreditLimit lt -5.5) and Visits ne 0",
        "CreditLimit mul 2 gt Balance add 1",
        "(CreditLimit sub Balance) div 2 ge Visits mod 3",
        "RecordId eq 5637144576",
        "Enabled eq true",
        f"OnHoldStatus ne {ENUM}CustVendorBlocked'No'",
        "ShippingDate ge 2026-07-01T12:00:00Z and ShippingDate lt 2026-08-01T12:00:00Z",
        "CreatedAt gt 2026-07-01T08:30:15Z",
        "Reference eq 6f9619ff-8b86-d011-b42d-00c04fc964ff",
        "CustomerGroup/Description eq 'Retail'",
        "NameAlias ne ''",
        "NameAlias eq OrganizationName",
    ],
)
def test_what_is_fo_already_goes_through_unchanged_and_unremarked(text: str) -> None:
    translation = translate_filter(text, CUSTOMERS)
    assert translation.filters == (text,)
    assert translation.notes == ()
    assert not translation.needs_exact_check


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("contains(OrganizationName,'oy')", "OrganizationName eq '*oy*'"),
        ("startswith(OrganizationName,'oy')", "OrganizationName eq 'oy*'"),
        ("endswith(OrganizationName,'oy')", "OrganizationName eq '*oy'"),
        ("substringof('oy',OrganizationName)", "OrganizationName eq '*oy*'"),
        ("not contains(OrganizationName,'oy')", "OrganizationName ne '*oy*'"),
        ("contains(OrganizationName,'oy') eq true", "OrganizationName eq '*oy*'"),
        ("contains(OrganizationName,'oy') eq false", "OrganizationName ne '*oy*'"),
        ("contains(tolower(OrganizationName),tolower('OY'))", "OrganizationName eq '*OY*'"),
        ("toupper(OrganizationName) eq 'OY'", "OrganizationName eq 'OY'"),
        ("contains(CustomerAccount,'O''Hare')", "CustomerAccount eq '*O''Hare*'"),
        ("contains(CustomerAccount,001)", "CustomerAccount eq '*001*'"),
        ("contains(CustomerGroup/Description,'x')", "CustomerGroup/Description eq '*x*'"),
    ],
)
def test_text_is_searched_by_wildcard(text: str, expected: str) -> None:
    assert fo(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("NameAlias eq 'US*1'", "NameAlias eq 'US*1'"),
        ("NameAlias in ('US*1','b')", "NameAlias eq 'US*1' or NameAlias eq 'b'"),
        ("contains(NameAlias,'a*b')", "NameAlias eq '*a*b*'"),
        # F&O would leave out too many: it is not asked at all.
        ("NameAlias ne 'US*1'", ""),
        ("not contains(NameAlias,'a*b')", ""),
        ("NameAlias ne 'US*1' and Visits eq 1", "Visits eq 1"),
        ("NameAlias ne 'US*1' or Visits eq 1", ""),
        ("Visits eq 1 and not (NameAlias eq 'US*1' and Visits eq 2)", "Visits eq 1"),
    ],
)
def test_a_star_is_a_star_so_fo_is_asked_for_more_and_the_rest_is_checked_here(text: str, expected: str) -> None:
    translation = translate_filter(text, CUSTOMERS)
    assert translation.filters == (expected,)
    assert translation.needs_exact_check
    assert "a * is taken literally; to search by pattern use contains, startswith or endswith" in translation.notes


def test_a_star_means_nothing_in_an_order_and_cannot_be_checked_behind_a_navigation() -> None:
    assert not translate_filter("NameAlias gt 'US*1'", CUSTOMERS).needs_exact_check
    assert "a navigation path cannot be" in refusal("CustomerGroup/Name eq 'a*'").message
    assert "a navigation path cannot be" in refusal("NameAlias eq 'a*' or CustomerGroup/Name eq 'b'").message


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("CustomerAccount in ('a','b')", "CustomerAccount eq 'a' or CustomerAccount eq 'b'"),
        ("CustomerAccount in ('a')", "CustomerAccount eq 'a'"),
        ("CustomerAccount in ('a','A')", "CustomerAccount eq 'A'"),
        (
            "Visits gt 1 and CustomerAccount in ('a','b')",
            "Visits gt 1 and (CustomerAccount eq 'a' or CustomerAccount eq 'b')",
        ),
        ("not (CustomerAccount in ('a','b'))", "CustomerAccount ne 'a' and CustomerAccount ne 'b'"),
        ("Visits in (1,'2')", "Visits eq 1 or Visits eq 2"),
    ],
)
def test_in_becomes_a_chain_of_or(text: str, expected: str) -> None:
    assert fo(text) == expected


@pytest.mark.parametrize(
    ("written", "member"),
    [
        ("'Invoice'", "Invoice"),
        ("'invoice'", "Invoice"),
        ("Invoice", "Invoice"),
        ("CustVendorBlocked'Invoice'", "Invoice"),
        ("CustVendorBlocked.Invoice", "Invoice"),
        ("Microsoft.Dynamics.DataEntities.NoYes'No'", "No"),
        ("'CustVendorBlocked.All'", "All"),
        ("'CustVendorBlocked''All'''", "All"),
        ("2", "All"),
    ],
)
def test_members_are_found_by_any_spelling_and_qualified(written: str, member: str) -> None:
    assert fo(f"OnHoldStatus eq {written}") == f"OnHoldStatus eq {ENUM}CustVendorBlocked'{member}'"


def test_a_member_is_taken_at_its_word_where_the_enumeration_is_not_known() -> None:
    assert fo("Mood ne 'Good'") == f"Mood ne {ENUM}MoodNotKnownHere'Good'"
    assert "give a member's name" in refusal("Mood eq 1").message
    assert "is no member" in refusal("Mood eq 'very good'").message


def test_an_unknown_member_is_refused_with_the_close_ones_and_all_of_them() -> None:
    error = refusal("OnHoldStatus eq 'Invoce'")
    assert error.message == 'No member of CustVendorBlocked "Invoce". Did you mean Invoice?'
    assert error.hint == "Its members are No, Invoice, All, Payment, Requisition or Never."


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("OnHoldStatus eq null", ""),
        ("OnHoldStatus in (null,'No')", ""),
        ("OnHoldStatus ne null and Visits eq 1", "Visits eq 1"),
        ("OnHoldStatus eq null or Visits eq 1", ""),
    ],
)
def test_what_is_null_can_be_left_to_be_checked_here(text: str, expected: str) -> None:
    translation = translate_filter(text, CUSTOMERS, nulls_here=True)
    assert (translation.filters, translation.needs_exact_check) == ((expected,), True)
    assert not translate_filter("Visits eq 1", CUSTOMERS, nulls_here=True).needs_exact_check


def test_enumerations_have_no_order_and_no_text_but_may_be_null() -> None:
    assert "eq and ne only" in refusal("OnHoldStatus gt 'No'").message
    assert "eq or ne only" in refusal("OnHoldStatus ge null").message
    assert fo("OnHoldStatus ne null and Visits eq 1") == "OnHoldStatus ne null and Visits eq 1"
    assert "is for text" in refusal("contains(OnHoldStatus,'No')").message
    assert "no has" in refusal("OnHoldStatus has CustVendorBlocked'No'").message


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("IsOneTime eq true", f"IsOneTime eq {ENUM}NoYes'Yes'"),
        ("IsOneTime ne true", f"IsOneTime ne {ENUM}NoYes'Yes'"),
        ("IsOneTime", f"IsOneTime eq {ENUM}NoYes'Yes'"),
        ("not IsOneTime", f"IsOneTime eq {ENUM}NoYes'No'"),
        ("Enabled", "Enabled eq true"),
        ("not Enabled", "Enabled eq false"),
        ("Enabled eq 'Yes'", "Enabled eq true"),
        ("Enabled eq NoYes'No'", "Enabled eq false"),
        ("Enabled eq 1", "Enabled eq true"),
    ],
)
def test_yes_and_no_follow_the_type_of_the_property(text: str, expected: str) -> None:
    assert fo(text) == expected


NOON, MIDNIGHT = "T12:00:00Z", "T00:00:00Z"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        *((f"{op} 2026-07-14", f"{op} 2026-07-14{NOON}") for op in ("eq", "ne", "gt", "ge", "lt", "le")),
        *((f"{op} 2026-07-14{MIDNIGHT}", f"{op} 2026-07-14{NOON}") for op in ("eq", "ne")),
        *((f"{op} 2026-07-14{MIDNIGHT}", f"{op} 2026-07-14{MIDNIGHT}") for op in ("gt", "ge", "lt", "le")),
        ("eq '2026-07-14'", f"eq 2026-07-14{NOON}"),
        ("eq '2026-07-14T00:00:00'", f"eq 2026-07-14{NOON}"),
        ("eq 2026-07-14T00:00:00+02:00", f"eq 2026-07-14{NOON}"),
        ("eq 2026-07-14T14:00:00+02:00", f"eq 2026-07-14{NOON}"),
        # Other times are before or after noon by the calendar they are written in: no zone moves the day.
        ("le 2026-07-14T23:59:59Z", "le 2026-07-14T23:59:59Z"),
        ("lt 2026-07-14T23:59:59Z", "lt 2026-07-14T23:59:59Z"),
        ("gt 2026-07-14T08:00:00-05:00", "gt 2026-07-14T08:00:00Z"),
        ("le 2026-07-14T23:59:59+13:00", "le 2026-07-14T23:59:59Z"),
        ("eq null", f"eq 1900-01-01{NOON}"),
        ("ne null", f"ne 1900-01-01{NOON}"),
    ],
)
def test_dates_are_compared_at_noon(text: str, expected: str) -> None:
    assert fo(f"ShippingDate {text}") == f"ShippingDate {expected}"


def test_a_date_cannot_equal_a_time_of_day() -> None:
    assert "write 2026-07-14 instead" in refusal("ShippingDate eq 2026-07-14T08:30:00Z").message


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("CreatedAt eq 2026-07-14", f"CreatedAt ge 2026-07-14{MIDNIGHT} and CreatedAt lt 2026-07-15{MIDNIGHT}"),
        ("CreatedAt ne 2026-07-14", f"CreatedAt lt 2026-07-14{MIDNIGHT} or CreatedAt ge 2026-07-15{MIDNIGHT}"),
        ("not (CreatedAt eq 2026-07-14)", f"CreatedAt lt 2026-07-14{MIDNIGHT} or CreatedAt ge 2026-07-15{MIDNIGHT}"),
        ("CreatedAt gt 2026-07-14", f"CreatedAt ge 2026-07-15{MIDNIGHT}"),
        ("CreatedAt ge 2026-07-14", f"CreatedAt ge 2026-07-14{MIDNIGHT}"),
        ("CreatedAt lt 2026-07-14", f"CreatedAt lt 2026-07-14{MIDNIGHT}"),
        ("CreatedAt le 2026-07-14", f"CreatedAt lt 2026-07-15{MIDNIGHT}"),
        ("date(CreatedAt) eq 2026-07-14", f"CreatedAt ge 2026-07-14{MIDNIGHT} and CreatedAt lt 2026-07-15{MIDNIGHT}"),
        ("CreatedAt le 2026-07-14T00:00:00Z", f"CreatedAt le 2026-07-14{MIDNIGHT}"),
        ("CreatedAt ge 2026-07-14T08:30:00", "CreatedAt ge 2026-07-14T08:30:00Z"),
        ("CreatedAt ge 2026-07-14T08:30:00+02:00", "CreatedAt ge 2026-07-14T06:30:00Z"),
        ("CreatedAt eq null", f"CreatedAt eq 1900-01-01{MIDNIGHT}"),
        (
            "CreatedAt in (2026-07-14,null)",
            f"CreatedAt ge 2026-07-14{MIDNIGHT} and CreatedAt lt 2026-07-15{MIDNIGHT} or CreatedAt eq 1900-01-01{MIDNIGHT}",
        ),
        # The type of what is behind a navigation property is not known: right for dates and for times.
        (
            "CustomerGroup/Since eq 2026-07-14",
            f"CustomerGroup/Since ge 2026-07-14{MIDNIGHT} and CustomerGroup/Since lt 2026-07-15{MIDNIGHT}",
        ),
    ],
)
def test_a_day_is_a_whole_day_of_times(text: str, expected: str) -> None:
    assert fo(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("year(ShippingDate) eq 2026", "ShippingDate ge 2026-01-01T12:00:00Z and ShippingDate le 2026-12-31T12:00:00Z"),
        ("year(ShippingDate) ne 2026", "ShippingDate lt 2026-01-01T12:00:00Z or ShippingDate gt 2026-12-31T12:00:00Z"),
        ("year(ShippingDate) ge 2026", "ShippingDate ge 2026-01-01T12:00:00Z"),
        ("year(ShippingDate) gt 2026", "ShippingDate gt 2026-12-31T12:00:00Z"),
        ("2026 gt year(ShippingDate)", "ShippingDate lt 2026-01-01T12:00:00Z"),
        ("year(ShippingDate) le 2026", "ShippingDate le 2026-12-31T12:00:00Z"),
        ("year(CreatedAt) eq 2026", f"CreatedAt ge 2026-01-01{MIDNIGHT} and CreatedAt lt 2027-01-01{MIDNIGHT}"),
        ("year(CreatedAt) gt 2026", f"CreatedAt ge 2027-01-01{MIDNIGHT}"),
        (
            "month(CreatedAt) eq 12 and Visits eq 1 and year(CreatedAt) eq 2026",
            f"Visits eq 1 and CreatedAt ge 2026-12-01{MIDNIGHT} and CreatedAt lt 2027-01-01{MIDNIGHT}",
        ),
        (
            "year(ShippingDate) eq 2028 and month(ShippingDate) eq 2",
            "ShippingDate ge 2028-02-01T12:00:00Z and ShippingDate le 2028-02-29T12:00:00Z",
        ),
        (
            "year(ShippingDate) eq 2026 and month(ShippingDate) eq 7 and day(ShippingDate) eq 14",
            "ShippingDate ge 2026-07-14T12:00:00Z and ShippingDate le 2026-07-14T12:00:00Z",
        ),
    ],
)
def test_years_and_months_become_ranges(text: str, expected: str) -> None:
    assert fo(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("CustomerAccount eq 007", "CustomerAccount eq '007'"),
        ("CustomerAccount eq 1.50", "CustomerAccount eq '1.50'"),
        ("CustomerAccount eq 2026-07-14", "CustomerAccount eq '2026-07-14'"),
        ("NameAlias eq null", "NameAlias eq ''"),
        ("CreditLimit gt '1000.50'", "CreditLimit gt 1000.50"),
        ("CreditLimit eq 1e3", "CreditLimit eq 1000"),
        ("Visits eq 5.0", "Visits eq 5"),
        ("RecordId eq '5637144576'", "RecordId eq 5637144576"),
        ("OpensAt ge 08:30:00", "OpensAt ge 30600"),
        (
            "Reference eq '6F9619FF-8B86-D011-B42D-00C04FC964FF'",
            "Reference eq 6f9619ff-8b86-d011-b42d-00c04fc964ff",
        ),
        ("Reference ne null", "Reference ne 00000000-0000-0000-0000-000000000000"),
        ("1000 lt CreditLimit", "CreditLimit gt 1000"),
        ("'US-001' eq customeraccount", "CustomerAccount eq 'US-001'"),
        ("customergroup/Description eq 'x'", "CustomerGroup/Description eq 'x'"),
    ],
)
def test_types_names_and_sides_are_put_right_and_it_is_said(text: str, expected: str) -> None:
    assert fo(text) == expected
    (note,) = translate_filter(text, CUSTOMERS).notes
    assert note == f"{text} → {expected}"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("CreditLimit eq null", "no null for numbers"),
        ("Enabled eq null", "no null for it"),
        ("CreditLimit gt null", "eq or ne only"),
        ("CreditLimit eq 'many'", 'is a number; "many" is not'),
        ("CreditLimit eq true", "is a number; True is not"),
        ("Visits eq 1.5", "a whole number; 1.5 is not"),
        ("Visits eq 2147483648", "from -2147483648 to 2147483647"),
        ("RecordId eq 9223372036854775808", "from -9223372036854775808"),
        ("OrganizationName eq true", "is a text; True is not"),
        ("OrganizationName", "OrganizationName alone is none"),
        ("Enabled gt false", "eq and ne only"),
        ("Reference gt 6f9619ff-8b86-d011-b42d-00c04fc964ff", "eq and ne only"),
        ("Reference eq 'x'", "is a guid"),
        ("Picture eq 'x'", "of a type that F&O cannot compare"),
        ("ShippingDate eq 'soon'", "a date such as 2026-07-14"),
        ("ShippingDate eq 5", "a date such as 2026-07-14"),
        ("CreatedAt le 9999-12-31", "run from 1900-01-01 to 2154-12-31"),
        ("CreditLimit eq OrganizationName", "cannot be compared"),
        ("OrganizationName add 1 eq 2", "no number to compute with"),
        ("1 eq 1", "needs a property"),
        ("5", "condition was expected"),
        ("true", "condition was expected"),
        ("contains(OrganizationName,'')", "needs a text"),
        ("contains('x',OrganizationName)", "a property first"),
        ("contains(OrganizationName)", "a property and a text"),
        ("contains(CreditLimit,'1')", "is for text"),
        ("month(ShippingDate) eq 7", "ShippingDate ge 2026-07-01 and ShippingDate lt 2026-08-01"),
        ("year(ShippingDate) eq 2026 and month(ShippingDate) eq 13", "no day 2026-13"),
        ("year(ShippingDate) eq 20260", "a year from 1900 to 2154"),
        ("year(OrganizationName) eq 2026", "is for dates"),
        ("date(CreatedAt) eq 2026-07-14T08:00:00Z", "compared with a day"),
        ("length(OrganizationName) gt 5", "compare with ''"),
        ("trim(OrganizationName) eq 'x'", "startswith(Name,'x')"),
        ("matchesPattern(OrganizationName,'^a')", "startswith(Name,'x')"),
        ("CreatedAt lt now()", "write the date itself"),
        ("Addresses/City eq 'x'", "leads to many records"),
        ("CustomerGroup/Since eq null", "compare with ''"),
        ("CustomerGroup/A/B eq 'x'", "is no property"),
    ],
)
def test_what_fo_cannot_be_asked_is_refused_with_the_reason_or_the_hint(text: str, reason: str) -> None:
    assert reason in refusal(text).message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Custmer eq 'x'", 'No property "Custmer". Did you mean CustomerAccount?'),
        ("contains(OrganisationName,'x')", 'No property "OrganisationName". Did you mean OrganizationName?'),
        ("CustomerGrup/Name eq 'x'", 'No navigation property "CustomerGrup". Did you mean CustomerGroup?'),
        ("contain(OrganizationName,'x')", 'No function "contain". Did you mean contains?'),
    ],
)
def test_unknown_names_are_refused_with_the_close_ones(text: str, message: str) -> None:
    error = refusal(text)
    assert isinstance(error, UnknownName)
    assert error.message.startswith(message.removesuffix("?"))


def test_a_bare_word_where_text_belongs_is_answered_with_a_hint_about_quotes() -> None:
    assert refusal("dataAreaId eq usmf").hint == "A text is written in single quotes: 'usmf'."


@pytest.mark.parametrize(
    ("columns", "place"), [((), "is shared by all companies"), (("DataArea",), "has its company in DataArea")]
)
def test_an_entity_without_data_area_id_says_where_its_company_is(columns: tuple[str, ...], place: str) -> None:
    properties = {**CURRENCIES.properties, **{name: EntityProperty(name, "Edm.String") for name in columns}}
    with pytest.raises(UnknownName) as error:
        translate_filter("dataAreaId eq 'usmf'", replace(CURRENCIES, properties=properties))
    assert error.value.hint == f"Things {place}: leave dataAreaId out."


@pytest.mark.parametrize(
    ("text", "companies"),
    [
        ("dataAreaId eq 'USMF'", {"usmf"}),
        ("'usmf' eq DATAAREAID and CreditLimit gt 0", {"usmf"}),
        ("dataAreaId in ('usmf','dat')", {"usmf", "dat"}),
        ("dataAreaId eq 'usmf' or dataAreaId eq 'dat'", {"usmf", "dat"}),
        ("(dataAreaId eq 'usmf' and Visits eq 1) or (dataAreaId eq 'dat' and Visits eq 2)", {"usmf", "dat"}),
        ("dataAreaId in ('usmf','dat') and dataAreaId eq 'dat'", {"dat"}),
        ("dataAreaId eq 'usmf' and dataAreaId eq 'dat'", set()),
        ("not (dataAreaId ne 'usmf')", {"usmf"}),
        ("dataAreaId eq 'usmf' or CreditLimit gt 0", None),
        ("dataAreaId ne 'usmf'", None),
        ("startswith(dataAreaId,'us')", None),
        ("dataAreaId eq 'us*'", None),
        ("CustomerGroup/dataAreaId eq 'usmf'", None),
        ("CreditLimit gt 0", None),
    ],
)
def test_the_companies_are_those_a_filter_provably_stays_in(text: str, companies: set[str] | None) -> None:
    assert translate_filter(text, CUSTOMERS).companies == companies


def test_columns_are_what_the_filter_reads() -> None:
    text = "contains(nameALIAS,'x') and (CreditLimit sub Balance gt 0 or CustomerGroup/Description ne 'y')"
    columns = {"NameAlias", "CreditLimit", "Balance", "CustomerGroup/Description"}
    assert translate_filter(text, CUSTOMERS).columns == columns


def test_many_changes_are_reported_in_few_short_lines() -> None:
    text = " and ".join(f"contains(OrganizationName,'{number} {'x' * 100}')" for number in range(40))
    notes = translate_filter(text, CUSTOMERS).notes
    assert len(notes) == 10
    assert notes[-1] == "and 31 more changes like these"
    assert max(map(len, notes)) < 160


def test_dates_without_a_lower_end_are_said_to_include_the_empty_ones() -> None:
    advice = "ShippingDate: no date counts as 1900-01-01; add ShippingDate ne null to leave such records out"
    assert translate_filter("ShippingDate lt 2026-07-14T12:00:00Z", CUSTOMERS).notes == (advice,)
    assert advice not in translate_filter("ShippingDate lt 2026-07-14 and ShippingDate ne null", CUSTOMERS).notes
    assert advice not in translate_filter("year(ShippingDate) eq 2026", CUSTOMERS).notes


def test_a_tree_is_translated_like_the_text_it_stands_for() -> None:
    tree = Comparison("ge", Property("shippingdate"), Literal(datetime(2026, 7, 14, tzinfo=UTC)))
    assert translate_filter(tree, CUSTOMERS).filters == ("ShippingDate ge 2026-07-14T00:00:00Z",)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("CreditLimit divby 2 gt 1", "CreditLimit div 2 gt 1"),
        ("Visits divby 2 eq 1.5", "Visits mul 1.0 div 2 eq 1.5"),
        ("Visits divby 2.0 eq 1.5", "Visits div 2.0 eq 1.5"),
        ("Visits divby RecordId lt 1", "Visits mul 1.0 div RecordId lt 1"),
        ("(Visits add 1) divby 2 eq 1.5", "(Visits add 1) mul 1.0 div 2 eq 1.5"),
        ("1 divby Visits eq 0.5", "1 mul 1.0 div Visits eq 0.5"),
        ("CustomerGroup/Size divby 2 eq 1.5", "CustomerGroup/Size mul 1.0 div 2 eq 1.5"),
        ("Visits div 2 divby 2 eq 0.5", "Visits div 2 mul 1.0 div 2 eq 0.5"),
        ("CreditLimit sub 10 divby 4 eq 1", "CreditLimit sub 10 mul 1.0 div 4 eq 1"),
    ],
)
def test_a_division_with_a_rest_is_written_as_f_and_os_library_reads_it(text: str, expected: str) -> None:
    translation = translate_filter(text, CUSTOMERS)
    assert translation.filters == (expected,)
    assert translation.notes == (f"{text} → {expected}",)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Visits div 2 eq 1", True),
        ("Visits divby 2 eq 1.5", True),
        ("Visits divby 2 eq 1", False),
        ("Visits div 2.0 eq 1.5", True),
    ],
)
def test_whole_numbers_are_divided_here_as_there(text: str, found: bool) -> None:
    assert matches_filter(translate_filter(text, CUSTOMERS).expression, {"Visits": 3}) is found


def parts_of(translation: Translation) -> list[set[str]]:
    return [set(text.strip("()").split(" or ")) for text in translation.filters]


def test_a_long_list_is_split_into_disjoint_filters_that_fit_a_url() -> None:
    names = [f"Customer & Söhne {number}" for number in range(200)]
    text = "CreditLimit gt 0 and CustomerAccount in (" + ",".join(f"'{name}'" for name in names) + ")"
    translation = translate_filter(text, CUSTOMERS)
    assert len(translation.filters) > 3
    found: list[str] = []
    for part in translation.filters:
        assert len(QueryOptions(filter=part).query_string()) <= 2_000 + len("$filter=")
        assert part.startswith("CreditLimit gt 0 and (CustomerAccount eq ")
        found += part.split("'")[1::2]
    assert sorted(found) == sorted(names)


def test_a_long_chain_of_or_is_split_like_a_list() -> None:
    text = " or ".join(f"CustomerAccount eq 'Customer {number:05}'" for number in range(150))
    parts = parts_of(translate_filter(text, CUSTOMERS))
    assert len(parts) > 2
    assert sum(map(len, parts)) == len(set().union(*parts)) == 150


def test_what_a_pattern_finds_is_not_asked_for_in_another_part() -> None:
    names = [
        "US-*",
        "*-7",
        *(f"US-{number:03}-{'x' * 30}" for number in range(60)),
        *(f"DE-{n:060}" for n in range(60)),
    ]
    text = "CustomerAccount in (" + ",".join(f"'{name}'" for name in names) + ")"
    first, *others = parts_of(translate_filter(text, CUSTOMERS))
    assert {"CustomerAccount eq 'US-*'", "CustomerAccount eq '*-7'"} <= first
    assert not any("US-" in condition for part in others for condition in part)
    assert len(set().union(first, *others)) == 62


@pytest.mark.parametrize("written", [["Müller", "MÜLLER"], ["abc", "abc  "], ["Straße", "STRASSE"]])
def test_values_that_f_and_o_may_take_for_one_stay_in_one_part(written: list[str]) -> None:
    names = [written[0], *(f"{number:060}" for number in range(90)), written[1]]
    text = "CustomerAccount in (" + ",".join(f"'{name}'" for name in names) + ")"
    parts = parts_of(translate_filter(text, CUSTOMERS))
    named = {f"CustomerAccount eq '{name}'" for name in written}
    assert len(parts) > 2
    assert [bool(part & named) for part in parts].count(True) == 1


def test_a_long_list_of_patterns_stays_whole() -> None:
    text = "CustomerAccount in (" + ",".join(f"'*{number:x}'" for number in range(600)) + ",'a')"
    assert len(translate_filter(text, CUSTOMERS).filters) == 1


def test_a_long_filter_without_a_list_stays_whole() -> None:
    text = " and ".join(f"NameAlias ne '{number:050}'" for number in range(40))
    assert len(translate_filter(text, CUSTOMERS).filters) == 1
