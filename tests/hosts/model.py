"""A model that plays a script, in place of a real one: what an agent host sends it is kept, and it calls the tools it is told to.

Speaks OpenAI's Chat Completions and Responses, and Gemini's generateContent, whole or streamed. Knows nothing of MCP.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.hosts.loopback import running

Json = dict[str, Any]
Call = tuple[str, Json]  # a tool's name as the server has it, and its arguments
Event = tuple[str, Json]  # an event's name ("" where the API gives none) and its data
TOKENS = 10  # what every request is said to have cost


@dataclass
class Turn:
    """What one request of a host shows the model: the tools on offer by name, and the results so far."""

    body: Json
    tools: dict[str, Json] = field(default_factory=dict)
    results: list[str] = field(default_factory=list)


class Dialect(Protocol):
    """One API: reads a request, and writes a reply, whole and in events. A reply is a tool's call or the last words."""

    def read(self, body: Json) -> Turn: ...

    def whole(self, turn: Turn, reply: Call | str) -> Json: ...

    def events(self, turn: Turn, reply: Call | str) -> list[Event]: ...


class ChatCompletions:
    """OpenAI's older API, which most compatible servers speak."""

    def read(self, body: Json) -> Turn:
        tools = {tool["function"]["name"]: tool["function"] for tool in body.get("tools") or []}
        results = [_text(message["content"]) for message in body["messages"] if message["role"] == "tool"]
        return Turn(body, tools, results)

    def whole(self, turn: Turn, reply: Call | str) -> Json:
        choice = {"index": 0, "message": self._message(turn, reply), "finish_reason": self._reason(reply)}
        usage = {"prompt_tokens": TOKENS, "completion_tokens": TOKENS, "total_tokens": 2 * TOKENS}
        return {**self._envelope("chat.completion"), "choices": [choice], "usage": usage}

    def events(self, turn: Turn, reply: Call | str) -> list[Event]:
        chunk = self._envelope("chat.completion.chunk")
        told = {"index": 0, "delta": self._message(turn, reply), "finish_reason": None}
        ended = {"index": 0, "delta": {}, "finish_reason": self._reason(reply)}
        usage = self.whole(turn, reply)["usage"]
        return [
            ("", {**chunk, **part})
            for part in ({"choices": [told]}, {"choices": [ended]}, {"choices": [], "usage": usage})
        ]

    def _envelope(self, kind: str) -> Json:
        return {"id": "completion", "object": kind, "created": 1, "model": "scripted"}

    def _reason(self, reply: Call | str) -> str:
        return "stop" if isinstance(reply, str) else "tool_calls"

    def _message(self, turn: Turn, reply: Call | str) -> Json:
        if isinstance(reply, str):
            return {"role": "assistant", "content": reply}
        name, arguments = reply
        function = {"name": name, "arguments": json.dumps(arguments)}
        call = {"index": 0, "id": f"call_{len(turn.results)}", "type": "function", "function": function}
        return {"role": "assistant", "content": None, "tool_calls": [call]}


class Responses:
    """OpenAI's newer API. Codex puts a server's tools into a namespace, and wants it back beside the name."""

    def read(self, body: Json) -> Turn:
        items = [item for item in body["input"] if isinstance(item, dict)] if isinstance(body["input"], list) else []
        turn = Turn(body)
        for tool in [*(body.get("tools") or []), *(tool for item in items for tool in item.get("tools") or [])]:
            for each in tool.get("tools") or [tool]:
                turn.tools[each.get("name", each["type"])] = {**each, "namespace": tool.get("name")}
        turn.results = [_text(item["output"]) for item in items if item.get("type") == "function_call_output"]
        return turn

    def whole(self, turn: Turn, reply: Call | str) -> Json:
        usage = {"input_tokens": TOKENS, "output_tokens": TOKENS, "total_tokens": 2 * TOKENS}
        return {**self._envelope("completed"), "output": [self._item(turn, reply)], "usage": usage}

    def events(self, turn: Turn, reply: Call | str) -> list[Event]:
        item = self._item(turn, reply)
        steps: list[Event] = [
            ("response.created", {"response": {**self._envelope("in_progress"), "output": []}}),
            ("response.output_item.added", {"output_index": 0, "item": {**item, "status": "in_progress"}}),
            ("response.output_item.done", {"output_index": 0, "item": item}),
            ("response.completed", {"response": self.whole(turn, reply)}),
        ]
        return [(name, {"type": name, **data}) for name, data in steps]

    def _envelope(self, status: str) -> Json:
        return {"id": "response", "object": "response", "created_at": 1, "model": "scripted", "status": status}

    def _item(self, turn: Turn, reply: Call | str) -> Json:
        if isinstance(reply, str):
            content = [{"type": "output_text", "text": reply, "annotations": []}]
            return {"type": "message", "id": "last", "role": "assistant", "status": "completed", "content": content}
        name, arguments = reply
        number = len(turn.results)
        item = {"type": "function_call", "id": f"item_{number}", "call_id": f"call_{number}", "status": "completed"}
        tool = turn.tools[name]
        grouped = {"namespace": tool["namespace"]} if tool["namespace"] != name else {}
        return {**item, "name": name, "arguments": json.dumps(arguments), **grouped}


