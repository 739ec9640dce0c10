"""Connections to Postgres, with a limit on how long any call may hang."""

import time
from typing import Any, TypeVar

import msgspec
import psycopg
from psycopg.abc import PQGen
from psycopg.types.json import set_json_loads

Connection = psycopg.Connection[Any]

# How long after its statement timeout a server may take to report it, before we close the connection.
SILENCE_SECONDS = 3.0
_Result = TypeVar("_Result")


class PostgresSilent(psycopg.OperationalError):
    def __init__(self, seconds: float) -> None:
        super().__init__(f"Postgres has not answered for {seconds:.0f} s: is it hanging?")


class PoolerInBetween(Exception):
    """DATABASE_URL leads to a connection pooler that does not give each connection a session of its own."""

    def __init__(self) -> None:
        super().__init__(
            "DATABASE_URL leads through a pooler that drops settings of a session, such as PgBouncer in transaction"
            " mode: connect to Postgres itself. Each worker holds three connections, each controller two to six"
        )


class _TimedConnection(psycopg.Connection[Any]):
    """Closes itself when the server stops responding.

    A hanging server no longer enforces statement_timeout, while TCP keepalives still succeed.
    """

    max_silent_seconds: float | None = None

    def wait(self, gen: PQGen[_Result], interval: float = 0.1, timeout: float | None = None) -> _Result:
        if timeout is not None or self.max_silent_seconds is None:
            return super().wait(gen, interval, timeout)
        started = time.monotonic()
        try:
            return super().wait(gen, interval, self.max_silent_seconds)
        except psycopg.OperationalError:
            if time.monotonic() - started < self.max_silent_seconds:
                raise
            self.close()
            raise PostgresSilent(self.max_silent_seconds) from None


def connect(
    database_url: str, *, name: str, autocommit: bool = False, statement_timeout_ms: int = 10_000
) -> Connection:
    """Open a connection whose statements time out after `statement_timeout_ms`; raises psycopg.OperationalError.

    If the server does not enforce the timeout, the connection closes SILENCE_SECONDS later. 0 means no limit.
    `name` appears in pg_stat_activity, so that an operator can see which process holds a lock.
    """
    connection = _TimedConnection.connect(
        database_url,
        autocommit=autocommit,
        application_name=f"sira-{name}",
        client_encoding="UTF8",  # COPY sends UTF-8 bytes, whatever PGCLIENTENCODING or the database prefer
        options=f"-c statement_timeout={statement_timeout_ms} -c timezone=UTC",
        connect_timeout=3,
        # Detect a lost server within seconds instead of the kernel's two hours.
        keepalives=1,
        keepalives_idle=5,
        keepalives_interval=2,
        keepalives_count=3,
        tcp_user_timeout=10_000,
    )
    set_json_loads(msgspec.json.decode, connection)
    if statement_timeout_ms:
        connection.max_silent_seconds = statement_timeout_ms / 1000 + SILENCE_SECONDS
    return connection


def refuse_pooler(database_url: str) -> None:
    """Raise PoolerInBetween if the server behind the URL does not keep a session's settings.

    Shipping, notifications and locks need sessions. A server that cannot be reached is no reason to refuse a start.
    """
    wanted = "12345ms"
    try:
        with psycopg.connect(database_url, options=f"-c statement_timeout={wanted}", connect_timeout=3) as connection:
            row = connection.execute("SHOW statement_timeout").fetchone()
    except psycopg.OperationalError as error:
        if "unsupported startup parameter" in str(error):
            raise PoolerInBetween from None
        return
    if row != (wanted,):
        raise PoolerInBetween
