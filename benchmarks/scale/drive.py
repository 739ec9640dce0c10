"""Full load on a running service, with figures only where all was answered and (almost) nothing from the cache."""

from benchmarks import wrk
from benchmarks.contender import Running
from benchmarks.scale.finding import MeasurementFailed
from benchmarks.side_by_side import Round, one_round

WARM_UP_SECONDS = 2.0


def drive(running: Running, seconds: float) -> Round:
    """A warm-up, then a measured round. Raises MeasurementFailed."""
    warm_up = wrk.drive(running.target, WARM_UP_SECONDS)
    running.server.quiesce()
    measured = one_round(running, seconds, warm_up.requests)
    if errors := warm_up.errors + measured.errors:
        raise MeasurementFailed(f"{errors} requests failed")
    if fault := running.fault():
        raise MeasurementFailed(fault)
    return measured
