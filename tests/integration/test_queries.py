"""Every statement we keep names tables, columns and types that exist: Postgres itself plans each."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.postgres import Connection, connect
from runtime.queries import load_queries

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("canary", "migrations", "monitoring", "registry", "scoring")
FILES = sorted(path for room in ROOMS for path in (ROOT / room).rglob("queries.sql"))
QUERIES = [
    pytest.param(query, id=f"{file.parent.name}-{name}")
    for file in FILES
    for name, query in load_queries(file).items()
    if name not in ("stage", "control_days")  # makes the temporary tables that others name; is part of another
]


@pytest.fixture(scope="module")
def connection(postgres: object) -> Iterator[Connection]:
    with connect(postgres.url("sira_template"), name="tests", autocommit=True) as opened:  # type: ignore[attr-defined]
        opened.execute(load_queries(ROOT / "scoring" / "log" / "queries.sql")["stage"])  # type: ignore[call-overload]
        yield opened


@pytest.mark.parametrize("query", QUERIES)
def test_postgres_plans_it_with_every_parameter_null(connection: Connection, query: str) -> None:
    parameters = dict.fromkeys(re.findall(r"%\((\w+)\)[sbt]", query))
    assert connection.execute(f"EXPLAIN {query.rstrip(';')}", parameters).fetchall()  # type: ignore[call-overload]


def test_each_package_keeps_its_statements_in_one_file() -> None:
    assert {file.relative_to(ROOT).parts[0] for file in FILES} == {*ROOMS}
