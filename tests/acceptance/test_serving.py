"""The service as a process: how it starts or refuses to, what it counts, and what it does without its parts."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lab.http import ask
from lab.ports import free_port
from lab.postgres import LocalPostgres
from lab.product import Service
from registry.model_version import Status
from runtime.postgres import connect
from tests.conftest import SERVICE_TOKEN
from tests.support.bare import add_version, command, environment, person, serving, starting
from tests.support.database_away import away
from tests.support.log_rows import wait_until
from tests.support.table_model import table_model

ROOT = Path(__file__).parents[2]
SCORES = [0.1, 0.6, 0.95]


@dataclass(frozen=True)
class Site:
    folder: Path
    database_url: str
    service: Service


@pytest.fixture(scope="module")
def site(postgres: LocalPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Two workers over a model of product cards."""
    folder: Path = tmp_path_factory.mktemp("serving")
    url = postgres.create_database("serving", template="sira_template")
    add_version(folder, url, table_model(SCORES))
    with serving(folder, url, workers=2) as service:
        yield Site(folder, url, service)
    postgres.drop_database("serving")


def infer(service: Service, event_id: str, amount: float = 1, product: str = "cards") -> Any:
    event = {"event_id": event_id, "product": product, "payload": {"amount": amount}}
    return ask(f"{service.url}/v1/infer", SERVICE_TOKEN, event)


# ---------------------------------------------------------------- counting


def test_metrics_are_right_with_two_workers(site: Site) -> None:
    service = site.service
    assert len(service.workers()) == 2
    series: dict[str, tuple[str, ...]] = {
        "sira_predictions_total": ('product="cards"', 'outcome="ok"', 'decision="block"'),
        "sira_inference_latency_seconds_count": ('product="cards"',),
        "sira_cache_hits_total": (),
        "sira_cache_misses_total": (),
        "sira_log_commit_seconds_count": (),
        "sira_log_shipped_total": (),
        "sira_http_requests_total": ('route="/v1/infer"', 'status="200"'),
    }
    before = {name: service.metric(name, *labels) for name, labels in series.items()}
    refused = service.metric("sira_http_requests_total", 'status="422"')

    def since(name: str) -> float:
        return service.metric(name, *series[name]) - before[name]

    for n in range(60):
        assert infer(service, f"counted{n}", n % 3).status == 200
    for _ in range(5):
        assert infer(service, "").status == 422
    assert wait_until(lambda: since("sira_http_requests_total") == 60, 10)
    assert wait_until(lambda: service.metric("sira_http_requests_total", 'status="422"') - refused == 5, 10)
    assert since("sira_predictions_total") == 20
    assert since("sira_inference_latency_seconds_count") == 60
    assert since("sira_log_commit_seconds_count") >= 60, "none of them shared a commit; reasons may have had their own"
    assert since("sira_cache_hits_total") + since("sira_cache_misses_total") == 60
    assert since("sira_cache_misses_total") <= 6, "each worker keeps a cache of its own"
    assert service.metric("sira_model_info", 'version="1"', 'variant="production"') == 1
    assert wait_until(lambda: since("sira_log_shipped_total") == 60, 10)
    assert wait_until(lambda: service.metric("sira_log_spool_rows") == 0, 10)


def test_no_counter_falls_when_a_worker_dies(tmp_path: Path, database_url: str) -> None:
    add_version(tmp_path, database_url, table_model(SCORES))
    with serving(tmp_path, database_url, workers=2) as service:
        names = ("sira_predictions_total", "sira_http_requests_total", "sira_inference_latency_seconds_count")
        for n in range(40):
            infer(service, f"before{n}", n % 3)
        assert wait_until(lambda: service.metric("sira_predictions_total") == 40, 10)
        before = [service.metric(name) for name in names]
        os.kill(service.workers()[0], signal.SIGKILL)
        assert wait_until(lambda: len(service.workers()) == 2 and service.all_ready(), 60)
        after = [service.metric(name) for name in names]
        assert all(now >= then for now, then in zip(after, before, strict=True))
        for n in range(20):
            infer(service, f"after{n}", n % 3)
        assert wait_until(lambda: service.metric("sira_predictions_total") == 60, 10)


def test_every_worker_gives_an_event_the_same_answer_before_and_after_a_restart(
    tmp_path: Path, database_url: str
) -> None:
    add_version(tmp_path, database_url, table_model(SCORES))
    answers = []
    for _ in range(2):
        with serving(tmp_path, database_url, workers=2) as service:
            for _ in range(8):
                answers.append({k: v for k, v in infer(service, "the same").body.items() if k != "cached"})
    assert all(answer == answers[0] for answer in answers)
    with connect(database_url, name="tests") as connection:
        assert wait_until(lambda: connection.execute("SELECT count(*) FROM sira_predictions").fetchone() == (1,), 5)


def test_a_stored_prediction_is_what_was_answered(site: Site) -> None:
    answer = infer(site.service, "kept", 2).body
    url = f"{site.service.url}/v1/predictions/{answer['prediction_id']}"
    assert wait_until(lambda: ask(url, person()).status == 200, 5)
    stored = ask(url, person()).body
    assert {name: stored[name] for name in answer} == answer
    assert (stored["event_id"], stored["payload"], stored["outcome"]) == ("kept", {"amount": 2}, "ok")


