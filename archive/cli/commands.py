"""The commands of `python -m archive`: archive closed days, list them, verify them."""

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, date, datetime
from functools import partial

import click
from rich.progress import MofNCompleteColumn, TimeRemainingColumn

from archive import closing
from archive.cli.display import checks_table, days_table, prediction_card, written_table
from archive.errors import ArchiveNotMigrated, HourUnknown, NotArchived
from archive.export import export
from archive.lookup import find_archived
from archive.parts.bucket import ArchiveBucket
from archive.parts.manifest import Folder
from archive.plan import newest_closed
from archive.postgres import store
from archive.retention import drop_archived_days
from archive.verification import FolderCheck, verify_day
from registry.artifacts import open_backend
from runtime.command import actor_option, console, database_connection, example, print_json, progress_bar
from runtime.command import as_json_option as as_json
from runtime.postgres import Connection, connect
from runtime.settings import ArtifactSettings, DatabaseSettings

archive_connection = partial(database_connection, "archive", statement_timeout_ms=60_000)
# A part of 2,000,000 rows takes half a minute; a slow disk or a busy Postgres may take much longer.
LONG_STATEMENT_MS = 3_600_000


class _ArchiveSettings(DatabaseSettings, ArtifactSettings):
    pass


def _day(context: click.Context, option: click.Parameter, value: datetime | None) -> date | None:
    return None if value is None else value.date()


_DAY = click.DateTime(["%Y-%m-%d"])
from_option = click.option("--from", "since", type=_DAY, callback=_day, help="First day (UTC).  [default: the oldest]")
to_option = click.option("--to", "until", type=_DAY, callback=_day, help="Last day (UTC).  [default: the newest]")


@click.group()
def archive() -> None:
    """Keep closed days of the prediction log as Parquet in MODEL_BUCKET."""


@archive.command(epilog=example("archive status --product fraud_score --from 2026-11-01"))
@click.option("--product")
@from_option
@to_option
@as_json
def status(product: str | None, since: date | None, until: date | None, as_json: bool) -> None:
    """List the archived days, and the closed days that are not."""
    with archive_connection() as connection:
        if not store.is_migrated(connection):
            raise ArchiveNotMigrated
        days = store.recorded_days(connection, product=product, since=since, until=until)
        behind = store.days_behind(connection, newest_closed(datetime.now(UTC)))
    if as_json:
        print_json({"days": days, "not_archived": behind})
    else:
        console().print(days_table(days, behind))


@archive.command("run", epilog=example("archive run --day 2026-11-26"))
@click.option("--day", "days", type=_DAY, multiple=True, help="Archive this day only; may be repeated.")
@click.option(
    "--drop-older-than",
    type=click.IntRange(31),
    metavar="DAYS",
    help="Then drop older days from Postgres, each once it is verified.",
)
@as_json
def run_command(days: tuple[datetime, ...], drop_older_than: int | None, as_json: bool) -> None:
    """Archive closed days now. Safe to repeat, and to kill at any point."""
    with _long_connection() as (connection, bucket), _rows_bar("archiving", shown=not as_json) as update:
        expected = 0

        def report(folder: Folder, more: int, written: int) -> None:
            nonlocal expected
            expected += more
            update(description=f"{folder.day} {folder.product} {folder.kind}", total=expected, advance=written)

        wanted = [day.date() for day in days] or None
        written = closing.run(connection, bucket, now=datetime.now(UTC), days=wanted, report=report)
        dropped = drop_archived_days(connection, bucket, retention_days=drop_older_than) if drop_older_than else 0
    if as_json:
        print_json({"parts": written, "dropped": dropped})
        return
    console().print(written_table(written))
    if drop_older_than:
        click.echo(f"dropped {dropped} partitions")


@archive.command(epilog=example("archive verify --from 2026-11-01 --to 2026-11-30"))
@from_option
@to_option
@as_json
def verify(since: date | None, until: date | None, as_json: bool) -> None:
    """Read archived days back and compare them with Postgres; exit with 1 if anything is wrong."""
    checks: list[FolderCheck] = []
    with _long_connection() as (connection, bucket), _rows_bar("verifying", shown=not as_json) as update:
        closing.adopt_manifests(connection, bucket)
        recorded = store.recorded_days(connection, since=since, until=until)
        update(total=sum(day.rows for day in recorded))
        for day in sorted({found.day for found in recorded}):
            checks += verify_day(
                connection, bucket, day, verified=lambda folder, rows: update(description=str(folder.day), advance=rows)
            )
    if as_json:
        print_json({"folders": checks})
    else:
        console().print(checks_table(checks))
    if any(check.faults for check in checks):
        sys.exit(1)


