"""Connections to Postgres: one way to open them, with limits on how long anything may hang."""

import time
from typing import Any, TypeVar

import msgspec
import psycopg
from psycopg.abc import PQGen
from psycopg.types.json import set_json_loads

Connection = psycopg.Connection[Any]

SILENCE_SECONDS = 3.0
_Result = TypeVar("_Result")


class PostgresSilent(psycopg.OperationalError):
    def __init__(self, seconds: float) -> None:
        super().__init__(f"Postgres has not answered for {seconds:.0f} s: is it hanging?")


class _ImpatientConnection(psycopg.Connection[Any]):
    """Closes itself when the server is silent: one that hangs keeps no statement timeout, and TCP sees it alive."""

    answer_seconds: float | None = None

    def wait(self, gen: PQGen[_Result], interval: float = 0.1, timeout: float | None = None) -> _Result:
        if timeout is not None or self.answer_seconds is None:
            return super().wait(gen, interval, timeout)
        started = time.monotonic()
        try:
            return super().wait(gen, interval, self.answer_seconds)
        except psycopg.OperationalError:
            if time.monotonic() - started < self.answer_seconds:
                raise
            self.close()
            raise PostgresSilent(self.answer_seconds) from None


def connect(
    database_url: str, *, name: str, autocommit: bool = False, statement_timeout_ms: int = 10_000
) -> Connection:
    """An open connection whose statements give up after `statement_timeout_ms`; raises psycopg.OperationalError.

    So they do, SILENCE_SECONDS later, when the server does not keep that limit itself. With 0 there is no limit.
    `name` shows in pg_stat_activity, so that an operator can tell who holds what.
    """
    connection = _ImpatientConnection.connect(
        database_url,
        autocommit=autocommit,
        application_name=f"sira-{name}",
        client_encoding="UTF8",  # COPY is given bytes, whatever PGCLIENTENCODING or the database prefer
        options=f"-c statement_timeout={statement_timeout_ms} -c timezone=UTC",
        connect_timeout=3,
        # A cut or hung server is noticed within seconds instead of the kernel's two hours.
        keepalives=1,
        keepalives_idle=5,
        keepalives_interval=2,
        keepalives_count=3,
        tcp_user_timeout=10_000,
    )
    set_json_loads(msgspec.json.decode, connection)
    if statement_timeout_ms:
        connection.answer_seconds = statement_timeout_ms / 1000 + SILENCE_SECONDS
    return connection
