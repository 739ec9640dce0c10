"""Score three amounts with tritonclient, as it sends them by default (binary tensors); print what came back as JSON."""

import json
import sys

import numpy as np
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

host, token, product = sys.argv[1:]
headers = {"Authorization": f"Bearer {token}"}
client = triton.InferenceServerClient(host)

amount = triton.InferInput("amount", [3], "FP32")
amount.set_data_from_numpy(np.array([0, 1, 2], dtype=np.float32))
event_id = triton.InferInput("event_id", [3], "BYTES")
event_id.set_data_from_numpy(np.array(["a", "b", "c"], dtype=object))
found = {}
for binary in (True, False):
    outputs = [triton.InferRequestedOutput(name, binary_data=binary) for name in ("score", "decision", "prediction_id")]
    result = client.infer(product, [amount, event_id], outputs=outputs, request_id="mine", headers=headers)
    found[binary] = {
        "id": result.get_response()["id"],
        "scores": result.as_numpy("score").tolist(),
        "decisions": [one.decode() if isinstance(one, bytes) else one for one in result.as_numpy("decision")],
    }
wide = triton.InferInput("everything", [1, 7], "FP32")
wide.set_data_from_numpy(np.zeros((1, 7), dtype=np.float32))
try:
    client.infer(product, [wide], headers=headers)
    refused = ""
except InferenceServerException as error:
    refused = error.message()
print(
    json.dumps(
        {
            "live": client.is_server_live(),
            "ready": client.is_server_ready(),
            "model_ready": client.is_model_ready(product, headers=headers),
            "inputs": client.get_model_metadata(product, headers=headers)["inputs"],
            "binary": found[True],
            "json": found[False],
            "refused": refused,
        }
    )
)
