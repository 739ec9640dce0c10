"""HTTP: the direct path of /v1/infer, the control routes, and the form of every response."""
