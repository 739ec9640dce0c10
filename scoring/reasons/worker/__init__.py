"""Reasons in a serving process: after answers for those that are wanted, and in answers for callers who ask."""
