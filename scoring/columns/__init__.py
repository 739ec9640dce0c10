"""Batches of events by column: what all events share is done once, and a Python object per event where one is odd."""
