"""The body of an answer within bounds: decompressed a little at a time, no larger than was asked for. Performs no I/O.

HTTP libraries decompress a whole chunk at once, as often as the server's headers say. 64 KiB could become 64 MiB, and
those 64 GiB.
"""

import zlib
from collections.abc import Iterator, Mapping

from d365mcp.errors import InvalidAnswer

# The one compression F&O is asked for.
ACCEPTED_ENCODING = "gzip"
_PIECE_BYTES = 64 * 1024
_PROXY = "Does a proxy between here and D365FO_BASE_URL change answers?"


class Decoder:
    """Takes a body as it arrives, gives it decompressed. `hint` says what to do about one that is larger than `max_bytes`.

    Everything here raises InvalidAnswer: past `max_bytes`, on the wire or decompressed, and for what is compressed in
    another way than gzip.
    """

    def __init__(self, headers: Mapping[str, str], max_bytes: int, hint: str) -> None:
        self.max_bytes = max_bytes
        self.hint = hint
        self.arrived = 0
        self.given = 0
        self.inflater = _inflater_for(headers.get("content-encoding", "").strip().lower())
        if int(headers.get("content-length") or 0) > max_bytes:
            raise self.too_large()

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Yield what a chunk holds, never more than PIECE_BYTES of gzip at once; what follows its end is passed over."""
        self.arrived += len(chunk)
        if self.arrived > self.max_bytes:
            raise self.too_large()
        if self.inflater is None:
            yield chunk
            return
        while chunk and not self.inflater.eof:
            try:
                piece = self.inflater.decompress(chunk, _PIECE_BYTES)
            except zlib.error:
                raise InvalidAnswer("F&O's answer is no gzip although it says so.", hint=_PROXY) from None
            chunk = self.inflater.unconsumed_tail
            self.given += len(piece)
            if self.given > self.max_bytes:
                raise self.too_large()
            if piece:
                yield piece

    def end(self) -> None:
        """Look whether all has come."""
        if self.inflater and self.arrived and not self.inflater.eof:
            raise InvalidAnswer("F&O's answer is gzip that breaks off.", hint=_PROXY)

    def too_large(self) -> InvalidAnswer:
        mebibytes = self.max_bytes / 1024 / 1024
        size = f"{mebibytes:.0f} MiB" if mebibytes >= 1 else f"{self.max_bytes // 1024} KiB"
        return InvalidAnswer(f"F&O's answer is larger than {size}.", hint=self.hint)


def _inflater_for(encoding: str) -> "zlib._Decompress | None":
    """Return what decompresses this encoding, or None where nothing is compressed."""
    if encoding in ("", "identity"):
        return None
    if encoding == "gzip":
        return zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    raise InvalidAnswer("F&O's answer is compressed in another way than gzip.", hint=_PROXY)
