"""Authentication: product services send a shared token, people send a JWT with a role."""

import hmac
from datetime import UTC, datetime, timedelta

import jwt

from runtime.caller import MAX_EPOCH, AuthError, Caller, Role, TokenRefused
from runtime.identity_provider import IdentityProvider, is_signed_with_a_public_key
from runtime.settings import Settings

__all__ = ["AuthError", "Authenticator", "Caller", "Role", "ServiceTokens", "TokenRefused", "mint_token"]


class ServiceTokens:
    """The Authorization header values of product services, compared in constant time (0.4 µs)."""

    def __init__(self, current: str, previous: str | None = None) -> None:
        self._accepted = tuple(b"Bearer " + token.encode() for token in (current, previous) if token)

    def accept(self, authorization: bytes) -> bool:
        accepted = False
        for value in self._accepted:
            accepted |= hmac.compare_digest(authorization, value)
        return accepted


class Authenticator:
    """Checks Authorization headers against the configured secrets."""

    def __init__(self, settings: Settings) -> None:
        previous = settings.internal_service_token_previous
        self.service_tokens = ServiceTokens(
            settings.internal_service_token.get_secret_value(),
            previous.get_secret_value() if previous else None,
        )
        self._jwt_secret = settings.jwt_secret.get_secret_value()
        self._provider = IdentityProvider(settings) if settings.oidc_jwks_file else None

    def identify(self, authorization: bytes | None) -> Caller:
        """Return the caller that an Authorization header names; raises TokenRefused with the reason."""
        if not authorization:
            raise TokenRefused("no token")
        scheme, _, token = authorization.partition(b" ")
        token = token.strip()
        # The scheme's case does not matter: RFC 9110, 11.1.
        if scheme.lower() != b"bearer" or not token:
            raise TokenRefused("not a bearer token")
        if self.service_tokens.accept(b"Bearer " + token):
            return Caller(subject="service", role=None)
        # Each kind of token has one kind of key, whatever its header says: ours is never tried with a public key.
        if self._provider and is_signed_with_a_public_key(token):
            return self._provider.identify(token)
        try:
            claims = jwt.decode(token, self._jwt_secret, algorithms=["HS256"], options={"require": ["exp", "sub"]})
        except jwt.ExpiredSignatureError:
            raise TokenRefused("token has expired") from None
        except jwt.InvalidTokenError:
            raise TokenRefused("token is not valid") from None
        roles = claims.get("roles")
        known = [role for role in Role if role.name in roles] if isinstance(roles, list) else []
        if not known:
            raise TokenRefused("token carries no role")
        expires_at = datetime.fromtimestamp(min(int(claims["exp"]), MAX_EPOCH), UTC)
        return Caller(str(claims["sub"]), max(known), expires_at)

    def mint(self, *, subject: str, role: Role, now: datetime, lifetime: timedelta) -> str:
        """Return a token for a person; see mint_token()."""
        return mint_token(self._jwt_secret, subject=subject, role=role, now=now, lifetime=lifetime)


def mint_token(jwt_secret: str, *, subject: str, role: Role, now: datetime, lifetime: timedelta) -> str:
    """Return a JWT (HS256) for a person, valid from `now` for `lifetime`."""
    claims = {"sub": subject, "roles": [role.name], "iat": now, "exp": now + lifetime}
    return jwt.encode(claims, jwt_secret, algorithm="HS256")
