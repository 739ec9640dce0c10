"""Events of a batch that one production model takes: read by column, then scored, logged and answered together."""

from collections.abc import Iterable, Sequence
from typing import TypeVar

import msgspec

from registry.feed import Row
from scoring.columns.envelopes import Envelope
from scoring.event import Event, payload_of
from scoring.job import AnswerReceiver, Job
from scoring.models.slots import ProductSlot, Snapshot

T = TypeVar("T")


class EventColumns(msgspec.Struct, frozen=True, gc=False):
    """n events of a product. `places`: theirs in the batch; `texts`: canonical payloads; `rows`: what production takes.

    `arrived_at` is unix seconds, `started` the clock of latencies, both of the batch.
    """

    slot: ProductSlot
    arrived_at: float
    started: float
    places: list[int]
    event_ids: list[str]
    routing_keys: list[str]
    texts: list[bytes]
    rows: list[Row]

    def of(self, chosen: Sequence[int]) -> "EventColumns":
        """Return the events at these positions, counted from 0, as columns of their own."""
        return EventColumns(
            self.slot,
            self.arrived_at,
            self.started,
            picked(self.places, chosen),
            picked(self.event_ids, chosen),
            picked(self.routing_keys, chosen),
            picked(self.texts, chosen),
            picked(self.rows, chosen),
        )

    def job(self, i: int, reply: AnswerReceiver) -> Job:
        """Return one event as if it had come by itself, for production to score."""
        slot, text, row = self.slot, self.texts[i], self.rows[i]
        event = Event(self.event_ids[i], slot.product, payload_of(text), self.routing_keys[i], text)
        return Job(
            event, slot, slot.rollout, "production", slot.production, row, row, self.arrived_at, self.started, reply
        )  # fmt: skip


def picked(values: Sequence[T], chosen: Iterable[int]) -> list[T]:
    """Return the values at these positions."""
    return [values[i] for i in chosen]


def read_columns(
    envelopes: Sequence[Envelope], snapshot: Snapshot, arrived_at: float, started: float
) -> list[EventColumns]:
    """Return the events that production models take and score on the event loop; the rest is read event by event."""
    groups: dict[str, list[int]] = {}
    for place, envelope in enumerate(envelopes):
        if not envelope.reasons:
            groups.setdefault(envelope.product, []).append(place)
    found = []
    for product, places in groups.items():
        slot = snapshot.products.get(product)
        if slot is None or not slot.production.inline:
            continue
        read = slot.production.payloads.read([envelopes[place].payload for place in places])
        places = picked(places, read.positions)
        if places:
            taken = picked(envelopes, places)
            event_ids = [envelope.event_id for envelope in taken]
            keys = [envelope.routing_key or envelope.event_id for envelope in taken]
            found.append(EventColumns(slot, arrived_at, started, places, event_ids, keys, read.texts, read.rows))
    return found
