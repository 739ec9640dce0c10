"""Clients of the Open Inference Protocol that nobody here wrote, each in a virtual environment of its own."""
