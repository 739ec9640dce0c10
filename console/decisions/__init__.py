"""Decisions: find one, and see why it came out as it did."""
