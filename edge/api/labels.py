"""POST /v1/labels: confirmed outcomes of events."""

from datetime import UTC, datetime

import msgspec

from canary.labels.parsing import LabelsToAdd, parse_times
from canary.labels.store import insert_labels
from edge.control.routes import Access, Call, Reply, Route

MAX_BODY_BYTES = 2 << 20


class LabelsAdded(msgspec.Struct):
    """`new` of the received labels were not known before."""

    received: int
    new: int


def add(call: Call) -> Reply:
    labels = parse_times(call.body, datetime.now(UTC))
    with call.resources.connect() as connection:
        new = insert_labels(connection, labels, actor=call.actor)
    return Reply(LabelsAdded(len(labels), new))


ROUTES = (
    Route(
        "POST",
        "/v1/labels",
        Access.SERVICE_OR_ML_OPS,
        add,
        "Scoring",
        "Add confirmed outcomes of events",
        takes=LabelsToAdd,
        gives={200: LabelsAdded},
        notes="Safe to repeat: a label sent again changes nothing, and of several for one event the latest counts.",
        body_limit=MAX_BODY_BYTES,
    ),
)
