"""`python -m backtest.engines.spark_executor`: become the JVM of a Spark executor in a Kubernetes pod.

Spark expects an entrypoint script in the image that does this; pyspark's package has none. The variables are those that
Spark 4 sets in the pod (BasicExecutorFeatureStep), the arguments those of KubernetesExecutorBackend.
"""

import os
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

_MAIN = "org.apache.spark.scheduler.cluster.k8s.KubernetesExecutorBackend"
_JAVA_OPTION = "SPARK_JAVA_OPT_"
_ARGUMENTS = {
    "--driver-url": "SPARK_DRIVER_URL",
    "--executor-id": "SPARK_EXECUTOR_ID",
    "--cores": "SPARK_EXECUTOR_CORES",
    "--app-id": "SPARK_APPLICATION_ID",
    "--hostname": "SPARK_EXECUTOR_POD_IP",
    "--resourceProfileId": "SPARK_RESOURCE_PROFILE_ID",
    "--podName": "SPARK_EXECUTOR_POD_NAME",
}


def executor_command(environment: Mapping[str, str], spark_home: Path) -> list[str]:
    """Return the command line of the executor. Raises KeyError for a variable that Spark has not set."""
    options = [name for name in environment if name.startswith(_JAVA_OPTION)]
    memory = environment["SPARK_EXECUTOR_MEMORY"]
    return [
        "java",
        *(environment[name] for name in sorted(options, key=lambda name: int(name.removeprefix(_JAVA_OPTION)))),
        f"-Xms{memory}",
        f"-Xmx{memory}",
        *("-cp", f"{spark_home}/jars/*"),
        _MAIN,
        *(word for option, name in _ARGUMENTS.items() for word in (option, environment[name])),
    ]


def main() -> None:
    found = find_spec("pyspark")
    if found is None or found.origin is None:
        sys.exit("spark_executor: pyspark is missing: this is not the image of `make image-spark`")
    command = executor_command(os.environ, Path(found.origin).parent)
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
