"""The control group's slots of a day: workers take them from Postgres beside the answers' path, and then use them.

A worker without a slot lets nothing through, so all workers together never pass the day's limit, whatever fails.
"""

import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime

from runtime.postgres import Connection
from scoring.control_group import RunningControlGroup, is_selected, is_within_amount, slots_per_request
from scoring.event import Event
from scoring.models.store import return_slots, take_slots

# After a day's slots were used up: a worker that stops gives its own back.
RETRY_SECONDS = 30.0


class DaySlots:
    """The slots that this worker holds of one UTC day, and the events that used one.

    The event loop uses them, and the model sync adds to them.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._day: date | None = None
        self._left = 0
        self._used_by: set[str] = set()

    def add(self, day: date, slots: int) -> None:
        with self._lock:
            if day != self._day:
                self._day, self._left, self._used_by = day, 0, set()
            self._left += slots

    def left(self, day: date) -> int:
        return self._left if day == self._day else 0

    def was_used_by(self, day: date, event_id: str) -> bool:
        return day == self._day and event_id in self._used_by

    def use(self, event_id: str) -> None:
        with self._lock:
            self._left -= 1
            self._used_by.add(event_id)

    def give_back(self) -> tuple[date | None, int]:
        """Return what is left, which this worker then no longer has."""
        with self._lock:
            left, self._left = self._left, 0
            return self._day, left


@dataclass(frozen=True, slots=True)
class ServedControlGroup:
    """A control group as a worker applies it."""

    group: RunningControlGroup
    slots: DaySlots

    def let_through(self, event: Event, at: float) -> tuple[float, bool]:
        """Return the propensity of an event that would be blocked, and whether it is let through. `at`: unix seconds.

        The propensity does not depend on whether this event is selected: it is known before that is looked up.
        """
        group, slots, day = self.group, self.slots, _day(at)
        if slots.was_used_by(day, event.event_id):
            return group.share, True
        if slots.left(day) <= 0 or not is_within_amount(group, event.payload):
            return 0.0, False
        if not is_selected(group, event.event_id):
            return group.share, False
        slots.use(event.event_id)
        return group.share, True


class ControlSlots:
    """The slots of all products on this worker. Used by one thread, the model sync."""

    def __init__(self) -> None:
        self._slots: dict[str, DaySlots] = {}
        self._groups: tuple[RunningControlGroup, ...] = ()
        self._next_try: dict[str, float] = {}

    def served(self, groups: Iterable[RunningControlGroup]) -> Mapping[str, ServedControlGroup]:
        """Return the groups with the slots that this worker has of each product."""
        groups = tuple(groups)
        if groups != self._groups:
            self._groups = groups
            self._next_try.clear()
        return {
            group.product: ServedControlGroup(group, self._slots.setdefault(group.product, DaySlots()))
            for group in self._groups
        }

    def refill(self, connection: Connection) -> None:
        """Take slots for each product that has none left today. `connection` is in autocommit mode."""
        now = time.time()
        today = _day(now)
        for group in self._groups:
            slots = self._slots[group.product]
            if slots.left(today) > 0 or now < self._next_try.get(group.product, 0.0):
                continue
            taken = take_slots(connection, group.product, today, slots_per_request(group.max_per_day))
            slots.add(today, taken)
            if not taken:
                self._next_try[group.product] = now + RETRY_SECONDS

    def give_back(self, connection: Connection) -> None:
        """Return unused slots, so that a restart does not cost them."""
        for product, slots in self._slots.items():
            day, left = slots.give_back()
            if day is not None and left > 0:
                return_slots(connection, product, day, left)


def _day(at: float) -> date:
    return datetime.fromtimestamp(at, UTC).date()
