"""Why a person makes a change: one rule for every body that has a reason."""

from typing import Annotated

from msgspec import Meta

MAX_REASON_LENGTH = 1_000

# Recorded in the audit log. The controller's own reasons are not limited by it (canary/rollout/change.py).
Reason = Annotated[str, Meta(min_length=1, max_length=MAX_REASON_LENGTH)]
