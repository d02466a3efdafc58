"""F&O's services as plain async calls: records, actions, JSON services, metadata, labels. Knows no MCP.

Every name that becomes a part of a path is checked to be one; keys and query options come encoded from `d365.odata` and `d365.keys`.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from d365mcp.d365.auth import TokenSource
from d365mcp.d365.filters.literals import body_text, value_text
from d365mcp.d365.filters.names import identifier, refuse_unwritable
from d365mcp.d365.http import ASK_FOR_LESS, MAX_PAGE_BYTES, D365Http, Receive, Request
from d365mcp.d365.kept_answers import KeptAnswers
from d365mcp.d365.links import check_leads_on, own_link
from d365mcp.d365.metadata_service import entity_from, enumeration_from, summary_from, text_member
from d365mcp.d365.metadata_service import name_member as name_of
from d365mcp.d365.models import NAMESPACE, DataEntity, EntitySummary, Enumeration, Record
from d365mcp.d365.odata import QueryOptions
from d365mcp.d365.outcomes import Write, proof_of_write
from d365mcp.d365.responses import HttpAnswer, answer_count, answer_json, answer_object
from d365mcp.errors import D365Error, InvalidAnswer, InvalidArgument, NotFound
from d365mcp.wire import LONG_BYTES

if TYPE_CHECKING:
    from d365mcp.d365.batch import BatchAnswer, BatchOperation

_SESSION_SECONDS = 300.0
_MAX_SESSIONS = 1_000
_COMPANY_ID = re.compile(r"[A-Za-z0-9_-]{1,10}")
# What the answer of each kind may take of the memory.
_MAX_SCHEMA_BYTES = 8 * 1024 * 1024
_MAX_LABEL_BYTES = 64 * 1024
_MAX_LABEL_CHARS = 2_000
_MAX_BATCH_BYTES = 8 * 1024 * 1024
_MAX_METADATA_ROWS = 100_000
_MAX_METADATA_PAGES = 1_000
NOT_METADATA = "F&O's own metadata is never so: is D365FO_BASE_URL an F&O environment?"
_VERSIONS = {
    "application": "GetApplicationVersion",
    "platform_build": "GetPlatformBuildVersion",
    "application_build": "GetApplicationBuildVersion",
}


@dataclass(frozen=True)
class RecordPage:
    """One answer's records; `next_link` leads to what F&O cut off, `count` is the total where it was asked.

    `path` is what was asked for: a link may be relative to it.
    """

    records: list[Record]
    next_link: str | None = None
    count: int | None = None
    path: str = ""


@dataclass(frozen=True)
class Session:
    """Who we are in F&O."""

    user_id: str
    company: str
    language: str
    is_admin: bool


@dataclass(frozen=True)
class Versions:
    """What could be learned of the environment's versions, and what could not."""

    known: dict[str, str] = field(default_factory=dict)
    failures: dict[str, D365Error] = field(default_factory=dict)


