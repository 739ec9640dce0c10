"""The console over a database of the test's own, as an ASGI application."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from canary.controller.sources import Sources
from console.app import ConsoleApp
from console.pages import Console
from edge import api
from edge.control.app import control_app
from registry.artifacts import open_store
from runtime.auth import Authenticator, Role
from runtime.postgres import Connection, connect
from runtime.settings import Settings
from tests.support.asgi import Answered, request
from tests.support.counting import CountingResources

HOST = "127.0.0.1:3000"
OWN_PAGE = {"origin": f"http://{HOST}", "content-type": "application/x-www-form-urlencoded"}


@dataclass
class Desk:
    """The console's application, and people who use it."""

    app: ConsoleApp
    resources: CountingResources
    authenticator: Authenticator
    observed: list[tuple[str, int]] = field(default_factory=list)

    def token(self, role: Role = Role.ml_ops, lifetime: timedelta = timedelta(hours=1), subject: str = "amina") -> str:
        return self.authenticator.mint(subject=subject, role=role, now=datetime.now(UTC), lifetime=lifetime)

    def get(self, path: str, role: Role | None = Role.ml_ops, **headers: str) -> Answered:
        cookie = {} if role is None else {"cookie": f"sira_session={self.token(role)}"}
        return asyncio.run(request(self.app, "GET", path, headers={"host": HOST, **cookie, **headers}))

    def post(self, path: str, fields: dict[str, Any], role: Role | None = Role.ml_ops, **headers: str) -> Answered:
        cookie = {} if role is None else {"cookie": f"sira_session={self.token(role)}"}
        sent = {"host": HOST, **OWN_PAGE, **cookie, **headers}
        return asyncio.run(request(self.app, "POST", path, (urlencode(fields).encode(),), sent))


@pytest.fixture
def desk(settings: Callable[..., Settings]) -> Iterator[Desk]:
    chosen = settings()
    Path(chosen.model_bucket.removeprefix("file://")).mkdir(parents=True, exist_ok=True)
    resources = CountingResources(chosen.database_url.get_secret_value(), open_store(chosen.model_bucket))
    authenticator, sources = Authenticator(chosen), Sources(None, None)
    observed: list[tuple[str, int]] = []

    def observe(route: str, status: int) -> None:
        observed.append((route, status))

    inner = control_app(api.control_routes(list, list), resources, authenticator, observe)
    yield Desk(
        ConsoleApp(Console(resources, sources, authenticator), inner, observe), resources, authenticator, observed
    )
    sources.close()


@pytest.fixture
def connection(database_url: str) -> Iterator[Connection]:
    with connect(database_url, name="tests", autocommit=True) as opened:
        yield opened
