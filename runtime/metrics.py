"""All metrics of the product. Label values are closed sets or registry names, never an event or a customer.

With several workers prometheus_client stores its values in files (PROMETHEUS_MULTIPROC_DIR, set by BentoML), so any
worker can export the metrics of all.
"""

import contextlib
import os
from bisect import bisect_left
from collections.abc import Sequence
from pathlib import Path

from prometheus_client import REGISTRY as _PROCESS_REGISTRY
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, multiprocess

from runtime.build import Build

# Dense from 5 to 60 ms, in steps of at most 20 %, to resolve the 30 ms objective and p95 ratios of 1.3.
LATENCY_EDGES = (
    0.0005, 0.001, 0.002, 0.003, 0.004, 0.005, 0.006, 0.007, 0.008, 0.009, 0.010, 0.0115, 0.013, 0.015, 0.017,
    0.0195, 0.0225, 0.026, 0.030, 0.034, 0.039, 0.045, 0.052, 0.060, 0.080, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 10.0,
)  # fmt: skip
REASONS_EDGES = (1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 2.0)
SCORE_EDGES = tuple(n / 20 for n in range(1, 20))
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

predictions = Counter(
    "sira_predictions_total", "Scored and failed events.", ["product", "variant", "decision", "outcome"]
)
inference_latency = Histogram(
    "sira_inference_latency_seconds",
    "Time from a request's arrival to its durable answer.",
    ["product", "variant"],
    buckets=LATENCY_EDGES,
)
model_score = Histogram(
    "sira_model_score_seconds",
    "Duration of one model run (session.run of a batch).",
    ["product", "variant"],
    buckets=LATENCY_EDGES,
)
scores = Histogram("sira_scores", "Fraud probabilities in answers.", ["product", "variant"], buckets=SCORE_EDGES)
cache_hits = Counter("sira_cache_hits_total", "Scores taken from the cache.", ["product"])
cache_misses = Counter("sira_cache_misses_total", "Scores computed by the model.", ["product"])
canary_fallbacks = Counter(
    "sira_canary_fallbacks_total", "Canary events answered by production.", ["product", "reason"]
)
canary_paired_dropped = Counter(
    "sira_canary_paired_dropped_total", "Events not scored by both models because the queue was full.", ["product"]
)
canary_percent = Gauge(
    "sira_canary_percent", "Share of traffic routed to the canary.", ["product"], multiprocess_mode="livemostrecent"
)
canary_verdict = Gauge(
    "sira_canary_verdict",
    "1 for the latest verdict, 0 for the others.",
    ["product", "verdict"],
    multiprocess_mode="livemostrecent",
)
canary_last_verdict = Gauge(
    "sira_canary_last_verdict_timestamp_seconds",
    "Time of the latest verdict.",
    ["product"],
    multiprocess_mode="livemax",
)
canary_rollbacks = Counter(
    "sira_canary_rollbacks_total",
    "Rollbacks, once per rule that asked for one; `reason` is the rule.",
    ["product", "reason"],
)
score_psi = Gauge(
    "sira_score_psi",
    "Population stability index of the scores relative to production's.",
    ["product", "variant"],
    multiprocess_mode="livemostrecent",
)
guard_ready = Gauge(
    "sira_decision_guard_ready",
    "Whether production's decision guard has enough history of the present hour (1).",
    ["product"],
    multiprocess_mode="livemax",
)
decision_guard = Gauge(
    "sira_decision_guard",
    "Whether the share of production's events with this decision is beyond what is normal for the hour (1).",
    ["product", "decision"],
    multiprocess_mode="livemax",
)
field_alarm = Gauge(
    "sira_field_alarm",
    "Whether a field of a product's events has changed (1): missing, unseen or drift.",
    ["product", "field", "alarm"],
    multiprocess_mode="livemax",
)
cohort_recall = Gauge(
    "sira_cohort_recall",
    "Recall of the production version: observed in its newest matured cohort, estimated in its newest whole week.",
    ["product", "version", "threshold", "kind"],
    multiprocess_mode="livemostrecent",
)
cohort_precision = Gauge(
    "sira_cohort_precision",
    "Precision of the production version: observed in its newest matured cohort, estimated in its newest whole week.",
    ["product", "version", "threshold", "kind"],
    multiprocess_mode="livemostrecent",
)
cohort_label_share = Gauge(
    "sira_cohort_label_share",
    "Share of the events of the production version's newest matured cohort that have a label.",
    ["product", "version"],
    multiprocess_mode="livemostrecent",
)
breaker_tripped = Gauge(
    "sira_breaker_tripped",
    "Whether this worker answers review instead of block, because the product's breaker has tripped (1).",
    ["product"],
    multiprocess_mode="livemostrecent",
)
decisions_downgraded = Counter(
    "sira_decisions_downgraded_total", "Answers that were made reviews by the breaker instead of blocks.", ["product"]
)
control_group_passed = Counter(
    "sira_control_group_passed_total",
    "Events that a model wanted to block and the control group let pass.",
    ["product"],
)
workers_ready = Gauge(
    "sira_workers_ready",
    "Workers that are ready; a probe only reaches the worker that accepts its connection.",
    multiprocess_mode="livesum",
)
spool_rows = Gauge(
    "sira_log_spool_rows", "Rows in the spool that are not in Postgres yet.", multiprocess_mode="livesum"
)
spool_bytes = Gauge(
    "sira_log_spool_bytes", "Bytes in the spool that are not in Postgres yet.", multiprocess_mode="livesum"
)
spool_limit_bytes = Gauge(
    "sira_log_spool_limit_bytes",
    "Spool size in bytes at which scoring requests are refused.",
    multiprocess_mode="livesum",
)
spool_oldest = Gauge(
    "sira_log_oldest_unshipped_seconds",
    "Age of the oldest row that is not in Postgres yet.",
    multiprocess_mode="livemax",
)
log_newest_row = Gauge(
    "sira_log_newest_row_timestamp_seconds",
    "Answer time of the newest row in Postgres, read by the controller.",
    ["product"],
    multiprocess_mode="livemax",
)
log_commit = Histogram(
    "sira_log_commit_seconds",
    "Time to write a group of rows to the spool's disk, synced; their answers wait for it.",
    buckets=LATENCY_EDGES,
)
log_shipped = Counter("sira_log_shipped_total", "Rows shipped to Postgres.")
log_ship_failures = Counter("sira_log_ship_failures_total", "Failed attempts to ship rows.")
log_damaged = Counter(
    "sira_log_damaged_total", "Answered rows that the spool's disk damaged before they were in Postgres."
)
log_refused = Counter("sira_log_refused_total", "Rows that Postgres refused; they are set aside in the spool.")
reasons_seconds = Histogram(
    "sira_reasons_seconds",
    "Time to explain one event, or its share of a batch.",
    ["product", "method"],
    buckets=REASONS_EDGES,
)
reasons_dropped = Counter(
    "sira_reasons_dropped_total",
    "Predictions whose reasons were wanted and not stored, because of a full queue or spool, or a fault.",
    ["product", "reason"],
)
reasons_not_additive = Counter(
    "sira_reasons_not_additive_total",
    "Explanations that were not given because they did not add up to the score.",
    ["product"],
)
log_rows_missing = Gauge(
    "sira_log_rows_missing",
    "Rows that were shipped or counted, and are neither in Postgres nor in the archive.",
    ["product", "hour"],
    multiprocess_mode="livemax",
)
archive_days_behind = Gauge(
    "sira_archive_days_behind",
    "Closed days whose predictions are not all in the archive.",
    multiprocess_mode="livemax",
)
backtests = Gauge(
    "sira_backtests",
    "Backtests that were asked for over HTTP: waiting, running, done or failed.",
    ["product", "status"],
    multiprocess_mode="livemax",
)
backtest_ended = Gauge(
    "sira_backtest_ended_timestamp_seconds",
    "Time at which the latest backtest with this status ended.",
    ["product", "status"],
    multiprocess_mode="livemax",
)
model_info = Gauge(
    "sira_model_info",
    "1 for each model that is served.",
    ["product", "model_id", "version", "variant"],
    multiprocess_mode="livemostrecent",
)
model_load_failures = Counter("sira_model_load_failures_total", "Failed model loads.", ["product", "reason"])
products_without_production = Gauge(
    "sira_products_without_production", "Products whose production model is not loaded.", multiprocess_mode="livemax"
)
serving_last_served = Gauge(
    "sira_serving_last_served",
    "1 while a worker serves from its local record because it has not read the registry since it started.",
    multiprocess_mode="livemax",
)
http_requests = Counter("sira_http_requests_total", "Responses by route and status.", ["route", "status"])
http_in_flight = Gauge("sira_http_in_flight", "Requests being answered.", multiprocess_mode="livesum")
http_rejected = Counter("sira_http_rejected_total", "Requests refused before scoring.", ["reason"])
build_info = Gauge(
    "sira_build_info",
    "1, labelled with the running build.",
    ["version", "commit", "bento"],
    multiprocess_mode="livemostrecent",
)