class Gemini:
    """Google's generateContent."""

    def read(self, body: Json) -> Turn:
        declared = [each for tool in body.get("tools") or [] for each in tool.get("functionDeclarations") or []]
        parts = [part for content in body["contents"] for part in content["parts"]]
        results = [json.dumps(p["functionResponse"]["response"]) for p in parts if "functionResponse" in p]
        return Turn(body, {each["name"]: each for each in declared}, results)

    def whole(self, turn: Turn, reply: Call | str) -> Json:
        part: Json = (
            {"text": reply} if isinstance(reply, str) else {"functionCall": {"name": reply[0], "args": reply[1]}}
        )
        if "next_speaker" in json.dumps(turn.body.get("generationConfig")):  # Gemini CLI asks who goes on
            part = {"text": json.dumps({"reasoning": "The script has ended.", "next_speaker": "user"})}
        candidate = {"index": 0, "content": {"role": "model", "parts": [part]}, "finishReason": "STOP"}
        usage = {"promptTokenCount": TOKENS, "candidatesTokenCount": TOKENS, "totalTokenCount": 2 * TOKENS}
        return {"candidates": [candidate], "usageMetadata": usage}

    def events(self, turn: Turn, reply: Call | str) -> list[Event]:
        return [("", self.whole(turn, reply))]


class ScriptedModel:
    """Calls a script's tools one after the other; `turns` has what each request of the host held."""

    def __init__(self, script: Sequence[Call]) -> None:
        self._script = script
        self.turns: list[Turn] = []

    @property
    def last(self) -> Turn:
        """The turn that shows most: hosts also ask for a title or a summary, without tools."""
        return max(self.turns, key=lambda turn: (len(turn.results), len(turn.tools)))

    def reply(self, turn: Turn) -> Call | str:
        if not turn.tools or len(turn.results) >= len(self._script):
            return "Done."
        name, arguments = self._script[len(turn.results)]
        offered = [each for each in turn.tools if each.endswith(name)]
        return (offered[0], arguments) if offered else f"There is no tool {name}."

    async def answer(self, request: Request) -> Response:
        path = request.url.path
        if "countTokens" in path:
            return JSONResponse({"totalTokens": TOKENS})
        if request.method == "GET":
            return JSONResponse({"object": "list", "data": [{"id": "scripted", "object": "model"}], "models": []})
        dialect = _dialect(path)
        turn = dialect.read(await request.json())
        self.turns.append(turn)
        if turn.body.get("stream") or "streamGenerateContent" in path:
            return _streamed(dialect.events(turn, self.reply(turn)), closing=isinstance(dialect, ChatCompletions))
        return JSONResponse(dialect.whole(turn, self.reply(turn)))


@contextmanager
def playing(script: Sequence[Call]) -> Iterator[tuple[ScriptedModel, str]]:
    """Serve a model on loopback; yield it with its base URL."""
    model = ScriptedModel(script)
    with running(Starlette(routes=[Route("/{path:path}", model.answer, methods=["GET", "POST"])])) as url:
        yield model, url


def _dialect(path: str) -> Dialect:
    if path.endswith("/chat/completions"):
        return ChatCompletions()
    return Responses() if path.endswith("/responses") else Gemini()


def _streamed(events: list[Event], *, closing: bool) -> Response:
    named = [(f"event: {name}\n" if name else "") + f"data: {json.dumps(data)}\n\n" for name, data in events]
    return Response("".join(named) + ("data: [DONE]\n\n" if closing else ""), media_type="text/event-stream")


def _text(content: Any) -> str:
    """Return a result's text, which may come in parts."""
    if isinstance(content, list):
        return "\n".join(str(part.get("text", "")) for part in content)
    return str(content)
