from pathlib import Path

import pytest

from backtest.engines.spark_executor import executor_command

POD = {
    "SPARK_DRIVER_URL": "spark://CoarseGrainedScheduler@sira-backtest.molam.svc:7078",
    "SPARK_EXECUTOR_ID": "3",
    "SPARK_EXECUTOR_CORES": "2",
    "SPARK_EXECUTOR_MEMORY": "1024m",
    "SPARK_APPLICATION_ID": "spark-1",
    "SPARK_EXECUTOR_POD_IP": "10.0.0.7",
    "SPARK_EXECUTOR_POD_NAME": "exec-3",
    "SPARK_RESOURCE_PROFILE_ID": "0",
    **{f"SPARK_JAVA_OPT_{n}": f"-Dn={n}" for n in range(11)},
    "PATH": "/bin",
}


def test_java_options_keep_the_order_of_their_numbers() -> None:
    command = executor_command(POD, Path("/spark"))
    assert command[:12] == ["java", *(f"-Dn={n}" for n in range(11))]


def test_the_backend_gets_what_spark_set_in_the_pod() -> None:
    command = executor_command(POD, Path("/spark"))
    assert command[12:16] == ["-Xms1024m", "-Xmx1024m", "-cp", "/spark/jars/*"]
    assert command[16].endswith(".KubernetesExecutorBackend")
    options = dict(zip(command[17::2], command[18::2], strict=True))
    assert options["--driver-url"] == POD["SPARK_DRIVER_URL"]
    assert options["--hostname"] == "10.0.0.7"
    assert options["--podName"] == "exec-3"


def test_a_pod_without_a_variable_of_spark_is_refused() -> None:
    with pytest.raises(KeyError, match="SPARK_DRIVER_URL"):
        executor_command({name: value for name, value in POD.items() if name != "SPARK_DRIVER_URL"}, Path("/spark"))
