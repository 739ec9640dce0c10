"""Waiting for a condition that another process brings about."""

import time
from collections.abc import Callable

from lab.errors import NotInTime

POLL_SECONDS = 0.05


def wait_until(met: Callable[[], bool], seconds: float, condition: str) -> float:
    """Poll until `met()` is true; return the seconds it took. Raises NotInTime, which names `condition`."""
    started = time.monotonic()
    while not met():
        if time.monotonic() - started > seconds:
            raise NotInTime(condition, seconds)
        time.sleep(POLL_SECONDS)
    return time.monotonic() - started
