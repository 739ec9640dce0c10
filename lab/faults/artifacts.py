"""S3 gone, slow, silent, refusing, or holding other bytes than registered: the old model serves on, and it shows."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from lab.faults.object_store import REGION, ObjectStore
from lab.faults.proxy import Behaviour, Proxy
from lab.faults.service import Service, wait_until
from lab.faults.stand import Stand
from lab.faults.trial import Scenario, Trial

NOTICED_SECONDS = 60.0
SLOW_BYTES_PER_SECOND = 2_000.0


@dataclass
class Bucket:
    """The stand's bucket, and the wire to it."""

    store: ObjectStore
    name: str
    wire: Proxy
    stand: Stand

    def replace(self, version: str, change: Callable[[bytes], bytes]) -> bytes:
        """What the object held before."""
        before = self.store.read(self.name, self._key(version))
        self.store.write(self.name, self._key(version), change(before))
        return before

    def restore(self, version: str, body: bytes) -> None:
        self.store.write(self.name, self._key(version), body)

    def _key(self, version: str) -> str:
        with self.stand.owner() as connection:
            row = connection.execute(
                "SELECT storage_s3_key FROM siramodel_registry WHERE model_id = %s", (self.stand.ids[version],)
            ).fetchone()
        assert row is not None
        return str(row[0])


@contextmanager
def _served(trial: Trial) -> Iterator[tuple[Bucket, Service]]:
    """Version 1 in production under load; at the end version 2 must be, and every answer right."""
    store = trial.object_store()
    name = store.make_bucket()
    with Proxy(trial.background, store.port) as wire:
        environment = {
            "MODEL_BUCKET": f"s3://{name}/models",
            "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{wire.port}",
            "AWS_ACCESS_KEY_ID": store.keys.access_key_id,
            "AWS_SECRET_ACCESS_KEY": store.keys.secret_access_key,
            "AWS_DEFAULT_REGION": REGION,
        }
        with trial.stand(bucket=environment) as stand:
            stand.control()
            service = stand.serve()
            with trial.load(stand, service.port):
                trial.wait(2.0, "load")
                yield Bucket(store, name, wire, stand), service
                seconds = stand.await_served(service, "2", "production", 120.0)
                trial.note(f"the new model served {seconds:.1f} s after")
                trial.wait(2.0, "load")
            trial.settle(stand)
            trial.expect_no_refusal()
            models = {answer.model_id for answer in trial.ledger.answers.values()}
            trial.expect(models >= {stand.ids["1"], stand.ids["2"]}, "both models answered in turn")


def _shown(trial: Trial, bucket: Bucket, service: Service, reason: str) -> None:
    """Promote what cannot be had: the old model serves on, and readiness detail, metrics and log say why."""
    bucket.stand.promote(service, "2")
    wait_until(
        lambda: service.metric("sira_model_load_failures_total", f'reason="{reason}"') > 0,
        NOTICED_SECONDS,
        f"the metrics say {reason}",
    )
    trial.wait(trial.length(full=30, quick=4), f"{reason}")
    readiness = service.readiness()
    trial.expect(readiness.status == 200, f"it stays ready: {readiness.body}")
    trial.expect(reason in str(readiness.body), f"readiness detail says {reason}: {readiness.body}")
    logged = [line for line in service.process.logged("model_load_failed") if reason in line]
    trial.expect(bool(logged), f"the log says {reason}")
    served = service.metric("sira_model_info", f'model_id="{bucket.stand.ids["1"]}"', 'variant="production"')
    trial.expect(served == 1.0, "the old model serves on")
    trial.note(reason)


def gone(trial: Trial) -> None:
    with _served(trial) as (bucket, service):
        bucket.wire.behave(Behaviour(refuse=True))
        _shown(trial, bucket, service, "ArtifactStoreUnreachable")
        bucket.wire.behave(Behaviour())


def silent(trial: Trial) -> None:
    with _served(trial) as (bucket, service):
        bucket.wire.behave(Behaviour(hang=True))
        _shown(trial, bucket, service, "ArtifactStoreUnreachable")
        bucket.wire.behave(Behaviour())


def slow(trial: Trial) -> None:
    """The download takes a minute; an order that cannot wait, the stop of a canary, does not wait for it."""
    with _served(trial) as (bucket, service):
        stand = bucket.stand
        stand.start_canary(service, "throws", 20.0)
        bucket.wire.behave(Behaviour(bytes_per_second=SLOW_BYTES_PER_SECOND))
        stand.promote(service, "2")
        trial.wait(2.0, "a slow download")
        stand.order(service, "/v1/canary/fraud_score/stop", {})
        ordered = time.monotonic()
        wait_until(lambda: service.metric("sira_canary_percent") == 0.0, 60.0, "the canary is stopped")
        seconds = time.monotonic() - ordered
        trial.expect(seconds < 2.0, f"a canary is stopped within 2 s during a slow download: {seconds:.1f} s")
        trial.expect_ready(service)
        trial.wait(trial.length(full=30, quick=2), "a slow download")
        bucket.wire.behave(Behaviour())


def truncated(trial: Trial) -> None:
    """The connection ends in the middle of the object."""
    with _served(trial) as (bucket, service):
        bucket.wire.behave(Behaviour(most_bytes=8_000))
        _shown(trial, bucket, service, "ArtifactStoreUnreachable")
        bucket.wire.behave(Behaviour())


def corrupt(trial: Trial) -> None:
    """One bit of the object is another."""
    with _served(trial) as (bucket, service):
        before = bucket.replace("2", lambda body: body[:1000] + bytes([body[1000] ^ 1]) + body[1001:])
        _shown(trial, bucket, service, "ArtifactCorrupt")
        bucket.restore("2", before)


def shortened(trial: Trial) -> None:
    with _served(trial) as (bucket, service):
        before = bucket.replace("2", lambda body: body[: len(body) // 2])
        _shown(trial, bucket, service, "ArtifactCorrupt")
        bucket.restore("2", before)


def another(trial: Trial) -> None:
    """A model that would load and score, but is not the one that was registered."""
    with _served(trial) as (bucket, service):
        before = bucket.replace("2", lambda body: trial.models.paths["throws"].read_bytes())
        _shown(trial, bucket, service, "ArtifactCorrupt")
        bucket.restore("2", before)


def denied(trial: Trial) -> None:
    with _served(trial) as (bucket, service):
        bucket.store.deny(bucket.name)
        _shown(trial, bucket, service, "AccessDenied")
        bucket.store.allow(bucket.name)


SCENARIOS = (
    Scenario("s3-gone", "S3 gone while a model is promoted", gone),
    Scenario("s3-silent", "S3 takes connections and never answers", silent),
    Scenario("s3-slow", "S3 slow, and a canary stopped meanwhile", slow),
    Scenario("s3-truncated", "S3 download cut in the middle", truncated),
    Scenario("s3-corrupt", "S3 object with a flipped bit", corrupt),
    Scenario("s3-shortened", "S3 object cut short", shortened),
    Scenario("s3-another", "S3 object replaced by another model", another),
    Scenario("s3-denied", "S3 denies access", denied),
)
