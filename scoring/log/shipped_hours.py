"""How many predictions this process has shipped, by hour: what Postgres must have, whatever happens to it.

The counts are beside the spool in a file of their own, so that answers never wait for it. A crash loses the counts of
the last second; then Postgres has more rows than were counted, which raises no alarm.
"""

import sqlite3
import time
from collections.abc import Mapping
from pathlib import Path
from uuid import uuid4

from runtime.postgres import Connection
from scoring.log.store import HourOfProduct, report_shipped

SAVE_SECONDS = 1.0
REPORT_SECONDS = 60.0
FULL_REPORT_SECONDS = 3600.0
# Longer than the shortest retention in Postgres; by then the archive has the rows.
KEEP_SECONDS = 40 * 86_400
_SCHEMA = """
CREATE TABLE IF NOT EXISTS spool (only INTEGER PRIMARY KEY CHECK (only = 1), id TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS shipped_hours (
    hour INTEGER NOT NULL, product TEXT NOT NULL, rows INTEGER NOT NULL, PRIMARY KEY (hour, product)) WITHOUT ROWID;
"""


class ShippedHours:
    """The counts of one spool file, whose lock protects them. `hour` is in unix seconds."""

    def __init__(self, spool: Path) -> None:
        path = spool.with_name(spool.name.replace("spool-", "shipped-") + ".sqlite")
        path.touch(mode=0o600)
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = NORMAL")
        self._db.executescript(_SCHEMA)
        self._db.execute("INSERT OR IGNORE INTO spool VALUES (1, ?)", (str(uuid4()),))
        self.spool_id: str = self._db.execute("SELECT id FROM spool").fetchone()[0]
        self._unsaved: dict[HourOfProduct, int] = {}
        self._changed: set[HourOfProduct] = set()
        self._next_save = self._next_report = self._next_full_report = 0.0

    def add(self, rows: Mapping[HourOfProduct, int], now: float) -> None:
        """Count rows that were new to Postgres, after their transaction. `now`: a monotonic clock's."""
        for key, count in rows.items():
            self._unsaved[key] = self._unsaved.get(key, 0) + count
        if now >= self._next_save:
            self._next_save = now + SAVE_SECONDS
            self._save()

    def counts(self) -> dict[HourOfProduct, int]:
        """Return the rows shipped by product and hour, the newest included."""
        self._save()
        return {
            (product, hour): rows
            for product, hour, rows in self._db.execute("SELECT product, hour, rows FROM shipped_hours")
        }

    def report(self, connection: Connection, now: float) -> None:
        """Copy the counts to Postgres: each minute those that changed, each hour all. `now`: a monotonic clock's."""
        everything = now >= self._next_full_report
        if now < self._next_report and not everything:
            return
        # First, so that a full disk, on which the next line fails, is not asked again at once.
        self._next_report = now + REPORT_SECONDS
        if everything:
            self._next_full_report = now + FULL_REPORT_SECONDS
            self._db.execute("DELETE FROM shipped_hours WHERE hour < ?", (time.time() - KEEP_SECONDS,))
        counts = self.counts()
        due = counts if everything else {key: counts[key] for key in self._changed if key in counts}
        if due:
            report_shipped(connection, self.spool_id, due)
        self._changed.clear()

    def report_all_next(self) -> None:
        """Report every count next: the connection is new, and Postgres may have been restored from a backup."""
        self._next_full_report = 0.0

    def close(self) -> None:
        self._save()
        self._db.close()

    def _save(self) -> None:
        if not self._unsaved:
            return
        self._db.execute("BEGIN IMMEDIATE")
        try:
            self._db.executemany(
                "INSERT INTO shipped_hours (product, hour, rows) VALUES (?, ?, ?)"
                " ON CONFLICT (hour, product) DO UPDATE SET rows = rows + excluded.rows",
                [(*key, count) for key, count in self._unsaved.items()],
            )
            self._db.execute("COMMIT")
        except sqlite3.Error:
            # All or none: what was saved and stays unsaved would be counted twice, and Postgres would seem to lack it.
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise
        self._changed |= self._unsaved.keys()
        self._unsaved = {}
