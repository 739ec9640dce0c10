"""The environment becomes settings, or one line that names every fault."""

from collections.abc import Callable
from pathlib import Path

import pytest

from runtime.settings import ArtifactSettings, DatabaseSettings, ReasonsShare, Settings, SettingsInvalid, TokenSettings

GOOD = {
    "DATABASE_URL": "postgresql://sira:hunter2hunter2@db/sira",
    "MODEL_BUCKET": "s3://models/fraud",
    "JWT_SECRET": "j" * 32,
    "INTERNAL_SERVICE_TOKEN": "s" * 32,
}
Environment = Callable[..., None]


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Environment:
    """`environment(PORT="1", JWT_SECRET=None)`: a whole environment with these changes."""

    def become(**changes: str | None) -> None:
        for name in Settings.model_fields:
            monkeypatch.delenv(name.upper(), raising=False)
        for name, value in {**GOOD, **changes}.items():
            if value is not None:
                monkeypatch.setenv(name, value)

    return become


def faults(kind: type[Settings] = Settings) -> list[str]:
    with pytest.raises(SettingsInvalid) as invalid:
        kind.load()
    assert "\n" not in str(invalid.value)
    return invalid.value.faults


def test_four_variables_are_enough_and_the_rest_has_the_contract_s_defaults(environment: Environment) -> None:
    environment()
    settings = Settings.load()
    assert settings.model_dir == Path("/models")
    assert settings.cache_max_items == 20_000
    assert settings.canary_tick_seconds == 5.0
    assert settings.control_port == 3000
    assert settings.internal_service_token_previous is None


def test_reviews_and_blocks_are_explained_by_default(environment: Environment) -> None:
    environment()
    assert Settings.load().reasons_shares == (ReasonsShare(None, "review", 1.0), ReasonsShare(None, "block", 1.0))


def test_a_share_may_be_one_products_own_and_an_empty_list_is_none(environment: Environment) -> None:
    environment(REASONS_SHARE="allow=.01, cards.eu/block=0")
    assert Settings.load().reasons_shares == (
        ReasonsShare(None, "allow", 0.01),
        ReasonsShare("cards.eu", "block", 0.0),
    )
    environment(REASONS_SHARE="")
    assert Settings.load().reasons_shares == ()


@pytest.mark.parametrize("wrong", ["block", "block=1.1", "block=-1", "deny=1", "block=1;review=1", "Cards/block=1"])
def test_a_share_that_cannot_be_read_is_a_fault(environment: Environment, wrong: str) -> None:
    environment(REASONS_SHARE=wrong)
    assert [fault.partition(" must list")[0] for fault in faults()] == ["REASONS_SHARE"]


def test_every_missing_variable_is_named_at_once(environment: Environment) -> None:
    environment(**dict.fromkeys(GOOD))
    assert sorted(faults()) == sorted(f"{name} is missing" for name in GOOD)


def test_every_wrong_variable_is_named_at_once_and_no_value_is_shown(environment: Environment) -> None:
    wrong = {
        "DATABASE_URL": "mysql://root:wrong-4242@db/x",
        "MODEL_BUCKET": "ftp://wrong-4242",
        "JWT_SECRET": "wrong-4242",
        "INTERNAL_SERVICE_TOKEN": "wrong-4242",
        "INTERNAL_SERVICE_TOKEN_PREVIOUS": "wrong-4242",
        "CACHE_MAX_ITEMS": "-4242",
        "SPOOL_MAX_BYTES": "wrong-4242",
        "CANARY_TICK_SECONDS": "0",
        "CONTROL_PORT": "424242",
        "PROMETHEUS_URL": "wrong-4242",
        "ALERTMANAGER_URL": "wrong-4242",
    }
    environment(**wrong)
    found = faults()
    assert {fault.partition(" ")[0] for fault in found} == set(wrong)
    assert "4242" not in "".join(found)


