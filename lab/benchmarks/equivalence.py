"""Check before any measurement that a contender returns the scores that onnxruntime itself returns."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from lab.benchmarks.contender import Contender, Running, Scored
from lab.benchmarks.model import Row, Workload
from lab.errors import LabError
from lab.http import Connection

CHECKED = 100
TOLERANCE = 1e-6


class NotEquivalent(LabError):
    def __init__(self, name: str, fact: str) -> None:
        super().__init__(f"{name} does not do the same work: {fact}")


def check(contender: Contender, running: Running, workload: Workload) -> None:
    """Send the first hundred payloads one by one; raises NotEquivalent at the first answer that differs."""
    read = contender.wire.read
    if read is None:
        return
    payloads = workload.payloads[:CHECKED]
    expected = {variant: scores(path, payloads) for variant, path in workload.models.items()}
    for position, answer in enumerate(_answers(contender, running, payloads)):
        scored: Scored = read(answer)
        difference = abs(scored.score - expected[scored.variant][position])
        if not difference <= TOLERANCE:
            raise NotEquivalent(contender.name, f"payload {position} is {difference:.2g} off onnxruntime's score")


def scores(model_path: Path, payloads: Sequence[Row]) -> NDArray[np.float64]:
    """Return the fraud probability of each payload, (n,) in [0, 1], by onnxruntime in this process."""
    session = onnxruntime.InferenceSession(str(model_path), providers=["CPUExecutionProvider"])
    feed = {
        column.name: np.array(
            [[payload[column.name]] for payload in payloads], object if "string" in column.type else np.float32
        )
        for column in session.get_inputs()
    }
    probabilities = session.run([session.get_outputs()[-1].name], feed)[0]
    return np.asarray(probabilities, dtype=np.float64)[:, 1]


def _answers(contender: Contender, running: Running, payloads: Sequence[Row]) -> Sequence[Mapping[str, object]]:
    url = urlsplit(running.target.url)
    answers = []
    with Connection(f"http://{url.netloc}", running.target.token or None, timeout_seconds=10) as connection:
        for position, payload in enumerate(payloads):
            body = f"{contender.wire.head}equivalence-{position}{contender.wire.tail(payload)}"
            answer = connection.exchange("POST", url.path, body.encode())
            if answer.status != 200:
                raise NotEquivalent(contender.name, f"HTTP {answer.status} for payload {position}")
            answers.append(answer.body)
    return answers
