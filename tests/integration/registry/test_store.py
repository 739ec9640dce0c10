"""Versions and their statuses, on a real Postgres."""

import contextlib
import threading
from collections.abc import Callable
from itertools import product as pairs_of
from pathlib import Path

import psycopg
import pytest

import registry
from registry import audit, store
from registry.model_version import ALLOWED_CHANGES, ModelVersion, NewVersion, Status, Thresholds
from registry.signature import Field, Signature
from runtime.postgres import Connection, connect
from runtime.queries import load_queries


def test_every_statement_fits_the_schema(connection: Connection) -> None:
    class Nulls(dict[str, None]):
        def __missing__(self, key: str) -> None:
            return None

    for statement in load_queries(Path(registry.__file__).with_name("queries.sql")).values():
        connection.execute(f"EXPLAIN {statement}", Nulls())


def test_a_version_comes_back_as_it_was_registered(
    connection: Connection, new_version: Callable[..., NewVersion]
) -> None:
    new: NewVersion = new_version("1")
    made, created = store.insert_version(connection, new, actor="ops_john", reason="first")
    assert created
    assert store.get_version(connection, made.model_id) == made
    assert {name: getattr(made, name) for name in NewVersion.__slots__} == {
        name: getattr(new, name) for name in NewVersion.__slots__
    }
    assert (made.status, made.created_by) == (Status.STAGING, "ops_john")


def test_registering_the_same_contents_again_gives_the_same_row(
    connection: Connection, new_version: Callable[..., NewVersion]
) -> None:
    first, _ = store.insert_version(connection, new_version("1"), actor="tests")
    assert store.insert_version(connection, new_version("1"), actor="tests") == (first, False)
    assert len(audit.history(connection)) == 1


def test_registering_other_contents_under_a_taken_name_names_what_differs(
    connection: Connection, new_version: Callable[..., NewVersion]
) -> None:
    first, _ = store.insert_version(connection, new_version("1"), actor="tests")
    other = NewVersion(
        **{
            **{name: getattr(new_version("1"), name) for name in NewVersion.__slots__},
            "sha256": "b" * 64,
            "thresholds": Thresholds(0.1, 0.2),
            "signature": Signature("columns", (Field("age", "float"),), "p", "zipmap"),
        }
    )
    with pytest.raises(store.VersionExists, match=f"{first.model_id} with another sha256 and signature and thresholds"):
        store.insert_version(connection, other, actor="tests")


@pytest.mark.parametrize("model_id", ["", "1", "00000000-0000-0000-0000-000000000000", "fraud_score/gradient/9", "a/b"])
def test_an_unknown_version_is_not_found(connection: Connection, model_id: str) -> None:
    with pytest.raises(store.ModelNotFound):
        store.resolve(connection, model_id)


def test_a_version_is_resolved_by_id_and_by_name(
    connection: Connection, make_version: Callable[..., ModelVersion]
) -> None:
    made = make_version("1")
    assert store.resolve(connection, made.model_id) == made
    assert store.resolve(connection, "fraud_score/gradient/1") == made


def test_pages_give_every_version_once_newest_first(
    connection: Connection, make_version: Callable[..., ModelVersion]
) -> None:
    made = [make_version(str(number)).model_id for number in range(5)]
    seen, cursor = [], None
    while True:
        page = store.list_versions(connection, limit=2, cursor=cursor)
        assert page.total == 5
        seen += [version.model_id for version in page.versions]
        if (cursor := page.next_cursor) is None:
            break
    assert seen == made[::-1]


def test_versions_of_the_same_instant_are_each_on_one_page(
    connection: Connection, make_version: Callable[..., ModelVersion]
) -> None:
    for number in range(4):
        make_version(str(number))
    connection.execute("ALTER TABLE siramodel_registry DISABLE TRIGGER USER")
    connection.execute("UPDATE siramodel_registry SET created_at = '2026-01-01'")
    first = store.list_versions(connection, limit=3)
    rest = store.list_versions(connection, limit=3, cursor=first.next_cursor)
    assert len({version.model_id for version in first.versions + rest.versions}) == 4
    assert rest.next_cursor is None


def test_a_list_is_narrowed_by_product_and_status(
    connection: Connection, make_version: Callable[..., ModelVersion]
) -> None:
    make_version("1")
    wanted = make_version("2", Status.PRODUCTION)
    make_version("1", Status.PRODUCTION, product="card_ulb")
    page = store.list_versions(connection, product="fraud_score", status=Status.PRODUCTION)
    assert (page.versions, page.total) == ((wanted,), 1)
    assert store.list_versions(connection, product="none") == store.VersionPage((), 0, None)


