"""Artifacts in an S3 bucket: `s3://bucket/prefix`. AWS_* and AWS_ENDPOINT_URL_S3 are read by boto3 itself."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

import boto3
from boto3.exceptions import S3UploadFailedError
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    HTTPClientError,
    NoCredentialsError,
    PartialCredentialsError,
)

from registry.artifacts.backend import (
    CHUNK_BYTES,
    AccessDenied,
    ArtifactError,
    ArtifactMissing,
    ArtifactStoreUnreachable,
    Progress,
)

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client


class S3Backend:
    """Each call is tried 3 times, with a timeout of 3 s to connect and of 10 s without data."""

    def __init__(self, bucket: str, folder: str) -> None:
        self.prefix = f"{folder}/" if folder else ""
        self._bucket = bucket
        self._name = f"s3://{bucket}"
        self._client = _connect()

    @contextlib.contextmanager
    def read(self, key: str) -> Iterator[Iterator[bytes]]:
        with (
            self._named_errors(key),
            contextlib.closing(self._client.get_object(Bucket=self._bucket, Key=key)["Body"]) as body,
        ):
            yield body.iter_chunks(CHUNK_BYTES)

    def write(self, path: Path, key: str, progress: Progress) -> None:
        transfer = TransferConfig(use_threads=False)
        with self._named_errors(key):
            self._client.upload_file(str(path), self._bucket, key, Callback=progress, Config=transfer)

    def read_range(self, key: str, start: int, length: int) -> bytes:
        """Return `length` bytes from `start` on; there must be at least one."""
        with (
            self._named_errors(key),
            contextlib.closing(
                self._client.get_object(Bucket=self._bucket, Key=key, Range=f"bytes={start}-{start + length - 1}")[
                    "Body"
                ]
            ) as body,
        ):
            return body.read()

    def keys(self, prefix: str) -> Iterator[str]:
        """Yield the keys that begin with `prefix`, in order."""
        with self._named_errors(prefix):
            for page in self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=prefix):
                for found in page.get("Contents", ()):
                    yield found["Key"]

    @contextlib.contextmanager
    def _named_errors(self, key: str) -> Iterator[None]:
        try:
            yield
        except S3UploadFailedError as failed:
            raise self._named(key, failed.__context__ or failed) from None
        except (ClientError, BotoCoreError, HTTPClientError) as failed:
            raise self._named(key, failed) from None

    def _named(self, key: str, failed: BaseException) -> ArtifactError:
        if isinstance(failed, NoCredentialsError | PartialCredentialsError):
            return AccessDenied(key, self._name)
        if not isinstance(failed, ClientError):
            return ArtifactStoreUnreachable(key, self._name, type(failed).__name__)
        status = failed.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        if status == 404:
            return ArtifactMissing(key, self._name)
        if status in (401, 403):
            return AccessDenied(key, self._name)
        return ArtifactStoreUnreachable(key, self._name, failed.response.get("Error", {}).get("Code", str(status)))


def _connect() -> "S3Client":
    client = _client("auto")
    # Outside AWS, bucket.host seldom resolves.
    return client if urlsplit(client.meta.endpoint_url).netloc.endswith("amazonaws.com") else _client("path")


def _client(addressing_style: Literal["auto", "path"]) -> "S3Client":
    config = Config(
        connect_timeout=3,
        read_timeout=10,
        retries={"total_max_attempts": 3, "mode": "standard"},
        # Not every S3 API supports AWS's newer checksums; the store verifies the sha256 anyway.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        s3={"addressing_style": addressing_style},
    )
    # The default session must not be shared between threads.
    return boto3.session.Session().client("s3", config=config)
