"""Many versions: copies of one that is registered, through the registry's own functions."""

from collections.abc import Iterable
from pathlib import Path

from registry import store
from registry.artifacts import open_store
from registry.model_version import ModelVersion, NewVersion, Status
from registry.registration import Declaration, register
from runtime.postgres import Connection

ACTOR = "benchmarks"
ARTIFACTS = "artifacts"


def first_version(connection: Connection, folder: Path, model: Path, product: str) -> ModelVersion:
    """Register the version that the others are copied from."""
    artifacts = open_store(f"file://{folder / ARTIFACTS}")
    return register(connection, artifacts, model, Declaration(product, "benchmark", "first"), actor=ACTOR).version


def add_version(connection: Connection, like: ModelVersion, product: str, version: str, status: Status) -> ModelVersion:
    """Register the same contents as another version, with its audit row, in a transaction of its own."""
    new = NewVersion(
        product=product,
        name=like.name,
        version=version,
        storage_s3_key=like.storage_s3_key,
        sha256=like.sha256,
        size_bytes=like.size_bytes,
        signature=like.signature,
        thresholds=like.thresholds,
        metadata=like.metadata,
    )
    with connection.transaction():
        added, _ = store.insert_version(connection, new, actor=ACTOR)
        return store.change_status(connection, added.model_id, status, actor=ACTOR).version


def add_products(connection: Connection, like: ModelVersion, products: Iterable[str]) -> None:
    """Give each product a production version."""
    for product in products:
        add_version(connection, like, product, "1", Status.PRODUCTION)
