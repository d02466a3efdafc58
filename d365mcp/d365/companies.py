"""Which companies a request reaches, and whether it may. Pure.

F&O answers a filter on another company with an empty list unless `cross-company=true` goes along, and without it reads
only the caller's default company: the number one source of wrong answers.
https://learn.microsoft.com/dynamics365/fin-ops-core/dev-itpro/data-entities/odata#cross-company-behavior
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from d365mcp.d365.filters import restricted_to
from d365mcp.d365.models import COMPANY, DataEntity
from d365mcp.d365.odata import Translation, company_filter
from d365mcp.errors import InvalidArgument, NotAllowed, or_list

# Columns that hold a company in entities without dataAreaId; cross-company does not scope them.
OTHER_COMPANY_COLUMNS = frozenset(
    {"legalentityid", "dataarea", "companyaccounts", "company", "companyid", "legalentity", "employmentlegalentityid"}
)


@dataclass(frozen=True)
class CompanyScope:
    """What scoping adds to a request: the flag, a filter of its own, and what the caller should know."""

    cross_company: bool = False
    filter: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class CompanyBound:
    """The companies this server may touch at all (D365FO_COMPANIES); empty means every one."""

    allowed: tuple[str, ...] = ()

    def check(self, companies: Iterable[str]) -> None:
        """Raise NotAllowed when any of the companies lies outside the bound."""
        outside = sorted(name for name in companies if self.allowed and name.lower() not in self.allowed)
        if outside:
            raise NotAllowed(f"Company {or_list(outside)} is outside what this server may touch: {self.told()}.")

    def refuse_unless_free(self, what: str, why: str) -> None:
        """Raise NotAllowed for what cannot be proved to stay inside the bound."""
        if self.allowed:
            raise NotAllowed(f"{what} is refused because D365FO_COMPANIES limits this server to {self.told()}: {why}.")

    def told(self) -> str:
        return ", ".join(self.allowed)


def scope_read(
    entity: DataEntity,
    bound: CompanyBound,
    *,
    company: str | None,
    cross_company: bool,
    translation: Translation | None,
    expand: Sequence[str] = (),
) -> CompanyScope:
    """Return the scope of a query. Raises InvalidArgument for a contradiction, NotAllowed outside the bound."""
    if company and cross_company:
        raise InvalidArgument("Give either company or cross_company, not both.")
    if expand:
        bound.refuse_unless_free("expand", "which company's records a navigation reaches cannot be proved")
    if translation and any("/" in column for column in translation.columns):
        bound.refuse_unless_free("A filter through a navigation", "it may read another company's records")
    if not entity.has_company:
        return scope_shared(entity, bound, company, translation)
    named = translation.companies if translation else None
    if named:
        bound.check(named)
    if company:
        bound.check([company])
        return CompanyScope(True, company_filter([company]))
    if cross_company or (translation and COMPANY in translation.columns):
        return scope_across(bound, named)
    return CompanyScope()


def scope_across(bound: CompanyBound, named: frozenset[str] | None) -> CompanyScope:
    if not bound.allowed or named:
        return CompanyScope(True)
    note = f"limited to the companies this server may touch: {bound.told()}"
    return CompanyScope(True, company_filter(bound.allowed), (note,))


def scope_shared(
    entity: DataEntity, bound: CompanyBound, company: str | None, translation: Translation | None
) -> CompanyScope:
    """Scope an entity without dataAreaId: shared by all companies, or keeping the company in another column."""
    columns = [name for name in entity.properties if name.casefold() in OTHER_COMPANY_COLUMNS]
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
