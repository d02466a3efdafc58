"""Takes from a Python process what Windows has not: on PYTHONPATH, it does so in every process that a test starts.

Modules and attributes are gone, an open file can be neither replaced nor deleted, some characters are in no file's name, there
is no /proc, and text files need their encoding named. Python's own modules and others' packages keep what they use in their
halves for Unix: on Windows they have other halves.
"""

import asyncio
import builtins
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import types
import warnings
from collections.abc import Callable, Mapping
from typing import Any

MODULES = ("fcntl", "grp", "pty", "pwd", "readline", "resource", "syslog", "termios", "tty")
# https://docs.python.org/3/library/os.html and the like: "Availability: Unix"
GONE = {
    os: "chown fchmod fchown fork forkpty getegid geteuid getgid getgroups getloadavg getpgid getpgrp getpriority getsid getuid "
    "killpg lchown mkfifo nice openpty posix_spawn posix_spawnp sched_getaffinity setpgid setsid statvfs sysconf uname wait "
    "wait3 wait4 O_CLOEXEC O_DIRECTORY O_NOFOLLOW O_NONBLOCK O_SYNC",
    signal: "SIGALRM SIGCHLD SIGHUP SIGKILL SIGPIPE SIGQUIT SIGUSR1 SIGUSR2 alarm pause pthread_kill setitimer sigwait",
    socket: "AF_UNIX",
    time: "tzset",
}
IN_NO_NAME = frozenset('<>:"|?*')
OURS = r"d365mcp|infra|function_app|__main__"


def hide() -> None:
    import click._termui_impl  # noqa: F401 - it and psutil have a half for each system
    import psutil  # noqa: F401

    whole = types.ModuleType("os")
    whole.__dict__.update(os.__dict__)
    for name, module in list(sys.modules.items()):
        if name.startswith("psutil") and hasattr(module, "os"):
            module.os = whole
    pairs, kill = socket.socketpair, signal.SIGKILL
    family = socket.AF_UNIX
    socket.socketpair = lambda *_: pairs(family)  # Windows makes them of two TCP sockets
    subprocess.Popen.kill = lambda self: self.send_signal(kill)  # type: ignore[method-assign]
    shutil._use_fd_functions = False  # type: ignore[attr-defined]
    for loop in (asyncio.AbstractEventLoop, asyncio.SelectorEventLoop):
        loop.add_signal_handler = not_implemented  # type: ignore[method-assign]
    for module, names in GONE.items():
        for name in names.split():
            if hasattr(module, name):
                delattr(module, name)
    builtins.__import__ = refusing(builtins.__import__)


def refusing(load: Callable[..., Any]) -> Callable[..., Any]:
    """Return an import that has no modules of Unix for us; others' packages look first where they are."""

    def load_unless_of_unix(name: str, globals: Mapping[str, Any] | None = None, *rest: Any, **named: Any) -> Any:
        if name in MODULES and re.match(OURS, (globals or {}).get("__name__", "")):
            raise ModuleNotFoundError(f"No module named {name!r}")
        return load(name, globals, *rest, **named)

    return load_unless_of_unix


def not_implemented(*_: object) -> None:
    raise NotImplementedError


def is_of_psutil() -> bool:
    """Return whether psutil asks, whose half for Windows needs no /proc."""
    frame = sys._getframe()
    while frame and not str(frame.f_globals.get("__name__")).startswith("psutil"):
        frame = frame.f_back  # type: ignore[assignment]
    return frame is not None


def opened_by(fd: str) -> str:
    try:
        return os.readlink(fd)
    except OSError:  # closed, or another user's
        return ""


def is_open(path: str) -> bool:
    """Return whether any process has a file open."""
    wanted = os.path.realpath(path)
    for process in filter(str.isdigit, os.listdir("/proc")):
        try:
            opened = os.listdir(f"/proc/{process}/fd")
        except OSError:
            continue
        if any(opened_by(f"/proc/{process}/fd/{number}") == wanted for number in opened):
            return True
    return False


def watch(event: str, given: tuple[object, ...]) -> None:
    """Refuse what Windows refuses."""
    if event == "open" and isinstance(given[0], str):
        if given[0].startswith("/proc/") and not is_of_psutil():
            raise FileNotFoundError(2, "No such file or directory", given[0])
        if IN_NO_NAME.intersection(given[0]):
            raise OSError(22, "Invalid argument", given[0])
    elif event in ("os.rename", "os.remove"):
        for path in given[: 2 if event == "os.rename" else 1]:
            if os.path.isfile(os.fspath(path)) and is_open(os.fspath(path)):  # type: ignore[call-overload]
                raise PermissionError(
                    13, "The process cannot access the file: it is being used by another process", path
                )


hide()
sys.addaudithook(watch)
warnings.filterwarnings("error", category=EncodingWarning, module=OURS)
