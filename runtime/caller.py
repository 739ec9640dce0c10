"""Callers: people with a role, and product services."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import IntEnum

MAX_EPOCH = int(datetime.max.replace(tzinfo=UTC).timestamp())


class Role(IntEnum):
    """Roles of people; each role may do everything the lower ones may."""

    viewer = 1
    auditor = 2
    ml_ops = 3


@dataclass(frozen=True, slots=True)
class Caller:
    """An authenticated caller: `subject` is the actor in audit rows; `role` is None for a product service.

    `expires_at` is the end of a person's token.
    """

    subject: str
    role: Role | None
    expires_at: datetime | None = field(default=None, compare=False)


class AuthError(Exception):
    """Base class of authentication errors."""


class TokenRefused(AuthError):
    def __init__(self, reason: str) -> None:
        super().__init__(f"{reason}; send `Authorization: Bearer <token>`")
