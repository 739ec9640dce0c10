"""The breaker between the guard, the operators and the log, on a real Postgres."""

from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from monitoring.breaker.store import (
    BreakerProductUnknown,
    BreakerUnavailable,
    breakers,
    downgraded,
    follow_guard,
    set_breaker,
)
from monitoring.watch import Watch
from registry import audit
from runtime.postgres import Connection, connect
from scoring.log.prediction import copy_text
from scoring.log.store import prepare_shipping, ship
from scoring.models.store import tripped_breakers
from tests.integration.monitoring.test_watch import Answer, look_later
from tests.support.log_rows import prediction

SetBreaker = Callable[..., None]


@pytest.fixture
def set_one(connection: Connection) -> SetBreaker:
    connection.execute(
        "INSERT INTO siramodel_registry (product, name, version, storage_s3_key, sha256, size_bytes, signature,"
        " thresholds) VALUES ('cards', 'm', '1', 'k', repeat('a', 64), 1, '{}', '{\"review\": 0.5, \"block\": 0.9}')"
    )

    def set_it(enabled: bool = True, share: float | None = None) -> None:
        with connection.transaction():
            set_breaker(
                connection,
                "cards",
                enabled=enabled,
                max_block_share=share,
                quiet_seconds=60,
                actor="amina",
                reason=None,
            )

    return set_it


def tripped(connection: Connection) -> bool:
    return tripped_breakers(connection) == {"cards"}


@pytest.mark.usefixtures("history")
def test_it_trips_when_the_guard_fires_above_the_limit_and_is_lifted_after_the_quiet_time(
    connection: Connection,
    answer: Answer,
    set_one: SetBreaker,
) -> None:
    set_one()
    watch = Watch()
    answer(1_000, 10)
    watch.look(connection)
    answer(1_400, 600)
    look_later(connection, watch)
    assert tripped(connection)
    for _ in range(12):
        answer(1_980, 20)
        look_later(connection, watch)
    assert tripped(connection)
    connection.execute("UPDATE sira_breaker SET quiet_since = quiet_since - interval '60 s'")
    answer(1_980, 20)
    look_later(connection, watch)
    assert not tripped(connection)
    actions = [(row.action, row.actor) for row in audit.history(connection, subject="cards")]
    assert actions == [("breaker.lifted", "sira-guard"), ("breaker.tripped", "sira-guard"), ("breaker.set", "amina")]


@pytest.mark.usefixtures("history")
def test_a_share_below_the_limit_a_disabled_breaker_and_a_product_without_one_do_not_trip(
    connection: Connection,
    answer: Answer,
    set_one: SetBreaker,
) -> None:
    watch = Watch()
    answer(1_000, 10)
    watch.look(connection)
    answer(1_400, 600)
    look_later(connection, watch)
    assert not tripped(connection)
    set_one(share=0.5)
    answer(1_400, 600)
    look_later(connection, watch)
    assert not tripped(connection)
    set_one(enabled=False, share=0.0)
    answer(1_400, 600)
    look_later(connection, watch)
    assert not tripped(connection)


@pytest.mark.usefixtures("history")
def test_the_guard_goes_on_to_count_what_the_model_decides(
    connection: Connection,
    database_url: str,
    answer: Answer,
    set_one: SetBreaker,
) -> None:
    set_one()
    rows = [prediction(f"e{i}", score=0.95, decision="review") for i in range(300)]
    rows += [prediction(f"r{i}", score=0.6, decision="review") for i in range(20)]
    with connect(
        connection.info.dsn + f" password={connection.info.password}", name="tests", autocommit=True
    ) as shipping:
        prepare_shipping(shipping)
        answer(1_000)
        watch = Watch()
        watch.look(connection)
        with shipping.transaction():
            ship(shipping, {"predictions": [copy_text(rows)]})
    look_later(connection, watch)
    counted = connection.execute("SELECT requests, reviewed, blocked FROM sira_production_decisions").fetchall()
    assert counted == [(320, 20, 300)]
    hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    assert set(downgraded(connection, ["cards"], [hour]).values()) <= {300}
    decided = connection.execute(
        "SELECT p.decision, p.decision_model, count(*) FROM sira_predictions p GROUP BY 1, 2 ORDER BY 3"
    ).fetchall()
    assert decided == [("review", "review", 20), ("review", "block", 300)]
    assert connection.execute("SELECT count(*) FROM v_downgraded_predictions").fetchone() == (300,)


def test_what_the_model_decided_is_known_of_every_row(connection: Connection) -> None:
    prepare_shipping(connection)
    rows = [
        prediction(str(score), score=score, decision=None if score is None else "allow", outcome="ok")
        for score in (0.0, 0.5, 0.8999999999999999, 0.9, 1.0, None)
    ]
    with connection.transaction():
        ship(connection, {"predictions": [copy_text(rows)]})
    found = connection.execute("SELECT p.decision_model FROM sira_predictions p ORDER BY score NULLS LAST").fetchall()
    assert [decision for (decision,) in found] == ["allow", "review", "review", "block", "block", None]


def test_a_product_without_a_version_has_no_breaker(connection: Connection) -> None:
    with pytest.raises(BreakerProductUnknown, match="'cards' is registered"):
        set_breaker(connection, "cards", enabled=True, max_block_share=None, quiet_seconds=None, actor="a", reason=None)


def test_without_the_migration_nothing_trips_and_an_operator_is_informed(
    connection: Connection,
    set_one: SetBreaker,
) -> None:
    connection.execute("DROP TABLE sira_breaker")
    assert (breakers(connection), tripped_breakers(connection)) == ((), frozenset())
    assert follow_guard(connection, {"cards": True}, datetime.now(UTC)) == 0
    with pytest.raises(BreakerUnavailable, match="006_breaker"):
        set_one()
