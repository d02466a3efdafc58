"""How the server and its database process talk: a JSON object and bytes beside it, their lengths before them."""

import json
import struct
from typing import Any, BinaryIO

_LENGTHS = struct.Struct(">II")
_MAX_FRAME_BYTES = 256 * 1024 * 1024  # of a page and what is said about it

Frame = tuple[dict[str, Any], bytes]


def send_frame(stream: BinaryIO, head: dict[str, Any], body: bytes = b"") -> None:
    text = json.dumps(head).encode()
    stream.write(_LENGTHS.pack(len(text), len(body)) + text)
    stream.write(body)
    stream.flush()


def receive_frame(stream: BinaryIO) -> Frame | None:
    """Return the next frame, None where the other side is gone."""
    lengths = stream.read(_LENGTHS.size)
    if len(lengths) < _LENGTHS.size:
        return None
    head_size, body_size = _LENGTHS.unpack(lengths)
    if head_size + body_size > _MAX_FRAME_BYTES:
        return None
    head, body = stream.read(head_size), stream.read(body_size)
    return (json.loads(head), body) if len(head) + len(body) == head_size + body_size else None
