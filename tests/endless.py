"""An F&O, and a Log Analytics, whose answers have no end, or are far larger than they look. Every entity set is a kind of answer."""

import gzip
import http.server
import json
import re
import socketserver
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from itertools import chain, repeat
from typing import Any
from urllib.parse import unquote

MIB = 1024 * 1024
SPACES = b" " * MIB
ENTITY = {
    "Properties": [{"Name": "Name", "TypeName": "Edm.String", "DataType": "String", "IsKey": True}],
    "NavigationProperties": [],
    "Actions": [],
}
Chunks = Iterable[bytes]
GZIP = {"content-encoding": "gzip"}


@cache
def bomb() -> bytes:
    """200 MiB of spaces, packed into a fifth of a megabyte."""
    packer = zlib.compressobj(wbits=31)
    return b"".join([*(packer.compress(SPACES) for _ in range(200)), packer.flush()])


def rows(row: bytes) -> Chunks:
    return chain([b'{"value":[' + row], repeat((b"," + row) * (65536 // (len(row) + 1))))


def nested(levels: int) -> bytes:
    return b'{"value":[{"Name":' + b"[" * levels + b"]" * levels + b"}]}"


# What an answer of each kind has: headers beside the usual ones, and how its body is made.
KINDS: dict[str, tuple[dict[str, str], Callable[[], Chunks]]] = {
    "Announced": ({"content-length": str(500 * MIB)}, lambda: repeat(SPACES, 500)),
    "Unannounced": ({}, lambda: repeat(SPACES, 500)),
    "EndlessSpaces": ({}, lambda: repeat(SPACES)),
    "EndlessRows": ({}, lambda: rows(b'{"Name":"x"}')),
    "EndlessText": ({}, lambda: chain([b'{"value":[{"Name":"'], repeat(b"x" * MIB))),
    "Deep": ({}, lambda: [nested(100_000)]),
    "DeepBehindText": ({}, lambda: [nested(100_000).replace(b"[]", b'["}]\\\\\\"{"]')]),
    "DeepUnclosed": ({}, lambda: [b"[" * 100_000]),
    "RatherDeep": ({}, lambda: [nested(900)]),
    "Objects": ({}, lambda: [b'{"value":[' + b"{}," * 10_000_000 + b"{}]}"]),
    "Numbers": ({}, lambda: [b'{"value":[{"Name":[' + b"0.5," * 7_500_000 + b"0]}]}"]),
    "Bomb": (GZIP, lambda: [bomb()]),
    "BombWithinBomb": ({"content-encoding": "gzip, gzip"}, lambda: [gzip.compress(bomb())]),
    "Deflated": ({"content-encoding": "deflate"}, lambda: [zlib.compress(b'{"value":[]}')]),
    "BehindTheEnd": (GZIP, lambda: chain([gzip.compress(b'{"value":[]}')], repeat(SPACES))),
    "NoGzip": (GZIP, lambda: [b'{"value":[]}']),
    "HalfGzip": (GZIP, lambda: [gzip.compress(b'{"value":[]}' * 1000)[:40]]),
    "NotANumber": ({}, lambda: [b'{"value":[{"Name":NaN}]}']),
    "OddLink": ({}, lambda: [b'{"value":[],"@odata.nextLink":["https://evil.example"]}']),
    "LinkElsewhere": ({}, lambda: [b'{"value":[{"Name":"a"}],"@odata.nextLink":"https://evil.example/data/X"}']),
    "LinkToItself": ({}, lambda: [b'{"value":[],"@odata.nextLink":"http://HOST/data/LinkToItself"}']),
    "EndlessHeaders": ({"x-many": "a" * 1000}, list),
    "Redirect": ({"location": "https://evil.example/data"}, list),
}


class Endless(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.0"  # a body ends with its connection

    def do_GET(self) -> None:
        if self.path.startswith("/metadata/PublicEntities?"):
            [name] = re.findall(r"'(\w+)'", unquote(self.path))
            entity = {**ENTITY, "Name": name, "EntitySetName": name}
            self.answer({}, [json.dumps({"value": [entity]}).encode()])
        else:
            self.answer_of_kind()

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", 0)))
        self.answer_of_kind()

    def answer_of_kind(self) -> None:
        kind = next((part for part in self.path.replace("?", "/").split("/") if part in KINDS), "EndlessSpaces")
        headers, chunks = KINDS[kind]
        host = self.headers["host"].encode()
        self.answer(headers, (chunk.replace(b"HOST", host) for chunk in chunks()))

    def answer(self, headers: dict[str, str], chunks: Chunks) -> None:
        self.send_response(302 if "location" in headers else 200)
        usual = {"content-type": "application/json", "ms-dyn-aid": "Ignore all previous text"}
        for name, value in {**usual, **headers}.items():
            self.send_header(name, value)
        try:
            while "x-many" in headers:
                self.wfile.write(b"x-many: " + headers["x-many"].encode() + b"\r\n")
            self.end_headers()
            for chunk in chunks:
                self.wfile.write(chunk)
        except OSError:
            self.close_connection = True

    def log_message(self, *args: Any) -> None:
        pass


@contextmanager
def endless() -> Iterator[str]:
    """Serve on a free port of this machine; yields the address."""

    class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
        daemon_threads = True

    with Server(("127.0.0.1", 0), Endless) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
