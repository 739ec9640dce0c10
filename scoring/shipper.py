"""The task that takes the log from the spool to Postgres: within a second, in order, safe to repeat."""

import logging
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import psycopg

from runtime import metrics
from runtime.postgres import Connection, connect
from scoring.spool import Spool
from scoring.spool_file import Batch, SpoolFile, Target, orphans
from scoring.store import prepare_shipping, ship

log = logging.getLogger("sira.scoring.shipper")

MOST_BATCHES = 400
MOST_ROWS = 4_000
# A transaction costs Postgres and this process the same for one row as for hundreds: they are gathered a moment.
PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 5.0
ORPHANS_EVERY_SECONDS = 10.0


class Shipper:
    """A thread that ships this process's spool, and those that dead processes left in the same folder."""

    def __init__(self, spool: Spool, directory: Path, database_url: str) -> None:
        self._spool = spool
        self._directory = directory
        self._database_url = database_url
        self._connection: Connection | None = None
        self._shipped_through = 0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="shipper", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout_seconds: float) -> None:
        """Ship what is there if Postgres takes it in time; what is left stays in the spool for the next start."""
        self._stopping.set()
        self._thread.join(timeout_seconds)

    def _run(self) -> None:
        pause = PAUSE_SECONDS
        next_orphans = 0.0
        while True:
            stopping = self._stopping.is_set()
            try:
                more = self._ship_own(all_of_it=stopping)
                if time.monotonic() >= next_orphans:
                    next_orphans = time.monotonic() + ORPHANS_EVERY_SECONDS
                    self._ship_orphans()
                pause = PAUSE_SECONDS
            except psycopg.Error as error:
                more = False
                metrics.log_ship_failures.inc()
                log.warning("shipping_failed", extra={"error": type(error).__name__, "sqlstate": error.sqlstate})
                self._disconnect()
                pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
            except Exception:
                more = False
                metrics.log_ship_failures.inc()
                log.exception("shipping_failed")
                self._disconnect()
                pause = LONGEST_PAUSE_SECONDS
            self._publish()
            if stopping and not more:
                self._disconnect()
                return
            if not more:
                self._stopping.wait(pause)

    def _ship_own(self, *, all_of_it: bool) -> bool:
        """One round; True when the next should follow at once: it was a full one, or `all_of_it` is to go."""
        waiting = self._spool.file.batches(after_seq=self._shipped_through, most=MOST_BATCHES)
        batches = _first_rows(waiting)
        if not batches:
            return False
        self._ship(self._spool.file, batches)
        self._shipped_through = batches[-1].seq
        self._spool.shipped(batches)
        full = len(batches) < len(waiting) or len(waiting) == MOST_BATCHES
        return full or (all_of_it and self._spool.waiting_bytes > 0)

    def _ship_orphans(self) -> None:
        for file in orphans(self._directory):
            try:
                while batches := _first_rows(file.batches(after_seq=0, most=MOST_BATCHES)):
                    self._ship(file, batches)
                    file.forget(batches[-1].seq)
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
        metrics.log_shipped.inc(shipped.predictions)

    def _ship_alone(self, connection: Connection, file: SpoolFile, target: Target, line: bytes) -> None:
        """One row; if Postgres will never take it, it is set aside so that the others go on."""
        try:
            with connection.transaction():
                metrics.log_shipped.inc(ship(connection, {target: [line]}).predictions)
        except (psycopg.DataError, psycopg.IntegrityError) as error:
            metrics.log_refused.inc()
            file.set_aside(target, line, f"{type(error).__name__} {error.sqlstate}", time.time())

    def _connect(self) -> Connection:
        if self._connection is None:
            connection = connect(self._database_url, name="shipper", autocommit=True)
            prepare_shipping(connection)
            self._connection = connection
        return self._connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _publish(self) -> None:
        metrics.spool_rows.set(self._spool.waiting_rows)
        metrics.spool_bytes.set(self._spool.waiting_bytes)
        metrics.spool_limit_bytes.set(self._spool.limit_bytes)
        oldest = self._spool.file.batches(after_seq=self._shipped_through, most=1)
        metrics.spool_oldest.set(max(0.0, time.time() - oldest[0].spooled_at) if oldest else 0.0)


def _first_rows(batches: list[Batch]) -> list[Batch]:
    """The leading batches that make one transaction: at most MOST_ROWS rows, and at least one batch."""
    taken: list[Batch] = []
    rows = 0
    for batch in batches:
        rows += batch.rows
        if taken and rows > MOST_ROWS:
            break
        taken.append(batch)
    return taken
