"""Count what the fields of new events look like, and say which have changed. Runs in the controller, never in a worker.

The log is only added to, so that the newest rows are the last blocks of today's partition: they are read by their
position, without an index. At high rates a look reads MAX_BLOCKS of them, evenly spread, which makes it a sample.
"""

import logging
from collections import defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from monitoring import profile_store as store
from monitoring.field_alarms import MIN_EVENTS, FieldState, field_state
from monitoring.profile import FieldCounts, LoggedPayload, baselines_of, count_fields
from monitoring.profile_store import Baseline, LogPosition, Profile
from registry.artifacts import ArtifactError, ArtifactStore
from registry.model_version import ModelVersion, Status
from registry.reference import REFERENCE_SUFFIX, ReferenceCorrupt, ReferenceRows
from registry.store import serving_versions
from runtime import metrics
from runtime.postgres import Connection

log = logging.getLogger("sira.monitoring.profiler")

LOOK_SECONDS = 15
# About 4,000 events of a few fields: all of them up to 250 a second.
MAX_BLOCKS = 300
# A sample is read in so many places, because one sender's events of a moment may lie together.
PLACES = 10
# Events of the first full day that make a baseline, at most and at least.
BASELINE_EVENTS, MIN_BASELINE_EVENTS = 5_000, 1_000
HOUR = timedelta(hours=1)
NEWEST = timedelta(minutes=5)


class Profiler:
    """One per controller. `folder` keeps the reference rows that were fetched."""

    def __init__(self, artifacts: ArtifactStore, folder: Path) -> None:
        self._artifacts = artifacts
        self._folder = folder
        self._baselines: dict[str, Baseline] = {}
        self._shown: set[tuple[str, str, str]] = set()
        # What this controller counted in the last minutes, by version: a fault late in an hour must not be diluted.
        self._newest: dict[str, deque[tuple[datetime, Mapping[str, FieldCounts]]]] = defaultdict(deque)

    def look(self, connection: Connection) -> int:
        """Count the events since the last look and publish the alarms; return how many events were counted."""
        if not store.profiles_exist(connection):
            return 0
        counted = 0
        with connection.transaction():
            may_count, now = store.lock_profiles(connection)
            versions = [v for v in serving_versions(connection) if v.status is Status.PRODUCTION]
            if may_count:
                self._make_baselines(connection, versions, now)
                counted = self._count(connection, now)
            states = {version.product: self._states(connection, version, now) for version in versions}
        self._publish(states)
        return counted

    def _make_baselines(self, connection: Connection, versions: Iterable[ModelVersion], now: datetime) -> None:
        for version in versions:
            if self._baseline(connection, version.model_id) is not None:
                continue
            rows = self._reference_payloads(version)
            source: store.BaselineSource = "reference"
            if rows is None:
                rows, source = _first_day(connection, version, now), "log"
            if rows:
                fields = baselines_of(version.signature, rows)
                store.insert_baseline(connection, version.model_id, source, fields)
                log.info("input_baseline_made", extra={"model_id": version.model_id, "source": source})

    def _baseline(self, connection: Connection, model_id: str) -> Baseline | None:
        if model_id not in self._baselines and (found := store.baseline(connection, model_id)) is not None:
            self._baselines[model_id] = found
        return self._baselines.get(model_id)

    def _reference_payloads(self, version: ModelVersion) -> list[LoggedPayload] | None:
        """Return the payloads of the version's reference rows; None when it has none, or none can be had now."""
        reference = version.reference
        if reference is None:
            return None
        try:
            path = self._artifacts.fetch(
                reference.key, reference.sha256, reference.size_bytes, self._folder, suffix=REFERENCE_SUFFIX
            )
            return [row.payload for row in ReferenceRows.from_bytes(path.read_bytes()).rows]
        except (ArtifactError, ReferenceCorrupt) as error:
            log.warning(
                "reference_rows_unreadable", extra={"model_id": version.model_id, "error": type(error).__name__}
            )
            return []

    def _count(self, connection: Connection, now: datetime) -> int:
        today = now.astimezone(UTC).date()
        newest = store.log_blocks(connection, today)
        last = store.position(connection)
        start = LogPosition(today, 0, 0) if last is None or last.day != today else last
        events = [
            event
            for since, end in places_to_read(start.block, newest)
            for event in store.events_between(connection, max(start, LogPosition(today, since, 0)), end)
        ]
        groups: dict[tuple[str, str, datetime], list[LoggedPayload]] = defaultdict(list)
        for event in events:
            groups[event.product, event.model_id, event.hour].append(event.payload)
        for (product, model_id, hour), payloads in groups.items():
            if (baseline := self._baseline(connection, model_id)) is not None:
                counts = count_fields(baseline.fields, payloads)
                store.add_counts(connection, product, model_id, hour, counts)
                if now - hour < 2 * HOUR:  # not the backlog of an outage
                    self._newest[model_id].append((now, counts))
        store.store_position(connection, events[-1].position if events else start)
        return len(events)

    def _states(self, connection: Connection, version: ModelVersion, now: datetime) -> Sequence[FieldState]:
        baseline = self._baseline(connection, version.model_id)
        if baseline is None:
            return ()
        newest = self._newest_counts(version.model_id, now)
        states = list(field_states(connection, version, baseline, now))
        states += [field_state(name, counts, baseline.fields[name]) for name, counts in newest.items()]
        return states

    def _newest_counts(self, model_id: str, now: datetime) -> dict[str, FieldCounts]:
        """Return the counts of the last NEWEST minutes."""
        looks = self._newest[model_id]
        while looks and now - looks[0][0] > NEWEST:
            looks.popleft()
        total: dict[str, FieldCounts] = {}
        for _, counts in looks:
            for name, added in counts.items():
                total[name] = total.get(name, FieldCounts()) + added
        return total

    def _publish(self, states: dict[str, Sequence[FieldState]]) -> None:
        firing = {
            (product, state.field, alarm)
            for product, fields in states.items()
            for state in fields
            for alarm in state.alarms
        }
        for key in sorted(self._shown | firing):
            if (key in firing) != (key in self._shown):
                event = "field_changed" if key in firing else "field_normal_again"
                log.warning(event, extra=dict(zip(("product", "field", "alarm"), key, strict=True)))
            metrics.field_alarm.labels(*key).set(key in firing)
        self._shown = {*firing}


