"""k8s/backtest-spark.yaml: valid, least in rights, and consistent with the configuration of Spark that it holds."""

from typing import Any

import kubernetes_validate
import pytest
import yaml

from runtime.settings import BacktestSettings
from tests.contract.test_manifests import FOREIGN_VARIABLES, container_of, named, of_kind, pod_of, quantity

Document = dict[str, Any]
OF_SPARK = {"POD_NAME", "PYSPARK_SUBMIT_ARGS", "SPARK_CONF_DIR"}


@pytest.fixture(scope="module")
def documents(repository: Any) -> list[Document]:
    return list(yaml.safe_load_all((repository / "k8s" / "backtest-spark.yaml").read_text()))


@pytest.fixture(scope="module")
def job(documents: list[Document]) -> Document:
    return named(documents, "Job", "sira-backtest")


@pytest.fixture(scope="module")
def spark(documents: list[Document]) -> dict[str, str]:
    """Spark's configuration."""
    text = named(documents, "ConfigMap", "sira-backtest")["data"]["spark-defaults.conf"]
    return dict(line.split(maxsplit=1) for line in text.splitlines())


@pytest.fixture(scope="module")
def executor(documents: list[Document]) -> Document:
    """The template of executors, as the pod of a workload."""
    pod: Document = yaml.safe_load(named(documents, "ConfigMap", "sira-backtest")["data"]["executor.yaml"])
    return pod


@pytest.mark.parametrize("version", ["1.27", "1.32", "1.37"])
def test_every_object_and_the_executors_template_fit_the_schema(
    documents: list[Document], executor: Document, version: str
) -> None:
    for document in [*documents, executor]:
        kubernetes_validate.validate(document, version, strict=True)


def test_the_role_is_for_pods_of_its_namespace_alone(documents: list[Document]) -> None:
    assert of_kind(documents, "ClusterRole", "ClusterRoleBinding") == []
    assert {document["metadata"]["namespace"] for document in documents} == {"molam"}
    (role,) = of_kind(documents, "Role")
    assert [(rule["apiGroups"], rule["resources"]) for rule in role["rules"]] == [([""], ["pods"])]
    assert "*" not in role["rules"][0]["verbs"]
    (binding,) = of_kind(documents, "RoleBinding")
    assert binding["roleRef"]["name"] == role["metadata"]["name"]
    assert [subject["name"] for subject in binding["subjects"]] == ["sira-backtest"]


def test_sparks_configuration_needs_no_right_that_the_role_lacks(spark: dict[str, str]) -> None:
    assert spark["spark.kubernetes.executor.disableConfigMap"] == "true"
    for name in ("service.deleteOnTermination", "ownPersistentVolumeClaim", "reusePersistentVolumeClaim"):
        assert spark[f"spark.kubernetes.driver.{name}"] == "false"


def test_only_the_driver_may_use_the_api_server(job: Document, executor: Document) -> None:
    assert pod_of(job)["serviceAccountName"] == "sira-backtest"
    assert pod_of(job)["automountServiceAccountToken"] is True
    assert executor["spec"]["automountServiceAccountToken"] is False


def test_executors_find_the_driver_through_the_headless_service(
    documents: list[Document], job: Document, spark: dict[str, str]
) -> None:
    service = named(documents, "Service", "sira-backtest")
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["selector"].items() <= job["spec"]["template"]["metadata"]["labels"].items()
    assert spark["spark.driver.host"] == f"{service['metadata']['name']}.{service['metadata']['namespace']}.svc"
    opened = {port["name"]: port["containerPort"] for port in container_of(job)["ports"]}
    assert {port["targetPort"]: port["port"] for port in service["spec"]["ports"]} == opened
    assert opened == {"driver": int(spark["spark.driver.port"]), "blocks": int(spark["spark.driver.blockManager.port"])}


def test_each_policy_selects_its_pods_and_lets_them_reach_each_other(
    documents: list[Document], job: Document, executor: Document, spark: dict[str, str]
) -> None:
    policies = {policy["metadata"]["name"]: policy["spec"] for policy in of_kind(documents, "NetworkPolicy")}
    labels = {"sira-backtest": job["spec"]["template"], "sira-backtest-executor": executor}
    assert policies.keys() == labels.keys()
    for name, policy in policies.items():
        assert policy["podSelector"]["matchLabels"].items() <= labels[name]["metadata"]["labels"].items()
    between = {int(spark[name]) for name in ("spark.driver.port", "spark.blockManager.port")}
    leaving = {port["port"] for rule in policies["sira-backtest-executor"]["egress"] for port in rule["ports"]}
    assert between <= leaving
    assert 5432 not in leaving


def test_executors_run_the_drivers_image_and_our_entrypoint(
    job: Document, executor: Document, spark: dict[str, str]
) -> None:
    (container,) = executor["spec"]["containers"]
    assert container["name"] == spark["spark.kubernetes.executor.podTemplateContainerName"]
    assert container["command"] == ["python", "-m", "backtest.engines.spark_executor"]
    assert container_of(job)["image"] == container["image"] == spark["spark.kubernetes.container.image"]
    assert container["image"].endswith("-spark")


def test_the_pods_are_as_confined_as_the_others(
    job: Document, executor: Document, base_manifests: list[Document]
) -> None:
    controller = named(base_manifests, "Deployment", "sira-controller")
    for pod in (pod_of(job), executor["spec"]):
        (container,) = pod["containers"]
        assert pod["securityContext"] == pod_of(controller)["securityContext"]
        assert container["securityContext"] == container_of(controller)["securityContext"]
        assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
        assert any(mount["mountPath"] == "/tmp" for mount in container["volumeMounts"])
        for name, requested in container["resources"]["requests"].items():
            assert 0 < quantity(requested) <= quantity(container["resources"]["limits"][name])


def test_the_pods_get_what_a_backtest_reads_and_credentials_as_the_others_do(
    job: Document, executor: Document, base_manifests: list[Document]
) -> None:
    controller = {
        one["name"]: one for one in container_of(named(base_manifests, "Deployment", "sira-controller"))["env"]
    }
    settings = {name.upper() for name in BacktestSettings.model_fields}
    driver = {one["name"]: one for one in container_of(job)["env"]}
    replaying = {one["name"]: one for one in executor["spec"]["containers"][0]["env"]}
    assert driver.keys() <= settings | FOREIGN_VARIABLES | OF_SPARK
    required = {name.upper() for name, field in BacktestSettings.model_fields.items() if field.is_required()}
    assert required <= driver.keys()
    for env in (driver, replaying):
        shared = env.keys() - OF_SPARK
        assert {name: env[name] for name in shared} == {name: controller[name] for name in shared}
    assert "DATABASE_URL" not in replaying


def test_the_command_runs_on_this_cluster_and_names_archived_days(job: Document) -> None:
    command = container_of(job)["args"][-1]
    assert "python -m backtest " in command
    assert "--engine spark --master k8s://https://kubernetes.default.svc" in command
    assert "--until" in command
