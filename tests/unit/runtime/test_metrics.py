"""The names and labels that dashboards and alerts rely on."""

import itertools
import re
import subprocess
import sys
from pathlib import Path

from prometheus_client import REGISTRY, Histogram

from runtime import metrics

ROOT = Path(__file__).resolve().parents[3]
NEVER_LABELS = {"event_id", "routing_key", "customer", "prediction_id", "path", "user"}


def test_every_metric_is_named_sira_and_counters_end_in_total() -> None:
    families = [family for family in REGISTRY.collect() if family.name.startswith("sira_")]
    assert len(families) > 20
    for family in families:
        names = {sample.name for sample in family.samples}
        assert all(re.fullmatch(r"sira_[a-z_]+", name) for name in names)
        if family.type == "counter":
            assert all(name.endswith(("_total", "_created")) for name in names)


def test_no_label_carries_an_event_or_a_customer() -> None:
    collectors = [getattr(metrics, name) for name in dir(metrics)]
    labels = {label for one in collectors for label in getattr(one, "_labelnames", ())}
    assert "product" in labels
    assert not labels & NEVER_LABELS


def test_latency_edges_resolve_30_ms_and_a_ratio_of_1_3() -> None:
    edges = metrics.LATENCY_EDGES
    assert 0.030 in edges
    assert list(edges) == sorted(set(edges))
    dense = [edge for edge in edges if 0.005 <= edge <= 0.060]
    assert all(higher / lower < 1.3 for lower, higher in itertools.pairwise(dense))
    for histogram in (metrics.inference_latency, metrics.model_score):
        assert isinstance(histogram, Histogram)
        assert tuple(histogram._upper_bounds[:-1]) == edges


WORKER = """
import os, sys, time
from runtime import metrics
metrics.cache_hits.labels("cards").inc(int(sys.argv[1]))
metrics.spool_rows.set(int(sys.argv[1]))
print(metrics.exposition().decode() if sys.argv[2] == "export" else "waiting", flush=True)
time.sleep(60 if sys.argv[2] == "wait" else 0)
"""


def run(folder: Path, number: int, then: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WORKER, str(number), then],
        cwd=ROOT,
        env={"PROMETHEUS_MULTIPROC_DIR": str(folder), "PATH": ""},
        stdout=subprocess.PIPE,
        text=True,
    )


def exported(process: subprocess.Popen[str], name: str) -> float:
    said, _ = process.communicate(timeout=30)
    return float(re.findall(rf"^{name}(?:\{{.*\}})? (.*)$", said, re.MULTILINE)[0])


def test_any_worker_answers_for_all_and_a_dead_one_s_gauges_are_forgotten(tmp_path: Path) -> None:
    """A killed worker's rows wait in its spool for whoever claims it; they must not be counted forever."""
    alive, dead = run(tmp_path, 5, "wait"), run(tmp_path, 100, "wait")
    for worker in (alive, dead):
        assert worker.stdout is not None
        assert worker.stdout.readline() == "waiting\n"
    dead.kill()
    dead.communicate()
    assert exported(run(tmp_path, 2, "export"), "sira_cache_hits_total") == 107
    assert exported(run(tmp_path, 2, "export"), "sira_log_spool_rows") == 7
    alive.kill()
    alive.communicate()


def test_a_model_that_nobody_has_asked_yet_has_its_latency_and_its_cache_at_zero() -> None:
    metrics.begin_at_zero("unasked", "production")
    text = metrics.exposition().decode()
    assert 'sira_inference_latency_seconds_bucket{le="0.03",product="unasked",variant="production"} 0.0' in text
    assert 'sira_cache_hits_total{product="unasked"} 0.0' in text
