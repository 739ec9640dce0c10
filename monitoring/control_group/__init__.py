"""The control group: operators say how many of the events that a model wants to block are let through."""
