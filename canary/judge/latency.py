"""Latency histograms of the last ten minutes, in blocks of one minute. Arrays end in (arm, bin)."""

import msgspec
import numpy as np
from numpy.typing import NDArray

from canary.judge.evidence import LAST_LATENCY_BIN, LATENCY_BINS
from canary.judge.sequential import IntArray

LatencyArray = NDArray[np.int32]
Counts = LatencyArray | IntArray

P95 = 0.95
BLOCK_SECONDS = 60
BLOCKS = 10


class LatencyWindow(msgspec.Struct, frozen=True):
    """minutes: block numbers, newest last; blocks: each (..., 2, 458); total: their sum."""

    minutes: tuple[int, ...]
    blocks: tuple[LatencyArray, ...]
    total: LatencyArray


def empty_window(shape: tuple[int, ...]) -> LatencyWindow:
    return LatencyWindow((), (), np.zeros((*shape, 2, LATENCY_BINS), dtype=np.int32))


def add_latency(window: LatencyWindow, minute: int, latency: LatencyArray) -> LatencyWindow:
    """Add a bucket's histograms to the block of its minute, and drop blocks older than ten minutes."""
    minutes, blocks, total = window.minutes, window.blocks, window.total + latency
    if minutes and minutes[-1] == minute:
        return LatencyWindow(minutes, (*blocks[:-1], blocks[-1] + latency), total)
    expired = sum(number <= minute - BLOCKS for number in minutes)
    for block in blocks[:expired]:
        total = total - block
    return LatencyWindow((*minutes[expired:], minute), (*blocks[expired:], latency), total)


def latency_since(window: LatencyWindow, minute: int) -> LatencyArray:
    """Return the histograms (..., 2, 458) of the blocks from `minute` on."""
    recent = [block for number, block in zip(window.minutes, window.blocks, strict=True) if number >= minute]
    return np.sum(recent, axis=0, dtype=np.int32) if recent else np.zeros_like(window.total)


def quantile_bin(histogram: Counts, quantile: float) -> IntArray:
    """Return the bin that holds the quantile: (..., 458) -> (...). Bin 0 when the histogram is empty."""
    running = histogram.cumsum(axis=-1)
    return np.asarray((running >= quantile * running[..., -1:]).argmax(axis=-1))


def count_above(histogram: Counts, bin_: IntArray) -> IntArray:
    """Return the count in bins above `bin_`: (..., 458), (...) -> (...)."""
    return counts_above(histogram, bin_[..., None])[..., 0]


def counts_above(histogram: Counts, bins: IntArray) -> IntArray:
    """Return the counts in bins above each of `bins`, which are not negative: (..., 458), (..., G) -> (..., G)."""
    running = histogram.cumsum(axis=-1)
    edges = np.minimum(bins, LAST_LATENCY_BIN)
    # Plain indexing is several times as fast, and serving needs no other.
    below = running[edges] if running.ndim == 1 else np.take_along_axis(running, edges, axis=-1)
    return np.asarray(running[..., -1:] - below)
