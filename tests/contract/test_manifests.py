"""The Kubernetes files: valid, consistent with each other, and what the runbook's commands expect."""

import re
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from runtime import metrics
from runtime.settings import Settings

Manifest = dict[str, Any]

WORKLOADS = ("Deployment", "Job")
# Read by boto3 and BentoML, not by our settings.
FOREIGN_VARIABLES = {
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_DEFAULT_REGION",
    "BENTOML_HOME",
    "BENTOML_CONFIG_OPTIONS",
}
UNITS = {"m": 1e-3, "": 1.0, "Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30}


def of_kind(manifests: list[Manifest], *kinds: str) -> list[Manifest]:
    return [manifest for manifest in manifests if manifest["kind"] in kinds]


def named(manifests: list[Manifest], kind: str, name: str) -> Manifest:
    (found,) = [m for m in of_kind(manifests, kind) if m["metadata"]["name"] == name]
    return found


def pod_of(workload: Manifest) -> Manifest:
    pod: Manifest = workload["spec"]["template"]["spec"]
    return pod


def container_of(workload: Manifest) -> Manifest:
    (container,) = pod_of(workload)["containers"]
    assert isinstance(container, dict)
    return container


def pod_labels(workload: Manifest) -> dict[str, str]:
    labels: dict[str, str] = workload["spec"]["template"]["metadata"]["labels"]
    return labels


def selected_by(match_labels: dict[str, str], workloads: list[Manifest]) -> list[str]:
    return [w["metadata"]["name"] for w in workloads if match_labels.items() <= pod_labels(w).items()]


def quantity(text: str) -> float:
    """A Kubernetes quantity in cores or bytes; raises on a unit that means something else than it seems."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([A-Za-z]*)", text)
    assert match, f"{text!r} is not a quantity"
    number, unit = match.groups()
    return float(number) * UNITS[unit]


@pytest.fixture(scope="module")
def workloads(base_manifests: list[Manifest]) -> list[Manifest]:
    return of_kind(base_manifests, *WORKLOADS)


@pytest.fixture(scope="module")
def inference(base_manifests: list[Manifest]) -> Manifest:
    return named(base_manifests, "Deployment", "sira-inference")


@pytest.mark.parametrize("version", ["1.27", "1.32", "1.37"])
def test_every_manifest_fits_the_schema_and_has_no_unknown_key(base_manifests: list[Manifest], version: str) -> None:
    for manifest in base_manifests:
        kubernetes_validate.validate(manifest, version, strict=True)


def test_every_file_of_the_base_is_listed_in_its_kustomization(repository: Path) -> None:
    base = repository / "k8s" / "base"
    listed = yaml.safe_load((base / "kustomization.yaml").read_text())["resources"]
    assert sorted(listed) == sorted(path.name for path in base.glob("*.yaml") if path.name != "kustomization.yaml")


@pytest.mark.skipif(not shutil.which("kubectl"), reason="kubectl is not installed")
@pytest.mark.parametrize(
    ("overlay", "bucket", "most_pods"),
    [("production", "s3://molam-models", 20), ("staging", "s3://molam-models-staging", 4)],
)
def test_an_overlay_renders_with_its_own_bucket_and_size(
    repository: Path, overlay: str, bucket: str, most_pods: int
) -> None:
    rendered = subprocess.run(
        ["kubectl", "kustomize", str(repository / "k8s" / "overlays" / overlay)], capture_output=True, text=True
    )
    assert rendered.returncode == 0, rendered.stderr
    manifests = list(yaml.safe_load_all(rendered.stdout))
    for deployment in of_kind(manifests, "Deployment"):
        assert [v["value"] for v in container_of(deployment)["env"] if v["name"] == "MODEL_BUCKET"] == [bucket]
    assert named(manifests, "HorizontalPodAutoscaler", "sira-inference-hpa")["spec"]["maxReplicas"] == most_pods
    assert len({container_of(w)["image"] for w in of_kind(manifests, *WORKLOADS)}) == 1
    assert {m["kind"] for m in manifests} >= {"PrometheusRule", "ServiceMonitor"}


@pytest.mark.parametrize(
    ("file", "kind", "name"),
    [
        ("k8s/deployment.yaml", "Deployment", "sira-inference"),
        ("k8s/service.yaml", "Service", "sira-inference"),
        ("k8s/hpa.yaml", "HorizontalPodAutoscaler", "sira-inference-hpa"),
    ],
)
def test_the_paths_and_names_of_the_runbook_exist(repository: Path, file: str, kind: str, name: str) -> None:
    manifests = list(yaml.safe_load_all((repository / file).read_text()))
    assert named(manifests, kind, name)["metadata"]["namespace"] == "molam"


def test_the_deployment_file_alone_brings_what_its_pods_need(repository: Path, inference: Manifest) -> None:
    manifests = list(yaml.safe_load_all((repository / "k8s" / "deployment.yaml").read_text()))
    account = named(manifests, "ServiceAccount", pod_of(inference)["serviceAccountName"])
    assert "eks.amazonaws.com/role-arn" in account["metadata"]["annotations"]
    assert {next(iter(volume.keys() - {"name"})) for volume in pod_of(inference)["volumes"]} == {"emptyDir"}


def test_everything_lives_in_the_namespace_molam(base_manifests: list[Manifest]) -> None:
    assert [m["metadata"]["name"] for m in of_kind(base_manifests, "Namespace")] == ["molam"]
    assert {m["metadata"]["namespace"] for m in base_manifests if m["kind"] != "Namespace"} == {"molam"}


def test_only_the_inference_pods_carry_its_label(workloads: list[Manifest]) -> None:
    assert selected_by({"app": "sira-inference"}, workloads) == ["sira-inference"]


def test_every_deployment_selects_its_own_pods(base_manifests: list[Manifest], workloads: list[Manifest]) -> None:
    for deployment in of_kind(base_manifests, "Deployment"):
        selected = selected_by(deployment["spec"]["selector"]["matchLabels"], workloads)
        assert selected == [deployment["metadata"]["name"]]


@pytest.mark.parametrize("kind", ["PodDisruptionBudget", "NetworkPolicy"])
def test_every_budget_and_policy_selects_the_workload_it_is_named_after(
    base_manifests: list[Manifest], workloads: list[Manifest], kind: str
) -> None:
    for manifest in of_kind(base_manifests, kind):
        selector = manifest["spec"]["selector" if kind == "PodDisruptionBudget" else "podSelector"]
        assert selected_by(selector["matchLabels"], workloads) == [manifest["metadata"]["name"]]


def test_every_budget_lets_a_drain_go_on_one_pod_at_a_time(base_manifests: list[Manifest]) -> None:
    # The schema takes any string here, and the API server refuses it.
    budgets = of_kind(base_manifests, "PodDisruptionBudget")
    assert {budget["spec"]["maxUnavailable"] for budget in budgets} == {1}


def test_every_workload_has_a_network_policy(base_manifests: list[Manifest], workloads: list[Manifest]) -> None:
    policies = {m["metadata"]["name"] for m in of_kind(base_manifests, "NetworkPolicy")}
    assert policies == {w["metadata"]["name"] for w in workloads}


def test_every_service_reaches_a_port_that_its_pods_open(
    base_manifests: list[Manifest], workloads: list[Manifest]
) -> None:
    for service in of_kind(base_manifests, "Service"):
        (target,) = [w for w in workloads if w["metadata"]["name"] == service["metadata"]["name"]]
        assert service["spec"]["selector"].items() <= pod_labels(target).items()
        opened = {port["name"] for port in container_of(target)["ports"]}
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= opened


def test_the_ports_are_the_runbooks(base_manifests: list[Manifest], inference: Manifest) -> None:
    controller = named(base_manifests, "Deployment", "sira-controller")
    assert named(base_manifests, "Service", "sira-inference")["spec"]["ports"][0]["port"] == 80
    assert container_of(inference)["ports"] == [{"name": "http", "containerPort": 8080}]
    assert container_of(controller)["ports"] == [{"name": "control", "containerPort": 3000}]
    assert {"name": "CONTROL_PORT", "value": "3000"} in container_of(controller)["env"]


def test_every_network_policy_opens_a_port_of_its_pods(
    base_manifests: list[Manifest], workloads: list[Manifest]
) -> None:
    for policy in of_kind(base_manifests, "NetworkPolicy"):
        (target,) = [w for w in workloads if w["metadata"]["name"] == policy["metadata"]["name"]]
        open_ports = {port["name"] for port in container_of(target).get("ports", [])}
        let_in = {port["port"] for rule in policy["spec"].get("ingress", []) for port in rule["ports"]}
        assert let_in == open_ports


def test_every_probe_asks_a_port_that_the_container_opens(base_manifests: list[Manifest]) -> None:
    for deployment in of_kind(base_manifests, "Deployment"):
        container = container_of(deployment)
        opened = {port["name"] for port in container["ports"]}
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            assert container[probe]["httpGet"]["port"] in opened
            assert container[probe]["httpGet"]["path"] in {"/readyz", "/healthz"}


def test_a_pod_that_is_not_ready_is_never_killed_for_it(base_manifests: list[Manifest]) -> None:
    for deployment in of_kind(base_manifests, "Deployment"):
        assert container_of(deployment)["livenessProbe"]["httpGet"]["path"] == "/healthz"


def test_the_autoscaler_scales_the_deployment_between_2_and_20_on_cpu_and_memory(
    base_manifests: list[Manifest], inference: Manifest
) -> None:
    spec = named(base_manifests, "HorizontalPodAutoscaler", "sira-inference-hpa")["spec"]
    assert spec["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": "sira-inference"}
    assert (spec["minReplicas"], spec["maxReplicas"]) == (2, 20)
    assert [metric["resource"]["name"] for metric in spec["metrics"]] == ["cpu", "memory"]
    # Utilization is a share of the request: without one the autoscaler does nothing.
    assert container_of(inference)["resources"]["requests"].keys() >= {"cpu", "memory"}
    # Applying the file again must not undo what the autoscaler did.
    assert "replicas" not in inference["spec"]


def test_no_limit_is_under_its_request(workloads: list[Manifest]) -> None:
    for workload in workloads:
        resources = container_of(workload)["resources"]
        assert resources["requests"].keys() == resources["limits"].keys() == {"cpu", "memory", "ephemeral-storage"}
        for name, requested in resources["requests"].items():
            assert 0 < quantity(requested) <= quantity(resources["limits"][name]), (workload["metadata"]["name"], name)


def test_every_mount_has_its_volume_and_every_volume_its_mount(workloads: list[Manifest]) -> None:
    for workload in workloads:
        mounted = [mount["name"] for mount in container_of(workload)["volumeMounts"]]
        assert sorted(mounted) == sorted(volume["name"] for volume in pod_of(workload)["volumes"])


def test_every_folder_that_a_setting_names_is_writable(workloads: list[Manifest]) -> None:
    for workload in workloads:
        container = container_of(workload)
        mounts = [Path(mount["mountPath"]) for mount in container["volumeMounts"]]
        folders = [v["value"] for v in container["env"] if v["name"] in {"MODEL_DIR", "SPOOL_DIR", "BENTOML_HOME"}]
        for folder in [*folders, "/tmp"]:
            assert any(Path(folder).is_relative_to(mount) for mount in mounts), folder


def test_the_spool_stops_answers_before_the_kubelet_evicts_the_pod(inference: Manifest) -> None:
    container = container_of(inference)
    volumes = {v["name"]: quantity(v["emptyDir"]["sizeLimit"]) for v in pod_of(inference)["volumes"]}
    values = {variable["name"]: variable.get("value", "") for variable in container["env"]}
    workers = int(values["BENTOML_CONFIG_OPTIONS"].removeprefix("services.sira_inference.workers="))
    limit_of_each = float(values["SPOOL_MAX_BYTES"])
    # Headers of groups, and segments that are ready, take room too.
    assert workers * limit_of_each * 1.2 < volumes["spool"]
    assert sum(volumes.values()) <= quantity(container["resources"]["limits"]["ephemeral-storage"])


def test_every_variable_is_one_that_something_reads(workloads: list[Manifest]) -> None:
    known = {name.upper() for name in Settings.model_fields} | FOREIGN_VARIABLES
    for workload in workloads:
        names = [variable["name"] for variable in container_of(workload)["env"]]
        assert set(names) <= known
        assert len(names) == len(set(names))


def test_every_setting_without_a_default_is_given_to_the_pods(base_manifests: list[Manifest]) -> None:
    required = {name.upper() for name, field in Settings.model_fields.items() if field.is_required()}
    for deployment in of_kind(base_manifests, "Deployment"):
        assert required <= {variable["name"] for variable in container_of(deployment)["env"]}


def test_the_secrets_are_the_runbooks(base_manifests: list[Manifest]) -> None:
    asked = {
        (reference["name"], reference["key"])
        for deployment in of_kind(base_manifests, "Deployment")
        for variable in container_of(deployment)["env"]
        if (reference := variable.get("valueFrom", {}).get("secretKeyRef")) and not reference.get("optional")
    }
    assert asked == {("molam-secrets", key) for key in ("database-url", "jwt-secret", "internal-service-token")}


def test_no_container_runs_as_root_or_may_become_it(workloads: list[Manifest]) -> None:
    for workload in workloads:
        security = pod_of(workload)["securityContext"]
        assert security["runAsNonRoot"] is True
        # The user that BentoML makes in the image.
        assert security["runAsUser"] == security["runAsGroup"] == security["fsGroup"] == 1034
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        assert container_of(workload)["securityContext"] == {
            "readOnlyRootFilesystem": True,
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        }


def test_one_image_runs_everything(workloads: list[Manifest]) -> None:
    assert {container_of(workload)["image"] for workload in workloads} == {"registry.molam/sira-inference:v1.0.0"}


def test_prometheus_finds_both_services_by_label_and_port(repository: Path, base_manifests: list[Manifest]) -> None:
    monitor = yaml.safe_load((repository / "k8s" / "monitoring" / "servicemonitor.yaml").read_text())
    (expression,) = monitor["spec"]["selector"]["matchExpressions"]
    services = of_kind(base_manifests, "Service")
    assert {service["metadata"]["labels"][expression["key"]] for service in services} == set(expression["values"])
    ports = {port["name"] for service in services for port in service["spec"]["ports"]}
    assert {endpoint["port"] for endpoint in monitor["spec"]["endpoints"]} == ports


class _Metrics(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = metrics.exposition()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        """Quiet."""


@pytest.fixture
def metrics_port() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Metrics)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


def pre_stop(inference: Manifest, port: int) -> list[str]:
    command: list[str] = container_of(inference)["lifecycle"]["preStop"]["exec"]["command"]
    return [part.replace("sleep 5", "sleep 0").replace("localhost:8080", f"127.0.0.1:{port}") for part in command]


def test_a_leaving_pod_stays_until_its_log_is_shipped(inference: Manifest, metrics_port: int) -> None:
    metrics.spool_rows.set(12)
    leaving = subprocess.Popen(pre_stop(inference, metrics_port))
    with pytest.raises(subprocess.TimeoutExpired):
        leaving.wait(timeout=2)
    metrics.spool_rows.set(0)
    assert leaving.wait(timeout=10) == 0


def test_a_leaving_pod_that_no_longer_answers_does_not_linger(inference: Manifest) -> None:
    started = time.monotonic()
    assert subprocess.run(pre_stop(inference, port=1)).returncode == 0
    assert time.monotonic() - started < 5


def test_the_grace_period_leaves_time_to_ship(inference: Manifest) -> None:
    assert pod_of(inference)["terminationGracePeriodSeconds"] >= 60


def test_quantities_with_unlike_units_compare_by_size() -> None:
    ordered = ["100m", "0.5", "1", "1Ki", "1Mi", "512Mi", "1Gi"]
    assert all(quantity(a) < quantity(b) for a, b in pairwise(ordered))
