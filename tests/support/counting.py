"""Connections that count their statements."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import psycopg

from edge.control.routes import Resources
from runtime.postgres import Connection


@dataclass(frozen=True, slots=True)
class CountingResources(Resources):
    """Resources whose connections append every statement to `statements`."""

    statements: list[str] = field(default_factory=list)

    @contextmanager
    def connect(self, *, autocommit: bool = False) -> Iterator[Connection]:
        statements = self.statements

        class CountingCursor(psycopg.Cursor[Any]):
            def execute(self, query: Any, *arguments: Any, **options: Any) -> Any:
                statements.append(str(query))
                return super().execute(query, *arguments, **options)

        with Resources.connect(self, autocommit=autocommit) as connection:
            connection.cursor_factory = CountingCursor
            yield connection


@contextmanager
def counted(resources: CountingResources) -> Iterator[list[str]]:
    """Yield the statements that the block sends."""
    resources.statements.clear()
    yield resources.statements
