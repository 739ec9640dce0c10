"""The customer's runbook: its kubectl and docker commands, compared with the manifests and the Dockerfile."""

import re
import shlex
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]

KUBECTL = """
kubectl create secret generic molam-secrets --from-literal=database-url="postgresql://sira_service:$DB_PASSWORD@prod-db.molam.com:5432/molam" --from-literal=jwt-secret="$(openssl rand -base64 32)" --from-literal=internal-service-token="$(openssl rand -base64 32)" -n molam
kubectl create secret generic aws-credentials --from-literal=access-key-id="$AWS_ACCESS_KEY_ID" --from-literal=secret-access-key="$AWS_SECRET_ACCESS_KEY" -n molam
kubectl get secrets -n molam
kubectl apply -f k8s/deployment.yaml
kubectl apply -f k8s/service.yaml
kubectl apply -f k8s/hpa.yaml
kubectl rollout status deployment/sira-inference -n molam
kubectl get pods -n molam -l app=sira-inference
kubectl get pods -n molam -l app=sira-inference -o jsonpath='{.items[*].status.conditions[?(@.type=="Ready")].status}'
kubectl port-forward -n molam svc/sira-inference 8080:80 &
kubectl scale deployment sira-inference -n molam --replicas=6
kubectl scale deployment sira-inference -n molam --replicas=2
kubectl edit hpa sira-inference-hpa -n molam
kubectl get hpa -n molam
kubectl describe pod sira-inference-xxx -n molam
kubectl logs -n molam sira-inference-xxx
kubectl exec -it -n molam sira-inference-xxx -- curl localhost:8080/metrics | grep latency
kubectl exec -it -n molam sira-inference-xxx -- curl localhost:8080/metrics | grep cache_hits
kubectl exec -it -n molam sira-inference-xxx -- ls -lh /models/
kubectl rollout restart deployment/sira-inference -n molam
kubectl get pods -n molam -l app=sira-inference -o wide
kubectl logs -n molam -l app=sira-inference -f --tail=50
kubectl port-forward -n molam sira-inference-xxx 8080:8080
kubectl exec -it -n molam sira-inference-xxx -- /bin/sh
kubectl delete pod -n molam sira-inference-xxx
kubectl get hpa -n molam -w
kubectl top pods -n molam -l app=sira-inference
kubectl get events -n molam --sort-by='.lastTimestamp' | grep sira-inference
""".strip().splitlines()  # noqa: E501
DOCKER = """
docker build -t registry.molam/sira-inference:v1.0.0 .
docker tag registry.molam/sira-inference:v1.0.0 registry.molam/sira-inference:latest
docker push registry.molam/sira-inference:v1.0.0
docker push registry.molam/sira-inference:latest
docker pull registry.molam/sira-inference:v1.0.0
""".strip().splitlines()


@pytest.fixture(scope="module")
def manifests() -> list[dict[str, Any]]:
    files = sorted((ROOT / "k8s" / "base").glob("*.yaml"))
    found = [document for file in files for document in yaml.safe_load_all(file.read_text())]
    return [manifest for manifest in found if manifest["kind"] != "Kustomization"]


@pytest.mark.parametrize("command", KUBECTL)
def test_a_kubectl_command_names_what_the_manifests_have(command: str, manifests: list[dict[str, Any]]) -> None:
    words = shlex.split(command.split(" -- ")[0].split(" | ")[0])
    names = {(m["kind"].lower(), m["metadata"]["name"]) for m in manifests}
    (deployment,) = [m for m in manifests if (m["kind"], m["metadata"]["name"]) == ("Deployment", "sira-inference")]
    checked = 0
    for flag, value in pairwise(words):
        if flag == "-n":
            assert ("namespace", value) in names
        elif flag == "-l":
            key, _, label = value.partition("=")
            assert deployment["spec"]["template"]["metadata"]["labels"][key] == label
        elif flag == "-f" and value.startswith("k8s/"):
            assert (ROOT / value).is_file()
        elif flag == "hpa" and not value.startswith("-"):
            assert ("horizontalpodautoscaler", value) in names
        elif flag == "deployment" or value.startswith("deployment/"):
            assert ("deployment", value.removeprefix("deployment/")) in names
        elif value.startswith("svc/"):
            (service,) = [m for m in manifests if (m["kind"], m["metadata"]["name"]) == ("Service", value[4:])]
            assert service["spec"]["ports"][0]["port"] == 80
        elif value.startswith("--from-literal="):
            assert (words[4], value.removeprefix("--from-literal=").split("=")[0]) in secret_keys(manifests)
        else:
            continue
        checked += 1
    assert checked


def secret_keys(manifests: list[dict[str, Any]]) -> set[tuple[str, str]]:
    deployments = [m for m in manifests if m["kind"] == "Deployment"]
    variables = [v for m in deployments for v in m["spec"]["template"]["spec"]["containers"][0]["env"]]
    references = [v["valueFrom"]["secretKeyRef"] for v in variables if "valueFrom" in v]
    return {(reference["name"], reference["key"]) for reference in references}


@pytest.mark.parametrize("command", DOCKER)
def test_a_docker_command_names_the_image_that_the_manifests_run(command: str, manifests: list[dict[str, Any]]) -> None:
    images = {
        m["spec"]["template"]["spec"]["containers"][0]["image"] for m in manifests if m["kind"] in ("Deployment", "Job")
    }
    named = {word for word in shlex.split(command) if word.startswith("registry.molam/")}
    assert {image.rpartition(":")[0] for image in named} == {image.rpartition(":")[0] for image in images}
    assert images <= named or named == {"registry.molam/sira-inference:latest"}
    assert (ROOT / "Dockerfile").is_file()


@pytest.mark.parametrize("command", KUBECTL + DOCKER)
def test_our_own_runbook_has_the_same_commands(command: str) -> None:
    ours = re.sub(r"\s*\\\n\s*", " ", (ROOT / "docs" / "runbook.md").read_text())
    assert command in ours
