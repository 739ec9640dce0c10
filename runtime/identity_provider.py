"""People whose tokens an identity provider signs (OpenID Connect): a JWT in an Authorization header, from a proxy.

The provider's public keys are a file (RFC 7517): nothing outside the machine is asked while a caller waits. The file is
read again when it has changed, so that a rotation of keys needs no restart.
"""

import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jwt

from runtime.caller import MAX_EPOCH, Caller, TokenRefused
from runtime.settings import SettingsInvalid, SignInSettings

log = logging.getLogger("sira.auth")

# Only signatures that a public key verifies: a token "signed" with HS256 and the public key itself is a known forgery.
ALGORITHMS = ("RS256", "ES256")
LEEWAY_SECONDS = 10

Version = tuple[int, int]


class IdentityProvider:
    """Verifies a provider's tokens: signature, issuer, audience and lifetime, then the roles that its claim maps to."""

    def __init__(self, settings: SignInSettings) -> None:
        """Raises SettingsInvalid if the file of keys cannot be read or holds no usable key."""
        assert settings.oidc_jwks_file is not None
        self._issuer, self._audience = settings.oidc_issuer, settings.oidc_audience
        self._role_path = settings.oidc_roles_claim.split(".")
        self._name_claim = settings.oidc_name_claim
        self._roles = settings.oidc_role_names
        self._file = settings.oidc_jwks_file
        try:
            self._version, self._keys = _version(self._file), _read_keys(self._file)
        except (OSError, ValueError) as error:
            raise SettingsInvalid([f"OIDC_JWKS_FILE {self._file} cannot be used: {error}"]) from None

    def identify(self, token: bytes) -> Caller:
        """Return the person that a token names; raises TokenRefused with the reason."""
        key = self._key(token)
        try:
            claims = jwt.decode(
                token,
                key.key,
                algorithms=[key.algorithm_name],
                issuer=self._issuer,
                audience=self._audience,
                leeway=LEEWAY_SECONDS,
                options={"require": ["exp", "iss", "aud", self._name_claim]},
            )
        except jwt.ExpiredSignatureError:
            raise TokenRefused("token has expired") from None
        except jwt.InvalidTokenError:
            raise TokenRefused("token is not valid") from None
        name = claims[self._name_claim]
        if not isinstance(name, str) or not name.strip():
            raise TokenRefused("token names nobody")
        named = _values(claims, self._role_path)
        known = [self._roles[name] for name in named if name in self._roles]
        if not known:
            raise TokenRefused("token carries no role")
        expires_at = datetime.fromtimestamp(min(int(claims["exp"]), MAX_EPOCH), UTC)
        return Caller(name, max(known), expires_at)

    def _key(self, token: bytes) -> jwt.PyJWK:
        """Return the key that a token names, or the only one."""
        self._reread()
        try:
            header = jwt.get_unverified_header(token)
        except jwt.InvalidTokenError:
            raise TokenRefused("token is not valid") from None
        name = header.get("kid")
        key = next(iter(self._keys.values())) if name is None and len(self._keys) == 1 else self._keys.get(str(name))
        if key is None or header.get("alg") != key.algorithm_name:
            raise TokenRefused("token is not valid")
        return key

    def _reread(self) -> None:
        """Read the file again if it has changed; keep the keys if it cannot be read."""
        try:
            version = _version(self._file)
            if version != self._version:
                self._keys, self._version = _read_keys(self._file), version
        except (OSError, ValueError) as error:
            log.warning("oidc_keys_not_read", extra={"file": str(self._file), "error": str(error)})


def is_signed_with_a_public_key(token: bytes) -> bool:
    """Return whether a token says that a key pair has signed it."""
    try:
        return jwt.get_unverified_header(token).get("alg") in ALGORITHMS
    except jwt.InvalidTokenError:
        return False


def _version(file: Path) -> Version:
    status = file.stat()
    return status.st_mtime_ns, status.st_size


def _read_keys(file: Path) -> Mapping[str, jwt.PyJWK]:
    """Return the keys that verify signatures, by their ids. Raises OSError, or ValueError without any."""
    try:
        found = jwt.PyJWKSet.from_json(file.read_text(encoding="utf-8")).keys
    except (jwt.PyJWTError, UnicodeDecodeError, ValueError) as error:
        raise ValueError(f"it is not a JSON Web Key Set: {error}") from None
    usable = {
        str(key.key_id): key
        for key in found
        if key.algorithm_name in ALGORITHMS and key.public_key_use in (None, "sig")
    }
    if not usable:
        raise ValueError(f"it holds no key for {' or '.join(ALGORITHMS)}")
    return usable


def _values(claims: Mapping[str, Any], path: list[str]) -> list[str]:
    """Return the texts at a path of claims: a list, or one text."""
    found: Any = claims
    for name in path:
        found = found.get(name) if isinstance(found, Mapping) else None
    values = [found] if isinstance(found, str) else found if isinstance(found, list) else []
    return [value for value in values if isinstance(value, str)]
