"""Which arm answers a key: sticky, the same in every process, monotone in the percentage."""

from functools import lru_cache
from hashlib import blake2b
from typing import Literal

import msgspec

Arm = Literal["production", "canary"]

# A split that nobody has judged for this long routes nothing: workers stop, and the judge begins anew when it is back.
UNJUDGED_SECONDS = 600.0

# 53 bits fit a float exactly; all 64 could round up to 1.0 and leave a key out at 100 %.
_DROPPED_BITS = 11
_SCALE = 2.0**-53


class Split(msgspec.Struct, frozen=True):
    """How one rollout divides traffic. `salt` (1..64 bytes) is drawn once per rollout and never changes."""

    rollout_id: str
    salt: bytes
    percent: float


def position(salt: bytes, routing_key: str) -> float:
    """Where a key lies in [0, 1]: uniform over keys, fixed for a salt. Keyed BLAKE2b (RFC 7693), 64 bits."""
    keyed = _keyed(salt).copy()
    keyed.update(routing_key.encode("utf-8", "surrogatepass"))
    return (int.from_bytes(keyed.digest()) >> _DROPPED_BITS) * _SCALE


@lru_cache(256)
def _keyed(salt: bytes) -> blake2b:
    """The hash with its key already in it: half of what hashing a routing key costs."""
    return blake2b(digest_size=8, key=salt)


def choose_arm(split: Split, routing_key: str) -> Arm:
    """Canary exactly for the keys whose position is below the percentage, so raising it never moves one back."""
    if split.percent <= 0.0:
        return "production"  # most splits most of the time: not worth a hash
    return "canary" if position(split.salt, routing_key) * 100.0 < split.percent else "production"
