"""A model behind `@bentoml.api`, as BentoML's "Hello world" and its pages on ONNX and input types write it."""

import os
from typing import Literal

import bentoml
import numpy as np
import onnxruntime
from pydantic import BaseModel


class Answer(BaseModel):
    event_id: str
    score: float
    decision: Literal["allow", "review", "block"]


@bentoml.service(workers=1, traffic={"timeout": 10})
class FraudScore:
    def __init__(self) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(os.environ["MODEL_PATH"], options)
        self.dtypes = {i.name: object if i.type == "tensor(string)" else np.float32 for i in self.session.get_inputs()}
        self.output = self.session.get_outputs()[-1].name

    @bentoml.api
    def infer(self, event_id: str, product: str, payload: dict[str, float | str]) -> Answer:
        feed = {name: np.array([[payload[name]]], dtype) for name, dtype in self.dtypes.items()}
        score = float(self.session.run([self.output], feed)[0][0, 1])
        return Answer(
            event_id=event_id,
            score=score,
            decision="block" if score >= 0.9 else "review" if score >= 0.5 else "allow",
        )
