"""Stands in for Core Tools' `func`: says how it was called, starts a worker that is hard to end, answers over HTTP."""

import json
import os
import signal
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer

WORKER = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('worker', flush=True); signal.pause()"
REPORTED = ("D365FO_BASE_URL", "D365FO_AUTH", "MCP_AUTH", "IDENTITY_ENDPOINT", "IDENTITY_HEADER", "VIRTUAL_ENV")


class Healthy(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/health" else 404)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    worker = subprocess.Popen([sys.executable, "-c", WORKER], stdout=subprocess.PIPE)
    assert worker.stdout is not None
    worker.stdout.readline()
    environ = {name: os.environ.get(name) for name in REPORTED}
    print("func", json.dumps({"arguments": sys.argv[1:], "environ": environ}), flush=True)
    HTTPServer(("127.0.0.1", int(sys.argv[3])), Healthy).serve_forever()


if __name__ == "__main__":
    main()
