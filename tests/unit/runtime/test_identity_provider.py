"""Tokens that an identity provider signs: which count, as whom, and which forgeries do not."""

import base64
import hashlib
import hmac
import json
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from runtime.auth import Authenticator, Caller, Role, TokenRefused
from runtime.settings import Settings, SettingsInvalid
from tests.support.identity_provider import (
    AUDIENCE,
    EC_KEY,
    ISSUER,
    RSA_KEY,
    STRANGERS_KEY,
    public_jwk,
    token,
    write_keys,
)

MakeAuthenticator = Callable[..., Authenticator]
OURS = {"jwt_secret": "j" * 40, "internal_service_token": "s" * 40}


def in_minutes(minutes: int) -> datetime:
    """Counted from when a test runs: this file is read long before."""
    return datetime.now(UTC) + timedelta(minutes=minutes)


def settings_with(**more: object) -> Settings:
    return Settings.model_validate(
        {"database_url": "postgresql://db/sira", "model_bucket": "file:///models", **OURS, **more}
    )


@pytest.fixture
def provider(tmp_path: Path) -> MakeAuthenticator:
    """`provider(oidc_roles="ops=ml_ops")`: an authenticator that trusts the provider, with settings overridden."""

    def make(**more: object) -> Authenticator:
        trusted = {"oidc_issuer": ISSUER, "oidc_audience": AUDIENCE, "oidc_jwks_file": tmp_path / "jwks.json"}
        if not (tmp_path / "jwks.json").exists():
            write_keys(tmp_path / "jwks.json")
        return Authenticator(settings_with(**trusted, **more))

    return make


def identify(authenticator: Authenticator, signed: str) -> Caller:
    return authenticator.identify(f"Bearer {signed}".encode())


@pytest.mark.parametrize("signing", [(RSA_KEY, "one", "RS256"), (EC_KEY, "two", "ES256")])
def test_a_token_of_either_kind_of_key_names_its_subject_and_role(
    provider: MakeAuthenticator, signing: tuple[Any, str, str]
) -> None:
    found = identify(provider(), token(*signing))
    assert found == Caller("f3a9", Role.ml_ops)
    assert found.expires_at is not None
    assert in_minutes(4) < found.expires_at < in_minutes(6)


def test_roles_and_the_name_are_where_the_settings_say_and_called_what_they_say(provider: MakeAuthenticator) -> None:
    authenticator = provider(
        oidc_roles_claim="realm_access.roles",
        oidc_roles="fraud=viewer, fraud=ops=ml_ops",
        oidc_name_claim="preferred_username",
    )
    access = {"roles": ["fraud", "viewer", 7], "other": None}
    assert identify(authenticator, token(realm_access=access)) == Caller("amina", Role.viewer)
    assert identify(authenticator, token(realm_access={"roles": "fraud=ops"})) == Caller("amina", Role.ml_ops)


def hs256_with_the_public_key() -> str:
    """The algorithm confusion: the public key, which everyone has, used as the secret of an HMAC."""
    secret = RSA_KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    head, body = (
        part.rstrip(b"=")
        for part in map(
            base64.urlsafe_b64encode,
            (b'{"alg":"HS256","typ":"JWT","kid":"one"}', base64.urlsafe_b64decode(token().split(".")[1] + "==")),
        )
    )
    signature = hmac.new(secret, head + b"." + body, hashlib.sha256).digest()
    return b".".join((head, body, base64.urlsafe_b64encode(signature).rstrip(b"="))).decode()


def unsigned() -> str:
    head = base64.urlsafe_b64encode(b'{"alg":"none","kid":"one"}').rstrip(b"=").decode()
    return f"{head}.{token().split('.')[1]}."


def changed() -> str:
    head, body, signature = token(roles=["viewer"]).split(".")
    claims = json.loads(base64.urlsafe_b64decode(body + "=="))
    forged = base64.urlsafe_b64encode(json.dumps(claims | {"roles": ["ml_ops"]}).encode()).rstrip(b"=").decode()
    return f"{head}.{forged}.{signature}"


