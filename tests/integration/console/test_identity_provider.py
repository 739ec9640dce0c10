"""People whom a proxy signs in: the proxy and the console talk HTTP on loopback, and the tokens are signed."""

import http.client
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import uvicorn

from canary.controller.sources import Sources
from console.app import ConsoleApp
from console.pages import Console
from edge import api
from edge.control.app import control_app
from edge.control.routes import Resources
from registry.artifacts import open_store
from registry.audit import history
from registry.model_version import Status
from runtime.auth import Authenticator
from runtime.postgres import Connection
from runtime.settings import Settings
from tests.support.identity_provider import AUDIENCE, ISSUER, STRANGERS_KEY, token, write_keys
from tests.support.rollouts import add_version
from tests.support.signing_in_proxy import signing_in_proxy


def token_of(person: str) -> str | None:
    """Signed when it is asked for: it is valid for minutes, and this file is read long before its tests run."""
    claims: dict[str, dict[str, Any]] = {
        "amina": {"sub": "amina", "groups": ["fraud-ops"]},
        "ben": {"sub": "ben", "groups": ["fraud"]},
        "stranger": {"key": STRANGERS_KEY, "sub": "stranger", "groups": ["fraud-ops"]},
        "yesterday": {"sub": "amina", "groups": ["fraud-ops"], "exp": datetime.now(UTC) - timedelta(days=1)},
    }
    return token(**claims[person]) if person in claims else None


Page = tuple[int, dict[str, str], str]
"""Status, headers by lower-case name, and text."""
Ask = Callable[..., Page]


@contextmanager
def listening(app: ConsoleApp) -> Iterator[str]:
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        thread.join(0.01)
        assert thread.is_alive()
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join()


@pytest.fixture(params=["Authorization", "X-Forwarded-Access-Token"])
def proxied(request: pytest.FixtureRequest, settings: Callable[..., Settings], tmp_path: Path) -> Iterator[Ask]:
    """`ask(method, path, person, headers)`: through a proxy that sends the person's token in a header of its choice."""
    (tmp_path / "artifacts").mkdir()
    chosen = settings(
        oidc_issuer=ISSUER,
        oidc_audience=AUDIENCE,
        oidc_jwks_file=write_keys(tmp_path / "jwks.json"),
        oidc_roles_claim="groups",
        oidc_roles="fraud=viewer,fraud-ops=ml_ops",
    )
    resources = Resources(chosen.database_url.get_secret_value(), open_store(chosen.model_bucket))
    authenticator, sources = Authenticator(chosen), Sources(None, None)
    inner = control_app(api.control_routes(list, list), resources, authenticator, lambda *_: None)
    app = ConsoleApp(Console(resources, sources, authenticator), inner, lambda *_: None)
    with listening(app) as console, signing_in_proxy(console, request.param, token_of) as proxy:

        def ask(
            method: str, path: str, person: str = "", body: str = "", **headers: str
        ) -> tuple[int, dict[str, str], str]:
            url = urlsplit(proxy)
            connection = http.client.HTTPConnection(url.hostname or "", url.port, timeout=20)
            own = {"Origin": proxy, "Content-Type": "application/x-www-form-urlencoded"} if method == "POST" else {}
            sent = {
                "Cookie": f"proxy_session={person}",
                **own,
                **{name.replace("_", "-"): v for name, v in headers.items()},
            }
            connection.request(method, path, body, sent)
            answer = connection.getresponse()
            found = (answer.status, {name.lower(): v for name, v in answer.getheaders()}, answer.read().decode())
            connection.close()
            return found

        yield ask
    sources.close()


def test_a_person_whom_the_proxy_signs_in_sees_the_console_at_once_and_is_not_sent_away(proxied: Ask) -> None:
    status, headers, page = proxied("GET", "/console", "ben")
    assert (status, "ben" in page) == (200, True)
    assert "refresh" not in headers
    assert "set-cookie" not in headers


@pytest.mark.parametrize("person", ["", "nobody", "stranger", "yesterday"])
def test_anyone_else_is_asked_to_sign_in(proxied: Ask, person: str) -> None:
    status, headers, _ = proxied("GET", "/console/audit", person)
    assert (status, headers["location"]) == (303, "/console/sign-in?next=%2Fconsole%2Faudit")


def test_what_a_caller_says_of_itself_does_not_pass_the_proxy(proxied: Ask) -> None:
    said = {"Authorization": f"Bearer {token_of('amina')}", "X_Forwarded_Access_Token": token_of("amina")}
    assert proxied("GET", "/console", "", **said)[0] == 303
    assert "amina" not in proxied("GET", "/console", "ben", **said)[2]


def test_the_providers_groups_decide_what_a_person_may_do_and_the_audit_names_them(
    proxied: Ask, connection: Connection
) -> None:
    add_version(connection, "cards", "1", Status.PRODUCTION)
    path, fields = "/console/health/cards/breaker", "enabled=on&max_block_percent=7.5&reason=a+new+campaign"
    assert proxied("POST", path, "ben", fields)[0] == 403
    assert proxied("POST", path, "amina", fields, Origin="https://evil.example")[0] == 403
    assert proxied("POST", path, "amina", fields)[0] == 303
    (row,) = history(connection, limit=1)
    assert (row.actor, row.reason) == ("amina", "a new campaign")
