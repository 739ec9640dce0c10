import json
import os
import re
import signal
import socket
import stat
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.bootstrap import LOCKS, BootstrapError, check_lock, declared_digest, seal
from lab.demo.running import StartedRun, start_isolated
from lab.ports import free_port
from lab.process import ROOT
from tests.support.served import gone_within, processes_of, serve

EXPECTED = {"prediction_id", "score", "decision", "model_id", "model_version", "variant", "cached"}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder, served again and again by this file's tests: the first start makes the models."""
    return tmp_path_factory.mktemp("make_run") / "a folder with spaces"


@pytest.fixture
def running(home: Path) -> Iterator[StartedRun]:
    served = serve(home, WORKERS="1")
    yield served
    if not served.process.has_ended():
        served.stop()


def shell(served: StartedRun, command: str) -> str:
    """Run it as pasted into a shell that has sourced dev.env."""
    script = f". '{served.home}/dev.env'\n{command}"
    return subprocess.run(["sh", "-ec", script], capture_output=True, text=True, check=True, cwd=ROOT).stdout


def fails_with_one_line(home: Path, port: int, control_port: int, **settings: str) -> str:
    run = start_isolated(home, {"PORT": str(port), "CONTROL_PORT": str(control_port), **settings})
    assert run.process.wait(60) == 1
    return run.process.last_line()


def test_the_curl_lines_it_prints_give_an_answer_when_pasted(served: StartedRun) -> None:
    infer, models = re.findall(r"^curl (?:.|\n)*?(?=\n\n)", served.printed(), re.MULTILINE)
    assert json.loads(shell(served, infer)).keys() >= EXPECTED
    versions = {model["version"] for model in json.loads(shell(served, models))["models"]}
    assert versions >= {"1.0.0", "2.0.0"}


