"""GET /healthz, /readyz and /metrics: reasons for not being ready (503), and warnings while ready."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Literal

import msgspec

from edge.control.routes import Access, Call, Reply, Route, Text
from runtime import metrics

Reasons = Callable[[], list[str]]


class Health(msgspec.Struct):
    """The process is alive. `timestamp` is RFC 3339, UTC."""

    ok: Literal[True]
    service: Literal["sira-inference"]
    timestamp: str


class Ready(msgspec.Struct, omit_defaults=True):
    """Ready to score. `faults` lists problems that do not prevent it."""

    ready: Literal[True]
    faults: list[str] = []


class NotReady(msgspec.Struct):
    """Not ready to score yet, or no longer, and why."""

    ready: Literal[False]
    reasons: list[str]


def health_routes(not_ready_because: Reasons, faults: Reasons) -> tuple[Route, ...]:
    """Return the health routes of a process that reports its reasons for not being ready, and its faults."""

    def readyz(call: Call) -> Reply:
        if reasons := not_ready_because():
            return Reply(NotReady(ready=False, reasons=reasons), 503)
        return Reply(Ready(ready=True, faults=faults()))

    return (
        Route(
            "GET", "/healthz", Access.ANYONE, healthz, "Health", "Tell whether the process is alive",
            gives={200: Health}, local=True,
        ),
        Route(
            "GET", "/readyz", Access.ANYONE, readyz, "Health", "Tell whether the process is ready",
            gives={200: Ready, 503: NotReady}, local=True,
        ),
        Route(
            "GET", "/metrics", Access.ANYONE, exposition, "Health", "Prometheus text of all workers",
            gives={200: Text("text/plain")}, local=True,
        ),
    )  # fmt: skip


def healthz(call: Call) -> Reply:
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return Reply(Health(ok=True, service="sira-inference", timestamp=now))


def exposition(call: Call) -> Reply:
    return Reply(text=metrics.exposition().decode(), media_type=metrics.CONTENT_TYPE)
