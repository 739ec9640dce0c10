"""Score three amounts with requests and responses of MLServer's types and codecs; print what came back as JSON."""

import json
import sys

import httpx
import numpy as np
from mlserver.codecs import NumpyCodec, StringCodec
from mlserver.types import InferenceErrorResponse, InferenceRequest, InferenceResponse, MetadataModelResponse

host, token, product = sys.argv[1:]
client = httpx.Client(base_url=f"http://{host}", headers={"Authorization": f"Bearer {token}"})

request = InferenceRequest(
    id="mine",
    inputs=[
        NumpyCodec.encode_input("amount", np.array([[0], [1], [2]], dtype=np.float32)),
        StringCodec.encode_input("event_id", ["a", "b", "c"], use_bytes=False),
    ],
)
answer = client.post(f"/v2/models/{product}/infer", json=request.model_dump(exclude_none=True)).raise_for_status()
response = InferenceResponse.model_validate_json(answer.content)
outputs = {output.name: output for output in response.outputs}
metadata = MetadataModelResponse.model_validate_json(client.get(f"/v2/models/{product}").content)
wrong = InferenceRequest(inputs=[NumpyCodec.encode_input("everything", np.zeros((1, 7), dtype=np.float32))])
refused = client.post(f"/v2/models/{product}/infer", json=wrong.model_dump(exclude_none=True))
print(
    json.dumps(
        {
            "json": {
                "id": response.id,
                "scores": NumpyCodec.decode_output(outputs["score"]).ravel().tolist(),
                "decisions": StringCodec.decode_output(outputs["decision"]),
            },
            "inputs": [json.loads(one.model_dump_json(exclude_none=True)) for one in metadata.inputs],
            "refused": InferenceErrorResponse.model_validate_json(refused.content).error,
        }
    )
)
