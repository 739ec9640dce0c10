"""The Open Inference Protocol, version 2, over REST: the same log, canary and checks as /v1/infer."""
