"""The customer's runbook, executed: every psql and curl command, section by section, in its order.

Commands stand here as they are printed there. Hosts, ports and secrets are filled in when they run, and `...` in a body
is written out. tests/contract/test_runbook_commands.py has the kubectl and docker ones. The tests of this file build on
each other: run them all.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3
import pytest

from lab.demo.recipes import Recipe
from lab.demo.train import train
from lab.ports import free_port
from lab.postgres import LocalPostgres
from lab.postgres_binaries import postgres_binaries
from lab.process import Process
from runtime.auth import Role, mint_token
from tests.support.table_model import table_model

ROOT = Path(__file__).parents[2]
JWT_SECRET = "a-jwt-secret-for-the-runbook-of-40-chars"
SERVICE_TOKEN = "a-service-token-for-the-runbook-40-chars"
PASSWORD = "a-password-of-the-runbook"
pytestmark = pytest.mark.skipif(not (shutil.which("curl") and shutil.which("jq")), reason="curl or jq is not installed")
PAYMENT = {"amount": 100, "currency": "USD", "country": "US", "payment_method": "card"}


@dataclass
class Site:
    """One production site on this machine: what its shell knows, and where the runbook's hosts are."""

    folder: Path
    postgres: LocalPostgres
    port: int
    control_port: int
    grafana_port: int
    variables: dict[str, str]
    processes: list[Process] = field(default_factory=list)

    def run(self, printed: str, **filled_in: str) -> str:
        """What a printed command says, run by bash in the folder that holds brique-113."""
        programs = f"{Path(sys.executable).parent}:{postgres_binaries()}:{os.environ['PATH']}"
        environment = {"PATH": programs, "LC_ALL": "C.UTF-8", "PYTHONPATH": str(ROOT), **self.variables, **filled_in}
        script = f"set -o pipefail; {self.at_home(printed)}"
        done = subprocess.run(["bash", "-c", script], cwd=self.folder, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{printed}\n{done.stdout}{done.stderr}"
        return done.stdout

    def at_home(self, printed: str) -> str:
        for host, here in (
            ("prod-db.molam.com", "127.0.0.1"),
            ("http://inference.molam.com", f"http://127.0.0.1:{self.port}"),
            ("localhost:8080", f"127.0.0.1:{self.port}"),
            ("localhost:3000", f"127.0.0.1:{self.control_port}"),
            ("http://grafana.molam.com", f"http://127.0.0.1:{self.grafana_port}"),
            ("@grafana/", "@brique-113/grafana/"),
            ("ls -lh /models/", f"ls -lh {self.folder}/models/"),
        ):
            printed = printed.replace(host, here)
        return printed

    def json(self, printed: str, **filled_in: str) -> Any:
        return json.loads(self.run(printed, **filled_in))

    def infer(self, event_id: str) -> dict[str, Any]:
        body = json.dumps({"event_id": event_id, "product": "fraud_score", "payload": PAYMENT})
        signed = '-H "Authorization: Bearer $INTERNAL_SERVICE_TOKEN"'
        answer = self.json(f"curl -s -X POST http://localhost:8080/v1/infer {signed} -d '{body}'")
        assert isinstance(answer, dict)
        return answer

    def register(self, artifact: bytes, version: str) -> str:
        """The model_id of a newly registered version of fraud_score."""
        (self.folder / "model.onnx").write_bytes(artifact)
        registered = self.json(
            f"python -m registry register model.onnx --product fraud_score --name trees --version {version} --json",
        )
        return str(registered["model"]["model_id"])

    def start(self, name: str, *command: str) -> None:
        environment = {**os.environ, **self.variables}
        words = [sys.executable, "-m", *command]
        self.processes.append(Process(words, log=self.folder / f"{name}.log", environment=environment))


def wait_for(what: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it did not come in time"
        time.sleep(0.2)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, s3_environment: dict[str, str]) -> Iterator[Site]:
    """Postgres with a database `molam` and its superuser `postgres`, an S3 API, a mailbox for Grafana, free ports."""
    folder = tmp_path_factory.mktemp("runbook")
    (folder / "brique-113").symlink_to(ROOT)
    grafana = Grafana()
    threading.Thread(target=grafana.serve_forever, daemon=True).start()
    with ExitStack() as running:
        running.callback(grafana.server_close)
        running.callback(grafana.shutdown)
        postgres = running.enter_context(LocalPostgres.start(folder / "postgres", durable=False))
        postgres.create_database("molam")
        port, control_port = free_port(), free_port()
        here = Site(folder, postgres, port, control_port, grafana.server_port, {})
        here.run(
            f"""psql "{postgres.url("molam")}" -qc "CREATE ROLE postgres SUPERUSER LOGIN PASSWORD '{PASSWORD}'" """
        )
        here.variables |= {
            "PGHOST": "127.0.0.1", "PGPORT": str(postgres.port), "PGUSER": "postgres", "PGPASSWORD": PASSWORD,
            "DATABASE_URL": f"postgresql://sira_service:{PASSWORD}@127.0.0.1:{postgres.port}/molam",
            "MODEL_BUCKET": "s3://runbook-models", "MODEL_DIR": f"{folder}/models", "SPOOL_DIR": f"{folder}/spool",
            "JWT_SECRET": JWT_SECRET, "INTERNAL_SERVICE_TOKEN": SERVICE_TOKEN, "ML_OPS_TOKEN": ml_ops_token(),
            "CONTROL_PORT": str(control_port), "CANARY_TICK_SECONDS": "1", "GRAFANA_API_KEY": Grafana.KEY,
            "BENTOML_HOME": str(folder / "bentoml"), "BENTOML_DO_NOT_TRACK": "True", "ORT_DISABLE_TELEMETRY": "1",
            **s3_environment,
        }  # fmt: skip
        yield here
        for process in here.processes:
            process.terminate(20)


def ml_ops_token() -> str:
    return mint_token(
        JWT_SECRET, subject="ops_john", role=Role.ml_ops, now=datetime.now(UTC), lifetime=timedelta(hours=1)
    )


class Grafana(ThreadingHTTPServer):
    """Takes what is posted to a dashboard import and keeps it. It cannot judge a dashboard: other tests do."""

    KEY = "a-grafana-key"

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Import)
        self.imported: list[Any] = []


