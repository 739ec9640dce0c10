"""What tests stand on: a real Postgres, a real S3 API over HTTP. Each test gets a database and a bucket of its own."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

# Before anything imports them: onnxruntime and BentoML send usage data by default, and moto reads its
# number of unauthenticated requests once.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
os.environ["BENTOML_DO_NOT_TRACK"] = "True"
os.environ["INITIAL_NO_AUTH_ACTION_COUNT"] = "4"

import boto3
import pytest

from lab.demo.running import StartedRun
from lab.postgres import LocalPostgres
from migrations import runner
from runtime.postgres import connect
from runtime.settings import Settings
from tests.support.served import serve

JWT_SECRET = "a-jwt-secret-for-tests-of-forty-characters"
SERVICE_TOKEN = "a-service-token-for-tests-of-forty-chars"


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalPostgres]:
    """An embedded Postgres for the whole run; it holds the migrated database `sira_template`."""
    with LocalPostgres.start(tmp_path_factory.mktemp("postgres"), durable=False) as running:
        url = running.create_database("sira_template")
        with connect(url, name="tests", autocommit=True) as connection:
            runner.up(connection)
        yield running


@pytest.fixture
def empty_database_url(postgres: LocalPostgres) -> Iterator[str]:
    """A database that no migration has touched."""
    name = f"test_{uuid4().hex}"
    yield postgres.create_database(name)
    postgres.drop_database(name)


@pytest.fixture
def database_url(postgres: LocalPostgres) -> Iterator[str]:
    """A migrated database of the test's own, dropped afterwards."""
    name = f"test_{uuid4().hex}"
    yield postgres.create_database(name, template="sira_template")
    postgres.drop_database(name)


@dataclass(frozen=True)
class S3:
    """`environment` is what boto3 reads; the `s3` fixture has set it for the test already."""

    bucket: str
    environment: dict[str, str]

    @property
    def url(self) -> str:
        return f"s3://{self.bucket}"


@pytest.fixture(scope="session")
def s3_environment() -> Iterator[dict[str, str]]:
    """An S3 API on 127.0.0.1 that refuses unsigned requests; keys of a user who may do everything to S3."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    iam = boto3.client(
        "iam", endpoint_url=endpoint, region_name="eu-west-1", aws_access_key_id="none", aws_secret_access_key="none"
    )
    policy = '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*"}]}'
    arn = iam.create_policy(PolicyName="artifacts", PolicyDocument=policy)["Policy"]["Arn"]
    iam.create_user(UserName="sira")
    iam.attach_user_policy(UserName="sira", PolicyArn=arn)
    key = iam.create_access_key(UserName="sira")["AccessKey"]  # The fourth: from here on every request is checked.
    yield {
        "AWS_ENDPOINT_URL_S3": endpoint,
        "AWS_ACCESS_KEY_ID": key["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"],
        "AWS_DEFAULT_REGION": "eu-west-1",
    }
    server.stop()


@pytest.fixture
def s3(s3_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> S3:
    """An empty bucket, with the environment set so that boto3 finds it."""
    for name, value in s3_environment.items():
        monkeypatch.setenv(name, value)
    bucket = f"models-{uuid4().hex}"
    boto3.client("s3").create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    return S3(bucket, s3_environment)


@pytest.fixture
def settings(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Settings]:
    """`settings(cache_max_items=0)`: settings over this test's database and folders, overridden by name."""

    def make(**overrides: object) -> Settings:
        values = {
            "database_url": database_url,
            "model_bucket": f"file://{tmp_path / 'artifacts'}",
            "model_dir": tmp_path / "models",
            "spool_dir": tmp_path / "spool",
            "jwt_secret": JWT_SECRET,
            "internal_service_token": SERVICE_TOKEN,
        } | overrides
        for name, value in values.items():
            monkeypatch.setenv(name.upper(), str(value))
        return Settings.load()

    return make


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartedRun]:
    """Service and controller over an embedded Postgres, as `make run` starts them; shared by the whole run.

    Use products or events of the test's own: others use the same processes.
    """
    running = serve(tmp_path_factory.mktemp("served") / "sira", WORKERS="2")
    yield running
    running.stop()
