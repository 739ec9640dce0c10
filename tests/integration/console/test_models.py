"""The pages of models over a real registry."""

from html import unescape
from typing import Any
from uuid import uuid4

import pytest

from registry.audit import history
from registry.model_version import Status
from registry.store import get_version
from runtime.auth import Role
from runtime.postgres import Connection
from tests.support.counting import counted
from tests.support.rollouts import add_version, start_rollout

# Stated in docs/console.md.
MAX_STATEMENTS = {"list": 3, "model": 7, "compare": 3}


def text(answered: Any) -> str:
    return " ".join(unescape(answered.body.decode()).split())


def change(desk: Any, model_id: str, target: str, role: Role = Role.ml_ops, **fields: str) -> Any:
    return desk.post(f"/console/models/{model_id}/{target}", {"reason": "approved", **fields}, role)


def test_the_list_filters_by_product_and_status(desk: Any, connection: Connection) -> None:
    add_version(connection, "cards", "1", Status.PRODUCTION)
    add_version(connection, "loans", "7")
    assert "loans" in text(desk.get("/console/models", Role.viewer))
    assert "loans" not in text(desk.get("/console/models?product=cards"))
    assert "gbm 7" in text(desk.get("/console/models?status=staging"))
    assert "gbm 7" not in text(desk.get("/console/models?status=production"))
    assert desk.get("/console/models?status=great").status == 422
    assert desk.get("/console/models?cursor=nonsense").status == 422


def test_a_long_list_continues_on_another_page(desk: Any, connection: Connection) -> None:
    for number in range(52):
        add_version(connection, "cards", str(number))
    first = text(desk.get("/console/models?product=cards"))
    assert "52 versions" in first
    older = first.split('<p><a href="')[1].split('"')[0]
    assert text(desk.get(older)).count("gbm ") == 2


def test_a_version_shows_its_fields_and_history(desk: Any, connection: Connection) -> None:
    version = add_version(connection, "cards", "1", Status.PRODUCTION)
    page = text(desk.get(f"/console/models/{version.model_id}", Role.viewer))
    assert "<code>amount</code>" in page
    assert "staging → production" in page
    assert "not checked" in page
    assert f"/console/models/{version.model_id}/" not in page
    assert desk.get(f"/console/models/{uuid4()}").status == 404


def test_two_versions_are_compared_by_what_differs(desk: Any, connection: Connection) -> None:
    first, second = add_version(connection, "cards", "1", Status.PRODUCTION), add_version(connection, "cards", "2")
    page = text(desk.get(f"/console/models/compare?a={first.model_id}&b={second.model_id}", Role.viewer))
    assert '<tr class="differs"><th scope="row">status' in page
    assert '<tr><th scope="row">block from' in page
    assert desk.get("/console/models/compare?a=1").status == 404


def test_promoting_says_what_it_replaces_and_swaps_both(desk: Any, connection: Connection) -> None:
    old, new = add_version(connection, "cards", "1", Status.PRODUCTION), add_version(connection, "cards", "2")
    page = text(desk.get(f"/console/models/{new.model_id}/production"))
    assert "gbm 1 is retired in the same transaction" in page
    answered = change(desk, new.model_id, "production", seen="staging")
    assert answered.headers["location"] == f"/console/models/{new.model_id}?notice=version_changed"
    assert get_version(connection, new.model_id).status is Status.PRODUCTION
    assert get_version(connection, old.model_id).status is Status.RETIRED
    (row,) = history(connection, subject=new.model_id, limit=1)
    assert (row.actor, row.reason) == ("amina", "approved")
    change(desk, old.model_id, "production", seen="retired")
    assert get_version(connection, old.model_id).status is Status.PRODUCTION


@pytest.mark.parametrize("role", [Role.viewer, Role.auditor])
def test_only_ml_ops_may_change_a_status(desk: Any, connection: Connection, role: Role) -> None:
    version = add_version(connection, "cards", "1")
    assert desk.get(f"/console/models/{version.model_id}/archived", role).status == 403
    assert change(desk, version.model_id, "archived", role, seen="staging").status == 403
    assert get_version(connection, version.model_id).status is Status.STAGING


@pytest.mark.parametrize(
    ("target", "fields", "status"),
    [
        ("archived", {"seen": "staging", "reason": " "}, 422),
        ("archived", {"seen": "staging", "reason": "x" * 5000}, 422),
        ("archived", {"seen": "canary"}, 409),
        ("staging", {"seen": "staging"}, 409),
        ("canary", {"seen": "staging"}, 404),
        ("nothing", {"seen": "staging"}, 404),
    ],
)
def test_a_change_that_does_not_fit_is_refused(
    desk: Any, connection: Connection, target: str, fields: dict[str, str], status: int
) -> None:
    version = add_version(connection, "cards", "1")
    assert change(desk, version.model_id, target, **fields).status == status
    assert get_version(connection, version.model_id).status is Status.STAGING


def test_a_version_of_a_running_rollout_is_not_archived(desk: Any, connection: Connection) -> None:
    rollout = start_rollout(connection)
    answered = change(desk, rollout.canary_model_id, "archived", seen="canary")
    assert answered.status == 409
    assert "rollout uses it" in text(answered)


def test_pages_of_models_cost_a_fixed_number_of_statements(desk: Any, connection: Connection) -> None:
    versions = [add_version(connection, "cards", str(number)) for number in range(30)]
    paths = {
        "list": "/console/models",
        "model": f"/console/models/{versions[0].model_id}",
        "compare": f"/console/models/compare?a={versions[0].model_id}&b={versions[1].model_id}",
    }
    for name, one in paths.items():
        with counted(desk.resources) as statements:
            assert desk.get(one).status == 200
        assert len(statements) <= MAX_STATEMENTS[name]