class _Import(BaseHTTPRequestHandler):
    server: Grafana

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        allowed = self.headers["Authorization"] == f"Bearer {Grafana.KEY}" and self.path == "/api/dashboards/db"
        answer = json.dumps(
            {"status": "success", "uid": body["dashboard"]["uid"]} if allowed else {"status": "refused"}
        )
        self.send_response(200 if allowed else 401)
        self.end_headers()
        self.wfile.write(answer.encode())

    def log_message(self, format: str, *arguments: object) -> None:
        """Quiet."""


# ------------------------------------------------------------------------------------------------ Deployment steps


def test_1_database_migration(site: Site) -> None:
    session = """psql -h prod-db.molam.com -U postgres -d molam <<'TYPED'
\\i brique-113/migrations/001_sira_inference.sql
\\dt sira_*
\\dv v_*
\\q
TYPED"""
    said = site.run(session)
    for table in (
        "sira_canary_config",
        "sira_canary_rollback_log",
        "sira_predictions",
        "sira_labels",
        "sira_audit_log",
    ):
        assert re.search(rf"\b{table}\b", said)
    for view in ("v_active_models", "v_canary_health", "v_decision_distribution_daily", "v_service_health_hourly"):
        assert re.search(rf"\b{view}\b", said)
    assert "COMMIT" in site.run(session)
    assert "ERROR" not in said


def test_4_deploy(site: Site) -> None:
    """Before: the secrets' password, two registered models, and one in production, as the checklist has it."""
    site.run(f"""psql -d molam -qc "ALTER ROLE sira_service LOGIN PASSWORD '{PASSWORD}'" """)
    client: Callable[..., Any] = boto3.client  # its overloads do not take a dict of options
    client("s3", **client_options(site)).create_bucket(
        Bucket="runbook-models", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"}
    )
    for variable, version, trees in (("OLD_MODEL_ID", "1", 10), ("NEW_MODEL_ID", "2", 12)):
        recipe = Recipe(version, trees=trees, depth=3, learning_rate=0.2, rows=4_000, seed=trees)
        site.variables[variable] = site.register(train(recipe).onnx, version)
    site.run(
        "python -m registry promote $OLD_MODEL_ID production --reason first", DATABASE_URL=site.postgres.url("molam")
    )
    site.start("service", "bentoml", "serve", "service:SiraInference", "--host", "127.0.0.1", "--port", str(site.port))
    site.start("controller", "controller")
    wait_for(lambda: site.run("curl -s http://localhost:8080/readyz || true") == '{"ready":true}')
    wait_for(lambda: '"ready":true' in site.run("curl -s http://localhost:3000/readyz || true"))


def client_options(site: Site) -> dict[str, str]:
    return {
        "endpoint_url": site.variables["AWS_ENDPOINT_URL_S3"],
        "region_name": site.variables["AWS_DEFAULT_REGION"],
        "aws_access_key_id": site.variables["AWS_ACCESS_KEY_ID"],
        "aws_secret_access_key": site.variables["AWS_SECRET_ACCESS_KEY"],
    }


