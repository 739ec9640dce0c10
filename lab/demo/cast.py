"""Who plays: the two demo models under a product of the demo's own, and two copies with a fault built in."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

from lab.demo.faults import slow_above, throws_above
from lab.demo.recipes import PRODUCT, RECIPES
from lab.demo.seed import NAME
from registry.artifacts import ArtifactStore
from registry.model_version import ModelVersion, Status
from registry.registration import Declaration, register
from registry.store import change_status, find_version
from runtime.postgres import Connection

DEMO_PRODUCT = "fraud_demo"
ACTOR = "make-demo"
# Any real payment is above this: the model raises on all of them.
ANY_AMOUNT = 2.0
EVENING = 18.0
# About 10 ms of work on one core.
ROUNDS = 1_200


@dataclass(frozen=True)
class Cast:
    """`production` serves; the others wait in staging."""

    production: ModelVersion
    good: ModelVersion
    throws: ModelVersion
    slow: ModelVersion


def engage(connection: Connection, artifacts: ArtifactStore, performance: str) -> Cast:
    """Register this performance's versions; `performance` sets their names apart from those of other days.

    `connection` is in no transaction: trying a model takes seconds.
    """
    with tempfile.TemporaryDirectory(prefix="sira-demo-") as name:
        folder = Path(name)
        first, second = (_fetch(connection, artifacts, recipe.version, folder) for recipe in RECIPES)
        contents = {
            "production": first,
            "good": second,
            "throws": throws_above(second, "amount", ANY_AMOUNT),
            "slow": slow_above(second, "hour", EVENING, ROUNDS),
        }
        versions = {}
        for role, content in contents.items():
            path = folder / f"{role}.onnx"
            path.write_bytes(content)
            declaration = Declaration(DEMO_PRODUCT, role, performance)
            versions[role] = register(connection, artifacts, path, declaration, actor=ACTOR, reason="make demo").version
    with connection.transaction():
        change_status(connection, versions["production"].model_id, Status.PRODUCTION, actor=ACTOR, reason="make demo")
    return Cast(**versions)


def _fetch(connection: Connection, artifacts: ArtifactStore, version: str, folder: Path) -> bytes:
    with connection.transaction():
        found = find_version(connection, PRODUCT, NAME, version)
    assert found is not None, "make run registers it"
    return artifacts.fetch(found.storage_s3_key, found.sha256, found.size_bytes, folder).read_bytes()
