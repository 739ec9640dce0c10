"""Artifacts in a folder and in S3: the same promises, over real files and real HTTP."""

import hashlib
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import boto3
import pytest

from registry.artifacts import (
    AccessDenied,
    ArtifactCorrupt,
    ArtifactMissing,
    ArtifactNotWritten,
    ArtifactStore,
    ArtifactStoreUnreachable,
    ArtifactTooLarge,
    open_store,
    sha256_of,
)

if TYPE_CHECKING:
    from tests.conftest import S3

CONTENTS = os.urandom(3 << 20)  # several chunks
SHA256 = hashlib.sha256(CONTENTS).hexdigest()
MISSING = "0" * 64


class Damage:
    """Writes and removes what a store holds, behind its back."""

    def __init__(self, url: str) -> None:
        self._url = url

    def write(self, key: str, contents: bytes) -> None:
        if self._url.startswith("s3://"):
            boto3.client("s3").put_object(Bucket=self._url.removeprefix("s3://"), Key=key, Body=contents)
        else:
            path = Path(self._url.removeprefix("file://"), key)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(contents)


@pytest.fixture(params=["folder", "s3"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "folder":
        return f"file://{tmp_path / 'artifacts with a space'}"
    s3: S3 = request.getfixturevalue("s3")
    return s3.url


@pytest.fixture
def artifacts(url: str) -> ArtifactStore:
    return open_store(url.replace(" ", "%20"))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    path.write_bytes(CONTENTS)
    return path


def test_what_is_put_is_fetched_back(artifacts: ArtifactStore, file: Path, tmp_path: Path) -> None:
    key = artifacts.put(file, SHA256)
    fetched = artifacts.fetch(key, SHA256, len(CONTENTS), tmp_path / "models")
    assert fetched == tmp_path / "models" / f"{SHA256}.onnx"
    assert fetched.read_bytes() == CONTENTS
    assert list((tmp_path / "models").iterdir()) == [fetched]


def test_an_artifact_is_addressed_by_its_contents(artifacts: ArtifactStore, file: Path) -> None:
    assert artifacts.put(file, SHA256) == f"sha256/{SHA256}.onnx"


def test_a_prefix_stands_before_the_key(s3: "S3", file: Path, tmp_path: Path) -> None:
    artifacts = open_store(f"{s3.url}/team/models/")
    key = artifacts.put(file, SHA256)
    assert key == f"team/models/sha256/{SHA256}.onnx"
    assert artifacts.fetch(key, SHA256, len(CONTENTS), tmp_path).read_bytes() == CONTENTS


def test_putting_again_sends_nothing(artifacts: ArtifactStore, file: Path) -> None:
    sent: list[int] = []
    artifacts.put(file, SHA256, sent.append)
    assert sum(sent) == len(CONTENTS)
    artifacts.put(file, SHA256, sent.append)
    assert sum(sent) == len(CONTENTS)


@pytest.mark.parametrize("damaged", [b"", b"short", CONTENTS[:-1] + b"x", CONTENTS + b"x"])
def test_putting_again_replaces_a_damaged_artifact(
    artifacts: ArtifactStore, url: str, file: Path, tmp_path: Path, damaged: bytes
) -> None:
    Damage(url).write(f"sha256/{SHA256}.onnx", damaged)
    key = artifacts.put(file, SHA256)
    assert artifacts.fetch(key, SHA256, len(CONTENTS), tmp_path).read_bytes() == CONTENTS


def test_a_file_that_is_not_what_its_digest_says_is_not_put(artifacts: ArtifactStore, file: Path) -> None:
    with pytest.raises(ArtifactCorrupt):
        artifacts.put(file, MISSING)


@pytest.mark.parametrize("damaged", [b"", b"short", CONTENTS[:-1] + b"x", CONTENTS + b"x"])
def test_a_damaged_artifact_is_not_fetched_and_leaves_no_file(
    artifacts: ArtifactStore, url: str, file: Path, tmp_path: Path, damaged: bytes
) -> None:
    key = artifacts.put(file, SHA256)
    Damage(url).write(key, damaged)
    with pytest.raises(ArtifactCorrupt):
        artifacts.fetch(key, SHA256, len(CONTENTS), tmp_path / "models")
    assert list((tmp_path / "models").iterdir()) == []


def test_a_fetched_file_that_was_damaged_is_fetched_again(artifacts: ArtifactStore, file: Path, tmp_path: Path) -> None:
    key = artifacts.put(file, SHA256)
    fetched = artifacts.fetch(key, SHA256, len(CONTENTS), tmp_path)
    fetched.write_bytes(CONTENTS[:-1] + b"x")
    assert artifacts.fetch(key, SHA256, len(CONTENTS), tmp_path).read_bytes() == CONTENTS


def test_a_file_that_is_there_serves_while_the_store_is_away(url: str, file: Path, tmp_path: Path) -> None:
    artifacts = open_store(url.replace(" ", "%20"))
    key = artifacts.put(file, SHA256)
    fetched = artifacts.fetch(key, SHA256, len(CONTENTS), tmp_path)
    nowhere = open_store(f"file://{tmp_path / 'nowhere'}")
    assert nowhere.fetch(key, SHA256, len(CONTENTS), tmp_path) == fetched


def test_an_artifact_that_is_not_there_is_missing(artifacts: ArtifactStore, tmp_path: Path) -> None:
    with pytest.raises(ArtifactMissing, match="check MODEL_BUCKET and the key"):
        artifacts.fetch(f"sha256/{MISSING}.onnx", MISSING, 1, tmp_path)


def test_a_download_of_unknown_contents_is_named_by_them(artifacts: ArtifactStore, url: str, tmp_path: Path) -> None:
    Damage(url).write("uploads/mine.onnx", CONTENTS)
    downloaded = artifacts.download("uploads/mine.onnx", len(CONTENTS), tmp_path)
    assert (downloaded.stem, sha256_of(downloaded)) == (SHA256, SHA256)


def test_a_download_over_the_limit_is_refused(artifacts: ArtifactStore, url: str, tmp_path: Path) -> None:
    Damage(url).write("uploads/mine.onnx", CONTENTS)
    with pytest.raises(ArtifactTooLarge):
        artifacts.download("uploads/mine.onnx", len(CONTENTS) - 1, tmp_path / "models")
    assert list((tmp_path / "models").iterdir()) == []


@pytest.mark.parametrize("key", ["../secret", "/etc/hostname", "a/../../secret", ".", "", "sha256"])
def test_a_key_never_leaves_the_folder(tmp_path: Path, key: str) -> None:
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "artifacts" / "sha256").mkdir(parents=True)
    with pytest.raises(ArtifactMissing):
        open_store(f"file://{tmp_path / 'artifacts'}").download(key, 100, tmp_path / "models")


def test_a_models_folder_that_is_a_file_is_named(artifacts: ArtifactStore, file: Path) -> None:
    key = artifacts.put(file, SHA256)
    with pytest.raises(ArtifactNotWritten, match="check its free space and mode"):
        artifacts.fetch(key, SHA256, len(CONTENTS), file)


def test_a_folder_that_cannot_be_made_is_named(file: Path) -> None:
    with pytest.raises((ArtifactNotWritten, ArtifactMissing)):
        open_store(f"file://{file}/artifacts").put(file, SHA256)


def test_a_bucket_that_is_not_there_is_missing(s3: "S3", tmp_path: Path) -> None:
    with pytest.raises(ArtifactMissing):
        open_store("s3://no-such-bucket").fetch("key", SHA256, 1, tmp_path)


def test_wrong_credentials_are_named_as_such(
    s3: "S3", file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    artifacts = open_store(s3.url)
    with pytest.raises(AccessDenied, match="refuses access") as refused:
        artifacts.put(file, SHA256)
    assert "wrong" not in str(refused.value)
    with pytest.raises(AccessDenied):
        artifacts.fetch("key", SHA256, 1, tmp_path)


@pytest.fixture
def cut_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An S3 endpoint whose connection is cut in the middle of every object."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(65536)
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 1000)

        thread = threading.Thread(target=serve)
        thread.start()
        _use_endpoint(monkeypatch, listener.getsockname()[1])
        yield
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(10)


def _use_endpoint(monkeypatch: pytest.MonkeyPatch, port: int) -> None:
    for name, value in {
        "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "id",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "eu-west-1",
    }.items():
        monkeypatch.setenv(name, value)


def test_a_transfer_that_is_cut_leaves_no_file(cut_server: None, tmp_path: Path) -> None:
    with pytest.raises(ArtifactStoreUnreachable):
        open_store("s3://models").fetch("key", SHA256, 1_000_000, tmp_path / "models")
    assert list((tmp_path / "models").iterdir()) == []


def test_a_store_that_is_away_is_unreachable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    _use_endpoint(monkeypatch, port)
    with pytest.raises(ArtifactStoreUnreachable, match="s3://models does not answer"):
        open_store("s3://models").fetch("key", SHA256, 1, tmp_path)
