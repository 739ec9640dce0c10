"""A Postgres that is connected and silent: its processes are stopped, as a dying disk stops them."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest

from lab.postgres import LocalPostgres
from runtime.postgres import PostgresSilent, connect


@contextmanager
def stopped(connection: psycopg.Connection[object]) -> Iterator[None]:
    """The server process behind a connection answers nothing meanwhile."""
    pid = connection.info.backend_pid
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def test_a_statement_ends_although_the_server_keeps_no_time_limit(database_url: str) -> None:
    connection = connect(database_url, name="tests", autocommit=True, statement_timeout_ms=100)
    with stopped(connection), pytest.raises(PostgresSilent, match="has not answered for 3 s"):
        connection.execute("SELECT 1")
    assert connection.closed


def test_a_transaction_ends_with_the_same_error_and_no_second_wait(database_url: str) -> None:
    connection = connect(database_url, name="tests", autocommit=True, statement_timeout_ms=100)
    connection.execute("CREATE TEMP TABLE t (n int)")

    def fill() -> None:
        with connection.transaction(), stopped(connection), connection.cursor().copy("COPY t FROM STDIN") as copy:
            copy.write(b"1\n")

    with pytest.raises(PostgresSilent):
        fill()
    assert connection.closed


def test_waiting_for_a_notification_is_no_silence(database_url: str) -> None:
    with connect(database_url, name="tests", autocommit=True, statement_timeout_ms=500) as connection:
        connection.execute("LISTEN nothing")
        assert list(connection.notifies(timeout=4.0)) == []
        connection.execute("UNLISTEN nothing")


def test_without_a_limit_a_statement_may_take_its_time(postgres: LocalPostgres) -> None:
    url = postgres.url("postgres")
    with connect(url, name="tests", autocommit=True, statement_timeout_ms=0) as connection:
        assert connection.execute("SELECT pg_sleep(4)").rowcount == 1