def test_a_product_is_unknown_until_it_has_a_production_model(site: Site) -> None:
    model_id = add_version(
        site.folder, site.database_url, table_model(SCORES), status=Status.STAGING, product="wallets"
    )
    assert infer(site.service, "e", product="wallets").status == 404
    promoted = ask(f"{site.service.url}/v1/models/{model_id}/promote", person(), {"target": "production"})
    assert promoted.status == 200
    assert wait_until(lambda: infer(site.service, "e", product="wallets").status == 200, 5)


# ---------------------------------------------------------------- starting


def start(folder: Path, database_url: str, changes: dict[str, str | None]) -> subprocess.CompletedProcess[str]:
    """A start that is expected to fail: what it said and its exit code."""
    known = environment(folder, database_url, workers=1)
    variables = {name: value for name, value in {**known, **changes}.items() if value is not None}
    return subprocess.run(
        [sys.executable, *command(free_port())], cwd=ROOT, env=variables, capture_output=True, text=True, timeout=60
    )


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"JWT_SECRET": None}, ["JWT_SECRET is missing"]),
        ({"INTERNAL_SERVICE_TOKEN": "too-short-to-be-kept"}, ["INTERNAL_SERVICE_TOKEN is shorter than 32 bytes"]),
        (
            {"DATABASE_URL": None, "MODEL_BUCKET": "ftp://x", "CACHE_MAX_ITEMS": "a dozen"},
            ["DATABASE_URL is missing", "MODEL_BUCKET", "CACHE_MAX_ITEMS"],
        ),
        ({"SPOOL_DIR": "/proc/spool"}, ["SPOOL_DIR /proc/spool cannot be written"]),
    ],
)
def test_a_wrong_setting_ends_the_start_with_one_line_that_names_it(
    tmp_path: Path, changes: dict[str, str | None], named: list[str]
) -> None:
    ended = start(tmp_path, "postgresql://localhost/none", changes)
    assert ended.returncode != 0
    said = (ended.stdout + ended.stderr).splitlines()
    (line,) = (line for line in said if "settings: " in line)
    assert all(name in line for name in named)
    assert "Traceback" not in ended.stdout + ended.stderr
    assert "too-short" not in ended.stdout + ended.stderr


TELEMETRY = """
import os
import service
import onnxruntime
print(os.environ["ORT_DISABLE_TELEMETRY"], os.environ["BENTOML_DO_NOT_TRACK"])
from bentoml._internal.utils.analytics.usage_stats import do_not_track
print(do_not_track())
"""


def test_neither_onnxruntime_nor_bentoml_reports_home() -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("ORT_", "BENTOML_"))}
    said = subprocess.run(
        [sys.executable, "-c", TELEMETRY], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    assert said.stdout.split() == ["1", "True", "True"]


def test_importing_the_service_reads_no_setting_and_starts_nothing(tmp_path: Path) -> None:
    said = subprocess.run(
        [sys.executable, "-c", "import service, threading; print(threading.active_count())"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert said.stdout.split() == ["1"]


# ---------------------------------------------------------------- without its parts


def test_once_ready_it_stays_ready_and_scores_while_postgres_is_away_and_says_so_on_control_routes(
    tmp_path: Path, postgres: LocalPostgres, database_url: str
) -> None:
    add_version(tmp_path, database_url, table_model(SCORES))
    with (
        connect(postgres.url("postgres"), name="tests", autocommit=True) as admin,
        serving(tmp_path, database_url, workers=1) as service,
    ):
        away(admin, database_url, True)
        refused = ask(f"{service.url}/v1/models", person())
        assert (refused.status, refused.body["detail"]) == (503, "the registry's database cannot be reached")
        assert int(refused.headers["retry-after"]) >= 1
        for n in range(20):
            assert infer(service, f"e{n}").status == 200
        assert service.readiness().status == 200
        assert wait_until(lambda: service.metric("sira_log_spool_rows") == 20, 5)
        assert service.metric("sira_log_ship_failures_total") > 0
        away(admin, database_url, False)
        assert wait_until(lambda: service.metric("sira_log_shipped_total") == 20, 15)


def test_a_service_that_starts_without_postgres_is_not_ready_says_why_and_comes_up_with_it(
    tmp_path: Path, postgres: LocalPostgres, database_url: str
) -> None:
    add_version(tmp_path, database_url, table_model(SCORES))
    with (
        connect(postgres.url("postgres"), name="tests", autocommit=True) as admin,
        starting(tmp_path, database_url, workers=1) as service,
    ):
        away(admin, database_url, True)
        assert wait_until(lambda: service.readiness().status == 503, 30)
        assert service.readiness().body == {
            "ready": False,
            "reasons": ["the registry has not been read yet: is DATABASE_URL reachable?"],
        }
        assert infer(service, "e").status == 503
        away(admin, database_url, False)
        started = time.monotonic()
        assert wait_until(lambda: service.readiness().status == 200, 15)
        assert infer(service, "e").status == 200
        assert time.monotonic() - started < 10
