from collections.abc import Callable
from itertools import pairwise
from math import log

import numpy as np
import pytest
from scipy.stats import norm

from canary.judge.absorb import absorb
from canary.judge.evidence import BUCKET_SECONDS, LATENCY_BINS, ArmBucket, Bucket, Paired, latency_edge
from canary.judge.state import JudgeState
from canary.limits import Policy

LOG_EDGES = np.log([latency_edge(i) for i in range(LATENCY_BINS - 1)])

MakeArm = Callable[..., ArmBucket]
Absorbed = Callable[..., JudgeState]


@pytest.fixture
def arm() -> MakeArm:
    """Make one arm's bucket: errors, and lognormal latency of sigma 0.45 in exactly its expected shape."""

    def make(requests: int, errors: int = 0, median_seconds: float = 0.012) -> ArmBucket:
        below = norm.cdf((LOG_EDGES - log(median_seconds)) / 0.45)
        counted = [0, *np.rint(requests * below).astype(int).tolist(), requests]
        latency = {i: after - before for i, (before, after) in enumerate(pairwise(counted))}
        return ArmBucket(
            requests=requests,
            errors=errors,
            latency={i: count for i, count in latency.items() if count},
            scores={0: requests // 2, 1: requests - requests // 2},
        )

    return make


@pytest.fixture
def absorbed() -> Absorbed:
    """Return the judge's state after some equal buckets, which continue `before` if it is given."""

    def absorb_all(
        production: ArmBucket,
        canary: ArmBucket,
        buckets: int = 60,
        policy: Policy = Policy(percent=10),  # noqa: B008
        paired: Paired = Paired(n11=1, n00=99),  # noqa: B008
        before: JudgeState | None = None,
        phase: int = 0,
    ) -> JudgeState:
        state, start = before, 0 if before is None else before.through
        for number in range(buckets):
            bucket = Bucket(start + number * BUCKET_SECONDS, phase, production, canary, paired)
            state = absorb(state, bucket, policy)
        assert state is not None
        return state

    return absorb_all
