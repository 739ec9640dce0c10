"""The serving snapshot follows the registry; whatever fails, the old model serves on and the reason is kept."""

import os
import shutil
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest

from canary.split import choose_arm
from lab.postgres import LocalPostgres
from registry.artifacts import ArtifactStore, open_store
from registry.model_version import ModelVersion, Status
from registry.store import change_status
from runtime.postgres import Connection, connect
from scoring.models import sync
from scoring.models.slots import ModelSlots, Snapshot
from scoring.models.sync import ModelSync
from tests.support.database_away import away
from tests.support.log_rows import wait_until
from tests.support.table_model import table_model

Register = Callable[..., ModelVersion]
StartRollout = Callable[..., str]

FIRST, SECOND, THIRD = (table_model([0.1, score]) for score in (0.2, 0.3, 0.4))


class Following:
    """A running ModelSync and what it serves."""

    def __init__(self, store: ArtifactStore, folder: Path, database_url: str, poll_seconds: float) -> None:
        self.slots = ModelSlots()
        self.sync = ModelSync(self.slots, store, folder, database_url, poll_seconds=poll_seconds)
        self.sync.start()

    @property
    def snapshot(self) -> Snapshot:
        return self.slots.current()

    def serves(self, version: ModelVersion, product: str = "cards") -> bool:
        slot = self.snapshot.products.get(product)
        return slot is not None and slot.production.version.model_id == version.model_id

    def canary(self, product: str = "cards") -> str | None:
        slot = self.snapshot.products.get(product)
        return slot.rollout.canary.version.model_id if slot and slot.rollout else None


@pytest.fixture
def follow(artifacts: ArtifactStore, tmp_path: Path, database_url: str) -> Iterator[Callable[..., Following]]:
    """`follow()`: a worker's sync, stopped at the end. It polls once in a minute: NOTIFY must wake it."""
    running: list[Following] = []

    def start(store: ArtifactStore | None = None, poll_seconds: float = 60.0, folder: str = "models") -> Following:
        running.append(Following(store or artifacts, tmp_path / folder, database_url, poll_seconds))
        return running[-1]

    yield start
    for following in running:
        following.sync.stop(10)


def promote(connection: Connection, version: ModelVersion, to: Status = Status.PRODUCTION) -> None:
    with connection.transaction():
        change_status(connection, version.model_id, to, actor="tests")


def test_every_product_is_loaded_and_then_it_has_synced_once(
    register: Register, follow: Callable[..., Following]
) -> None:
    cards, wallets = register(FIRST), register(SECOND, product="wallets")
    register(THIRD, "9", Status.STAGING)
    following = follow()
    assert following.sync.synced_once.wait(15)
    assert set(following.snapshot.products) == {"cards", "wallets"}
    assert following.serves(cards)
    assert following.serves(wallets, "wallets")
    assert (following.snapshot.waiting, following.snapshot.faults) == ({}, {})


def test_an_empty_registry_is_synced_too(database_url: str, follow: Callable[..., Following]) -> None:
    following = follow()
    assert following.sync.synced_once.wait(15)
    assert following.snapshot.synced


def test_a_promotion_is_served_within_a_second_and_the_way_back_too(
    connection: Connection, register: Register, follow: Callable[..., Following]
) -> None:
    first, second = register(FIRST), register(SECOND, "2", Status.STAGING)
    following = follow()
    assert following.sync.synced_once.wait(15)
    for version in (second, first):
        started = time.monotonic()
        promote(connection, version)
        assert wait_until(lambda version=version: following.serves(version), 5)  # type: ignore[misc]
        assert time.monotonic() - started < 1


def test_a_product_that_appears_is_served_and_one_without_production_is_gone(
    connection: Connection, register: Register, follow: Callable[..., Following]
) -> None:
    register(FIRST)
    following = follow()
    assert following.sync.synced_once.wait(15)
    wallets = register(SECOND, product="wallets")
    assert wait_until(lambda: following.serves(wallets, "wallets"), 5)
    connection.execute("UPDATE siramodel_registry SET status = 'retired' WHERE product = 'cards'")
    assert wait_until(lambda: set(following.snapshot.products) == {"wallets"}, 5)


# ---------------------------------------------------------------- artifacts that cannot be had


def corrupt(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1])


