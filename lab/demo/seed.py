"""Two versions of the demo model in the registry: the first in production, the second staged."""

import tempfile
from functools import partial
from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from lab.demo.recipes import PRODUCT, RECIPES, Recipe
from registry.artifacts import ArtifactStore, open_store
from registry.inspection.parent import ReferenceRequest
from registry.model_version import ModelVersion, Status
from registry.registration import Declaration, register
from registry.store import change_status, find_version, production_of
from runtime.postgres import Connection

NAME = "gradient_boosting"
ACTOR = "make-run"


def seed(connection: Connection, model_bucket: str) -> None:
    """Train and register the missing versions; promote the first one if the product has no production version.

    `connection` is in no transaction: training takes seconds.
    """
    if missing := [recipe for recipe in RECIPES if not _find(connection, recipe)]:
        _train_and_register(connection, open_store(model_bucket), missing)
    with connection.transaction():
        first = _find(connection, RECIPES[0])
        if first and first.status is Status.STAGING and not production_of(connection, PRODUCT):
            change_status(connection, str(first.model_id), Status.PRODUCTION, actor=ACTOR, reason="demo model")


def _find(connection: Connection, recipe: Recipe) -> ModelVersion | None:
    with connection.transaction():
        return find_version(connection, PRODUCT, NAME, recipe.version)


def _train_and_register(connection: Connection, artifacts: ArtifactStore, recipes: list[Recipe]) -> None:
    # Imported only when there is something to train: it takes seconds.
    from lab.demo.train import train

    columns = TextColumn("  {task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("trees")
    with Progress(*columns, transient=True) as progress, tempfile.TemporaryDirectory(prefix="sira-demo-") as folder:
        for recipe in recipes:
            task = progress.add_task(f"training {PRODUCT} {recipe.version}", total=recipe.trees)
            trained = train(recipe, on_tree=partial(progress.advance, task))
            path = Path(folder, f"{recipe.version}.onnx")
            path.write_bytes(trained.onnx)
            declaration = Declaration(product=PRODUCT, name=NAME, version=recipe.version)
            rows = Path(folder, f"{recipe.version}.jsonl")
            rows.write_text(trained.reference)
            reference = ReferenceRequest(str(rows))
            register(connection, artifacts, path, declaration, actor=ACTOR, reason="demo model", reference=reference)
            progress.console.print(
                f"  registered {PRODUCT} {recipe.version}: AUC {trained.auc:.3f}, review from {trained.review},"
                f" block from {trained.block}",
                highlight=False,
            )
