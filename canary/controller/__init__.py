"""The clock: ticks, upkeep, and what they read from outside."""
