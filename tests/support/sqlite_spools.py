"""Spools as versions before segments made them."""

import sqlite3
from collections.abc import Sequence
from pathlib import Path

SCHEMA = """
CREATE TABLE IF NOT EXISTS batches (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, spooled_at REAL NOT NULL, target TEXT NOT NULL, rows INTEGER NOT NULL,
    body BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS refused (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, refused_at REAL NOT NULL, reason TEXT NOT NULL, target TEXT NOT NULL,
    body BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS probe (only INTEGER PRIMARY KEY CHECK (only = 1), n INTEGER NOT NULL);
"""


def spool_in_sqlite(path: Path, bodies: Sequence[bytes], refused: Sequence[tuple[str, str, bytes]]) -> None:
    """Make a spool of predictions; `refused`: reason, target and text."""
    path.with_suffix(".lock").touch()
    making = path.with_suffix(".making")
    db = sqlite3.connect(making, isolation_level=None)
    db.executescript(SCHEMA)
    db.execute("BEGIN")
    for body in bodies:
        row = (1.5, "predictions", body.count(b"\n"), body)
        db.execute("INSERT INTO batches (spooled_at, target, rows, body) VALUES (?, ?, ?, ?)", row)
    for reason, target, body in refused:
        row_refused = (2.5, reason, target, body)
        db.execute("INSERT INTO refused (refused_at, reason, target, body) VALUES (?, ?, ?, ?)", row_refused)
    db.execute("COMMIT")
    db.close()
    making.rename(path)