@pytest.mark.parametrize(
    ("harm", "reason"),
    [(corrupt, "ArtifactCorrupt"), (truncate, "ArtifactCorrupt"), (Path.unlink, "ArtifactMissing")],
)
def test_while_the_new_model_s_artifact_cannot_be_had_the_old_model_serves_on(
    connection: Connection,
    register: Register,
    follow: Callable[..., Following],
    tmp_path: Path,
    harm: Callable[[Path], Any],
    reason: str,
) -> None:
    first, second = register(FIRST), register(SECOND, "2", Status.STAGING)
    following = follow(poll_seconds=0.5)
    assert following.sync.synced_once.wait(15)
    stored = tmp_path / "artifacts" / second.storage_s3_key
    shutil.copy(stored, tmp_path / "good")
    harm(stored)
    promote(connection, second)
    assert wait_until(lambda: bool(following.snapshot.faults), 10)
    assert following.snapshot.faults == {"cards": f"model {second.model_id} is not loaded: {reason}"}
    assert following.serves(first)
    shutil.copy(tmp_path / "good", stored)
    assert wait_until(lambda: following.serves(second), 10), "once the artifact is back, so is the model"
    assert following.snapshot.faults == {}


def test_a_cached_artifact_that_was_changed_on_disk_is_fetched_again(
    register: Register, follow: Callable[..., Following], tmp_path: Path
) -> None:
    version = register(FIRST)
    first = follow()
    assert first.sync.synced_once.wait(15)
    (cached,) = (tmp_path / "models").glob("*.onnx")
    corrupt(cached)
    second = follow()
    assert second.sync.synced_once.wait(15)
    assert second.serves(version)
    assert cached.read_bytes() == FIRST


def test_a_model_that_cannot_be_loaded_never_serves(
    connection: Connection, register: Register, follow: Callable[..., Following]
) -> None:
    first, broken = register(FIRST), register(b"registered by hand, past all checks", "2", Status.STAGING)
    following = follow()
    assert following.sync.synced_once.wait(15)
    promote(connection, broken)
    assert wait_until(lambda: bool(following.snapshot.faults), 10)
    assert following.snapshot.faults["cards"].endswith("ModelUnusable")
    assert following.serves(first)


def test_a_product_whose_model_was_never_loaded_waits_with_its_reason_and_the_others_serve(
    register: Register, follow: Callable[..., Following], tmp_path: Path
) -> None:
    cards, wallets = register(FIRST), register(SECOND, product="wallets")
    (tmp_path / "artifacts" / cards.storage_s3_key).unlink()
    following = follow()
    reason = f"model {cards.model_id} is not loaded: ArtifactMissing"
    assert wait_until(lambda: following.snapshot.waiting == {"cards": reason})
    assert wait_until(lambda: following.serves(wallets, "wallets"))
    assert not following.sync.synced_once.is_set()


