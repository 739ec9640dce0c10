"""Ships the log from the spool to Postgres: within a second, in order, safe to repeat."""

import logging
import sqlite3
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import psycopg

from runtime import metrics
from runtime.postgres import Connection, connect
from scoring.log.shipped_hours import ShippedHours
from scoring.log.spool import Spool
from scoring.log.spool_file import Batch, SpoolFile, Target, orphans
from scoring.log.store import Shipment, prepare_shipping, ship, shipped_hours_exist

log = logging.getLogger("sira.scoring.shipper")

MAX_BATCHES = 400
MAX_ROWS = 4_000
# A transaction costs the same for one row as for hundreds, so rows are collected for a moment.
PAUSE_SECONDS = 0.1
MAX_PAUSE_SECONDS = 5.0
ORPHANS_EVERY_SECONDS = 10.0


class Shipper:
    """A thread that ships this process's spool and the spools that dead processes left in the same folder."""

    def __init__(self, spool: Spool, directory: Path, database_url: str) -> None:
        self._spool = spool
        self._directory = directory
        self._database_url = database_url
        self._connection: Connection | None = None
        self._hours = ShippedHours(spool.file.path)
        self._reports_hours = False
        self._shipped_through = 0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="shipper", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout_seconds: float) -> None:
        """Ship the remaining rows within the timeout; the rest stays in the spool for the next start."""
        self._stopping.set()
        self._thread.join(timeout_seconds)

    def _run(self) -> None:
        pause = PAUSE_SECONDS
        next_orphans = 0.0
        while True:
            stopping = self._stopping.is_set()
            try:
                more = self._ship_own(drain=stopping)
                if time.monotonic() >= next_orphans:
                    next_orphans = time.monotonic() + ORPHANS_EVERY_SECONDS
                    self._ship_orphans()
                self._report_hours()
                pause = PAUSE_SECONDS
            except psycopg.Error as error:
                more = False
                metrics.log_ship_failures.inc()
                log.warning("shipping_failed", extra={"error": type(error).__name__, "sqlstate": error.sqlstate})
                self._disconnect()
                pause = min(pause * 2, MAX_PAUSE_SECONDS)
            except Exception:
                more = False
                metrics.log_ship_failures.inc()
                log.exception("shipping_failed")
                self._disconnect()
                pause = MAX_PAUSE_SECONDS
            self._publish()
            if stopping and not more:
                self._disconnect()
                self._hours.close()
                return
            if not more:
                self._stopping.wait(pause)

    def _ship_own(self, *, drain: bool) -> bool:
        """Ship one round; return whether to ship the next at once: it was full, or `drain` has rows left."""
        waiting = self._spool.file.batches(after_seq=self._shipped_through, limit=MAX_BATCHES)
        batches = _first_rows(waiting)
        if not batches:
            return False
        self._ship(self._spool.file, batches)
        self._shipped_through = batches[-1].seq
        self._spool.shipped(batches)
        full = len(batches) < len(waiting) or len(waiting) == MAX_BATCHES
        return full or (drain and self._spool.waiting_bytes > 0)

    def _ship_orphans(self) -> None:
        for file in orphans(self._directory):
            try:
                while batches := _first_rows(file.batches(after_seq=0, limit=MAX_BATCHES)):
                    self._ship(file, batches)
                    file.delete(batches[-1].seq)
            finally:
                file.close()

    def _ship(self, file: SpoolFile, batches: Sequence[Batch]) -> None:
        connection = self._connect()
        lines: dict[Target, list[bytes]] = {}
        for batch in batches:
            lines.setdefault(batch.target, []).append(batch.body)
        try:
            with connection.transaction():
                shipped = ship(connection, lines)
        except (psycopg.DataError, psycopg.IntegrityError) as error:
            log.error("log_rows_refused", extra={"sqlstate": error.sqlstate})
            for batch in batches:
                for line in batch.body.splitlines(keepends=True):
                    self._ship_alone(connection, file, batch.target, line)
            return
        self._count(shipped)

    def _ship_alone(self, connection: Connection, file: SpoolFile, target: Target, line: bytes) -> None:
        """Ship one row; quarantine it if Postgres will never accept it, so that it does not block the others."""
        try:
            with connection.transaction():
                shipped = ship(connection, {target: [line]})
        except (psycopg.DataError, psycopg.IntegrityError) as error:
            metrics.log_refused.inc()
            file.quarantine(target, line, f"{type(error).__name__} {error.sqlstate}", time.time())
            return
        self._count(shipped)

    def _count(self, shipped: Shipment) -> None:
        metrics.log_shipped.inc(shipped.predictions)
        try:
            self._hours.add(shipped.hours)
        except sqlite3.Error as error:  # too few are counted then, which raises no alarm
            log.warning("shipped_rows_not_counted", extra={"error": str(error)})

    def _report_hours(self) -> None:
        if self._reports_hours and self._connection is not None:
            self._hours.report(self._connection, time.monotonic())

    def _connect(self) -> Connection:
        if self._connection is None:
            connection = connect(self._database_url, name="shipper", autocommit=True)
            prepare_shipping(connection)
            self._connection = connection
            self._reports_hours = shipped_hours_exist(connection)
            self._hours.report_all_next()
        return self._connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _publish(self) -> None:
        metrics.spool_rows.set(self._spool.waiting_rows)
        metrics.spool_bytes.set(self._spool.waiting_bytes)
        metrics.spool_limit_bytes.set(self._spool.limit_bytes)
        oldest = self._spool.file.batches(after_seq=self._shipped_through, limit=1)
        metrics.spool_oldest.set(max(0.0, time.time() - oldest[0].spooled_at) if oldest else 0.0)


def _first_rows(batches: list[Batch]) -> list[Batch]:
    """Return the leading batches of one transaction: at most MAX_ROWS rows, and at least one batch."""
    taken: list[Batch] = []
    rows = 0
    for batch in batches:
        rows += batch.rows
        if taken and rows > MAX_ROWS:
            break
        taken.append(batch)
    return taken
