"""The machine under the service: a spool's disk that is full, a clock that is wrong."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from lab.faults import log_store
from lab.faults.proxy import Behaviour
from lab.faults.service import Service, wait_until
from lab.faults.stand import Stand
from lab.faults.trial import Scenario, Trial, Unavailable
from lab.faults.volume import Volume
from scoring.spool import RESERVE_BYTES

CANARY_PERCENT = 20.0
SPOOL_VOLUME_BYTES = 64 << 20
ROOM_BYTES = 3 << 20
HOUR = 3600
_FAKETIME = ("/usr/lib/*/faketime/libfaketimeMT.so.1", "/usr/local/lib/faketime/libfaketimeMT.so.1")


def spool_filled_by_outage(trial: Trial) -> None:
    """Postgres is away until the spool's disk, smaller than its limit, holds no more; then Postgres is back."""
    with _spooling_to_volume(trial) as (stand, service, volume):
        volume.fill(leave_bytes=RESERVE_BYTES + ROOM_BYTES)
        stand.database.behave(Behaviour(refuse=True))
        _refused_until(trial, service, lambda: stand.database.behave(Behaviour()))


def spool_disk_filled_by_others(trial: Trial) -> None:
    with _spooling_to_volume(trial) as (_, service, volume):
        volume.fill()
        _refused_until(trial, service, volume.empty)


@contextmanager
def _spooling_to_volume(trial: Trial) -> Iterator[tuple[Stand, Service, Volume]]:
    with Volume(trial.folder / "volume", SPOOL_VOLUME_BYTES) as volume, trial.stand() as stand:
        stand.control()
        service = stand.serve(settings={"SPOOL_DIR": str(volume.path)})
        stand.start_canary(service, "2", CANARY_PERCENT)
        with trial.load(stand, service.port, per_second=400.0):
            trial.wait(2.0, "load")
            yield stand, service, volume
        trial.settle(stand)


def _refused_until(trial: Trial, service: Service, mend: Callable[[], None]) -> None:
    """It refuses with 503 and is not ready while nothing can be written, and by itself answers again after."""
    # One worker's file may still hold pages to fill when the other's holds none.
    wait_until(service.none_ready, 120.0, "the spool's disk is full, and no worker is ready")
    trial.wait(trial.length(full=30, quick=5), "the spool's disk is full")
    trial.expect(set(trial.ledger.refused) == {503}, f"it answers 503, not {dict(trial.ledger.refused)}")
    trial.expect(service.none_ready(), "no worker is ready")
    mend()
    mended = time.monotonic()
    wait_until(service.all_ready, 90.0, "every worker is ready again")
    refused = sum(trial.ledger.refused.values())
    trial.note(f"ready {time.monotonic() - mended:.1f} s after")
    before = trial.answered()
    trial.wait(5.0, "load")
    trial.expect(trial.answered() > before, "it answers again")
    trial.expect(sum(trial.ledger.refused.values()) == refused, "it refuses no more once it is ready")


def clock_stepped(trial: Trial) -> None:
    """The service's wall clock jumps an hour ahead, back, an hour behind and back, under load."""
    offset = trial.folder / "clock"
    offset.write_text("+0\n")
    with trial.stand() as stand:
        stand.control()
        service = stand.serve(settings=_faked_clock(offset))
        stand.start_canary(service, "2", CANARY_PERCENT)
        with trial.load(stand, service.port):
            for step in (0, HOUR, 0, -HOUR, 0):
                offset.write_text(f"{step:+d}\n")
                before, started = trial.answered(), time.monotonic()
                trial.wait(trial.length(full=30, quick=4), f"the clock is {step:+d} s off")
                trial.expect_answers_went_on(before, time.monotonic() - started)
                trial.expect_ready(service)
        trial.settle(stand)
        trial.expect_no_refusal()
        with stand.owner() as connection:
            ahead, behind = log_store.span(connection)
        # Rows of the hour ahead have come closer by three steps and the settling.
        trial.expect(ahead > HOUR - 300 and behind > HOUR - 300, f"the log saw the steps: {ahead:.0f}, {behind:.0f} s")


def _faked_clock(offset: Path) -> dict[str, str]:
    """Environment of a process whose wall clock is off by what the file says; its monotonic clock is not."""
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
    Scenario("spool-disk-outage", "spool's disk full: Postgres away too long", spool_filled_by_outage),
    Scenario("spool-disk-others", "spool's disk filled by others", spool_disk_filled_by_others),
    Scenario("clock-stepped", "clock of the service an hour ahead, an hour behind", clock_stepped),
)
