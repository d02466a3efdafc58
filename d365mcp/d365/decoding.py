"""The body of an answer within bounds: decompressed a little at a time, no larger than was asked for. Performs no I/O.

httpx unfolds whatever a server names, nested as often as it names it, a whole chunk at once: 64 KiB could become 64 MiB,
and those 64 GiB.
"""

import zlib
from collections.abc import AsyncIterator, Mapping

from d365mcp.errors import InvalidAnswer

# The one compression F&O is asked for.
ACCEPTED = "gzip"
PIECE_BYTES = 64 * 1024
PROXY = "Does a proxy between here and D365FO_BASE_URL change answers?"


async def bounded(
    chunks: AsyncIterator[bytes], headers: Mapping[str, str], max_bytes: int, mend: str
) -> AsyncIterator[bytes]:
    """Yield a body's decompressed pieces from its chunks as they came.

    Raises InvalidAnswer past `max_bytes`, on the wire or decompressed, and for what is compressed in another way.
    """
    if int(headers.get("content-length") or 0) > max_bytes:
        raise too_large(max_bytes, mend)
    arriving = limited(chunks, max_bytes, mend)
    match headers.get("content-encoding", "").strip().lower():
        case "" | "identity":
            pieces = arriving
        case "gzip":
            pieces = limited(inflated(arriving), max_bytes, mend)
        case _:
            raise InvalidAnswer("F&O's answer is compressed in another way than gzip.", hint=PROXY)
    async for piece in pieces:
        yield piece


async def limited(pieces: AsyncIterator[bytes], max_bytes: int, mend: str) -> AsyncIterator[bytes]:
    seen = 0
    async for piece in pieces:
        seen += len(piece)
        if seen > max_bytes:
            raise too_large(max_bytes, mend)
        yield piece


async def inflated(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Yield what gzip holds, never more than PIECE_BYTES at once; what follows its end is passed over."""
    inflater = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    begun = False
    async for chunk in chunks:
        begun = True
        while chunk and not inflater.eof:
            try:
                piece = inflater.decompress(chunk, PIECE_BYTES)
            except zlib.error:
                raise InvalidAnswer("F&O's answer is no gzip although it says so.", hint=PROXY) from None
            chunk = inflater.unconsumed_tail
            if piece:
                yield piece
    if begun and not inflater.eof:
        raise InvalidAnswer("F&O's answer is gzip that breaks off.", hint=PROXY)


def too_large(max_bytes: int, mend: str) -> InvalidAnswer:
    size = f"{max_bytes / 1024 / 1024:.0f} MiB" if max_bytes >= 1024 * 1024 else f"{max_bytes // 1024} KiB"
    return InvalidAnswer(f"F&O's answer is larger than {size}.", hint=mend)
