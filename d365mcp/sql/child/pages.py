"""What a page of F&O's says about itself, without parsing it. Pure."""

import json
import re

_TAIL_BYTES = 8192
# A page begins with annotations, none of them a list or an object, and then come the records.
_BEFORE_RECORDS = re.compile(
    rb'(?:\xef\xbb\xbf)?\s*\{(?:\s*"@[^"]*"\s*:\s*(?:"(?:[^"\\]|\\.)*"|[\w.+-]+)\s*,)*\s*"value"\s*:\s*\['
)
_LINK = rb'"@odata\.nextLink"\s*:\s*("(?:[^"\\]|\\.)*")'
_LINK_BEFORE = re.compile(_LINK)
# Behind the records only: within a text the quotes about the name would be escaped.
_LINK_AFTER = re.compile(
    rb"\]\s*(?:,\s*\"@[^\"]*\"\s*:\s*(?:\"(?:[^\"\\]|\\.)*\"|[\w.+-]+)\s*)*?,\s*" + _LINK + rb"[^\]]*\}\s*$"
)


def begins_as_page(page: bytes) -> bool:
    return _BEFORE_RECORDS.match(page) is not None


def next_link(page: bytes) -> str | None:
    """Return a page's link to the next one: it stands before the records or behind them."""
    begin = _BEFORE_RECORDS.match(page)
    if begin is None:
        return None
    found = _LINK_BEFORE.search(page, 0, begin.end()) or _LINK_AFTER.search(page[-_TAIL_BYTES:])
    return str(json.loads(found[1])) if found else None
