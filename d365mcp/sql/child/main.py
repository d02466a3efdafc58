"""Serves frames from standard input until it ends: then the server is gone, and so is this process."""

import os
import queue
import sys
import threading
from typing import BinaryIO

from d365mcp.sql.child import fences
from d365mcp.sql.child.frames import Frame, receive_frame, send_frame
from d365mcp.sql.child.work import DatabaseWork, imported_duckdb


def serve(memory_mb: int, duckdb_mb: int) -> None:
    """Answer frames, bounded. The main thread reads, so that the server's end ends a statement under way."""
    frames_in, frames_out = sys.stdin.buffer, _own_output()
    fences.give_way()
    fences.forbid_files()
    work = DatabaseWork(imported_duckdb(), duckdb_mb * fences.MB)
    fences.bound_data()
    threading.Thread(target=fences.watch_memory, args=(memory_mb * fences.MB,), daemon=True).start()
    inbox: queue.SimpleQueue[Frame] = queue.SimpleQueue()
    threading.Thread(target=_answer_frames, args=(work, inbox, frames_out), daemon=True).start()
    while frame := receive_frame(frames_in):
        inbox.put(frame)
    os._exit(0)


def _own_output() -> BinaryIO:
    """Return standard output for the frames alone: DuckDB writes a progress bar to it after two seconds."""
    own = os.fdopen(os.dup(1), "wb")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)
    return own


def _answer_frames(work: DatabaseWork, inbox: "queue.SimpleQueue[Frame]", frames_out: BinaryIO) -> None:
    while True:
        frame = inbox.get()
        fences.bound_cpu()
        if answer := work.answer(*frame):
            send_frame(frames_out, *answer)
