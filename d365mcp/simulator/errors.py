"""F&O's refusals: one exception that knows its status and its words, and the reply it becomes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

JSON = "application/json; odata.metadata=minimal"
STACK_TRACE = (
    "   at Microsoft.Dynamics.Platform.Integration.Services.OData.ODataProcessor.Execute(ODataRequest request)\r\n"
    "   at Microsoft.Dynamics.Platform.Integration.Services.OData.ODataController.Process()"
)
WRITE_EXCEPTION = "Microsoft.Dynamics.Platform.Integration.Services.OData.AxODataWriteException"


@dataclass(frozen=True)
class Reply:
    """What F&O answers; `instead` is what arrives of it, and nothing does where that has no status."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    parts: tuple[Mapping[str, object], ...] = ()
    """What became of each operation of a batch, for the log."""
    instead: Reply | None = None

    @property
    def arriving(self) -> Reply:
        return self.instead or self


def json_reply(value: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Reply:
    body = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    return Reply(status, body, {"Content-Type": JSON, "OData-Version": "4.0", **(headers or {})})


class Refusal(Exception):
    """A request F&O answers with an error. `kind` is the .NET type named in `innererror`; "" leaves that part out."""

    def __init__(
        self,
        message: str,
        status: int = 400,
        kind: str = "Microsoft.OData.ODataException",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message, self.status, self.kind, self.headers = message, status, kind, headers

    def reply(self) -> Reply:
        return json_reply(error_body(self.message, self.kind), self.status, self.headers)


def error_body(message: str, kind: str = "") -> dict[str, object]:
    if not kind:
        return {"error": {"code": "", "message": message}}
    inner = {"message": message, "type": kind, "stacktrace": STACK_TRACE}
    return {"error": {"code": "", "message": "An error has occurred.", "innererror": inner}}


def write_refused(aot_name: str, *infolog: str) -> Refusal:
    """What a write gets whose business logic said no; each line of the Infolog is like "Warning: text"."""
    lines = "; ".join(infolog)
    return Refusal(f"Write failed for table row of type '{aot_name}'. Infolog: {lines}.", kind=WRITE_EXCEPTION)


def in_change_set(reply: Reply) -> Reply:
    """The failure of a change set: what business logic refuses has HTTP 500 there, seen on a one-box."""
    is_write = reply.status == 400 and WRITE_EXCEPTION.encode() in reply.body
    return replace(reply, status=500) if is_write else reply


def no_property(name: str, type_name: str) -> Refusal:
    return Refusal(f"Could not find a property named '{name}' on type '{type_name}'.")


def not_found(message: str) -> Refusal:
    # No public source shows F&O's 404 body; this shape leaves `innererror` out so that both shapes occur. UNVERIFIED.
    return Refusal(message, status=404, kind="")
