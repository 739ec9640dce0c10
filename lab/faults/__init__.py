"""`make faults`: break real parts under load, then count what was lost, doubled or answered wrong."""