REFUSED = {
    "signed by a stranger": (lambda: token(STRANGERS_KEY), "not valid"),
    "signed by a stranger under the other key's name": (lambda: token(STRANGERS_KEY, "two"), "not valid"),
    "a key that nobody knows": (lambda: token(kid="three"), "not valid"),
    "no key named although there are two": (lambda: token(kid=None), "not valid"),
    "another algorithm of the same key": (lambda: token(algorithm="RS512"), "not valid"),
    "HMAC with the public key": (hs256_with_the_public_key, "not valid"),
    "no signature": (unsigned, "not valid"),
    "changed after it was signed": (changed, "not valid"),
    "another issuer": (lambda: token(iss="https://id.example.com/realms/guests"), "not valid"),
    "for another service": (lambda: token(aud="payments"), "not valid"),
    "for nobody in particular": (lambda: token(aud=None), "not valid"),
    "from nobody in particular": (lambda: token(iss=None), "not valid"),
    "expired": (lambda: token(exp=in_minutes(-1)), "has expired"),
    "without an end": (lambda: token(exp=None), "not valid"),
    "not valid yet": (lambda: token(nbf=in_minutes(5)), "not valid"),
    "without a role of ours": (lambda: token(roles=["cashier"]), "no role"),
    "without roles": (lambda: token(roles=None), "no role"),
    "without a name": (lambda: token(sub=None), "not valid"),
    "with a blank name": (lambda: token(sub=" "), "names nobody"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_any_other_token_is_refused_with_a_reason(provider: MakeAuthenticator, case: str) -> None:
    make, reason = REFUSED[case]
    with pytest.raises(TokenRefused, match=reason):
        identify(provider(), make())


def test_our_own_tokens_count_beside_the_providers(provider: MakeAuthenticator) -> None:
    authenticator = provider()
    minted = authenticator.mint(subject="ben", role=Role.auditor, now=in_minutes(0), lifetime=timedelta(hours=1))
    assert identify(authenticator, minted) == Caller("ben", Role.auditor)
    assert identify(authenticator, "s" * 40) == Caller("service", None)


def test_a_provider_is_not_trusted_unless_it_is_set() -> None:
    with pytest.raises(TokenRefused, match="not valid"):
        identify(Authenticator(settings_with()), token())


def test_one_key_without_a_name_verifies_tokens_without_one(provider: MakeAuthenticator, tmp_path: Path) -> None:
    write_keys(tmp_path / "jwks.json", public_jwk(RSA_KEY))
    assert identify(provider(), token(kid=None)).subject == "f3a9"


def test_rotated_keys_count_without_a_restart_and_a_damaged_file_changes_nothing(
    provider: MakeAuthenticator, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    authenticator, file = provider(), tmp_path / "jwks.json"
    file.write_text("{")
    assert identify(authenticator, token()).subject == "f3a9"
    assert [record.message for record in caplog.records] == ["oidc_keys_not_read"]
    write_keys(file, public_jwk(STRANGERS_KEY, kid="three", use="sig"))
    os.utime(file, ns=(1, 1))
    assert identify(authenticator, token(STRANGERS_KEY, "three")).subject == "f3a9"
    with pytest.raises(TokenRefused):
        identify(authenticator, token())


SECRET_KEY = {"kty": "oct", "kid": "one", "k": base64.urlsafe_b64encode(b"k" * 40).decode()}


@pytest.mark.parametrize("content", ["", "{}", '{"keys": []}', json.dumps({"keys": [SECRET_KEY]}), "\udc80"])
def test_a_file_without_a_usable_key_is_a_fault_of_the_settings(
    provider: MakeAuthenticator, tmp_path: Path, content: str
) -> None:
    (tmp_path / "jwks.json").write_text(content, errors="surrogateescape")
    with pytest.raises(SettingsInvalid, match="OIDC_JWKS_FILE"):
        provider()


def test_a_key_for_encryption_verifies_nothing(provider: MakeAuthenticator, tmp_path: Path) -> None:
    write_keys(tmp_path / "jwks.json", public_jwk(RSA_KEY, kid="one", use="enc"), public_jwk(EC_KEY, kid="two"))
    with pytest.raises(TokenRefused):
        identify(provider(), token())


def test_a_token_of_a_secret_in_the_key_set_is_not_taken(provider: MakeAuthenticator, tmp_path: Path) -> None:
    write_keys(tmp_path / "jwks.json", SECRET_KEY, public_jwk(EC_KEY, kid="two"))
    forged = jwt.encode({"sub": "x", "iss": ISSUER, "aud": AUDIENCE, "exp": in_minutes(60), "roles": ["ml_ops"]},
                        b"k" * 40, algorithm="HS256", headers={"kid": "one"})  # fmt: skip
    with pytest.raises(TokenRefused, match="not valid"):
        identify(provider(), forged)


@pytest.mark.parametrize("missing", ["oidc_issuer", "oidc_audience", "oidc_jwks_file"])
def test_a_provider_needs_its_issuer_its_audience_and_its_keys(missing: str) -> None:
    given = {"oidc_issuer": ISSUER, "oidc_audience": AUDIENCE, "oidc_jwks_file": "/jwks.json"}
    with pytest.raises(ValueError, match=missing.upper()):
        settings_with(**{name: value for name, value in given.items() if name != missing})


@pytest.mark.parametrize("wrong", ["fraud", "fraud=owner", "=viewer", "viewer"])
def test_a_role_that_is_not_ours_is_a_fault_of_the_settings(wrong: str) -> None:
    with pytest.raises(ValueError, match="must list"):
        settings_with(oidc_roles=wrong)