def test_5_smoke_tests(site: Site) -> None:
    health = site.json("curl http://localhost:8080/healthz")
    assert (health["ok"], health["service"], set(health)) == (True, "sira-inference", {"ok", "service", "timestamp"})
    assert datetime.fromisoformat(health["timestamp"]).tzinfo
    assert site.run("curl http://localhost:8080/readyz") == '{"ready":true}'
    listed = site.json('curl -H "Authorization: Bearer $ML_OPS_TOKEN" http://localhost:8080/v1/models')
    assert listed["total"] == len(listed["models"]) == 2
    answer = site.json("""curl -X POST http://localhost:8080/v1/infer \\
  -H "Authorization: Bearer $INTERNAL_SERVICE_TOKEN" \\
  -H "Content-Type: application/json" \\
  -d '{
    "event_id": "test-event-001",
    "product": "fraud_score",
    "payload": {
      "amount": 100,
      "currency": "USD",
      "country": "US",
      "payment_method": "card"
    }
  }'""")
    assert answer.keys() >= {"prediction_id", "score", "decision"}
    assert 0 <= answer["score"] <= 1
    assert answer["decision"] in {"allow", "review", "block"}
    assert answer["model_id"] == site.variables["OLD_MODEL_ID"]


def test_6_configure_canary(site: Site) -> None:
    site.variables["PROD_MODEL_ID"] = site.run(
        'PROD_MODEL_ID=$(psql -h prod-db.molam.com -U postgres -d molam -t -c "SELECT model_id FROM siramodel_registry '
        "WHERE product='fraud_score' AND status='production' ORDER BY created_at DESC LIMIT 1\" | xargs)"
        "; echo -n $PROD_MODEL_ID"
    )
    assert site.variables["PROD_MODEL_ID"] == site.variables["OLD_MODEL_ID"]
    started = site.json("""curl -X POST http://inference.molam.com/v1/canary \\
  -H "Authorization: Bearer $ML_OPS_TOKEN" \\
  -H "Content-Type: application/json" \\
  -d "{
    \\"product\\": \\"fraud_score\\",
    \\"canary_model_id\\": \\"$NEW_MODEL_ID\\",
    \\"production_model_id\\": \\"$PROD_MODEL_ID\\",
    \\"canary_percent\\": 0
  }\"""")
    assert started["canary_percent"] == 0
    assert {site.infer(f"configured-{n}")["variant"] for n in range(20)} == {"production"}


def test_7_import_grafana_dashboard(site: Site) -> None:
    imported = site.json("""curl -X POST http://grafana.molam.com/api/dashboards/db \\
  -H "Authorization: Bearer $GRAFANA_API_KEY" \\
  -H "Content-Type: application/json" \\
  -d @grafana/dashboard.json""")
    assert imported == {"status": "success", "uid": "sira-inference"}


# ---------------------------------------------------------------------------------------- Canary rollout procedure


def test_phase_1_10_percent(site: Site) -> None:
    changed = site.json(with_pair(site, """curl -X POST http://inference.molam.com/v1/canary \\
  -H "Authorization: Bearer $ML_OPS_TOKEN" \\
  -d '{"product":"fraud_score","canary_percent":10,...}'"""))  # fmt: skip
    assert changed["canary_percent"] == 10


def with_pair(site: Site, printed: str) -> str:
    """The printed body with its `...` written out."""
    canary, production = site.variables["NEW_MODEL_ID"], site.variables["PROD_MODEL_ID"]
    return printed.replace("...", f'"canary_model_id":"{canary}","production_model_id":"{production}"')


@pytest.mark.parametrize("percent", [25, 50, 100])
def test_phases_2_to_4(site: Site, percent: int) -> None:
    printed = f"""curl -X POST http://inference.molam.com/v1/canary \\
  -d '{{"product":"fraud_score","canary_percent":{percent},...}}'"""
    # The runbook leaves the token out here: that is a secret to fill in, as the first phase has it.
    refused = site.json(with_pair(site, printed))
    assert refused["status"] == 401
    signed = printed.replace(" \\\n  -d", ' -H "Authorization: Bearer $ML_OPS_TOKEN" -d')
    assert site.json(with_pair(site, signed))["canary_percent"] == percent


def test_all_traffic_is_on_the_canary_at_100_percent(site: Site) -> None:
    wait_for(lambda: site.infer(f"full-{time.monotonic_ns()}")["variant"] == "canary", 10)
    # A part stays behind to compare with, unless the rollout says otherwise.
    variants = [site.infer(f"at-100-{n}")["variant"] for n in range(40)]
    assert variants.count("canary") >= 30


