"""Every route and everyone who may knock: who gets in, who is unknown (401), whose role does not do (403)."""

import base64
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import jwt
import pytest

from edge import api, infer_bodies
from lab.postgres import LocalPostgres
from runtime.auth import Role, mint_token
from tests.conftest import JWT_SECRET, SERVICE_TOKEN
from tests.support.bare import PREVIOUS_TOKEN, controlling, serving

# `in` is any answer but 401 and 403: what the route then says of an empty request is not asked here.
TABLE = """
                                           nobody  unknown  service  viewer  auditor  ml_ops
GET  /healthz                                in      in       in       in      in       in
GET  /readyz                                 in      in       in       in      in       in
GET  /metrics                                in      in       in       in      in       in
GET  /docs                                   in      in       in       in      in       in
GET  /openapi.json                           in      in       in       in      in       in
POST /v1/infer                               401     401      in       403     403      403
POST /v1/infer/batch                         401     401      in       403     403      403
GET  /v1/predictions/{prediction_id}         401     401      403      403     in       in
GET  /v1/predictions/{prediction_id}/reasons 401     401      403      403     in       in
GET  /v1/models                              401     401      403      in      in       in
POST /v1/models                              401     401      403      403     403      in
GET  /v1/models/{model_id}/importance        401     401      403      in      in       in
POST /v1/models/{model_id}/promote           401     401      403      403     403      in
POST /api/sira/models/{model_id}/promote     401     401      403      403     403      in
POST /v1/canary                              401     401      403      403     403      in
GET  /v1/canary/{product}                    in      401      in       in      in       in
GET  /v1/canary/{product}/report             401     401      403      in      in       in
GET  /v1/monitoring/{product}                401     401      403      in      in       in
POST /v1/canary/{product}/stop               401     401      403      403     403      in
POST /v1/canary/{product}/pause              401     401      403      403     403      in
POST /v1/canary/{product}/resume             401     401      403      403     403      in
POST /v1/canary/{product}/promote            401     401      403      403     403      in
POST /v1/breaker/{product}                   401     401      403      403     403      in
GET  /v1/control-group/{product}             401     401      403      in      in       in
POST /v1/control-group/{product}             401     401      403      403     403      in
POST /v1/backtests                           401     401      403      403     403      in
GET  /v1/backtests                           401     401      403      in      in       in
GET  /v1/backtests/{backtest_id}             401     401      403      in      in       in
POST /v1/labels                              401     401      in       403     403      in
"""
HEAD, *ROWS = [line.split() for line in TABLE.strip().splitlines()]
EXPECTED = {(method, path): dict(zip(HEAD, cells, strict=True)) for method, path, *cells in ROWS}

NOW = datetime.now(UTC)
DAY = timedelta(days=1)


def person(role: Role) -> str:
    return mint_token(JWT_SECRET, subject="amina", role=role, now=NOW, lifetime=DAY)


def signed(secret: str = JWT_SECRET, **changes: object) -> str:
    return jwt.encode({"sub": "amina", "roles": ["ml_ops"], "exp": NOW + DAY, **changes}, secret, algorithm="HS256")


def with_alg_none() -> str:
    head = base64.urlsafe_b64encode(b'{"alg":"none","typ":"JWT"}').decode().rstrip("=")
    return f"{head}.{signed().split('.')[1]}."


# Callers: the column of the table that each belongs to, and the header it sends.
CALLERS: dict[str, tuple[str, str | None]] = {
    "no token": ("nobody", None),
    "a wrong token": ("unknown", "Bearer " + "x" * 40),
    "the token without its scheme": ("unknown", SERVICE_TOKEN),
    "the token as Basic": ("unknown", f"Basic {base64.b64encode(f'x:{SERVICE_TOKEN}'.encode()).decode()}"),
    "expired": ("unknown", f"Bearer {signed(exp=NOW - DAY)}"),
    "alg none": ("unknown", f"Bearer {with_alg_none()}"),
    "wrong key": ("unknown", f"Bearer {signed('k' * 40)}"),
    "the service token as key": ("unknown", f"Bearer {signed(SERVICE_TOKEN)}"),
    "a role that is none": ("unknown", f"Bearer {signed(roles=['root'])}"),
    "no role": ("unknown", f"Bearer {signed(roles=[])}"),
    "service": ("service", f"Bearer {SERVICE_TOKEN}"),
    "the previous service token": ("service", f"Bearer {PREVIOUS_TOKEN}"),
    "viewer": ("viewer", f"Bearer {person(Role.viewer)}"),
    "auditor": ("auditor", f"Bearer {person(Role.auditor)}"),
    "ml_ops": ("ml_ops", f"Bearer {person(Role.ml_ops)}"),
}


@pytest.fixture(scope="module")
def doors(postgres: LocalPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, httpx.Client]]:
    """A service and a controller over an empty registry."""
    folder: Path = tmp_path_factory.mktemp("auth")
    url = postgres.create_database("auth_matrix", template="sira_template")
    previous = {"INTERNAL_SERVICE_TOKEN_PREVIOUS": PREVIOUS_TOKEN}
    with (
        serving(folder, url, workers=1, **previous) as service,
        controlling(folder, url, **previous) as control_url,
        httpx.Client(base_url=service.url, trust_env=False, timeout=20) as to_service,
        httpx.Client(base_url=control_url, trust_env=False, timeout=20) as to_controller,
    ):
        yield {"service": to_service, "controller": to_controller}
    postgres.drop_database("auth_matrix")


def knock(client: httpx.Client, method: str, path: str, header: str | None) -> str:
    filled = path.format(prediction_id="none", model_id="none", product="none", backtest_id="none")
    answered = client.request(method, filled, headers={"authorization": header} if header else {})
    if answered.status_code not in (401, 403):
        assert answered.status_code < 500
        return "in"
    assert answered.headers["content-type"] == "application/problem+json"
    assert (answered.status_code == 401) == ("www-authenticate" in answered.headers)
    return str(answered.status_code)


def test_the_table_names_every_route() -> None:
    routes = (*infer_bodies.ROUTES, *api.control_routes(list, list))
    assert EXPECTED.keys() == {(route.method, route.path) for route in routes}


@pytest.mark.parametrize("caller", CALLERS)
@pytest.mark.parametrize("process", ["service", "controller"])
def test_each_caller_gets_just_as_far_as_the_table_says(
    doors: dict[str, httpx.Client], process: str, caller: str
) -> None:
    column, header = CALLERS[caller]
    routes = [key for key in EXPECTED if process == "service" or not key[1].startswith("/v1/infer")]
    found = {(method, path): knock(doors[process], method, path, header) for method, path in routes}
    assert found == {key: EXPECTED[key][column] for key in routes}
