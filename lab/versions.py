"""Model versions in the registry, registered and promoted as an operator does it."""

import contextlib
import os
from collections.abc import Iterator, Mapping

from registry import store
from registry.artifacts import ArtifactStore, open_store
from registry.model_version import Status
from runtime.postgres import Connection


def make_production(connection: Connection, model_id: str, *, actor: str, reason: str | None = None) -> None:
    """Promote a version, in a transaction of its own."""
    with connection.transaction():
        store.change_status(connection, model_id, Status.PRODUCTION, actor=actor, reason=reason)


def open_artifacts(environment: Mapping[str, str]) -> ArtifactStore:
    """Open the store that a process with this environment would use: MODEL_BUCKET, and AWS_* for boto3."""
    aws = {name: value for name, value in environment.items() if name.startswith("AWS_")}
    with _added_to_ours(aws):  # boto3 reads its settings when a client is made
        return open_store(environment["MODEL_BUCKET"])


@contextlib.contextmanager
def _added_to_ours(values: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
