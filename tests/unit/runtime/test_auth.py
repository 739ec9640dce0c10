"""Authentication: which tokens are accepted, and as whom."""

import base64
import hmac
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import product

import jwt
import pytest

from runtime.auth import Authenticator, Caller, Role, ServiceTokens, TokenRefused, mint_token
from runtime.settings import Settings

SECRET, CURRENT, PREVIOUS = "j" * 40, "s" * 40, "p" * 40
NOW = datetime.now(UTC)
DAY = timedelta(days=1)


@pytest.fixture
def authenticator() -> Authenticator:
    return Authenticator(
        Settings.model_construct(
            **Settings.model_validate(
                {
                    "database_url": "postgresql://db/sira",
                    "model_bucket": "file:///models",
                    "jwt_secret": SECRET,
                    "internal_service_token": CURRENT,
                    "internal_service_token_previous": PREVIOUS,
                }
            ).__dict__
        )
    )


def claims(**changes: object) -> dict[str, object]:
    known = {"sub": "amina", "roles": ["ml_ops"], "exp": NOW + DAY}
    return {name: value for name, value in {**known, **changes}.items() if value is not None}


def signed(secret: str = SECRET, algorithm: str = "HS256", **changes: object) -> bytes:
    return b"Bearer " + jwt.encode(claims(**changes), secret, algorithm=algorithm).encode()


def unsigned(algorithm: str) -> bytes:
    """A token as forgers make it: an algorithm of their choice and no signature."""
    head = base64.urlsafe_b64encode(b'{"alg":"%s","typ":"JWT"}' % algorithm.encode()).rstrip(b"=")
    body = signed().split(b" ")[1].split(b".")[1]
    return b"Bearer " + head + b"." + body + b"."


@pytest.mark.parametrize("token", [CURRENT, PREVIOUS])
def test_the_service_token_and_the_one_before_it_are_a_service(authenticator: Authenticator, token: str) -> None:
    assert authenticator.identify(f"Bearer {token}".encode()) == Caller("service", None)


@pytest.mark.parametrize("role", Role)
def test_a_minted_token_carries_its_subject_and_role(authenticator: Authenticator, role: Role) -> None:
    token = mint_token(SECRET, subject="amina", role=role, now=NOW, lifetime=DAY)
    assert authenticator.identify(f"Bearer {token}".encode()) == Caller("amina", role)


def test_the_highest_of_several_roles_counts_and_unknown_ones_do_not(authenticator: Authenticator) -> None:
    caller = authenticator.identify(signed(roles=["viewer", "root", "auditor"]))
    assert caller.role is Role.auditor


REFUSED: dict[str, tuple[Callable[[], bytes | None], str]] = {
    "no header": (lambda: None, "no token"),
    "an empty header": (lambda: b"", "no token"),
    "a scheme alone": (lambda: b"Bearer", "not a bearer token"),
    "another scheme": (lambda: b"Basic " + CURRENT.encode(), "not a bearer token"),
    "the service token without a scheme": (lambda: CURRENT.encode(), "not a bearer token"),
    "a wrong service token": (lambda: b"Bearer " + b"x" * 40, "token is not valid"),
    "a service token cut short": (lambda: b"Bearer " + CURRENT[:-1].encode(), "token is not valid"),
    "a service token with more": (lambda: b"Bearer " + CURRENT.encode() + b"s", "token is not valid"),
    "an expired token": (lambda: signed(exp=NOW - DAY), "token has expired"),
    "another key": (lambda: signed(secret="k" * 40), "token is not valid"),
    "another algorithm": (lambda: signed(secret=SECRET * 2, algorithm="HS512"), "token is not valid"),
    "alg none": (lambda: unsigned("none"), "token is not valid"),
    "alg None": (lambda: unsigned("None"), "token is not valid"),
    "no signature": (lambda: unsigned("HS256"), "token is not valid"),
    "not yet valid": (lambda: signed(nbf=NOW + DAY), "token is not valid"),
    "without exp": (lambda: signed(exp=None), "token is not valid"),
    "without sub": (lambda: signed(sub=None), "token is not valid"),
    "a sub that is not text": (lambda: signed(sub=7), "token is not valid"),
    "no roles": (lambda: signed(roles=None), "token carries no role"),
    "roles that are not a list": (lambda: signed(roles="ml_ops"), "token carries no role"),
    "roles of another kind": (lambda: signed(roles=[["ml_ops"], {"a": 1}, 3]), "token carries no role"),
    "only unknown roles": (lambda: signed(roles=["root"]), "token carries no role"),
    "bytes": (lambda: b"Bearer \xff\xfe.\x00.\x01", "token is not valid"),
    "a deep header": (
        lambda: b"Bearer " + base64.urlsafe_b64encode(b"[" * 30_000).rstrip(b"=") + b".e30.x",
        "token is not valid",
    ),
    "dots": (lambda: b"Bearer " + b"." * 1000, "token is not valid"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_anyone_else_is_refused_with_a_reason(authenticator: Authenticator, case: str) -> None:
    make, reason = REFUSED[case]
    with pytest.raises(TokenRefused) as refused:
        authenticator.identify(make())
    assert str(refused.value) == f"{reason}; send `Authorization: Bearer <token>`"


def test_a_service_token_is_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every accepted value is compared by hmac.compare_digest, whichever of them matches, or none."""
    compared: list[bytes] = []

    def counting(given: bytes, wanted: bytes) -> bool:
        compared.append(wanted)
        return given == wanted

    tokens = ServiceTokens(CURRENT, PREVIOUS)
    monkeypatch.setattr(hmac, "compare_digest", counting)
    for given in (CURRENT, PREVIOUS, "wrong"):
        compared.clear()
        assert tokens.accept(f"Bearer {given}".encode()) is (given != "wrong")
        assert compared == [f"Bearer {CURRENT}".encode(), f"Bearer {PREVIOUS}".encode()]


def test_without_a_previous_token_only_the_current_one_is_taken() -> None:
    tokens = ServiceTokens(CURRENT)
    assert [tokens.accept(b"Bearer " + given) for given in (CURRENT.encode(), PREVIOUS.encode(), b"")] == [
        *(True, False, False),
    ]


def test_each_role_may_do_all_that_the_ones_before_it_may() -> None:
    assert [low <= high for low, high in product(Role, Role)] == [
        *(True, True, True),
        *(False, True, True),
        *(False, False, True),
    ]
