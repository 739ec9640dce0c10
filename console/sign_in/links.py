"""One-time sign-in links: `make run` issues them, the first visit from this machine redeems one.

Postgres holds the hash of a code only, and the service's role cannot insert one. The caller owns the transaction.
"""

import hashlib
import secrets
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from runtime.auth import Role
from runtime.postgres import Connection
from runtime.queries import load_queries

QUERIES = load_queries(Path(__file__).with_name("queries.sql"))

LINK_LIFETIME = timedelta(hours=12)
_CODE_BYTES = 18


@dataclass(frozen=True, slots=True)
class SignInLink:
    """The person that a redeemed link names."""

    subject: str
    role: Role


def links_exist(connection: Connection) -> bool:
    """Return whether migration 010 has run."""
    row = connection.execute(QUERIES["links_exist"]).fetchone()
    return bool(row and row[0])


def issue(connection: Connection, link: SignInLink, *, lifetime: timedelta = LINK_LIFETIME) -> str:
    """Store a link and return its code, which only whoever reads it here will know."""
    code = secrets.token_urlsafe(_CODE_BYTES)
    values = {"subject": link.subject, "role": link.role.name, "lifetime": lifetime, "code_sha256": _digest(code)}
    connection.execute(QUERIES["insert_link"], values)
    return code


def redeem(connection: Connection, code: str) -> SignInLink | None:
    """Return whom a link names, once; None when it was redeemed before, has expired or never existed."""
    row = connection.execute(QUERIES["redeem_link"], {"code_sha256": _digest(code)}).fetchone()
    return None if row is None else SignInLink(row[0], Role[row[1]])


def _digest(code: str) -> str:
    return hashlib.sha256(code.encode()).hexdigest()
