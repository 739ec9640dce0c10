"""A local record of the production versions, so that a process that starts while Postgres is away can score."""

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
# A process that was offline for longer may have missed a model's withdrawal.
MAX_AGE_SECONDS = 24 * 3600.0


class _Record(msgspec.Struct, frozen=True):
    """The file. `sha256` covers the bytes of `versions`; the file's mtime is when they were last confirmed."""

    sha256: str
    versions: msgspec.Raw


class LastServed:
    """Production versions in a file of `folder`. All workers write it; they serve the same versions."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE_NAME
        self._written: tuple[ModelVersion, ...] | None = None
        self._confirmed_at = 0.0

    def record(self, versions: Iterable[ModelVersion]) -> None:
        """Write the versions if they changed; otherwise confirm them by touching the file every CONFIRM_SECONDS."""
        served = tuple(replace(version, status=Status.PRODUCTION) for version in versions)
        now = time.monotonic()
        try:
            if served != self._written:
                self._write(msgspec.json.encode(served))
            elif now - self._confirmed_at > CONFIRM_SECONDS:
                os.utime(self._path)
            else:
                return
        except OSError as error:
            log.warning("last_served_not_written", extra={"error": type(error).__name__})
            self._written = None
            return
        self._written, self._confirmed_at = served, now

    def read(self) -> tuple[ModelVersion, ...]:
        """Return the recorded versions; none if the file is absent, damaged, or was not confirmed for too long."""
        try:
            age_seconds = time.time() - self._path.stat().st_mtime
            record = msgspec.json.decode(self._path.read_bytes(), type=_Record)
            if hashlib.sha256(record.versions).hexdigest() != record.sha256:
                log.error("last_served_damaged")
            elif age_seconds > MAX_AGE_SECONDS:
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