@pytest.mark.parametrize("cursor", ["x", "éé", "AAAA", "MjAyNg=="])
def test_a_made_up_cursor_is_refused(connection: Connection, cursor: str) -> None:
    with pytest.raises(store.CursorInvalid):
        store.list_versions(connection, cursor=cursor)


def test_promoting_to_production_retires_the_version_before(
    connection: Connection, make_version: Callable[..., ModelVersion]
) -> None:
    old, new = make_version("1", Status.PRODUCTION), make_version("2", Status.CANARY)
    change = store.change_status(connection, new.model_id, Status.PRODUCTION, actor="ops_john")
    assert change.retired is not None
    assert (change.retired.model_id, change.retired.status) == (old.model_id, Status.RETIRED)
    assert store.production_of(connection, "fraud_score") == change.version
    assert change.before is Status.CANARY


def test_promoting_the_retired_version_again_is_the_way_back(
    connection: Connection, make_version: Callable[..., ModelVersion]
) -> None:
    old = make_version("1", Status.PRODUCTION)
    make_version("2", Status.PRODUCTION)
    change = store.change_status(
        connection, old.model_id, Status.PRODUCTION, actor="ops_john", reason="too many blocks"
    )
    assert store.production_of(connection, "fraud_score") == change.version
    assert change.retired is not None
    assert change.retired.version == "2"


def test_a_product_without_production_has_none(connection: Connection) -> None:
    assert store.production_of(connection, "fraud_score") is None


def test_asking_for_the_status_it_has_changes_nothing(
    connection: Connection, make_version: Callable[..., ModelVersion]
) -> None:
    made = make_version("1", Status.PRODUCTION)
    rows = len(audit.history(connection))
    assert store.change_status(connection, made.model_id, Status.PRODUCTION, actor="tests").version == made
    assert len(audit.history(connection)) == rows


def test_the_production_version_is_not_archived(
    connection: Connection, make_version: Callable[..., ModelVersion]
) -> None:
    made = make_version("1", Status.PRODUCTION)
    with pytest.raises(store.StatusChangeRefused, match="promote another version of fraud_score to production first"):
        store.change_status(connection, made.model_id, Status.ARCHIVED, actor="tests")


@pytest.mark.parametrize("rollout", ["running", "paused"])
@pytest.mark.parametrize("target", [Status.ARCHIVED, Status.STAGING])
def test_the_canary_of_a_live_rollout_is_not_taken_away(
    connection: Connection,
    make_version: Callable[..., ModelVersion],
    start_rollout: Callable[..., None],
    rollout: str,
    target: Status,
) -> None:
    production, canary = make_version("1", Status.PRODUCTION), make_version("2", Status.CANARY)
    start_rollout(canary, production, rollout)
    with pytest.raises(
        store.StatusChangeRefused, match=f"a {rollout} rollout uses it; POST /v1/canary/fraud_score/stop"
    ):
        store.change_status(connection, canary.model_id, target, actor="tests")


def test_a_stopped_rollout_holds_nobody(
    connection: Connection, make_version: Callable[..., ModelVersion], start_rollout: Callable[..., None]
) -> None:
    production, canary = make_version("1", Status.PRODUCTION), make_version("2", Status.CANARY)
    start_rollout(canary, production, "stopped")
    change = store.change_status(connection, canary.model_id, Status.ARCHIVED, actor="tests")
    assert change.version.status is Status.ARCHIVED


def test_a_canary_is_promoted_while_its_rollout_runs_and_the_old_archived_after_the_stop(
    connection: Connection, make_version: Callable[..., ModelVersion], start_rollout: Callable[..., None]
) -> None:
    old, canary = make_version("1", Status.PRODUCTION), make_version("2", Status.CANARY)
    start_rollout(canary, old)
    store.change_status(connection, canary.model_id, Status.PRODUCTION, actor="tests")
    with pytest.raises(store.StatusChangeRefused, match="running rollout"):
        store.change_status(connection, old.model_id, Status.ARCHIVED, actor="tests")
    connection.execute("UPDATE sira_canary_config SET status = 'stopped'")
    change = store.change_status(connection, old.model_id, Status.ARCHIVED, actor="tests")
    assert change.version.status is Status.ARCHIVED


def test_workers_load_production_and_the_canaries_of_live_rollouts(
    connection: Connection, make_version: Callable[..., ModelVersion], start_rollout: Callable[..., None]
) -> None:
    production, canary = make_version("1", Status.PRODUCTION), make_version("2", Status.CANARY)
    make_version("3", Status.CANARY)
    other = make_version("1", Status.PRODUCTION, product="card_ulb")
    assert store.serving_versions(connection) == (other, production)
    start_rollout(canary, production, "paused")
    assert store.serving_versions(connection) == (other, production, canary)


