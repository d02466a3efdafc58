"""What a page of F&O's says about itself, without parsing it. Pure."""

import json
import re

TAIL_BYTES = 8192
# A page begins with annotations, none of them a list or an object, and then come the records.
BEFORE_RECORDS = re.compile(
    rb'(?:\xef\xbb\xbf)?\s*\{(?:\s*"@[^"]*"\s*:\s*(?:"(?:[^"\\]|\\.)*"|[\w.+-]+)\s*,)*\s*"value"\s*:\s*\['
)
LINK = rb'"@odata\.nextLink"\s*:\s*("(?:[^"\\]|\\.)*")'
LINK_BEFORE = re.compile(LINK)
# Behind the records only: within a text the quotes about the name would be escaped.
LINK_AFTER = re.compile(
    rb"\]\s*(?:,\s*\"@[^\"]*\"\s*:\s*(?:\"(?:[^\"\\]|\\.)*\"|[\w.+-]+)\s*)*?,\s*" + LINK + rb"[^\]]*\}\s*$"
)


def begins_as_page(page: bytes) -> bool:
    return BEFORE_RECORDS.match(page) is not None


def next_link(page: bytes) -> str | None:
    """Return a page's link to the next one: it stands before the records or behind them."""
    begin = BEFORE_RECORDS.match(page)
    if begin is None:
        return None
    found = LINK_BEFORE.search(page, 0, begin.end()) or LINK_AFTER.search(page[-TAIL_BYTES:])
    return str(json.loads(found[1])) if found else None