@pytest.mark.parametrize("name", ["JWT_SECRET", "INTERNAL_SERVICE_TOKEN"])
def test_a_blank_secret_is_a_missing_one(environment: Environment, name: str) -> None:
    environment(**{name: "  "})
    assert faults() == [f"{name} is missing"]


def test_a_blank_previous_token_is_none(environment: Environment) -> None:
    environment(INTERNAL_SERVICE_TOKEN_PREVIOUS="")
    assert Settings.load().internal_service_token_previous is None


@pytest.mark.parametrize("name", ["JWT_SECRET", "INTERNAL_SERVICE_TOKEN", "INTERNAL_SERVICE_TOKEN_PREVIOUS"])
def test_a_secret_of_32_bytes_is_taken_and_of_31_is_not(environment: Environment, name: str) -> None:
    environment(**{name: "é" * 16})
    assert Settings.load()
    environment(**{name: "x" * 31})
    assert faults() == [f"{name} is shorter than 32 bytes: make one with `openssl rand -base64 32`"]


def test_one_secret_may_not_serve_for_both(environment: Environment) -> None:
    environment(JWT_SECRET="x" * 32, INTERNAL_SERVICE_TOKEN="x" * 32)
    assert faults() == ["JWT_SECRET and INTERNAL_SERVICE_TOKEN must differ"]


def test_printing_settings_shows_no_secret(environment: Environment) -> None:
    environment()
    printed = f"{Settings.load()!r} {Settings.load()}"
    assert not any(secret in printed for secret in ("hunter2hunter2", "j" * 32, "s" * 32))


def test_settings_never_change(environment: Environment) -> None:
    environment()
    settings = Settings.load()
    with pytest.raises(ValueError, match="frozen"):
        settings.cache_max_items = 1


@pytest.mark.parametrize(
    ("kind", "needed"),
    [
        (DatabaseSettings, "DATABASE_URL"),
        (ArtifactSettings, "MODEL_BUCKET"),
        (TokenSettings, "JWT_SECRET"),
    ],
)
def test_a_command_needs_only_what_it_uses(environment: Environment, kind: type[Settings], needed: str) -> None:
    environment(**{name: None for name in GOOD if name != needed})
    assert kind.load()
    environment(**dict.fromkeys(GOOD))
    assert faults(kind) == [f"{needed} is missing"]


@pytest.mark.parametrize("bucket", ["s3://a-bucket", "s3://bucket/with/prefix", "file:///tmp/x"])
def test_a_bucket_is_s3_or_a_folder(environment: Environment, bucket: str) -> None:
    environment(MODEL_BUCKET=bucket)
    assert Settings.load().model_bucket == bucket


def test_folders_that_cannot_be_written_are_named_at_once(environment: Environment, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    environment(SPOOL_DIR=str(tmp_path / "file" / "spool"), MODEL_DIR=str(tmp_path / "file"))
    with pytest.raises(SettingsInvalid) as invalid:
        Settings.load().make_folders()
    assert [fault.split()[0] for fault in invalid.value.faults] == ["SPOOL_DIR", "MODEL_DIR"]


def test_missing_folders_are_made(environment: Environment, tmp_path: Path) -> None:
    environment(SPOOL_DIR=str(tmp_path / "a" / "spool"), MODEL_DIR=str(tmp_path / "models"))
    Settings.load().make_folders()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "models"]
    assert list((tmp_path / "a" / "spool").iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "ignores"),
    [
        ({}, False),
        ({"CANARY_CRITICAL_ALERTS": "ignore"}, True),
        ({"CANARY_CRITICAL_ALERTS": "hold"}, False),
        ({"CANARY_CRITICAL_ALERTS": "ignore", "ALERTMANAGER_URL": "http://alerts:9093"}, False),
    ],
)
def test_alerts_are_ignored_only_where_that_is_set_and_no_alertmanager_is(
    environment: Environment, changes: dict[str, str], ignores: bool
) -> None:
    environment(**changes)
    assert Settings.load().ignores_alerts is ignores
