"""Settings: the only code that reads the environment, as a frozen model that is built once per process."""

import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from runtime.caller import Role

MIN_SECRET_BYTES = 32
_SHARE = re.compile(
    r"(?:(?P<product>[a-z0-9][a-z0-9_.-]{0,63})/)?(?P<decision>allow|review|block)=(?P<share>\d*\.?\d+)"
)
_SECRETS = ("jwt_secret", "internal_service_token", "internal_service_token_previous")


class SettingsInvalid(Exception):
    """One line that names every wrong or missing variable, and no value."""

    def __init__(self, faults: list[str]) -> None:
        self.faults = faults
        super().__init__("settings: " + "; ".join(faults))


@dataclass(frozen=True, slots=True)
class ReasonsShare:
    """The share of one decision's predictions that are explained; `product` None: of every product."""

    product: str | None
    decision: str
    share: float


class _Environment(BaseSettings):
    """Base class; a command that needs fewer variables than a server loads a smaller subclass."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True, case_sensitive=False)

    @field_validator(*_SECRETS, mode="before", check_fields=False)
    @classmethod
    def _unset_when_blank(cls, value: object) -> object:
        return None if isinstance(value, str) and not value.strip() else value

    @field_validator(*_SECRETS, check_fields=False)
    @classmethod
    def _long_enough(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and len(value.get_secret_value().encode()) < MIN_SECRET_BYTES:
            raise ValueError(f"is shorter than {MIN_SECRET_BYTES} bytes: make one with `openssl rand -base64 32`")
        return value

    @classmethod
    def load(cls) -> Self:
        """Read the environment; raises SettingsInvalid, which names every fault at once."""
        try:
            return cls()
        except ValidationError as invalid:
            raise SettingsInvalid([_fault(error) for error in invalid.errors(include_input=False)]) from None


class DatabaseSettings(_Environment):
    database_url: SecretStr

    @field_validator("database_url")
    @classmethod
    def _is_postgres(cls, value: SecretStr) -> SecretStr:
        if not value.get_secret_value().startswith(("postgresql://", "postgres://")):
            raise ValueError("must start with postgresql://")
        return value


class ArtifactSettings(_Environment):
    model_bucket: str = Field(pattern=r"^(s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/.*)?|file:///.*)$")
    artifact_max_bytes: int = Field(default=256 << 20, ge=1)
    require_reference: bool = False


class BacktestSettings(DatabaseSettings, ArtifactSettings):
    """What a backtest outside a server needs."""

    label_maturity_days: float = Field(default=30.0, gt=0)


class CanarySettings(_Environment):
    """The default of new rollouts for critical alerts."""

    alertmanager_url: str | None = Field(default=None, pattern=r"^https?://")
    canary_critical_alerts: Literal["hold", "ignore"] = "hold"

    @property
    def ignores_alerts(self) -> bool:
        """True if rollouts start with critical_alerts "ignore", which requires that no Alertmanager is set."""
        return self.alertmanager_url is None and self.canary_critical_alerts == "ignore"


class TokenSettings(_Environment):
    jwt_secret: SecretStr


class SignInSettings(_Environment):
    """The identity provider whose tokens name people too; off unless OIDC_JWKS_FILE is set (docs/security.md)."""

    oidc_jwks_file: Path | None = None
    oidc_issuer: str | None = None
    oidc_audience: str | None = None
    oidc_roles_claim: str = Field(default="roles", min_length=1)
    oidc_roles: str = "viewer=viewer,auditor=auditor,ml_ops=ml_ops"
    oidc_name_claim: str = Field(default="sub", min_length=1)

    @property
    def oidc_role_names(self) -> dict[str, Role]:
        """Our roles by what the provider calls them, as OIDC_ROLES lists them."""
        return _roles(self.oidc_roles)

    @field_validator("oidc_roles")
    @classmethod
    def _names_roles(cls, value: str) -> str:
        _roles(value)
        return value

    @model_validator(mode="after")
    def _names_whom_to_trust(self) -> Self:
        names = ("oidc_jwks_file", "oidc_issuer", "oidc_audience")
        missing = [name.upper() for name in names if not getattr(self, name)]
        if missing and len(missing) < len(names):
            raise ValueError(f"{', '.join(missing)} must be set too: a token counts from one issuer, for one audience")
        return self


class Settings(DatabaseSettings, ArtifactSettings, CanarySettings, TokenSettings, SignInSettings):
    """All settings of the service and the controller. boto3 reads the AWS_* variables itself."""

    internal_service_token: SecretStr
    internal_service_token_previous: SecretStr | None = None

    model_dir: Path = Path("/models")
    spool_dir: Path = Path("/spool")
    spool_max_bytes: int = Field(default=4 << 30, ge=1 << 20)
    cache_max_items: int = Field(default=20_000, ge=0)
    max_concurrency: int = Field(default=256, ge=1)
    body_timeout_seconds: float = Field(default=5.0, gt=0)
    drain_seconds: float = Field(default=5.0, ge=0)
    sync_poll_seconds: float = Field(default=3.0, gt=0)
    reasons_background_rows: int = Field(default=128, ge=16, le=1_000)
    reasons_share: str = "review=1,block=1"

    prometheus_url: str | None = Field(default=None, pattern=r"^https?://")
    canary_tick_seconds: float = Field(default=5.0, gt=0)
    label_maturity_days: float = Field(default=30.0, gt=0)
    retention_days: int = Field(default=400, ge=31)
    archive: bool = True
    controller_host: str = "127.0.0.1"
    control_port: int = Field(default=3000, ge=1, le=65535)

    @field_validator("reasons_share")
    @classmethod
    def _is_shares(cls, value: str) -> str:
        _shares(value)
        return value

    @property
    def reasons_shares(self) -> tuple[ReasonsShare, ...]:
        """The shares of predictions that are explained, as REASONS_SHARE lists them."""
        return _shares(self.reasons_share)

    @model_validator(mode="after")
    def _secrets_differ(self) -> Self:
        if self.jwt_secret.get_secret_value() == self.internal_service_token.get_secret_value():
            raise ValueError("JWT_SECRET and INTERNAL_SERVICE_TOKEN must differ")
        return self

    def make_folders(self) -> None:
        """Create SPOOL_DIR and MODEL_DIR; raises SettingsInvalid, which names each that cannot be written."""
        faults = []
        for name, folder in (("SPOOL_DIR", self.spool_dir), ("MODEL_DIR", self.model_dir)):
            try:
                folder.mkdir(parents=True, exist_ok=True)
                with tempfile.TemporaryFile(dir=folder):
                    pass
            except OSError as error:
                faults.append(f"{name} {folder} cannot be written: {error.strerror}")
        if faults:
            raise SettingsInvalid(faults)


def _shares(text: str) -> tuple[ReasonsShare, ...]:
    found = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        matched = _SHARE.fullmatch(part)
        if matched is None or not 0 <= float(matched["share"]) <= 1:
            raise ValueError(
                "must list shares from 0 to 1 by decision, some for one product: review=1,block=1,cards/block=0.1"
            )
        found.append(ReasonsShare(matched["product"], matched["decision"], float(matched["share"])))
    return tuple(found)


def _roles(text: str) -> dict[str, Role]:
    found = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, _, role = part.rpartition("=")
        if not name or role not in Role.__members__:
            raise ValueError("must list the provider's names of our roles: fraud-analysts=viewer,fraud-ops=ml_ops")
        found[name] = Role[role]
    return found


def _fault(error: object) -> str:
    assert isinstance(error, dict)
    name = ".".join(str(part) for part in error["loc"]).upper()
    if error["type"] in ("missing", "string_type"):  # `_unset_when_blank` turns a blank secret into None
        return f"{name} is missing"
    message = str(error["msg"]).removeprefix("Value error, ")
    return f"{name} {message}" if name else message
