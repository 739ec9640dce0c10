"""Every metric of the product, named once. Labels are closed sets or registry names: never an event or a customer.

With several workers prometheus_client keeps its values in files (PROMETHEUS_MULTIPROC_DIR, set by BentoML), and any
worker answers for all.
"""

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path

from prometheus_client import REGISTRY as _PROCESS_REGISTRY
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, multiprocess

from runtime.build import Build

# Dense from 5 to 60 ms, by 13 % and less: the 30 ms promise and ratios of 1.3 resolve.
LATENCY_EDGES = (
    0.0005, 0.001, 0.002, 0.003, 0.004, 0.005, 0.006, 0.007, 0.008, 0.009, 0.010, 0.0115, 0.013, 0.015, 0.017,
    0.0195, 0.0225, 0.026, 0.030, 0.034, 0.039, 0.045, 0.052, 0.060, 0.080, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 10.0,
)  # fmt: skip
SCORE_EDGES = tuple(n / 20 for n in range(1, 20))
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

predictions = Counter(
    "sira_predictions_total", "Events answered or failed.", ["product", "variant", "decision", "outcome"]
)
inference_latency = Histogram(
    "sira_inference_latency_seconds",
    "From the request's arrival to its durable answer.",
    ["product", "variant"],
    buckets=LATENCY_EDGES,
)
model_score = Histogram(
    "sira_model_score_seconds", "One session.run of a batch.", ["product", "variant"], buckets=LATENCY_EDGES
)
scores = Histogram("sira_scores", "Fraud probabilities answered.", ["product", "variant"], buckets=SCORE_EDGES)
cache_hits = Counter("sira_cache_hits_total", "Scores taken from the cache.", ["product"])
cache_misses = Counter("sira_cache_misses_total", "Scores the model had to make.", ["product"])
canary_fallbacks = Counter(
    "sira_canary_fallbacks_total", "Canary events that production answered.", ["product", "reason"]
)
canary_paired_dropped = Counter(
    "sira_canary_paired_dropped_total", "Events not scored by both models, for lack of room.", ["product"]
)
canary_percent = Gauge(
    "sira_canary_percent", "Share of traffic routed to the canary.", ["product"], multiprocess_mode="livemostrecent"
)
canary_verdict = Gauge(
    "sira_canary_verdict", "1 for the latest verdict.", ["product", "verdict"], multiprocess_mode="livemostrecent"
)
canary_last_verdict = Gauge(
    "sira_canary_last_verdict_timestamp_seconds",
    "When the canary was last judged.",
    ["product"],
    multiprocess_mode="livemax",
)
canary_rollbacks = Counter("sira_canary_rollbacks_total", "Rollouts rolled back.", ["product", "reason"])
score_psi = Gauge(
    "sira_score_psi",
    "Population stability index of scores against production's.",
    ["product", "variant"],
    multiprocess_mode="livemostrecent",
)
workers_ready = Gauge(
    "sira_workers_ready",
    "Serving processes that are ready; a probe asks only the one that takes its connection.",
    multiprocess_mode="livesum",
)
spool_rows = Gauge("sira_log_spool_rows", "Rows waiting for Postgres.", multiprocess_mode="livesum")
spool_bytes = Gauge("sira_log_spool_bytes", "Bytes waiting for Postgres.", multiprocess_mode="livesum")
spool_limit_bytes = Gauge("sira_log_spool_limit_bytes", "Bytes at which answers stop.", multiprocess_mode="livesum")
spool_oldest = Gauge("sira_log_oldest_unshipped_seconds", "Age of the oldest row waiting.", multiprocess_mode="livemax")
log_newest_row = Gauge(
    "sira_log_newest_row_timestamp_seconds",
    "When the newest row that Postgres has was answered, as the controller sees it.",
    ["product"],
    multiprocess_mode="livemax",
)
log_shipped = Counter("sira_log_shipped_total", "Rows that Postgres has.")
log_ship_failures = Counter("sira_log_ship_failures_total", "Failed attempts to ship.")
log_refused = Counter("sira_log_refused_total", "Rows that Postgres refused, set aside in the spool.")
model_info = Gauge(
    "sira_model_info",
    "1 for each model served.",
    ["product", "model_id", "version", "variant"],
    multiprocess_mode="livemostrecent",
)
model_load_failures = Counter("sira_model_load_failures_total", "Failed model loads.", ["product", "reason"])
products_without_production = Gauge(
    "sira_products_without_production", "Products whose production model does not serve.", multiprocess_mode="livemax"
)
serving_last_served = Gauge(
    "sira_serving_last_served",
    "1 while a worker serves what was served last, for it could not read the registry since it started.",
    multiprocess_mode="livemax",
)
http_requests = Counter("sira_http_requests_total", "Answers by route and status.", ["route", "status"])
http_in_flight = Gauge("sira_http_in_flight", "Requests being answered.", multiprocess_mode="livesum")
http_rejected = Counter("sira_http_rejected_total", "Requests turned away before scoring.", ["reason"])
build_info = Gauge(
    "sira_build_info", "1, with what runs.", ["version", "commit", "bento"], multiprocess_mode="livemostrecent"
)


def begin_at_zero(product: str, variant: str) -> None:
    """The series of a model that nobody has asked yet: the runbook's greps find them, and a rate has a start."""
    inference_latency.labels(product, variant)
    cache_hits.labels(product)
    cache_misses.labels(product)


def tell_build(build: Build) -> None:
    build_info.labels(build.version, build.commit, build.bento).set(1)


def observe_many(histogram: Histogram, counts: Sequence[int], total: float) -> None:
    """Add observations counted per upper edge in order, infinity the last: one file write an edge, not one a request.

    prometheus_client has no public call for it; a test holds that this equals observing each.
    """
    for bucket, count in zip(histogram._buckets, counts, strict=True):
        if count:
            bucket.inc(count)
    histogram._sum.inc(total)


def exposition() -> bytes:
    """Prometheus text of all workers of this pod."""
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return generate_latest(_PROCESS_REGISTRY)
    _forget_dead_workers(Path(os.environ["PROMETHEUS_MULTIPROC_DIR"]))
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(registry)


def _forget_dead_workers(folder: Path) -> None:
    """Drop the gauges of killed workers, which would stand still for ever; what they counted stays counted."""
    for pid in {int(file.stem.rpartition("_")[2]) for file in folder.glob("gauge_live*.db")}:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            with contextlib.suppress(FileNotFoundError):  # Another worker was quicker.
                multiprocess.mark_process_dead(pid)  # type: ignore[no-untyped-call]
        except PermissionError:
            pass  # It lives, as someone else.
