"""Which companies a request reaches, and whether it may. Pure.

F&O answers a filter on another company with an empty list unless `cross-company=true` goes along, and without it reads
only the caller's default company: the number one source of wrong answers.
https://learn.microsoft.com/dynamics365/fin-ops-core/dev-itpro/data-entities/odata#cross-company-behavior
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from d365mcp.d365.filters.translate import Translation, company_filter
from d365mcp.d365.filters.tree import never_holds, restricted_to
from d365mcp.d365.models import COMPANY, DataEntity
from d365mcp.errors import InvalidArgument, NotAllowed, or_list


@dataclass(frozen=True)
class CompanyBound:
    """The companies this server may touch at all (D365FO_COMPANIES); empty means every one."""

    allowed: tuple[str, ...] = ()

    def check(self, companies: Iterable[str]) -> None:
        """Raise NotAllowed when any of the companies lies outside the bound."""
        outside = sorted(name for name in companies if self.allowed and name.lower() not in self.allowed)
        if outside:
            raise NotAllowed(f"Company {or_list(outside)} is outside what this server may touch: {self.listed()}.")

    def columns(self, entity: DataEntity) -> tuple[str, ...]:
        """Return the columns without which `check_records` cannot tell."""
        return entity.company_columns if self.allowed else ()

    def check_records(self, entity: DataEntity, records: Iterable[Mapping[str, Any]]) -> None:
        """Raise NotAllowed where F&O's answer holds a record of another company, or one that does not say its company."""
        columns = self.columns(entity)
        found = {str(record.get(column) or "").lower() for record in records for column in columns}
        if outside := sorted(name or "none that it names" for name in found.difference(self.allowed)):
            what = f"F&O answered with records of company {or_list(outside)}"
            raise NotAllowed(f"{what}, outside what this server may touch: {self.listed()}. They are left out.")

    def refuse_unless_free(self, what: str, why: str) -> None:
        """Raise NotAllowed for what cannot be proved to stay inside the bound."""
        if self.allowed:
            raise NotAllowed(
                f"{what} is refused because D365FO_COMPANIES limits this server to {self.listed()}: {why}."
            )

    def listed(self) -> str:
        return ", ".join(self.allowed)


@dataclass(frozen=True)
class CompanyScope:
    """What scoping adds to a request: the flag, a filter of its own, and what the caller should know."""

    cross_company: bool = False
    filter: str = ""
    notes: tuple[str, ...] = ()
    companies: frozenset[str] | None = None  # those the records are of, where that is known
    is_default: bool = False  # nobody named a company: it is the caller's default one

    @property
    def company(self) -> str | None:
        """Return the one company of all records, where it is known."""
        return next(iter(self.companies)) if self.companies and len(self.companies) == 1 else None

    def named(self, bound: CompanyBound, default_company: str) -> "CompanyScope":
        """Return the scope that names the default company. F&O's answer to "which is it" may be minutes old: left to F&O,
        it may be another one by now."""
        bound.check([default_company])
        companies = frozenset({default_company.lower()})
        return CompanyScope(True, company_filter([default_company]), self.notes, companies, is_default=True)


def scope_read(
    entity: DataEntity,
    bound: CompanyBound,
    *,
    company: str | None,
    cross_company: bool,
    translation: Translation | None,
    expand: Sequence[str] = (),
) -> CompanyScope:
    """Return the scope of a query. Raises InvalidArgument for a contradiction, NotAllowed outside the bound.

    Where there is a bound and the scope `is_default`, `CompanyScope.named` has to name the company before it is read.
    """
    if company and cross_company:
        raise InvalidArgument("Give either company or cross_company, not both.")
    if expand:
        bound.refuse_unless_free("expand", "which company's records a navigation reaches cannot be proved")
    if translation and any("/" in column for column in translation.columns):
        bound.refuse_unless_free("A filter through a navigation", "it may read another company's records")
    if not entity.has_company:
        return _scope_shared(entity, bound, company, translation)
    named = translation.companies if translation else None
    bound.check(named or ())
    if company:
        bound.check([company])
        _refuse_contradiction(company, translation)
        return CompanyScope(True, company_filter([company]), companies=frozenset({company.lower()}))
    if cross_company or (translation and COMPANY in translation.columns):
        return _scope_across(bound, named)
    return CompanyScope(is_default=True)


def _refuse_contradiction(company: str, translation: Translation | None) -> None:
    """Raise InvalidArgument where the filter leaves out the very company that is asked for."""
    if translation and never_holds(translation.expression, {COMPANY: company}):
        raise InvalidArgument(
            f'company says "{company}", but the filter leaves it out: give the company in one of the two places.'
        )


def _scope_across(bound: CompanyBound, named: frozenset[str] | None) -> CompanyScope:
    if not bound.allowed or named:
        return CompanyScope(True, companies=named)
    note = f"limited to the companies this server may touch: {bound.listed()}"
    return CompanyScope(True, company_filter(bound.allowed), (note,), frozenset(bound.allowed))


def _scope_shared(
    entity: DataEntity, bound: CompanyBound, company: str | None, translation: Translation | None
) -> CompanyScope:
    """Scope an entity without dataAreaId: shared by all companies, or keeping the company in another column."""
    columns = entity.company_columns
    for column in columns if bound.allowed else ():
        named = restricted_to(translation.expression, column) if translation else None
        if named is None:
            reason = f"its company is in \"{column}\": filter it with eq, for example {column} eq '{bound.allowed[0]}'"
            bound.refuse_unless_free(f"Reading {entity.entity_set}", reason)
        else:
            bound.check(named)
    if not company:
        return CompanyScope()
    if columns:
        raise InvalidArgument(
            f"{entity.entity_set} has no dataAreaId; its company is in {columns[0]}: "
            f"leave company out and filter {columns[0]} eq '{company}'."
        )
    return CompanyScope(notes=(f"{entity.entity_set} is shared by all companies: company had no effect",))
