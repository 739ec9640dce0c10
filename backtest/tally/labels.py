"""The labels of any number of events in eight bytes each, as a sorted array that processes can share."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa

FRAUD, LEGITIMATE, UNLABELLED = 0, 1, 2
_MAX_ID_BYTES = 4 * 128
# Fixed for all time, so that every process and every engine computes the same keys. Raw bits of PCG64 never change.
_WEIGHTS = np.random.PCG64(20_261_127).random_raw(2 * _MAX_ID_BYTES).astype(np.uint64)
_LABEL_BIT = np.uint64(1)
_KEY_BITS = ~_LABEL_BIT


class LabelIndex:
    """Finds labels by a 63-bit hash of the event id. Two of a billion events share a hash with a chance of 1 in 20."""

    def __init__(self, keys: np.ndarray[Any, np.dtype[np.uint64]]) -> None:
        """`keys` as `label_keys` returns them."""
        self._keys = keys

    @property
    def keys(self) -> np.ndarray[Any, np.dtype[np.uint64]]:
        return self._keys

    def of(self, event_ids: pa.Array) -> np.ndarray[Any, np.dtype[np.int8]]:
        """Return FRAUD, LEGITIMATE or UNLABELLED for each event."""
        labels = np.full(len(event_ids), UNLABELLED, np.int8)
        if not self._keys.size or not len(event_ids):
            return labels
        wanted = _hashes(event_ids)
        places = np.searchsorted(self._keys, wanted)
        found = self._keys[np.minimum(places, self._keys.size - 1)]
        known = (found & _KEY_BITS) == wanted
        labels[known] = np.where(found[known] & _LABEL_BIT, FRAUD, LEGITIMATE)
        return labels


def label_keys(batches: Iterable[tuple[pa.Array, pa.Array]]) -> np.ndarray[Any, np.dtype[np.uint64]]:
    """Return sorted keys of batches of event ids and their labels, true for fraud; each event is in one of them."""
    found = [
        _hashes(event_ids) | fraud.to_numpy(zero_copy_only=False).astype(np.uint64)
        for event_ids, fraud in batches
        if len(event_ids)
    ]
    return np.sort(np.concatenate(found)) if found else np.empty(0, np.uint64)


def _hashes(texts: pa.Array) -> np.ndarray[Any, np.dtype[np.uint64]]:
    """Return a hash of each string whose lowest bit is 0: a sum of its bytes, weighted by place."""
    # A slice, or a chunk of a table, may begin anywhere in its buffers.
    texts = texts.cast(pa.large_string())
    _, offset_buffer, data = texts.buffers()
    offsets = np.frombuffer(offset_buffer, np.int64)[texts.offset : texts.offset + len(texts) + 1]
    lengths = np.diff(offsets)
    if not lengths.all() or lengths.max() > _MAX_ID_BYTES:
        raise ValueError("an event id has 1 to 128 characters")
    content = np.frombuffer(data, np.uint8)[offsets[0] : offsets[-1]].astype(np.uint64)
    starts = offsets[:-1] - offsets[0]
    within = np.arange(content.size) - np.repeat(starts, lengths)
    sums = np.add.reduceat((content + _LABEL_BIT) * _WEIGHTS[within], starts)
    hashes: np.ndarray[Any, np.dtype[np.uint64]] = (sums + _WEIGHTS[_MAX_ID_BYTES - 1 + lengths]) & _KEY_BITS
    return hashes
