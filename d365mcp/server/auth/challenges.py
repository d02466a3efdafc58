"""401 and 403 with `WWW-Authenticate`, so that the client knows what to do next. Performs no I/O.

https://modelcontextprotocol.io/specification/2026-07-28/basic/authorization
"""

from d365mcp.server.auth.roles import READ, ROLES
from d365mcp.server.messages import FORBIDDEN, UNAUTHORIZED, Id, Refused, Reply
from d365mcp.server.messages import error as problem
from d365mcp.settings import Settings


class InvalidToken(Exception):
    """A caller's token, or what the platform says of them, that does not do: a code for the audit, a sentence for them."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(code)
        self.code = code
        self.message = message


class NotAdmitted(Refused):
    """Somebody who tried to come in and may not, by name where that is certain; `reason` is for the audit."""

    def __init__(self, reply: Reply, reason: str, caller: str | None = None) -> None:
        super().__init__(reply)
        self.reason = reason
        self.caller = caller


def scopes(settings: Settings, role: str) -> list[str]:
    """Return all scopes that go with a role, as a client asks Entra for them: with the Application ID URI."""
    uri = settings.application_id_uri
    return [f"{uri}/{name}" for name in ROLES[: ROLES.index(role) + 1]] if uri else []


def unauthorized(settings: Settings, message: str, *, error: str = "") -> Reply:
    """Return the 401 that makes a client sign in, or, with an `error`, get a new token."""
    return problem(401, UNAUTHORIZED, message, headers=_challenge(settings, READ, error, message))


def forbidden(settings: Settings, role: str, message: str, id: Id = None) -> Reply:
    """Return the 403 that makes a client ask for more: names all scopes the operation needs at once."""
    data = {"code": "insufficient_scope", "required": role}
    return problem(403, FORBIDDEN, message, id, data, _challenge(settings, role, "insufficient_scope", message))


def _challenge(settings: Settings, role: str, error: str, message: str) -> dict[str, str]:
    """Return the header that says what is wrong, which scopes to ask for, and where the metadata is.

    Without an error the request had no token: https://www.rfc-editor.org/rfc/rfc6750#section-3.1
    """
    fields = {
        "error": error,
        "error_description": message if error else "",
        "scope": " ".join(scopes(settings, role)),
        "resource_metadata": settings.metadata_url if settings.public_url else "",
    }
    parameters = ", ".join(f'{name}="{value}"' for name, value in fields.items() if value)
    return {"www-authenticate": f"Bearer {parameters}".rstrip()}
