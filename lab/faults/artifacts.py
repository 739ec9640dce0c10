"""S3 down, slow, hanging or refusing, or with wrong bytes: the old model serves on, and the reason is shown."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from lab.faults.deployment import Deployment
from lab.faults.object_store import REGION, ObjectStore
from lab.faults.proxy import Behaviour, Proxy
from lab.faults.scenario import Scenario, ScenarioRun
from lab.product import Service
from lab.waiting import wait_until

REPORTED_SECONDS = 60.0
SLOW_BYTES_PER_SECOND = 2_000.0
CUT_AFTER_BYTES = 8_000
MAX_STOP_SECONDS = 2.0


@dataclass
class Bucket:
    """The deployment's bucket and the proxy in front of it."""

    store: ObjectStore
    name: str
    proxy: Proxy
    deployment: Deployment

    def replace(self, version: str, change: Callable[[bytes], bytes]) -> bytes:
        """Overwrite the artifact of a version; return what it was before."""
        key = self._key(version)
        before = self.store.read(self.name, key)
        self.store.write(self.name, key, change(before))
        return before

    def restore(self, version: str, body: bytes) -> None:
        self.store.write(self.name, self._key(version), body)

    def _key(self, version: str) -> str:
        with self.deployment.owner() as connection:
            row = connection.execute(
                "SELECT storage_s3_key FROM siramodel_registry WHERE model_id = %s", (self.deployment.ids[version],)
            ).fetchone()
        assert row is not None
        return str(row[0])


@contextmanager
def _serving(run: ScenarioRun) -> Iterator[tuple[Bucket, Service]]:
    """Version 1 in production under load; at the end version 2 must be, and every answer must be right."""
    store = run.object_store()
    name = store.make_bucket()
    with Proxy(run.background, store.port) as proxy:
        environment = {
            "MODEL_BUCKET": f"s3://{name}/models",
            "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{proxy.port}",
            "AWS_ACCESS_KEY_ID": store.keys.access_key_id,
            "AWS_SECRET_ACCESS_KEY": store.keys.secret_access_key,
            "AWS_DEFAULT_REGION": REGION,
        }
        with run.deployment(bucket=environment) as deployment:
            deployment.start_controller()
            service = deployment.start_service()
            with run.load(deployment, service.port):
                run.wait(2.0, "load")
                yield Bucket(store, name, proxy, deployment), service
                seconds = deployment.await_served(service, "2", "production", 120.0)
                run.note(f"the new model served {seconds:.1f} s later")
                run.wait(2.0, "load")
            run.settle(deployment)
            run.expect_no_refusal()
            models = {answer.model_id for answer in run.ledger.answers.values()}
            run.expect(models >= {deployment.ids["1"], deployment.ids["2"]}, "both models answered in turn")


def _expect_reported(run: ScenarioRun, bucket: Bucket, service: Service, reason: str) -> None:
    """Promote a version that cannot be loaded: the old one serves on; readiness, metrics and log give the reason."""
    bucket.deployment.promote(service, "2")
    wait_until(
        lambda: service.metric("sira_model_load_failures_total", f'reason="{reason}"') > 0,
        REPORTED_SECONDS,
        f"the metrics report {reason}",
    )
    run.wait(run.length(full=30, quick=4), f"{reason}")
    readiness = service.readiness()
    run.expect(readiness.status == 200, f"it stays ready: {readiness.body}")
    run.expect(reason in str(readiness.body), f"readiness reports {reason}: {readiness.body}")
    logged = [line for line in service.process.logged("model_load_failed") if reason in line]
    run.expect(bool(logged), f"the log reports {reason}")
    old_model = f'model_id="{bucket.deployment.ids["1"]}"'
    served = service.metric("sira_model_info", old_model, 'variant="production"')
    run.expect(served == 1.0, "the old model serves on")
    run.note(reason)


def refuse(run: ScenarioRun) -> None:
    with _serving(run) as (bucket, service):
        bucket.proxy.behave(Behaviour(refuse=True))
        _expect_reported(run, bucket, service, "ArtifactStoreUnreachable")
        bucket.proxy.behave(Behaviour())


def hang(run: ScenarioRun) -> None:
    with _serving(run) as (bucket, service):
        bucket.proxy.behave(Behaviour(hang=True))
        _expect_reported(run, bucket, service, "ArtifactStoreUnreachable")
        bucket.proxy.behave(Behaviour())


def slow_down(run: ScenarioRun) -> None:
    """The download takes a minute; stopping a canary must not wait for it."""
    with _serving(run) as (bucket, service):
        deployment = bucket.deployment
        deployment.start_canary(service, "throws", 20.0)
        bucket.proxy.behave(Behaviour(bytes_per_second=SLOW_BYTES_PER_SECOND))
        deployment.promote(service, "2")
        run.wait(2.0, "a slow download")
        deployment.operate(service, "/v1/canary/fraud_score/stop", {})
        ordered = time.monotonic()
        wait_until(lambda: service.metric("sira_canary_percent") == 0.0, 60.0, "the canary is stopped")
        seconds = time.monotonic() - ordered
        run.expect(
            seconds < MAX_STOP_SECONDS, f"a canary is stopped within 2 s during a slow download: {seconds:.1f} s"
        )
        run.expect_ready(service)
        run.wait(run.length(full=30, quick=2), "a slow download")
        bucket.proxy.behave(Behaviour())


def cut_download(run: ScenarioRun) -> None:
    """The connection ends in the middle of the object."""
    with _serving(run) as (bucket, service):
        bucket.proxy.behave(Behaviour(max_bytes=CUT_AFTER_BYTES))
        _expect_reported(run, bucket, service, "ArtifactStoreUnreachable")
        bucket.proxy.behave(Behaviour())


def flip_bit(run: ScenarioRun) -> None:
    with _serving(run) as (bucket, service):
        before = bucket.replace("2", lambda body: body[:1000] + bytes([body[1000] ^ 1]) + body[1001:])
        _expect_reported(run, bucket, service, "ArtifactCorrupt")
        bucket.restore("2", before)


def shorten(run: ScenarioRun) -> None:
    with _serving(run) as (bucket, service):
        before = bucket.replace("2", lambda body: body[: len(body) // 2])
        _expect_reported(run, bucket, service, "ArtifactCorrupt")
        bucket.restore("2", before)


def swap_model(run: ScenarioRun) -> None:
    """The object is a model that would load and score, but not the one that was registered."""
    with _serving(run) as (bucket, service):
        before = bucket.replace("2", lambda body: run.models.paths["throws"].read_bytes())
        _expect_reported(run, bucket, service, "ArtifactCorrupt")
        bucket.restore("2", before)


def deny_access(run: ScenarioRun) -> None:
    with _serving(run) as (bucket, service):
        bucket.store.deny(bucket.name)
        _expect_reported(run, bucket, service, "AccessDenied")
        bucket.store.allow(bucket.name)


SCENARIOS = (
    Scenario("s3-gone", "S3 gone while a model is promoted", refuse),
    Scenario("s3-silent", "S3 takes connections and never answers", hang),
    Scenario("s3-slow", "S3 slow, and a canary stopped meanwhile", slow_down),
    Scenario("s3-truncated", "S3 download cut in the middle", cut_download),
    Scenario("s3-corrupt", "S3 object with a flipped bit", flip_bit),
    Scenario("s3-shortened", "S3 object cut short", shorten),
    Scenario("s3-another", "S3 object replaced by another model", swap_model),
    Scenario("s3-denied", "S3 denies access", deny_access),
)
