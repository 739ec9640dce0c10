"""Choose the arm that answers a key: sticky, the same in every process, monotone in the percentage."""

from functools import lru_cache
from hashlib import blake2b
from typing import Literal

import msgspec

Arm = Literal["production", "canary"]

# Workers stop routing to a canary that has not been judged for this long; the judge then restarts the step.
UNJUDGED_SECONDS = 600.0

# 53 bits fit a float exactly; all 64 could round up to 1.0 and leave a key out at 100 %.
_DROPPED_BITS = 11
_SCALE = 2.0**-53


class Split(msgspec.Struct, frozen=True):
    """The division of traffic by one rollout. `salt` (1..64 bytes) is drawn once per rollout and never changes."""

    rollout_id: str
    salt: bytes
    percent: float


def position(salt: bytes, routing_key: str) -> float:
    """Return a key's position in [0, 1]: uniform over keys, fixed for a salt. Keyed BLAKE2b (RFC 7693), 64 bits."""
    keyed = _keyed(salt).copy()
    keyed.update(routing_key.encode("utf-8", "surrogatepass"))
    return (int.from_bytes(keyed.digest()) >> _DROPPED_BITS) * _SCALE


@lru_cache(256)
def _keyed(salt: bytes) -> blake2b:
    """Return the hash with its key already absorbed: half the cost of hashing a routing key."""
    return blake2b(digest_size=8, key=salt)


def choose_arm(split: Split, routing_key: str) -> Arm:
    """Return canary for keys whose position is below the percentage, so raising it never moves a key back."""
    if split.percent <= 0.0:
        return "production"  # the common case needs no hash
    return "canary" if position(split.salt, routing_key) * 100.0 < split.percent else "production"
