"""`make faults`: inject faults into real parts under load, then count what was lost, duplicated or answered wrong."""
