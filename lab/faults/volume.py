"""A small volume that can be filled to the last byte."""

import contextlib
import errno
import os
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self

from lab.faults.scenario import Unavailable

_FILLER = ".filler"
_CHUNK = b"\0" * 4096


class Volume:
    """A tmpfs mounted at `path`. Raises Unavailable if this user may not mount."""

    def __init__(self, path: Path, size_bytes: int) -> None:
        self.path = path
        path.mkdir()
        made = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size_bytes},mode=755", "sira-faults", str(path)], capture_output=True
        )
        if made.returncode:
            raise Unavailable("a small disk needs root, to mount a tmpfs")

    def fill(self, *, leave_bytes: int = 0) -> None:
        """Fill the free space, and what is freed meanwhile, until `leave_bytes` are left."""
        with (self.path / _FILLER).open("ab", buffering=0) as file:
            try:
                while self._free_bytes() > leave_bytes or not leave_bytes:
                    file.write(_CHUNK)
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise

    def empty(self) -> None:
        (self.path / _FILLER).unlink(missing_ok=True)

    def _free_bytes(self) -> int:
        found = os.statvfs(self.path)
        return found.f_bavail * found.f_frsize

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Lazily: a process that is ending may still hold a file open.
        with contextlib.suppress(OSError):
            subprocess.run(["umount", "--lazy", str(self.path)], capture_output=True)