@archive.command(
    epilog=example("archive accept --product fraud_score --hour 2026-11-26T14 --rows 12 --reason 'backup restored'")
)
@click.option("--product", required=True)
@click.option("--hour", type=click.DateTime(["%Y-%m-%dT%H", "%Y-%m-%dT%H:00Z"]), required=True, help="Hour (UTC).")
@click.option("--rows", type=click.IntRange(1), required=True, help="How many rows are lost.")
@click.option("--reason", required=True, help="Why they are lost.")
@actor_option
@as_json
def accept(product: str, hour: datetime, rows: int, reason: str, actor: str, as_json: bool) -> None:
    """Record that rows of the log are lost, which ends their alarm."""
    at = hour.replace(tzinfo=UTC)
    with archive_connection() as connection:
        found = [one for one in store.hours_of_log(connection, at) if (one.product, one.hour) == (product, at)]
        if not found:
            raise HourUnknown(product, at)
        store.accept_loss(connection, product, at, rows, reason=reason, actor=actor)
    if as_json:
        print_json({"product": product, "hour": at, "rows": rows})
    else:
        click.echo(f"{rows} rows of {product} at {at:%Y-%m-%d %H}:00 UTC are recorded as lost")


@archive.command(epilog=example("archive find df7e607f-36bb-8744-bb1f-66d5052c0d3e --day 2026-11-26"))
@click.argument("prediction_id")
@click.option("--day", type=_DAY, callback=_day, help="Search this day only.")
@as_json
def find(prediction_id: str, day: date | None, as_json: bool) -> None:
    """Show an archived prediction."""
    with _long_connection() as (connection, bucket):
        found = find_archived(connection, bucket, prediction_id, day)
    if as_json:
        click.echo("null" if found is None else found.text())
    elif found is None:
        raise NotArchived(prediction_id)
    else:
        console().print(prediction_card(found.columns))


@archive.command(
    "export", epilog=example("archive export --product fraud_score --from 2026-09-01 --labels --out train.parquet")
)
@click.option("--product", required=True)
@from_option
@to_option
@click.option("--labels", is_flag=True, help="Only events with a label.")
@click.option("--out", required=True, metavar="FILE", help="FILE.parquet, or s3://BUCKET/KEY.parquet.")
@as_json
def export_command(product: str, since: date | None, until: date | None, labels: bool, out: str, as_json: bool) -> None:
    """Write a training set: one row per event with fields, label and decision."""
    settings = _ArchiveSettings.load()
    url, bucket = settings.database_url.get_secret_value(), ArchiveBucket(open_backend(settings.model_bucket))
    today = datetime.now(UTC).date()
    with archive_connection(settings=settings) as connection:
        first = since or store.first_day(connection, product) or today
    with _rows_bar("exporting", shown=not as_json) as update:
        expected = 0

        def progress(more: int, done: int) -> None:
            nonlocal expected
            expected += more
            update(total=expected, advance=done)

        exported = export(
            url,
            bucket,
            product=product,
            since=first,
            until=until or today,
            only_labelled=labels,
            out=out,
            progress=progress,
            statement_timeout_ms=LONG_STATEMENT_MS,
        )
    if as_json:
        print_json(exported)
    else:
        click.echo(
            f"{exported.out}: {exported.events:,} events, {exported.labelled:,} with a label, "
            f"{exported.bytes / 2**20:,.1f} MiB"
        )


@contextmanager
def _long_connection() -> Iterator[tuple[Connection, ArchiveBucket]]:
    settings = _ArchiveSettings.load()
    url = settings.database_url.get_secret_value()
    with connect(url, name="archive", autocommit=True, statement_timeout_ms=LONG_STATEMENT_MS) as connection:
        yield connection, ArchiveBucket(open_backend(settings.model_bucket))


def _rows_bar(description: str, *, shown: bool) -> AbstractContextManager[Callable[..., None]]:
    """Return a progress bar of rows."""
    return progress_bar(description, MofNCompleteColumn(), TimeRemainingColumn(), shown=shown)
