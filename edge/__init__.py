"""HTTP: the direct path of /v1/infer, the control routes, and what every answer looks like."""
