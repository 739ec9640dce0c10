"""The profiler reads new events of the log by their position, counts them once, and flags what has changed."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

import msgspec
import numpy as np
import psycopg
import pytest

from monitoring import profile_store, profiler
from monitoring.profile import FieldCounts
from monitoring.profiler import Profiler, field_states
from registry.artifacts import ArtifactStore, open_store
from registry.model_version import ModelVersion, NewVersion, Status, Thresholds
from registry.reference import REFERENCE_SUFFIX, Reference, ReferenceRow, ReferenceRows
from registry.signature import Field, Signature
from registry.store import change_status, insert_version
from runtime import metrics
from runtime.postgres import Connection, connect
from tests.support.log_rows import prediction, ship_rows

PRODUCT = "cards"
SIGNATURE = Signature(
    "columns",
    (Field("amount", "float", nullable=True), Field("currency", "string", nullable=True)),
    "probabilities",
    "zipmap",
)
RNG = np.random.default_rng(20_261_127)
Event = dict[str, float | str | None]


def events(
    n: int, *, scale: float = 1.0, nulls: float = 0.0, currencies: tuple[str, ...] = ("USD", "EUR")
) -> list[Event]:
    return [
        {
            "amount": None if RNG.random() < nulls else scale * float(RNG.lognormal(3.0, 1.0)),
            "currency": str(RNG.choice(currencies)),
        }
        for _ in range(n)
    ]


@pytest.fixture
def connection(database_url: str) -> Iterator[Connection]:
    with connect(database_url, name="tests", autocommit=True) as opened:
        yield opened


@pytest.fixture
def artifacts(tmp_path: Path) -> ArtifactStore:
    return open_store(f"file://{tmp_path / 'artifacts'}")


@pytest.fixture
def version(connection: Connection, artifacts: ArtifactStore, tmp_path: Path) -> Callable[..., ModelVersion]:
    """`version(events)` is in production, with these as its reference rows; without any when there are none."""

    def make(rows: list[Event]) -> ModelVersion:
        reference = None
        if rows:
            content = ReferenceRows(tuple(ReferenceRow(row, 0.1) for row in rows)).to_bytes()
            digest = sha256(content).hexdigest()
            (tmp_path / "rows").write_bytes(content)
            key = artifacts.put(tmp_path / "rows", digest, suffix=REFERENCE_SUFFIX)
            reference = Reference(key, digest, len(content), len(rows), len(rows), 0, 1e-4, 0.0)
        new = NewVersion(
            PRODUCT, "gradient", "1", "sha256/a.onnx", "a" * 64, 1, SIGNATURE, Thresholds(0.5, 0.9), {}, reference
        )
        with connection.transaction():
            made, _ = insert_version(connection, new, actor="tests")
            return change_status(connection, made.model_id, Status.PRODUCTION, actor="tests").version

    return make


@pytest.fixture
def look(connection: Connection, artifacts: ArtifactStore, tmp_path: Path) -> Callable[[], int]:
    counting = Profiler(artifacts, tmp_path / "fetched")
    (tmp_path / "fetched").mkdir()
    return lambda: counting.look(connection)


@pytest.fixture
def log(database_url: str) -> Callable[..., None]:
    """`log(version, events)` ships them as answers of the version; `at` is another time than now."""
    numbers = iter(range(10_000_000))

    def ship(answered: ModelVersion, rows: list[Event], at: datetime | None = None) -> None:
        when = (at or datetime.now(UTC)).timestamp()
        ship_rows(
            database_url,
            [
                prediction(
                    f"e{next(numbers)}",
                    product=PRODUCT,
                    model_id=answered.model_id,
                    payload=msgspec.json.encode(row, order="sorted").decode(),
                    created_at=when,
                )
                for row in rows
            ],
        )

    return ship


@pytest.fixture
def small_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    """A look samples a log of 2,000 events."""
    monkeypatch.setattr(profiler, "MAX_BLOCKS", 10)


def alarms(connection: Connection, version: ModelVersion) -> dict[str, tuple[str, ...]]:
    baseline = profile_store.baseline(connection, version.model_id)
    assert baseline is not None
    states = field_states(connection, version, baseline, datetime.now(UTC))
    return {state.field: state.alarms for state in states}


def totals(connection: Connection, version: ModelVersion, field: str = "amount") -> FieldCounts:
    hours = profile_store.profile(connection, PRODUCT, version.model_id, datetime.now(UTC) - timedelta(hours=2))
    return sum((fields[field] for fields in hours.values()), FieldCounts())


def test_every_event_is_counted_once(
    version: Callable[..., ModelVersion], log: Callable[..., None], look: Callable[[], int], connection: Connection
) -> None:
    serving = version(events(300))
    assert look() == 0
    for batch in (10, 0, 700):
        log(serving, events(batch))
        assert look() == batch
    assert totals(connection, serving).events == 710


def test_a_healthy_field_is_silent_and_changed_ones_are_flagged(
    version: Callable[..., ModelVersion], log: Callable[..., None], look: Callable[[], int], connection: Connection
) -> None:
    serving = version(events(1_000))
    log(serving, events(3_000))
    look()
    assert alarms(connection, serving) == {"amount": (), "currency": ()}
    log(serving, events(2_000, nulls=0.3, currencies=("USD", "XAU")))
    look()
    assert alarms(connection, serving) == {"amount": ("missing",), "currency": ("unseen", "drift")}
    published = metrics.field_alarm.labels(PRODUCT, "amount", "missing")._value.get()
    assert published == 1.0


def test_a_fault_late_in_an_hour_is_not_diluted(
    version: Callable[..., ModelVersion],
    log: Callable[..., None],
    look: Callable[[], int],
    connection: Connection,
    artifacts: ArtifactStore,
    tmp_path: Path,
) -> None:
    serving = version(events(1_000))
    hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    baseline = events(20_000)
    log(serving, baseline[:10_000])
    look()
    counts = profile_store.profile(connection, PRODUCT, serving.model_id, hour)[hour]
    for _ in range(10):
        profile_store.add_counts(connection, PRODUCT, serving.model_id, hour, counts)
    log(serving, events(1_500, scale=100.0))
    Profiler(artifacts, tmp_path / "fetched").look(connection)
    assert alarms(connection, serving)["amount"] == ()
    assert metrics.field_alarm.labels(PRODUCT, "amount", "drift")._value.get() == 1.0


def test_a_backlog_of_hours_ago_flags_nothing_now(
    version: Callable[..., ModelVersion], log: Callable[..., None], look: Callable[[], int], connection: Connection
) -> None:
    serving = version(events(1_000))
    metrics.field_alarm.labels(PRODUCT, "amount", "drift").set(0)
    log(serving, events(1_500, scale=100.0), at=datetime.now(UTC) - timedelta(hours=3))
    look()
    assert metrics.field_alarm.labels(PRODUCT, "amount", "drift")._value.get() == 0.0


def test_amounts_in_cents_are_flagged_as_drift(
    version: Callable[..., ModelVersion], log: Callable[..., None], look: Callable[[], int], connection: Connection
) -> None:
    serving = version(events(1_000))
    log(serving, events(1_000, scale=100.0))
    look()
    assert alarms(connection, serving)["amount"] == ("drift",)


@pytest.mark.usefixtures("small_samples")
def test_of_many_new_events_a_sample_is_counted_once(
    version: Callable[..., ModelVersion],
    log: Callable[..., None],
    look: Callable[[], int],
    connection: Connection,
) -> None:
    serving = version(events(100))
    log(serving, events(2_000))
    counted = look()
    assert 100 < counted < 400
    assert look() == 0
    assert totals(connection, serving).events == counted


@pytest.mark.usefixtures("small_samples")
def test_a_sample_has_events_of_every_moment_since_the_last_look(
    version: Callable[..., ModelVersion],
    log: Callable[..., None],
    look: Callable[[], int],
    connection: Connection,
) -> None:
    moments = ("early", "midway", "late")
    serving = version(events(100, currencies=moments))
    for moment in moments:
        log(serving, events(700, currencies=(moment,)))
    counted = look()
    bins = totals(connection, serving, "currency").bins
    assert set(bins) == set(moments)
    assert min(bins.values()) > counted / 6


def test_without_reference_rows_the_first_full_day_is_normal(
    version: Callable[..., ModelVersion], log: Callable[..., None], look: Callable[[], int], connection: Connection
) -> None:
    serving = version([])
    now = datetime.now(UTC)
    for days in (3, 2):
        log(serving, events(1_200), at=now - timedelta(days=days))
    look()
    made = profile_store.baseline(connection, serving.model_id)
    assert made is not None
    assert (made.source, made.fields["amount"].counts.events) == ("log", 1_200)


def test_a_first_day_that_is_not_over_is_no_baseline(
    version: Callable[..., ModelVersion], log: Callable[..., None], look: Callable[[], int], connection: Connection
) -> None:
    serving = version([])
    log(serving, events(1_200))
    look()
    assert profile_store.baseline(connection, serving.model_id) is None


def test_only_one_controller_counts_at_a_time(
    version: Callable[..., ModelVersion],
    log: Callable[..., None],
    look: Callable[[], int],
    connection: Connection,
    database_url: str,
) -> None:
    serving = version(events(100))
    log(serving, events(50))
    with connect(database_url, name="other") as other:
        assert profile_store.lock_profiles(other)[0]
        assert look() == 0
    assert look() == 50


def test_a_database_without_the_migration_is_left_alone(look: Callable[[], int], connection: Connection) -> None:
    connection.execute("DROP TABLE sira_input_profiles")
    assert look() == 0
    assert profile_store.drop_profiles(connection) == 0


def test_the_services_role_may_do_all_of_it(
    version: Callable[..., ModelVersion], log: Callable[..., None], look: Callable[[], int], connection: Connection
) -> None:
    serving = version(events(100))
    log(serving, events(20))
    connection.execute("SET ROLE sira_service")
    assert look() == 20
    assert profile_store.drop_profiles(connection) == 0
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute("DELETE FROM sira_input_baselines")
