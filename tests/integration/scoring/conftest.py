"""Postgres as the serving side meets it: a registry with versions and rollouts, and the log."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from psycopg.types.json import Jsonb

from registry import store
from registry.artifacts import ArtifactStore, open_store
from registry.model_version import ModelVersion, NewVersion, Status
from runtime.postgres import Connection, connect
from tests.support.table_model import version_of


@pytest.fixture
def connection(database_url: str) -> Iterator[Connection]:
    with connect(database_url, name="tests", autocommit=True) as opened:
        yield opened


@pytest.fixture
def artifacts(tmp_path: Path) -> ArtifactStore:
    (tmp_path / "artifacts").mkdir()
    return open_store(f"file://{tmp_path / 'artifacts'}")


@pytest.fixture
def register(connection: Connection, artifacts: ArtifactStore, tmp_path: Path) -> Callable[..., ModelVersion]:
    """`register(artifact, "2", Status.CANARY)`: a stored version of product cards with that status."""

    def insert(
        artifact: bytes,
        version: str = "1",
        status: Status = Status.PRODUCTION,
        product: str = "cards",
        into: ArtifactStore | None = None,
    ) -> ModelVersion:
        known = version_of(artifact, product=product, version=version)
        path = tmp_path / f"{known.sha256}.to-store"
        path.write_bytes(artifact)
        key = (into or artifacts).put(path, known.sha256)
        new = NewVersion(
            *(product, known.name, version, key, known.sha256, known.size_bytes),
            *(known.signature, known.thresholds, {}),
        )
        with connection.transaction():
            made, _ = store.insert_version(connection, new, actor="tests")
            if status is not Status.STAGING:
                made = store.change_status(connection, made.model_id, status, actor="tests").version
        return made

    return insert


@pytest.fixture
def start_rollout(connection: Connection) -> Callable[..., str]:
    """`start_rollout(canary, production, 10.0)`: the id of a rollout that runs."""

    def start(canary: ModelVersion, production: ModelVersion, percent: float = 10.0, **limits: Any) -> str:
        """`limits` differ from the defaults."""
        row = connection.execute(
            "INSERT INTO sira_canary_config"
            " (product, canary_model_id, production_model_id, canary_percent, plan, limits)"
            " VALUES (%s, %s, %s, %s, '{}', %s) RETURNING rollout_id::text",
            (canary.product, canary.model_id, production.model_id, percent, Jsonb(limits)),
        ).fetchone()
        assert row is not None
        return str(row[0])

    return start
