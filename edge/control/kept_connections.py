"""Connections that calls take turns on: a new one costs Postgres a process that knows no table yet."""

import select
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple

import psycopg
from psycopg.pq import TransactionStatus

from runtime.postgres import Connection, connect

# An older connection is replaced: a server's process never forgets a table, dropped partitions included.
MAX_AGE_SECONDS = 600.0


class _Kept(NamedTuple):
    connection: Connection
    opened: float


class KeptConnections:
    """Lends connections to calls, and keeps at most `limit` of them open in between; thread-safe.

    A caller must not leave a setting of the session behind: the next one would have it.
    """

    def __init__(self, database_url: str, limit: int) -> None:
        self._database_url = database_url
        self._limit = limit
        self._idle: list[_Kept] = []
        self._lock = threading.Lock()

    @contextmanager
    def lend(self, *, autocommit: bool = False) -> Iterator[Connection]:
        """Yield a connection; commit at the end, or roll back on an error. Raises psycopg.OperationalError."""
        kept = self._take() or self._open()
        connection = kept.connection
        try:
            connection.autocommit = autocommit
            yield connection
            connection.commit()
        except BaseException:
            with suppress(psycopg.Error):
                connection.rollback()
            raise
        finally:
            self._give_back(kept)

    def _take(self) -> _Kept | None:
        """Return the connection that was used last, if the server still holds it."""
        while True:
            with self._lock:
                if not self._idle:
                    return None
                kept = self._idle.pop()
            if time.monotonic() - kept.opened < MAX_AGE_SECONDS and not _has_ended(kept.connection):
                return kept
            kept.connection.close()

    def _open(self) -> _Kept:
        connection = connect(self._database_url, name="control")
        # A prepared statement would get one plan for all values, and a search needs another for each.
        connection.prepare_threshold = None
        return _Kept(connection, time.monotonic())

    def _give_back(self, kept: _Kept) -> None:
        with self._lock:
            idle = kept.connection.info.transaction_status == TransactionStatus.IDLE
            if idle and len(self._idle) < self._limit:
                self._idle.append(kept)
                return
        kept.connection.close()


def _has_ended(connection: Connection) -> bool:
    """Return whether the server has ended an idle connection: nothing else lets its socket become readable."""
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    return bool(poll.poll(0))
