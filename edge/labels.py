"""POST /v1/labels: what events turned out to be."""

from datetime import UTC, datetime

from canary.labels.parsing import LabelsToAdd, dated
from canary.labels.store import insert_labels
from edge.routes import Access, Call, Reply, Route
from runtime.reading import read

BODY_LIMIT = 2 << 20


def add(call: Call) -> Reply:
    """A label sent again changes nothing; of several for one event the latest counts."""
    labels = dated(read(LabelsToAdd, call.body), datetime.now(UTC))
    with call.resources.connect() as connection:
        new = insert_labels(connection, labels, actor=call.actor)
    return Reply({"received": len(labels), "new": new})


ROUTES = (Route("POST", "/v1/labels", Access.SERVICE_OR_ML_OPS, add, body_limit=BODY_LIMIT),)
