"""Bytes on the socket: heads, bodies, the direct path of /v1/infer, and a shutdown that fails no call."""
