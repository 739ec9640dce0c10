"""Archived predictions, found by a process of their own: Parquet's reader must not slow down a worker's answers."""

import logging
import os
import subprocess
import sys
import threading
from datetime import date
from typing import Annotated
from uuid import UUID

import msgspec
from msgspec import Meta

from edge.problems import HttpError
from runtime.child_process import ROOT
from scoring.log.store import StoredPrediction

log = logging.getLogger("sira.edge.api.archived_predictions")

MAX_SECONDS = 60.0
# A search takes a core for seconds.
_searching = threading.Lock()


class PredictionQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`day`: the UTC day of the prediction; without it, every archived day is searched, the newest first."""

    day: Annotated[date | None, Meta(extra={"expected": "must be a day such as 2026-11-26"})] = None


def find_archived(
    database_url: str, model_bucket: str, prediction_id: str, day: date | None
) -> StoredPrediction | None:
    """Return an archived prediction; None for an unknown id, and for text that is not a UUID."""
    try:
        identity = str(UUID(prediction_id))
    except ValueError:
        return None
    words = [sys.executable, "-m", "archive", "find", identity, "--json", *(("--day", str(day)) if day else ())]
    environment = os.environ | {"DATABASE_URL": database_url, "MODEL_BUCKET": model_bucket}
    if not _searching.acquire(timeout=MAX_SECONDS):
        raise HttpError(503, "the archive is being searched for other callers; try again")
    try:
        search = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, timeout=MAX_SECONDS)
    except subprocess.TimeoutExpired:
        raise HttpError(503, "the archive could not be searched in time; name the day: ?day=2026-11-26") from None
    finally:
        _searching.release()
    if search.returncode:
        lines = search.stderr.decode(errors="replace").strip().splitlines()
        log.error("archive_search_failed", extra={"code": search.returncode, "error": lines[-1] if lines else ""})
        raise HttpError(503, "the archive cannot be read; `python -m archive find` says why")
    return msgspec.json.decode(search.stdout, type=StoredPrediction | None)
