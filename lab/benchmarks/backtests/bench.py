"""One database and one bucket that the archive, backtests and training sets are measured with."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from archive.parts.bucket import ArchiveBucket
from archive.parts.manifest import Folder
from lab.benchmarks.backtests.child import ChildRun, run_child
from lab.benchmarks.backtests.copies import copy_day
from lab.benchmarks.backtests.day import fill
from lab.benchmarks.model import PRODUCT
from lab.benchmarks.scale.workspace import Database, Workspace
from registry.artifacts import open_backend, open_store
from registry.model_version import ModelVersion, Status
from registry.registration import Declaration, register
from registry.store import change_status

_ROWS, _QUICK_ROWS = 100_000, 15_000
_ACTOR = "benchmarks"


@dataclass(frozen=True)
class Bench:
    """`original`: the day that others are copies of. `rows`: how many rows each of them has."""

    workspace: Workspace
    database: Database
    version: ModelVersion
    original: Folder
    rows: int

    @classmethod
    def prepare(cls, workspace: Workspace, database: Database) -> "Bench":
        """Register the model of the comparison and promote it."""
        artifacts = open_store(f"file://{workspace.folder / 'bucket'}")
        declaration = Declaration(PRODUCT, "gradient_boosting", "2.0.0")
        version = register(
            database.connection, artifacts, workspace.workload.model_path, declaration, actor=_ACTOR
        ).version
        with database.connection.transaction():
            change_status(database.connection, version.model_id, Status.PRODUCTION, actor=_ACTOR)
        yesterday = datetime.now(UTC).date() - timedelta(days=1)
        rows = _QUICK_ROWS if workspace.quick else _ROWS
        return cls(workspace, database, version, Folder("log", PRODUCT, yesterday), rows)

    def fill(self, day: date, rows: int) -> None:
        self.workspace.report(f"a day with {rows:,} rows")
        fill(self.database.connection, day, rows)

    def add_copies(self, days: int) -> None:
        """Archive copies of the original under the days before it."""
        copy_day(self._bucket, self.original, days, self.workspace.report)

    def run(self, *words: str) -> ChildRun:
        """Run `python -m` with this database and this bucket."""
        self.workspace.report(" ".join(words[:2]))
        return run_child(words, {"DATABASE_URL": self.database.url, "MODEL_BUCKET": self._url})

    def backtest(self, processes: int, days: int, *more: str) -> ChildRun:
        """Replay the newest `days` archived days."""
        return self.run(
            "backtest", self.version.model_id, "--days", str(days), "--until", self.original.day.isoformat(),
            "--maturity-days", "0", "--processes", str(processes), *more,
        )  # fmt: skip

    def export(self, days: int) -> ChildRun:
        """Export the newest `days` archived days."""
        first = self.original.day - timedelta(days=days - 1)
        return self.run(
            "archive", "export", "--product", PRODUCT, "--from", first.isoformat(), "--to",
            self.original.day.isoformat(), "--out", str(self.workspace.folder / "train.parquet"), "--json",
        )  # fmt: skip

    def parts(self, days: int) -> list[Path]:
        """Return the files of the newest `days` archived days."""
        folders = [Folder("log", PRODUCT, self.original.day - timedelta(days=number)) for number in range(days)]
        return [path for folder in folders for path in sorted(self.path_of(folder).glob("part-*.parquet"))]

    def path_of(self, folder: Folder) -> Path:
        return self.workspace.folder / "bucket" / folder.key("")

    @property
    def _url(self) -> str:
        return f"file://{self.workspace.folder / 'bucket'}"

    @property
    def _bucket(self) -> ArchiveBucket:
        return ArchiveBucket(open_backend(self._url))