def places_to_read(first: int, end: int) -> list[tuple[int, int]]:
    """Return the blocks to read of those from `first` to before `end`, as ranges of that form.

    All of them, or MAX_BLOCKS in PLACES ranges at equal distances, of which the last ends at `end`.
    """
    if end - first <= MAX_BLOCKS:
        return [(first, end)]
    length = MAX_BLOCKS // PLACES
    ends = [first + (end - first) * place // PLACES for place in range(1, PLACES + 1)]
    return [(end - length, end) for end in ends]


def field_states(
    connection: Connection, version: ModelVersion, baseline: Baseline, now: datetime
) -> Sequence[FieldState]:
    """Return the fields of the present hour, and of the one before while the present one has few events."""
    hour = now.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    counts = _recent(store.profile(connection, version.product, version.model_id, hour - HOUR), hour)
    return [field_state(name, counts.get(name, FieldCounts()), usual) for name, usual in baseline.fields.items()]


def _recent(profile: Profile, hour: datetime) -> dict[str, FieldCounts]:
    present = profile.get(hour, {})
    if max((counts.events for counts in present.values()), default=0) >= MIN_EVENTS:
        return present
    before = profile.get(hour - HOUR, {})
    return {name: present.get(name, FieldCounts()) + before.get(name, FieldCounts()) for name in {*present, *before}}


def _first_day(connection: Connection, version: ModelVersion, now: datetime) -> list[LoggedPayload]:
    """Return events of the version's first full day, once it is over; none while there are too few."""
    found = store.first_full_day(connection, version.model_id)
    if found is None or found[0] >= now.astimezone(UTC).date() or found[1] < MIN_BASELINE_EVENTS:
        return []
    day, events = found
    return store.sampled_events(connection, version.model_id, day, min(100.0, 100.0 * BASELINE_EVENTS / events))
