"""GET /healthz, /readyz and /metrics."""

from collections.abc import Callable
from datetime import UTC, datetime

from edge.routes import Access, Call, Reply, Route
from runtime import metrics

Reasons = Callable[[], list[str]]


def health_routes(not_ready_because: Reasons, faults: Reasons) -> tuple[Route, ...]:
    """Routes of a process that says itself why it is not ready, and what is wrong although it is."""

    def readyz(call: Call) -> Reply:
        reasons = not_ready_because()
        if reasons:
            return Reply({"ready": False, "reasons": reasons}, 503)
        found = faults()
        return Reply({"ready": True, "faults": found} if found else {"ready": True})

    return (
        Route("GET", "/healthz", Access.ANYONE, healthz, local=True),
        Route("GET", "/readyz", Access.ANYONE, readyz, local=True),
        Route("GET", "/metrics", Access.ANYONE, exposition, local=True),
    )


def healthz(call: Call) -> Reply:
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return Reply({"ok": True, "service": "sira-inference", "timestamp": now})


def exposition(call: Call) -> Reply:
    return Reply(text=metrics.exposition().decode(), media_type=metrics.CONTENT_TYPE)
