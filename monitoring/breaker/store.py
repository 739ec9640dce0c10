"""Breakers in Postgres: set by operators, tripped and lifted by the guard. The caller owns the transaction."""

import logging
from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
from psycopg.rows import class_row

from monitoring.breaker.rule import SHARE_SECONDS, Breaker, after_look, as_set
from registry import audit
from runtime.postgres import Connection
from runtime.queries import load_queries

log = logging.getLogger("sira.monitoring.breaker")

QUERIES = load_queries(Path(__file__).with_name("queries.sql"))
GUARD = "sira-guard"


class BreakerUnavailable(Exception):
    """The database has no table of breakers."""

    def __init__(self) -> None:
        super().__init__("the breaker needs migration 006_breaker: run `python -m migrations up`, then try again")


class BreakerProductUnknown(Exception):
    def __init__(self, product: str) -> None:
        super().__init__(f"no version of a product {product!r} is registered")


def breaker_exists(connection: Connection) -> bool:
    """Return whether migration 006 has run."""
    return bool(_one(connection, "breaker_exists", {}))


def breakers(connection: Connection) -> tuple[Breaker, ...]:
    """Return the breaker of every product that has one; none before migration 006."""
    return tuple(_read(connection, "breakers")) if breaker_exists(connection) else ()


def set_breaker(
    connection: Connection,
    product: str,
    *,
    enabled: bool,
    max_block_share: float | None,
    quiet_seconds: int | None,
    actor: str,
    reason: str | None,
) -> Breaker:
    """Set a product's breaker and return it. Raises BreakerUnavailable and BreakerProductUnknown."""
    if not breaker_exists(connection):
        raise BreakerUnavailable
    if not _one(connection, "product_exists", {"product": product}):
        raise BreakerProductUnknown(product)
    audit.lock_writes(connection)
    before = _locked(connection).get(product, Breaker(product))
    after = as_set(before, enabled=enabled, max_block_share=max_block_share, quiet_seconds=quiet_seconds)
    _store(connection, before, after, action="breaker.set", actor=actor, reason=reason)
    return after


def follow_guard(connection: Connection, firing: Mapping[str, bool], now: datetime) -> int:
    """Trip and lift breakers after a look; return how many. `firing`: by product, whether the guard fires on blocks."""
    enabled = [breaker for breaker in breakers(connection) if breaker.enabled]
    if not enabled:
        return 0
    shares = dict(
        connection.execute(QUERIES["block_shares"], {"since": now - timedelta(seconds=SHARE_SECONDS)}).fetchall()
    )
    wanted = {b.product: (firing.get(b.product, False), shares.get(b.product, 0.0)) for b in enabled}
    if all(after_look(b, firing=wanted[b.product][0], share=wanted[b.product][1], now=now) == b for b in enabled):
        return 0
    audit.lock_writes(connection)
    changed = 0
    for product, before in _locked(connection).items():
        if product not in wanted:
            continue
        fires, share = wanted[product]
        after = after_look(before, firing=fires, share=share, now=now)
        if after.tripped_at == before.tripped_at:
            if after != before:
                connection.execute(QUERIES["store_breaker"], _columns(after))
            continue
        action = "breaker.tripped" if after.tripped_at else "breaker.lifted"
        log.error(action.replace(".", "_"), extra={"product": product, "share": round(share, 4)})
        said = f"{share:.1%} blocked" if after.tripped_at else f"quiet for {before.quiet_seconds} s"
        _store(connection, before, after, action=action, actor=GUARD, reason=said)
        changed += 1
    return changed


def downgraded(
    connection: Connection, products: Collection[str], hours: Collection[datetime]
) -> dict[tuple[str, datetime], int]:
    """Return by product and hour the reviews that the model wanted to block."""
    if not products:
        return {}
    rows = connection.execute(QUERIES["downgraded"], {"products": list(products), "hours": list(hours)})
    return {(product, hour): count for product, hour, count in rows.fetchall()}


def _store(
    connection: Connection, before: Breaker, after: Breaker, *, action: str, actor: str, reason: str | None
) -> None:
    connection.execute(QUERIES["store_breaker"], _columns(after))
    audit.append(
        connection,
        actor=actor,
        action=action,
        subject=after.product,
        before=msgspec.to_builtins(before),
        after=msgspec.to_builtins(after),
        reason=reason,
    )


def _columns(breaker: Breaker) -> dict[str, Any]:
    return {name: getattr(breaker, name) for name in Breaker.__slots__}


def _locked(connection: Connection) -> dict[str, Breaker]:
    return {breaker.product: breaker for breaker in _read(connection, "lock_breakers")}


def _read(connection: Connection, query: str) -> list[Breaker]:
    with connection.cursor(row_factory=class_row(Breaker)) as cursor:
        return cursor.execute(QUERIES[query]).fetchall()


def _one(connection: Connection, query: str, values: Mapping[str, Any]) -> Any:
    row = connection.execute(QUERIES[query], values).fetchone()
    assert row is not None
    return row[0]
