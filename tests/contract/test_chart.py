"""The Helm chart, rendered by Helm itself: the same objects as kustomize's, but for what the values change."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

Manifest = dict[str, Any]
ROOT = Path(__file__).parents[2]
CHART = ROOT / "k8s" / "chart"
HELM = Path(sys.executable).with_name("helm")
MONITORING_FILES = ("servicemonitor.yaml", "recording-rules.yaml", "alerts.yaml")


def helm(*words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([HELM, *words], capture_output=True, text=True, timeout=60)


def render(*values: str, namespace: str = "molam") -> dict[tuple[str, str], Manifest]:
    """Return the rendered objects by kind and name; each of `values` is NAME=VALUE."""
    options = [word for value in values for word in ("--set", value)]
    rendered = helm("template", "sira", str(CHART), "--namespace", namespace, *options)
    assert rendered.returncode == 0, rendered.stderr
    return by_name([document for document in yaml.safe_load_all(rendered.stdout) if document])


def by_name(manifests: list[Manifest]) -> dict[tuple[str, str], Manifest]:
    return {(manifest["kind"], manifest["metadata"]["name"]): manifest for manifest in manifests}


def environment(manifest: Manifest) -> dict[str, str]:
    (container,) = manifest["spec"]["template"]["spec"]["containers"]
    return {variable["name"]: variable.get("value", "") for variable in container["env"]}


@pytest.fixture(scope="module")
def kustomized(base_manifests: list[Manifest]) -> dict[tuple[str, str], Manifest]:
    monitoring = [
        document
        for name in MONITORING_FILES
        for document in yaml.safe_load_all((ROOT / "k8s" / "monitoring" / name).read_text())
    ]
    return by_name([*base_manifests, *monitoring])


def test_the_chart_passes_helms_lint() -> None:
    linted = helm("lint", "--strict", str(CHART))
    assert linted.returncode == 0, linted.stdout


def test_without_values_the_objects_are_those_of_kustomize(kustomized: dict[tuple[str, str], Manifest]) -> None:
    rendered = render("createNamespace=true")
    hook = rendered[("Job", "sira-migrate")]["metadata"].pop("annotations")
    assert hook["helm.sh/hook"] == "pre-install,pre-upgrade"
    assert rendered == kustomized


def test_the_namespace_is_the_releases_and_is_not_created_unasked() -> None:
    rendered = render("monitoring.enabled=false", namespace="fraud")
    assert {manifest["metadata"]["namespace"] for manifest in rendered.values()} == {"fraud"}
    assert not {kind for kind, _ in rendered} & {"Namespace", "ServiceMonitor", "PrometheusRule"}


def test_values_change_what_installations_differ_in() -> None:
    rendered = render(
        "image.repository=registry.example/sira", "image.tag=v2", "modelBucket=s3://ours", "awsRegion=eu-north-1",
        "workers=4", "autoscaling.maxReplicas=7", "resources.limits.cpu=4", "roleArn=",
        "alertmanagerUrl=http://alerts:9093", "extraEnv.CACHE_MAX_ITEMS=5", "extraEnv.REQUIRE_REFERENCE=true",
    )  # fmt: skip
    inference, controller = rendered[("Deployment", "sira-inference")], rendered[("Deployment", "sira-controller")]
    (container,) = inference["spec"]["template"]["spec"]["containers"]
    assert container["image"] == "registry.example/sira:v2"
    assert container["resources"]["limits"] == {"cpu": 4, "memory": "2Gi", "ephemeral-storage": "10Gi"}
    expected = {
        "MODEL_BUCKET": "s3://ours",
        "AWS_DEFAULT_REGION": "eu-north-1",
        "BENTOML_CONFIG_OPTIONS": "services.sira_inference.workers=4",
        "CACHE_MAX_ITEMS": "5",
        "REQUIRE_REFERENCE": "true",
    }
    assert expected.items() <= environment(inference).items()
    assert environment(controller)["ALERTMANAGER_URL"] == "http://alerts:9093"
    scaler = rendered[("HorizontalPodAutoscaler", "sira-inference-hpa")]["spec"]
    assert (scaler["minReplicas"], scaler["maxReplicas"]) == (2, 7)
    assert "annotations" not in rendered[("ServiceAccount", "sira-inference")]["metadata"]
    assert "replicas" not in inference["spec"]


@pytest.mark.parametrize("version", ["1.25", "1.33"])
def test_changed_objects_are_valid(version: str) -> None:
    for manifest in render("workers=4", "extraEnv.A=b", "monitoring.enabled=false").values():
        kubernetes_validate.validate(manifest, version, strict=True)


@pytest.mark.parametrize(
    "value",
    [
        "imagee.tag=v2",
        "image.tga=v2",
        "workers=0",
        "modelBucket=ours",
        "workers=many",
        "workers=null",
        "image.tag=",
        "image=null",
        "autoscaling.minReplicas=30",
        "extraEnv.DATABASE_URL=x",
        "extraEnv.WORKERS=7",
        "resources.foo=1",
    ],
)
def test_a_misspelt_or_wrong_value_is_refused(value: str) -> None:
    refused = helm("template", "sira", str(CHART), "--set", value)
    assert refused.returncode != 0
    assert value.split("=")[0].split(".")[0] in refused.stderr