def test_a_version_that_is_canary_and_production_is_loaded_once(
    connection: Connection, make_version: Callable[..., ModelVersion], start_rollout: Callable[..., None]
) -> None:
    old, canary = make_version("1", Status.PRODUCTION), make_version("2", Status.CANARY)
    start_rollout(canary, old)
    promoted = store.change_status(connection, canary.model_id, Status.PRODUCTION, actor="tests").version
    assert store.serving_versions(connection) == (promoted,)


def test_two_promotions_at_once_leave_one_production_version(
    connection: Connection, make_version: Callable[..., ModelVersion], database_url: str
) -> None:
    make_version("0", Status.PRODUCTION)
    contenders = [make_version(str(number)) for number in range(1, 5)]
    start = threading.Barrier(len(contenders))
    failures: list[Exception] = []

    def promote(model_id: str) -> None:
        try:
            with connect(database_url, name="tests") as own:
                start.wait(10)
                store.change_status(own, model_id, Status.PRODUCTION, actor=model_id)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=promote, args=(version.model_id,)) for version in contenders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert failures == []
    page = store.list_versions(connection, status=Status.RETIRED)
    assert page.total == len(contenders)
    assert isinstance(audit.verify(connection), audit.Intact)


def test_the_allowed_changes_are_those_of_the_database(
    connection: Connection, make_version: Callable[..., ModelVersion]
) -> None:
    make_version("1")
    changed = "UPDATE siramodel_registry SET status = %s"
    allowed: dict[Status, set[Status]] = {status: set() for status in Status}
    for before, target in pairs_of(Status, Status):
        with connection.transaction(force_rollback=True):
            # The guard would not let a version begin where this test wants it to.
            connection.execute("ALTER TABLE siramodel_registry DISABLE TRIGGER siramodel_registry_guard")
            connection.execute(changed, (before,))
            connection.execute("ALTER TABLE siramodel_registry ENABLE TRIGGER siramodel_registry_guard")
            with contextlib.suppress(psycopg.errors.RaiseException), connection.transaction():
                connection.execute(changed, (target,))
                allowed[before].add(target)
    assert allowed == {before: targets | {before} for before, targets in ALLOWED_CHANGES.items()}


@pytest.mark.parametrize(
    ("before", "target", "remedy"),
    [
        (Status.STAGING, Status.RETIRED, "from staging it may become archived, canary, production"),
        (Status.ROLLED_BACK, Status.PRODUCTION, "from rolled_back it may become archived, staging"),
        (Status.ARCHIVED, Status.STAGING, "archived is final: register a new version"),
        (Status.PRODUCTION, Status.RETIRED, "promote another version of fraud_score to production first"),
    ],
)
def test_a_change_that_is_not_allowed_says_what_is(
    connection: Connection, make_version: Callable[..., ModelVersion], before: Status, target: Status, remedy: str
) -> None:
    made = make_version("1", before)
    with pytest.raises(store.StatusChangeRefused, match=remedy):
        store.change_status(connection, made.model_id, target, actor="tests")


def test_each_change_is_in_the_audit_chain_with_its_actor_and_reason(
    connection: Connection, make_version: Callable[..., ModelVersion]
) -> None:
    made = make_version("1", Status.PRODUCTION)
    second = make_version("2")
    store.change_status(connection, second.model_id, Status.PRODUCTION, actor="ops_john", reason="better recall")
    identity = {"product": "fraud_score", "name": "gradient"}
    promoted, retired, *_ = audit.history(connection)
    assert (promoted.actor, promoted.action, promoted.subject, promoted.reason) == (
        "ops_john",
        "model.status_changed",
        second.model_id,
        "better recall",
    )
    assert promoted.before == {"status": "staging", "version": "2", **identity}
    assert promoted.after == {"status": "production", "version": "2", **identity}
    assert (retired.subject, retired.after["status"]) == (made.model_id, "retired")


def test_a_rolled_back_transaction_leaves_no_trace(
    connection: Connection, make_version: Callable[..., ModelVersion], new_version: Callable[..., NewVersion]
) -> None:
    make_version("1")
    store.insert_version(connection, new_version("2"), actor="tests")
    connection.rollback()
    assert store.list_versions(connection).total == 1
    assert len(audit.history(connection)) == 1


def test_the_service_role_may_register_and_promote_but_not_rewrite_a_version(
    connection: Connection, new_version: Callable[..., NewVersion]
) -> None:
    connection.execute("SET ROLE sira_service")
    made, _ = store.insert_version(connection, new_version("1"), actor="tests")
    store.change_status(connection, made.model_id, Status.PRODUCTION, actor="tests")
    assert store.serving_versions(connection)[0].model_id == made.model_id
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute("UPDATE siramodel_registry SET thresholds = '{}'")
