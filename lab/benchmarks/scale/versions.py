"""A registry of many versions: the time to register, list, read and promote."""

from lab.benchmarks.model import PRODUCT
from lab.benchmarks.scale.finding import Finding, MeasurementFailed, Row, growth
from lab.benchmarks.scale.seed import ACTOR, add_version, first_version
from lab.benchmarks.scale.workspace import Database, Workspace, milliseconds
from registry import audit, store
from registry.model_version import ModelVersion, Status
from runtime.postgres import Connection

TIMES = 30
PRODUCTS = 50


def measure(workspace: Workspace) -> Finding:
    sizes = (100, 1_000) if workspace.quick else (100, 1_000, 10_000)
    rows = []
    with workspace.database() as database:
        first = first_version(database.connection, workspace.folder, workspace.workload.model_path, PRODUCT)
        registered = 1
        for size in sizes:
            workspace.report(f"{size:,} versions")
            while registered < size:
                _register(database, first, registered)
                registered += 1
            rows.append(_row(database, first, size))
    return Finding(
        "Versions in the registry",
        f"{PRODUCTS} products; each version has its rows in the chained audit log. Milliseconds of one call of the"
        f" registry in a transaction of its own, median of {TIMES}.",
        tuple(rows),
        (growth(rows, "versions", *list(rows[0])[1:]),),
    )


def _register(database: Database, first: ModelVersion, number: int) -> None:
    """Promote the first version of each product; stage the others."""
    status = Status.PRODUCTION if number <= PRODUCTS else Status.STAGING
    add_version(database.connection, first, f"product_{number % PRODUCTS:02}", f"1.{number}", status)


def _row(database: Database, first: ModelVersion, size: int) -> Row:
    connection = database.connection
    added = iter(range(TIMES))
    staged = store.list_versions(connection, product="product_01", status=Status.STAGING).versions[0].model_id
    serving = store.production_of(connection, "product_01")
    assert serving is not None
    turns = iter([staged, serving.model_id] * TIMES)
    deep = _cursor_after(database, size // 2)

    def promote() -> None:
        with connection.transaction():
            store.change_status(connection, next(turns), Status.PRODUCTION, actor=ACTOR)

    return {
        "versions": size,
        "register ms": milliseconds(
            lambda: add_version(connection, first, "added", f"{size}.{next(added)}", Status.STAGING), TIMES
        ),
        "list 50 ms": milliseconds(lambda: store.list_versions(connection), TIMES),
        "list 50, half-way ms": milliseconds(lambda: store.list_versions(connection, cursor=deep), TIMES),
        "list one product ms": milliseconds(lambda: store.list_versions(connection, product="product_01"), TIMES),
        "serving versions ms": milliseconds(lambda: store.serving_versions(connection), TIMES),
        "promote ms": milliseconds(promote, TIMES),
        "verify the audit log ms": milliseconds(lambda: _verify(connection)),
    }


def _verify(connection: Connection) -> None:
    with connection.transaction():
        found = audit.verify(connection)
    if not isinstance(found, audit.Intact):
        raise MeasurementFailed("the audit log does not verify")


def _cursor_after(database: Database, count: int) -> str | None:
    cursor = None
    for _ in range(count // store.MAX_PAGE + 1):
        page = store.list_versions(database.connection, limit=min(count, store.MAX_PAGE), cursor=cursor)
        cursor = page.next_cursor
    return cursor
