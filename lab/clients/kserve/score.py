"""Score three amounts with KServe's REST client; print what came back as JSON."""

import asyncio
import json
import sys

import httpx
from kserve import InferenceRESTClient, InferInput, InferRequest
from kserve.inference_client import RESTConfig

host, token, product = sys.argv[1:]
base, headers = f"http://{host}", {"Authorization": f"Bearer {token}"}


async def score() -> dict[str, object]:
    client = InferenceRESTClient(RESTConfig(protocol="v2"))
    inputs = [
        InferInput("amount", [3], "FP32", [0.0, 1.0, 2.0]),
        InferInput("event_id", [3], "BYTES", ["a", "b", "c"]),
    ]
    request = InferRequest(product, inputs, request_id="mine")
    result = await client.infer(base, request, model_name=product, headers=headers)
    outputs = {output.name: output.data for output in result.outputs}
    wrong = InferRequest(product, [InferInput("everything", [1, 7], "FP32", [[0.0] * 7])])
    try:
        await client.infer(base, wrong, model_name=product, headers=headers)
        refused = ""
    except httpx.HTTPStatusError as error:
        refused = str(error)
    return {
        "live": await client.is_server_live(base),
        "ready": await client.is_server_ready(base),
        "model_ready": await client.is_model_ready(base, product, headers=headers),
        "json": {"id": result.id, "scores": outputs["score"], "decisions": outputs["decision"]},
        "refused": refused,
    }


print(json.dumps(asyncio.run(score())))
