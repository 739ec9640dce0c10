"""Reads an ONNX graph: which field feeds each column, and which trees or weights make up the score."""