def begin_at_zero(product: str, variant: str) -> None:
    """Create a model's series before its first request, so that the runbook's greps find them and rates start at 0."""
    inference_latency.labels(product, variant)
    cache_hits.labels(product)
    cache_misses.labels(product)
    reasons_not_additive.labels(product)
    reasons_dropped.labels(product, "queue_full")


def record_build(build: Build) -> None:
    build_info.labels(build.version, build.commit, build.bento).set(1)


def observe_many(histogram: Histogram, counts: Sequence[int], total: float) -> None:
    """Add observations as counts per bucket (the last bucket is infinity) and their sum: one file write per bucket.

    prometheus_client has no public call for this; a test shows that it equals observing each value.
    """
    for bucket, count in zip(histogram._buckets, counts, strict=True):
        if count:
            bucket.inc(count)
    histogram._sum.inc(total)


def observe_reasons(product: str, method: str, seconds: float, events: int) -> None:
    """Add a batch of explanations that took `seconds` together."""
    counts = [0] * (len(REASONS_EDGES) + 1)
    counts[bisect_left(REASONS_EDGES, seconds / events)] = events
    observe_many(reasons_seconds.labels(product, method), counts, seconds)


def exposition() -> bytes:
    """Return the metrics of all workers of this pod in Prometheus text format."""
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return generate_latest(_PROCESS_REGISTRY)
    _forget_dead_workers(Path(os.environ["PROMETHEUS_MULTIPROC_DIR"]))
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(registry)


def _forget_dead_workers(folder: Path) -> None:
    """Delete the gauges of killed workers, which would never change again; counters are kept."""
    for pid in {int(file.stem.rpartition("_")[2]) for file in folder.glob("gauge_live*.db")}:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            with contextlib.suppress(FileNotFoundError):  # another worker has deleted it
                multiprocess.mark_process_dead(pid)  # type: ignore[no-untyped-call]
        except PermissionError:
            pass  # it is alive, under another user
