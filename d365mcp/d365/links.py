"""Which links of F&O's are followed: those into its own data and metadata, always on our own base. Performs no I/O."""

from urllib.parse import SplitResult, unquote, urljoin, urlsplit

from d365mcp.errors import InvalidAnswer, InvalidCursor

_ROOTS = ("/data/", "/metadata/")
_DOTS = frozenset({".", ".."})


def own_link(link: str, base_url: str, path: str = _ROOTS[0]) -> tuple[str, str]:
    """Return path and query of a link, given in the answer to a request for `path`.

    A gateway may make it another scheme, port or case, and OData allows it to be relative; the host has to be ours.
    Raises InvalidCursor where it leads elsewhere: a token goes along.
    """
    own = urlsplit(base_url)
    prefix = own.path.rstrip("/")
    try:
        found = urlsplit(urljoin(f"{own.scheme}://{own.netloc}{prefix}{path}", link))
        is_ours = found.hostname == own.hostname and found.username is None and found.scheme in ("http", "https")
        is_ours = is_ours and found.port != 0  # asking for it raises where it is none
    except ValueError:
        is_ours, found = False, SplitResult("", "", "", "", "")
    root = next((root for root in _ROOTS if found.path.lower().startswith(f"{prefix}{root}".lower())), None)
    if not is_ours or root is None or _is_devious(link):
        raise InvalidCursor("F&O's link to the next page leads to another place than the environment: not followed.")
    return root + found.path[len(prefix) + len(root) :], found.query


def check_leads_on(link: str, following: str | None) -> None:
    """Raise InvalidAnswer where a page that a link led to has the same link again: it would be read for ever."""
    if following == link:
        raise InvalidAnswer("F&O's link to the next page leads to the same page.", hint="Narrow the filter.")


def _is_devious(link: str) -> bool:
    """Return whether a link climbs out of its place, however often that is encoded."""
    while (plain := unquote(link)) != link:
        link = plain
    path = link.partition("?")[0].replace("\\", "/")
    return "\\" in link.partition("?")[0] or not _DOTS.isdisjoint(path.split("/"))
