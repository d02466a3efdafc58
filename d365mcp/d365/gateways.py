"""What answers in F&O's place: a sign-in, maintenance, a gateway; and an error's words in other clothes. Performs no I/O.

F&O's data service speaks JSON. A page of any status below 500 is not its word about a record or a role.
"""

import codecs
import html
import re
from collections.abc import Mapping
from typing import Any

from d365mcp.errors import D365Error, InvalidAnswer, Unavailable
from d365mcp.wire import read_json

Meaning = tuple[type[D365Error], str, str | None]

_SIGN_IN = re.compile(
    rb"login\.microsoftonline|login\.windows|sign[ -]?in\b|log[ -]?in\b|/oauth2/|saml|/adfs/", re.IGNORECASE
)
_MAINTENANCE = re.compile(
    rb"maintenance|being (?:serviced|updated)|unavailable|services? (?:is|are)(?:n.t| not) available", re.IGNORECASE
)
_MARKUP = re.compile(r"\s*<")
_MESSAGE = re.compile(r"<(?:\w+:)?message\b[^>]*>(.*?)</(?:\w+:)?message>", re.IGNORECASE | re.DOTALL)
_ODATA_XML = b"odata"  # in the namespace of an OData error: F&O's own, though in XML
# How far into a page its nature shows.
_LOOKED_AT = 20_000
# Members that F&O's errors have: OData's, and those of its services.
_ERROR_MEMBERS = frozenset({"error", "Message", "ExceptionMessage"})

_HINTS = {
    "sign-in": (
        "Our token did not come to F&O: check that D365FO_BASE_URL is exactly the environment's address, and what asks "
        "people to sign in between here and there."
    ),
    "maintenance": "The environment is being serviced, updated or restarted: try again later.",
    "gateway": (
        "The request did not come to F&O's data service: check D365FO_BASE_URL, and the gateway, proxy or firewall "
        "between here and there."
    ),
}


def page_meaning(status: int, headers: Mapping[str, str], body: bytes) -> Meaning | None:
    """Return the kind of error, our sentence and the way out where not F&O's data service answered, else None."""
    location = headers.get("location", "").encode(errors="replace")
    if 300 <= status < 400:
        return _meaning("sign-in", "redirect", status) if _SIGN_IN.search(location) else None
    if status in (401, 429) or status >= 500 or not (_is_page(body) or (status in (403, 404) and _is_other_json(body))):
        return None
    beginning = body[:_LOOKED_AT]
    what = "sign-in" if _SIGN_IN.search(beginning) else "maintenance" if _MAINTENANCE.search(beginning) else "gateway"
    return _meaning(what, "page" if _is_page(body) else "message", status)


def _meaning(what: str, form: str, status: int) -> Meaning:
    kind = Unavailable if what == "maintenance" else InvalidAnswer
    return kind, f"A {what} {form} answered in F&O's place (HTTP {status}).", _HINTS[what]


def _is_page(body: bytes) -> bool:
    """Return whether a body is HTML, or XML that is not OData's."""
    beginning = body[:_LOOKED_AT].lower()
    is_markup = _MARKUP.match(_text_of(body[:200])) is not None
    return is_markup and (_ODATA_XML not in beginning or b"<html" in beginning)


def _is_other_json(body: bytes) -> bool:
    """Return whether a body is JSON without what F&O's errors have."""
    found = error_object(body)
    return bool(found) and not _ERROR_MEMBERS & found.keys()


def error_object(body: bytes) -> dict[str, Any]:
    """Return what an error's body says as an object: also behind a byte order mark, as JSON in a text, or in XML."""
    text = _text_of(body).strip()
    if text.startswith("<"):
        found = _MESSAGE.search(text)
        return {"error": {"message": html.unescape(found[1])}} if found else {}
    for _ in range(2):
        try:
            value = read_json(text)
        except ValueError:
            return {}
        if not isinstance(value, str):
            return value if isinstance(value, dict) else {}
        text = value
    return {}


def _text_of(body: bytes) -> str:
    """Return a body as text, by its byte order mark, else as UTF-8."""
    if body.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return body.decode("utf-16", errors="replace")
    return body.decode("utf-8-sig", errors="replace")
