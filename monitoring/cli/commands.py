"""The commands of `python -m monitoring`: what an operator sets of the watched products."""

from functools import partial
from typing import Any, Literal

import click

from monitoring.control_group.rule import (
    DEFAULT_MAX_PER_DAY,
    DEFAULT_SHARE,
    MAX_PER_DAY,
    MAX_SHARE,
    ControlGroupToday,
)
from monitoring.control_group.store import control_groups, set_control_group
from runtime.command import actor_option, console, database_connection, example, plain_table, print_json
from runtime.command import as_json_option as as_json

monitoring_connection = partial(database_connection, "monitoring", statement_timeout_ms=10_000)
_SHARE = click.FloatRange(0, MAX_SHARE, min_open=True)


@click.group()
def monitoring() -> None:
    """Set what is watched of the serving models."""


@monitoring.group("control-group")
def control_group() -> None:
    """Let a small share of the events pass that a model wants to block, so that labels show what they were."""


@control_group.command(epilog=example("monitoring control-group show"))
@click.argument("product", required=False)
@as_json
def show(product: str | None, as_json: bool) -> None:
    """List the control groups, or that of PRODUCT, and what they did on this UTC day."""
    with monitoring_connection() as connection:
        groups = [group for group in control_groups(connection) if product in (None, group.product)]
    if product is not None and not groups:
        raise click.ClickException(f"{product} has never had a control group")
    if as_json:
        print_json({"control_groups": groups})
        return
    table = plain_table("product", "share", "answer", "per day", "amount", "today", "let through")
    for group in groups:
        table.add_row(*_cells(group))
    console().print(table)


@control_group.command(
    "set",
    epilog=example(
        "monitoring control-group set fraud_score --share 0.005 --max-amount 200 --reason 'see what we block'"
    ),
)
@click.argument("product")
@click.option("--share", type=_SHARE, help=f"Share that passes.  [at first: {DEFAULT_SHARE}]")
@click.option("--answer", type=click.Choice(["review", "allow"]), help="Their answer.  [at first: review]")
@click.option(
    "--max-per-day", type=click.IntRange(1, MAX_PER_DAY), help=f"Most per UTC day.  [at first: {DEFAULT_MAX_PER_DAY}]"
)
@click.option("--max-amount", type=click.FloatRange(0, 1e300), help="Largest amount of one event; needed at first.")
@click.option("--amount-field", help="Payload field that has the amount.  [at first: amount]")
@click.option("--reason", required=True, help="Reason recorded in the audit log.")
@actor_option
@as_json
def set_command(
    product: str,
    share: float | None,
    answer: Literal["review", "allow"] | None,
    max_per_day: int | None,
    max_amount: float | None,
    amount_field: str | None,
    reason: str,
    actor: str,
    as_json: bool,
) -> None:
    """Switch the control group of PRODUCT on, or change it; what is left out stays as it is."""
    settings = {
        "share": share,
        "answer": answer,
        "max_per_day": max_per_day,
        "max_amount": max_amount,
        "amount_field": amount_field,
    }
    _store(product, True, actor, reason, as_json, settings)


@control_group.command(epilog=example("monitoring control-group off fraud_score --reason 'measured'"))
@click.argument("product")
@click.option("--reason", required=True, help="Reason recorded in the audit log.")
@actor_option
@as_json
def off(product: str, reason: str, actor: str, as_json: bool) -> None:
    """Switch the control group of PRODUCT off."""
    _store(product, False, actor, reason, as_json, {})


def _store(product: str, enabled: bool, actor: str, reason: str, as_json: bool, settings: dict[str, Any]) -> None:
    with monitoring_connection() as connection:
        group = set_control_group(connection, product, enabled=enabled, actor=actor, reason=reason, **settings)
    if as_json:
        print_json(group)
    elif not group.enabled:
        click.echo(f"the control group of {product} is off")
    else:
        click.echo(
            f"{product}: {group.share:.2%} of blocks are answered {group.answer}, at most {group.max_per_day} per day, "
            f"each with {group.amount_field} up to {group.max_amount:g}"
        )


def _cells(group: ControlGroupToday) -> tuple[str, ...]:
    amount = "–" if group.max_amount is None else f"{group.amount_field} <= {group.max_amount:g}"
    today = group.today
    return (
        group.product,
        f"{group.share:.2%}" if group.enabled else "off",
        group.answer,
        str(group.max_per_day),
        amount,
        f"{today.would_block:,} would-be blocks, {today.eligible:,} could pass",
        f"{today.let_through:,}",
    )
