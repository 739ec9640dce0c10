"""The commands of `python -m canary`: start, show, change and verify canaries."""

import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import click
from rich.progress import MofNCompleteColumn

from canary.cli.display import report_tables, rollout_card, rollouts_table
from canary.controller.replay import ReplayResult, replay
from canary.report.page import render
from canary.report.report import make_report
from canary.rollout import operations, store
from canary.rollout.change import Change
from canary.rollout.description import description, summary
from canary.rollout.request import CanaryToStart
from canary.rollout.store import StoredRollout
from canary.rollout.verdicts import latest_verdict
from registry.store import resolve
from runtime.command import (
    WIDE,
    actor_option,
    as_json_option,
    console,
    database_connection,
    example,
    print_json,
    progress_bar,
    reason_option,
)
from runtime.postgres import Connection
from runtime.reading import InputInvalid, Violation, read
from runtime.settings import CanarySettings

MAX_STATEMENT_MS = 120_000

canary_connection = partial(database_connection, "canary", statement_timeout_ms=MAX_STATEMENT_MS)


@click.group()
def canary() -> None:
    """Run a new model version next to production; it is judged continuously, and promoted or rolled back.

    MODEL is a model_id or PRODUCT/NAME/VERSION.
    """


@canary.command("list", epilog=example("canary list --product fraud_score"))
@click.option("--product")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True)
@as_json_option
def list_command(product: str | None, limit: int, as_json: bool) -> None:
    """List rollouts, newest first."""
    with canary_connection() as connection:
        rollouts = store.all_rollouts(connection, product=product, limit=limit)
    if as_json:
        print_json({"rollouts": [description(rollout, None) for rollout in rollouts]})
    else:
        terminal = console()
        terminal.print(rollouts_table(rollouts, wide=terminal.width >= WIDE))


@canary.command(epilog=example("canary show fraud_score"))
@click.argument("product")
@as_json_option
def show(product: str, as_json: bool) -> None:
    """Show the running canary of a product, or the last one: its state and the reasons for it."""
    with canary_connection() as connection:
        store.read_one_moment(connection)
        _print(connection, product, operations.find(connection, product), as_json)


@canary.command(epilog=example("canary start fraud_score fraud_score/gradient_boosting/2.0.0 10 --plan plan.json"))
@click.argument("product")
@click.argument("model")
@click.argument("percent", type=click.FloatRange(0, 100))
@click.option("--plan", help="Name of a plan, or a JSON file with its steps.  [default: default]")
@click.option("--limits", help="JSON file with the limits that differ from the defaults.")
@click.option(
    "--mode", type=click.Choice(["sequential", "threshold"]), help="How the canary is judged.  [default: sequential]"
)
@reason_option
@actor_option
@as_json_option
def start(
    product: str,
    model: str,
    percent: float,
    plan: str | None,
    limits: str | None,
    mode: str | None,
    reason: str | None,
    actor: str,
    as_json: bool,
) -> None:
    """Route a share of the product's traffic to MODEL; at 0 %, it scores a sample after production has answered."""
    with canary_connection() as connection:
        if store.lock_live_rollout(connection, product):
            raise operations.CanaryConflict(f"a canary of {product} is already running: `set` changes its percentage")
        body = {
            "product": product,
            "canary_percent": percent,
            "canary_model_id": resolve(connection, model).model_id,
            "plan": _plan(plan),
            "limits": _read_json(limits) if limits else None,
            "mode": mode,
            "reason": reason,
        }
        ignore_alerts = CanarySettings.load().ignores_alerts
        request = read(CanaryToStart, body)
        rollout, _ = operations.start_or_change(connection, request, actor=actor, ignore_alerts=ignore_alerts)
        _print(connection, product, rollout, as_json)


@canary.command("set", epilog=example("canary set fraud_score 25 --reason 'go/no-go of day 2'"))
@click.argument("product")
@click.argument("percent", type=click.FloatRange(0, 100))
@reason_option
@actor_option
@as_json_option
def set_command(product: str, percent: float, reason: str | None, actor: str, as_json: bool) -> None:
    """Change the percentage of the running canary: a new phase, from which its plan continues."""
    with canary_connection() as connection:
        operations.lock_live(connection, product)
        request = read(CanaryToStart, {"product": product, "canary_percent": percent, "reason": reason})
        rollout, _ = operations.start_or_change(connection, request, actor=actor)
        _print(connection, product, rollout, as_json)


def _add_operation(name: str, act: Callable[..., StoredRollout | None], help_text: str) -> None:
    @canary.command(name, help=help_text, epilog=example(f"canary {name} fraud_score --reason 'change freeze'"))
    @click.argument("product")
    @reason_option
    @actor_option
    @as_json_option
    def operate(product: str, reason: str | None, actor: str, as_json: bool) -> None:
        with canary_connection() as connection:
            _print(connection, product, act(connection, product, Change(actor, reason)), as_json)


_add_operation("stop", operations.stop, "Send all traffic to production at once. Safe to repeat.")
_add_operation("pause", operations.pause, "Keep the percentage; the judge may still roll back.")
_add_operation("resume", operations.resume, "Let the plan continue.")
_add_operation("promote", operations.next_step, "Move to the next step now; from the last one, to production.")


@canary.command(epilog=example("canary report fraud_score --html report.html"))
@click.argument("product")
@click.option(
    "--html",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the report to this file, as one page that opens offline.",
)
@as_json_option
def report(product: str, html: Path | None, as_json: bool) -> None:
    """Show the case for or against promotion."""
    with canary_connection() as connection:
        store.read_one_moment(connection)
        made = make_report(connection, _existing(connection, product))
    if html:
        html.write_text(render(made), encoding="utf-8")
    if as_json:
        print_json(made.to_json())
    elif html:
        click.echo(f"wrote {html}")
    else:
        console().print(report_tables(made))


@canary.command(epilog=example("canary verify fraud_score"))
@click.argument("product")
@as_json_option
def verify(product: str, as_json: bool) -> None:
    """Recompute the stored verdicts of the last rollout from its stored evidence; exit code 1 when one differs."""
    with (
        canary_connection() as connection,
        progress_bar("verdicts", MofNCompleteColumn(), shown=not as_json) as update,
    ):
        store.read_one_moment(connection)
        result = replay(
            connection,
            _existing(connection, product),
            on_verdict=lambda done, total: update(completed=done, total=total),
        )
    if as_json:
        print_json(result)
    else:
        _print_replayed(result)
    sys.exit(1 if result.differences else 0)


def _print_replayed(result: ReplayResult) -> None:
    if not result.differences:
        click.echo(f"{result.verdicts:,} verdicts follow from the stored evidence")
    for difference in result.differences:
        click.echo(f"tick {difference.tick} does not follow from its evidence: {', '.join(difference.names)}", err=True)


def _existing(connection: Connection, product: str) -> StoredRollout:
    rollout = operations.find(connection, product)
    if rollout is None:
        raise operations.NoCanary(product)
    return rollout


def _print(connection: Connection, product: str, rollout: StoredRollout | None, as_json: bool) -> None:
    if rollout is None:
        print_json(summary(product, None)) if as_json else click.echo(f"{product} has had no canary yet")
        return
    verdict = latest_verdict(connection, rollout.rollout_id)
    if as_json:
        print_json(description(rollout, verdict))
    else:
        console().print(rollout_card(rollout, verdict))


def _plan(given: str | None) -> Any:
    """Return the name of a plan, or the contents of its file."""
    return _read_json(given) if given and Path(given).exists() else given


def _read_json(path: str) -> Any:
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputInvalid([Violation(path, f"is not JSON: {error}")]) from None
