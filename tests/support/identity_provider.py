"""An identity provider with real key pairs: it writes its public keys to a file and signs tokens."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa

ISSUER, AUDIENCE = "https://id.example.com/realms/bank", "sira"
RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC_KEY = ec.generate_private_key(ec.SECP256R1())
STRANGERS_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)


def public_jwk(key: Any, **fields: str) -> dict[str, Any]:
    kind = jwt.algorithms.RSAAlgorithm if isinstance(key, rsa.RSAPrivateKey) else jwt.algorithms.ECAlgorithm
    return {**json.loads(kind.to_jwk(key.public_key())), **fields}


def write_keys(file: Path, *keys: dict[str, Any]) -> Path:
    file.write_text(json.dumps({"keys": keys or [public_jwk(RSA_KEY, kid="one"), public_jwk(EC_KEY, kid="two")]}))
    return file


def token(key: Any = RSA_KEY, kid: str | None = "one", algorithm: str = "RS256", **changes: Any) -> str:
    """Sign a token; a claim or `kid` of None is left out."""
    claims = {
        "sub": "f3a9",
        "preferred_username": "amina",
        "iss": ISSUER,
        "aud": ["account", AUDIENCE],
        "exp": datetime.now(UTC) + timedelta(minutes=5),
        "roles": ["ml_ops"],
    } | changes
    kept = {name: value for name, value in claims.items() if value is not None}
    return jwt.encode(kept, key, algorithm=algorithm, headers={"kid": kid} if kid else None)