def test_phase_5_promote_to_production(site: Site) -> None:
    promoted = site.json("""curl -X POST http://localhost:3000/api/sira/models/$NEW_MODEL_ID/promote \\
  -H "Authorization: Bearer $ML_OPS_TOKEN" \\
  -d '{"target":"production"}'""")
    assert promoted["status"] == "production"
    stopped = site.json("""curl -X POST http://inference.molam.com/v1/canary/fraud_score/stop \\
  -H "Authorization: Bearer $ML_OPS_TOKEN\"""")
    assert stopped["canary_percent"] == 0
    printed = """curl -X POST http://localhost:3000/api/sira/models/$OLD_MODEL_ID/promote \\
  -d '{"target":"archived"}'"""
    assert site.json(printed)["status"] == 401
    archived = site.json(printed.replace(" \\\n  -d", ' -H "Authorization: Bearer $ML_OPS_TOKEN" -d'))
    assert archived["status"] == "archived"
    wait_for(lambda: site.infer(f"after-{time.monotonic_ns()}")["model_id"] == site.variables["NEW_MODEL_ID"], 10)
    assert {site.infer(f"promoted-{n}")["model_id"] for n in range(20)} == {site.variables["NEW_MODEL_ID"]}


# ---------------------------------------------------------------------------------------------- Rollback procedures


def start_canary(site: Site, model_id: str, percent: int) -> None:
    body = json.dumps({"product": "fraud_score", "canary_percent": percent, "canary_model_id": model_id})
    started = site.json(
        f"curl -X POST http://inference.molam.com/v1/canary -H \"Authorization: Bearer $ML_OPS_TOKEN\" -d '{body}'"
    )
    assert started["canary_percent"] == percent


def test_automatic_rollback(site: Site) -> None:
    """A canary that fails every event of 100: no operator acts, and the log gives the reason."""
    failing = site.register(table_model([0.1, 0.2]), "3")
    start_canary(site, failing, 50)
    wait_for(lambda: site.infer(f"failing-{time.monotonic_ns()}")["score"] >= 0 and canary_percent(site) == 0)
    rows = site.json(
        """psql -d molam -tA -c "SELECT row_to_json(newest) FROM (SELECT * FROM sira_canary_rollback_log
WHERE product = 'fraud_score'
ORDER BY created_at DESC
LIMIT 1) AS newest" """
    )
    assert rows["canary_model_id"] == failing
    assert rows["rolled_back_by"] != "ops_john"
    assert rows["reason"]
    logged = site.run("""psql -d molam -c "SELECT * FROM sira_canary_rollback_log
WHERE product = 'fraud_score'
ORDER BY created_at DESC
LIMIT 1;" """)
    assert failing in logged


def canary_percent(site: Site) -> float:
    return float(site.run("curl -s http://inference.molam.com/v1/canary/fraud_score | jq '.canary_percent'"))


def test_manual_rollback(site: Site) -> None:
    recipe = Recipe("4", trees=11, depth=3, learning_rate=0.2, rows=4_000, seed=4)
    healthy = site.register(train(recipe).onnx, "4")
    start_canary(site, healthy, 50)
    wait_for(lambda: site.infer(f"manual-{time.monotonic_ns()}")["variant"] == "canary", 10)
    site.run("""curl -X POST http://inference.molam.com/v1/canary/fraud_score/stop \\
  -H "Authorization: Bearer $ML_OPS_TOKEN\"""")
    assert site.run("curl http://inference.molam.com/v1/canary/fraud_score | jq '.canary_percent'").strip() == "0"
    site.run(
        """psql -d molam -c "INSERT INTO sira_canary_rollback_log (product, canary_model_id, production_model_id, reason, rolled_back_by) VALUES ('fraud_score', '$CANARY_ID', '$PROD_ID', 'manual_rollback_high_error_rate', 'ops_john');" """,  # noqa: E501
        CANARY_ID=healthy, PROD_ID=site.variables["NEW_MODEL_ID"],
    )  # fmt: skip
    newest = site.run('psql -d molam -tA -c "SELECT reason, rolled_back_by FROM v_rollbacks LIMIT 1"')
    assert newest.strip() == "manual_rollback_high_error_rate|ops_john"
    wait_for(lambda: {site.infer(f"back-{n}-{time.monotonic_ns()}")["variant"] for n in range(5)} == {"production"}, 10)


# -------------------------------------------------------------------------------------------------- Troubleshooting


def test_high_latency(site: Site) -> None:
    latency = site.run("curl localhost:8080/metrics | grep latency")
    assert 'sira_inference_latency_seconds_bucket{le="0.03",product="fraud_score",variant="production"}' in latency
    hits = site.run("curl localhost:8080/metrics | grep cache_hits")
    assert re.search(r'^sira_cache_hits_total\{product="fraud_score"\} [1-9]', hits, re.MULTILINE)


def test_model_not_found(site: Site) -> None:
    registry = site.run(
        """psql -d molam -c "SELECT model_id, name, version, status, storage_s3_key FROM siramodel_registry WHERE status IN ('production','canary');" """  # noqa: E501
    )
    assert site.variables["NEW_MODEL_ID"] in registry
    assert ".onnx" in site.run("ls -lh /models/")
