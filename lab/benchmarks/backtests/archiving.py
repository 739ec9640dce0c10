"""`python -m lab.benchmarks.backtests.archiving DAY`: archive one day; print its rows and the seconds it took."""

import json
import sys
import time
from datetime import UTC, date, datetime

from archive import closing
from archive.parts.bucket import ArchiveBucket
from registry.artifacts import open_backend
from runtime.postgres import connect
from runtime.settings import ArtifactSettings, DatabaseSettings


class _Settings(DatabaseSettings, ArtifactSettings):
    pass


def main(day: date) -> None:
    settings = _Settings.load()
    url, bucket = settings.database_url.get_secret_value(), ArchiveBucket(open_backend(settings.model_bucket))
    with connect(url, name="archive", autocommit=True, statement_timeout_ms=0) as connection:
        started, spent = time.perf_counter(), time.process_time()
        parts = closing.run(connection, bucket, now=datetime.now(UTC), days=[day])
        found = {
            "rows": sum(part.rows for part in parts if part.kind == "log"),
            "bytes": sum(part.bytes for part in parts if part.kind == "log"),
            "seconds": time.perf_counter() - started,
            "cpu_seconds": time.process_time() - spent,
        }
    print(json.dumps(found))


if __name__ == "__main__":
    main(date.fromisoformat(sys.argv[1]))
