"""Connections to Postgres: one way to open them, with limits on how long anything may hang."""

from typing import Any

import psycopg

Connection = psycopg.Connection[Any]


def connect(
    database_url: str, *, name: str, autocommit: bool = False, statement_timeout_ms: int = 10_000
) -> Connection:
    """An open connection whose statements give up after `statement_timeout_ms`; raises psycopg.OperationalError.

    `name` shows in pg_stat_activity, so that an operator can tell who holds what.
    """
    return psycopg.connect(
        database_url,
        autocommit=autocommit,
        application_name=f"sira-{name}",
        options=f"-c statement_timeout={statement_timeout_ms} -c timezone=UTC",
        connect_timeout=3,
        # A cut or hung server is noticed within seconds instead of the kernel's two hours.
        keepalives=1,
        keepalives_idle=5,
        keepalives_interval=2,
        keepalives_count=3,
        tcp_user_timeout=10_000,
    )
