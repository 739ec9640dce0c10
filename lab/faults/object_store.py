"""An S3 API over HTTP that authenticates and authorizes its callers."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

REGION = "eu-west-1"
# Requests that are accepted before the API begins to check credentials: those that create the user.
_UNCHECKED_REQUESTS = 4
_POLICY = '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*"}]}'


@dataclass(frozen=True)
class Keys:
    access_key_id: str
    secret_access_key: str


class ObjectStore:
    """moto's server in a thread. Only one per process: moto counts the unchecked requests of the whole process."""

    def __init__(self) -> None:
        os.environ["INITIAL_NO_AUTH_ACTION_COUNT"] = str(_UNCHECKED_REQUESTS)  # read when moto is imported
        from moto.server import ThreadedMotoServer

        self._server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        self._server.start()
        self.port = int(self._server.get_host_and_port()[1])
        iam = self._client("iam", Keys("none", "none"))
        self._policy = iam.create_policy(PolicyName="artifacts", PolicyDocument=_POLICY)["Policy"]["Arn"]
        iam.create_user(UserName="sira")
        iam.attach_user_policy(UserName="sira", PolicyArn=self._policy)
        key = iam.create_access_key(UserName="sira")["AccessKey"]
        self.keys = Keys(key["AccessKeyId"], key["SecretAccessKey"])

    def make_bucket(self) -> str:
        bucket = f"models-{uuid4().hex}"
        self._client("s3", self.keys).create_bucket(
            Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": REGION}
        )
        return bucket

    def read(self, bucket: str, key: str) -> bytes:
        return bytes(self._client("s3", self.keys).get_object(Bucket=bucket, Key=key)["Body"].read())

    def write(self, bucket: str, key: str, body: bytes) -> None:
        """Overwrite the object, as an operator's mistake or a bad disk would."""
        self._client("s3", self.keys).put_object(Bucket=bucket, Key=key, Body=body)

    def deny(self, bucket: str) -> None:
        """Deny everyone read access to the objects of the bucket."""
        resource = f"arn:aws:s3:::{bucket}/*"
        policy = (
            '{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Principal":"*","Action":"s3:GetObject",'
            f'"Resource":"{resource}"}}]}}'
        )
        self._client("s3", self.keys).put_bucket_policy(Bucket=bucket, Policy=policy)

    def allow(self, bucket: str) -> None:
        self._client("s3", self.keys).delete_bucket_policy(Bucket=bucket)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.stop()

    def _client(self, service: str, keys: Keys) -> Any:
        import boto3

        client: Callable[..., Any] = boto3.client  # its overloads want a literal name
        return client(
            service,
            endpoint_url=f"http://127.0.0.1:{self.port}",
            region_name=REGION,
            aws_access_key_id=keys.access_key_id,
            aws_secret_access_key=keys.secret_access_key,
        )