class D365Client:
    """One environment. One per process; everything but the session is asked anew each time."""

    def __init__(self, http: D365Http) -> None:
        self.http = http
        self.base_url = http.base_url
        self.sessions: KeptAnswers[Session] = KeptAnswers(http, _SESSION_SECONDS, _MAX_SESSIONS)

    # Records

    async def query(self, entity_set: str, options: QueryOptions) -> RecordPage:
        """Read the first page of a query."""
        return await self.page(_query_request(entity_set, options))

    async def next_page(self, link: str, path: str = "/data/") -> RecordPage:
        """Follow a link from the answer to a request for `path`, on the same environment only."""
        page = await self.page(Request("GET", *own_link(link, self.base_url, path)))
        check_leads_on(link, page.next_link)
        return page

    async def page(self, request: Request) -> RecordPage:
        """Read one page; a long one is taken apart in a thread, for others wait for the event loop."""
        answer = await self.http.send(request)
        if len(answer.body) > LONG_BYTES:
            return await asyncio.to_thread(record_page, answer, request.path)
        return record_page(answer, request.path)

    async def page_as_sent(self, entity_set: str, options: QueryOptions, receive: Receive | None = None) -> bytes:
        """Read the first page of a query as F&O sent it: for who reads it elsewhere than in this process's objects.

        `receive` takes it piece by piece, and returns what remains.
        """
        return (await self.http.send(replace(_query_request(entity_set, options), receive=receive))).body

    async def next_page_as_sent(self, link: str, path: str, receive: Receive | None = None) -> bytes:
        """Follow a link from the answer to a request for `path`."""
        return (await self.http.send(Request("GET", *own_link(link, self.base_url, path), receive=receive))).body

    async def count(self, entity_set: str, options: QueryOptions) -> int:
        """Count the records a query would read."""
        path = f"/data/{identifier(entity_set, 'entity set')}/$count"
        accept = {"accept": "text/plain, application/json"}
        return answer_count((await self.http.send(Request("GET", path, options.query_string(), headers=accept))).body)

    async def get_record(self, entity_set: str, key_predicate: str, options: QueryOptions) -> Record:
        """Read one record. Raises NotFound."""
        path = f"/data/{identifier(entity_set, 'entity set')}{key_predicate}"
        return answer_object((await self.http.send(Request("GET", path, options.query_string()))).body)

    async def create(self, entity_set: str, body: Mapping[str, Any], *, key: Sequence[str] = ()) -> Record:
        """Create a record and return it as F&O stored it. Raises OutcomeUnknown where no record with this key came."""
        path = f"/data/{identifier(entity_set, 'entity set')}"
        write = Write("create", tuple(key))
        return dict(await self.posted(Request("POST", path, body=_body_bytes(body), write=write)))

    async def posted(self, request: Request) -> Any:
        """Return the JSON of an answer. Raises OutcomeUnknown where it does not show that a write was done."""
        answer = await self.http.send(request)
        return proof_of_write(answer, request.write) if request.write else answer_json(answer.body)

    async def update(
        self,
        entity_set: str,
        key_predicate: str,
        body: Mapping[str, Any],
        *,
        if_match: str | None = None,
        cross_company: bool = False,
        key: Sequence[str] = (),
    ) -> None:
        """Change a record; F&O answers with nothing. Raises Conflict, NotFound, OutcomeUnknown."""
        request = self.keyed("PATCH", entity_set, key_predicate, if_match, cross_company=cross_company)
        await self.posted(replace(request, body=_body_bytes(body), write=Write("update", tuple(key))))

    async def delete(
        self, entity_set: str, key_predicate: str, *, if_match: str | None = None, cross_company: bool = False
    ) -> None:
        """Delete a record. Raises Conflict, NotFound, OutcomeUnknown."""
        request = self.keyed("DELETE", entity_set, key_predicate, if_match, cross_company=cross_company)
        await self.posted(replace(request, write=Write("delete")))

    @staticmethod
    def keyed(
        method: str, entity_set: str, key_predicate: str, if_match: str | None, *, cross_company: bool
    ) -> Request:
        path = f"/data/{identifier(entity_set, 'entity set')}{key_predicate}"
        query = QueryOptions(cross_company=cross_company).query_string()
        return Request(method, path, query, headers={} if if_match is None else {"if-match": if_match})

    async def batch(self, operations: "Sequence[BatchOperation]", *, atomic: bool) -> "BatchAnswer":
        """Send writes as one batch; returns each one's own result. Raises OutcomeUnknown where nothing tells any."""
        from d365mcp.d365.batch import batch_answer, batch_body  # with email's policies, which take 5 ms

        for number, operation in enumerate(operations, 1):
            self.check_sendable(number, operation)
        content_type, body = batch_body(operations, self.base_url, atomic=atomic)
        headers = {"content-type": content_type, "accept": "multipart/mixed"}
        if not atomic:
            headers["prefer"] = "odata.continue-on-error"
        request = Request(
            "POST",
            "/data/$batch",
            body=body,
            headers=headers,
            write=Write("change set" if atomic else "batch"),
            max_bytes=_MAX_BATCH_BYTES,
            hint="Send fewer operations at once.",
        )
        answer = batch_answer(await self.http.send(request), operations, atomic=atomic)
        for error in (answer.error, *(part.error for part in answer.parts)):
            if error is not None:
                self.http.throttling.met(error)
        return answer

    def check_sendable(self, number: int, operation: "BatchOperation") -> None:
        try:
            self.http.target(Request(operation.method, f"/data/{operation.path}"))
        except InvalidArgument as error:
            raise InvalidArgument(f"Operation {number}: {error.message}") from None

    # Actions and services

    async def invoke(
        self,
        action: str,
        parameters: Mapping[str, Any] | None = None,
        *,
        entity_set: str | None = None,
        key_predicate: str | None = None,
        cross_company: bool = False,
        safe: bool = False,
        is_void: bool = False,
        max_bytes: int = MAX_PAGE_BYTES,
        hint: str = ASK_FOR_LESS,
    ) -> Any:
        """Invoke an action and return its value, None where it has none. `safe` ones only read."""
        place = f"{identifier(entity_set, 'entity set')}{key_predicate or ''}/" if entity_set else ""
        path = f"/data/{place}{NAMESPACE}{identifier(action, 'action')}"
        query, body = QueryOptions(cross_company=cross_company).query_string(), _body_bytes(parameters or {})
        write = None if safe else Write("action", is_void=is_void)
        found = await self.posted(Request("POST", path, query, body, write=write, max_bytes=max_bytes, hint=hint))
        return found["value"] if isinstance(found, dict) and "value" in found else _without_annotations(found)

    async def call_service(
        self, group: str, service: str, operation: str, parameters: Mapping[str, Any], *, safe: bool = False
    ) -> Any:
        """Call an operation of a JSON service."""
        path = _service_path(group, service, operation)
        write = None if safe else Write("service")
        return await self.posted(Request("POST", path, body=_body_bytes(parameters), write=write))

    async def services(self, *path: str) -> list[str]:
        """Return the names one level below: groups, a group's services, a service's operations."""
        found = answer_object((await self.http.send(Request("GET", _service_path(*path)))).body)
        rows = next((value for value in found.values() if isinstance(value, list)), [])
        return [name for row in rows if isinstance(row, dict) and (name := name_of(row, "Name"))]

    async def session(self, *, fresh: bool = False) -> Session:
        """Return who we are and our default company; asked once in five minutes for each identity."""
        return await self.sessions.get("session", self.ask_session, fresh=fresh)

    async def ask_session(self) -> Session:
        found = await self.call_service(
            "UserSessionService", "AifUserSessionService", "GetUserSessionInfo", {}, safe=True
        )
        if not isinstance(found, dict) or not _COMPANY_ID.fullmatch(str(found.get("Company"))):
            raise InvalidAnswer("F&O did not tell the session's company.")
        return Session(
            user_id=str(found.get("UserId", "")),
            company=str(found["Company"]).lower(),
            language=str(found.get("AXLanguage", "")),
            is_admin=bool(found.get("IsSysAdmin", False)),
        )

    async def versions(self) -> Versions:
        """Return application, platform and build version; each may fail alone."""
        asked = [self.invoke(action, entity_set="DataManagementEntities", safe=True) for action in _VERSIONS.values()]
        answers = dict(zip(_VERSIONS, await asyncio.gather(*asked, return_exceptions=True), strict=True))
        for answer in answers.values():
            if isinstance(answer, BaseException) and not isinstance(answer, D365Error):
                raise answer
        return Versions(
            known={name: str(answer) for name, answer in answers.items() if not isinstance(answer, BaseException)},
            failures={name: answer for name, answer in answers.items() if isinstance(answer, D365Error)},
        )

    # Metadata

    async def public_entity(self, public_name: str) -> DataEntity:
        """Read an entity's schema by its public name. Raises NotFound."""
        found = await self.metadata(f"PublicEntities({key_text(public_name)})")
        with of_known_shape():
            return entity_from(found)

    async def public_entity_by_set(self, entity_set: str) -> DataEntity:
        """Read an entity's schema by its entity set. Raises NotFound."""
        query = QueryOptions(filter=f"EntitySetName eq {value_text(entity_set)}").query_string()
        found = (await self.metadata("PublicEntities", query)).get("value")
        with of_known_shape():
            if found:
                return entity_from(found[0])
        raise NotFound(f"F&O has no public entity with the entity set {entity_set[:80]}.", http_status=404)

    async def data_entities(self) -> list[EntitySummary]:
        """Read the light rows of all entities, public or not: some 5,000."""
        names = "Name,PublicEntityName,PublicCollectionName,LabelId,DataServiceEnabled,DataManagementEnabled"
        query = QueryOptions(select=(*names.split(","), "EntityCategory", "IsReadOnly")).query_string()
        rows = [summary_from(row) for row in await self.metadata_rows("DataEntities", query)]
        return [row for row in rows if row.aot_name]

    async def enumeration(self, name: str) -> Enumeration:
        """Read an enumeration. Raises NotFound."""
        found = await self.metadata(f"PublicEnumerations({key_text(name)})")
        with of_known_shape():
            return enumeration_from(found)

    async def enumeration_names(self) -> list[tuple[str, str]]:
        """Return name and label id of all enumerations: some 2,000."""
        rows = await self.metadata_rows("PublicEnumerations", QueryOptions(select=("Name", "LabelId")).query_string())
        return [(name, text_member(row, "LabelId")) for row in rows if (name := name_of(row, "Name"))]

    async def label(self, label_id: str, language: str) -> str | None:
        """Return a label's text, None where the language has none. Raises NotFound for an unknown id."""
        place = f"Labels(Id={key_text(label_id)},Language={key_text(language)})"
        value = (await self.metadata(place, max_bytes=_MAX_LABEL_BYTES)).get("Value")
        if not isinstance(value, str | None):
            raise InvalidAnswer("F&O answered with a label that is no text.", hint=NOT_METADATA)
        return value[:_MAX_LABEL_CHARS] if value else None

    async def metadata(self, resource: str, query: str = "", max_bytes: int = _MAX_SCHEMA_BYTES) -> dict[str, Any]:
        request = Request("GET", f"/metadata/{resource}", query, max_bytes=max_bytes, hint=NOT_METADATA)
        return answer_object((await self.http.send(request)).body)

    async def metadata_rows(self, resource: str, query: str) -> list[dict[str, Any]]:
        """Return all rows of a metadata resource, following links where F&O pages them."""
        page = await self.page(Request("GET", f"/metadata/{resource}", query, hint=NOT_METADATA))
        rows = page.records
        for _ in range(_MAX_METADATA_PAGES):
            if page.next_link is None:
                return rows
            page = await self.next_page(page.next_link, page.path)
            rows += page.records
            if len(rows) > _MAX_METADATA_ROWS:
                break
        raise InvalidAnswer(f"F&O's list of {resource} has no end.", hint=NOT_METADATA)

    def metadata_stream(
        self, resource: str, query: str, *, max_bytes: int, seconds: float
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """Open a metadata resource whose answer is too large to hold: some 50 MB for PublicEntities."""
        request = Request("GET", f"/metadata/{resource}", query, max_bytes=max_bytes, seconds=seconds)
        return self.http.stream(request)

    def another(self) -> "D365Client":
        """Return a client of the same environment for another event loop: connections and waiting belong to one."""
        settings = self.http.settings
        return D365Client(D365Http(settings, TokenSource(settings), self.http.emit))

    async def aclose(self) -> None:
        await self.http.aclose()


def _query_request(entity_set: str, options: QueryOptions) -> Request:
    return Request("GET", f"/data/{identifier(entity_set, 'entity set')}", options.query_string())


def record_page(answer: HttpAnswer, path: str) -> RecordPage:
    """Read a collection's answer."""
    found = answer_object(answer.body)
    records, link, count = found.get("value"), found.get("@odata.nextLink"), found.get("@odata.count")
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
        raise InvalidAnswer("F&O answered a query with something else than records.")
    if not isinstance(link, str | None) or not isinstance(count, int | None):
        raise InvalidAnswer("F&O answered a query with a link or a count that is none.")
    return RecordPage(records, link or None, count, path)


@contextmanager
def of_known_shape() -> Iterator[None]:
    """Raise InvalidAnswer where metadata has other types than the metadata service's."""
    try:
        yield
    except (AttributeError, KeyError, TypeError, ValueError):
        raise InvalidAnswer("F&O's metadata has a shape that is not known here.", hint=NOT_METADATA) from None


def _service_path(*parts: str) -> str:
    return "/".join(["/api/services", *(identifier(part, "service name") for part in parts)])


def _body_bytes(body: Mapping[str, Any]) -> bytes:
    return body_text(body).encode()


def key_text(value: str) -> str:
    """Return a text key as it stands in a metadata URL. Raises InvalidArgument for text that cannot."""
    refuse_unwritable("A name or label id", value)
    return quote(value_text(value), safe="'")


def _without_annotations(found: Any) -> Any:
    if not isinstance(found, dict):
        return found
    return {name: value for name, value in found.items() if not name.startswith("@odata.")} or None
