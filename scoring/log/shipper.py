"""Ships the log from the spool to Postgres: within a second, in order, safe to repeat."""

import contextlib
import logging
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import psycopg

from runtime import metrics
from runtime.postgres import Connection, connect
from scoring.log.frame import Group, Target, UnknownTarget
from scoring.log.shipped_hours import ShippedHours
from scoring.log.spool import Spool
from scoring.log.spool_file import SpoolFile, orphans
from scoring.log.sqlite_spool import SqliteSpool, sqlite_spools
from scoring.log.store import Shipment, prepare_shipping, ship, shipped_hours_exist

log = logging.getLogger("sira.scoring.shipper")

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
                self._close_hours()
                return
            if not more:
                self._stopping.wait(pause)

    def _ship_own(self, *, drain: bool) -> bool:
        """Ship one round; return whether to ship the next at once: it was full, or `drain` has rows left."""
        reading = self._spool.file.read(MAX_ROWS)
        if reading is None:
            return False
        self._ship(reading.groups)
        self._spool.shipped(reading)
        return reading.more or (drain and self._spool.waiting_bytes > 0)

    def _ship_orphans(self) -> None:
        """Ship each spool that no process holds; one that cannot be read does not hold up the others."""
        for file in orphans(self._directory):
            with _reported(file.path), contextlib.closing(file):
                if self._ship_all(file):
                    file.remove_shipped()
        for old in sqlite_spools(self._directory):
            with _reported(old.path), contextlib.closing(old):
                if self._ship_all(old):
                    old.remove(kept_in=self._spool.file)

    def _ship_all(self, file: SpoolFile | SqliteSpool) -> bool:
        """Ship a spool in turn with the own one, whose rows must not wait for it; return False on a stop."""
        while reading := file.read(MAX_ROWS):
            self._ship(reading.groups)
            file.shipped(reading)
            if self._stopping.is_set():
                return False
            self._ship_own(drain=False)
            self._publish()
        return True

    def _ship(self, groups: Sequence[Group]) -> None:
        connection = self._connect()
        lines: dict[Target, list[bytes]] = {}
        for group in groups:
            for target, body in group.bodies.items():
                lines.setdefault(target, []).append(body)
        try:
            with connection.transaction():
                shipped = ship(connection, lines)
        except (psycopg.DataError, psycopg.IntegrityError) as error:
            log.error("log_rows_refused", extra={"sqlstate": error.sqlstate})
            for target, bodies in lines.items():
                for body in bodies:
                    for line in body.splitlines(keepends=True):
                        self._ship_alone(connection, target, line)
            return
        self._count(shipped)

    def _ship_alone(self, connection: Connection, target: Target, line: bytes) -> None:
        """Ship one row; quarantine it if Postgres will never accept it, so that it does not block the others."""
        try:
            with connection.transaction():
                shipped = ship(connection, {target: [line]})
        except (psycopg.DataError, psycopg.IntegrityError) as error:
            metrics.log_refused.inc()
            self._spool.file.quarantine(target, line, f"{type(error).__name__} {error.sqlstate}", time.time())
            return
        self._count(shipped)

    def _count(self, shipped: Shipment) -> None:
        metrics.log_shipped.inc(shipped.predictions)
        try:
            self._hours.add(shipped.hours, time.monotonic())
        except sqlite3.Error as error:  # too few are counted then, which raises no alarm
            log.warning("shipped_rows_not_counted", extra={"error": str(error)})

    def _report_hours(self) -> None:
        if self._reports_hours and self._connection is not None:
            try:
                self._hours.report(self._connection, time.monotonic())
            except sqlite3.Error as error:  # a full disk is no reason not to ship
                log.warning("shipped_rows_not_reported", extra={"error": str(error)})

    def _close_hours(self) -> None:
        try:
            self._hours.close()
        except sqlite3.Error as error:
            log.warning("shipped_rows_not_counted", extra={"error": str(error)})

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
        try:
            oldest_at = self._spool.file.oldest_at()
        except OSError as error:  # such as no descriptor left: this thread must not end
            log.warning("oldest_row_not_read", extra={"error": str(error)})
            return
        metrics.spool_oldest.set(0.0 if oldest_at is None else max(0.0, time.time() - oldest_at))


@contextlib.contextmanager
def _reported(spool: Path) -> Iterator[None]:
    """Log that a spool of a dead process cannot be read, and go on. Errors of Postgres concern all spools: raised."""
    try:
        yield
    except (OSError, UnknownTarget, sqlite3.Error):
        metrics.log_ship_failures.inc()
        log.exception("spool_not_shipped", extra={"spool": spool.name})
