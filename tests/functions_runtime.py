"""Runs a function app in azure-functions-runtime, Microsoft's own worker library, without a host; knows no app.

The library is for Python 3.13 and later and keeps the app in module globals: one app to a process. `run_app` makes that
process; a benchmark may use FunctionsRuntime in its own.
"""

import asyncio
import json
import os
import subprocess
import sys
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class Call:
    """One HTTP request as the host hands it to the worker."""

    function: str
    method: str = "GET"
    url: str = "http://localhost/"
    headers: Mapping[str, str] = field(default_factory=dict)
    route_parameters: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    body: str = ""
    traceparent: str = ""


@dataclass(frozen=True)
class Answer:
    """What the worker hands back; `error` says what the function raised, and the status is then the host's 500."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str = ""
    error: str | None = None


@dataclass(frozen=True)
class Outcome:
    """What an app's functions are bound to, by function name, and how its calls were answered."""

    triggers: Mapping[str, Mapping[str, Any]]
    answers: Sequence[Answer]


class _Message(SimpleNamespace):
    """Stands in for every protobuf message: the library fills them in for a host that is not there."""

    Failure, Success = 0, 1
    undefined, out, inout = 0, 1, 2


class _Protocol:
    def __getattr__(self, name: str) -> type[_Message]:
        return _Message


class FunctionsRuntime:
    """The worker library with one app loaded."""

    def __init__(self, functions: Sequence[Any]) -> None:
        self._ids = {function.name: function.function_id for function in functions}
        self.triggers = {function.name: _trigger(function.raw_bindings) for function in functions}

    @classmethod
    async def start(cls, app: Path) -> Self:
        """Load and index the app's function_app.py, as a worker process does when it starts."""
        import azure_functions_runtime as runtime

        sys.path.insert(0, str(app))
        runtime.start_threadpool_executor()
        request = _Message(worker_init_request=_Message(capabilities={}, function_app_directory=str(app)))
        properties = {"host": "127.0.0.1", "protos": _Protocol()}
        started = await runtime.worker_init_request(_Message(request=request, properties=properties))
        if started.result.status != _Message.Success:
            raise RuntimeError(started.result.exception.message)
        indexed = await runtime.functions_metadata_request(_Message(request=None))
        return cls(indexed.function_metadata_results)

    async def invoke(self, call: Call) -> Answer:
        ok, result, _, error, _ = await self.invoke_bare(call)
        if not ok:
            return Answer(500, error=error)
        if result.type == "string":
            return Answer(200, body=result.value)
        headers = {name: value.value for name, value in result.value["headers"].items()}
        return Answer(int(result.value["status_code"].value), headers, result.value["body"].value.decode())

    async def invoke_bare(self, call: Call) -> Any:
        """Return what the worker would send to the host, unread."""
        from azure_functions_runtime.native_invocation import invocation_request_native

        trigger = (self.triggers[call.function]["name"], _datum(call))
        return await invocation_request_native(
            str(uuid.uuid4()), self._ids[call.function], [trigger], {}, call.traceparent
        )


def _trigger(raw_bindings: Sequence[str]) -> dict[str, Any]:
    return next(binding for binding in map(json.loads, raw_bindings) if binding["type"].endswith("Trigger"))


def _datum(call: Call) -> Any:
    from azure_functions_runtime.bindings.datumdef import Datum

    def texts(values: Mapping[str, str]) -> dict[str, Any]:
        return {name: Datum(value, "string") for name, value in values.items()}

    parts = {
        "method": Datum(call.method, "string"),
        "url": Datum(call.url, "string"),
        "headers": texts(call.headers),
        "params": texts(call.route_parameters),
        "query": texts(call.query),
        "body": Datum(call.body.encode(), "bytes"),
    }
    return Datum(parts, "http")


def run_app(app: Path, *calls: Call, environ: Mapping[str, str] | None = None) -> Outcome:
    """Load an app in a process of its own and make the calls, one after the other."""
    finished = subprocess.run(
        [sys.executable, "-m", "tests.functions_runtime", str(app)],
        input=json.dumps([asdict(call) for call in calls]),
        cwd=ROOT,
        env={**os.environ, **(environ or {})},
        stdout=subprocess.PIPE,
        text=True,
        timeout=60,
        check=True,
    )
    told = json.loads(finished.stdout.splitlines()[-1])
    return Outcome(told["triggers"], [Answer(**answer) for answer in told["answers"]])


async def _main() -> None:
    runtime = await FunctionsRuntime.start(Path(sys.argv[1]))
    answers = [await runtime.invoke(Call(**call)) for call in json.load(sys.stdin)]
    print(json.dumps({"triggers": runtime.triggers, "answers": [asdict(answer) for answer in answers]}))


if __name__ == "__main__":
    asyncio.run(_main())
