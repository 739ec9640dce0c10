"""What was served last, kept beside the models: with it a process that starts while Postgres is away can score."""

import hashlib
import logging
import os
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import msgspec

from registry import RegistryError
from registry.artifacts.folder import rename_durably, temporary_file
from registry.model_version import ModelVersion, Status

log = logging.getLogger("sira.scoring.last_served")

FILE_NAME = "last-served.json"
CONFIRM_SECONDS = 60.0
# Who was away for longer may have missed that a model was taken out of service, and why.
LONGEST_SECONDS = 24 * 3600.0


class _Record(msgspec.Struct, frozen=True):
    """`sha256` is of `versions` as they stand in the file; its time of change is when they were last confirmed."""

    sha256: str
    versions: msgspec.Raw


class LastServed:
    """Production versions in `folder`. Workers share the file: each writes what it serves, and they serve the same."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE_NAME
        self._kept: tuple[ModelVersion, ...] | None = None
        self._confirmed_at = 0.0

    def keep(self, versions: Iterable[ModelVersion]) -> None:
        """Write them when they have changed; else confirm, now and then, that they still hold."""
        served = tuple(replace(version, status=Status.PRODUCTION) for version in versions)
        now = time.monotonic()
        try:
            if served != self._kept:
                self._write(msgspec.json.encode(served))
            elif now - self._confirmed_at > CONFIRM_SECONDS:
                os.utime(self._path)
            else:
                return
        except OSError as error:
            log.warning("last_served_not_kept", extra={"error": type(error).__name__})
            self._kept = None
            return
        self._kept, self._confirmed_at = served, now

    def read(self) -> tuple[ModelVersion, ...]:
        """Empty when nothing was kept, when it is damaged, or when it was confirmed too long ago."""
        try:
            age_seconds = time.time() - self._path.stat().st_mtime
            record = msgspec.json.decode(self._path.read_bytes(), type=_Record)
            if hashlib.sha256(record.versions).hexdigest() != record.sha256:
                log.error("last_served_damaged")
            elif age_seconds > LONGEST_SECONDS:
                log.error("last_served_too_old", extra={"age_seconds": round(age_seconds)})
            else:
                return msgspec.json.decode(record.versions, type=tuple[ModelVersion, ...])
        except FileNotFoundError:
            pass
        except (OSError, msgspec.MsgspecError, RegistryError) as error:
            log.error("last_served_unreadable", extra={"error": type(error).__name__})
        return ()

    def _write(self, versions: bytes) -> None:
        record = _Record(hashlib.sha256(versions).hexdigest(), msgspec.Raw(versions))
        with temporary_file(self._path.parent) as partial:
            partial.write_bytes(msgspec.json.encode(record))
            rename_durably(partial, self._path)
