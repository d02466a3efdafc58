"""OData actions: found by set and binding, their arguments checked, their results fixed by the world or known here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from uuid import NAMESPACE_URL, uuid5

from d365mcp.simulator.call import Call
from d365mcp.simulator.data import Reader
from d365mcp.simulator.errors import Refusal, Reply, json_reply
from d365mcp.simulator.model import NAMESPACE, Action, Entity, Parameter, Property, Record, World
from d365mcp.simulator.reports import run_copilot_report
from d365mcp.simulator.values import stored

PREFIX = f"{NAMESPACE}."

Arguments = Mapping[str, object]


def _current_user(_: World, call: Call, __: Arguments) -> object:
    user = call.client.user
    return {"UserId": user, "IsAdmin": user == "Admin", "UserObjectId": str(uuid5(NAMESPACE_URL, user))}


def _report(world: World, _: Call, arguments: Arguments) -> object:
    return run_copilot_report(world.documents, arguments)


_KNOWN: dict[str, Callable[[World, Call, Arguments], object]] = {
    "getCurrentUserDetails": _current_user,
    "RunCopilotReport": _report,
}


class Actions:
    """Invokes the actions of one world."""

    def __init__(self, reader: Reader) -> None:
        self.reader, self.world = reader, reader.store.world
        self._actions = {(action.entity_set, action.binding, action.name): action for action in self.world.actions}

    def find(self, entity_set: str, binding: str, segment: str) -> Action | None:
        """The action a path segment names; unbound ones go without an entity set, and by their import's name too."""
        name = segment.removeprefix(PREFIX)
        return self._actions.get((entity_set, binding, name)) if name != segment or not entity_set else None

    def invoke(self, call: Call, action: Action, entity: Entity | None = None, key: Record | None = None) -> Reply:
        """Invoke an action, on one record when it is bound to one."""
        if call.method != "POST":
            raise Refusal(f"The requested resource does not support http method '{call.method}'.", 405, "")
        arguments = self._arguments(action, call.json_object())
        found = self.reader.find(call, entity, key) if entity and key else None
        if action.error:
            message = f"Exception occurred while executing action {action.name} on Entity {action.entity_set}"
            raise Refusal(f"{message}: {action.error}", 400, "System.InvalidOperationException")
        if action.changes and entity and found:
            self.reader.store.update(entity, found.rec_id, action.changes)
        if not action.returns:
            return Reply(204)
        known = _KNOWN.get(action.name)
        return _result(call, action.returns, known(self.world, call, arguments) if known else action.result)

    def _arguments(self, action: Action, body: Record) -> Arguments:
        names = {parameter.name for parameter in action.parameters}
        for name in body:
            if name not in names:
                raise Refusal(
                    f"The parameter '{name}' in the request payload is not a valid parameter "
                    f"for the operation '{action.name}'."
                )
        if missing := [name for name in names if name not in body]:
            raise Refusal(
                f"One or more parameters of the operation '{action.name}' are missing from the request payload. "
                f"The missing parameters are: {', '.join(sorted(missing))}."
            )
        for parameter in action.parameters:
            self._check(parameter, body[parameter.name])
        return body

    def _check(self, parameter: Parameter, value: object) -> None:
        enumeration = self.reader.enumerations.get(parameter.type)
        if parameter.type.startswith("Edm.") or enumeration:
            stored(Property(parameter.name, parameter.type, "", enumeration), value)


def _result(call: Call, returns: str, value: object) -> Reply:
    context = {"@odata.context": f"{call.base}/data/$metadata#{returns}"}
    return json_reply(context | value if isinstance(value, dict) else context | {"value": value})
