"""What telemetry costs a request: on its way, and in processor time altogether, beside the same loop without it.

    python -m tests.benchmarks.telemetry [--requests 5000] [--rate 0]

A request is one tool call and one exchange with F&O. `--rate` paces them (a second); 0 goes as fast as it can. The
endpoint is the simulator, in a process of its own.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from d365mcp.events import D365Exchange, Event, Listener, McpRequest, Trace
from d365mcp.settings import read_settings
from d365mcp.simulator.insights import KEY
from d365mcp.telemetry.exporter import start
from tests.simulated import Simulator

LIMIT_US = 60.0
HOST = "contoso.operations.dynamics.com"
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

Request = Sequence[Event]


@dataclass(frozen=True)
class Cost:
    """Microseconds for each request."""

    median: float
    p99: float
    processor: float


def request() -> Request:
    trace = Trace.continued(TRACEPARENT)
    call = McpRequest(
        name="d365fo_query_entities",
        method="tools/call",
        trace=trace,
        started_at=time.time(),
        duration_ms=83.4,
        outcome="ok",
        toolset="data",
        protocol_version="2025-11-25",
        client_name="claude-ai",
        invocation_id="9f1c2d3e-0000-4000-8000-000000000000",
        d365_ms=80.1,
        d365_calls=1,
        rows=10,
        bytes=4096,
    )
    path = "/data/CustomersV3"
    return D365Exchange("GET", HOST, path, trace.child(), time.time(), 80.1, 200, activity_id="a" * 36), call


def measured(requests: Sequence[Request], listener: Listener, rate: float, finish: Callable[[], object]) -> Cost:
    times: list[float] = []
    began, processor = time.perf_counter(), time.process_time()
    for number, events in enumerate(requests, 1):
        before = time.perf_counter()
        for event in events:
            listener(event)
        times.append((time.perf_counter() - before) * 1e6)
        if rate:
            time.sleep(max(0.0, began + number / rate - time.perf_counter()))
    finish()
    times.sort()
    spent = (time.process_time() - processor) / len(requests) * 1e6
    return Cost(times[len(times) // 2], times[len(times) * 99 // 100], spent)


def run(number: int, rate: float) -> dict[str, float | str]:
    """Return microseconds for each request, and what telemetry says of itself afterwards."""
    requests = [request() for _ in range(number)]
    simulator = Simulator.start()
    with tempfile.TemporaryDirectory() as folder:
        tempfile.tempdir = folder
        connection = f"InstrumentationKey={KEY};IngestionEndpoint={simulator.base_url}"
        telemetry = start(read_settings({"APPLICATIONINSIGHTS_CONNECTION_STRING": connection}))
        began = time.perf_counter()
        telemetry.load()
        loading = (time.perf_counter() - began) * 1000
        nothing = measured(requests, lambda event: None, rate, lambda: None)
        cost = measured(requests, telemetry, rate, lambda: telemetry.flush(60))
        backlog = telemetry.backlog()
        telemetry.close()
    simulator.stop()
    return {
        "import_ms": loading,
        "median_us": cost.median - nothing.median,
        "p99_us": cost.p99 - nothing.p99,
        "processor_us": cost.processor - nothing.processor,
        "afterwards": str(backlog),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=5000)
    parser.add_argument("--rate", type=float, default=0.0)
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args()
    found = run(options.requests, options.rate)
    print(f"import, in the background     {found['import_ms']:8.0f} ms")
    print(f"on the request's way, median  {found['median_us']:8.2f} µs")
    print(f"on the request's way, p99     {found['p99_us']:8.2f} µs")
    print(f"processor time altogether     {found['processor_us']:8.2f} µs, limit {LIMIT_US:.0f}")
    print(f"afterwards                    {found['afterwards']}")
    if options.json:
        options.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
