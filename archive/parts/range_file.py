"""A stored object as a file that is read at any place."""

import io
from collections.abc import Callable

ReadRange = Callable[[int, int], bytes]
"""Returns the bytes from a place on, of a length."""


class RangeFile(io.RawIOBase):
    """Each read is one request; Parquet readers ask for whole column chunks."""

    def __init__(self, read_range: ReadRange, size: int) -> None:
        self._read_range = read_range
        self._size = size
        self._place = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._place = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._size}[whence]
        return self._place

    def read(self, size: int = -1) -> bytes:
        left = max(0, self._size - self._place)
        size = left if size < 0 else min(size, left)
        found = self._read_range(self._place, size) if size else b""
        self._place += len(found)
        return found
