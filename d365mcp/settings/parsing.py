"""How the value of a setting is read. A wrong value raises ValueError, which says what is right. Performs no I/O."""

import base64
import re
from collections.abc import Callable
from urllib.parse import SplitResult, urlsplit

MINIMUM_CURSOR_KEY_BYTES = 32
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
MCP_PATH = "/mcp"
REFERENCE = "@microsoft.keyvault("
OTHER_SERVICE = re.compile(r"\.(dfs|file|queue|table|web|z\d+\.web)\.")
ACCOUNT = re.compile(r"[a-z0-9]{3,24}")
TIME_OF_DAY = re.compile(r"([01]?[0-9]|2[0-3]):([0-5][0-9])")
GUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def plain_text(value: str) -> str:
    return value


def flag(value: str) -> bool:
    """Read true or false as people write them."""
    known = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}
    if value.lower() not in known:
        raise ValueError("must be true or false")
    return known[value.lower()]


def words(value: str) -> tuple[str, ...]:
    """Read a comma-separated list."""
    return tuple(part.strip() for part in value.split(",") if part.strip())


def company_ids(value: str) -> tuple[str, ...]:
    """Read a list of companies; F&O writes them in lower case."""
    return tuple(name.lower() for name in words(value))


def number_between(minimum: float, maximum: float) -> Callable[[str], float]:
    def parse(value: str) -> float:
        try:
            found = float(value)
        except ValueError:
            raise ValueError("must be a number") from None
        if not minimum <= found <= maximum:
            raise ValueError(f"must be between {minimum:g} and {maximum:g}")
        return found

    return parse


def whole_between(minimum: int, maximum: int) -> Callable[[str], int]:
    def parse(value: str) -> int:
        try:
            found = int(value)
        except ValueError:
            raise ValueError("must be a whole number") from None
        if not minimum <= found <= maximum:
            raise ValueError(f"must be between {minimum} and {maximum}")
        return found

    return parse


def one_word_of(*allowed: str) -> Callable[[str], str]:
    def parse(value: str) -> str:
        if value.lower() not in allowed:
            raise ValueError(f"must be one of {', '.join(allowed)}")
        return value.lower()

    return parse


def words_of(*allowed: str) -> Callable[[str], tuple[str, ...]]:
    def parse(value: str) -> tuple[str, ...]:
        found = tuple(name.lower() for name in words(value))
        if unknown := [name for name in found if name not in (*allowed, "all")]:
            raise ValueError(f"has unknown values: {', '.join(unknown)}. Allowed are {', '.join(allowed)}, or all")
        return allowed if "all" in found else found

    return parse


def web_address(value: str) -> str:
    """Read an https address without trailing slash; http only on loopback, where simulators and tests live."""
    parts = _address_parts(value)
    if parts is None:
        raise ValueError("must be an address like https://contoso.operations.dynamics.com")
    if parts.scheme == "http" and parts.hostname not in LOOPBACK:
        raise ValueError("must start with https://")
    if parts.username or parts.query or parts.fragment:
        raise ValueError("must not contain a user name, query or fragment")
    return f"{parts.scheme}://{parts.netloc.lower()}{parts.path.rstrip('/')}"


def _address_parts(value: str) -> SplitResult | None:
    """Return an address' parts; None where it is none."""
    try:
        parts = urlsplit(value)
        whole = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # half an IPv6 address, a port that is no number
        return None
    return parts if whole else None


def blob_service(value: str) -> str:
    """Read a blob service's address; the account's other services, and a container in it, will not do."""
    try:
        found = web_address(value)
    except ValueError:
        found = ""
    host, path = (found and urlsplit(found).hostname) or "", urlsplit(found).path
    if not host or OTHER_SERVICE.search(host) or (".blob." in host and path):
        raise ValueError("must be the blob service's address, like https://stcontoso.blob.core.windows.net")
    return found


def public_address(value: str) -> str:
    """Read the address clients use; that of the endpoint itself will do as well."""
    return web_address(value).removesuffix(MCP_PATH)


def redirect_uris(value: str) -> tuple[str, ...]:
    """Read where sign-ins may return to; one that leads anywhere else would hand over what they bring."""
    found = words(value)
    if not all(_is_redirect_uri(urlsplit(uri)) and not set(uri) & set("*#\\ ") for uri in found):
        raise ValueError(
            "must be complete addresses without * or #: https://…, http:// on loopback, an app's own scheme://…"
        )
    return found


def _is_redirect_uri(parts: SplitResult) -> bool:
    local = parts.scheme != "http" or parts.hostname in LOOPBACK
    return bool(parts.hostname) and not parts.username and local and parts.scheme != "javascript"


def tenant_ids(value: str) -> tuple[str, ...]:
    """Read a list of tenant ids; a token names its tenant by id alone, so a domain name would never fit."""
    found = tuple(name.lower() for name in words(value))
    if not all(is_guid(name) for name in found):
        raise ValueError("must be tenant ids (GUIDs), not domain names")
    return found


def is_guid(value: str) -> bool:
    return GUID.fullmatch(value) is not None


def time_of_day(value: str) -> str:
    """Read an hour and a minute, `HH:MM`."""
    found = TIME_OF_DAY.fullmatch(value)
    if not found:
        raise ValueError("must be a time of day in UTC, HH:MM, such as 02:30")
    return f"{int(found[1]):02}:{found[2]}"


def certificate(value: str) -> bytes:
    """Read a certificate with its private key: PEM, or the base64 of a PFX, as a Key Vault reference gives it."""
    if value.startswith("-----BEGIN "):
        return value.replace("\\n", "\n").encode()  # app settings lose line ends on some platforms
    try:
        return base64.b64decode(value, validate=True)
    except ValueError:
        raise ValueError("must be PEM, or the base64 of a PFX") from None


def cursor_keys(value: str) -> tuple[bytes, ...]:
    keys = tuple(key.encode() for key in words(value))
    if any(len(key) < MINIMUM_CURSOR_KEY_BYTES for key in keys):
        raise ValueError(f"contains a key shorter than {MINIMUM_CURSOR_KEY_BYTES} bytes")
    return keys


def account_name(value: str) -> str:
    """Read a storage account's name; it becomes part of an address."""
    if not ACCOUNT.fullmatch(value):
        raise ValueError("must be a storage account's name: 3 to 24 lower-case letters and digits")
    return value


def followed(value: str) -> str:
    """Refuse a Key Vault reference: the platform passes the reference itself on when it cannot resolve it.

    https://learn.microsoft.com/azure/app-service/app-service-key-vault-references
    """
    if value.lower().startswith(REFERENCE):
        raise ValueError(
            "is a Key Vault reference that could not be resolved: create the secret, and give the identity the role Key Vault Secrets User"
        )
    return value
