"""The hot path: an event in, a decision out."""
