"""Inspection of a model file in a child process, before it becomes a version."""
