"""The fuse of one process: it opens within a few requests of a failing canary, and needs no database.

An e-detector (Shin, Ramdas & Rinaldo, arXiv 2203.03532) for "at most 5 % errors" against "50 %":
a likelihood ratio that restarts at every request j with weight 1/((j+1)(j+2)). The weights sum to 1, so a healthy
canary opens it with probability at most alpha, however long it runs. Not thread-safe: one per event loop.
"""

import msgspec

TOLERATED_ERROR_RATE = 0.05
FAILING_ERROR_RATE = 0.5
ALPHA = 0.001
PRODUCTION_WINDOW_SECONDS = 60
PRODUCTION_FAILING_RATE = 0.05

_ON_ERROR = FAILING_ERROR_RATE / TOLERATED_ERROR_RATE
_ON_SUCCESS = (1.0 - FAILING_ERROR_RATE) / (1.0 - TOLERATED_ERROR_RATE)
_SLOT_SECONDS = 10
_SLOTS = PRODUCTION_WINDOW_SECONDS // _SLOT_SECONDS


class FuseTrip(msgspec.Struct, frozen=True):
    """A report to the controller. With `production_failing` it causes a hold and an alert instead of a rollback."""

    at: float
    requests: int
    errors: int
    production_failing: bool


class Fuse:
    """While `open`, this process must not route to the canary. It never closes again; a retry is a new rollout."""

    __slots__ = ("_errors", "_evidence", "_held", "_requests", "_slot", "_slots", "open")

    def __init__(self) -> None:
        self.open = False
        self._evidence = 0.0
        self._requests = 0
        self._errors = 0
        self._held = False
        self._slot = 0
        # [requests, errors] of production per 10 s, the current slot last.
        self._slots = [[0, 0] for _ in range(_SLOTS)]

    def observe_canary(self, failed: bool, now: float) -> FuseTrip | None:
        """Count one canary answer; return a report once when the fuse opens, and once when production prevents it."""
        j = self._requests
        self._requests = j + 1
        if failed:
            self._errors += 1
            self._evidence = (self._evidence + 1.0 / ((j + 1) * (j + 2))) * _ON_ERROR
            if self._evidence >= 1.0 / ALPHA and not self.open:
                return self._trip(now)
        else:
            self._evidence = (self._evidence + 1.0 / ((j + 1) * (j + 2))) * _ON_SUCCESS
        return None

    def observe_production(self, failed: bool, now: float, times: int = 1) -> None:
        """Count production's answers, so that an incident in both arms is not attributed to the canary."""
        slot = now // _SLOT_SECONDS
        if slot != self._slot:
            self._advance_to(int(slot))
        counts = self._slots[-1]
        counts[0] += times
        if failed:
            counts[1] += times

    def production_failing(self, now: float) -> bool:
        """Return whether production had at least 5 % errors in the last 60 s; silence is not failure."""
        self._advance_to(int(now // _SLOT_SECONDS))
        requests = sum(counts[0] for counts in self._slots)
        errors = sum(counts[1] for counts in self._slots)
        return errors > 0 and errors >= PRODUCTION_FAILING_RATE * requests

    def _trip(self, now: float) -> FuseTrip | None:
        failing = self.production_failing(now)
        if failing and self._held:
            return None
        self._held = failing
        self.open = not failing
        return FuseTrip(now, self._requests, self._errors, failing)

    def _advance_to(self, slot: int) -> None:
        for _ in range(min(_SLOTS, slot - self._slot)):
            self._slots.append([0, 0])
            del self._slots[0]
        self._slot = max(slot, self._slot)
