"""What was served last is read back as it was kept, or not at all."""

import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from registry.model_version import ModelVersion, Status
from scoring.models import last_served
from scoring.models.last_served import FILE_NAME, MAX_AGE_SECONDS, LastServed
from tests.support.table_model import version_of

CARDS, WALLETS = version_of(b"first"), replace(version_of(b"second", product="wallets"), metadata={"trees": 40})


def age(folder: Path, seconds: float) -> None:
    at = time.time() - seconds
    os.utime(folder / FILE_NAME, (at, at))


def kept(folder: Path, *versions: ModelVersion) -> LastServed:
    served = LastServed(folder)
    served.record(versions)
    return served


def test_versions_come_back_as_they_were_kept(tmp_path: Path) -> None:
    kept(tmp_path, CARDS, WALLETS)
    assert LastServed(tmp_path).read() == (CARDS, WALLETS)


def test_nothing_kept_is_nothing_served(tmp_path: Path) -> None:
    assert LastServed(tmp_path / "none").read() == ()


def test_what_was_loaded_as_a_canary_is_production_by_then(tmp_path: Path) -> None:
    kept(tmp_path, replace(CARDS, status=Status.CANARY))
    assert LastServed(tmp_path).read() == (CARDS,)


def test_another_version_takes_the_place_of_the_one_before(tmp_path: Path) -> None:
    kept(tmp_path, CARDS).record([WALLETS])
    assert LastServed(tmp_path).read() == (WALLETS,)


@pytest.mark.parametrize("place", [20, 100, 400])
def test_a_damaged_file_is_not_served(tmp_path: Path, place: int) -> None:
    kept(tmp_path, CARDS)
    content = bytearray((tmp_path / FILE_NAME).read_bytes())
    content[place] ^= 1
    (tmp_path / FILE_NAME).write_bytes(content)
    assert LastServed(tmp_path).read() == ()


def test_a_file_cut_short_is_not_served(tmp_path: Path) -> None:
    kept(tmp_path, CARDS)
    content = (tmp_path / FILE_NAME).read_bytes()
    (tmp_path / FILE_NAME).write_bytes(content[:-10])
    assert LastServed(tmp_path).read() == ()


@pytest.mark.parametrize(("seconds", "served"), [(MAX_AGE_SECONDS - 60, (CARDS,)), (MAX_AGE_SECONDS + 60, ())])
def test_what_was_not_confirmed_for_too_long_is_not_served(
    tmp_path: Path, seconds: float, served: tuple[ModelVersion, ...]
) -> None:
    kept(tmp_path, CARDS)
    age(tmp_path, seconds)
    assert LastServed(tmp_path).read() == served


def test_what_still_holds_is_confirmed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(last_served, "CONFIRM_SECONDS", 0.0)
    served = kept(tmp_path, CARDS)
    age(tmp_path, MAX_AGE_SECONDS + 60)
    served.record([CARDS])
    assert LastServed(tmp_path).read() == (CARDS,)


def test_a_folder_that_cannot_be_written_keeps_nobody_from_serving(tmp_path: Path) -> None:
    (tmp_path / "models").write_text("a file")
    assert kept(tmp_path / "models", CARDS).read() == ()
