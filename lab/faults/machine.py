"""Faults of the machine: a full disk under the spool, and a wrong clock."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from lab.faults import log_store
from lab.faults.deployment import Deployment
from lab.faults.proxy import Behaviour
from lab.faults.scenario import Scenario, ScenarioRun, Unavailable
from lab.faults.volume import Volume
from lab.product import Service
from lab.waiting import wait_until
from scoring.log.segment_supply import RESERVE_BYTES

CANARY_PERCENT = 20.0
PER_SECOND = 400.0
SPOOL_VOLUME_BYTES = 64 << 20
# Larger than the volume; segments are of 1 MiB then.
SPOOL_LIMIT_BYTES = 128 << 20
SPOOL_SPACE_BYTES = 3 << 20
HOUR = 3600
# Rows of the hour ahead come closer during three steps of the clock and the settling.
STEP_TOLERANCE_SECONDS = 300
_FAKETIME = ("/usr/lib/*/faketime/libfaketimeMT.so.1", "/usr/local/lib/faketime/libfaketimeMT.so.1")


def fill_spool_by_outage(run: ScenarioRun) -> None:
    """Postgres is away until the spool's disk, smaller than the spool's limit, is full; then Postgres returns."""
    with _spooling_to_volume(run) as (deployment, service, volume):
        volume.fill(leave_bytes=RESERVE_BYTES + SPOOL_SPACE_BYTES)
        deployment.database.behave(Behaviour(refuse=True))
        _expect_refusals_until(run, service, lambda: deployment.database.behave(Behaviour()))


def fill_spool_disk(run: ScenarioRun) -> None:
    """Another program fills the spool's disk to the last byte, and frees it later; Postgres takes rows meanwhile."""
    with _spooling_to_volume(run) as (_, service, volume):
        volume.fill()
        before, seconds = run.answered(), run.length(full=60, quick=30)
        run.wait(seconds, "the spool's disk is full, and the workers use their segments again and again")
        run.expect_answers_continued(before, seconds, PER_SECOND)
        run.expect_ready(service)
        volume.empty()
    run.expect_no_refusal()


@contextmanager
def _spooling_to_volume(run: ScenarioRun) -> Iterator[tuple[Deployment, Service, Volume]]:
    with Volume(run.folder / "volume", SPOOL_VOLUME_BYTES) as volume, run.deployment() as deployment:
        deployment.start_controller()
        service = deployment.start_service(
            settings={"SPOOL_DIR": str(volume.path), "SPOOL_MAX_BYTES": str(SPOOL_LIMIT_BYTES)}
        )
        deployment.start_canary(service, "2", CANARY_PERCENT)
        with run.load(deployment, service.port, per_second=PER_SECOND):
            run.wait(2.0, "load")
            yield deployment, service, volume
        run.settle(deployment)


def _expect_refusals_until(run: ScenarioRun, service: Service, repair: Callable[[], None]) -> None:
    """Expect 503 and not ready while nothing can be written, and answers without a restart after `repair`."""
    # One worker may still have room in its segments when the other has none.
    wait_until(service.none_ready, 120.0, "the spool's disk is full, and no worker is ready")
    run.wait(run.length(full=30, quick=5), "the spool's disk is full")
    run.expect(set(run.ledger.refused) == {503}, f"refusals are 503, not {dict(run.ledger.refused)}")
    run.expect(service.none_ready(), "no worker is ready")
    repair()
    repaired = time.monotonic()
    wait_until(service.all_ready, 90.0, "every worker is ready again")
    refused = run.ledger.refused.total()
    run.note(f"ready after {time.monotonic() - repaired:.1f} s")
    before = run.answered()
    run.wait(5.0, "load")
    run.expect(run.answered() > before, "it answers again")
    run.expect(run.ledger.refused.total() == refused, "it refuses nothing once it is ready")


def step_clock(run: ScenarioRun) -> None:
    """The service's wall clock jumps an hour ahead, back, an hour behind and back, under load."""
    offset = run.folder / "clock"
    offset.write_text("+0\n")
    with run.deployment() as deployment:
        deployment.start_controller()
        service = deployment.start_service(settings=_faked_clock(offset))
        deployment.start_canary(service, "2", CANARY_PERCENT)
        with run.load(deployment, service.port):
            for step in (0, HOUR, 0, -HOUR, 0):
                offset.write_text(f"{step:+d}\n")
                before, started = run.answered(), time.monotonic()
                run.wait(run.length(full=30, quick=4), f"the clock is {step:+d} s off")
                run.expect_answers_continued(before, time.monotonic() - started)
                run.expect_ready(service)
        run.settle(deployment)
        run.expect_no_refusal()
        with deployment.owner() as connection:
            ahead, behind = log_store.span(connection)
        run.expect(
            min(ahead, behind) > HOUR - STEP_TOLERANCE_SECONDS,
            f"the log contains the steps: {ahead:.0f} s ahead, {behind:.0f} s behind",
        )


def _faked_clock(offset: Path) -> dict[str, str]:
    """Return the environment of a process whose wall clock is off by what the file contains; its monotonic one is not.

    Raises Unavailable.
    """
    found = [path for pattern in _FAKETIME for path in Path("/").glob(pattern[1:])]
    if not found:
        raise Unavailable("a wrong clock needs libfaketime (Debian: faketime)")
    return {
        "LD_PRELOAD": str(found[0]),
        "FAKETIME_TIMESTAMP_FILE": str(offset),
        "FAKETIME_CACHE_DURATION": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "DONT_FAKE_MONOTONIC": "1",
    }


SCENARIOS = (
    Scenario("spool-disk-outage", "spool's disk full: Postgres away too long", fill_spool_by_outage),
    Scenario("spool-disk-others", "spool's disk filled by others", fill_spool_disk),
    Scenario("clock-stepped", "clock of the service an hour ahead, an hour behind", step_clock),
)
