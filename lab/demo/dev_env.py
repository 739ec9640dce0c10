"""`.sira/dev.env`: variables for processes and shells, in a form that a shell can source. Mode 0600: it has secrets."""

import os
import secrets
import shlex
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path

import jwt

from runtime.auth import Role, mint_token

SECRETS = ("JWT_SECRET", "INTERNAL_SERVICE_TOKEN")
TOKENS = {"ML_OPS_TOKEN": Role.ml_ops, "AUDITOR_TOKEN": Role.auditor, "VIEWER_TOKEN": Role.viewer}
LIFETIME = timedelta(days=30)
RENEW_BEFORE = timedelta(days=7)


def read(path: Path) -> dict[str, str]:
    """Return the file's variables; empty if there is no file."""
    if not path.exists():
        return {}
    lines = [line.partition("=") for line in path.read_text().splitlines() if not line.startswith("#")]
    return {name: "".join(shlex.split(value)) for name, _, value in lines if value}


def write(path: Path, values: Mapping[str, str]) -> None:
    """Replace the file atomically; only its owner can read it, from its first byte on."""
    unfinished = path.with_name(path.name + ".unfinished")
    unfinished.unlink(missing_ok=True)
    with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write("# Written by `make run`. To use it: set -a; . .sira/dev.env; set +a\n")
        file.writelines(f"{name}={shlex.quote(value)}\n" for name, value in values.items())
    unfinished.replace(path)


def secrets_and_tokens(known: Mapping[str, str], now: datetime) -> dict[str, str]:
    """Return the secrets in `known`, and its tokens that are valid for another week; new ones for the others."""
    values = {name: known.get(name) or secrets.token_urlsafe(32) for name in SECRETS}
    for name, role in TOKENS.items():
        token = known.get(name, "")
        if not _is_valid(token, values["JWT_SECRET"], now):
            token = mint_token(values["JWT_SECRET"], subject=f"dev-{role.name}", role=role, now=now, lifetime=LIFETIME)
        values[name] = token
    return values


def _is_valid(token: str, jwt_secret: str, now: datetime) -> bool:
    try:
        claims = jwt.decode(token, jwt_secret, algorithms=["HS256"], options={"verify_exp": False, "require": ["exp"]})
    except jwt.InvalidTokenError:
        return False
    return float(claims["exp"]) - now.timestamp() > RENEW_BEFORE.total_seconds()
