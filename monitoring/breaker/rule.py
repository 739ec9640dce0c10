"""When the breaker trips and when it is lifted: pure, from the guard's word and the share of blocks."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

# The share that must be exceeded is that of the last minute, of what the model decides.
SHARE_SECONDS = 60
DEFAULT_MAX_BLOCK_SHARE = 0.05
DEFAULT_QUIET_SECONDS = 900


@dataclass(frozen=True, slots=True)
class Breaker:
    """The breaker of a product. While `tripped_at` is set, every worker answers review instead of block.

    `tripped_share`: the share of blocks that tripped it. `quiet_since`: when the guard ceased to fire after that.
    """

    product: str
    enabled: bool = False
    max_block_share: float = DEFAULT_MAX_BLOCK_SHARE
    quiet_seconds: int = DEFAULT_QUIET_SECONDS
    tripped_at: datetime | None = None
    tripped_share: float | None = None
    quiet_since: datetime | None = None


def after_look(breaker: Breaker, *, firing: bool, share: float, now: datetime) -> Breaker:
    """Return the breaker after a look of the guard at the blocks: tripped, lifted, or as it was."""
    if not breaker.enabled:
        return breaker
    if breaker.tripped_at is None:
        if firing and share > breaker.max_block_share:
            return replace(breaker, tripped_at=now, tripped_share=share, quiet_since=None)
        return breaker
    if firing:
        return replace(breaker, quiet_since=None)
    quiet_since = breaker.quiet_since or now
    if now - quiet_since >= timedelta(seconds=breaker.quiet_seconds):
        return _lifted(breaker)
    return replace(breaker, quiet_since=quiet_since)


def as_set(
    breaker: Breaker, *, enabled: bool, max_block_share: float | None = None, quiet_seconds: int | None = None
) -> Breaker:
    """Return the breaker as an operator sets it. Disabling lifts it, and so does a limit above the share it tripped at.

    What is None stays as it is.
    """
    changed = replace(
        breaker,
        enabled=enabled,
        max_block_share=breaker.max_block_share if max_block_share is None else max_block_share,
        quiet_seconds=breaker.quiet_seconds if quiet_seconds is None else quiet_seconds,
    )
    if not enabled or (changed.tripped_share is not None and changed.tripped_share <= changed.max_block_share):
        return _lifted(changed)
    return changed


def _lifted(breaker: Breaker) -> Breaker:
    return replace(breaker, tripped_at=None, tripped_share=None, quiet_since=None)
