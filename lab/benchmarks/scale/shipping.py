"""Full load from the socket to Postgres: what the shipper keeps up with, and how long it needs afterwards."""

import threading
import time
from dataclasses import dataclass

from lab.benchmarks import wrk
from lab.benchmarks.scale.finding import Finding, MeasurementFailed, Row, growth
from lab.benchmarks.scale.room import Room
from lab.benchmarks.served import Sira, serving
from runtime.postgres import connect

LONGEST_DRAIN_SECONDS = 300.0


@dataclass
class Watch:
    """The worst that was seen of the spool while a service was driven."""

    rows: float = 0.0
    oldest_seconds: float = 0.0


def measure(room: Room) -> Finding:
    with serving(room.workload, room.folder) as served:
        wrk.drive(served.running().target, 2)
        _drained(served)
        rows = tuple(_row(room, served, seconds) for seconds in ((2, 6) if room.quick else (5, 15, 45)))
    return Finding(
        "The log at full rate",
        "One worker on core 0, 32 connections; Postgres (default settings, fsync on), the controller and wrk on core 1."
        " Every answer counted by wrk is in Postgres afterwards.",
        rows,
        (growth(rows, "seconds of load", "answered/s", "oldest waiting s", "s to drain"),),
    )


def _row(room: Room, served: Sira, seconds: int) -> Row:
    room.say(f"{seconds} seconds of load")
    logged, shipped = _logged(served), served.metric("sira_log_shipped_total")
    over = threading.Event()
    watch = Watch()
    watcher = threading.Thread(target=_watch, args=(served, watch, over))
    watcher.start()
    load = wrk.drive(served.running().target, seconds)
    shipped = served.metric("sira_log_shipped_total") - shipped
    over.set()
    watcher.join()
    drain_seconds = _drained(served)
    arrived = _logged(served) - logged
    if load.errors or arrived < load.requests:
        raise MeasurementFailed(f"{load.errors} requests failed, {load.requests - arrived} answers are not in the log")
    return {
        "seconds of load": seconds,
        "answered/s": load.per_second,
        "shipped/s meanwhile": shipped / load.seconds,
        "most rows waiting": int(watch.rows),
        "oldest waiting s": watch.oldest_seconds,
        "s to drain": drain_seconds,
    }


def _watch(served: Sira, watch: Watch, over: threading.Event) -> None:
    while not over.wait(0.5):
        watch.rows = max(watch.rows, served.metric("sira_log_spool_rows"))
        watch.oldest_seconds = max(watch.oldest_seconds, served.metric("sira_log_oldest_unshipped_seconds"))


def _drained(served: Sira) -> float:
    """Waits until nothing is left in the spool; the seconds it took."""
    started = time.monotonic()
    while time.monotonic() - started < LONGEST_DRAIN_SECONDS:
        time.sleep(0.25)  # the shipper publishes after each round
        if not served.metric("sira_log_spool_rows"):
            return time.monotonic() - started
    raise MeasurementFailed(f"the spool is not empty after {LONGEST_DRAIN_SECONDS:.0f} s")


def _logged(served: Sira) -> int:
    with connect(served.database_url, name="benchmarks") as connection:
        found = connection.execute("SELECT sum(predictions) FROM sira_prediction_hours").fetchone()
    return int(found[0] or 0) if found else 0
