"""`canary watch`: a rollout followed live on a terminal, or as one line per change elsewhere."""

import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import click
import msgspec
import psycopg
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from canary.cli.commands import canary, canary_connection
from canary.cli.display import measurements_table, verdict_line, word
from canary.rollout import operations, store
from canary.rollout.description import description
from canary.rollout.store import StoredRollout
from canary.rollout.verdicts import StoredVerdict, latest_verdict
from registry.store import resolve
from runtime.command import as_json_option, example, utc_text
from runtime.postgres import Connection

_BAR_WIDTH = 24


class Seen(NamedTuple):
    """A rollout at one moment. `canary` and `production` are PRODUCT/NAME/VERSION."""

    rollout: StoredRollout
    verdict: StoredVerdict | None
    canary: str
    production: str

    @property
    def state(self) -> tuple[object, ...]:
        """Return what makes a new line elsewhere than on a terminal."""
        verdict = self.verdict
        judged = None if verdict is None else (verdict.verdict, verdict.reasons)
        return self.rollout.rollout_id, self.rollout.status, self.rollout.canary_percent, self.rollout.step, judged


@canary.command(epilog=example("canary watch fraud_score"))
@click.argument("product")
@click.option(
    "--interval", type=click.FloatRange(0.1, 60), default=1.0, show_default=True, help="Seconds between two looks."
)
@as_json_option
def watch(product: str, interval: float, as_json: bool) -> None:
    """Follow the running canary, or the last one, until it ends.

    Exit code 0 when it was promoted, 1 when it was stopped or rolled back. In a pipe, each change is one line; with
    --json, each change is one JSON document on a line.
    """
    with canary_connection() as connection:
        seen = _look(connection, product)
    looks = _looks(seen, interval)
    if as_json:
        ended = _print_changes(looks, _json_line)
    elif sys.stdout.isatty():
        ended = _show_live(looks)
    else:
        ended = _print_changes(looks, _text_line)
    sys.exit(0 if ended.rollout.status == "promoted" else 1)


def _looks(seen: Seen, interval: float) -> Iterator[Seen]:
    """Yield the rollout after each interval until it has ended. An outage of Postgres is waited out."""
    yield seen
    while seen.rollout.live:
        time.sleep(interval)
        try:
            with canary_connection() as connection:
                seen = _look(connection, seen.rollout.product)
        except psycopg.OperationalError:
            click.echo("Postgres cannot be reached; trying again", err=True)
            continue
        yield seen


def _look(connection: Connection, product: str) -> Seen:
    store.read_one_moment(connection)
    rollout = operations.find(connection, product)
    if rollout is None:
        raise operations.NoCanary(product)
    verdict = latest_verdict(connection, rollout.rollout_id)
    labels = (_label(connection, model_id) for model_id in (rollout.canary_model_id, rollout.production_model_id))
    return Seen(rollout, verdict, *labels)


def _label(connection: Connection, model_id: str) -> str:
    version = resolve(connection, model_id)
    return f"{version.product}/{version.name}/{version.version}"


def _show_live(looks: Iterator[Seen]) -> Seen:
    with Live(console=Console(), auto_refresh=False) as live:
        for seen in looks:
            live.update(watch_view(seen, datetime.now(UTC)), refresh=True)
    return seen


def _print_changes(looks: Iterator[Seen], line: Callable[[Seen], str]) -> Seen:
    state: tuple[object, ...] = ()
    for seen in looks:
        if seen.state != state:
            click.echo(line(seen))
            sys.stdout.flush()
        state = seen.state
    return seen


def _text_line(seen: Seen) -> str:
    rollout, verdict = seen.rollout, seen.verdict
    at = verdict.judged_at if verdict else rollout.created_at
    judged = f"; {verdict.verdict}: {'; '.join(verdict.reasons)}" if verdict else ""
    return f"{utc_text(at)}  {rollout.status}, {rollout.canary_percent:g} %{judged}"


def _json_line(seen: Seen) -> str:
    return msgspec.json.encode(description(seen.rollout, seen.verdict)).decode()


def watch_view(seen: Seen, now: datetime) -> RenderableType:
    """Lay out a rollout in 80 columns: its state, the plan with the bake clock, and the latest verdict."""
    rollout = seen.rollout
    head = Text.assemble(
        (rollout.product, "bold"), "  ", word(rollout.status), f"  {rollout.canary_percent:g} % canary"
    )
    models = Table.grid(padding=(0, 2))
    models.add_row(Text("canary", style="dim"), Text(seen.canary, overflow="fold"))
    models.add_row(Text("production", style="dim"), Text(seen.production, overflow="fold"))
    parts: list[RenderableType] = [head, models, "", _plan_with_clock(rollout, now)]
    if seen.verdict:
        parts += ["", verdict_line(seen.verdict), measurements_table(seen.verdict)]
    elif rollout.live:
        parts += ["", Text("not judged yet: the controller judges every few seconds", style="dim")]
    return Group(*parts)


def _plan_with_clock(rollout: StoredRollout, now: datetime) -> Table:
    table = Table.grid(padding=(0, 2))
    for number, step in enumerate(rollout.plan.steps):
        bake = step.bake_seconds
        baked = min(bake, max(0.0, (now - rollout.step_started_at).total_seconds()))
        if number < rollout.step or rollout.status == "promoted":
            baked, state = bake, "done"
        elif number == rollout.step and rollout.live:
            state = f"{_clock(baked)} of {_clock(bake)}"
        else:
            baked, state = 0.0, _clock(bake)
        bar = ProgressBar(total=bake or 1, completed=baked if bake else float(state == "done"), width=_BAR_WIDTH)
        gate = "then waits for an operator" if step.gate == "manual" else ""
        table.add_row(f"{step.percent:g} %", bar, state, Text(gate, style="dim"))
    return table


def _clock(seconds: float) -> str:
    """Return days and hours:minutes:seconds, such as "2 d 1:00:00"."""
    days, rest = divmod(int(seconds), 86_400)
    clock = str(timedelta(seconds=rest))
    return f"{days} d {clock}" if days else clock
