"""What bounds the database process, beside DuckDB's own memory limit.

DuckDB counts what goes through its buffer manager. It does not count what a vector of lists or long texts takes. So a
thread looks at the memory really used, 50 times a second, and ends the process. The kernel stops what grows faster:
RLIMIT_DATA counts address space, of which malloc holds hundreds of MB more than it uses, so that it has to be loose.
"""

import mmap
import os
import sys
import time
from contextlib import suppress
from typing import Any

resource: Any
try:
    import resource
except ImportError:  # Windows has none of these limits
    resource = None

MB = 1024 * 1024
_LOOSE_BYTES = 1280 * MB
TOO_LARGE = 70  # the exit status of a process that ended itself for its memory
# Of one piece of work. The server's deadline comes long before: this is for a process that nobody watches.
_CPU_SECONDS = 600
_POLL_SECONDS = 0.02


def give_way() -> None:
    """Let the server come first: for the processor, and where the machine runs out of memory."""
    with suppress(OSError), open("/proc/self/oom_score_adj", "w", encoding="ascii") as own:
        own.write("1000")
    if hasattr(os, "nice"):
        os.nice(5)


def forbid_files() -> None:
    """Let no file grow, and no memory be dumped into one."""
    if resource:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


def bound_data() -> None:
    """Refuse a giant allocation. Linux alone says how much is taken so far."""
    if resource and (taken := _status("VmData")):
        most = taken + _LOOSE_BYTES
        resource.setrlimit(resource.RLIMIT_DATA, (most, most))


def bound_cpu() -> None:
    """Let the next piece of work take no more than its processor time."""
    if resource:
        used = resource.getrusage(resource.RUSAGE_SELF)
        soft = int(used.ru_utime + used.ru_stime) + _CPU_SECONDS
        resource.setrlimit(resource.RLIMIT_CPU, (soft, resource.getrlimit(resource.RLIMIT_CPU)[1]))


def watch_memory(most: int) -> None:
    """End the process when it holds more bytes than these. DuckDB lets go of the GIL while it works: this is on time."""
    while True:
        if memory() > most:
            os._exit(TOO_LARGE)
        time.sleep(_POLL_SECONDS)


def memory() -> int:
    """Return the bytes held now; elsewhere than on Linux the most so far, and on Windows nothing is known."""
    try:
        with open("/proc/self/statm", encoding="ascii") as statm:
            return int(statm.read().split()[1]) * mmap.PAGESIZE
    except OSError:
        return peak_memory()


def peak_memory() -> int:
    """Return the most bytes held so far."""
    if found := _status("VmHWM"):
        return found
    if not resource:
        return 0
    peak: int = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def forget_peak() -> None:
    """Let the peak count from now on: https://man7.org/linux/man-pages/man5/proc_pid_clear_refs.5.html"""
    with suppress(OSError), open("/proc/self/clear_refs", "w", encoding="ascii") as own:
        own.write("5")


def _status(name: str) -> int:
    try:
        with open("/proc/self/status", encoding="ascii") as lines:
            return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:")), 0)
    except OSError:
        return 0
