"""The evidence of a rollout: counts per arm in buckets of 5 seconds. Everything merges by addition."""

from math import ceil, log

import msgspec

BUCKET_SECONDS = 5
# A rollout starts with this much of production's history, stored as a phase of its own.
HISTORY_SECONDS = 600
HISTORY_PHASE = -1
SEAL_DELAY_SECONDS = 5

# 13 bins make exactly a factor of 1.3, so "1.3 times slower" is a whole number of bins.
BINS_PER_LIMIT = 13
LIMIT_RATIO = 1.3
FIRST_EDGE_SECONDS = 0.001
LATENCY_BINS = 458
LAST_LATENCY_BIN = LATENCY_BINS - 1
SCORE_BINS = 20

Histogram = dict[int, int]


class ArmBucket(msgspec.Struct, frozen=True):
    """Counts of one arm in one bucket.

    requests: counted when routed; a request unfinished at its deadline is an error.
    errors:   failed requests of every kind, `timeouts` included.
    latency:  bins of `latency_bin`; model scoring only, without cache hits and first calls after a load.
    scores:   bins of `score_bin`.
    """

    requests: int = 0
    errors: int = 0
    timeouts: int = 0
    latency: Histogram = {}
    allow: int = 0
    review: int = 0
    block: int = 0
    scores: Histogram = {}

    def __add__(self, other: "ArmBucket") -> "ArmBucket":
        return ArmBucket(
            requests=self.requests + other.requests,
            errors=self.errors + other.errors,
            timeouts=self.timeouts + other.timeouts,
            latency=_merged(self.latency, other.latency),
            allow=self.allow + other.allow,
            review=self.review + other.review,
            block=self.block + other.block,
            scores=_merged(self.scores, other.scores),
        )


class Paired(msgspec.Struct, frozen=True):
    """Events that both models scored, by who blocked: both (n11), canary only (n10), production only (n01), neither."""

    n11: int = 0
    n10: int = 0
    n01: int = 0
    n00: int = 0

    def __add__(self, other: "Paired") -> "Paired":
        return Paired(self.n11 + other.n11, self.n10 + other.n10, self.n01 + other.n01, self.n00 + other.n00)

    @property
    def total(self) -> int:
        return self.n11 + self.n10 + self.n01 + self.n00


class Bucket(msgspec.Struct, frozen=True):
    """Counts of a rollout in [start, start + 5). `start`: epoch seconds, a multiple of 5."""

    start: int
    phase: int
    production: ArmBucket = ArmBucket()
    canary: ArmBucket = ArmBucket()
    paired: Paired = Paired()

    def __add__(self, other: "Bucket") -> "Bucket":
        """Return the sum of two processes' counts of the same bucket."""
        if (self.start, self.phase) != (other.start, other.phase):
            raise ValueError(f"buckets {self.start}/{self.phase} and {other.start}/{other.phase} do not merge")
        return Bucket(
            start=self.start,
            phase=self.phase,
            production=self.production + other.production,
            canary=self.canary + other.canary,
            paired=self.paired + other.paired,
        )


def bucket_start(now: float) -> int:
    """Return the start of the bucket that counts a row written at `now` (epoch seconds)."""
    return int(now // BUCKET_SECONDS) * BUCKET_SECONDS


def sealed_before(now: float) -> int:
    """Return the start of the first bucket that is not sealed yet: [b, b + 5) is sealed at b + 10."""
    return bucket_start(now - SEAL_DELAY_SECONDS)


def bins_of_ratio(ratio: float) -> int:
    """Return how many latency bins a ratio spans: 13 at the default limit of 1.3."""
    return round(BINS_PER_LIMIT * log(ratio) / log(LIMIT_RATIO))


def latency_bin(seconds: float) -> int:
    """Return the bin of a latency: 0 up to 1 ms, i in (edge(i - 1), edge(i)], and 457 for everything above.

    `0 if s <= 0.001 else min(457, ceil(ln(s / 0.001) * 13 / ln(1.3)))`: the SQL function sira_latency_bin
    computes the same in the same order, so that both round alike.
    """
    if seconds <= FIRST_EDGE_SECONDS:
        return 0
    return min(LAST_LATENCY_BIN, ceil(log(seconds / FIRST_EDGE_SECONDS) * BINS_PER_LIMIT / log(LIMIT_RATIO)))


def latency_edge(bin_: int) -> float:
    """Return the upper edge of a latency bin in seconds, infinity for the last bin."""
    if bin_ >= LAST_LATENCY_BIN:
        return float("inf")
    return float(FIRST_EDGE_SECONDS * LIMIT_RATIO ** (bin_ / BINS_PER_LIMIT))


def score_bin(score: float) -> int:
    """Return which of 20 equal bins of [0, 1] holds the score; 1.0 is in the last."""
    return min(SCORE_BINS - 1, int(score * SCORE_BINS))


def _merged(one: Histogram, other: Histogram) -> Histogram:
    return {key: one.get(key, 0) + other.get(key, 0) for key in sorted(one.keys() | other.keys())}