def test_the_readmes_auditor_gets_the_reasons_of_a_blocked_payment(served: StartedRun) -> None:
    blocks = re.findall(r"^```sh\n(.*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    (commands,) = [block for block in blocks if "/reasons" in block]
    given = json.loads(shell(served, commands.replace("http://localhost:8080", served.url)))
    assert given["decision"] == "block"
    first = given["fields"][0]
    assert (first["field"], first["code"], first["value"]) == ("attempts_last_hour", "R07", 4)
    printed = json.loads((ROOT / "README.md").read_text().split("/reasons\n```\n\n```json\n")[1].split("\n```")[0])
    assert printed.keys() == given.keys()
    assert [field["field"] for field in printed["fields"]] == [field["field"] for field in given["fields"]][:2]


def test_a_second_run_keeps_secrets_models_and_predictions(running: StartedRun, home: Path) -> None:
    payload = '{"amount":1,"currency":"USD","country":"US","payment_method":"card"}'
    body = f'{{"event_id":"kept","product":"fraud_score","payload":{payload}}}'
    infer = f"curl -s $URL/v1/infer -H \"Authorization: Bearer $INTERNAL_SERVICE_TOKEN\" -d '{body}'"
    first = json.loads(shell(running, f"URL={running.url}; {infer}"))
    before = running.environment
    assert running.stop() == 0
    again = serve(home, WORKERS="1")
    try:
        assert "training" not in again.printed()
        assert "registered" not in again.printed()
        secrets = ("JWT_SECRET", "INTERNAL_SERVICE_TOKEN", "ML_OPS_TOKEN", "DATABASE_URL")
        assert {name: before[name] for name in secrets} == {name: again.environment[name] for name in secrets}
        stored = shell(
            again,
            f'curl -s -H "Authorization: Bearer $AUDITOR_TOKEN" {again.url}/v1/predictions/{first["prediction_id"]}',
        )
        assert json.loads(stored)["score"] == first["score"]
    finally:
        again.stop()


def test_the_environment_file_is_for_its_owner_alone_and_a_shell_can_source_it(served: StartedRun) -> None:
    file = served.home / "dev.env"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    sourced = shell(served, 'echo "$MODEL_BUCKET|$MODEL_DIR|$DATABASE_URL"').strip().split("|")
    environment = served.environment
    assert sourced == [environment["MODEL_BUCKET"], environment["MODEL_DIR"], environment["DATABASE_URL"]]


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_behind_however_it_ends(running: StartedRun, how: signal.Signals) -> None:
    assert len(processes_of(running.home)) >= 4
    code = running.stop(how)
    assert code == (-signal.SIGKILL if how is signal.SIGKILL else 0)
    assert gone_within(running.home, seconds=30)


def test_when_the_service_dies_the_run_ends_and_says_so(running: StartedRun) -> None:
    (service,) = (pid for pid in processes_of(running.home) if _command(pid)[1:4] == ["-m", "bentoml", "serve"])
    os.kill(service, signal.SIGKILL)
    assert running.process.wait(60) == 1
    assert "the service ended" in running.printed()
    assert gone_within(running.home, seconds=30)


def _command(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/cmdline").read_text().split("\0")


def test_a_shell_that_has_sourced_the_file_can_run_it_again(running: StartedRun, home: Path) -> None:
    environment = running.environment
    running.stop()
    again = serve(home, WORKERS="1", DATABASE_URL=environment["DATABASE_URL"])
    again.stop()
    assert "Postgres on 127.0.0.1" in again.printed()


def test_every_taken_port_is_named_on_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        ports = one.getsockname()[1], other.getsockname()[1]
        said = fails_with_one_line(tmp_path, *ports)
    assert said.startswith("make run: ")
    assert all(f"port {port} is taken" in said for port in ports)


def test_one_port_for_both_and_no_numbers_are_refused(tmp_path: Path) -> None:
    port = free_port()
    assert "must differ" in fails_with_one_line(tmp_path, port, port)
    said = fails_with_one_line(tmp_path, port, port + 1, PORT="eighty", WORKERS="0")
    assert "PORT must be a number" in said
    assert "WORKERS must be a number" in said


def test_an_unreachable_database_is_one_line_without_its_password(tmp_path: Path) -> None:
    url = "postgresql://sira:very-secret@127.0.0.1:1/sira"
    said = fails_with_one_line(tmp_path, free_port(), free_port(), DATABASE_URL=url)
    assert said.startswith("make run: ")
    assert "very-secret" not in said


def test_a_wrong_bucket_is_named_before_anything_is_trained(tmp_path: Path) -> None:
    said = fails_with_one_line(tmp_path, free_port(), free_port(), MODEL_BUCKET="https://bucket")
    assert "MODEL_BUCKET" in said


def test_a_real_postgres_and_a_real_s3_serve_as_well(
    tmp_path: Path, database_url: str, s3_environment: dict[str, str], s3: "object"
) -> None:
    bucket = s3.bucket  # type: ignore[attr-defined]
    served = serve(
        tmp_path, WORKERS="1", DATABASE_URL=database_url, MODEL_BUCKET=f"s3://{bucket}/models", **s3_environment
    )
    try:
        assert not (tmp_path / "postgres").exists()
        with urllib.request.urlopen(f"{served.url}/readyz") as answer:
            assert json.load(answer) == {"ready": True}
    finally:
        assert served.stop() == 0


def test_a_lock_that_the_project_has_left_behind_is_refused(tmp_path: Path) -> None:
    project, lock = tmp_path / "pyproject.toml", tmp_path / "requirements.lock"
    project.write_text((ROOT / "pyproject.toml").read_text())
    lock.write_text("a==1 \\\n    --hash=sha256:00\nb==2\n")
    seal(lock, declared_digest(project))
    assert check_lock(lock, declared_digest(project)) == 2
    project.write_text(project.read_text().replace('"onnx>=', '"onnx>=9'))
    with pytest.raises(BootstrapError, match=r"is stale.*make lock"):
        check_lock(lock, declared_digest(project))


@pytest.mark.parametrize("name", sorted(path.name for path in LOCKS))
def test_every_lock_of_this_checkout_is_fresh_and_names_no_index(name: str) -> None:
    assert check_lock(ROOT / name, declared_digest()) > 50
    assert "index-url" not in (ROOT / name).read_text()


def test_a_missing_index_is_one_line(tmp_path: Path) -> None:
    for name in ("pyproject.toml", "Makefile", "requirements.lock"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    (tmp_path / "lab").symlink_to(ROOT / "lab")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    # No index, no cache, no configuration: what a machine without a network has.
    environment |= {
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_NO_CACHE_DIR": "1",
        "PIP_INDEX_URL": "http://127.0.0.1:1/simple",
    }
    made = subprocess.run(["make", "run"], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=200)
    assert made.returncode != 0
    reported = [line for line in made.stderr.splitlines() if not line.startswith(("make:", "make["))]
    assert len(reported) == 1
    assert "package index did not answer" in reported[0]
