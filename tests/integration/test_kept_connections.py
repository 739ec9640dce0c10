"""Connections that are kept between calls, against a real Postgres."""

from collections.abc import Iterator
from typing import LiteralString

import psycopg
import pytest

from edge.control import kept_connections
from edge.control.kept_connections import KeptConnections
from lab.waiting import wait_until
from runtime.postgres import Connection, connect


@pytest.fixture
def watcher(database_url: str) -> Iterator[Connection]:
    with connect(database_url, name="tests", autocommit=True) as connection:
        yield connection


def process(connections: KeptConnections) -> int:
    with connections.lend() as connection:
        return connection.info.backend_pid


def ask(connections: KeptConnections, *statements: LiteralString) -> None:
    with connections.lend() as connection:
        for statement in statements:
            connection.execute(statement)


def still_open(watcher: Connection) -> int:
    query = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'sira-control'"
    )
    row = watcher.execute(query).fetchone()
    assert row is not None
    return int(row[0])


def test_the_next_call_gets_the_same_connection(database_url: str) -> None:
    connections = KeptConnections(database_url, 1)
    assert process(connections) == process(connections)


def test_two_calls_at_once_get_two_and_one_of_them_is_kept(database_url: str, watcher: Connection) -> None:
    connections = KeptConnections(database_url, 1)
    with connections.lend() as one, connections.lend() as other:
        assert one.info.backend_pid != other.info.backend_pid
    wait_until(lambda: still_open(watcher) == 1, 5, "the other connection is closed")


def test_with_a_limit_of_none_each_call_closes_its_own(database_url: str, watcher: Connection) -> None:
    process(KeptConnections(database_url, 0))
    wait_until(lambda: still_open(watcher) == 0, 5, "the connection is closed")


def test_a_connection_that_the_server_has_ended_is_replaced(database_url: str, watcher: Connection) -> None:
    connections = KeptConnections(database_url, 1)
    ended = process(connections)
    watcher.execute("SELECT pg_terminate_backend(%s, 5000)", (ended,))
    assert process(connections) != ended


def test_an_old_connection_is_replaced(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    connections = KeptConnections(database_url, 1)
    before = process(connections)
    monkeypatch.setattr(kept_connections, "MAX_AGE_SECONDS", 0.0)
    assert process(connections) != before


def test_a_call_that_ends_well_is_committed_and_one_that_fails_is_rolled_back(database_url: str) -> None:
    connections = KeptConnections(database_url, 1)
    with connections.lend() as connection:
        connection.execute("CREATE TABLE t (n int)")
    with pytest.raises(psycopg.errors.DivisionByZero):
        ask(connections, "INSERT INTO t VALUES (1)", "SELECT 1 / 0")
    with connections.lend() as connection:
        assert connection.execute("SELECT count(*) FROM t").fetchone() == (0,)


def test_a_failed_statement_leaves_nothing_to_the_next_call(database_url: str) -> None:
    connections = KeptConnections(database_url, 1)
    with pytest.raises(psycopg.errors.UndefinedTable):
        ask(connections, "SET LOCAL statement_timeout = 1", "SELECT * FROM missing")
    with connections.lend(autocommit=True) as connection:
        assert connection.execute("SHOW statement_timeout").fetchone() == ("10s",)
    with connections.lend() as connection:
        assert not connection.autocommit