@pytest.fixture
def denied(s3: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Makes AWS_* the keys of someone S3 does not know."""
    return lambda: monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIANOBODYKNOWSTHISKEY")


def test_while_s3_denies_access_the_old_model_serves_on(
    s3: Any,
    denied: Callable[[], None],
    connection: Connection,
    register: Register,
    follow: Callable[..., Following],
) -> None:
    allowed = open_store(s3.url)
    first = register(FIRST, into=allowed)
    second = register(SECOND, "2", Status.STAGING, into=allowed)
    following = follow(allowed)
    assert following.sync.synced_once.wait(20)
    denied()
    refused = follow(open_store(s3.url), folder="models", poll_seconds=1)
    assert wait_until(lambda: refused.serves(first), 20), "what is on disk needs no S3"
    promote(connection, second)
    assert wait_until(lambda: following.serves(second), 20)
    # The first worker has put the file into the folder both share; without it S3 is asked, and refuses.
    third = register(THIRD, "3", Status.STAGING, into=allowed)
    alone = follow(open_store(s3.url), folder="of its own", poll_seconds=1)
    promote(connection, third)
    reason = f"model {third.model_id} is not loaded: AccessDenied"
    assert wait_until(lambda: alone.snapshot.waiting == {"cards": reason}, 20)


# ---------------------------------------------------------------- rollouts


def test_a_rollout_is_routed_as_its_row_says_and_ends_with_it(
    connection: Connection, register: Register, start_rollout: StartRollout, follow: Callable[..., Following]
) -> None:
    production = register(FIRST)
    canary = register(SECOND, "2", Status.CANARY)
    following = follow()
    assert following.sync.synced_once.wait(15)
    rollout_id = start_rollout(canary, production, 30.0, timeout_seconds=0.5)
    assert wait_until(lambda: following.canary() == canary.model_id, 5)
    rollout = following.snapshot.products["cards"].rollout
    assert rollout is not None
    assert (rollout.rollout_id, rollout.phase, rollout.split.percent) == (rollout_id, 0, 30.0)
    assert (rollout.timeout_seconds, rollout.shadow.percent, rollout.same_fields) == (0.5, 0.0, True)
    connection.execute("UPDATE sira_canary_config SET canary_percent = 0, phase = 1")
    assert wait_until(lambda: following.snapshot.products["cards"].rollout.phase == 1, 5)  # type: ignore[union-attr]
    rollout = following.snapshot.products["cards"].rollout
    assert rollout is not None
    assert (rollout.split.percent, rollout.shadow.percent) == (0.0, sync.SHADOW_PERCENT)
    connection.execute("UPDATE sira_canary_config SET status = 'stopped'")
    assert wait_until(lambda: following.canary() is None, 5)


def test_a_download_that_hangs_holds_back_no_other_change(
    connection: Connection,
    register: Register,
    start_rollout: StartRollout,
    follow: Callable[..., Following],
    tmp_path: Path,
) -> None:
    production, canary = register(FIRST), register(SECOND, "2", Status.CANARY)
    start_rollout(canary, production)
    following = follow()
    assert wait_until(lambda: following.canary() == canary.model_id)
    hanging = register(THIRD, "3", Status.STAGING)
    artifact = tmp_path / "artifacts" / hanging.storage_s3_key
    artifact.unlink()
    os.mkfifo(artifact)  # To open it takes someone who writes into it.
    promote(connection, hanging)
    connection.execute("UPDATE sira_canary_config SET status = 'stopped'")
    assert wait_until(lambda: following.canary() is None, 3)
    assert following.serves(production)
    artifact.write_bytes(THIRD)
    assert wait_until(lambda: following.serves(hanging), 5)


def test_every_worker_routes_a_key_to_the_same_arm(
    register: Register, start_rollout: StartRollout, follow: Callable[..., Following]
) -> None:
    production = register(FIRST)
    start_rollout(register(SECOND, "2", Status.CANARY), production, 50.0)
    workers = [follow() for _ in range(2)]
    assert wait_until(lambda: all(worker.canary() is not None for worker in workers))
    arms = [
        [choose_arm(worker.snapshot.products["cards"].rollout.split, f"k{n}") for n in range(500)]  # type: ignore[union-attr]
        for worker in workers
    ]
    assert arms[0] == arms[1]
    assert 180 < arms[0].count("canary") < 320


def test_a_canary_that_was_promoted_answers_as_production_and_no_longer_as_canary(
    connection: Connection, register: Register, start_rollout: StartRollout, follow: Callable[..., Following]
) -> None:
    production, canary = register(FIRST), register(SECOND, "2", Status.CANARY)
    start_rollout(canary, production, 50.0)
    following = follow()
    assert wait_until(lambda: following.canary() == canary.model_id)
    promote(connection, canary)
    assert wait_until(lambda: following.serves(canary), 5)
    assert following.canary() is None


def test_a_canary_that_cannot_be_loaded_gets_no_traffic_and_its_reason_is_reported(
    register: Register, start_rollout: StartRollout, follow: Callable[..., Following], tmp_path: Path
) -> None:
    production, canary = register(FIRST), register(SECOND, "2", Status.CANARY)
    (tmp_path / "artifacts" / canary.storage_s3_key).unlink()
    start_rollout(canary, production)
    following = follow()
    assert following.sync.synced_once.wait(15)
    reason = f"model {canary.model_id} is not loaded: ArtifactMissing"
    assert wait_until(lambda: following.snapshot.faults == {"cards": reason})
    assert following.serves(production)
    assert following.canary() is None


@pytest.mark.parametrize(("seconds", "routed"), [(590, True), (610, False)])
def test_a_canary_that_nobody_has_judged_for_ten_minutes_gets_no_more_traffic(
    connection: Connection,
    register: Register,
    start_rollout: StartRollout,
    follow: Callable[..., Following],
    tmp_path: Path,
    seconds: int,
    routed: bool,
) -> None:
    production, canary = register(FIRST), register(SECOND, "2", Status.CANARY)
    start_rollout(canary, production)
    connection.execute(
        "UPDATE sira_canary_config SET sealed_through = clock_timestamp() - make_interval(secs => %s),"
        " created_at = clock_timestamp() - interval '1 day'",
        (seconds,),
    )
    following = follow()
    assert following.sync.synced_once.wait(15)
    # Loaded in any case: only then is there something to route to, or not.
    assert wait_until(lambda: len(list((tmp_path / "models").glob("*.onnx"))) == 2)
    assert wait_until(lambda: following.canary() is not None, 1) is routed


# ---------------------------------------------------------------- Postgres away


def test_while_postgres_is_away_what_is_loaded_serves_on_and_a_change_is_served_when_it_is_back(
    connection: Connection,
    postgres: LocalPostgres,
    database_url: str,
    register: Register,
    start_rollout: StartRollout,
    follow: Callable[..., Following],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    production, canary = register(FIRST), register(SECOND, "2", Status.CANARY)
    start_rollout(canary, production)
    following = follow(poll_seconds=0.2)
    assert wait_until(lambda: following.canary() == canary.model_id)
    with connect(postgres.url("postgres"), name="tests", autocommit=True) as admin:
        away(admin, database_url, True)
        time.sleep(1)
        assert following.serves(production)
        assert following.canary() == canary.model_id, "for ten minutes the canary's share is held"
        monkeypatch.setattr(sync, "UNJUDGED_SECONDS", 1.0)
        assert wait_until(lambda: following.canary() is None, 10), "then it gets no more"
        assert following.serves(production)
        monkeypatch.undo()
        away(admin, database_url, False)
    with connect(database_url, name="tests", autocommit=True) as back:
        promote(back, canary)
    assert wait_until(lambda: following.serves(canary), 10)
    with pytest.raises(psycopg.OperationalError):
        connection.execute("SELECT 1")


def test_who_starts_while_postgres_is_away_serves_what_was_served_last_and_no_canary(
    postgres: LocalPostgres,
    database_url: str,
    register: Register,
    start_rollout: StartRollout,
    follow: Callable[..., Following],
) -> None:
    production, canary = register(FIRST), register(SECOND, "2", Status.CANARY)
    start_rollout(canary, production)
    before = follow()
    assert wait_until(lambda: before.canary() == canary.model_id)
    with connect(postgres.url("postgres"), name="tests", autocommit=True) as admin:
        away(admin, database_url, True)
        started = follow(poll_seconds=0.2)
        assert started.sync.synced_once.wait(15)
        assert started.serves(production)
        assert started.canary() is None
        assert not started.snapshot.synced, "it knows that the registry has not answered"
        away(admin, database_url, False)
    assert wait_until(lambda: started.snapshot.synced and started.canary() == canary.model_id, 10)


def test_who_starts_on_another_machine_while_postgres_is_away_serves_nothing(
    postgres: LocalPostgres, database_url: str, register: Register, follow: Callable[..., Following]
) -> None:
    production = register(FIRST)
    assert follow().sync.synced_once.wait(15)
    with connect(postgres.url("postgres"), name="tests", autocommit=True) as admin:
        away(admin, database_url, True)
        elsewhere = follow(poll_seconds=0.2, folder="other-models")
        assert not elsewhere.sync.synced_once.wait(1.5)
        away(admin, database_url, False)
    assert wait_until(lambda: elsewhere.serves(production), 10)


def test_after_a_promotion_the_promoted_model_is_what_was_served_last(
    connection: Connection,
    postgres: LocalPostgres,
    database_url: str,
    register: Register,
    follow: Callable[..., Following],
) -> None:
    register(FIRST)
    second = register(SECOND, "2", Status.STAGING)
    before = follow()
    assert before.sync.synced_once.wait(15)
    promote(connection, second)
    assert wait_until(lambda: before.serves(second), 5)
    with connect(postgres.url("postgres"), name="tests", autocommit=True) as admin:
        away(admin, database_url, True)
        started = follow(poll_seconds=0.2)
        assert started.sync.synced_once.wait(15)
        assert started.serves(second)
        away(admin, database_url, False)


def test_a_breaker_that_trips_or_is_lifted_reaches_a_worker_at_once_and_only_its_product(
    connection: Connection, register: Register, follow: Callable[..., Following]
) -> None:
    register(FIRST)
    register(SECOND, product="wallets")
    following = follow()
    assert following.sync.synced_once.wait(15)
    connection.execute(
        "INSERT INTO sira_breaker (product, enabled, max_block_share, quiet_seconds, tripped_at)"
        " VALUES ('cards', true, 0.05, 900, now())"
    )
    assert wait_until(lambda: following.snapshot.products["cards"].breaker, 5)
    assert not following.snapshot.products["wallets"].breaker
    connection.execute("UPDATE sira_breaker SET tripped_at = NULL")
    assert wait_until(lambda: not following.snapshot.products["cards"].breaker, 5)


def test_a_control_group_reaches_a_worker_at_once_with_slots_and_leaves_it_when_it_is_switched_off(
    connection: Connection, register: Register, follow: Callable[..., Following]
) -> None:
    register(FIRST)
    register(SECOND, product="wallets")
    following = follow()
    assert following.sync.synced_once.wait(15)
    connection.execute(
        "INSERT INTO sira_control_group (product, enabled, share, answer, max_per_day, max_amount, amount_field, seed)"
        " VALUES ('cards', true, 0.05, 'review', 100, 50, 'amount', '0123456789abcdef')"
    )
    assert wait_until(lambda: following.snapshot.products["cards"].control is not None, 5)
    control = following.snapshot.products["cards"].control
    assert control is not None
    assert wait_until(lambda: control.slots.left(datetime.now(UTC).date()) == 2, 5)
    assert following.snapshot.products["wallets"].control is None
    connection.execute("UPDATE sira_control_group SET enabled = false")
    assert wait_until(lambda: following.snapshot.products["cards"].control is None, 5)
    following.sync.stop(10)
    assert connection.execute("SELECT taken FROM sira_control_slots").fetchall() == [(0,)]
